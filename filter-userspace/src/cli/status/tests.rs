use std::time::UNIX_EPOCH;

use super::*;
use crate::{
    control::reply::{AttachedInterface, DatabaseStatus, OpenFlows, ReasonTotal, ReplyFault},
    history::reply::HistoryStatus,
};

fn total(reason: &str, verdict: &str, packets: u64, rate: Option<f64>) -> ReasonTotal {
    ReasonTotal {
        reason: reason.into(),
        verdict: verdict.into(),
        packets,
        bytes: packets * 60,
        packets_per_second: rate,
    }
}

fn status() -> Status {
    Status {
        daemon: true,
        version: "0.1.0".into(),
        pid: Some(4711),
        uptime_seconds: Some(93_784),
        mode: ModeWord::Enforce,
        trial: None,
        interfaces: vec![
            AttachedInterface {
                interface: "eth0".into(),
                attach_mode: "native".into(),
                fallback_reason: None,
            },
            AttachedInterface {
                interface: "wg0".into(),
                attach_mode: "generic".into(),
                fallback_reason: Some("Operation not supported".into()),
            },
        ],
        database: Some(DatabaseStatus {
            source: "builtin".into(),
            format: "builtin".into(),
            built: None,
            networks_v4: 593_597,
            networks_v6: 773_898,
            attribution: Some("IP Geolocation by DB-IP".into()),
            warning: None,
            generation: Some(7),
            held_since: None,
            refused: None,
        }),
        published: Some(UNIX_EPOCH),
        allowed_countries: Some(vec!["CN (limit residents)".into(), "MO".into()]),
        default_action: Some("deny".into()),
        table_bytes: Some(13_000_000),
        kernel_bytes: Some(27_500_000),
        replies: Some(RepliesStatus {
            enabled: true,
            open: Some(OpenFlows {
                tcp: 1_012,
                udp: 3,
                icmp: 1,
            }),
            faults: Vec::new(),
        }),
        totals: vec![
            total("allowed", "pass", 1_234, Some(3.25)),
            total("country_denied", "drop", 3_142_377, Some(18_000.4)),
            total("country_denied", "would_drop", 0, Some(0.0)),
        ],
        bans: 2,
        runtime_rules: Some(1),
        warnings: vec![
            "runtime rule `allow CN (limit gone)` is not in force: the config has no \
                        limit `gone`; `cerco rules remove CN` ends it"
                .into(),
        ],
        last_reload_error: Some("2026-11-23T10:00:00Z: error: mode: unknown value\n --> a".into()),
        history: Some(HistoryStatus {
            bytes: 1 << 20,
            max_bytes: 512_000_000,
            hours_since: Some(1_795_543_200),
            ..HistoryStatus::default()
        }),
    }
}

#[test]
fn status_reads_well_in_80_columns() {
    let expected = "\
gate        enforcing: what the policy denies is dropped
interfaces  eth0 (native), wg0 (generic, because Operation not supported)
daemon      version 0.1.0, process 4711, up 1day 2h 3m 4s
database    builtin, age unknown; 593,597 IPv4 and 773,898 IPv6 networks
            IP Geolocation by DB-IP
published   1970-01-01T00:00:00Z
allowed     CN (limit residents), MO; all others: deny
memory      12.4 MiB of tables, 26.2 MiB in the kernel
replies     let in; connections opened here: 1,012 TCP, 3 UDP, 1 ping
bans        2, 1 runtime rule
history     since 2026-11-24 18:00; 1.0 MiB of at most 488.3 MiB
warning     runtime rule `allow CN (limit gone)` is not in force: the config has
            no limit `gone`; `cerco rules remove CN` ends it
reload      refused, the earlier policy stays in force: 2026-11-23T10:00:00Z:
            error: mode: unknown value

packets               total      bytes  per second
passed                1,234   72.3 KiB         3.2
  allowed             1,234   72.3 KiB         3.2
dropped           3,142,377  179.8 MiB      18,000
  country_denied  3,142,377  179.8 MiB      18,000
would drop                0        0 B           0
";
    let text = render(&status(), &Output::plain());
    assert_eq!(text, expected);
    assert!(text.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn status_from_the_pins_says_that_no_daemon_answers() {
    let status = Status {
        daemon: false,
        pid: None,
        uptime_seconds: None,
        database: None,
        allowed_countries: None,
        table_bytes: None,
        replies: None,
        runtime_rules: None,
        warnings: Vec::new(),
        last_reload_error: None,
        history: None,
        totals: vec![total("allowed", "pass", 1, None)],
        ..status()
    };
    let expected = "\
gate        enforcing: what the policy denies is dropped
interfaces  eth0 (native), wg0 (generic, because Operation not supported)
daemon      none answers; the gate filters on without it. Start it with
            `systemctl start cerco`
published   1970-01-01T00:00:00Z
bans        2

packets     total  bytes  per second
passed          1   60 B           -
  allowed       1   60 B           -
dropped         0    0 B           0
would drop      0    0 B           0
";
    assert_eq!(render(&status, &Output::plain()), expected);
}

#[test]
fn replies_are_let_in_or_off_or_not_let_in_everywhere() {
    let open = OpenFlows {
        tcp: 0,
        udp: 2,
        icmp: 0,
    };
    let fault = ReplyFault {
        interface: "eth0".into(),
        reason: "a program that watches them was taken off".into(),
    };
    let cases = [
        (
            (true, Some(open), vec![]),
            "let in; connections opened here: 0 TCP, 2 UDP, 0 ping",
        ),
        ((true, None, vec![]), "let in"),
        ((false, None, vec![]), "off ([replies] enabled = false)"),
        (
            (true, Some(open), vec![fault.clone()]),
            "not let in everywhere; connections opened here: 0 TCP, 2 UDP, 0 ping",
        ),
    ];
    for ((enabled, open, faults), expected) in cases {
        let status = Status {
            replies: Some(RepliesStatus {
                enabled,
                open,
                faults,
            }),
            ..status()
        };
        let text = render(&status, &Output::plain());
        let line = text.lines().find(|line| line.starts_with("replies"));
        assert_eq!(line, Some(format!("replies     {expected}").as_str()));
    }
    let status = Status {
        warnings: vec![fault.warning()],
        ..status()
    };
    let text = render(&status, &Output::plain());
    let expected = "\
warning     answers to this host's own connections may be denied on eth0: a
            program that watches them was taken off
";
    assert!(text.contains(expected), "{text}");
}

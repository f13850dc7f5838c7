//! `cerco bench`: its rows are what they say, and the gate that it measures does not feel it.

use filter_common::verdict::Reason;
use filter_userspace::kernel::{InterfaceCounters, Pinned};
use integration_tests::{
    daemon::Cerco,
    guarded::{Guarded, Visitor},
    places::{Family, address_in, unknown_address},
    poll,
    site::{Site, ended, parse},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// The fewest rounds that a median is made of; what `--quick` does.
const ROUNDS: u64 = 5;

/// A country for each action, in networks small enough to run out of sources.
const DATABASE: &str = "198.51.100.0,198.51.100.255,MO\n203.0.113.0,203.0.113.255,US\n\
                        198.18.1.0,198.18.1.255,PT\n\
                        2001:db8:1::,2001:db8:1:ffff:ffff:ffff:ffff:ffff,MO\n\
                        2001:db8:2::,2001:db8:2:ffff:ffff:ffff:ffff:ffff,US\n\
                        2001:db8:3::,2001:db8:3:ffff:ffff:ffff:ffff:ffff,PT\n";

/// Every case has sources.
const EVERYTHING: &str = "PT = \"allow:residents\"\n\
                          [limits.residents]\npackets_per_second = 100\nburst_packets = 400\n\
                          new_connections_per_second = 10\n\
                          [protect]\ntcp = [8080]\n\
                          [trusted]\nprefixes = [\"192.0.2.0/24\", \"2001:db8:9::/48\"]\n";

/// Case, family, reason, verdict.
type Kind = (String, String, String, String);

fn kinds(report: &serde_json::Value) -> Vec<Kind> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                text(&row["case"]),
                text(&row["family"]),
                text(&row["reason"]),
                text(&row["verdict"]),
            )
        })
        .collect()
}

fn keys(value: &serde_json::Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn number(value: &serde_json::Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

fn start(site: &Site, more: &str) -> Cerco {
    site.write("database.csv", DATABASE).unwrap();
    Cerco::start(&site.host, &site.config_with("", more)).unwrap()
}

#[test]
fn every_row_is_named_by_the_reason_that_the_program_gave() {
    let site = Site::new().unwrap();
    let cerco = start(&site, EVERYTHING);
    for banned in ["198.51.100.64/26", "2001:db8:1:77::/64"] {
        cerco.cli(&["ban", banned, "--for", "1h"]).unwrap();
    }
    let report = cerco.json(&["bench", "--quick"]);
    assert_eq!(report["not_measured"], serde_json::json!([]), "{report}");
    let mut expected = vec![("not_ip", "-", "not_ip", "pass")];
    for (case, reasons, verdict) in [
        (
            "malformed",
            ["bad_ipv4_header_len", "bad_ipv6_payload_len"],
            "drop",
        ),
        ("out_of_scope", ["out_of_scope"; 2], "pass"),
        ("trusted", ["trusted"; 2], "pass"),
        ("banned", ["banned"; 2], "drop"),
        ("country_denied", ["country_denied"; 2], "drop"),
        ("unknown_denied", ["unknown_denied"; 2], "drop"),
        ("allowed", ["allowed"; 2], "pass"),
        ("within_limit", ["allowed"; 2], "pass"),
        ("new_connection", ["allowed"; 2], "pass"),
        ("over_limit", ["packet_limit"; 2], "drop"),
    ] {
        expected.push((case, "ipv4", reasons[0], verdict));
        expected.push((case, "ipv6", reasons[1], verdict));
    }
    let expected: Vec<Kind> = expected
        .into_iter()
        .map(|(a, b, c, d)| (a.into(), b.into(), c.into(), d.into()))
        .collect();
    assert_eq!(kinds(&report), expected);
    assert_full_schema(&report);

    // What the program counted is what the rows claim, and no more than trials and spent bursts.
    let counted = test_runs(cerco.pins());
    let mut claimed: BTreeMap<String, f64> = BTreeMap::new();
    for row in report["rows"].as_array().unwrap() {
        let runs = number(&row["runs"]) * number(&row["reason_share"]);
        *claimed
            .entry(row["reason"].as_str().unwrap().to_owned())
            .or_default() += runs;
    }
    for reason in Reason::ALL {
        let runs = claimed.get(reason.label()).copied().unwrap_or_default();
        let counted = counted[*reason as usize] as f64;
        assert!(
            counted >= runs.floor() && (runs > 0.0 || counted == 0.0),
            "{}: {runs} claimed, {counted} counted",
            reason.label()
        );
    }

    // The terminal shows the same rows, no wider than it is.
    let text = cerco.cli(&["bench", "--quick"]).unwrap();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for (_, _, reason, _) in kinds(&report) {
        assert!(text.contains(&reason), "{reason} is not in\n{text}");
    }
}

fn assert_full_schema(report: &serde_json::Value) {
    assert_eq!(
        keys(report),
        BTreeSet::from([
            "schema",
            "program_id",
            "interfaces",
            "mode",
            "kernel",
            "cpu",
            "cpu_model",
            "rounds",
            "seconds",
            "empty_program",
            "rows",
            "not_measured",
            "warnings",
        ])
    );
    assert_eq!(report["interfaces"], serde_json::json!(["eth0"]));
    assert_eq!(report["mode"], "enforce");
    assert_eq!(report["rounds"], ROUNDS);
    assert!(number(&report["seconds"]) < 120.0, "{report}");
    assert!(number(&report["program_id"]) > 0.0, "{report}");
    let empty = &report["empty_program"];
    assert_eq!(keys(empty), BTreeSet::from(["best_ns", "median_ns"]));
    for row in report["rows"].as_array().unwrap() {
        assert_eq!(
            keys(row),
            BTreeSet::from([
                "case",
                "family",
                "reason",
                "verdict",
                "reason_share",
                "frame_bytes",
                "sources",
                "runs_per_call",
                "runs",
                "best_ns",
                "median_ns",
                "net_ns",
                "packets_per_second",
            ])
        );
        let [best, median, net] = ["best_ns", "median_ns", "net_ns"].map(|key| number(&row[key]));
        assert!(0.0 < best && best <= median && net < median, "{row}");
        let gross_net = (median - number(&empty["median_ns"])).max(0.1);
        assert!((net - gross_net).abs() < 0.001, "{row}");
        assert!(
            (number(&row["packets_per_second"]) * net / 1e9 - 1.0).abs() < 0.001,
            "{row}"
        );
        let (sources, calls) = (number(&row["sources"]), number(&row["runs_per_call"]));
        let case = row["case"].as_str().unwrap();
        let frame_bytes = match (case, row["family"].as_str()) {
            (_, Some("ipv6")) => 74.0,
            _ => 60.0,
        };
        assert_eq!(number(&row["frame_bytes"]), frame_bytes, "{row}");
        match case {
            // Each source is used in one round only, and never more than half of its burst.
            "within_limit" | "new_connection" => {
                let half = if case == "within_limit" { 200.0 } else { 10.0 };
                assert!(calls <= half, "{row}");
                assert!(number(&row["runs"]) <= sources * calls, "{row}");
            }
            _ => assert_eq!(
                number(&row["runs"]),
                sources * calls * ROUNDS as f64,
                "{row}"
            ),
        }
        let least = if case == "not_ip" { 1.0 } else { 16.0 };
        assert!(sources >= least, "{row}");
        let share = number(&row["reason_share"]);
        assert!(share == 1.0 || case == "over_limit" && share > 0.9, "{row}");
    }
}

/// Runs that were counted, by number of the reason.
fn test_runs(pins: &Path) -> Vec<u64> {
    let counters = pinned(pins).elsewhere().unwrap();
    let pairs = counters.enforced.iter().zip(&counters.would_drop);
    pairs.map(|(a, b)| a.packets + b.packets).collect()
}

fn pinned(pins: &Path) -> Pinned {
    Pinned::open(pins).unwrap().expect("a gate is pinned")
}

fn counters(pins: &Path) -> Vec<InterfaceCounters> {
    pinned(pins).counters().unwrap()
}

#[test]
fn no_counter_of_an_interface_moves() {
    let config = "mode = \"enforce\"\n[policy.countries]\nMO = \"allow\"\nCN = \"allow:residents\"\n\
                  [limits.residents]\npackets_per_second = 100\n";
    let mut net = Guarded::start(Visitor::Mute, 1500, config);
    let frames: Vec<Vec<u8>> = Family::BOTH
        .into_iter()
        .flat_map(|family| [address_in("MO", family, 10, 0), unknown_address(family)])
        .map(|source| net.udp_frame(source, 53, b"x").bytes())
        .collect();
    let each = [("allowed", 2), ("unknown_denied", 2)];
    net.assert_counts("before", &net.sender(), &frames, &each);

    let countries = net.cerco.json(&["countries"]);
    let before = counters(net.cerco.pins());
    let mut runs = 0;
    for mode in ["enforce", "observe", "without a daemon"] {
        match mode {
            "observe" => drop(net.cerco.cli(&["observe"]).unwrap()),
            "enforce" => {}
            _ => net.cerco.kill().unwrap(),
        }
        let report = net.cerco.json(&["bench", "--quick"]);
        let expected = if mode == "enforce" { mode } else { "observe" };
        assert_eq!(report["mode"], expected, "{mode}");
        assert_eq!(counters(net.cerco.pins()), before, "{mode}");
        if mode == "observe" {
            let mut now = net.cerco.json(&["countries"]);
            now["mode"] = countries["mode"].clone();
            assert_eq!(now, countries);
        }
        // A drop is a drop, also where it passes.
        let denied = |kind: &Kind| kind.0 == "country_denied" && kind.3 == "drop";
        assert_eq!(
            kinds(&report).iter().filter(|kind| denied(kind)).count(),
            2,
            "{mode}"
        );
        let counted: u64 = test_runs(net.cerco.pins()).iter().sum();
        assert!(counted > runs + 100_000, "{mode}: {counted} runs");
        runs = counted;
    }
    // A new load starts its own count, and takes over nothing that was no traffic.
    net.cerco.run().unwrap();
    assert_eq!(test_runs(net.cerco.pins()).iter().sum::<u64>(), 0);
    assert_eq!(counters(net.cerco.pins()), before);
}

#[test]
fn live_traffic_is_counted_exactly_while_it_runs() {
    let config = "mode = \"enforce\"\n[policy.countries]\nMO = \"allow\"\n";
    let net = Guarded::start(Visitor::Mute, 1500, config);
    let [good, bad] = [
        address_in("MO", Family::V4, 10, 0),
        unknown_address(Family::V4),
    ]
    .map(|source| net.udp_frame(source, 53, b"x").bytes());
    let before = net.counts();
    let done = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let socket = net.sender();
            let mut sent = 0;
            // Bounded in any case, should the measurement hang.
            while !done.load(Ordering::Relaxed) && sent < 1_000_000 {
                socket.send(&good).unwrap();
                socket.send(&bad).unwrap();
                sent += 1;
                thread::sleep(Duration::from_micros(100));
            }
            sent
        });
        let report = net.cerco.try_cli(&["bench", "--quick", "--json"]);
        done.store(true, Ordering::Relaxed);
        assert_eq!(report.code, 0, "{report:?}");
        sender.join().unwrap()
    });
    assert!(sent > 100, "the traffic was real: {sent}");
    poll::until("count all frames", Duration::from_secs(10), || {
        (net.counts().since(&before).total_packets() >= 2 * sent).then_some(())
    })
    .unwrap();
    assert_eq!(
        net.counts().since(&before).by_reason(),
        [("allowed", sent), ("unknown_denied", sent)].into()
    );
}

#[test]
fn what_the_policy_cannot_produce_is_named_with_the_reason() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let report = cerco.json(&["bench", "--quick"]);
    let mut expected = Vec::new();
    for (case, why) in [
        (
            "out_of_scope",
            "[protect] is not set: everything is in scope",
        ),
        ("trusted", "no prefix is trusted"),
        ("banned", "no address is banned"),
        ("within_limit", "nobody is allowed within a limit"),
        ("new_connection", "nobody is allowed within a limit"),
        ("over_limit", "nobody is allowed within a limit"),
    ] {
        for family in ["ipv4", "ipv6"] {
            expected.push(serde_json::json!({"case": case, "family": family, "why": why}));
        }
    }
    assert_eq!(report["not_measured"], serde_json::Value::from(expected));
    let measured: BTreeSet<String> = kinds(&report).into_iter().map(|kind| kind.0).collect();
    assert_eq!(
        measured,
        [
            "allowed",
            "country_denied",
            "malformed",
            "not_ip",
            "unknown_denied"
        ]
        .map(str::to_owned)
        .into()
    );
    let text = cerco.cli(&["bench", "--quick"]).unwrap();
    assert!(
        text.contains("\nnot measured: over limit: nobody is allowed within a limit\n"),
        "{text}"
    );
}

#[test]
fn a_limit_is_measured_as_far_as_it_goes() {
    // Packets only over UDP; connections only; a burst that nobody uses up; a rate so high that a
    // part of what comes is within it. What is not named here is measured, or has other reasons.
    let limit = |text: &str| format!("PT = \"allow:some\"\n[limits.some]\n{text}\n");
    let no_port = "no TCP port is guarded";
    let cases: [(String, [&str; 3]); 5] = [
        (
            limit("packets_per_second = 50\nburst_packets = 100") + "[protect]\nudp = [53]\n",
            [
                "allowed",
                "the limit counts no new connections",
                "packet_limit",
            ],
        ),
        (
            limit("new_connections_per_second = 10\nburst_connections = 40"),
            [
                "the limit counts new connections only",
                "allowed",
                "connection_limit",
            ],
        ),
        (
            limit("new_connections_per_second = 10") + "[protect]\nudp = [53]\n",
            [
                "the limit counts new connections only",
                no_port,
                "the limit counts new connections, and no TCP port is guarded",
            ],
        ),
        (
            limit("packets_per_second = 1000000\nburst_packets = 1000"),
            [
                "allowed",
                "the limit counts no new connections",
                "packet_limit",
            ],
        ),
        (
            limit("packets_per_second = 1000000\nburst_packets = 2000000"),
            [
                "allowed",
                "the limit counts no new connections",
                "a burst of 2000000 is more than this uses up",
            ],
        ),
    ];
    let site = Site::new().unwrap();
    let cerco = start(&site, &cases[0].0);
    for (config, expected) in cases {
        cerco.write_config(&site.config_with("", &config)).unwrap();
        cerco.cli(&["reload"]).unwrap();
        let report = cerco.json(&["bench", "--quick"]);
        for family in ["ipv4", "ipv6"] {
            let said = |key: &str, case: &str, value: &str| -> Option<String> {
                let rows = report[key].as_array().unwrap();
                let row = rows
                    .iter()
                    .find(|row| row["case"] == case && row["family"] == family)?;
                Some(row[value].as_str().unwrap().to_owned())
            };
            let outcomes = ["within_limit", "new_connection", "over_limit"].map(|case| {
                said("rows", case, "reason")
                    .or_else(|| said("not_measured", case, "why"))
                    .unwrap_or_default()
            });
            assert_eq!(outcomes, expected, "{family}: {config}");
        }
    }
}

#[test]
fn nothing_to_measure_and_nobody_who_may_say_so() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();

    // Another user, with a binary that he can reach.
    let binary = site.binary_for_all().unwrap();
    let mut command = site.host.command("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .arg("bench");
    let refused = ended(&mut command);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("only root"), "{refused:?}");

    cerco.stop().unwrap();
    cerco.cli(&["detach", "--force"]).unwrap();
    let none = cerco.try_cli(&["bench", "--json"]);
    assert_eq!((none.code, none.stdout.as_str()), (3, ""), "{none:?}");
    assert!(
        none.stderr.contains("no gate stands under")
            && none.stderr.contains("systemctl start cerco"),
        "{none:?}"
    );
}

#[test]
fn a_gate_on_the_loopback_interface_is_left_alone() {
    let site = Site::new().unwrap();
    let top = "interfaces = [\"eth0\", \"lo\"]\nattach = \"generic\"\n";
    let cerco = Cerco::start(&site.host, &site.config_with(top, "")).unwrap();
    let before = counters(cerco.pins());
    let refused = cerco.try_cli(&["bench", "--quick"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("loopback interface"), "{refused:?}");
    assert_eq!(counters(cerco.pins()), before);
    parse(&cerco.try_cli(&["status", "--json"]).stdout);
}

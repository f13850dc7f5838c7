use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::control::preview::ClassCount;

fn line(what: &str, packets: u64) -> WouldDrop {
    WouldDrop {
        what: what.into(),
        name: None,
        action: None,
        packets,
        bytes: packets * 60,
    }
}

fn country(code: &str, name: &str, packets: u64, action: &str) -> WouldDrop {
    WouldDrop {
        name: Some(name.into()),
        action: Some(action.into()),
        ..line(code, packets)
    }
}

fn nothing() -> Preview {
    Preview {
        mode: ModeWord::Observe,
        observed: Some(Observed {
            since: Some(UNIX_EPOCH + Duration::from_secs(1_780_000_000)),
            seconds: 7_384,
            would_drop_packets: 0,
            would_drop_bytes: 0,
            countries: Vec::new(),
            reasons: Vec::new(),
            destinations: Vec::new(),
            other_destinations: Rest::default(),
        }),
        connections: Vec::new(),
        open_connections: 0,
        sessions: Vec::new(),
        refusal: None,
    }
}

#[test]
fn fresh_gate_has_nothing_to_show_and_says_so() {
    assert_eq!(
        render(&nothing(), &Output::plain()),
        "Observed since 2026-05-28T20:26:40Z (2h 3m 4s): no packet came that would have\n\
         been dropped.\n\
         \n\
         Nobody is connected by way of the gate.\n\
         \n\
         Nobody is logged in by way of the gate.\n"
    );
    let enforcing = Preview {
        mode: ModeWord::Enforce,
        observed: None,
        open_connections: 3,
        ..nothing()
    };
    assert_eq!(
        render(&enforcing, &Output::plain()),
        "The gate enforces already: nothing is observed.\n\
         \n\
         Of 3 connections that others have opened, none would be cut off.\n\
         \n\
         Nobody is logged in by way of the gate.\n"
    );
}

#[test]
fn what_enforcing_costs_is_shown_whole_and_fits_the_screen() {
    let session = |address: &str, users: &[&str], own, passes, class: Option<&str>| LoggedIn {
        address: address.parse().unwrap(),
        port: 22,
        users: users.iter().map(|user| (*user).to_owned()).collect(),
        own,
        passes,
        until: None,
        class: class.map(str::to_owned),
    };
    let class = |class: &str, connections| ClassCount {
        class: class.into(),
        connections,
    };
    let mut preview = nothing();
    preview.observed = preview.observed.map(|observed| Observed {
        would_drop_packets: 3_142_377,
        would_drop_bytes: 188_542_620,
        countries: vec![
            country("US", "United States", 3_000_000, "deny"),
            country(
                "GS",
                "South Georgia and the South Sandwich Islands",
                142_000,
                "allow",
            ),
            line("rule_deny", 300),
        ],
        reasons: vec![line("country_denied", 3_142_000), line("bad_udp_len", 77)],
        destinations: (0..12)
            .map(|port| line(&format!("{}/tcp", 443 + port), 1_000 - port))
            .collect(),
        other_destinations: Rest {
            count: 65_000,
            packets: 70_000,
            bytes: 4_200_000,
        },
        ..observed
    });
    preview.open_connections = 40;
    preview.connections = vec![
        LivePort {
            port: 443,
            connections: 11,
            countries: vec![class("US", 8), class("unknown", 3)],
            peers: [
                "203.0.113.7",
                "2001:db8:1111:2222:3333:4444:5555:6666",
                "203.0.113.9",
            ]
            .map(|peer| peer.parse().unwrap())
            .to_vec(),
        },
        LivePort {
            port: 22,
            connections: 1,
            countries: vec![class("US", 1)],
            peers: vec!["203.0.113.7".parse().unwrap()],
        },
    ];
    preview.sessions = vec![
        session("198.51.100.7", &[], false, true, Some("MO")),
        session("203.0.113.7", &["anna", "bob"], true, false, Some("US")),
        session("192.0.2.9", &[], false, true, None),
    ];
    let text = render(&preview, &Output::plain());
    assert_eq!(
        text,
        "Observed since 2026-05-28T20:26:40Z (2h 3m 4s): 3,142,377 packets (179.8 MiB)\n\
         would have been dropped.\n\
         \n\
         source     name                              packets      bytes  action\n\
         US         United States                   3,000,000  171.7 MiB  deny\n\
         GS         South Georgia and the South S…    142,000    8.1 MiB  allow\n\
         rule_deny                                        300   17.6 KiB\n\
         what is allowed by now was denied when it came\n\
         \n\
         reason            packets      bytes\n\
         country_denied  3,142,000  179.8 MiB\n\
         bad_udp_len            77    4,620 B\n\
         \n\
         to             packets     bytes\n\
         443/tcp          1,000  58.6 KiB\n\
         444/tcp            999  58.5 KiB\n\
         445/tcp            998  58.5 KiB\n\
         446/tcp            997  58.4 KiB\n\
         447/tcp            996  58.4 KiB\n\
         448/tcp            995  58.3 KiB\n\
         449/tcp            994  58.2 KiB\n\
         450/tcp            993  58.2 KiB\n\
         451/tcp            992  58.1 KiB\n\
         452/tcp            991  58.1 KiB\n\
         65,002 others   71,979   4.1 MiB\n\
         \n\
         Of 40 connections that others have opened, 12 would be cut off:\n  \
           11 to port 443 (US 8, unknown 3): from 203.0.113.7,\n    \
             2001:db8:1111:2222:3333:4444:5555:6666, 203.0.113.9, …\n  \
           1 to port 22 (US 1): from 203.0.113.7\n\
         \n\
         Logged in by way of the gate:\n  \
           203.0.113.7 to port 22 (US), anna, bob, your own: WOULD BE LOCKED OUT\n  \
           198.51.100.7 to port 22 (MO): passes\n  \
           192.0.2.9 to port 22 (not looked at): passes\n"
    );
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn sessions_that_are_lost_are_all_shown() {
    let mut preview = nothing();
    preview.sessions = (0..30)
        .map(|host| LoggedIn {
            address: [203, 0, 113, host].into(),
            port: 22,
            users: Vec::new(),
            own: false,
            passes: host < 15,
            until: None,
            class: Some("US".into()),
        })
        .collect();
    let end = UNIX_EPOCH + Duration::from_secs(1_795_651_200);
    preview.sessions.push(LoggedIn {
        address: [203, 0, 113, 30].into(),
        passes: true,
        until: Some(end),
        ..preview.sessions[0].clone()
    });
    let text = render(&preview, &Output::plain());
    let later = "\n  203.0.113.30 to port 22 (US): PASSES UNTIL 2026-11-26T00:00:00Z ONLY\n";
    assert!(text.contains(later), "{text}");
    let count = |words: &str| text.lines().filter(|line| line.contains(words)).count();
    assert_eq!((count("LOCKED OUT"), count(": passes")), (15, 10), "{text}");
    assert!(text.ends_with("  5 more, which pass\n"), "{text}");
}

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::bench::{
    context::Missing,
    names::{family, peer, what},
    part::Part,
    row::Subject,
    trace::Draw,
};

fn report() -> Report {
    let mut rows = Vec::new();
    for family in [family::V4, family::V6] {
        for draw in Draw::ALL {
            for (what, peer, nanoseconds) in [
                (what::PATH_NO_SET, peer::PLAIN_DROP, 160.0),
                (what::PATH, peer::CERCO, 176.0),
                (what::PATH, peer::IPTABLES_ALLOWLIST, 1_234.56),
            ] {
                let subject = Subject {
                    part: Part::Path,
                    what,
                    peer,
                    family,
                    trace: draw.label(),
                    unit: "ns/packet",
                };
                rows.push(Row::new(subject, &[nanoseconds; 5]));
            }
        }
    }
    let goals = goals::judge(&rows);
    Report {
        schema: SCHEMA,
        date: "2026-07-01T00:00:00Z".to_owned(),
        cerco: "0.1.0",
        quick: false,
        machine: Machine::default(),
        packages: BTreeMap::new(),
        database: Database {
            source: "builtin".to_owned(),
            date: None,
            networks_v4: 1,
            networks_v6: 2,
            blocked_v4: 3,
            blocked_v6: 4,
            attribution: None,
        },
        goals_met: goals::all_met(&goals),
        goals,
        rows,
        missing: vec![Missing {
            part: Part::Loading,
            rows: "nft -f".to_owned(),
            reason: "nft does not start (No such file or directory (os error 2)); it is in the \
                     package nftables"
                .to_owned(),
        }],
    }
}

#[test]
fn text_is_80_columns_wide() {
    let text = text(&report());
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for expected in [
        "packet path, IPv4 (ns/packet): median (best)",
        "iptables+ipset, allowlist    1235 (1235)  1235 (1235)",
        "not measured: nft -f: nft does not start",
        "≤ 1.15           1.10 (1.10)                met",
        "3 goals met, 0 not met, 24 not measured.",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn json_has_rows_goals_and_what_is_missing() {
    let json = serde_json::to_value(report()).unwrap();
    let keys: Vec<&str> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = [
        "cerco",
        "database",
        "date",
        "goals",
        "goals_met",
        "machine",
        "missing",
        "packages",
        "quick",
        "rows",
        "schema",
    ];
    let mut sorted = keys;
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!(
        json["rows"][1],
        serde_json::json!({
            "part": "path", "what": "packet path", "peer": "cerco", "family": "IPv4",
            "trace": "one source (best case)", "best": 176.0, "median": 176.0, "worst": 176.0,
            "unit": "ns/packet", "runs": 5
        })
    );
    assert_eq!(json["goals_met"], Value::Bool(false));
    assert_eq!(json["missing"][0]["rows"], "nft -f");
    let goal = |id: &str| {
        let goals = json["goals"].as_array().unwrap();
        goals.iter().find(|goal| goal["id"] == id).unwrap().clone()
    };
    let plain = goal("path-ipv4-plain");
    assert_eq!(plain["measured"], 1.1);
    assert_eq!(plain["limit"], serde_json::json!({ "at_most": 1.15 }));
    assert_eq!(plain["met"], Value::Bool(true));
    assert_eq!(plain["rows"][1]["peer"], "plain drop");
    assert_eq!(goal("path-ipv4-nftables")["met"], Value::Null);
    assert_eq!(
        goal("limiter-heavy")["limit"],
        serde_json::json!({ "between": [0.9, 1.1] })
    );
}

#[test]
fn numbers_have_three_digits_or_all_before_the_point() {
    for (value, expected) in [
        (0.0, "0"),
        (0.01234, "0.012"),
        (1.0 / 6.0, "0.167"),
        (1.149, "1.15"),
        (-3.456, "-3.46"),
        (37.94, "37.9"),
        (1_197.4, "1197"),
    ] {
        assert_eq!(number(value), expected);
    }
}

//! Two days of an attack on a gate that allows Macao and, within limits, China.

use super::*;
use crate::{
    control::reply::RuleLine,
    history::{
        MINUTE,
        changes::{Kind, Standing},
        reply::{HistoryStatus, Sampled, SourceLine},
    },
};

/// 2026-11-24, midnight.
pub const BEGIN: u64 = 1_795_478_400;
pub const POLICY: &str = "5fd924625f6ab16a19cc9807c7c506ae1813490e4ba675f843d5a10e0baacdb8";
pub const DATABASE: &str = "0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f";

pub fn fates(passed: u64, dropped: u64, would_drop: u64) -> Fates {
    Fates {
        passed_packets: passed,
        passed_bytes: passed * 100,
        dropped_packets: dropped,
        dropped_bytes: dropped * 60,
        would_drop_packets: would_drop,
        would_drop_bytes: would_drop * 60,
    }
}

pub fn line(name: &str, passed: u64, dropped: u64, would_drop: u64) -> Line {
    Line {
        name: name.into(),
        fates: fates(passed, dropped, would_drop),
    }
}

pub fn change(unix: u64, kind: Kind, what: &str) -> Change {
    Change {
        unix,
        kind,
        who: "alice as root".into(),
        what: what.into(),
        after: Standing {
            mode: "enforce".into(),
            policy_sha256: POLICY.into(),
            database: "builtin".into(),
            database_sha256: DATABASE.into(),
        },
    }
}

pub fn rule(rule: &str, target: &str, limit: Option<&str>) -> RuleLine {
    RuleLine {
        rule: rule.into(),
        target: target.into(),
        port: None,
        limit: limit.map(str::to_owned),
        origin: "config".into(),
        expires: None,
        comment: None,
        suspended: None,
    }
}

pub fn rules() -> Rules {
    Rules {
        mode: None,
        default: "deny".into(),
        unknown: "deny".into(),
        private: "allow".into(),
        rules: vec![
            rule("allow", "CN", Some("residents")),
            rule("allow", "MO", None),
        ],
    }
}

/// 3,142,377 frames were denied: 10 in each minute, and the rest in one.
pub fn material() -> Material {
    let mut points: Vec<Point> = (0..2880)
        .map(|minute| Point {
            unix: BEGIN + minute * MINUTE,
            counted_since: None,
            fates: fates(5, 10, 0),
        })
        .collect();
    points[1234].fates = fates(5, 3_142_377 - 28_790, 0);
    let total = fates(14_400, 3_142_377, 0);
    let change = change(
        BEGIN + 100,
        Kind::Daemon,
        "started, version 0.1.0: enforcing",
    );
    Material {
        history: History {
            earlier_changes: 0,
            daemon: true,
            since: BEGIN,
            until: BEGIN + 2 * DAY,
            by: "minute".into(),
            country: None,
            reason: None,
            begins: Some(BEGIN - 10 * DAY),
            total,
            points,
            reasons: vec![
                line("country_denied", 0, 3_142_000, 0),
                line("packet_limit", 0, 370, 0),
                line("bad_udp_len", 0, 7, 0),
                line("allowed", 14_000, 0, 0),
                line("not_ip", 400, 0, 0),
            ],
            countries: vec![
                line("US", 0, 2_000_000, 0),
                line("DE", 0, 1_142_000, 0),
                line("CN", 9_000, 370, 0),
                line("MO", 5_000, 0, 0),
            ],
            interfaces: vec![Line {
                name: "eth0".into(),
                fates: total,
            }],
            sampled: Sampled {
                since: BEGIN,
                until: BEGIN + 2 * DAY,
                events: 15_000,
                frames: 3_142_377,
                protocols: vec![line("6", 0, 2_100_000, 0), line("17", 0, 1_042_377, 0)],
                sources: vec![
                    SourceLine {
                        source: "203.0.113.7".into(),
                        class: "US".into(),
                        at_least: 900,
                        at_most: 1_100,
                    },
                    SourceLine {
                        source: "2001:db8:2::/64".into(),
                        class: "DE".into(),
                        at_least: 100,
                        at_most: 100,
                    },
                ],
                other_sources_at_most: 50,
                ports: vec![PortLine {
                    port: "443/tcp".into(),
                    at_least: 2_000_000,
                    at_most: 2_100_000,
                }],
                distinct_sources: Some(12_345),
                distinct_error: 0.016,
                ..Sampled::default()
            },
            changes: vec![change.clone()],
            store: HistoryStatus {
                minutes_since: Some(BEGIN - 10 * DAY),
                ..HistoryStatus::default()
            },
        },
        minutes: Vec::new(),
        log: vec![
            super::fixture::change(BEGIN - DAY, Kind::Policy, "reloaded"),
            change,
        ],
        rules: Ok(rules()),
        database: None,
        networks: None,
        host: "web1".into(),
        now: BEGIN + 2 * DAY + 3600,
        asked_since: BEGIN,
    }
}

/// With a database of networks that somebody hostile wrote.
pub fn report() -> Report {
    let mut report = Report::new(material());
    report.networks.database = Some(About {
        path: "/var/lib/asn.mmdb".into(),
        kind: "Test-ASN".into(),
        built: Some("2026-06-01".into()),
        sha256: DATABASE.into(),
    });
    report.sample.sources[0].network = Some(super::super::networks::Network {
        number: 64_496,
        name: Some("=Bad <b>Network</b>".into()),
    });
    report
}

use super::*;
use crate::{bench::Timing, control::protocol::ModeWord};

fn row(case: Case, family: Option<Family>, reason: &'static str, median_ns: f64) -> Row {
    Row {
        case,
        family,
        reason,
        verdict: "drop",
        reason_share: 1.0,
        frame_bytes: 60,
        sources: 128,
        runs_per_call: 200,
        runs: 1_000_000,
        timing: Timing {
            best_ns: median_ns - 1.0,
            median_ns,
        },
        net_ns: median_ns - 20.0,
        packets_per_second: 1e9 / (median_ns - 20.0),
    }
}

fn not_measured(case: Case, family: Family, why: &str) -> NotMeasured {
    NotMeasured {
        case,
        family: Some(family),
        why: why.to_owned(),
    }
}

fn report() -> Report {
    Report {
        program_id: 77,
        interfaces: vec!["eth0".into(), "eth1".into()],
        mode: ModeWord::Observe,
        kernel: "6.18.0".into(),
        cpu: Some(3),
        cpu_model: Some("Model 9".into()),
        rounds: 9,
        seconds: 5.25,
        empty_program: Timing {
            best_ns: 19.0,
            median_ns: 20.0,
        },
        rows: vec![
            row(Case::NotIp, None, "not_ip", 30.0),
            row(
                Case::Malformed,
                Some(Family::V6),
                "bad_ipv6_payload_len",
                1_120.0,
            ),
            row(Case::WithinLimit, Some(Family::V4), "allowed", 145.0),
            Row {
                reason_share: 0.931,
                ..row(
                    Case::OverLimit,
                    Some(Family::V4),
                    "connection_limit",
                    10_000.0,
                )
            },
        ],
        not_measured: vec![
            not_measured(Case::Trusted, Family::V4, "no prefix is trusted"),
            not_measured(
                Case::NewConnection,
                Family::V4,
                "the limit counts no new connections",
            ),
            not_measured(
                Case::NewConnection,
                Family::V6,
                "the limit counts no new connections",
            ),
            not_measured(
                Case::OverLimit,
                Family::V6,
                "expected packet_limit, the program gave allowed 100.0 %",
            ),
        ],
        warnings: Vec::new(),
    }
}

#[test]
fn table_stands_between_what_was_measured_and_what_it_means() {
    let text = render(&report(), &Output::plain());
    let (head, rest) = text.split_once("\nsrc: ").unwrap();
    assert_eq!(
        head,
        "\
program     77 in the kernel, on eth0, eth1, observe
host        Linux 6.18.0, Model 9, CPU 3
measured    9 rounds in 5.2 s, over the smallest frames of their kind

packet               reason                 src   best  median    net    M/s
empty program                                     19.0    20.0
not IP               not_ip                 128   29.0    30.0   10.0  100.0
malformed      IPv6  bad_ipv6_payload_len   128   1119    1120   1100    0.9
within limit   IPv4  allowed                128  144.0   145.0  125.0    8.0
over limit     IPv4  connection_limit 93 %  128   9999   10000   9980    0.1

not measured: trusted (IPv4): no prefix is trusted
not measured: new connection: the limit counts no new connections
not measured: over limit (IPv6): expected packet_limit, the program gave allowed
100.0 %
"
    );
    let rest = rest.replace('\n', " ");
    assert!(rest.contains("caches are warm: the best case"), "{rest}");
    assert!(rest.contains("`within limit` 200."), "{rest}");
}

#[test]
fn nothing_is_wider_than_80_columns() {
    let mut report = report();
    report.cpu = None;
    report.warnings = vec!["a warning of many words ".repeat(9)];
    // The slowest rows of an interpreter.
    report.rows.truncate(3);
    for line in render(&report, &Output::plain()).lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

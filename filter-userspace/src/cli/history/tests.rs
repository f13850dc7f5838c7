use super::*;
use crate::history::{
    changes::{Change, Kind, Standing},
    reply::{PortLine, Sampled, SourceLine},
};

/// 2026-11-24 18:00.
const EVENING: u64 = 1_795_543_200;

fn fates(passed: u64, dropped: u64) -> Fates {
    Fates {
        passed_packets: passed,
        dropped_packets: dropped,
        ..Fates::default()
    }
}

fn line(name: &str, passed: u64, dropped: u64) -> Line {
    Line {
        name: name.to_owned(),
        fates: fates(passed, dropped),
    }
}

fn history() -> History {
    let point = |unix, counted_since, dropped| Point {
        unix,
        counted_since,
        fates: fates(10, dropped),
    };
    History {
        daemon: true,
        since: EVENING,
        until: EVENING + 2 * HOUR,
        by: "hour".to_owned(),
        country: None,
        reason: None,
        begins: Some(EVENING + 60),
        total: fates(20, 1_234_567),
        points: vec![
            point(EVENING, None, 1_000_000),
            point(EVENING + HOUR, Some(EVENING + 1800), 234_567),
        ],
        reasons: vec![line("country_denied", 0, 1_234_567), line("allowed", 20, 0)],
        countries: (0..17).map(|it| line(&format!("C{it}"), 1, 2)).collect(),
        interfaces: vec![line("eth0", 20, 1_234_567)],
        sampled: Sampled {
            since: EVENING,
            until: EVENING + 2 * HOUR,
            events: 1_000,
            frames: 1_234_000,
            protocols: vec![line("6", 0, 1_234_000), line("132", 0, 1)],
            sources: vec![SourceLine {
                source: "2001:db8:1:2::/64".to_owned(),
                class: "US".to_owned(),
                at_least: 900,
                at_most: 1_100,
            }],
            other_sources_at_most: 200,
            ports: vec![PortLine {
                port: "443/tcp".to_owned(),
                at_least: 7,
                at_most: 7,
            }],
            other_ports_at_most: 0,
            distinct_sources: Some(151),
            distinct_error: 0.01625,
        },
        changes: vec![Change {
            unix: EVENING + 61,
            kind: Kind::Mode,
            who: "alice as root".to_owned(),
            what: "enforcing: what the policy denies is dropped".to_owned(),
            after: Standing::default(),
        }],
        earlier_changes: 0,
        store: HistoryStatus {
            bytes: 1 << 20,
            max_bytes: 512_000_000,
            hours_since: Some(EVENING),
            minutes_since: Some(EVENING + 60),
            ..HistoryStatus::default()
        },
    }
}

#[test]
fn text_says_what_is_exact_and_what_is_not() {
    let text = render(&history(), &Output::plain());
    let expected = "\
2026-11-24 18:00 to 2026-11-24 20:00 UTC; totals are exact
nothing is known of the time before 2026-11-24 18:01

hour                passed    dropped  would drop
2026-11-24 18:00        10  1,000,000           0
2026-11-24 19:00 *      10    234,567           0
total                   20  1,234,567           0
* 2026-11-24 19:00: counted since 2026-11-24 18:30, nobody looked meanwhile

reason          passed    dropped  would drop
country_denied       0  1,234,567           0
allowed             20          0           0
";
    assert!(text.starts_with(expected), "{text}");
    let expected = "
2 more        2        4           0

interface  passed    dropped  would drop
eth0           20  1,234,567           0

from a sample: 1,000 events, which stand for 1,234,000 frames that were dropped
or would have been
at least 151 different sources: those seen in the sample, with an error of 1.6 %

protocol     frames
tcp       1,234,000
sctp              1

`2 to 5`: 2 frames were seen and 5 are estimated, as frames that were not seen
are shared out among those seen just before

port     frames
443/tcp       7

source             country        frames
2001:db8:1:2::/64  US       900 to 1,100
by this estimate no source that is missing here sent more than 200

changes
2026-11-24 18:01  alice as root: enforcing: what the policy denies is dropped

kept since 2026-11-24 18:00; 1.0 MiB of at most 488.3 MiB
";
    assert!(text.ends_with(expected), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
}

/// Those that the answer holds and the text leaves out are missing in it as well.
#[test]
fn missing_sources_are_bounded_by_the_first_that_is_left_out() {
    let mut history = history();
    history.sampled.sources = (0..20)
        .map(|place| SourceLine {
            source: format!("203.0.113.{place}"),
            class: "US".to_owned(),
            at_least: 1,
            at_most: 1_000 - place,
        })
        .collect();
    let text = render(&history, &Output::plain());
    let expected = "203.0.113.14  US         1 to 986\n\
                    by this estimate no source that is missing here sent more than 985\n";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn what_is_wider_or_shorter_than_asked_is_told() {
    let whole = history();
    let history = History {
        since: EVENING + 1800,
        sampled: Sampled {
            until: EVENING + 2 * HOUR + 60,
            ..whole.sampled
        },
        earlier_changes: 1_234,
        ..history()
    };
    let text = render(&history, &Output::plain());
    let expected = "
from a sample, which is kept by the hour, of 2026-11-24 18:00 to 2026-11-24
20:01: 1,000 events, which stand for 1,234,000 frames that were dropped or would
have been
";
    assert!(text.contains(expected), "{text}");
    let expected = "\nchanges, the newest; 1,234 came before\n2026-11-24 18:01 ";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn quiet_time_is_told_as_such() {
    let quiet = History {
        points: Vec::new(),
        reasons: Vec::new(),
        countries: Vec::new(),
        interfaces: Vec::new(),
        sampled: Sampled::default(),
        changes: Vec::new(),
        begins: None,
        store: HistoryStatus::default(),
        country: Some("MO".to_owned()),
        ..history()
    };
    assert_eq!(
        render(&quiet, &Output::plain()),
        "2026-11-24 18:00 to 2026-11-24 20:00 UTC, sources in MO; totals are exact\n\
         nothing was recorded yet\n\nno frame was counted in this time\n"
    );
}

#[test]
fn times_are_read_as_people_write_them() {
    let now = EVENING + 5;
    let cases = [
        ("90m", EVENING + 5 - 5400),
        ("7days", EVENING + 5 - 7 * DAY),
        ("2026-11-24", EVENING - 18 * HOUR),
        ("2026-11-24T18:00:00Z", EVENING),
        ("2026-11-24 18:00:00", EVENING),
    ];
    for (text, expected) in cases {
        assert_eq!(moment(text, now), Ok(expected), "{text}");
    }
    for text in ["", "yesterday", "2026-13-01", "24"] {
        assert!(moment(text, now).is_err(), "{text}");
    }
    for (length, step) in [
        (7200, Step::Minute),
        (7201, Step::Hour),
        (4 * DAY, Step::Hour),
        (4 * DAY + 1, Step::Day),
    ] {
        assert_eq!(suitable(length), step);
    }
}

#[test]
fn time_that_has_not_been_is_a_wrong_question() {
    let now = EVENING + 5;
    for (since, until, expected) in [
        ("24h", None, (now - DAY, None)),
        ("0s", None, (now, None)),
        // The rest of a time that goes on is told later.
        (
            "24h",
            Some("2026-11-25"),
            (now - DAY, Some(EVENING + 6 * HOUR)),
        ),
    ] {
        assert_eq!(period(since, until, now), Ok(expected), "{since} {until:?}");
    }
    for (since, until, message, hint) in [
        (
            "2026-11-25",
            None,
            "--since: 2026-11-25 lies in the future: it is 2026-11-24 18:00 UTC",
            "all times are UTC; 24h is so long ago",
        ),
        (
            "2026-11-24",
            Some("2026-11-24"),
            "--until: 2026-11-24 is not after --since 2026-11-24",
            "a date alone is its first moment; without --until it is until now",
        ),
        (
            "1h",
            Some("2h"),
            "--until: 2h is not after --since 1h",
            "a date alone is its first moment; without --until it is until now",
        ),
    ] {
        let failure = Failure::bad_usage(message).hint(hint);
        assert_eq!(period(since, until, now), Err(failure));
    }
}

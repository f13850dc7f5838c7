//! Runs of the daemon on a clock of the test.

mod broken;
mod clock;
mod room;
mod sampled;

use std::fs;

use tempfile::TempDir;

use super::{
    super::super::{
        DAY, Part, Step,
        changes::Kind,
        file_in,
        reply::{Fates, Sampled, SourceLine},
        sketch::SeenPacket,
        tally::InterfaceSample,
    },
    *,
};

/// 2026-11-26 00:00:00.
const DAWN: u64 = 1_795_651_200;

struct Place {
    directory: TempDir,
    config: HistoryConfig,
    clock: Instant,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            config: HistoryConfig::default(),
            clock: Instant::now(),
        }
    }

    fn path(&self) -> PathBuf {
        file_in(self.directory.path())
    }

    /// A run of the daemon that begins.
    fn run(&self, now: u64) -> Writer {
        let status = Arc::default();
        let mut writer = Writer::new(self.path(), self.config, status);
        writer.open_or_say(now);
        writer
    }

    /// The first run, at dawn, of a gate that has just been put up; its first look.
    fn begin(&self, counted: &[(&str, u64)]) -> Writer {
        let mut writer = self.run(DAWN);
        let mut look = self.look(0, DAWN, "gate", counted);
        look.gate_is_new = true;
        writer.book(look);
        writer
    }

    /// A look each hour for so many days, each with one packet more.
    fn look_hourly(&self, writer: &mut Writer, days: u64) {
        for hour in 1..=days * 24 {
            let passed = hour * HOUR;
            writer.book(self.look(passed, DAWN + passed, "gate", &[("a", hour)]));
            writer.flush(DAWN + passed);
        }
    }

    /// Fills the first page of a table with what is none. The file opens, for its first page is whole.
    fn break_table(&self, writer: Writer, table: &str) {
        let connection = &writer.open.as_ref().unwrap().store.connection;
        let sql = "SELECT rootpage FROM sqlite_master WHERE name = ?1";
        let page: i64 = connection
            .query_row(sql, [table], |row| row.get(0))
            .unwrap();
        drop(writer);
        let mut bytes = fs::read(self.path()).unwrap();
        let start = (page as usize - 1) * 4096;
        bytes[start..start + 4096].fill(0xa5);
        fs::write(self.path(), &bytes).unwrap();
    }

    /// A look at `unix`, when so many seconds have passed since this place was made.
    fn look(&self, passed: u64, unix: u64, gate: &str, counted: &[(&str, u64)]) -> Look {
        let counts = counted.iter().map(|(name, packets)| {
            let row = Row {
                kind: match *name {
                    "US" => RowKind::Class,
                    _ => RowKind::Reason,
                },
                name: (*name).to_owned(),
                fate: match *name {
                    "allowed" => Fate::Pass,
                    _ => Fate::Drop,
                },
            };
            let bytes = packets * 60;
            let packets = *packets;
            (row, Count { packets, bytes })
        });
        Look {
            sample: Sample {
                unix,
                gate: gate.to_owned(),
                interfaces: vec![InterfaceSample {
                    interface: "eth0".to_owned(),
                    ifindex: 2,
                    counts: counts.collect(),
                }],
            },
            at: self.clock + Duration::from_secs(passed),
            gate_is_new: false,
        }
    }
}

fn query(since: u64, by: Step) -> Query {
    Query {
        since,
        until: None,
        by,
        country: None,
        reason: None,
        part: Part::Whole,
    }
}

/// An event of one source.
fn sighting(stands_for: u64) -> Sighting {
    Sighting {
        interface: "eth0".to_owned(),
        would_drop: false,
        reason: "country_denied".to_owned(),
        cpu: 0,
        class: Some("US".to_owned()),
        packet: Some(SeenPacket {
            source: [203, 0, 113, 1].into(),
            protocol: 6,
            port: Some(80),
        }),
        stands_for,
    }
}

/// Step, denied packets, and since when they were counted if that is not the step.
fn denied(history: &History) -> Vec<(u64, u64, Option<u64>)> {
    let points = history.points.iter();
    points
        .map(|it| {
            (
                it.unix - DAWN,
                it.fates.denied_packets(),
                it.counted_since.map(|it| it - DAWN),
            )
        })
        .collect()
}

fn fault(writer: &Writer) -> Option<String> {
    locked(&writer.status).fault.clone()
}

#[test]
fn minutes_add_up_to_the_counters_over_restarts_and_crashes() {
    let place = Place::new();
    let mut first = place.begin(&[("a", 5), ("allowed", 1)]);
    first.book(place.look(60, DAWN + 60, "gate", &[("a", 15), ("allowed", 1)]));
    first.flush(DAWN + 60);
    first.book(place.look(120, DAWN + 120, "gate", &[("a", 22), ("allowed", 1)]));
    // Killed before that was written: the next run counts it, in the minute in which it was counted.
    drop(first);
    let mut second = place.run(DAWN + 125);
    second.book(place.look(0, DAWN + 130, "gate", &[("a", 25), ("allowed", 1)]));
    second.book(place.look(50, DAWN + 180, "gate", &[("a", 30), ("allowed", 2)]));
    second.flush(DAWN + 180);
    drop(second);
    // Nobody looked for two hours, and then the gate was put up anew.
    let mut third = place.run(DAWN + 7400);
    third.book(place.look(0, DAWN + 7400, "gate", &[("a", 1030), ("allowed", 2)]));
    let history = third
        .answer(&query(DAWN, Step::Minute), DAWN + 7400)
        .unwrap();
    assert_eq!(
        denied(&history),
        [
            // Before and after the first look, and what came before the crash and after it.
            (0, 15, None),
            (60, 10, None),
            (120, 5, None),
            (7380, 1000, Some(180)),
        ]
    );
    assert_eq!(
        (history.total.denied_packets(), history.total.passed_packets),
        (1030, 2)
    );
    assert_eq!(history.total.dropped_bytes, 1030 * 60);
    drop(third);
    let mut fourth = place.run(DAWN + 7500);
    // Of a gate that was up before anybody looked nothing is known.
    fourth.book(place.look(0, DAWN + 7500, "other", &[("a", 2000)]));
    fourth.book(place.look(60, DAWN + 7560, "other", &[("a", 2001)]));
    let mut anew = place.look(120, DAWN + 7620, "third", &[("a", 40)]);
    anew.gate_is_new = true;
    fourth.book(anew);
    let history = fourth
        .answer(&query(DAWN + 7500, Step::Minute), DAWN + 7621)
        .unwrap();
    assert_eq!(denied(&history), [(7500, 1, None), (7620, 40, None)]);
    // Twice another gate stood, and took along what it had counted.
    let lost: Vec<(u64, Kind, &str)> = history
        .changes
        .iter()
        .map(|it| (it.unix - DAWN, it.kind, it.what.as_str()))
        .collect();
    assert_eq!(
        lost,
        [
            (
                7500,
                Kind::History,
                "another gate stands, so it is not known what the one before counted after \
                 2026-11-26T02:03:20Z"
            ),
            (
                7620,
                Kind::History,
                "another gate stands, so it is not known what the one before counted after \
                 2026-11-26T02:06:00Z"
            ),
        ]
    );
}

#[test]
fn hours_and_days_tell_the_same_as_minutes_and_parts_are_known_apart() {
    let place = Place::new();
    let mut writer = place.begin(&[]);
    for minute in 1..=180_u64 {
        let counted = [
            ("a", minute * 10),
            ("b", minute),
            ("US", minute * 3),
            ("allowed", minute),
        ];
        writer.book(place.look(minute * 60, DAWN + minute * 60, "gate", &counted));
    }
    let now = DAWN + 180 * 60;
    let mut sum = |by, since| {
        let history = writer.answer(&query(since, by), now).unwrap();
        (history.points.len(), history.total.denied_packets())
    };
    assert_eq!(sum(Step::Minute, DAWN), (180, 1980));
    assert_eq!(sum(Step::Hour, DAWN), (3, 1980));
    assert_eq!(sum(Step::Day, DAWN), (1, 1980));
    // From half past the first hour on.
    assert_eq!(sum(Step::Hour, DAWN + 1800), (3, 1650));
    assert_eq!(sum(Step::Minute, DAWN + 1800), (150, 1650));
    let of = |country: Option<&str>, reason: Option<&str>| Query {
        country: country.map(str::to_owned),
        reason: reason.map(str::to_owned),
        ..query(DAWN, Step::Hour)
    };
    let us = writer.answer(&of(Some("US"), None), now).unwrap();
    assert_eq!(us.total.dropped_packets, 540);
    assert_eq!((us.reasons.len(), us.countries.len()), (0, 1));
    let b = writer.answer(&of(None, Some("b")), now).unwrap();
    assert_eq!(
        (b.total.dropped_packets, b.reasons.len(), b.countries.len()),
        (180, 1, 0)
    );
    let all = writer.answer(&of(None, None), now).unwrap();
    let reasons: Vec<(&str, u64)> = all
        .reasons
        .iter()
        .map(|it| (it.name.as_str(), it.fates.packets()))
        .collect();
    assert_eq!(reasons, [("a", 1800), ("b", 180), ("allowed", 180)]);
    assert_eq!(all.interfaces[0].fates, all.total);
    let mut part = |part| {
        let question = Query {
            part,
            ..query(DAWN, Step::Hour)
        };
        writer.answer(&question, now).unwrap()
    };
    let points = part(Part::Counted);
    assert_eq!((&points.points, points.total), (&all.points, all.total));
    let changes = part(Part::Changes);
    assert_eq!(
        (changes.points, changes.total),
        (Vec::new(), Fates::default())
    );
    let questions = [
        (of(Some("US"), Some("b")), "but not the one by the other"),
        (query(now + 60, Step::Hour), "before the beginning"),
    ];
    for (question, words) in questions {
        let error = writer.answer(&question, now).unwrap_err();
        assert!(
            error.is_bad_question() && error.to_string().contains(words),
            "{error}"
        );
    }
}

#[test]
fn newest_changes_are_told_and_the_others_counted() {
    let place = Place::new();
    let mut writer = place.run(DAWN);
    let changes = (1..=10_005).map(|second| clock_change(DAWN + second, second as i64));
    writer.batch.changes.extend(changes);
    writer.is_dirty = true;
    let history = writer
        .answer(&query(DAWN, Step::Hour), DAWN + 10_006)
        .unwrap();
    let times: Vec<u64> = history.changes.iter().map(|it| it.unix - DAWN).collect();
    assert_eq!(times, (6..=10_005).collect::<Vec<u64>>());
    assert_eq!(history.earlier_changes, 5);
    let of = |part| Query {
        part,
        ..query(DAWN, Step::Hour)
    };
    let changes = writer.answer(&of(Part::Changes), DAWN + 10_006).unwrap();
    assert_eq!(changes.changes, history.changes);
    assert_eq!(changes.earlier_changes, 5);
    let points = writer.answer(&of(Part::Counted), DAWN + 10_006).unwrap();
    assert_eq!(points.changes, []);
}

use std::fs;

use tempfile::TempDir;

use super::{
    super::{DAY, Step, file_in, reply::Fates, sketch::SeenPacket, tally::InterfaceSample},
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
    let mut first = place.run(DAWN);
    let mut look = place.look(0, DAWN, "gate", &[("a", 5), ("allowed", 1)]);
    look.gate_is_new = true;
    first.book(look);
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
}

#[test]
fn clock_that_is_set_moves_no_numbers() {
    let place = Place::new();
    let mut writer = place.run(DAWN);
    let day = DAY;
    let mut look = place.look(0, DAWN + day, "gate", &[]);
    look.gate_is_new = true;
    writer.book(look);
    // An hour back, and forward again a minute later.
    writer.book(place.look(60, DAWN + day - 3540, "gate", &[("a", 1)]));
    writer.book(place.look(120, DAWN + day + 120, "gate", &[("a", 3)]));
    writer.book(place.look(180, DAWN + day + 180, "gate", &[("a", 7)]));
    let asked = query(DAWN, Step::Minute);
    let history = writer.answer(&asked, DAWN + day + 180).unwrap();
    let found = denied(&history);
    assert_eq!(
        found,
        [(day - 3540, 2, None), (day, 1, None), (day + 120, 4, None)]
    );
    let said: Vec<&str> = history.changes.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(
        said,
        [
            "the clock of this host was set back by 1h",
            "the clock of this host was set forward by 1h"
        ]
    );
    assert_eq!(history.changes[0].kind, Kind::History);
}

#[test]
fn hours_and_days_tell_the_same_as_minutes_and_parts_are_known_apart() {
    let place = Place::new();
    let mut writer = place.run(DAWN);
    let mut look = place.look(0, DAWN, "gate", &[]);
    look.gate_is_new = true;
    writer.book(look);
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
fn what_is_too_old_goes_and_hours_stay() {
    let mut place = Place::new();
    place.config.keep_minutes = 2 * DAY;
    place.config.keep_hours = 5 * DAY;
    let mut writer = place.run(DAWN);
    let mut look = place.look(0, DAWN, "gate", &[]);
    look.gate_is_new = true;
    writer.book(look);
    // A look every twenty minutes for seven days.
    for step in 1..=7 * 72_u64 {
        let (passed, counted) = (step * 1200, [("a", step)]);
        writer.book(place.look(passed, DAWN + passed, "gate", &counted));
        if step % 24 == 0 {
            writer.flush(DAWN + passed);
        }
    }
    let now = DAWN + 7 * DAY;
    let (minutes, hours) = writer.open.as_ref().unwrap().store.oldest().unwrap();
    let oldest_minute = minutes.unwrap() - DAWN;
    assert!(
        (5 * DAY..5 * DAY + 1200).contains(&oldest_minute),
        "{oldest_minute}"
    );
    assert_eq!(hours.unwrap() - DAWN, 2 * DAY);
    let history = writer.answer(&query(DAWN, Step::Day), now).unwrap();
    assert_eq!(history.total.denied_packets(), 5 * 72);
    // By minutes: those that are left, and before them the hours.
    let history = writer
        .answer(&query(DAWN + 4 * DAY, Step::Minute), now)
        .unwrap();
    assert_eq!(history.total.denied_packets(), 3 * 72);
    let points = denied(&history);
    assert_eq!(points[0], (4 * DAY, 3, None));
    assert_eq!(points[24], (5 * DAY + 1140, 1, Some(5 * DAY)));
    assert_eq!(points.len(), 24 + 2 * 72);
}

#[test]
fn wrong_clock_costs_little() {
    let place = Place::new();
    let mut writer = place.run(DAWN);
    let mut look = place.look(0, DAWN, "gate", &[]);
    look.gate_is_new = true;
    writer.book(look);
    for hour in 1..=80 * 24_u64 {
        writer.book(place.look(hour * HOUR, DAWN + hour * HOUR, "gate", &[("a", hour)]));
    }
    let now = DAWN + 80 * DAY;
    writer.flush(now);
    // For a minute the clock says that it is 2100.
    let far = 4_102_444_800;
    writer.book(place.look(80 * DAY + 60, far, "gate", &[("a", 2000)]));
    writer.flush(far);
    writer.book(place.look(80 * DAY + 120, now + 120, "gate", &[("a", 2001)]));
    let history = writer.answer(&query(DAWN, Step::Day), now + 120).unwrap();
    // A day at most is gone.
    let left = history.total.denied_packets();
    assert!((80 * 24 - 25 + 80..=2001).contains(&left), "{left}");
}

#[test]
fn file_stays_below_its_largest_size_and_the_newest_is_kept() {
    let mut place = Place::new();
    place.config.max_bytes = 1_000_000;
    let mut writer = place.run(DAWN);
    let mut look = place.look(0, DAWN, "gate", &[]);
    look.gate_is_new = true;
    writer.book(look);
    let names: Vec<String> = (0..100).map(|index| format!("reason_{index}")).collect();
    let mut total = 0;
    for minute in 1..=2_000_u64 {
        let counted: Vec<(&str, u64)> = names
            .iter()
            .map(|name| (name.as_str(), minute * 1_000_003))
            .collect();
        let unix = DAWN + minute * 60;
        writer.book(place.look(minute * 60, unix, "gate", &counted));
        writer.flush(unix);
        assert_eq!(fault(&writer), None, "{minute}");
        let size = fs::metadata(place.path()).unwrap().len();
        assert!(size <= 1_000_000, "{minute}: {size}");
        total += 100 * 1_000_003;
    }
    let now = DAWN + 2_000 * 60;
    let history = writer.answer(&query(DAWN, Step::Hour), now).unwrap();
    // Minutes went, their hours are still there.
    assert_eq!(history.total.denied_packets(), total);
    let last = writer
        .answer(&query(now - 1800, Step::Minute), now)
        .unwrap();
    assert_eq!(last.points.len(), 30);
    let (minutes, _) = writer.open.as_ref().unwrap().store.oldest().unwrap();
    assert!(minutes.unwrap() > DAWN + HOUR, "nothing was forgotten");
    assert!(
        history.store.bytes > 500_000 && history.store.max_bytes == 0,
        "{:?}",
        history.store
    );
}

#[test]
fn sketches_of_several_runs_are_one_answer() {
    let place = Place::new();
    let sighting = |source: [u8; 4], port, stands_for| Sighting {
        interface: "eth0".to_owned(),
        would_drop: false,
        class: Some("US".to_owned()),
        packet: Some(SeenPacket {
            source: source.into(),
            protocol: 6,
            port: Some(port),
        }),
        stands_for,
    };
    for run in 0..3_u8 {
        let now = DAWN + u64::from(run) * 1500;
        let mut writer = place.run(now);
        let mut seen = vec![sighting([203, 0, 113, 1], 80, 100)];
        seen.extend((0..50).map(|host| sighting([10, run, 0, host], 443, 2)));
        writer.see(seen, now);
        writer.flush(now);
    }
    let mut writer = place.run(DAWN + 4000);
    let asked = query(DAWN, Step::Hour);
    let history = writer.answer(&asked, DAWN + 4000).unwrap();
    let sampled = &history.sampled;
    assert_eq!((sampled.events, sampled.frames), (153, 600));
    assert_eq!(sampled.sources[0].source, "203.0.113.1");
    assert_eq!(
        (sampled.sources[0].at_least, sampled.sources[0].at_most),
        (300, 300)
    );
    assert_eq!(sampled.ports[0].port, "80/tcp");
    assert_eq!(
        (sampled.ports[1].at_least, sampled.other_ports_at_most),
        (300, 0)
    );
    let distinct = sampled.distinct_sources.unwrap();
    assert!(distinct.abs_diff(151) <= 8, "{distinct}");
    assert_eq!(sampled.protocols.len(), 1);
    assert_eq!(
        (
            sampled.protocols[0].name.as_str(),
            sampled.protocols[0].fates.dropped_packets
        ),
        ("6", 600)
    );
    // The totals know nothing of samples.
    assert_eq!(history.total, Fates::default());
    let us = Query {
        country: Some("US".to_owned()),
        ..asked.clone()
    };
    assert_eq!(
        writer
            .answer(&us, DAWN + 4000)
            .unwrap()
            .sampled
            .sources
            .len(),
        50
    );
    let mo = Query {
        country: Some("MO".to_owned()),
        ..asked
    };
    assert_eq!(
        writer
            .answer(&mo, DAWN + 4000)
            .unwrap()
            .sampled
            .sources
            .len(),
        0
    );
}

#[test]
fn broken_file_is_moved_aside_and_a_newer_one_left_alone() {
    let place = Place::new();
    fs::create_dir_all(place.path().parent().unwrap()).unwrap();
    fs::write(
        place.path(),
        "this is no database, and long enough to be none".repeat(100),
    )
    .unwrap();
    let mut writer = place.run(DAWN);
    assert_eq!(fault(&writer), None);
    assert!(place.path().with_extension("db.broken").exists());
    writer.book(place.look(0, DAWN, "gate", &[("a", 1)]));
    writer.flush(DAWN);
    drop(writer);
    let connection = rusqlite::Connection::open(place.path()).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    drop(connection);
    let before = fs::read(place.path()).unwrap();
    let mut writer = place.run(DAWN);
    assert!(
        fault(&writer)
            .unwrap()
            .contains("has schema 2, this version knows 1")
    );
    writer.book(place.look(0, DAWN + 60, "gate", &[("a", 2)]));
    writer.flush(DAWN + 60);
    assert!(
        fs::read(place.path()).unwrap() == before,
        "it was written to"
    );
}

#[test]
fn what_could_not_be_written_is_written_when_there_is_room() {
    let place = Place::new();
    let mut writer = place.run(DAWN);
    let mut look = place.look(0, DAWN, "gate", &[]);
    look.gate_is_new = true;
    writer.book(look);
    writer.flush(DAWN);
    // Another process holds the file, as a full disk would.
    let other = rusqlite::Connection::open(place.path()).unwrap();
    writer
        .open
        .as_ref()
        .unwrap()
        .store
        .connection
        .busy_timeout(Duration::ZERO)
        .unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for minute in 1..=300 {
        writer.book(place.look(minute * 60, DAWN + minute * 60, "gate", &[("a", minute)]));
        writer.flush(DAWN + minute * 60);
        assert!(
            fault(&writer).unwrap().contains("locked"),
            "{:?}",
            fault(&writer)
        );
    }
    other.execute_batch("COMMIT").unwrap();
    let history = writer
        .answer(&query(DAWN, Step::Minute), DAWN + 300 * 60)
        .unwrap();
    assert_eq!(fault(&writer), None);
    assert_eq!(
        (history.points.len(), history.total.denied_packets()),
        (300, 300)
    );
}

#[test]
fn minutes_that_wait_too_long_become_hours() {
    let mut batch = Batch::default();
    let one = || {
        let row = Row {
            kind: RowKind::Reason,
            name: "a".to_owned(),
            fate: Fate::Drop,
        };
        Counts::from([(
            row,
            Count {
                packets: 1,
                bytes: 60,
            },
        )])
    };
    for minute in 30..150 {
        batch.add(DAWN + minute * 60, "eth0".to_owned(), one());
    }
    batch.thin_out();
    let found: Vec<(u64, u64)> = batch
        .minutes
        .iter()
        .map(|((minute, _), counts)| {
            (
                (minute - DAWN) / 60,
                counts.values().map(|it| it.packets).sum(),
            )
        })
        .collect();
    assert_eq!(found, [(59, 30), (119, 60), (149, 30)]);
    let spans: Vec<(u64, u64)> = batch
        .spans
        .iter()
        .map(|(minute, since)| ((minute - DAWN) / 60, (since - DAWN) / 60))
        .collect();
    assert_eq!(spans, [(59, 30), (119, 60), (149, 120)]);
}

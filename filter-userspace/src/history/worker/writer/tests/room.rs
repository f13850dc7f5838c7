//! What is kept, and where there is no room.

use super::*;

#[test]
fn what_is_too_old_goes_and_hours_stay() {
    let mut place = Place::new();
    place.config.keep_minutes = 2 * DAY;
    place.config.keep_hours = 5 * DAY;
    let mut writer = place.begin(&[]);
    writer.see(vec![sighting(1)], DAWN);
    writer.flush(DAWN);
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
    for table in ["sketches", "classes", "sources", "ports"] {
        let connection = &writer.open.as_ref().unwrap().store.connection;
        let count = format!("SELECT count(*) FROM {table}");
        let left: i64 = connection.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{table}");
    }
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
fn file_stays_below_its_largest_size_and_the_newest_is_kept() {
    let mut place = Place::new();
    place.config.max_bytes = 1_000_000;
    let mut writer = place.begin(&[]);
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
fn file_gets_smaller_when_its_largest_size_does() {
    let mut place = Place::new();
    let mut writer = place.begin(&[]);
    let names: Vec<String> = (0..100).map(|index| format!("reason_{index}")).collect();
    let counted = |minute: u64| -> Vec<(&str, u64)> {
        let names = names.iter();
        names
            .map(|name| (name.as_str(), minute * 1_000_003))
            .collect()
    };
    for minute in 1..=2_000_u64 {
        let unix = DAWN + minute * 60;
        writer.book(place.look(minute * 60, unix, "gate", &counted(minute)));
        if minute % 200 == 0 {
            writer.flush(unix);
        }
    }
    drop(writer);
    let size = || fs::metadata(place.path()).unwrap().len();
    let before = size();
    assert!(before > 2_000_000, "{before}");
    place.config.max_bytes = 1_000_000;
    let now = DAWN + 2_001 * 60;
    let mut writer = place.run(now);
    writer.book(place.look(2_001 * 60, now, "gate", &counted(2_001)));
    writer.flush(now);
    assert_eq!(fault(&writer), None);
    let after = fs::metadata(place.path()).unwrap().len();
    assert!(after <= 1_000_000, "{after} of {before}");
}

#[test]
fn what_could_not_be_written_is_written_when_there_is_room() {
    let place = Place::new();
    let mut writer = place.begin(&[]);
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
    // The last hour goes on.
    for minute in 150..170 {
        batch.add(DAWN + minute * 60, "eth0".to_owned(), one());
    }
    batch.thin_out();
    let spans: Vec<(u64, u64)> = batch
        .spans
        .iter()
        .map(|(minute, since)| ((minute - DAWN) / 60, (since - DAWN) / 60))
        .collect();
    assert_eq!(spans, [(59, 30), (119, 60), (169, 120)]);
}

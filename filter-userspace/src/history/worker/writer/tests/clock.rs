//! Clocks that are set, and wrong ones.

use super::*;

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
fn wrong_clock_costs_little() {
    let place = Place::new();
    let mut writer = place.begin(&[]);
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
fn clock_that_goes_back_erases_no_sample() {
    let place = Place::new();
    let mut writer = place.run(DAWN);
    let events = |writer: &mut Writer, at: u64, count: usize| {
        writer.see(vec![sighting(10); count], at);
        writer.flush(at);
    };
    events(&mut writer, DAWN + 3590, 3);
    // The next hour begins, and the clock goes back before anything comes in it.
    writer.book(place.look(0, DAWN + 3600, "gate", &[]));
    writer.flush(DAWN + 3600);
    events(&mut writer, DAWN + 3599, 1);
    events(&mut writer, DAWN + 3601, 1);
    events(&mut writer, DAWN + 3598, 1);
    events(&mut writer, DAWN + 3610, 1);
    let told = |writer: &mut Writer| {
        let history = writer.answer(&query(DAWN, Step::Hour), DAWN + 7300);
        let json = serde_json::to_value(history.unwrap().sampled).unwrap();
        (
            json["events"].clone(),
            json["sources"][0]["at_least"].clone(),
            json["sources"][0]["at_most"].clone(),
        )
    };
    assert_eq!(told(&mut writer), (7.into(), 7.into(), 70.into()));
    // Ten days ahead for a moment.
    events(&mut writer, DAWN + 10 * DAY, 1);
    events(&mut writer, DAWN + 3620, 1);
    events(&mut writer, DAWN + 7210, 1);
    assert_eq!(told(&mut writer), (9.into(), 9.into(), 90.into()));
    // Another run in an hour that has had several.
    drop(writer);
    let mut writer = place.run(DAWN + 3630);
    events(&mut writer, DAWN + 3630, 1);
    assert_eq!(told(&mut writer), (10.into(), 10.into(), 100.into()));
}

#[test]
fn clock_that_begins_in_1970_costs_no_hour_of_the_history() {
    let mut place = Place::new();
    place.config.keep_minutes = 2 * DAY;
    place.config.keep_hours = 5 * DAY;
    let mut writer = place.begin(&[]);
    place.look_hourly(&mut writer, 4);
    let now = DAWN + 4 * DAY;
    writer.see(vec![sighting(7)], 90);
    writer.batch.changes.push(clock_change(100, -1));
    writer.book(place.look(4 * DAY + 60, 100, "gate", &[("a", 97)]));
    writer.flush(100);
    let words = "the clock of this host is not set yet";
    assert_eq!(fault(&writer).as_deref(), Some(words));
    writer.book(place.look(4 * DAY + 120, 160, "gate", &[("a", 99)]));
    writer.flush(160);
    // The clock is right again: what was counted until now is told now.
    writer.book(place.look(4 * DAY + 180, now + 180, "gate", &[("a", 103)]));
    writer.see(vec![sighting(8)], now + 180);
    writer.flush(now + 180);
    assert_eq!(fault(&writer), None);
    let history = writer
        .answer(&query(DAWN + DAY, Step::Minute), now + 180)
        .unwrap();
    let points = denied(&history);
    // Hours of the day before minutes begin, then two days of looks, and what came since the last of them.
    assert_eq!(points.len(), 24 + 48 + 1);
    assert_eq!(points[0], (DAY, 1, None));
    assert_eq!(points[72], (4 * DAY + 120, 7, Some(4 * DAY)));
    assert_eq!(history.total.denied_packets(), 72 + 7);
    assert_eq!((history.sampled.events, history.sampled.frames), (2, 15));
    let change = history.changes.last().unwrap();
    let words = "the clock of this host was set back by 1s; before the clock of this host was set";
    assert_eq!((change.unix, change.what.as_str()), (now + 180, words));
    // Nothing lies before the beginning, and the hours of the first days are still told.
    assert_eq!(history.begins, Some(DAWN));
}

#[test]
fn numbers_of_a_wrong_clock_hide_no_hour() {
    let mut place = Place::new();
    place.config.keep_minutes = 2 * DAY;
    let mut writer = place.begin(&[]);
    place.look_hourly(&mut writer, 4);
    let now = DAWN + 4 * DAY;
    // For a minute it was the summer of 2025: what was counted then is the oldest that there is.
    let counts = place.look(0, 0, "gate", &[("a", 1)]).sample.interfaces[0]
        .counts
        .clone();
    writer.batch.add(1_750_000_020, "eth0".to_owned(), counts);
    writer.is_dirty = true;
    writer.flush(now + MINUTE);
    let history = writer
        .answer(&query(DAWN, Step::Minute), now + MINUTE)
        .unwrap();
    // Of the first two days only hours are left.
    assert_eq!(history.points.len(), 4 * 24);
    assert_eq!(history.total.denied_packets(), 4 * 24);
}

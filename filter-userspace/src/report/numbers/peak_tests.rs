use super::{fixture::*, *};
use crate::history::MINUTE;

#[test]
fn hours_make_longer_bars_and_a_peak_that_is_only_bounded() {
    let mut material = material();
    material.history.store.minutes_since = None;
    let report = Report::new(material);
    assert_eq!(report.timeline.step_seconds, HOUR);
    assert_eq!(report.period.minutes_from, Some(BEGIN + 2 * DAY));
    assert!(!report.peak.unwrap().certain);
    assert!(
        report.sentences[1].contains("of which the single minutes are not known"),
        "{}",
        report.sentences[1]
    );
}

/// Of 30 days, the last 7 by minute; an attack came on the tenth, and one frame a minute in the last week.
fn long_ago(by: &str) -> Material {
    let mut material = material();
    let kept = BEGIN + 23 * DAY;
    let step = if by == "day" { DAY } else { HOUR };
    let point = |unix, dropped| Point {
        unix,
        counted_since: None,
        fates: fates(0, dropped, 0),
    };
    let history = &mut material.history;
    history.by = by.into();
    history.until = BEGIN + 30 * DAY;
    history.store.minutes_since = Some(kept);
    let in_week = step / MINUTE;
    history.points = (kept..history.until)
        .step_by(step as usize)
        .map(|unix| point(unix, in_week))
        .collect();
    history.points.insert(0, point(BEGIN + 9 * DAY, 1_000_000));
    history.total = fates(0, 1_000_000 + 7 * DAY / MINUTE, 0);
    let minutes = (kept..history.until).step_by(MINUTE as usize);
    material.minutes = minutes.map(|unix| point(unix, 1)).collect();
    material.now = history.until + HOUR;
    material
}

#[test]
fn peak_is_looked_for_before_the_minutes_too() {
    for (by, seconds, per_minute) in [("hour", HOUR, 16_667), ("day", DAY, 694)] {
        let peak = Report::new(long_ago(by)).peak.unwrap();
        assert_eq!(
            (
                peak.unix,
                peak.seconds,
                peak.packets_per_minute.round() as u64,
                peak.certain
            ),
            (BEGIN + 9 * DAY, seconds, per_minute, false),
            "{by}"
        );
        // A minute may be the busiest that is known, and still one of the attack's may have been busier.
        let mut busier = long_ago(by);
        busier.minutes[5].fates = fates(0, 20_000, 0);
        let peak = Report::new(busier).peak.unwrap();
        assert_eq!((peak.seconds, peak.certain), (MINUTE, false), "{by}");
    }
    // All of the minutes are gone.
    let mut gone = long_ago("hour");
    gone.minutes.clear();
    gone.history.store.minutes_since = Some(gone.history.until + 100 * DAY);
    gone.now += 100 * DAY;
    let report = Report::new(gone);
    assert_eq!(report.peak.unwrap().unix, BEGIN + 9 * DAY);
    assert!(
        report.sentences[1].contains("of which the single minutes are not known"),
        "{:?}",
        report.sentences
    );
    let told = |report: &Report| {
        let method = report.methods.iter().find(|it| it.number == "Peak");
        method.unwrap().exact.clone()
    };
    assert!(told(&report).starts_with("At least so many"));
    // A day that began before the minutes, but not within the period, is told by them.
    let mut days = long_ago("day");
    let history = &mut days.history;
    history.since = BEGIN + 23 * DAY + 18 * HOUR;
    history.store.minutes_since = Some(history.since - HOUR);
    history.points.remove(0);
    history.points[0].fates = fates(0, 1_000, 0);
    days.minutes
        .retain(|it| it.unix >= BEGIN + 23 * DAY + 18 * HOUR);
    assert!(Report::new(days).peak.unwrap().certain);
    // It is not said that nothing came, where something did.
    let mut without = long_ago("hour");
    without.minutes.clear();
    without.history.points.clear();
    assert!(told(&Report::new(without)).starts_with("Not known"));
}

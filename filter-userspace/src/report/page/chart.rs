//! The timeline as bars.

use maud::{Markup, html};

use super::super::{
    numbers::Report,
    time::Bar,
    words::{self, counted, grouped},
};
use crate::history::{DAY, HOUR, MINUTE};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 76.0;
/// The last mark's text stands half beyond the end.
const RIGHT: f64 = 44.0;
/// A wider bar looks like a floor.
const WIDEST_BAR: f64 = 60.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 46.0;
/// Marks along the time; more would touch each other.
const MAX_MARKS: u64 = 9;
/// Distances of marks in minutes.
const DISTANCES: [u64; 14] = [
    1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10_080,
];

pub fn figure(report: &Report) -> Markup {
    let timeline = &report.timeline;
    let denied = |bar: &Bar| bar.dropped_packets + bar.would_drop_packets;
    let most = timeline.bars.iter().map(denied).max().unwrap_or(0);
    let axis = Axis::up_to(most);
    let plot = HEIGHT - TOP - BOTTOM;
    let y = |packets: u64| HEIGHT - BOTTOM - plot * packets as f64 / axis.end.max(1) as f64;
    let step = timeline.step_seconds;
    let first = timeline
        .bars
        .first()
        .map_or(report.period.since, |it| it.unix);
    let end = first + step * timeline.bars.len() as u64;
    let span = (end - first).max(1) as f64;
    let x = |unix: u64| {
        LEFT + (WIDTH - LEFT - RIGHT) * unix.saturating_sub(first).min(end - first) as f64 / span
    };
    let slot = x(first + step) - x(first);
    let bar_width = (slot * 0.86).min(WIDEST_BAR);
    let length = words::length(step);
    let title = format!("Packets turned away in each {length}");
    html! {
        figure {
            div.wide { svg.chart role="img" aria-labelledby="chart-title chart-text"
                viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) {
                title id="chart-title" { (title) }
                desc id="chart-text" { (description(report, &length)) }
                @for packets in axis.marks() {
                    line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(at(y(packets))) y2=(at(y(packets))) {}
                    text.up x=(LEFT - 8.0) y=(at(y(packets) + 4.0)) { (grouped(packets)) }
                }
                @for (unix, text) in marks(first, end) {
                    line.mark x1=(at(x(unix))) x2=(at(x(unix))) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM + 5.0) {}
                    text.along x=(at(x(unix))) y=(HEIGHT - BOTTOM + 19.0) { (text) }
                }
                @for bar in timeline.bars.iter().filter(|bar| denied(bar) > 0) {
                    @let left = at(x(bar.unix) + (slot - bar_width) / 2.0);
                    @if bar.dropped_packets > 0 {
                        rect.dropped x=(left) width=(at(bar_width)) y=(at(y(bar.dropped_packets)))
                            height=(at(y(0) - y(bar.dropped_packets))) { (bar_title(bar)) }
                    }
                    @if bar.would_drop_packets > 0 {
                        rect.would x=(left) width=(at(bar_width)) y=(at(y(denied(bar))))
                            height=(at(y(bar.dropped_packets) - y(denied(bar)))) { (bar_title(bar)) }
                    }
                }
                line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM) {}
                @for (number, change) in (1..).zip(&report.changes) {
                    @let along = at(x(change.unix));
                    line.change x1=(along) x2=(along) y1=(TOP - 6.0) y2=(HEIGHT - BOTTOM) {
                        title { (number) ": " (change.what) }
                    }
                }
                text.along x=((LEFT + WIDTH - RIGHT) / 2.0) y=(HEIGHT - 4.0) { "UTC" }
            } }
            ul.legend {
                @if report.total.dropped_packets > 0 {
                    li { svg.key viewBox="0 0 16 12" aria-hidden="true" { rect.dropped width="16" height="12" {} } "turned away" }
                }
                @if report.total.would_drop_packets > 0 {
                    li { svg.key viewBox="0 0 16 12" aria-hidden="true" { rect.would width="16" height="12" {} } "would have been turned away: observed only" }
                }
                @if !report.changes.is_empty() {
                    li { svg.key viewBox="0 0 16 12" aria-hidden="true" { line.change x1="8" x2="8" y1="0" y2="12" {} } "a change, see the list" }
                }
            }
            figcaption {
                "Each bar is " (length) ". "
                @if let Some(peak) = report.peak.filter(|it| it.seconds == MINUTE) {
                    "The busiest " @if !peak.certain { "known " } "minute is in the summary: "
                    (words::rate(peak.packets_per_minute)) " packets, " (words::time(peak.unix)) " UTC."
                }
            }
            @if !timeline.unseen.is_empty() {
                p.note {
                    "Nobody looked at the counters in these times, and what came then stands in the bar of their end: "
                    @for (index, span) in timeline.unseen.iter().enumerate() {
                        @if index > 0 { ", " }
                        (words::short_time(span.since)) " to " (words::short_time(span.until))
                    }
                    "."
                }
            }
        }
    }
}

/// A coordinate with the digits that can be seen.
fn at(coordinate: f64) -> String {
    let text = format!("{coordinate:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn bar_title(bar: &Bar) -> Markup {
    html! {
        title {
            (words::time(bar.unix)) ": " (counted(bar.dropped_packets, "packet")) " turned away"
            @if bar.would_drop_packets > 0 {
                ", " (grouped(bar.would_drop_packets)) " would have been"
            }
        }
    }
}

fn description(report: &Report, length: &str) -> String {
    let bars = &report.timeline.bars;
    let denied = |bar: &&Bar| bar.dropped_packets + bar.would_drop_packets;
    match bars.iter().max_by_key(denied).filter(|bar| denied(bar) > 0) {
        None if !report.period.is_known() => words::NOTHING_KNOWN.to_owned(),
        None => "Nothing was turned away.".to_owned(),
        Some(most) => format!(
            "A bar for each {length} from {} to {} UTC. The highest is {}, with {}.",
            words::time(report.period.since),
            words::time(report.period.until),
            words::time(most.unix),
            counted(denied(&most), "packet")
        ),
    }
}

/// The axis of packets: round numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Axis {
    step: u64,
    end: u64,
}

impl Axis {
    /// Three to six marks over nothing.
    fn up_to(most: u64) -> Self {
        let mut step = 1_u64;
        for factor in [2, 5, 10].iter().cycle() {
            if most.div_ceil(step) <= 5 {
                break;
            }
            let decade = 10_u64.pow(step.ilog10());
            match decade.checked_mul(*factor) {
                Some(next) => step = next,
                None => break,
            }
        }
        let end = most.max(1).div_ceil(step).saturating_mul(step);
        Self { step, end }
    }

    fn marks(self) -> impl Iterator<Item = u64> {
        (0..=self.end / self.step).map(move |number| number * self.step)
    }
}

/// Marks along the time, at whole hours or days where it is long enough.
fn marks(first: u64, end: u64) -> Vec<(u64, String)> {
    let fits = |distance: &u64| (end - first) / distance < MAX_MARKS;
    let mut distances = DISTANCES.into_iter().map(|minutes| minutes * MINUTE);
    let weeks = ((end - first) / (MAX_MARKS - 1)).next_multiple_of(7 * DAY);
    let distance = distances.find(fits).unwrap_or(weeks);
    let format = match distance {
        0..HOUR if end - first < DAY => "%H:%M",
        0..DAY if end - first <= DAY => "%H:%M",
        0..DAY => "%-d %b %H:%M",
        _ if end - first > 300 * DAY => "%-d %b %Y",
        _ => "%-d %b",
    };
    let start = first.next_multiple_of(distance.min(DAY));
    (start..=end)
        .step_by(distance as usize)
        .map(|unix| (unix, words::formatted(unix, format)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_has_round_numbers() {
        let marks = |most| Axis::up_to(most).marks().collect::<Vec<_>>();
        assert_eq!(marks(0), [0, 1]);
        assert_eq!(marks(1), [0, 1]);
        assert_eq!(marks(5), [0, 1, 2, 3, 4, 5]);
        assert_eq!(marks(7), [0, 2, 4, 6, 8]);
        assert_eq!(marks(42), [0, 10, 20, 30, 40, 50]);
        assert_eq!(marks(1_999), [0, 500, 1_000, 1_500, 2_000]);
        assert_eq!(
            marks(3_142_377),
            [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000]
        );
        assert!(Axis::up_to(u64::MAX).marks().count() < 20);
    }

    #[test]
    fn marks_are_at_times_that_people_use() {
        let day = 20_000 * DAY;
        let texts = |first, end| {
            let marks = marks(first, end);
            assert!(marks.len() <= 10, "{marks:?}");
            marks.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert_eq!(texts(day, day + MINUTE), ["00:00", "00:01"]);
        assert_eq!(
            texts(day + 7 * MINUTE, day + 27 * MINUTE),
            ["00:10", "00:15", "00:20", "00:25"]
        );
        assert_eq!(texts(day, day + DAY)[1], "03:00");
        assert_eq!(
            texts(day + HOUR, day + 2 * DAY + HOUR),
            [
                "4 Oct 06:00",
                "4 Oct 12:00",
                "4 Oct 18:00",
                "5 Oct 00:00",
                "5 Oct 06:00",
                "5 Oct 12:00",
                "5 Oct 18:00",
                "6 Oct 00:00"
            ]
        );
        assert_eq!(texts(day, day + 7 * DAY)[1], "5 Oct");
        assert_eq!(texts(day, day + 700 * DAY)[0], "4 Oct 2024");
    }
}

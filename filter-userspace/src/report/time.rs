//! The period in bars, and its busiest minute.

use std::{collections::BTreeMap, ops::Range};

use serde::Serialize;

use crate::history::{
    DAY, MINUTE,
    reply::{Fates, Point},
};

/// More bars than this cannot be told apart on paper.
const MAX_BARS: u64 = 300;
/// Lengths of a bar in minutes that a person can read off an axis.
const LENGTHS: [u64; 15] = [
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    180,
    360,
    720,
    1440,
    2 * 1440,
    7 * 1440,
    28 * 1440,
];

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Timeline {
    pub step_seconds: u64,
    /// All bars of the period, also those in which nothing came.
    pub bars: Vec<Bar>,
    /// Times in which nobody looked at the counters; all of it stands in the bar of the end.
    pub unseen: Vec<Span>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Bar {
    /// Its beginning, in seconds since 1970.
    pub unix: u64,
    pub passed_packets: u64,
    pub dropped_packets: u64,
    pub would_drop_packets: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Span {
    pub since: u64,
    pub until: u64,
}

/// The busiest time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Peak {
    /// Its beginning, in seconds since 1970.
    pub unix: u64,
    /// 60, or longer where nobody looked each minute: then the packets are the average of it.
    pub seconds: u64,
    pub packets_per_minute: f64,
    /// False: somewhere the minutes are not known, and one of them may have been busier.
    pub certain: bool,
}

/// How much of the time each point tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Steps {
    /// Points from here on tell a minute; `None`: no point does.
    pub minutes_from: Option<u64>,
    /// What the others tell, in seconds.
    pub longer: u64,
}

impl Steps {
    /// Seconds that the point that begins at `unix` tells.
    pub fn at(self, unix: u64) -> u64 {
        match self.minutes_from {
            Some(from) if unix >= from => MINUTE,
            _ => self.longer,
        }
    }
}

/// `since`, `until`: whole minutes.
pub fn timeline(points: &[Point], since: u64, until: u64, steps: Steps) -> Timeline {
    let length = until.saturating_sub(since);
    let finest = steps.at(since);
    let fits = |step: &u64| *step >= finest && length.div_ceil(*step) < MAX_BARS;
    let mut lengths = LENGTHS.into_iter().map(|minutes| minutes * MINUTE);
    let step = lengths.find(fits);
    let step = step.unwrap_or_else(|| length.div_ceil(MAX_BARS - 1).next_multiple_of(DAY));
    // Bars of weeks begin with the period: nobody expects them to begin on a Thursday, as 1970 did.
    let align = step.min(DAY);
    let first = since - since % align;
    let bar_of = |unix: u64| unix.saturating_sub(first) / step;
    let mut sums: BTreeMap<u64, Fates> = BTreeMap::new();
    for point in points {
        let sum = sums.entry(bar_of(point.unix)).or_default();
        sum.passed_packets += point.fates.passed_packets;
        sum.dropped_packets += point.fates.dropped_packets;
        sum.would_drop_packets += point.fates.would_drop_packets;
    }
    let bars = (0..=bar_of(until.saturating_sub(1))).map(|number| {
        let sum = sums.get(&number).copied().unwrap_or_default();
        Bar {
            unix: first + number * step,
            passed_packets: sum.passed_packets,
            dropped_packets: sum.dropped_packets,
            would_drop_packets: sum.would_drop_packets,
        }
    });
    let unseen = points.iter().filter_map(|point| {
        Some(Span {
            since: point.counted_since?,
            until: (point.unix + steps.at(point.unix)).min(until),
        })
    });
    Timeline {
        step_seconds: step,
        bars: bars.collect(),
        unseen: unseen.collect(),
    }
}

/// The busiest of `points` by denied frames. `period`: of a point at its rim only what lies within is counted.
pub fn peak(points: &[Point], steps: Steps, period: &Range<u64>) -> Option<Peak> {
    let told = |point: &Point| {
        let begin = match point.counted_since {
            Some(since) => since.min(point.unix),
            None => point.unix.max(period.start),
        };
        let begin = begin - begin % MINUTE;
        let end = (point.unix + steps.at(point.unix)).min(period.end);
        (begin, end.saturating_sub(begin).max(MINUTE))
    };
    let mut peak: Option<Peak> = None;
    let mut most_in_one = 0;
    for point in points {
        let denied = point.fates.denied_packets();
        if denied == 0 {
            continue;
        }
        let (unix, seconds) = told(point);
        if seconds > MINUTE {
            most_in_one = denied.max(most_in_one);
        }
        let packets_per_minute = denied as f64 * MINUTE as f64 / seconds as f64;
        if peak.is_none_or(|it| packets_per_minute > it.packets_per_minute) {
            peak = Some(Peak {
                unix,
                seconds,
                packets_per_minute,
                certain: true,
            });
        }
    }
    peak.map(|peak| Peak {
        certain: most_in_one as f64 <= peak.packets_per_minute && peak.seconds == MINUTE,
        ..peak
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::HOUR;

    const BY_MINUTE: Steps = Steps {
        minutes_from: Some(0),
        longer: HOUR,
    };

    fn point(unix: u64, dropped: u64, counted_since: Option<u64>) -> Point {
        Point {
            unix,
            counted_since,
            fates: Fates {
                dropped_packets: dropped,
                passed_packets: 1,
                ..Fates::default()
            },
        }
    }

    #[test]
    fn bars_hold_every_packet_and_suit_the_length() {
        let since = 20_000 * DAY + 7 * HOUR + 13 * MINUTE;
        // (minutes of the period, finest) → minutes of a bar.
        let cases = [
            (1, MINUTE, 1),
            (60, MINUTE, 1),
            (24 * 60, MINUTE, 5),
            (48 * 60, MINUTE, 10),
            (48 * 60, HOUR, 60),
            (7 * 24 * 60, MINUTE, 60),
            (90 * 24 * 60, HOUR, 720),
            (730 * 24 * 60, DAY, 7 * 1440),
            (40 * 365 * 24 * 60, DAY, 49 * 1440),
        ];
        for (minutes, finest, expected) in cases {
            let until = since + minutes * MINUTE;
            let points: Vec<Point> = (0..minutes)
                .step_by(finest as usize / 60)
                .map(|minute| point(since + minute * MINUTE, minute, None))
                .collect();
            let steps = match finest {
                MINUTE => BY_MINUTE,
                longer => Steps {
                    minutes_from: None,
                    longer,
                },
            };
            let found = timeline(&points, since, until, steps);
            assert_eq!(found.step_seconds / MINUTE, expected, "{minutes}");
            assert!(found.bars.len() <= 301, "{minutes}: {}", found.bars.len());
            let sum = |of: fn(&Bar) -> u64| found.bars.iter().map(of).sum::<u64>();
            assert_eq!(
                sum(|it| it.dropped_packets),
                points
                    .iter()
                    .map(|it| it.fates.dropped_packets)
                    .sum::<u64>()
            );
            assert_eq!(sum(|it| it.passed_packets), points.len() as u64);
            let (first, last) = (found.bars[0], found.bars[found.bars.len() - 1]);
            assert!(first.unix <= since && since < first.unix + found.step_seconds);
            assert!(last.unix < until && until <= last.unix + found.step_seconds);
        }
    }

    #[test]
    fn time_that_nobody_saw_ends_with_the_step_that_holds_it() {
        let h = 20_000 * DAY;
        let points = [
            point(h + 540, 9, Some(h)),
            point(h + HOUR, 9, Some(h + 600)),
        ];
        let spans = |steps| {
            let found = timeline(&points, h, h + HOUR + 1_800, steps).unseen;
            let spans = found.iter().map(|it| (it.since - h, it.until - h));
            spans.collect::<Vec<_>>()
        };
        assert_eq!(spans(BY_MINUTE), [(0, 600), (600, HOUR + 60)]);
        // The second hour was not over.
        let by_hour = Steps {
            minutes_from: None,
            longer: HOUR,
        };
        assert_eq!(spans(by_hour), [(0, 540 + HOUR), (600, HOUR + 1_800)]);
    }

    #[test]
    fn peak_is_the_busiest_minute_and_says_how_well_it_is_known() {
        let h = 20_000 * DAY;
        let peak = |points: &[Point], minutes_from| {
            let steps = Steps {
                minutes_from,
                longer: HOUR,
            };
            peak(points, steps, &(h..h + DAY)).map(|it| {
                (
                    it.unix - h,
                    it.seconds,
                    it.packets_per_minute.round() as u64,
                    it.certain,
                )
            })
        };
        let minutes = [point(h, 5, None), point(h + 60, 9, None)];
        assert_eq!(peak(&minutes, Some(h)), Some((60, 60, 9, true)));
        // An hour of 600 frames: ten a minute, if they came evenly.
        let hour = [point(h, 600, None), point(h + HOUR, 9, None)];
        assert_eq!(peak(&hour, Some(h + HOUR)), Some((0, HOUR, 10, false)));
        let busier = [point(h, 600, None), point(h + HOUR, 11, None)];
        assert_eq!(peak(&busier, Some(h + HOUR)), Some((HOUR, 60, 11, false)));
        let much_busier = [point(h, 600, None), point(h + HOUR, 600, None)];
        assert_eq!(
            peak(&much_busier, Some(h + HOUR)),
            Some((HOUR, 60, 600, true))
        );
        assert_eq!(peak(&minutes, None), Some((60, HOUR, 0, false)));
        // Ten minutes in which nobody looked.
        let unseen = [point(h + 540, 100, Some(h + 5))];
        assert_eq!(peak(&unseen, Some(h)), Some((0, 600, 10, false)));
        assert_eq!(peak(&[point(h, 0, None)], Some(h)), None);
    }

    #[test]
    fn days_at_the_rim_tell_only_what_lies_in_the_period() {
        let day = 20_000 * DAY;
        let steps = Steps {
            minutes_from: None,
            longer: DAY,
        };
        // From six in the evening until six in the morning.
        let period = day + 18 * HOUR..day + 30 * HOUR;
        let points = [point(day, 720, None), point(day + DAY, 360, None)];
        let peak = peak(&points, steps, &period).unwrap();
        assert_eq!((peak.unix, peak.seconds), (period.start, 6 * HOUR));
        assert!((peak.packets_per_minute - 2.0).abs() < 1e-9 && !peak.certain);
    }
}

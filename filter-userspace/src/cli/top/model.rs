//! What came in and how fast: differences of counters with their times, and a sample of events.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::recent::Recent;
use crate::control::{
    protocol::ModeWord,
    reply::{AttachedInterface, CountryTotal, ReasonTotal, TrialStatus},
};

/// How far back the map looks.
pub const MINUTE: Duration = Duration::from_secs(60);
/// Rates that a sparkline shows at most.
pub const SPARKS: usize = 60;
/// The verdicts as replies name them, and as people read them.
pub const VERDICTS: [(&str, &str); 3] = [
    ("drop", "dropped"),
    ("would_drop", "would drop"),
    ("pass", "passed"),
];

/// The counters at a time.
#[derive(Clone, Debug)]
pub struct Sample {
    pub at: Instant,
    /// The same by the clock of the host, microseconds since 1970. What was dropped until then is counted here.
    pub unix_us: u64,
    /// False: read from the pins.
    pub daemon: bool,
    pub mode: ModeWord,
    pub trial: Option<TrialStatus>,
    pub interfaces: Vec<AttachedInterface>,
    pub totals: Vec<ReasonTotal>,
    pub countries: Vec<CountryTotal>,
    pub warnings: Vec<String>,
}

/// One counter: how much it grew in the interval, how fast, and what it says.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Growth {
    pub packets: u64,
    pub bytes: u64,
    pub packets_per_second: f64,
    pub bits_per_second: f64,
    pub total_packets: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ReasonGrowth {
    pub reason: String,
    /// `pass`, `drop` or `would_drop`.
    pub verdict: String,
    #[serde(flatten)]
    pub growth: Growth,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CountryGrowth {
    /// Two letters, or `unknown`, `private`, `trusted`, `rule_allow`, `rule_deny`.
    pub class: String,
    pub name: Option<String>,
    pub action: Option<String>,
    /// In the interval, also those that would be dropped.
    pub dropped: Growth,
    pub passed: Growth,
    /// Dropped, or would be, since `top` began, a minute at most.
    pub dropped_last_minute: u64,
}

/// Everything that is shown.
#[derive(Clone, Default)]
pub struct Model {
    pub last: Option<Sample>,
    /// Between the last two samples.
    pub interval: Option<Duration>,
    /// As [`VERDICTS`].
    pub verdicts: [Growth; 3],
    pub reasons: Vec<ReasonGrowth>,
    pub countries: Vec<CountryGrowth>,
    /// Packets per second of each verdict, the newest last.
    pub history: [VecDeque<u64>; 3],
    /// What each class had dropped at the times of earlier samples.
    dropped_before: VecDeque<(Instant, HashMap<String, u64>)>,
    /// Why there is no newer sample.
    pub fault: Option<String>,
    /// `Err`: why no events come.
    pub following: Option<Result<(), String>>,
    pub events: Recent,
}

impl Model {
    pub fn observe(&mut self, sample: Sample) {
        let earlier = self.last.take();
        let elapsed = earlier
            .as_ref()
            .map(|it| sample.at.saturating_duration_since(it.at))
            .filter(|it| !it.is_zero());
        self.interval = elapsed;
        let before = earlier.as_ref();
        self.reasons = sample
            .totals
            .iter()
            .map(|total| {
                let then = before.and_then(|it| {
                    let same = |line: &&ReasonTotal| {
                        line.reason == total.reason && line.verdict == total.verdict
                    };
                    it.totals.iter().find(same)
                });
                let then = then.map(|it| (it.packets, it.bytes));
                ReasonGrowth {
                    reason: total.reason.clone(),
                    verdict: total.verdict.clone(),
                    growth: growth((total.packets, total.bytes), then, elapsed),
                }
            })
            .collect();
        for (index, (verdict, _)) in VERDICTS.iter().enumerate() {
            let lines = self.reasons.iter().filter(|it| it.verdict == *verdict);
            self.verdicts[index] = lines.fold(Growth::default(), |sum, it| add(sum, it.growth));
            if elapsed.is_some() {
                let rate = self.verdicts[index].packets_per_second.round() as u64;
                self.history[index].push_back(rate);
                if self.history[index].len() > SPARKS {
                    self.history[index].pop_front();
                }
            }
        }
        self.observe_countries(&sample, before, elapsed);
        self.fault = None;
        self.last = Some(sample);
    }

    fn observe_countries(
        &mut self,
        sample: &Sample,
        before: Option<&Sample>,
        elapsed: Option<Duration>,
    ) {
        let dropped = |line: &CountryTotal| {
            (
                line.dropped_packets + line.would_drop_packets,
                line.dropped_bytes + line.would_drop_bytes,
            )
        };
        let passed = |line: &CountryTotal| (line.passed_packets, line.passed_bytes);
        let age = |at: &Instant| sample.at.saturating_duration_since(*at);
        // One stays when the interval is longer than a minute; shorter than a second it never is.
        while self.dropped_before.len() > 1
            && let Some((at, _)) = self.dropped_before.front()
            && age(at) > MINUTE
        {
            self.dropped_before.pop_front();
        }
        let oldest = self.dropped_before.front().map(|(_, it)| it);
        self.countries = sample
            .countries
            .iter()
            .map(|line| {
                // A class that was not seen before had no packets.
                let then = before.map(|it| {
                    let found = it.countries.iter().find(|then| then.class == line.class);
                    found.map_or(((0, 0), (0, 0)), |then| (dropped(then), passed(then)))
                });
                let minute_ago = oldest.map(|it| it.get(&line.class).copied().unwrap_or(0));
                CountryGrowth {
                    class: line.class.clone(),
                    name: line.name.clone(),
                    action: line.action.clone(),
                    dropped: growth(dropped(line), then.map(|it| it.0), elapsed),
                    passed: growth(passed(line), then.map(|it| it.1), elapsed),
                    dropped_last_minute: minute_ago
                        .map_or(0, |then| dropped(line).0.saturating_sub(then)),
                }
            })
            .collect();
        let now = sample.countries.iter();
        let now = now.map(|line| (line.class.clone(), dropped(line).0));
        self.dropped_before.push_back((sample.at, now.collect()));
    }
}

/// `now` and `then`: packets and bytes.
fn growth(now: (u64, u64), then: Option<(u64, u64)>, elapsed: Option<Duration>) -> Growth {
    let total_packets = now.0;
    let (Some(then), Some(elapsed)) = (then, elapsed) else {
        return Growth {
            total_packets,
            ..Growth::default()
        };
    };
    // A counter that went back belongs to a gate that was put up anew.
    let packets = now.0.saturating_sub(then.0);
    let bytes = now.1.saturating_sub(then.1);
    let seconds = elapsed.as_secs_f64();
    Growth {
        packets,
        bytes,
        packets_per_second: packets as f64 / seconds,
        bits_per_second: bytes as f64 * 8.0 / seconds,
        total_packets,
    }
}

fn add(sum: Growth, more: Growth) -> Growth {
    Growth {
        packets: sum.packets + more.packets,
        bytes: sum.bytes + more.bytes,
        packets_per_second: sum.packets_per_second + more.packets_per_second,
        bits_per_second: sum.bits_per_second + more.bits_per_second,
        total_packets: sum.total_packets + more.total_packets,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture, *};

    #[test]
    fn rates_are_differences_over_the_time_between() {
        let start = Instant::now();
        let mut model = Model::default();
        model.observe(fixture::sample(start, 1_000));
        assert_eq!(model.verdicts[0].packets_per_second, 0.0);
        assert_eq!(model.verdicts[0].total_packets, 1_000);
        assert_eq!(model.history[0].len(), 0);
        model.observe(fixture::sample(start + Duration::from_secs(2), 5_000));
        let expected = Growth {
            packets: 4_000,
            bytes: 240_000,
            packets_per_second: 2_000.0,
            bits_per_second: 960_000.0,
            total_packets: 5_000,
        };
        assert_eq!(model.verdicts[0], expected);
        assert_eq!(model.countries[0].class, "US");
        assert_eq!(model.countries[0].dropped, expected);
        assert_eq!(model.countries[0].dropped_last_minute, 4_000);
        assert_eq!(model.history[0], [2_000]);
        // A gate that was put up anew counts from zero.
        model.observe(fixture::sample(start + Duration::from_secs(3), 10));
        assert_eq!(model.verdicts[0].packets, 0);
    }

    #[test]
    fn minute_of_a_country_moves_on() {
        let start = Instant::now();
        let mut model = Model::default();
        for second in 0..100 {
            let at = start + Duration::from_secs(second);
            model.observe(fixture::sample(at, second * 10));
        }
        assert_eq!(model.countries[0].dropped_last_minute, 600);
        assert_eq!(model.history[0].len(), SPARKS);
        assert_eq!(model.dropped_before.len(), 61);
        // An interval of more than a minute is told whole.
        let mut model = Model::default();
        for minute in 0..5 {
            let at = start + Duration::from_secs(minute * 90);
            model.observe(fixture::sample(at, minute * 10));
        }
        assert_eq!(model.countries[0].dropped_last_minute, 10);
    }
}

//! Packets per second by reason, from samples that the daemon takes every ten seconds.

use std::time::{Duration, Instant};

use filter_common::verdict::Reason;

use crate::kernel::{Count, InterfaceCounters};

/// How often [`Rates::sample`] wants to be called.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// All interfaces together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Totals {
    pub enforced: Vec<Count>,
    pub would_drop: Vec<Count>,
}

impl Totals {
    pub fn of(interfaces: &[InterfaceCounters]) -> Self {
        let mut totals = Self {
            enforced: vec![Count::default(); Reason::COUNT],
            would_drop: vec![Count::default(); Reason::COUNT],
        };
        for counters in interfaces {
            add(&mut totals.enforced, &counters.enforced);
            add(&mut totals.would_drop, &counters.would_drop);
        }
        totals
    }
}

/// Adds `counts` to `sums`, position by position.
pub fn add(sums: &mut [Count], counts: &[Count]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        sum.packets += count.packets;
        sum.bytes += count.bytes;
    }
}

/// The last two samples: a rate from the older one spans ten to twenty seconds.
#[derive(Default)]
pub struct Rates {
    older: Option<(Instant, Totals)>,
    newer: Option<(Instant, Totals)>,
}

/// `[reason as usize]`, packets per second.
#[derive(Clone, PartialEq, Debug)]
pub struct PerSecond {
    pub enforced: Vec<f64>,
    pub would_drop: Vec<f64>,
}

impl Rates {
    pub fn sample(&mut self, now: Instant, totals: Totals) {
        self.older = self.newer.replace((now, totals));
    }

    /// The rates up to `now`; `None` before the second sample.
    pub fn until(&self, now: Instant, totals: &Totals) -> Option<PerSecond> {
        let (then, before) = self.older.as_ref()?;
        let seconds = now.saturating_duration_since(*then).as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let rates = |now: &[Count], before: &[Count]| {
            now.iter()
                .zip(before)
                // A counter that went back belongs to a program that was loaded anew.
                .map(|(now, before)| now.packets.saturating_sub(before.packets) as f64 / seconds)
                .collect()
        };
        Some(PerSecond {
            enforced: rates(&totals.enforced, &before.enforced),
            would_drop: rates(&totals.would_drop, &before.would_drop),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_spans_the_older_sample_and_never_goes_below_zero() {
        let totals = |packets| {
            let mut totals = Totals::of(&[]);
            totals.enforced[5].packets = packets;
            totals
        };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut rates = Rates::default();
        assert_eq!(rates.until(at(1), &totals(5)), None);
        rates.sample(at(0), totals(100));
        assert_eq!(rates.until(at(5), &totals(150)), None);
        rates.sample(at(10), totals(200));
        assert_eq!(rates.until(at(15), &totals(400)).unwrap().enforced[5], 20.0);
        assert_eq!(rates.until(at(15), &totals(50)).unwrap().enforced[5], 0.0);
    }
}

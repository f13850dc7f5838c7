//! The observed time: since when observe mode counts, and where went what would have been dropped.
//!
//! The counters of reasons and classes go on for ever. What they showed when the gate began to observe lies in
//! the same map as the counts by destination, so that both live and end together: the map is kept over restarts,
//! and begun anew when the gate goes from enforce to observe.

use std::{
    mem::offset_of,
    path::PathBuf,
    sync::atomic::Ordering,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aya::EbpfLoader;
use filter_common::{
    abi::{ABI_VERSION, Count, Counters, outcome},
    country::Class,
    observed::{DESTINATIONS, Observed},
    verdict::Reason,
};

pub use filter_common::observed::Destination;

use super::{
    Gate, InterfaceCounters, KernelError, Mode, counters,
    load::{array, mode_of},
    mapped::MappedArray,
    pins::{self, PinPaths},
    publish::wait_for_packets_in_flight,
};

const OBSERVED: &str = "OBSERVED";

/// What would have been dropped since the gate began to observe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObservedTime {
    pub since: SystemTime,
    /// `[reason as usize]`.
    pub reasons: Vec<Count>,
    /// `[class]`.
    pub classes: Vec<Count>,
    /// Those that were seen. Frames that are malformed went nowhere; all others are here.
    pub destinations: Vec<(Destination, Count)>,
}

impl Gate {
    /// What was observed. Packets that come meanwhile may be in one sum and not in another.
    pub fn observed(&self) -> Result<ObservedTime, KernelError> {
        let observed = self.observed_map()?;
        let now = would_drop(&self.counters()?);
        let count = |offset: usize| Count {
            packets: load(&observed, offset),
            bytes: load(&observed, offset + offset_of!(Count, bytes)),
        };
        let since = |offset: usize, now: &[Count]| {
            let before = |index: usize| count(offset + index * size_of::<Count>());
            let grown = now.iter().enumerate();
            grown
                .map(|(index, now)| grown_by(before(index), *now))
                .collect()
        };
        let began = load(&observed, offset_of!(Observed, since_unix_s));
        let destinations = Destination::all()
            .map(|destination| {
                let offset = destination.index() * size_of::<Count>();
                (
                    destination,
                    count(offset_of!(Observed, destinations) + offset),
                )
            })
            .filter(|(_, count)| count.packets > 0)
            .collect();
        Ok(ObservedTime {
            since: UNIX_EPOCH + Duration::from_secs(began),
            reasons: since(offset_of!(Observed, reasons_before), &now.reasons),
            classes: since(offset_of!(Observed, classes_before), &now.classes),
            destinations,
        })
    }

    /// Begins the observed time anew. The mode is enforce, so that nothing counts meanwhile.
    pub(super) fn begin_observed_time(&self) {
        // Those that came before the mode was enforce.
        wait_for_packets_in_flight();
        let begun = self.counters().and_then(|now| {
            self.clear_destinations()?;
            self.write_observed(&would_drop(&now))
        });
        if let Err(error) = begun {
            tracing::warn!("what is observed counts from before: {error}");
        }
    }

    /// As if `counted` had never been observed: it goes out of the counters, but not out of the observed time.
    pub(super) fn forget_observed(&self, counted: &Counters) -> Result<(), KernelError> {
        let observed = self.observed_map()?;
        let lower = |offset: usize, count: Count| {
            for (offset, value) in [
                (offset, count.packets),
                (offset + offset_of!(Count, bytes), count.bytes),
            ] {
                observed
                    .double_word(0, offset)
                    .fetch_sub(value, Ordering::Relaxed);
            }
        };
        for reason in 0..Reason::COUNT {
            let offset = offset_of!(Observed, reasons_before) + reason * size_of::<Count>();
            lower(offset, counted.reasons[reason][1]);
        }
        for class in 0..Class::COUNT {
            let offset = offset_of!(Observed, classes_before) + class * size_of::<Count>();
            lower(offset, counted.classes[class][outcome::WOULD_DROP]);
        }
        Ok(())
    }

    fn clear_destinations(&self) -> Result<(), KernelError> {
        let observed = self.observed_map()?;
        let bytes = DESTINATIONS * size_of::<Count>();
        for offset in (0..bytes).step_by(size_of::<u64>()) {
            observed.double_word(0, offset).store(0, Ordering::Release);
        }
        Ok(())
    }

    /// Begins the observed time, in which nothing is counted yet.
    fn write_observed(&self, before: &WouldDrop) -> Result<(), KernelError> {
        let observed = self.observed_map()?;
        let store = |offset: usize, value: u64| {
            observed
                .double_word(0, offset)
                .store(value, Ordering::Release);
        };
        let store_count = |offset: usize, count: Count| {
            store(offset, count.packets);
            store(offset + offset_of!(Count, bytes), count.bytes);
        };
        for (start, counts) in [
            (offset_of!(Observed, reasons_before), &before.reasons),
            (offset_of!(Observed, classes_before), &before.classes),
        ] {
            for (index, count) in counts.iter().enumerate() {
                store_count(start + index * size_of::<Count>(), *count);
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.map_or(0, |since| since.as_secs());
        store(offset_of!(Observed, since_unix_s), seconds);
        Ok(())
    }

    fn observed_map(&self) -> Result<MappedArray<Observed>, KernelError> {
        MappedArray::new(array(&self.ebpf, OBSERVED)?, OBSERVED)
    }
}

fn load(observed: &MappedArray<Observed>, offset: usize) -> u64 {
    observed.double_word(0, offset).load(Ordering::Acquire)
}

/// Counts by reason and by class.
struct WouldDrop {
    reasons: Vec<Count>,
    classes: Vec<Count>,
}

impl WouldDrop {
    fn nothing() -> Self {
        would_drop(&[])
    }
}

/// Of all interfaces together.
fn would_drop(interfaces: &[InterfaceCounters]) -> WouldDrop {
    let mut sums = WouldDrop {
        reasons: vec![Count::ZERO; Reason::COUNT],
        classes: vec![Count::ZERO; Class::COUNT],
    };
    for interface in interfaces {
        counters::add_all(&mut sums.reasons, &interface.would_drop);
        counters::add_all(&mut sums.classes, &interface.class_would_drop);
    }
    sums
}

/// What a counter has gained. One that went back, as when an earlier load's could not be read, gained nothing.
fn grown_by(before: Count, now: Count) -> Count {
    let grown = |before: u64, now: u64| {
        let grown = now.wrapping_sub(before);
        match grown.cast_signed() < 0 {
            true => 0,
            false => grown,
        }
    };
    Count {
        packets: grown(before.packets, now.packets),
        bytes: grown(before.bytes, now.bytes),
    }
}

/// The observed time of the load before, with which this one goes on.
pub(super) struct KeptObserved {
    path: Option<PathBuf>,
    /// What the load before has counted up to now, and its mode.
    earlier: Option<(WouldDrop, Mode)>,
}

impl KeptObserved {
    pub(super) fn find(paths: &PinPaths) -> Self {
        let path = paths.map(OBSERVED);
        let earlier = match pins::pinned_counters(paths, &paths.maps_directory()) {
            // Of another version, whose counters are not taken over either, or there is none.
            Ok(None) => None,
            Ok(Some((map, control))) => counters::read(&map, &control, |_, _| String::new())
                .map(|counters| Some((would_drop(&counters), mode_of(&control))))
                .unwrap_or_else(not_kept),
            Err(error) => not_kept(error),
        };
        let is_kept = earlier.is_some()
            && match pins::check_array(&path, OBSERVED, size_of::<Observed>(), 1) {
                Ok(()) => true,
                Err(reason) => {
                    tracing::warn!("what was observed is forgotten: {reason}");
                    false
                }
            };
        Self {
            path: is_kept.then_some(path),
            earlier,
        }
    }

    /// Makes `loader` use the map.
    pub(super) fn give_to(&self, loader: &mut EbpfLoader<'_>) {
        if let Some(path) = &self.path {
            loader.map_pin_path(OBSERVED, path.clone());
        }
    }

    /// Begins the observed time of `gate`, which is not attached yet, unless an earlier one goes on.
    pub(super) fn go_on(&self, gate: &Gate) -> Result<(), KernelError> {
        match &self.earlier {
            None => gate.write_observed(&WouldDrop::nothing()),
            Some((_, before)) if self.path.is_some() && !begins(*before, gate.mode()) => Ok(()),
            Some((counted, _)) => {
                // A map that is new is empty.
                if self.path.is_some() {
                    gate.clear_destinations()?;
                }
                gate.write_observed(counted)
            }
        }
    }
}

/// Whether the observed time starts with a change of the mode.
fn begins(before: Mode, after: Mode) -> bool {
    before == Mode::Enforce && after == Mode::Observe
}

fn not_kept<T>(error: KernelError) -> Option<T> {
    tracing::warn!("what was observed is forgotten (this is ABI version {ABI_VERSION}): {error}");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_lost_an_interface_have_gained_the_same() {
        let count = |packets, bytes| Count { packets, bytes };
        assert_eq!(grown_by(count(5, 500), count(12, 1_300)), count(7, 800));
        // An interface with 6 packets went away: out of the sum, and out of what was before.
        let before = count(5_u64.wrapping_sub(6), 500_u64.wrapping_sub(600));
        assert_eq!(grown_by(before, count(6, 700)), count(7, 800));
        assert_eq!(grown_by(count(5, 500), count(4, 400)), count(0, 0));
    }
}

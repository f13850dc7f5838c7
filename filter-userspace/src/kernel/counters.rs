//! Counters, summed over all CPUs when they are read.
//!
//! The map has two values for each interface. The program counts in the first half. The second half
//! holds what the loads before this one had counted: the kernel side never touches it, so it can be
//! written while packets are counted, and not one of them is lost. Behind both comes one value for
//! frames from elsewhere, which only test runs make: it is no traffic, is shown nowhere as such, and is
//! not carried over.

use std::{
    borrow::{Borrow, BorrowMut},
    collections::BTreeMap,
    mem::offset_of,
};

use aya::{
    maps::{MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use filter_common::{
    abi::{self, Control, Counters, elsewhere_slot, outcome},
    country::Class,
    verdict::Reason,
};

use super::{
    Gate, KernelError, load::typed, mapped::MappedArray, pins, publish::wait_for_packets_in_flight,
};

use crate::faults::{Step, reached};

pub use filter_common::abi::Count;

/// Values of the counter map for `interfaces` interfaces.
pub(super) fn map_len(interfaces: usize) -> u32 {
    elsewhere_slot(interfaces as u32) + 1
}

/// In the place of an interface's name, for what test runs have counted.
const ELSEWHERE: &str = "elsewhere";

/// What one interface has seen since the gate was first put up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceCounters {
    pub interface: String,
    /// `[reason as usize]`: the verdict of the reason happened.
    pub enforced: Vec<Count>,
    /// `[reason as usize]`: observe mode let it pass.
    pub would_drop: Vec<Count>,
    /// `[class]`.
    pub class_passed: Vec<Count>,
    /// `[class]`.
    pub class_dropped: Vec<Count>,
    /// `[class]`.
    pub class_would_drop: Vec<Count>,
}

impl Gate {
    /// One entry for each interface that was named at the load or came later.
    pub fn counters(&self) -> Result<Vec<InterfaceCounters>, KernelError> {
        let counters = typed(self.ebpf.map("COUNTERS"), "COUNTERS")?;
        let mut all = read(&counters, &self.control, |slot, _| {
            self.interfaces.get(slot).cloned().unwrap_or_default()
        })?;
        // Those behind wait for an interface.
        all.truncate(self.interfaces.len());
        Ok(all)
    }

    /// Which gate's counters these are: they go on over restarts of the daemon, not over a detach and not over
    /// the next boot.
    pub fn identity(&self) -> std::io::Result<String> {
        self.paths.identity()
    }

    /// The name of an interface of this gate, or `#` and its number.
    pub fn interface_name(&self, ifindex: u32) -> String {
        let slot = self
            .control
            .read(0)
            .interfaces
            .into_iter()
            .position(|it| it == ifindex)
            .or_else(|| self.slot_of_member(ifindex));
        slot.and_then(|slot| self.interfaces.get(slot).cloned())
            .unwrap_or_else(|| format!("#{ifindex}"))
    }

    /// Forgets what `slot` has counted; its interface is gone, so nothing counts there meanwhile.
    pub(super) fn clear_counters(&mut self, slot: usize) -> Result<(), KernelError> {
        let offset = offset_of!(Control, interfaces) + slot * size_of::<u32>();
        self.store(offset, 0);
        wait_for_packets_in_flight();
        let carried = slots(&self.control.read(0)) + slot;
        let counters = typed(self.ebpf.map("COUNTERS"), "COUNTERS")?;
        self.forget_observed(&total(&counters, slot, &self.control)?)?;
        let mut own: PerCpuArray<_, Counters> = typed(self.ebpf.map_mut("COUNTERS"), "COUNTERS")?;
        for index in [slot, carried] {
            let values = PerCpuValues::try_from(vec![Counters::ZERO; cpus()?])
                .map_err(|error| KernelError::map("write to", "COUNTERS")(error))?;
            own.set(index as u32, values, 0)
                .map_err(KernelError::map("write to", "COUNTERS"))?;
        }
        Ok(())
    }

    /// What test runs over this program have counted.
    pub fn elsewhere(&self) -> Result<InterfaceCounters, KernelError> {
        let counters = typed(self.ebpf.map("COUNTERS"), "COUNTERS")?;
        elsewhere(&counters, &self.control)
    }

    /// Takes over what the pinned maps of an earlier load have counted, for the interfaces that both
    /// know by their index.
    ///
    /// To be called when the earlier program is off its links.
    pub(super) fn adopt_counters(&mut self) -> Result<(), KernelError> {
        let Some(earlier) = pins::pinned_counters(&self.paths, &self.paths.maps_directory())?
        else {
            return Ok(());
        };
        // What still runs through the earlier program counts in its maps.
        wait_for_packets_in_flight();
        reached(Step::CountersDrained);
        let control = self.control.read(0);
        let mut own: PerCpuArray<_, Counters> = typed(self.ebpf.map_mut("COUNTERS"), "COUNTERS")?;
        carry_over(&earlier, &mut own, &control)?
            .iter()
            .try_for_each(|counted| self.forget_observed(counted))
    }
}

/// Writes what `earlier` has counted into the second half of `own`; what it has counted of interfaces that are not
/// there comes back. Doing it again does no harm.
pub(super) fn carry_over<M: BorrowMut<MapData>>(
    (counters, control): &(pins::CounterMap, MappedArray<Control>),
    own: &mut PerCpuArray<M, Counters>,
    own_control: &Control,
) -> Result<Vec<Counters>, KernelError> {
    let block = control.read(0);
    let mut earlier: BTreeMap<u32, Counters> = (0..slots(&block))
        .filter(|slot| block.interfaces[*slot] != 0)
        .map(|slot| Ok((block.interfaces[slot], total(counters, slot, control)?)))
        .collect::<Result<_, KernelError>>()?;
    let carried = slots(own_control);
    for slot in 0..carried {
        let Some(counted) = earlier.remove(&own_control.interfaces[slot]) else {
            continue;
        };
        let mut values = vec![Counters::ZERO; cpus()?];
        values[0] = counted;
        let write = KernelError::map("write to", "COUNTERS");
        let values = PerCpuValues::try_from(values)
            .map_err(|error| KernelError::map("write to", "COUNTERS")(error))?;
        own.set((carried + slot) as u32, values, 0).map_err(write)?;
        reached(Step::CountersOfOne);
    }
    Ok(earlier.into_values().collect())
}

fn cpus() -> Result<usize, KernelError> {
    nr_cpus().map_err(|(_, error)| KernelError::map("size the values of", "COUNTERS")(error))
}

/// Slots that the program counts in.
fn slots(control: &Control) -> usize {
    (control.interface_count as usize).min(abi::MAX_INTERFACES)
}

/// Reads the slots in use; `name(slot, ifindex)` gives the interface of each.
pub(super) fn read<M: Borrow<MapData>>(
    counters: &PerCpuArray<M, Counters>,
    control: &MappedArray<Control>,
    name: impl Fn(usize, u32) -> String,
) -> Result<Vec<InterfaceCounters>, KernelError> {
    let block = control.read(0);
    (0..slots(&block))
        .map(|slot| {
            let total = total(counters, slot, control)?;
            Ok(by_outcome(&total, name(slot, block.interfaces[slot])))
        })
        .collect()
}

/// Reads the value behind the interfaces.
pub(super) fn elsewhere<M: Borrow<MapData>>(
    counters: &PerCpuArray<M, Counters>,
    control: &MappedArray<Control>,
) -> Result<InterfaceCounters, KernelError> {
    let index = elsewhere_slot(slots(&control.read(0)) as u32);
    if index >= counters.len() {
        return Err(KernelError::NoElsewhere);
    }
    Ok(by_outcome(&sum(counters, [index])?, ELSEWHERE.to_owned()))
}

/// All that `slot` has counted: on every CPU, in this load and in those before it.
fn total<M: Borrow<MapData>>(
    counters: &PerCpuArray<M, Counters>,
    slot: usize,
    control: &MappedArray<Control>,
) -> Result<Counters, KernelError> {
    let carried = slots(&control.read(0)) + slot;
    sum(counters, [slot as u32, carried as u32])
}

/// The sum of some values of the map over all CPUs.
fn sum<M: Borrow<MapData>, const N: usize>(
    counters: &PerCpuArray<M, Counters>,
    indices: [u32; N],
) -> Result<Counters, KernelError> {
    let mut total = Counters::ZERO;
    for index in indices {
        // A map from before counters were carried over has no second half.
        if index >= counters.len() {
            continue;
        }
        let per_cpu = counters
            .get(&index, 0)
            .map_err(KernelError::map("read", "COUNTERS"))?;
        for cpu in per_cpu.iter() {
            for (sums, counts) in total.reasons.iter_mut().zip(&cpu.reasons) {
                sums.iter_mut()
                    .zip(counts)
                    .for_each(|(sum, count)| add(sum, *count));
            }
            for (sums, counts) in total.classes.iter_mut().zip(&cpu.classes) {
                sums.iter_mut()
                    .zip(counts)
                    .for_each(|(sum, count)| add(sum, *count));
            }
        }
    }
    Ok(total)
}

fn by_outcome(total: &Counters, interface: String) -> InterfaceCounters {
    let mut sums = InterfaceCounters {
        interface,
        enforced: vec![Count::default(); Reason::COUNT],
        would_drop: vec![Count::default(); Reason::COUNT],
        class_passed: vec![Count::default(); Class::COUNT],
        class_dropped: vec![Count::default(); Class::COUNT],
        class_would_drop: vec![Count::default(); Class::COUNT],
    };
    for reason in 0..Reason::COUNT {
        sums.enforced[reason] = total.reasons[reason][0];
        sums.would_drop[reason] = total.reasons[reason][1];
    }
    for class in 0..Class::COUNT {
        let counts = &total.classes[class];
        sums.class_passed[class] = counts[outcome::PASSED];
        sums.class_dropped[class] = counts[outcome::DROPPED];
        sums.class_would_drop[class] = counts[outcome::WOULD_DROP];
    }
    sums
}

/// Adds `counts` to `sums`, position by position.
pub(super) fn add_all(sums: &mut [Count], counts: &[Count]) {
    sums.iter_mut()
        .zip(counts)
        .for_each(|(sum, count)| add(sum, *count));
}

fn add(sum: &mut Count, count: Count) {
    sum.packets = sum.packets.wrapping_add(count.packets);
    sum.bytes = sum.bytes.wrapping_add(count.bytes);
}

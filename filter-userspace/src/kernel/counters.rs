//! Counters, summed over all CPUs when they are read.

use std::borrow::Borrow;

use aya::maps::{MapData, PerCpuArray};
use filter_common::{
    abi::{self, Control, Counters, outcome},
    country::Class,
    verdict::Reason,
};

use super::{Gate, KernelError, load::typed, mapped::MappedArray};

pub use filter_common::abi::Count;

/// What one interface has seen since the gate was loaded.
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
    /// One entry for each interface that was named at the load.
    pub fn counters(&self) -> Result<Vec<InterfaceCounters>, KernelError> {
        let counters = typed(self.ebpf.map("COUNTERS"), "COUNTERS")?;
        read(&counters, &self.control, |slot, _| {
            self.interfaces
                .get(slot)
                .map_or_else(|| format!("slot{slot}"), Clone::clone)
        })
    }
}

/// Reads the slots in use; `name(slot, ifindex)` gives the interface of each.
pub(super) fn read<M: Borrow<MapData>>(
    counters: &PerCpuArray<M, Counters>,
    control: &MappedArray<Control>,
    name: impl Fn(usize, u32) -> String,
) -> Result<Vec<InterfaceCounters>, KernelError> {
    let control = control.read(0);
    let slots = (control.interface_count as usize).min(abi::MAX_INTERFACES);
    (0..slots)
        .map(|slot| {
            let per_cpu = counters
                .get(&(slot as u32), 0)
                .map_err(KernelError::map("read", "COUNTERS"))?;
            Ok(sum(per_cpu.iter(), name(slot, control.interfaces[slot])))
        })
        .collect()
}

fn sum<'a>(per_cpu: impl Iterator<Item = &'a Counters>, interface: String) -> InterfaceCounters {
    let mut sums = InterfaceCounters {
        interface,
        enforced: vec![Count::default(); Reason::COUNT],
        would_drop: vec![Count::default(); Reason::COUNT],
        class_passed: vec![Count::default(); Class::COUNT],
        class_dropped: vec![Count::default(); Class::COUNT],
        class_would_drop: vec![Count::default(); Class::COUNT],
    };
    for cpu in per_cpu {
        for reason in 0..Reason::COUNT {
            add(&mut sums.enforced[reason], cpu.reasons[reason][0]);
            add(&mut sums.would_drop[reason], cpu.reasons[reason][1]);
        }
        for class in 0..Class::COUNT {
            let counts = &cpu.classes[class];
            add(&mut sums.class_passed[class], counts[outcome::PASSED]);
            add(&mut sums.class_dropped[class], counts[outcome::DROPPED]);
            add(
                &mut sums.class_would_drop[class],
                counts[outcome::WOULD_DROP],
            );
        }
    }
    sums
}

fn add(sum: &mut Count, count: Count) {
    sum.packets = sum.packets.wrapping_add(count.packets);
    sum.bytes = sum.bytes.wrapping_add(count.bytes);
}

//! The ring buffer of events, and the budget that the kernel side has for them.

use std::mem::offset_of;

use aya::{
    maps::{MapData, RingBuf},
    util::nr_cpus,
};
use filter_common::abi::{Control, EVENT_WINDOW_NS, Event};

use super::{Gate, KernelError};

/// Events of each reason that all CPUs together may make in a second; with more than a hundred, each makes ten.
pub const EVENTS_PER_SECOND: u64 = 1_000;

/// Reads events; no other reader may.
pub struct EventReader(RingBuf<MapData>);

impl Gate {
    /// The events of this load. `None` from the second call on.
    pub fn take_events(&mut self) -> Result<Option<EventReader>, KernelError> {
        let Some(map) = self.ebpf.take_map("EVENTS") else {
            return Ok(None);
        };
        let ring = RingBuf::try_from(map).map_err(KernelError::map("open", "EVENTS"))?;
        let cpus = nr_cpus().map_or(1, |cpus| cpus as u64);
        let windows_per_second = 1_000_000_000 / EVENT_WINDOW_NS;
        let budget = (EVENTS_PER_SECOND / windows_per_second / cpus).max(1);
        self.store(offset_of!(Control, event_budget), budget as u32);
        Ok(Some(EventReader(ring)))
    }

    /// Gives every reason a new budget.
    pub fn begin_event_window(&self) {
        let window = self.control.read(0).event_window.wrapping_add(1);
        // 0 is what the kernel side starts with: a window whose budget is spent.
        self.store(offset_of!(Control, event_window), window.max(1));
    }
}

impl EventReader {
    /// The next event that is there already.
    pub fn read(&mut self) -> Option<Event> {
        let item = self.0.next()?;
        let bytes = item.get(..size_of::<Event>())?;
        // SAFETY: as many bytes as an event has, and any bytes are one.
        Some(unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() })
    }
}

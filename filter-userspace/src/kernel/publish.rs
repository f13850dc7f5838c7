//! A new policy into the spare generation, and the flip.

use std::{mem::offset_of, thread, time::Duration};

use filter_common::abi::{Control, GENERATIONS, PORT_SETS};

use super::{Gate, KernelError};
use crate::compile::CompiledPolicy;

impl Gate {
    /// Writes the spare generation whole, reads it back, flips, and waits until no packet uses the
    /// other one any more. A packet sees the old policy or the new one, never parts of both.
    ///
    /// On error the running policy stays.
    pub fn publish(&mut self, compiled: &CompiledPolicy) -> Result<(), KernelError> {
        let needed = compiled.lines.len();
        if needed > self.lines_per_generation {
            return Err(KernelError::TableOutgrown {
                needed,
                capacity: self.lines_per_generation,
            });
        }
        let current = self.generation();
        let spare = current.map_or(0, |current| GENERATIONS - 1 - current);
        let first_line = spare * self.lines_per_generation;
        let table = self.table()?;
        table.write(first_line, &compiled.lines);
        self.ports.write(spare * PORT_SETS, &compiled.ports[..]);
        self.policy
            .write(spare, std::slice::from_ref(&*compiled.policy));

        let written = table.slice(first_line, needed);
        if let Some(line) = written
            .iter()
            .zip(&compiled.lines)
            .position(|(kernel, ours)| kernel != ours)
        {
            return Err(KernelError::ReadBack { line });
        }
        self.store(offset_of!(Control, published), spare as u32 + 1);
        // Without an earlier generation no packet can be using one.
        if current.is_some() {
            wait_for_packets_in_flight();
        }
        Ok(())
    }
}

/// Returns when every XDP run that may have read the old generation number has ended.
///
/// XDP runs inside an RCU read-side section, and MEMBARRIER_CMD_GLOBAL is synchronize_rcu()
/// (kernel/sched/membarrier.c). Where it is refused, as with nohz_full CPUs or by a seccomp filter, a
/// full second passes instead: no packet takes that long, unless its CPU is taken away from the host.
pub(super) fn wait_for_packets_in_flight() {
    // SAFETY: three integers.
    let status = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if status != 0 {
        thread::sleep(Duration::from_secs(1));
    }
}

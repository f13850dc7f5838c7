//! A new policy into the spare generation, and the flip.

use std::{mem::offset_of, sync::atomic::Ordering, thread, time::Duration};

use filter_common::abi::{Control, GENERATIONS, PORT_SETS};

use super::{Gate, KernelError, Mode, bans::boot_ns, load::mode_of_flag, mapped::MappedArray};
use crate::{
    compile::CompiledPolicy,
    faults::{Step, reached},
};

impl Gate {
    /// Writes the spare generation whole, reads it back, flips, and waits until no packet uses the
    /// other one any more. A packet sees the old policy or the new one, never parts of both.
    ///
    /// On error the running policy stays.
    pub fn publish(&mut self, compiled: &CompiledPolicy) -> Result<(), KernelError> {
        self.publish_up_to(compiled, None)
    }

    /// Like [`Gate::publish`], but only for `duration`: then the kernel itself goes back to the policy
    /// and the mode of before, whatever has become of this process. [`Gate::confirm`] makes it last.
    pub fn publish_on_trial(
        &mut self,
        compiled: &CompiledPolicy,
        duration: Duration,
    ) -> Result<(), KernelError> {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.publish_up_to(compiled, Some(boot_ns().saturating_add(nanoseconds)))
    }

    fn publish_up_to(
        &mut self,
        compiled: &CompiledPolicy,
        trial_until_ns: Option<u64>,
    ) -> Result<(), KernelError> {
        // The other generation is what the kernel would go back to.
        if self.trial().is_some() {
            return Err(KernelError::OnTrial);
        }
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
        reached(Step::PublishTable);
        self.ports.write(spare * PORT_SETS, &compiled.ports[..]);
        reached(Step::PublishPorts);
        self.policy
            .write(spare, std::slice::from_ref(&*compiled.policy));
        reached(Step::PublishPolicy);

        let written = table.slice(first_line, needed);
        if let Some(line) = written
            .iter()
            .zip(&compiled.lines)
            .position(|(kernel, ours)| kernel != ours)
        {
            return Err(KernelError::ReadBack { line });
        }
        reached(Step::PublishReadBack);
        if let Some(until_ns) = trial_until_ns {
            let before = self.control.read(0);
            self.store(offset_of!(Control, published_before), before.published);
            self.store(offset_of!(Control, observe_before), before.observe);
            self.store_trial_end(until_ns);
            reached(Step::PublishTrial);
        }
        self.store(offset_of!(Control, published), spare as u32 + 1);
        reached(Step::PublishFlip);
        // Without an earlier generation no packet can be using one.
        if current.is_some() {
            wait_for_packets_in_flight();
            reached(Step::PublishDrained);
        }
        Ok(())
    }
}

/// A policy on trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trial {
    /// Zero when it is over, and the policy of before decides again.
    pub left: Duration,
    /// The mode of before.
    pub mode_before: Mode,
}

impl Gate {
    /// The trial that nobody has ended yet, if there is one.
    pub fn trial(&self) -> Option<Trial> {
        trial_of(&self.control)
    }

    /// Makes what is on trial last. Fails when its time is over: it does not decide any more.
    pub fn confirm(&self) -> Result<(), KernelError> {
        match self.trial() {
            None => Err(KernelError::NoTrial),
            Some(trial) if trial.left.is_zero() => Err(KernelError::TrialOver),
            Some(_) => {
                self.store_trial_end(0);
                Ok(())
            }
        }
    }

    /// Goes back to the policy and the mode of before the trial, if there is one, and ends it.
    pub fn roll_back(&self) -> Result<(), KernelError> {
        if self.trial().is_none() {
            return Err(KernelError::NoTrial);
        }
        let control = self.control.read(0);
        self.store(offset_of!(Control, published), control.published_before);
        self.store(offset_of!(Control, observe), control.observe_before);
        self.store_trial_end(0);
        // The generation that was tried is the next one to be written.
        wait_for_packets_in_flight();
        Ok(())
    }

    fn store_trial_end(&self, until_ns: u64) {
        self.control
            .double_word(0, offset_of!(Control, trial_until_ns))
            .store(until_ns, Ordering::Release);
    }
}

/// The trial that a control block speaks of.
pub(super) fn trial_of(control: &MappedArray<Control>) -> Option<Trial> {
    let until_ns = control
        .double_word(0, offset_of!(Control, trial_until_ns))
        .load(Ordering::Acquire);
    (until_ns != 0).then(|| Trial {
        left: Duration::from_nanos(until_ns.saturating_sub(boot_ns())),
        mode_before: mode_of_flag(control.read(0).observe_before),
    })
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

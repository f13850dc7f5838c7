//! One CPU for all that is measured.

use std::{io, mem};

use anyhow::{Context as _, Result};

/// Keeps the calling thread on the last CPU, away from what the first one is given: interrupts.
pub fn pin() -> Result<()> {
    // SAFETY: an all-zero set is a valid, empty one; the calls take pointers to it that live on.
    unsafe {
        let last = libc::sysconf(libc::_SC_NPROCESSORS_ONLN).max(1) - 1;
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(usize::try_from(last)?, &mut set);
        if libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set) != 0 {
            return Err(io::Error::last_os_error()).context("failed to pin the thread to a CPU");
        }
    }
    Ok(())
}

//! One CPU for all that is measured, and priority for what has to keep time.

use std::{io, mem};

use anyhow::{Context as _, Result};

/// Keeps its thread, and those that it starts, on one CPU until it is dropped: loading is measured with
/// all of them.
pub struct Pinned {
    before: libc::cpu_set_t,
}

/// Keeps the calling thread on the last CPU, away from what the first one is given: interrupts.
pub fn pin() -> Result<Pinned> {
    // SAFETY: an all-zero set is a valid, empty one; the calls take pointers to it that live on.
    unsafe {
        let mut before: libc::cpu_set_t = mem::zeroed();
        if libc::sched_getaffinity(0, mem::size_of_val(&before), &raw mut before) != 0 {
            return Err(io::Error::last_os_error()).context("failed to read the thread's CPUs");
        }
        let last = libc::sysconf(libc::_SC_NPROCESSORS_ONLN).max(1) - 1;
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(usize::try_from(last)?, &mut set);
        if libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set) != 0 {
            return Err(io::Error::last_os_error()).context("failed to pin the thread to a CPU");
        }
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: the set that the kernel filled.
        unsafe {
            libc::sched_setaffinity(0, mem::size_of_val(&self.before), &raw const self.before);
        }
    }
}

/// Gives its thread the highest priority of the ordinary ones until it is dropped.
pub struct Preferred {
    before: libc::c_int,
}

/// Has the scheduler prefer the calling thread, for what has to keep to a rate in real time.
pub fn prefer() -> Result<Preferred> {
    // SAFETY: the calls take numbers. 0 is the calling thread, on Linux (setpriority(2), "C library/kernel
    // differences").
    unsafe {
        // -1 is a priority as well, so that only errno tells an error.
        *libc::__errno_location() = 0;
        let before = libc::getpriority(libc::PRIO_PROCESS, 0);
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(0) {
            return Err(error).context("failed to read the thread's priority");
        }
        if libc::setpriority(libc::PRIO_PROCESS, 0, -20) != 0 {
            return Err(io::Error::last_os_error())
                .context("failed to raise the thread's priority");
        }
        Ok(Preferred { before })
    }
}

impl Drop for Preferred {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe {
            libc::setpriority(libc::PRIO_PROCESS, 0, self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pin;

    fn cpus() -> usize {
        std::thread::available_parallelism().map_or(0, usize::from)
    }

    #[test]
    fn thread_has_its_cpus_back_when_the_guard_is_gone() {
        let before = cpus();
        let pinned = pin().unwrap();
        assert_eq!(cpus(), 1);
        drop(pinned);
        assert_eq!(cpus(), before);
    }
}

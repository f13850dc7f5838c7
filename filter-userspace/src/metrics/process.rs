//! What the daemon itself takes.

use std::time::{SystemTime, UNIX_EPOCH};

use procfs::process;

/// The daemon as a process, at one moment.
#[derive(Clone, Debug)]
pub struct Process {
    /// User and system mode, all threads.
    pub cpu_seconds: f64,
    /// Seconds since 1970.
    pub started: f64,
    /// `None` where /proc does not tell.
    pub resident_bytes: Option<u64>,
    pub open_fds: Option<u64>,
}

impl Process {
    /// This process, which began at `started`.
    pub fn this(started: SystemTime) -> Self {
        let own = process::Process::myself().ok();
        let own = own.as_ref();
        let resident = own.and_then(|own| own.statm().ok());
        let started = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            cpu_seconds: cpu_seconds(),
            started: started.as_secs_f64(),
            resident_bytes: resident.map(|memory| memory.resident * procfs::page_size()),
            open_fds: own.and_then(|own| Some(own.fd_count().ok()? as u64)),
        }
    }
}

fn cpu_seconds() -> f64 {
    // SAFETY: an all-zero rusage is valid, all its fields are integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to `usage`; with these arguments the call cannot fail.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_tells_what_it_takes() {
        let started = UNIX_EPOCH + std::time::Duration::from_millis(1_780_272_000_250);
        let before = Process::this(started);
        assert_eq!(before.started, 1_780_272_000.25);
        let open = before.open_fds.unwrap();
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        let memory = vec![1_u8; 64 << 20];
        let mut after = Process::this(started);
        // Other tests of this process may open and close files meanwhile, so it is only bounded.
        assert!(open >= 3 && after.open_fds.unwrap() < 1000);
        let resident = after.resident_bytes.unwrap();
        assert!((64 << 20..1 << 40).contains(&resident), "{resident}");
        while after.cpu_seconds < before.cpu_seconds + 0.01 {
            std::hint::black_box(memory.iter().map(|&byte| u64::from(byte)).sum::<u64>());
            after = Process::this(started);
        }
        drop(file);
    }
}

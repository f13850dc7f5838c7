//! The machine under the measurement.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

/// Keeps this thread on the CPU that it runs on: caches and clock stay its own. Returns the number
/// of the CPU, or `None` when the kernel did not let it.
pub fn stay_on_this_cpu() -> Option<usize> {
    // SAFETY: no arguments.
    let cpu = usize::try_from(unsafe { libc::sched_getcpu() }).ok()?;
    // SAFETY: an all-zero set is the empty one; the kernel only reads it.
    let status = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if cpu >= 8 * size_of::<libc::cpu_set_t>() {
            return None;
        }
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    (status == 0).then_some(cpu)
}

/// The release of the running kernel.
pub fn kernel() -> String {
    setting("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned())
}

pub fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Settings of the kernel that make every program slower than it has to be.
pub fn warnings() -> Vec<String> {
    let mut warnings = Vec::new();
    // Network namespaces other than the first do not show it.
    if setting("/proc/sys/net/core/bpf_jit_enable").as_deref() == Some("0") {
        warnings.push(
            "net.core.bpf_jit_enable is 0: the kernel interprets the program, which takes many \
             times as long as compiled code; `sysctl net.core.bpf_jit_enable=1` and a restart of \
             the daemon change that"
                .to_owned(),
        );
    }
    if setting("/proc/sys/kernel/bpf_stats_enabled").is_some_and(|value| value != "0") {
        warnings.push(
            "kernel.bpf_stats_enabled is on: reading the clock twice for each packet is part of \
             all figures, also of live traffic"
                .to_owned(),
        );
    }
    warnings
}

fn setting(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Nanoseconds since 1970, as a seed.
pub fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

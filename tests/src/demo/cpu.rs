//! CPU time, from /proc.

use std::{fs, ops::Sub};

/// CPU seconds spent since some point in the past; only differences mean anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// The whole machine, idle and waiting time left out.
    pub machine: f64,
    /// Of that, in soft interrupts: the kernel's work on arriving packets.
    pub softirq: f64,
    pub nginx: f64,
    pub cerco: f64,
    /// This program itself: the attackers and the client.
    pub demo: f64,
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            machine: self.machine - earlier.machine,
            softirq: self.softirq - earlier.softirq,
            nginx: self.nginx - earlier.nginx,
            cerco: self.cerco - earlier.cerco,
            demo: self.demo - earlier.demo,
        }
    }
}

impl CpuTime {
    /// Reads the clocks. `nginx` and `cerco`: process ids; a process that is gone counts nothing.
    pub fn now(nginx: u32, cerco: Option<u32>) -> Self {
        let (machine, softirq) = machine_seconds();
        Self {
            machine,
            softirq,
            nginx: process_seconds(nginx) + children_of(nginx).map(process_seconds).sum::<f64>(),
            cerco: cerco.map_or(0.0, process_seconds),
            demo: process_seconds(std::process::id()),
        }
    }
}

/// What /proc counts in (`USER_HZ`).
fn ticks_per_second() -> f64 {
    // SAFETY: sysconf takes no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

/// First line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; proc_stat(5).
fn machine_seconds() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let Some([user, nice, system, _idle, _iowait, irq, softirq]) = ticks.first_chunk() else {
        return (0.0, 0.0);
    };
    let per_second = ticks_per_second();
    (
        (user + nice + system + irq + softirq) / per_second,
        softirq / per_second,
    )
}

/// User and system time of a process with all its threads; 0 when it is gone.
pub fn process_seconds(pid: u32) -> f64 {
    let fields = stat_fields(pid);
    // Fields 14 and 15 of proc_pid_stat(5) are user and system time; the list starts at field 3.
    let ticks = |number: usize| -> f64 {
        fields
            .get(number - 3)
            .and_then(|field| field.parse().ok())
            .unwrap_or(0.0)
    };
    (ticks(14) + ticks(15)) / ticks_per_second()
}

fn children_of(parent: u32) -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        // Field 4 is the parent.
        .filter(move |pid| {
            stat_fields(*pid)
                .get(1)
                .and_then(|field| field.parse().ok())
                == Some(parent)
        })
}

/// The fields behind the process's name, which may hold spaces and brackets itself.
fn stat_fields(pid: u32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().map(str::to_owned).collect())
        .unwrap_or_default()
}

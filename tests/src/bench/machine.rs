//! Where the numbers come from: machine, kernel, versions.

use std::{collections::BTreeMap, ffi::CStr, fs, path::Path, process::Command};

use serde::Serialize;

use super::packages;

const CPU: &str = "/sys/devices/system/cpu";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    pub cpu: String,
    /// CPUs that are online.
    pub cpus: usize,
    /// For instance `L2 Unified 1024K`, of the first CPU.
    pub caches: Vec<String>,
    /// For instance `Linux 6.18.44`.
    pub kernel: String,
    /// Whether a hypervisor stands between this kernel and the machine, and which.
    pub hypervisor: String,
    /// What the kernel does about weaknesses of the CPU that make indirect calls or returns dear.
    pub mitigations: BTreeMap<String, String>,
}

impl Machine {
    pub fn inspect() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            cpu: field(&cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            caches: caches(),
            kernel: kernel(),
            hypervisor: hypervisor(&cpuinfo),
            mitigations: ["spectre_v2", "retbleed", "spec_rstack_overflow"]
                .into_iter()
                .filter_map(|name| {
                    let line = read(&format!("{CPU}/vulnerabilities/{name}"))?;
                    Some((name.to_owned(), line))
                })
                .collect(),
        }
    }
}

/// Versions of the packages that bring the peers, of those that are installed.
pub fn package_versions() -> BTreeMap<String, String> {
    packages::NAMES
        .into_iter()
        .filter_map(|name| {
            let mut command = Command::new("dpkg-query");
            command.args(["--show", "--showformat", "${Version}", name]);
            let output = command.output().ok().filter(|it| it.status.success())?;
            let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            (!version.is_empty()).then(|| (name.to_owned(), version))
        })
        .collect()
}

/// The first `NAME : value`.
fn field(cpuinfo: &str, name: &str) -> Option<String> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn caches() -> Vec<String> {
    (0..)
        .map_while(|index| {
            let of = |name: &str| read(&format!("{CPU}/cpu0/cache/index{index}/{name}"));
            Some(format!("L{} {} {}", of("level")?, of("type")?, of("size")?))
        })
        .collect()
}

fn kernel() -> String {
    // SAFETY: an all-zero utsname is valid; the call takes a pointer to it that lives on.
    let release = unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        if libc::uname(&raw mut name) != 0 {
            return "unknown".to_owned();
        }
        CStr::from_ptr(name.release.as_ptr())
            .to_string_lossy()
            .into_owned()
    };
    format!("Linux {release}")
}

fn hypervisor(cpuinfo: &str) -> String {
    let flags = field(cpuinfo, "flags").unwrap_or_default();
    if !flags.split(' ').any(|flag| flag == "hypervisor") {
        return "none".to_owned();
    }
    let name = |path: &str| read(path).filter(|text| !text.is_empty());
    let kvm = Path::new("/sys/devices/system/clocksource/clocksource0/available_clocksource");
    let is_kvm = fs::read_to_string(kvm).is_ok_and(|clocks| clocks.contains("kvm-clock"));
    name("/sys/hypervisor/type")
        .or_else(|| name("/sys/class/dmi/id/sys_vendor"))
        .or_else(|| is_kvm.then(|| "KVM".to_owned()))
        .unwrap_or_else(|| "one that does not tell its name".to_owned())
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_found_in_what_the_kernel_shows() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu hypervisor\n";
        assert_eq!(field(cpuinfo, "model name").as_deref(), Some("AMD EPYC"));
        assert_eq!(field(cpuinfo, "flags").as_deref(), Some("fpu hypervisor"));
        assert_eq!(field(cpuinfo, "model"), None);
    }
}

//! The kernel and the rights in it: release, BTF, compiler, memory limit, capabilities.

use std::{fs, io, path::Path};

use super::{commands::Commands, finding::Finding};

/// Map values above 4 MiB need 6.0; 6.1 is the first long-term release that has them.
const OLDEST_KERNEL: (u32, u32) = (6, 1);
/// Since then the memory of maps counts for the control group, and RLIMIT_MEMLOCK does not matter
/// (<https://git.kernel.org/torvalds/c/97306be45fbe>).
const KERNEL_WITHOUT_MEMLOCK: (u32, u32) = (5, 11);
/// More than the maps take with the largest databases.
const ENOUGH_LOCKED_BYTES: u64 = 256 * 1024 * 1024;

const BTF: &str = "/sys/kernel/btf/vmlinux";
const JIT: &str = "/proc/sys/net/core/bpf_jit_enable";
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// What the gate needs, and their numbers in linux/capability.h.
const NEEDED: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

/// A setting below /proc/sys: its value, or why it cannot be read.
type Setting = Result<String, io::ErrorKind>;

pub struct Host {
    pub release: String,
    pub has_btf: bool,
    pub jit: Setting,
    pub stats: Setting,
    /// Bytes; `None`: no limit.
    pub memlock: Option<u64>,
    /// Effective capabilities of this process, a bit each.
    pub capabilities: u64,
    /// Those of the daemon, where one runs.
    pub daemon_capabilities: Option<u64>,
    pub is_root: bool,
}

impl Host {
    pub fn gather(daemon_pid: Option<u32>) -> Self {
        Self {
            release: crate::bench::system::kernel(),
            has_btf: Path::new(BTF).exists(),
            jit: setting(JIT),
            stats: setting(STATS),
            memlock: memlock(),
            capabilities: capabilities("self").unwrap_or_default(),
            daemon_capabilities: daemon_pid.and_then(|pid| capabilities(&pid.to_string())),
            is_root: is_root(),
        }
    }

    pub fn judge(&self, commands: &Commands) -> Vec<Finding> {
        let mut findings = vec![
            release(&self.release),
            btf(self.has_btf),
            jit(&self.jit, commands),
            memory_limit(&self.release, self.memlock),
            own_rights(self.capabilities, self.is_root, commands),
        ];
        findings.extend(statistics(&self.stats));
        findings.extend(self.daemon_capabilities.map(daemon_rights));
        findings
    }
}

pub fn is_root() -> bool {
    // SAFETY: no arguments.
    unsafe { libc::geteuid() == 0 }
}

fn setting(path: &str) -> Setting {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(error.kind()),
    }
}

fn memlock() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call writes the structure, which outlives it.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (status == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

fn capabilities(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let hex = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

/// `6.1.0-18-amd64` as (6, 1).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn release(release: &str) -> Finding {
    const CHECK: &str = "kernel";
    match version(release) {
        Some(version) if version >= OLDEST_KERNEL => {
            Finding::ok(CHECK, format!("Linux {release} is new enough."))
        }
        Some(_) => Finding::fault(
            CHECK,
            format!("Linux {release} is too old: the gate needs 6.1 or newer."),
        )
        .mend(format!(
            "apt-get install linux-image-{} && systemctl reboot",
            debian_architecture()
        )),
        None => Finding::unknown(
            CHECK,
            format!("The kernel calls itself `{release}`, which is no release number."),
        )
        .mend("uname -r"),
    }
}

fn debian_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn btf(has_btf: bool) -> Finding {
    match has_btf {
        true => Finding::ok("btf", format!("The kernel's type information is at {BTF}.")),
        false => Finding::note(
            "btf",
            "The kernel was built without type information (CONFIG_DEBUG_INFO_BTF): the gate does \
             without, other BPF tools do not.",
        )
        .mend("grep BTF /boot/config-$(uname -r)"),
    }
}

fn jit(value: &Setting, commands: &Commands) -> Finding {
    const CHECK: &str = "jit";
    match value.as_deref() {
        Ok("0") => Finding::warning(
            CHECK,
            "The kernel interprets BPF programs, which costs each packet many times as much as \
             compiled code.",
        )
        .mend("sysctl -w net.core.bpf_jit_enable=1 && systemctl restart cerco"),
        Ok("2") => Finding::warning(
            CHECK,
            "The BPF compiler writes all code to the kernel log (net.core.bpf_jit_enable is 2), \
             which is for debugging only.",
        )
        .mend("sysctl -w net.core.bpf_jit_enable=1"),
        Ok(_) => Finding::ok(CHECK, "The kernel compiles BPF programs."),
        Err(io::ErrorKind::PermissionDenied) => Finding::unknown(
            CHECK,
            "Only root may see whether the kernel compiles BPF programs.",
        )
        .mend(commands.as_root()),
        // Only the first network namespace has the file.
        Err(_) => Finding::ok(
            CHECK,
            "No setting of the BPF compiler is seen from here, so it is as on the host.",
        ),
    }
}

fn statistics(value: &Setting) -> Option<Finding> {
    let is_on = value.as_deref().is_ok_and(|value| value != "0");
    is_on.then(|| {
        Finding::note(
            "bpf_stats",
            "The kernel times every run of every BPF program, some 20 ns for each packet.",
        )
        .mend("sysctl -w kernel.bpf_stats_enabled=0")
    })
}

fn memory_limit(release: &str, memlock: Option<u64>) -> Finding {
    const CHECK: &str = "memlock";
    let matters = version(release).is_some_and(|version| version < KERNEL_WITHOUT_MEMLOCK);
    match memlock {
        Some(bytes) if matters && bytes < ENOUGH_LOCKED_BYTES => Finding::fault(
            CHECK,
            format!(
                "Only {} KiB of memory may be locked, and this kernel counts maps as such.",
                bytes / 1024
            ),
        )
        .mend("ulimit -l unlimited"),
        _ if matters => Finding::ok(CHECK, "Enough memory may be locked."),
        _ => Finding::ok(
            CHECK,
            "The limit on locked memory does not matter: this kernel counts maps elsewhere.",
        ),
    }
}

fn own_rights(capabilities: u64, is_root: bool, commands: &Commands) -> Finding {
    const CHECK: &str = "capabilities";
    let missing = missing(capabilities);
    if missing.is_empty() {
        return Finding::ok(CHECK, "This process may load and attach the gate.");
    }
    let missing = missing.join(", ");
    match is_root {
        true => Finding::fault(
            CHECK,
            format!(
                "This process is root without {missing}: a container or service takes that away, \
                 and a gate cannot be started from here."
            ),
        )
        .mend("grep Cap /proc/self/status"),
        false => Finding::unknown(
            CHECK,
            format!("This user lacks {missing}: some of the checks need root."),
        )
        .mend(commands.as_root()),
    }
}

fn daemon_rights(capabilities: u64) -> Finding {
    const CHECK: &str = "daemon_capabilities";
    let missing = missing(capabilities);
    match missing.is_empty() {
        true => Finding::ok(CHECK, "The daemon has the rights that it needs."),
        false => Finding::fault(
            CHECK,
            format!(
                "The daemon runs without {}: it can put up no gate when it has to load anew.",
                missing.join(", ")
            ),
        )
        .mend("systemctl cat cerco | grep -i capabilit"),
    }
}

fn missing(capabilities: u64) -> Vec<&'static str> {
    // CAP_SYS_ADMIN stands in for the two newer ones (capable() in kernel/bpf/syscall.c).
    const CAP_SYS_ADMIN: u32 = 21;
    let has = |number: u32| capabilities >> number & 1 == 1;
    NEEDED
        .into_iter()
        .filter(|(name, number)| !has(*number) && (*name == "CAP_NET_ADMIN" || !has(CAP_SYS_ADMIN)))
        .map(|(name, _)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands() -> Commands {
        Commands::new(None)
    }

    #[test]
    fn kernel_must_be_6_1_or_newer() {
        let old = |release: &str| {
            Finding::fault(
                "kernel",
                format!("Linux {release} is too old: the gate needs 6.1 or newer."),
            )
            .mend(format!(
                "apt-get install linux-image-{} && systemctl reboot",
                debian_architecture()
            ))
        };
        let new = |release: &str| Finding::ok("kernel", format!("Linux {release} is new enough."));
        let cases = [
            ("5.10.0-28-amd64", old("5.10.0-28-amd64")),
            ("6.0.12", old("6.0.12")),
            ("6.1.0-18-amd64", new("6.1.0-18-amd64")),
            ("6.18.44", new("6.18.44")),
            ("10.0", new("10.0")),
        ];
        for (text, expected) in cases {
            assert_eq!(release(text), expected);
        }
        assert_eq!(release("unknown").severity, super::super::Severity::Unknown);
    }

    #[test]
    fn compiler_of_the_kernel_should_be_on() {
        let value = |text: &str| Ok(text.to_owned());
        assert_eq!(
            jit(&value("0"), &commands()),
            Finding::warning(
                "jit",
                "The kernel interprets BPF programs, which costs each packet many times as much \
                 as compiled code."
            )
            .mend("sysctl -w net.core.bpf_jit_enable=1 && systemctl restart cerco")
        );
        assert_eq!(
            jit(&value("1"), &commands()),
            Finding::ok("jit", "The kernel compiles BPF programs.")
        );
        assert_eq!(
            jit(&value("2"), &commands()).command.as_deref(),
            Some("sysctl -w net.core.bpf_jit_enable=1")
        );
        assert_eq!(
            jit(&Err(io::ErrorKind::PermissionDenied), &commands()),
            Finding::unknown(
                "jit",
                "Only root may see whether the kernel compiles BPF programs."
            )
            .mend("sudo cerco doctor")
        );
        assert_eq!(
            jit(&Err(io::ErrorKind::NotFound), &commands()),
            Finding::ok(
                "jit",
                "No setting of the BPF compiler is seen from here, so it is as on the host."
            )
        );
    }

    #[test]
    fn type_information_is_missed_only_by_others() {
        assert_eq!(
            btf(true),
            Finding::ok(
                "btf",
                "The kernel's type information is at /sys/kernel/btf/vmlinux."
            )
        );
        assert_eq!(
            btf(false),
            Finding::note(
                "btf",
                "The kernel was built without type information (CONFIG_DEBUG_INFO_BTF): the gate \
                 does without, other BPF tools do not."
            )
            .mend("grep BTF /boot/config-$(uname -r)")
        );
    }

    #[test]
    fn statistics_cost_time_and_are_noted() {
        assert_eq!(statistics(&Ok("0".into())), None);
        assert_eq!(statistics(&Err(io::ErrorKind::PermissionDenied)), None);
        assert_eq!(
            statistics(&Ok("1".into())),
            Some(
                Finding::note(
                    "bpf_stats",
                    "The kernel times every run of every BPF program, some 20 ns for each packet."
                )
                .mend("sysctl -w kernel.bpf_stats_enabled=0")
            )
        );
    }

    #[test]
    fn locked_memory_matters_before_5_11_only() {
        let free = Finding::ok(
            "memlock",
            "The limit on locked memory does not matter: this kernel counts maps elsewhere.",
        );
        assert_eq!(memory_limit("6.1.0", Some(65_536)), free);
        assert_eq!(memory_limit("5.11.0", Some(65_536)), free);
        assert_eq!(
            memory_limit("5.10.0", Some(65_536)),
            Finding::fault(
                "memlock",
                "Only 64 KiB of memory may be locked, and this kernel counts maps as such."
            )
            .mend("ulimit -l unlimited")
        );
        assert_eq!(
            memory_limit("5.10.0", None),
            Finding::ok("memlock", "Enough memory may be locked.")
        );
    }

    #[test]
    fn missing_rights_are_named() {
        const ALL: u64 = 1 << 12 | 1 << 38 | 1 << 39;
        assert_eq!(
            own_rights(ALL, true, &commands()),
            Finding::ok("capabilities", "This process may load and attach the gate.")
        );
        // CAP_SYS_ADMIN and CAP_NET_ADMIN: enough, as before Linux 5.8.
        assert_eq!(missing(1 << 21 | 1 << 12), [""; 0]);
        assert_eq!(missing(1 << 21), ["CAP_NET_ADMIN"]);
        assert_eq!(
            own_rights(ALL & !(1 << 38), true, &commands()),
            Finding::fault(
                "capabilities",
                "This process is root without CAP_PERFMON: a container or service takes that away, \
                 and a gate cannot be started from here."
            )
            .mend("grep Cap /proc/self/status")
        );
        assert_eq!(
            own_rights(0, false, &commands()),
            Finding::unknown(
                "capabilities",
                "This user lacks CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF: some of the checks need root."
            )
            .mend("sudo cerco doctor")
        );
        assert_eq!(
            daemon_rights(ALL),
            Finding::ok(
                "daemon_capabilities",
                "The daemon has the rights that it needs."
            )
        );
        assert_eq!(
            daemon_rights(1 << 12 | 1 << 38),
            Finding::fault(
                "daemon_capabilities",
                "The daemon runs without CAP_BPF: it can put up no gate when it has to load anew."
            )
            .mend("systemctl cat cerco | grep -i capabilit")
        );
    }
}

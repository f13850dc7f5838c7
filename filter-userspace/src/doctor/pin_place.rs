//! The place of the pins: a BPF file system that the daemon may write to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{commands::Commands, finding::Finding};
use crate::kernel;

/// Where systemd finds the service, the last one first in force; then its drop-ins.
const UNIT_FILES: [&str; 4] = [
    "/usr/lib/systemd/system/cerco.service",
    "/lib/systemd/system/cerco.service",
    "/run/systemd/system/cerco.service",
    "/etc/systemd/system/cerco.service",
];
const UNIT_DROP_INS: [&str; 3] = [
    "/usr/lib/systemd/system/cerco.service.d",
    "/run/systemd/system/cerco.service.d",
    "/etc/systemd/system/cerco.service.d",
];
/// Makes /sys, and with it the pins, read-only for the service.
const TRAP: &str = "ProtectKernelTunables";

pub struct PinPlace {
    pub pins: PathBuf,
    pub place: kernel::PinPlace,
    /// The unit file that makes the pins read-only for the daemon.
    pub trap: Option<PathBuf>,
}

impl PinPlace {
    pub fn gather(pins: &Path) -> Self {
        Self {
            pins: pins.to_path_buf(),
            place: kernel::pin_place(pins),
            trap: trap(&unit_texts()),
        }
    }

    pub fn judge(&self, commands: &Commands) -> Vec<Finding> {
        let mut findings = vec![self.judge_place(commands)];
        findings.extend(self.trap.as_ref().map(|unit| {
            let unit = unit.display();
            Finding::fault(
                "service",
                format!(
                    "{TRAP}= in {unit} makes /sys/fs/bpf read-only for the daemon, which cannot put \
                     up its gate then."
                ),
            )
            .mend(format!(
                "sed -i /{TRAP}/d {unit} && systemctl daemon-reload && systemctl restart cerco"
            ))
        }));
        findings
    }

    fn judge_place(&self, commands: &Commands) -> Finding {
        const CHECK: &str = "bpffs";
        let pins = self.pins.display();
        match self.place {
            kernel::PinPlace::Writable => Finding::ok(
                CHECK,
                format!("The pins have a BPF file system that can be written to, for {pins}."),
            ),
            kernel::PinPlace::ReadOnly => Finding::fault(
                CHECK,
                format!("The BPF file system of {pins} is mounted read-only: no gate can be pinned."),
            )
            .mend(format!("mount -o remount,rw {}", mount_point(&self.pins))),
            kernel::PinPlace::NotMounted => Finding::fault(
                CHECK,
                "No BPF file system is mounted on /sys/fs/bpf, so that a gate would have no place to \
                 outlive the daemon.",
            )
            .mend("mount -t bpf bpf /sys/fs/bpf"),
            kernel::PinPlace::NotBpffs => Finding::fault(
                CHECK,
                format!("[paths] pins = \"{pins}\" is not on a BPF file system."),
            )
            .mend(commands.edit_and_restart("pins = \"/sys/fs/bpf/cerco\"")),
        }
    }
}

fn mount_point(pins: &Path) -> String {
    match pins.starts_with("/sys/fs/bpf") {
        true => "/sys/fs/bpf".to_owned(),
        false => pins.parent().unwrap_or(pins).display().to_string(),
    }
}

/// The unit file that is in force and its drop-ins, in the order in which they are read.
fn unit_texts() -> Vec<(PathBuf, String)> {
    let unit = UNIT_FILES.iter().rev().map(PathBuf::from);
    let mut files: Vec<PathBuf> = unit.filter(|path| path.exists()).take(1).collect();
    let mut drop_ins: Vec<PathBuf> = UNIT_DROP_INS
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "conf")
        })
        .collect();
    drop_ins.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    files.extend(drop_ins);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).ok()?;
        Some((path, text))
    };
    files.into_iter().filter_map(read).collect()
}

/// The file whose setting counts, if it turns the trap on: the last one wins.
fn trap(units: &[(PathBuf, String)]) -> Option<PathBuf> {
    let settings = units.iter().flat_map(|(path, text)| {
        text.lines().filter_map(move |line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == TRAP).then_some((path, value.trim()))
        })
    });
    let (path, value) = settings.last()?;
    // Booleans of systemd.syntax(7).
    let is_on = ["1", "yes", "y", "true", "t", "on"];
    is_on
        .contains(&value.to_ascii_lowercase().as_str())
        .then(|| path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(pins: &str, place: kernel::PinPlace) -> Vec<Finding> {
        PinPlace {
            pins: pins.into(),
            place,
            trap: None,
        }
        .judge(&Commands::new(None))
    }

    #[test]
    fn pins_need_a_bpf_file_system_that_can_be_written_to() {
        let pins = "/sys/fs/bpf/cerco";
        assert_eq!(
            place(pins, kernel::PinPlace::Writable),
            [Finding::ok(
                "bpffs",
                "The pins have a BPF file system that can be written to, for /sys/fs/bpf/cerco."
            )]
        );
        assert_eq!(
            place(pins, kernel::PinPlace::ReadOnly),
            [Finding::fault(
                "bpffs",
                "The BPF file system of /sys/fs/bpf/cerco is mounted read-only: no gate can be \
                 pinned."
            )
            .mend("mount -o remount,rw /sys/fs/bpf")]
        );
        assert_eq!(
            place(pins, kernel::PinPlace::NotMounted),
            [Finding::fault(
                "bpffs",
                "No BPF file system is mounted on /sys/fs/bpf, so that a gate would have no place \
                 to outlive the daemon."
            )
            .mend("mount -t bpf bpf /sys/fs/bpf")]
        );
        assert_eq!(
            place("/var/pins", kernel::PinPlace::NotBpffs),
            [Finding::fault(
                "bpffs",
                "[paths] pins = \"/var/pins\" is not on a BPF file system."
            )
            .mend(
                "sensible-editor /etc/cerco/cerco.toml && systemctl restart cerco    # pins = \
                 \"/sys/fs/bpf/cerco\""
            )]
        );
    }

    #[test]
    fn service_that_cannot_write_its_pins_is_found() {
        let unit = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
        let clean = unit("/etc/a", "[Service]\n# ProtectKernelTunables=yes\n");
        let on = unit("/etc/b.conf", "[Service]\nProtectKernelTunables = yes\n");
        let off = unit("/etc/c.conf", "[Service]\nProtectKernelTunables=no\n");
        assert_eq!(trap(&[]), None);
        assert_eq!(trap(std::slice::from_ref(&clean)), None);
        assert_eq!(trap(&[clean, on.clone()]), Some("/etc/b.conf".into()));
        assert_eq!(trap(&[on, off]), None);
        let findings = PinPlace {
            pins: "/sys/fs/bpf/cerco".into(),
            place: kernel::PinPlace::Writable,
            trap: Some("/etc/b.conf".into()),
        }
        .judge(&Commands::new(None));
        assert_eq!(
            findings[1],
            Finding::fault(
                "service",
                "ProtectKernelTunables= in /etc/b.conf makes /sys/fs/bpf read-only for the daemon, \
                 which cannot put up its gate then."
            )
            .mend(
                "sed -i /ProtectKernelTunables/d /etc/b.conf && systemctl daemon-reload && \
                 systemctl restart cerco"
            )
        );
    }
}

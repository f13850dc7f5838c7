//! Linux 6.1, the oldest kernel that is promised, for a test that boots it in a virtual machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{apt, workspace};

const PURPOSE: &str = "a test starts a virtual machine with it; it is not installed";

/// The virtual machine runs the `cerco` of this one, and only the x86-64 kernel is fetched for it.
pub const RUNS_HERE: bool = cfg!(target_arch = "x86_64");

/// Unpacks the kernel and the machine's shell below `tools`, where they are missing.
///
/// Unpacked rather than installed: a kernel package would become the next one that this machine boots, and Debian's
/// static busybox would take the place of an installed busybox. Says so when the kernel is not to be had, which is no
/// failure yet: every other test runs without it, and the one that needs it fails.
pub fn unpack(tools: &Path) -> Result<()> {
    let (kernel, busybox) = (tools.join("linux-6.1"), tools.join("busybox"));
    if kernel.exists() && busybox.exists() {
        return Ok(());
    }
    if !RUNS_HERE {
        warn("it runs on x86-64 only");
        return Ok(());
    }
    if !apt::is_available() {
        warn(&format!(
            "this system has no apt-get; unpack Debian 12's linux-image-6.1.*-cloud-amd64 into {} and busybox-static \
             into {}",
            kernel.display(),
            busybox.display()
        ));
        return Ok(());
    }
    if apt::candidate("busybox-static").is_none() {
        apt::update()?;
    }
    if !busybox.exists() {
        unpack_whole("busybox-static", &busybox)?;
    }
    if kernel.exists() {
        return Ok(());
    }
    let Some(package) = newest_package() else {
        warn(&format!(
            "apt has no linux-image-6.1.*-cloud-amd64; Debian 12 has: take it from there and unpack it with \
             `dpkg-deb --extract linux-image-6.1.*-cloud-amd64_*.deb {}`",
            kernel.display()
        ));
        return Ok(());
    };
    if let Err(error) = unpack_whole(&package, &kernel) {
        // Old lists name builds that the mirror no longer has.
        eprintln!("setup: {error:#}");
        apt::update()?;
        unpack_whole(&newest_package().unwrap_or(package), &kernel)?;
    }
    Ok(())
}

fn warn(reason: &str) {
    eprintln!("setup: WARNING: the test of Linux 6.1 (tests/tests/old_kernel) will fail: {reason}");
}

/// Unpacks `package` so that `folder` is there as a whole or not at all.
fn unpack_whole(package: &str, folder: &Path) -> Result<()> {
    eprintln!(
        "setup: unpacking Debian's {package} into {} ({PURPOSE})",
        folder.display()
    );
    let mut partial = folder.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    apt::unpack(&[package], &partial)?;
    fs::rename(&partial, folder).with_context(|| {
        format!(
            "failed to rename {} to {}",
            partial.display(),
            folder.display()
        )
    })
}

/// The newest build of Linux 6.1 in apt's lists.
fn newest_package() -> Option<String> {
    let mut command = Command::new("apt-cache");
    command.args(["pkgnames", "linux-image-6.1."]);
    newest(&workspace::output(&mut command).ok()?, apt::candidate)
}

/// The highest number among the `names` of kernel packages that can be had.
///
/// By pattern rather than through `linux-image-cloud-amd64`: that one means 6.1 in Debian 12 only.
fn newest(names: &str, candidate: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut builds: Vec<(Vec<u32>, &str)> = names
        .lines()
        .filter_map(|name| {
            let version = name
                .strip_prefix("linux-image-")?
                .strip_suffix("-cloud-amd64")?;
            Some((numbers(version), name))
        })
        .collect();
    builds.sort();
    let newest = builds
        .iter()
        .rev()
        .find(|(_, name)| candidate(name).is_some());
    newest.map(|(_, name)| (*name).to_owned())
}

/// `6.1.0-0.deb11.21` → 6, 1, 0, 0, 11, 21.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn newest_build_that_can_be_had_is_chosen_by_its_number() {
        let bookworm = "linux-image-6.1.0-9-cloud-amd64\n\
                        linux-image-6.1.0-56-cloud-amd64\n\
                        linux-image-6.1.0-57-cloud-amd64\n\
                        linux-image-6.1.0-58-cloud-amd64-unsigned\n\
                        linux-image-6.1.0-58-amd64\n\
                        linux-image-6.1.0-58-cloud-amd64-dbg\n";
        let backports = "linux-image-6.1.0-0.deb11.9-cloud-amd64\n\
                         linux-image-6.1.0-0.deb11.21-cloud-amd64\n";
        let cases = [
            (bookworm, Some("linux-image-6.1.0-56-cloud-amd64")),
            (backports, Some("linux-image-6.1.0-0.deb11.21-cloud-amd64")),
            ("linux-image-6.1.0-1036-oem\n", None),
            ("", None),
        ];
        // A name may stay in the lists without a version.
        let candidate = |name: &str| (!name.contains("-57-")).then(|| "6.1.192-2".to_owned());
        for (names, expected) in cases {
            assert_eq!(newest(names, candidate).as_deref(), expected, "{names}");
        }
    }
}

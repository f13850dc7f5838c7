//! Packages of Debian and Ubuntu.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{root, toolchain, workspace};

/// A package and what it is for, as it is told before it is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    /// Completes "… is installed for".
    pub purpose: &'static str,
}

pub fn is_available() -> bool {
    toolchain::program("apt-get").is_some()
}

/// The version that apt would install, `None` when its lists do not have the package.
pub fn candidate(name: &str) -> Option<String> {
    let mut command = Command::new("apt-cache");
    // Translated output would not be recognised.
    command.args(["policy", name]).env("LC_ALL", "C");
    parse_candidate(&workspace::output(&mut command).ok()?)
}

fn parse_candidate(policy: &str) -> Option<String> {
    let line = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate:"))?;
    Some(line.trim())
        .filter(|version| *version != "(none)")
        .map(str::to_owned)
}

/// (major, minor) of a Debian version: `1.96.0+dfsg1-1~deb12u2` → (1, 96).
pub fn number(version: &str) -> Option<(u32, u32)> {
    let upstream = version
        .split_once(':')
        .map_or(version, |(_epoch, rest)| rest);
    let mut numbers = upstream.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Reads the package lists anew. They are missing in fresh containers and old on old machines.
pub fn update() -> Result<()> {
    eprintln!("setup: reading the package lists anew (apt-get update)");
    workspace::run(&mut root::command("apt-get", &["update", "-qq"])?)
}

/// Says what it installs and why, then does it. Updates the lists when they miss a package.
pub fn install(packages: &[Package]) -> Result<()> {
    let names: Vec<&str> = packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let Some(purpose) = packages.first().map(|package| package.purpose) else {
        return Ok(());
    };
    if !is_available() {
        bail!(
            "this system has no apt-get; install by its own means what Debian calls {} ({purpose})",
            names.join(", ")
        );
    }
    let mut fresh_lists = false;
    if names.iter().any(|name| candidate(name).is_none()) {
        update()?;
        fresh_lists = true;
        if let Some(unknown) = names.iter().find(|name| candidate(name).is_none()) {
            bail!("apt knows no package {unknown} ({purpose})");
        }
    }
    eprintln!(
        "setup: installing {} with apt-get ({purpose})",
        names.join(", ")
    );
    let installed = match workspace::run(&mut install_command(&names)?) {
        // Old lists name versions that the mirror no longer has.
        Err(_) if !fresh_lists => {
            update()?;
            workspace::run(&mut install_command(&names)?)
        }
        result => result,
    };
    installed.with_context(|| format!("failed to install {}", names.join(", ")))
}

fn install_command(names: &[&str]) -> Result<Command> {
    let mut arguments = vec![
        "install",
        "--yes",
        "-qq",
        "--no-install-recommends",
        // Debian's Rust packages conflict with its rustup package and with each other: better to
        // stop than to take away what somebody works with.
        "--no-remove",
        "-o",
        "DPkg::Lock::Timeout=120",
        // dpkg would draw on a terminal of its own, which containers often cannot give it.
        "-o",
        "Dpkg::Use-Pty=0",
    ];
    arguments.extend(names);
    // Through env, since sudo may not keep variables; without it dpkg would ask questions.
    arguments.splice(0..0, ["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    root::command("env", &arguments)
}

/// Downloads packages and unpacks them into `folder`, which is emptied first; nothing is installed, and no
/// script of theirs runs. Returns the libraries that they depend on.
pub fn unpack(names: &[&str], folder: &Path) -> Result<Vec<String>> {
    let downloads = folder.join("packages");
    // What an interrupted run left behind must not be taken for a package of now.
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("failed to remove {}", folder.display()))?;
    }
    fs::create_dir_all(&downloads)
        .with_context(|| format!("failed to create {}", downloads.display()))?;
    workspace::run(
        Command::new("apt-get")
            // As root, apt would warn that its own user cannot write into this folder.
            .args(["download", "-qq", "-o", "APT::Sandbox::User=root"])
            .args(names)
            .current_dir(&downloads),
    )
    .with_context(|| format!("failed to download {}", names.join(", ")))?;
    let mut needed = Vec::new();
    for entry in fs::read_dir(&downloads).context("failed to list the downloaded packages")? {
        let package = entry
            .context("failed to list the downloaded packages")?
            .path();
        workspace::run(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(&package)
                .arg(folder),
        )?;
        let depends = workspace::output(
            Command::new("dpkg-deb")
                .arg("--field")
                .arg(&package)
                .arg("Depends"),
        )?;
        needed.extend(libraries(&depends));
    }
    Ok(needed)
}

/// Libraries that a package needs, from its `Depends` field: the first choice of each entry.
fn libraries(depends: &str) -> Vec<String> {
    depends
        .split(',')
        .filter_map(|entry| entry.split('|').next()?.split_whitespace().next())
        .filter(|name| name.starts_with("lib") || name.starts_with("zlib"))
        .filter(|name| !name.starts_with("libnginx-mod"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidate_is_read_from_policy() {
        let known = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  Version table:\n";
        let removed = "rustc-web:\n  Installed: 1.96.0\n  Candidate: (none)\n";
        let cases = [
            (known, Some("1.96.0+dfsg1-1~deb12u2")),
            (removed, None),
            ("", None),
        ];
        for (policy, expected) in cases {
            assert_eq!(parse_candidate(policy).as_deref(), expected, "{policy}");
        }
    }

    #[test]
    fn debian_versions_have_numbers() {
        let cases = [
            ("1.96.0+dfsg1-1~deb12u2", Some((1, 96))),
            ("1.63.0+dfsg1-2", Some((1, 63))),
            ("1:22.1.8-1~deb12u1", Some((22, 1))),
            ("2", None),
            ("", None),
        ];
        for (version, expected) in cases {
            assert_eq!(number(version), expected, "{version}");
        }
    }

    #[test]
    fn libraries_are_taken_from_depends() {
        let depends = "iproute2, libc6 (>= 2.34), libcrypt1 (>= 1:4.1.0), libnginx-mod-http-geoip, \
                       libpcre2-8-0 (>= 10.22), libssl3 | libssl3t64, zlib1g (>= 1:1.1.4)";
        assert_eq!(
            libraries(depends),
            ["libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"]
        );
    }
}

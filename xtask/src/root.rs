//! Becoming root, where a step needs it.

use std::{ffi::OsStr, fs, os::unix::fs::MetadataExt, process::Command};

use anyhow::{Result, bail};

use crate::toolchain;

/// Whether this process has root's identity.
pub fn is_root() -> bool {
    // The owner of /proc/self is the effective user.
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// What goes in front of a command to run it as root: nothing, or sudo, which keeps the
/// environment: CARGO_TARGET_DIR and the variables that tests read.
pub fn prefix() -> Result<&'static [&'static str]> {
    if is_root() {
        Ok(&[])
    } else if toolchain::program("sudo").is_some() {
        Ok(&["sudo", "--preserve-env"])
    } else {
        bail!("not root, and sudo is not installed")
    }
}

/// A command that runs `program` as root. The error names the command line that root must type.
pub fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<Command> {
    let program = program.as_ref();
    let Ok(prefix) = prefix() else {
        bail!(
            "this needs root, and sudo is not installed; as root, run: {} {}",
            program.display(),
            arguments.join(" ")
        );
    };
    let mut command = match prefix.split_first() {
        Some((sudo, options)) => {
            let mut command = Command::new(sudo);
            command.args(options).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(arguments);
    Ok(command)
}

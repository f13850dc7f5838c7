//! Prometheus, which tests scrape the daemon with, and its `promtool`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{apt, setup};

/// Tells the tests in which folder `prometheus` and `promtool` are.
pub const PROMETHEUS_VAR: &str = "CERCO_PROMETHEUS";

const PURPOSE: &str = "tests scrape the metrics with it and check the alert rules";

const PROGRAMS: [&str; 2] = ["prometheus", "promtool"];

/// The folder of the installed programs, or else of those that are unpacked below `tools`.
///
/// Unpacked rather than installed: the package would start a server on port 9090 of this machine.
pub fn find_or_unpack(tools: &Path) -> Result<PathBuf> {
    let installed = setup::system_program("promtool").and_then(|it| Some(it.parent()?.to_owned()));
    if let Some(folder) = installed.filter(|folder| holds(folder)) {
        return Ok(folder);
    }
    let folder = tools.join("prometheus");
    let programs = folder.join("usr/bin");
    if holds(&programs) {
        return Ok(programs);
    }
    if !apt::is_available() {
        bail!(
            "prometheus is not installed ({PURPOSE}), and this system has no apt-get to fetch it with"
        );
    }
    if apt::candidate("prometheus").is_none() {
        apt::update()?;
    }
    eprintln!(
        "setup: unpacking Debian's prometheus into {} ({PURPOSE}; installing it would start it on port 9090)",
        folder.display()
    );
    apt::unpack(&["prometheus"], &folder)?;
    if !holds(&programs) {
        bail!("Debian's prometheus package holds no usr/bin/promtool");
    }
    Ok(programs)
}

fn holds(folder: &Path) -> bool {
    PROGRAMS.iter().all(|name| folder.join(name).is_file())
}

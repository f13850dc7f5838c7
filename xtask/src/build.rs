//! Builds the `cerco` binary.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::{dashboard, setup, workspace};

pub fn run(debug: bool) -> Result<()> {
    setup::run(setup::Wanted::ToBuild)?;
    dashboard::make_if_stale()?;
    let mut arguments = vec![
        "--locked",
        "--package",
        "filter-userspace",
        "--bin",
        "cerco",
    ];
    if !debug {
        arguments.push("--release");
    }
    let executables = workspace::build(&arguments)?;
    let cerco = executables
        .get("cerco")
        .context("cargo reported no executable cerco")?;
    let binary = fs::read(cerco).with_context(|| format!("no file {}", cerco.display()))?;
    ensure!(
        debug || !names(&binary, KILL_SWITCH),
        "{} can be told to kill itself ({KILL_SWITCH}): it was built with debug assertions",
        cerco.display()
    );
    println!(
        "{} ({:.1} MiB)",
        cerco.display(),
        binary.len() as f64 / f64::from(1 << 20)
    );
    Ok(())
}

/// The variable by which tests kill a daemon of a debug build (`filter_userspace::faults`).
const KILL_SWITCH: &str = "CERCO_DIE_AT";

fn names(binary: &[u8], word: &str) -> bool {
    binary.windows(word.len()).any(|it| it == word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So that the release build is asked for the right name.
    #[test]
    fn kill_switch_is_called_what_the_daemon_calls_it() {
        let source = workspace::root().join("filter-userspace/src/faults.rs");
        let source = fs::read(source).expect("read the source of the switch");
        assert!(names(&source, &format!("\"{KILL_SWITCH}\"")));
        assert!(!names(&source, "CERCO_LIVE_AT"));
    }
}

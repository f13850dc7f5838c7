//! Builds the `cerco` binary.

use std::fs;

use anyhow::{Context, Result};

use crate::{setup, workspace};

pub fn run(debug: bool) -> Result<()> {
    setup::run(setup::Wanted::ToBuild)?;
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
    let size = fs::metadata(cerco)
        .with_context(|| format!("no file {}", cerco.display()))?
        .len();
    println!(
        "{} ({:.1} MiB)",
        cerco.display(),
        size as f64 / f64::from(1 << 20)
    );
    Ok(())
}

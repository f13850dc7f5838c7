//! Runs the demo, which is a binary of the tests package.

use anyhow::{Context, Result};

use crate::{dashboard, nginx::NGINX_VAR, root, setup, test::CERCO_VAR, workspace};

/// `arguments`: passed on to the demo as they are.
pub fn run(arguments: &[String]) -> Result<()> {
    setup::run(setup::Wanted::ToRun)?;
    dashboard::make_if_stale()?;
    let packages = ["--locked", "--release", "--package", "filter-userspace"];
    let executables =
        workspace::build(&[&packages[..], &["--package", "integration-tests", "--bins"]].concat())?;
    let demo = executables
        .get("cerco-demo")
        .context("the tests package has no binary cerco-demo")?;
    let cerco = executables
        .get("cerco")
        .context("cargo reported no executable cerco")?;
    let mut arguments: Vec<String> = arguments.to_vec();
    if !arguments.iter().any(|it| it.starts_with("--report")) {
        let report = workspace::target_dir()?.join("incident.html");
        arguments.extend(["--report".to_owned(), report.display().to_string()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if !root::is_root() {
        eprintln!("demo: network namespaces and XDP need root; using sudo");
    }
    let mut command = root::command(demo, &arguments)?;
    workspace::run(
        command
            .env(NGINX_VAR, setup::nginx_path()?)
            .env(CERCO_VAR, cerco),
    )
}

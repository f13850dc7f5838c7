//! Takes the pictures of the documentation, which is a binary of the tests package.

use anyhow::{Context, Result};

use crate::{
    apt::{self, Package},
    dashboard, root, setup,
    test::CERCO_VAR,
    workspace,
};

/// `arguments`: passed on as they are.
pub fn run(arguments: &[String]) -> Result<()> {
    setup::run(setup::Wanted::ToTest)?;
    dashboard::make_for_tests()?;
    if setup::system_program("pngquant").is_none() {
        apt::install(&[Package {
            name: "pngquant".to_owned(),
            purpose: "it makes the pictures of the documentation small",
        }])?;
    }
    let packages = ["--locked", "--release", "--package", "filter-userspace"];
    let executables =
        workspace::build(&[&packages[..], &["--package", "integration-tests", "--bins"]].concat())?;
    let screenshots = executables
        .get("cerco-screenshots")
        .context("the tests package has no binary cerco-screenshots")?;
    let cerco = executables
        .get("cerco")
        .context("cargo reported no executable cerco")?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = root::command(screenshots, &arguments)?;
    command.current_dir(workspace::root()).env(CERCO_VAR, cerco);
    workspace::run(&mut command)
}

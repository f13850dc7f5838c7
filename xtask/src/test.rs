//! Runs every test.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{dashboard, nginx::NGINX_VAR, prometheus::PROMETHEUS_VAR, root, setup, workspace};

/// Tells the tests where the `cerco` binary is.
pub const CERCO_VAR: &str = "CERCO_BIN";

/// Tells the tests of upgrades where the binary of another ABI is.
const OTHER_ABI_VAR: &str = "CERCO_OTHER_ABI_BIN";

/// The package whose tests make network namespaces and load programs.
const NEEDS_ROOT: &str = "integration-tests";

/// `arguments`: passed on to `cargo test`, in place of the whole workspace when they choose packages.
pub fn run(arguments: &[String]) -> Result<()> {
    let sudo = root::prefix().context("the tests on network namespaces need root")?;
    setup::run(setup::Wanted::ToTest)?;
    dashboard::make_for_tests()?;
    let cerco = build("cerco", &[])?;
    // Half a minute: what does not depend on the ABI is compiled already.
    let other_abi = build("cerco-other-abi", &["--features", "other-abi"])?;
    let nginx = setup::nginx_path()?;
    let prometheus = setup::prometheus_folder()?;
    for step in steps(sudo, arguments) {
        let mut command = workspace::cargo();
        command.args(["test", "--locked"]);
        if let Some(runner) = &step.runner {
            eprintln!("test: these tests run as root, with sudo");
            command
                .arg("--config")
                .arg(format!("target.'cfg(unix)'.runner='{runner}'"));
        }
        // Last, since whatever follows `--` goes to the tests and not to Cargo.
        command.args(&step.selection).args(arguments);
        command
            .env(CERCO_VAR, &cerco)
            .env(OTHER_ABI_VAR, &other_abi)
            .env(NGINX_VAR, &nginx)
            .env(PROMETHEUS_VAR, &prometheus);
        workspace::run(&mut command)?;
    }
    Ok(())
}

/// Builds a binary of `cerco`'s package.
fn build(name: &str, features: &[&str]) -> Result<PathBuf> {
    let package = ["--locked", "--package", "filter-userspace", "--bin", name];
    workspace::build(&[&package, features].concat())?
        .remove(name)
        .with_context(|| format!("cargo reported no executable {name}"))
}

#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// Arguments that choose packages.
    selection: Vec<&'static str>,
    /// What Cargo puts before each test binary: builds stay the user's, only the tests are root's.
    runner: Option<String>,
}

/// One run as root. Otherwise unit tests as the user, and the rest through sudo.
fn steps(sudo: &[&str], arguments: &[String]) -> Vec<Step> {
    let runner = (!sudo.is_empty()).then(|| sudo.join(" "));
    let chosen = arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"));
    match (chosen, &runner) {
        (true, _) => vec![Step {
            selection: vec![],
            runner,
        }],
        (false, None) => vec![Step {
            selection: vec!["--workspace"],
            runner,
        }],
        (false, Some(_)) => vec![
            Step {
                selection: vec!["--workspace", "--exclude", NEEDS_ROOT],
                runner: None,
            },
            Step {
                selection: vec!["--package", NEEDS_ROOT],
                runner,
            },
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_need_root_get_it_or_run_as_they_are() {
        let sudo: &[&str] = &["sudo", "--preserve-env"];
        let runner = Some("sudo --preserve-env".to_owned());
        let all = Step {
            selection: vec!["--workspace"],
            runner: None,
        };
        let unit = Step {
            selection: vec!["--workspace", "--exclude", NEEDS_ROOT],
            runner: None,
        };
        let rooted = Step {
            selection: vec!["--package", NEEDS_ROOT],
            runner: runner.clone(),
        };
        let chosen = |runner| Step {
            selection: vec![],
            runner,
        };
        let cases: [(&[&str], &[&str], Vec<Step>); 5] = [
            (&[], &[], vec![all]),
            (sudo, &[], vec![unit, rooted]),
            (&[], &["-p", "filter-common"], vec![chosen(None)]),
            (sudo, &["--package=filter-common"], vec![chosen(runner)]),
            (
                &[],
                &["--", "-p"],
                vec![Step {
                    selection: vec!["--workspace"],
                    runner: None,
                }],
            ),
        ];
        for (sudo, arguments, expected) in cases {
            let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(steps(sudo, &arguments), expected, "{sudo:?} {arguments:?}");
        }
    }
}

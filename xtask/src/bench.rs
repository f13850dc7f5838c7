//! Runs the benchmark, which is a binary of the tests package.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

use crate::{
    apt::{self, Package},
    root, setup,
    test::CERCO_VAR,
    workspace,
};

/// What cerco is measured against: a command, and Debian's package that brings it.
const PEERS: &[(&str, &str)] = &[
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("ipset", "ipset"),
    ("xdp-filter", "xdp-tools"),
];

/// `arguments`: passed on to the benchmark as they are.
pub fn run(arguments: &[String]) -> Result<()> {
    setup::run(setup::Wanted::ToRun)?;
    let packages = ["--locked", "--release", "--package", "filter-userspace"];
    let executables =
        workspace::build(&[&packages[..], &["--package", "integration-tests", "--bins"]].concat())?;
    let bench = executables
        .get("cerco-bench")
        .context("the tests package has no binary cerco-bench")?;
    let cerco = executables
        .get("cerco")
        .context("cargo reported no executable cerco")?;
    let wants_peers = !arguments.iter().any(|it| it == "--help" || it == "-h");
    if wants_peers {
        install_peers();
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if !root::is_root() {
        eprintln!("bench: network namespaces and XDP need root; using sudo");
    }
    let mut command = root::command(bench, &arguments)?;
    workspace::run(command.env(CERCO_VAR, cerco).env("PATH", path()?))
}

/// A peer that cannot be had is no reason to stop: the report names it, with the reason.
fn install_peers() {
    for (command, package) in PEERS {
        if setup::system_program(command).is_none() {
            let installed = apt::install(&[Package {
                name: (*package).to_owned(),
                purpose: "to measure cerco against; it starts nothing and filters nothing by itself",
            }]);
            if let Err(error) = installed {
                eprintln!("bench: going on without {package}: {error:#}");
            }
        }
    }
}

/// With the folders of root's tools, which users often lack.
fn path() -> Result<std::ffi::OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    env::join_paths(folders).context("PATH cannot be extended")
}

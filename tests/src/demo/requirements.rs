//! What the demo needs of the machine, checked before anything is made.

use super::{run::GateState, server};
use crate::daemon;
use std::process::{Command, Stdio};

/// Everything that is missing, each with the way to get it.
pub fn missing(states: &[GateState]) -> Vec<String> {
    let mut missing = Vec::new();
    // SAFETY: geteuid takes no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        missing.push(
            "root, to make network namespaces and load the gate: run it with sudo".to_owned(),
        );
    }
    for program in ["ip", "tc"] {
        let runs = Command::new(program)
            .arg("-Version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !runs.is_ok_and(|status| status.success()) {
            missing.push(format!("the command {program}: apt-get install iproute2"));
        }
    }
    match server::nginx_binary() {
        Some(path) if path.is_file() => {}
        Some(path) => missing.push(format!("nginx at {} (CERCO_NGINX)", path.display())),
        None => missing.push(
            "nginx: apt-get install nginx-light, or name the binary in CERCO_NGINX".to_owned(),
        ),
    }
    if states.contains(&GateState::On)
        && let Err(error) = daemon::cerco_binary()
    {
        missing.push(format!("cerco: {error}"));
    }
    missing
}

//! Debian packages that bring the peers.

use std::process::{Command, Stdio};

pub const NAMES: [&str; 4] = ["nftables", "iptables", "ipset", "xdp-tools"];

/// Why what `package` brings cannot be used, if so.
pub fn missing(package: &str) -> Option<String> {
    // The command of the package that the benchmark uses.
    let command = match package {
        "nftables" => "nft",
        "xdp-tools" => "xdp-filter",
        same => same,
    };
    let started = Command::new(command)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    // Some of them have no such option; what counts is that they start.
    match started {
        Ok(_) => None,
        Err(source) => Some(format!(
            "{command} does not start ({source}); it is in the package {package}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn reason_names_command_and_package() {
        let reason = missing("no-such-package").unwrap_or_default();
        assert!(
            reason.starts_with("no-such-package does not start ("),
            "{reason}"
        );
        assert!(
            reason.ends_with("in the package no-such-package"),
            "{reason}"
        );
    }
}

//! Debian packages that bring the peers.

use std::process::{Command, Stdio};

/// A package, and a command of it that shows that it is there.
const PACKAGES: [(&str, &str); 4] = [
    ("nftables", "nft"),
    ("iptables", "iptables"),
    ("ipset", "ipset"),
    ("xdp-tools", "xdp-filter"),
];

/// Why what `package` brings cannot be used, if so.
pub fn missing(package: &str) -> Option<String> {
    let (_, command) = PACKAGES.iter().find(|(name, _)| *name == package)?;
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

//! Bans by the hundred thousand.

use std::{fmt::Write as _, fs, net::Ipv4Addr, time::Duration, time::Instant};

use anyhow::{Context as _, Result, ensure};
use filter_userspace::kernel::Service;
use ipnetwork::IpNetwork;

use super::{MS, Samples, enforcing, repeat};
use crate::daemon::Cerco;

/// Bans at a time.
pub const COUNT: u32 = 100_000;
const DURATION: Duration = Duration::from_secs(3_600);

/// Single addresses all over the IPv4 space, in one order always.
fn prefixes() -> Vec<IpNetwork> {
    // An odd factor visits every address once; private and multicast space are banned as well.
    const FACTOR: u32 = 0x9e37_79b1;
    (0..COUNT)
        .map(|index| {
            IpNetwork::from(std::net::IpAddr::V4(Ipv4Addr::from_bits(
                index.wrapping_mul(FACTOR),
            )))
        })
        .collect()
}

/// What the daemon does with a list: milliseconds for all.
pub fn in_kernel(runs: usize) -> Result<Samples> {
    let prefixes = prefixes();
    let samples = repeat(runs, || {
        // A new gate each time: a ban that stands already is only overwritten.
        let stand = enforcing::Stand::build()?;
        let (_, mut loaded) = stand.load_builtin(&enforcing::policy())?;
        let begin = Instant::now();
        loaded.gate.ban_all(&prefixes, DURATION)?;
        let time = begin.elapsed().as_secs_f64() * MS;
        let count = loaded.gate.ban_count()?;
        ensure!(count == prefixes.len(), "{count} bans stand");
        let destination = "203.0.113.10".parse()?;
        for prefix in prefixes.iter().step_by(1_000) {
            let decision = loaded
                .gate
                .decide(prefix.ip(), destination, Service::Ping)?;
            ensure!(
                decision.reason.label() == "banned",
                "{prefix}: {decision:?}"
            );
        }
        Ok(time)
    })?;
    Ok(Samples::new("cerco", "100,000 bans", "ms", samples))
}

/// The same as a sysadmin does it: `cerco ban --file`, from its start to its end.
pub fn by_command(cerco: &Cerco, runs: usize) -> Result<Samples> {
    let mut list = String::new();
    for prefix in prefixes() {
        writeln!(list, "{prefix}")?;
    }
    let file = tempfile::NamedTempFile::new().context("failed to make a file for bans")?;
    fs::write(file.path(), list)?;
    let path = file.path().to_str().context("a path that is no text")?;
    let samples = repeat(runs, || {
        let begin = Instant::now();
        cerco.cli(&["ban", "--file", path, "--for", "1h"])?;
        Ok(begin.elapsed().as_secs_f64() * MS)
    })?;
    let status: serde_json::Value = serde_json::from_str(&cerco.cli(&["status", "--json"])?)?;
    ensure!(
        status["bans"] == COUNT,
        "the daemon counts {} bans",
        status["bans"]
    );
    let what = "100,000 bans, by the command line";
    Ok(Samples::new("cerco", what, "ms", samples))
}

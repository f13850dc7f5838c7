//! cerco's own report of the attack, and whether it tells what was sent.

use super::{
    gate::{Gate, ReportedLine},
    summary::CountryRow,
};
use anyhow::{Context, Result};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// Writes the report to `path`; whether its numbers are those of the attackers.
pub fn write(
    gate: &Gate,
    path: &Path,
    by_country: &[CountryRow],
    attack_packets: u64,
) -> Result<bool> {
    gate.write_report(path)?;
    // The demo runs as root, and who started it wants to look.
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        .with_context(|| format!("failed to make {} readable", path.display()))?;
    let report = gate.report()?;
    let of_country = |row: &CountryRow| {
        let line = report.countries.iter().find(|line| line.class == row.code);
        line.map_or((0, 0), ReportedLine::packets) == (row.sent, 0)
    };
    let from_attackers: u64 = report
        .countries
        .iter()
        .filter(|line| by_country.iter().any(|row| row.code == line.class))
        .map(|line| line.packets().0)
        .sum();
    Ok(by_country.iter().all(of_country)
        && from_attackers == attack_packets
        && report.allowed.denied_packets == Some(0))
}

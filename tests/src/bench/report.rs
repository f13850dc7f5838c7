//! All that came of a run, as JSON and as text.

mod grid;
mod text;

use std::{collections::BTreeMap, fs, path::Path, time::SystemTime};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    context::{Context, Missing},
    goals::{self, Judged},
    machine::{self, Machine},
    row::Row,
};

pub use grid::{Grid, grids, number};
pub use text::{text, verdict};

/// Rises when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub schema: u32,
    /// When the run began, UTC.
    pub date: String,
    pub cerco: &'static str,
    /// Fewer rounds than the goals ask for.
    pub quick: bool,
    pub machine: Machine,
    /// Installed versions of the peers' packages.
    pub packages: BTreeMap<String, String>,
    pub database: Database,
    pub rows: Vec<Row>,
    pub missing: Vec<Missing>,
    pub goals: Vec<Judged>,
    /// False also when a goal was not measured.
    pub goals_met: bool,
}

/// Whose countries were blocked.
#[derive(Clone, Debug, Serialize)]
pub struct Database {
    pub source: String,
    /// When its data was built, UTC, if it says so.
    pub date: Option<String>,
    pub networks_v4: u64,
    pub networks_v6: u64,
    /// Prefixes that every peer blocks.
    pub blocked_v4: usize,
    pub blocked_v6: usize,
    pub attribution: Option<&'static str>,
}

impl Report {
    pub fn new(context: &Context, started: SystemTime, rows: Vec<Row>) -> Self {
        let goals = goals::judge(&rows);
        let info = &context.database.info;
        Self {
            schema: SCHEMA,
            date: date(started),
            cerco: env!("CARGO_PKG_VERSION"),
            quick: context.quick,
            machine: Machine::inspect(),
            packages: machine::package_versions(),
            database: Database {
                source: info.source.to_string(),
                date: info.build_time.map(date),
                networks_v4: info.networks_v4,
                networks_v6: info.networks_v6,
                blocked_v4: context.blocked.v4.len(),
                blocked_v6: context.blocked.v6.len(),
                attribution: info.attribution,
            },
            goals_met: goals::all_met(&goals),
            goals,
            rows,
            missing: context.take_missing(),
        }
    }

    pub fn write_json(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("failed to write JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("failed to write {}", path.display()))
    }
}

fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests;

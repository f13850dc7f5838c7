//! The benchmark: what a packet costs with cerco and with what else could be installed.
//!
//! Each part is a module with `measure`, which gives rows.

pub mod cable;
pub mod context;
pub mod cpu;
pub mod drops;
mod growth;
mod limiter;
mod loading;
mod lookup;
pub mod names;
pub mod packages;
pub mod part;
mod path;
mod program;
pub mod row;
pub mod shared;
pub mod trace;
pub mod traffic;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use self::{
    context::{Context, Missing},
    part::Part,
    row::Row,
};

/// What to do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A minute instead of ten: shorter loops and fewer rounds.
    pub quick: bool,
    /// Where to write the result as JSON.
    pub json: Option<PathBuf>,
    /// A folder for pictures.
    pub charts: Option<PathBuf>,
    /// Only these parts; all when empty.
    pub only: Vec<Part>,
    /// A GeoIP file in place of the builtin database.
    pub database: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    pub rows: Vec<Row>,
    pub missing: Vec<Missing>,
}

/// Measures.
pub fn run(options: &Options) -> Result<Report> {
    let context = Context::new(options.database.as_deref(), options.quick)?;
    let mut rows = Vec::new();
    for part in Part::ALL {
        if options.only.is_empty() || options.only.contains(&part) {
            context.begin(part);
            let measured = part.measure(&context);
            rows.extend(measured.with_context(|| format!("{} failed", part.title()))?);
        }
    }
    Ok(Report {
        rows,
        missing: context.take_missing(),
    })
}

/// Measures and prints.
pub fn run_and_show(options: &Options) -> Result<()> {
    crate::demo::interrupt::listen();
    let report = run(options)?;
    for r in &report.rows {
        println!(
            "{:20} {:26} {} {:14} {:8.1} {:8.1} {:8.1} {}",
            r.what, r.peer, r.family, r.trace, r.best, r.median, r.worst, r.runs
        );
    }
    Ok(())
}

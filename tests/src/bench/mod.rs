//! The benchmark: what a packet costs with cerco and with what else could be installed.
//!
//! Each part is a module with `measure`, which gives rows.

pub mod cable;
pub mod context;
pub mod cpu;
mod dir_24_8;
pub mod drops;
mod fairness;
mod growth;
mod limiter;
mod loading;
mod lookup;
pub mod lookup_layout;
mod lookup_programs;
mod lru;
pub mod lru_layout;
pub mod names;
pub mod part;
mod path;
mod program;
mod program_cases;
mod program_gates;
pub mod row;
pub mod shared;
pub mod trace;
pub mod traffic;
mod xdp_filter;

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

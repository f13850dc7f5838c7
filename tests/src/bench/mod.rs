//! The benchmark: what a packet costs with cerco and with what else could be installed.
//!
//! Each part is a module with `measure`, which gives rows; [`goals`] judges them, and [`report`],
//! `charts` and `document` show both.

pub mod cable;
mod charts;
pub mod context;
pub mod cpu;
mod dir_24_8;
mod document;
pub mod drops;
mod fairness;
pub mod goals;
mod growth;
mod limiter;
mod loading;
mod lookup;
pub mod lookup_layout;
mod lookup_programs;
mod lru;
pub mod lru_layout;
mod machine;
pub mod names;
pub mod packages;
pub mod part;
mod path;
mod program;
mod program_cases;
mod program_gates;
pub mod report;
pub mod row;
pub mod shared;
pub mod trace;
pub mod traffic;
mod xdp_filter;

use std::{path::PathBuf, time::SystemTime};

use anyhow::{Context as _, Result};

pub use self::report::Report;
use self::{context::Context, part::Part};
use crate::demo::interrupt;

/// What to do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// One minute instead of ten: shorter loops and fewer rounds.
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

/// Measures `only` these parts; all when empty.
pub fn run(context: &Context, only: &[Part]) -> Result<Report> {
    let started = SystemTime::now();
    let mut rows = Vec::new();
    for part in Part::ALL {
        if only.is_empty() || only.contains(&part) {
            context.begin(part);
            let measured = part.measure(context);
            rows.extend(measured.with_context(|| format!("{} failed", part.title()))?);
        }
    }
    Ok(Report::new(context, started, rows))
}

/// Measures, prints the report, and writes what `options` ask for.
pub fn run_and_show(options: &Options) -> Result<()> {
    interrupt::listen();
    println!("{}", introduction(options));
    let context = Context::new(options.database.as_deref(), options.quick)?;
    let report = run(&context, &options.only)?;
    println!("{}", report::text(&report));
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    if let Some(folder) = &options.charts {
        charts::write(&report, folder)?;
        document::update(&report, folder)?;
    }
    Ok(())
}

fn introduction(options: &Options) -> String {
    let limit = if options.quick {
        "one minute"
    } else {
        "ten minutes"
    };
    format!(
        "This benchmark measures cerco and what else could be installed, in network\n\
         namespaces on this machine that have no link to the outside. It takes up to\n\
         {limit}; what else runs here meanwhile makes the numbers worse.\n\
         IP Geolocation by DB-IP (https://db-ip.com)."
    )
}

//! `cerco-bench`: what cerco costs, beside what else could be installed.

use clap::Parser;
use integration_tests::{
    bench::{self, Options, part::Part},
    demo::interrupt,
};
use std::{path::PathBuf, process::ExitCode};

/// Measure cerco and its peers on this machine, in network namespaces
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Also write all rows and goals to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also draw pictures and write tables into this folder
    #[arg(long, value_name = "DIR")]
    charts: Option<PathBuf>,
    /// One minute in place of ten: fewer rounds, so that no goal counts as met
    #[arg(long)]
    quick: bool,
    /// Only this part (may be given several times)
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// Block the countries of this GeoIP file in place of the builtin database
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
}

/// As a shell reports a program that Ctrl-C ended: 128 + SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        quick: arguments.quick,
        json: arguments.json,
        charts: arguments.charts,
        only: arguments.only,
        database: arguments.database,
    };
    match bench::run_and_show(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::requested() => {
            eprintln!("interrupted; everything that the benchmark made is gone");
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

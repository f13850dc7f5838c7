//! `cerco-demo`: shows what the gate does, on one machine and without an uplink.

use clap::{Parser, ValueEnum};
use integration_tests::demo::{self, GateState, Options, interrupt};
use std::{path::PathBuf, process::ExitCode};

/// Attack a web server from 24 countries, with the gate off and with it on
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Also write the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where cerco's report of the attack goes
    #[arg(long, value_name = "FILE", default_value = "incident.html")]
    report: PathBuf,
    /// Packets of the flood in each run
    #[arg(long, value_name = "N", default_value_t = 3_000_000)]
    packets: u64,
    /// A tenth of everything, to see whether it works
    #[arg(long)]
    quick: bool,
    /// Start of the random numbers: the same seed draws the same addresses
    #[arg(long, value_name = "N", default_value_t = 20_210_508)]
    seed: u64,
    /// Draw addresses from this GeoIP file, and give it to cerco, in place of the builtin database
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// Do only one of the two runs
    #[arg(long, value_name = "GATE")]
    only: Option<Only>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Only {
    Off,
    On,
}

/// TCP connections in each run.
const CONNECTIONS: usize = 4_000;
const QUICK_DIVISOR: u16 = 10;
/// As a shell reports a program that Ctrl-C ended: 128 + SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let divisor = if arguments.quick { QUICK_DIVISOR } else { 1 };
    let options = Options {
        packets: arguments.packets / u64::from(divisor),
        connections: CONNECTIONS / usize::from(divisor),
        seed: arguments.seed,
        json: arguments.json,
        report: arguments.report,
        database: arguments.database,
        states: match arguments.only {
            None => vec![GateState::Off, GateState::On],
            Some(Only::Off) => vec![GateState::Off],
            Some(Only::On) => vec![GateState::On],
        },
    };
    match demo::demonstrate(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(_) if interrupt::requested() => {
            eprintln!("interrupted; everything that the demo made is gone");
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! The demo: the same attack from abroad on a web server, with the gate off and with it on.
//!
//! Everything happens in network namespaces that the demo makes and that have no link to the
//! outside.

mod addresses;
mod bots;
mod client;
mod countries;
pub mod cpu;
mod flood;
mod gate;
mod guests;
mod http;
mod incident;
pub mod interrupt;
mod plan;
mod progress;
mod report;
mod requirements;
mod run;
mod server;
mod stamp;
pub mod summary;
mod topology;
mod watch;

use addresses::World;
use anyhow::{Context, Result, bail};
use countries::ATTACKERS;
use plan::{Amounts, Plan};
use progress::Progress;
use run::Attempt;
pub use run::GateState;
use std::{
    fs,
    path::{self, PathBuf},
};
use summary::{SCHEMA, Summary};

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Frames of the flood in each run.
    pub packets: u64,
    /// TCP connections of the bots in each run.
    pub connections: usize,
    pub seed: u64,
    /// Where to write the result as JSON.
    pub json: Option<PathBuf>,
    /// Where to write cerco's report of the attack, as HTML.
    pub report: PathBuf,
    /// A GeoIP file in place of the builtin database.
    pub database: Option<PathBuf>,
    /// Which runs, in this order.
    pub states: Vec<GateState>,
}

/// Runs the demo and prints its report; whether the gate held.
pub fn demonstrate(options: &Options) -> Result<bool> {
    let missing = requirements::missing(&options.states);
    if !missing.is_empty() {
        bail!("the demo needs:\n  {}", missing.join("\n  "));
    }
    interrupt::listen();
    println!("{}", introduction(options));
    let world = World::load(options.database.as_deref())?;
    let plan = Plan::new(
        world,
        options.seed,
        Amounts {
            flood_packets: options.packets,
            bot_connections: options.connections,
        },
    );
    let mut summary = Summary {
        schema: SCHEMA,
        seed: options.seed,
        gate_off: None,
        gate_on: None,
        report: None,
    };
    // Before the attack, not after it: a name that cannot be one should not cost a minute.
    let report = path::absolute(&options.report)
        .with_context(|| format!("{} is no path", options.report.display()))?;
    for state in &options.states {
        interrupt::check()?;
        let (title, slot) = match state {
            GateState::Off => ("gate off", &mut summary.gate_off),
            GateState::On => ("gate on", &mut summary.gate_on),
        };
        let progress = Progress::new(title);
        let run = Attempt {
            plan: &plan,
            state: *state,
            database: options.database.as_deref(),
            report: &report,
        };
        let result = run::run(&run, &progress);
        *slot = Some(result.with_context(|| format!("the run with the {title} failed"))?);
    }
    summary.report = summary.gate_on.is_some().then_some(report);
    if let Some(path) = &options.json {
        let text =
            serde_json::to_string_pretty(&summary).context("failed to write the result as JSON")?;
        fs::write(path, text + "\n")
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    println!("{}", report::table(&summary));
    let held = match &summary.gate_on {
        Some(run) => {
            if let Some(path) = &summary.report {
                println!("{}", report::report_line(path));
            }
            println!("{}", report::verdict(run));
            run.failures().is_empty()
        }
        None => true,
    };
    Ok(held)
}

fn introduction(options: &Options) -> String {
    let runs = match options.states.as_slice() {
        [GateState::Off] => "\nwithout cerco",
        [GateState::On] => "\nbehind cerco",
        _ => ",\nonce without cerco and once behind it",
    };
    format!(
        "This demo makes four network namespaces on this machine: a web server, a visitor\n\
         from Macau, attackers, and the internet between them. They have no link to the\n\
         outside: no packet leaves this machine.\n\
         {} packets and {} connections from {} countries attack the server{runs}.\n\
         IP Geolocation by DB-IP (https://db-ip.com).\n",
        summary::grouped(options.packets),
        summary::grouped(options.connections as u64),
        ATTACKERS.len()
    )
}

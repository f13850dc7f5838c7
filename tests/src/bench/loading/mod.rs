//! Loading: how long it takes until the gate enforces, what that costs in memory, and what it takes
//! peers to load the same blocked set.
//!
//! Whatever is timed here is checked against an oracle before its time counts.

pub mod bans;
pub mod daemon;
pub mod enforcing;
pub mod growth;
pub mod peers;
pub mod scrape;
pub mod toggle;

use std::time::Duration;

use anyhow::{Context as _, Result};
use filter_userspace::geo;

pub use super::context::ALLOWED;
use super::{
    context::Context,
    names::{family, peer, trace, what},
    packages,
    part::Part,
    row::{Row, Subject},
};

/// How long the idle daemon is watched.
const IDLE: Duration = Duration::from_secs(60);
const IDLE_QUICK: Duration = Duration::from_secs(5);

/// All rows of this part.
pub fn measure(context: &Context) -> Result<Vec<Row>> {
    let runs = context.rounds;
    let mut rows = Vec::new();
    let mut add = |what: &str, samples: &Samples| rows.push(samples.row(what));

    context.step("builtin database to enforcing")?;
    add(what::LOAD_BUILTIN, &enforcing::builtin(runs)?);
    context.step("a database file of 1.4 million networks to enforcing")?;
    let directory = tempfile::tempdir().context("failed to make a directory for a database")?;
    let file = directory.path().join("world.mmdb");
    growth::write_database(&file, &geo::builtin()?, growth::REAL_SIZE)?;
    add(what::LOAD_MMDB, &enforcing::file(&file, runs)?);
    context.step("the daemon, from its start to the first dropped frame")?;
    for samples in daemon::exec_to_first_drop("builtin", runs)? {
        add(&samples.what, &samples);
    }

    context.step("one country, and 100,000 bans")?;
    let toggle = toggle::in_kernel(runs)?;
    add(what::TOGGLE, &toggle.scaled(1e-3, "ms"));
    add(what::BANS, &bans::in_kernel(runs)?);
    let host = daemon::Host::build()?;
    let cerco = host.start("builtin")?;
    let [rss, peak] = daemon::memory(&cerco)?;
    add(what::DAEMON_RSS, &rss);
    add(&peak.what, &peak);
    let toggle = toggle::by_command(&cerco, runs)?;
    add(&toggle.what, &toggle);
    let duration = if context.quick { IDLE_QUICK } else { IDLE };
    context.step(&format!("the idle daemon for {} s", duration.as_secs()))?;
    add(
        what::DAEMON_CPU,
        &daemon::idle_cpu(&host.netns, &cerco, duration)?,
    );
    let bans = bans::by_command(&cerco, runs)?;
    add(&bans.what, &bans);
    drop(cerco);
    context.step("a scrape of four interfaces and every country")?;
    let scrape = scrape::time(runs)?;
    add(&scrape.what, &scrape);
    add(what::KERNEL_MEMORY, &enforcing::map_memory()?);

    for list in peers::Peer::ALL {
        let package = list.tool.package();
        if let Some(reason) = packages::missing(package) {
            context.missing(Part::Loading, list.label(), reason);
            continue;
        }
        if context.quick && !list.joined {
            context.missing(
                Part::Loading,
                list.label(),
                "takes seconds; not with --quick",
            );
            continue;
        }
        context.step(list.label())?;
        let measured = peers::load(list, &context.database, runs)?;
        let mut measured = measured.iter();
        let time = measured.next().context("no time was measured")?;
        // The goals compare with lists of countries; joined, no country can be toggled.
        let name = if list.joined {
            &time.what
        } else {
            what::LOAD_SET
        };
        add(name, time);
        measured.for_each(|samples| add(&samples.what, samples));
    }
    Ok(rows)
}

/// One measured thing.
#[derive(Clone, PartialEq, Debug)]
pub struct Samples {
    /// What was measured.
    pub what: String,
    /// Who was measured: `cerco`, `nftables`, `ipset`.
    pub peer: &'static str,
    /// In the order in which they were taken.
    pub samples: Vec<f64>,
    pub unit: &'static str,
}

impl Samples {
    pub fn new(
        peer: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        samples: Vec<f64>,
    ) -> Self {
        Self {
            what: what.into(),
            peer,
            samples,
            unit,
        }
    }

    /// The same in another unit.
    fn scaled(&self, factor: f64, unit: &'static str) -> Self {
        Self {
            samples: self.samples.iter().map(|sample| sample * factor).collect(),
            unit,
            ..self.clone()
        }
    }

    fn row(&self, what: &str) -> Row {
        let subject = Subject {
            part: Part::Loading,
            what,
            peer: match self.peer {
                "nftables" => peer::NFTABLES,
                "ipset" => peer::IPTABLES,
                same => same,
            },
            family: family::BOTH,
            trace: trace::NONE,
            unit: self.unit,
        };
        Row::new(subject, &self.samples)
    }
}

/// `runs` samples of what `run` measures.
fn repeat(runs: usize, mut run: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    (0..runs).map(|_| run()).collect()
}

const MS: f64 = 1e3;

//! Loading: how long it takes until the gate enforces, what that costs in memory, and what it takes
//! peers to load the same blocked set.
//!
//! Whatever is timed here is checked against an oracle before its time counts.

pub mod bans;
pub mod daemon;
pub mod enforcing;
pub mod growth;
pub mod mmdb_file;
pub mod peers;
pub mod toggle;

use anyhow::Result;

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
}

/// `runs` samples of what `run` measures.
fn repeat(runs: usize, mut run: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    (0..runs).map(|_| run()).collect()
}

/// The countries that all parts of the benchmark let in.
pub const ALLOWED: [&str; 2] = ["MO", "PT"];

const MS: f64 = 1e3;

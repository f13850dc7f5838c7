//! What a packet costs on this host, by verdict: the loaded program over frames of our own making.
//!
//! BPF_PROG_TEST_RUN takes one frame and runs the program over it many times. A row therefore takes
//! many sources, each of them a frame; the same row of the next round comes after all others, so
//! that a slow moment of the machine hits all rows alike. What the program counts meanwhile proves
//! the reason that a row is named by.

mod cases;
mod frames;
mod limits;
mod measure;
mod sources;
pub(crate) mod system;
mod target;

use std::time::Duration;

use serde::Serialize;

use crate::{
    control::protocol::ModeWord,
    kernel::{KernelError, Live},
};

pub use cases::Case;

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Different sources in a row.
    pub sources: usize,
    /// Times that every row is measured.
    pub rounds: usize,
    /// No further round begins after this, once there are [`Plan::MIN_ROUNDS`].
    pub time_limit: Duration,
}

impl Plan {
    /// A median needs some.
    pub const MIN_ROUNDS: usize = 5;

    pub const FULL: Self = Self {
        sources: 128,
        rounds: 9,
        time_limit: Duration::from_secs(8),
    };

    pub const QUICK: Self = Self {
        sources: 32,
        rounds: Self::MIN_ROUNDS,
        time_limit: Duration::from_secs(2),
    };
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    #[serde(rename = "ipv4")]
    V4,
    #[serde(rename = "ipv6")]
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Of an address.
    const fn bits(self) -> u32 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// Nanoseconds of one run, over the rounds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Timing {
    pub best_ns: f64,
    pub median_ns: f64,
}

/// One kind of packet.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    pub case: Case,
    /// Absent where there is no IP in the frame.
    pub family: Option<Family>,
    /// What the program counted these frames under.
    pub reason: &'static str,
    /// `pass` or `drop`; in observe mode a drop passes all the same.
    pub verdict: &'static str,
    /// Of the runs, how many ended with `reason`: less than 1 only beyond a limit.
    pub reason_share: f64,
    pub frame_bytes: usize,
    pub sources: usize,
    /// Runs of one frame in one call.
    pub runs_per_call: u32,
    /// Runs that were timed, all rounds together.
    pub runs: u64,
    #[serde(flatten)]
    pub timing: Timing,
    /// The median less that of the empty program.
    pub net_ns: f64,
    /// 1e9 / `net_ns`: what one core can decide on when it does nothing else.
    pub packets_per_second: f64,
}

/// A kind of packet that there is none of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NotMeasured {
    pub case: Case,
    pub family: Option<Family>,
    pub why: String,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    pub program_id: u32,
    pub interfaces: Vec<String>,
    pub mode: ModeWord,
    pub kernel: String,
    pub cpu: Option<usize>,
    pub cpu_model: Option<String>,
    pub rounds: usize,
    pub seconds: f64,
    /// A program that only returns: the cost of the measurement itself.
    pub empty_program: Timing,
    pub rows: Vec<Row>,
    pub not_measured: Vec<NotMeasured>,
    pub warnings: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error(
        "the gate stands on the loopback interface, where test runs would count as traffic: nothing was run"
    )]
    GuardsLoopback,
    #[error("no policy is published yet: nothing was run")]
    NoPolicy,
    #[error("the policy changed while frames were chosen by it; run it again")]
    PolicyChanged,
    #[error(
        "{ours} runs were made and {counted} counted: somebody else runs the program over test frames too, or the gate was loaded anew; run it again"
    )]
    Disturbed { ours: u64, counted: u64 },
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Measures every case that the running policy has sources for.
pub fn run(live: &Live, plan: Plan) -> Result<Report, BenchError> {
    if live.guards_loopback() {
        return Err(BenchError::GuardsLoopback);
    }
    // A program that has no place for them would count test runs as traffic: asked before the first.
    live.elsewhere()?;
    let cpu = system::stay_on_this_cpu();
    let prepared = cases::prepare(live, plan)?;
    if !live.is_current() {
        return Err(BenchError::PolicyChanged);
    }
    measure::measure(live, plan, prepared, cpu)
}

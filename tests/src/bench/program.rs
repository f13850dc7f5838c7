//! Part 2: the whole program, for each way that a packet can end.
//!
//! Every frame comes from a trace and reaches the program under test by a tail call; the empty program
//! stands beside each case and tells what that costs, and the program that only parses tells what is
//! left for the decision. The gate's own counters must say that every frame of a case ended as the
//! case claims.

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::{Reason, Verdict};
use filter_userspace::geo::Database;

use super::{
    cable::Cable,
    cpu,
    drops::{Drops, Program},
    program_cases::{Case, cases},
    program_gates::Gates,
    row::{Row, best_and_median},
    trace::{Draw, Prefixes},
    traffic::{Sources, Traffic},
    xdp_filter::XdpFilter,
};

const UNIT: &str = "ns/packet";

/// Frames of a sample.
const FRAMES: u32 = 1 << 20;

/// The part of the benchmark that a goal compares, see [`Case`].
pub const ALLOWED_AND_LIMITED: &str = "program: allowed and limited";

/// Measures everything, `runs` times each, on the calling thread, which is pinned to a CPU. The texts
/// tell what was left out, and why.
pub fn measure(database: &Database, runs: usize) -> Result<(Vec<Row>, Vec<String>)> {
    let mut notes = vec![
        "program: reply is missing: cerco does not record this host's own connections yet".to_owned(),
    ];
    let xdp_filter = match XdpFilter::load() {
        Ok(filter) => Some(filter),
        Err(error) => {
            notes.push(format!("program: xdp-filter is missing: {error:#}"));
            None
        }
    };
    let mut bench = Bench {
        // Only for its frames: nothing is sent.
        cable: Cable::lay()?,
        traffic: Traffic::load()?,
        gates: Gates::load(database)?,
        drop_all: Drops::load(Program::DropAll, &Prefixes::default())?,
        parse_only: Drops::load(Program::ParseOnly, &Prefixes::default())?,
        xdp_filter,
        runs,
    };
    cpu::pin()?;
    let mut rows = Vec::new();
    for sources in [Sources::TraceV4, Sources::TraceV6] {
        for case in cases() {
            if sources == Sources::TraceV6 && !case.has_v6() {
                continue;
            }
            for draw in case.draws() {
                rows.extend(
                    bench
                        .rows(database, case, sources, *draw)
                        .with_context(|| format!("{}, {sources:?}", case.what))?,
                );
            }
        }
    }
    Ok((rows, notes))
}

struct Bench {
    cable: Cable,
    traffic: Traffic,
    gates: Gates,
    drop_all: Drops,
    parse_only: Drops,
    xdp_filter: Option<XdpFilter>,
    runs: usize,
}

impl Bench {
    /// One case over one trace: cerco and what stands beside it, in turns.
    fn rows(
        &mut self,
        database: &Database,
        case: &Case,
        sources: Sources,
        draw: Draw,
    ) -> Result<Vec<Row>> {
        let frame = case.frame(self.cable.frame(sources));
        match sources {
            Sources::TraceV6 => {
                let addresses = case.sources_v6(database, draw, self.gates.banned_v6())?;
                self.traffic.set_v6(&addresses)?;
            }
            _ => {
                let addresses = case.sources_v4(database, draw, self.gates.banned_v4())?;
                self.traffic.set_v4(&frame, &addresses)?;
            }
        }
        // Once before all: caches, and the one packet that a source over its limit has free.
        let gate = self.gates.of(case);
        self.traffic.set_program(gate.program_fd()?)?;
        self.traffic.run(sources, &frame, FRAMES)?;

        let mut peers = vec!["empty program", "parse only", "cerco"];
        let with_filter = case.is_denied && self.xdp_filter.is_some();
        if with_filter {
            peers.push("xdp-filter");
        }
        let mut samples = vec![Vec::new(); peers.len()];
        for _ in 0..self.runs {
            self.traffic.set_program(self.drop_all.fd()?)?;
            samples[0].push(self.traffic.run(sources, &frame, FRAMES)?.0);
            self.traffic.set_program(self.parse_only.fd()?)?;
            samples[1].push(self.traffic.run(sources, &frame, FRAMES)?.0);
            samples[2].push(self.run_cerco(case, sources, &frame)?);
            if let Some(filter) = self.xdp_filter.as_ref().filter(|_| with_filter) {
                self.traffic.set_whole_program(filter.fd())?;
                let (nanoseconds, action) = self.traffic.run_whole(sources, &frame, FRAMES)?;
                ensure!(action == XDP_DROP, "xdp-filter ended with action {action}");
                samples[3].push(nanoseconds);
            }
        }
        Ok(peers
            .into_iter()
            .zip(&samples)
            .map(|(peer, samples)| {
                let (best, median) = best_and_median(samples);
                Row {
                    what: case.what,
                    peer: peer.to_owned(),
                    family: match sources {
                        Sources::TraceV6 => "IPv6",
                        _ => "IPv4",
                    },
                    trace: draw.label().to_owned(),
                    best,
                    median,
                    unit: UNIT,
                    runs: samples.len(),
                }
            })
            .collect())
    }

    /// A sample of cerco's program; fails unless every frame ended as the case claims.
    fn run_cerco(&mut self, case: &Case, sources: Sources, frame: &[u8]) -> Result<f64> {
        let gate = self.gates.of(case);
        self.traffic.set_program(gate.program_fd()?)?;
        let before = self.gates.counted(case)?;
        let (nanoseconds, action) = self.traffic.run(sources, frame, FRAMES)?;
        let after = self.gates.counted(case)?;
        for reason in Reason::ALL {
            let counted = after[*reason as usize] - before[*reason as usize];
            let expected = if *reason == case.reason {
                FRAMES.into()
            } else {
                0
            };
            ensure!(
                counted == expected,
                "{counted} frames ended with {}, {expected} were expected",
                reason.label()
            );
        }
        let expected = match case.reason.verdict() {
            Verdict::Drop => XDP_DROP,
            Verdict::Pass => XDP_PASS,
        };
        ensure!(action == expected, "cerco ended with action {action}");
        Ok(nanoseconds)
    }
}

/// Numbers of `xdp_action`.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

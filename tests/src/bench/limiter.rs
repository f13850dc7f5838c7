//! Part 4: the limiter while every packet comes from another source.
//!
//! Everybody is allowed and limited, and nobody is over the limit, so that the limiter does all its
//! work for every packet. [`what::LIMITER`] is the whole program less the one that only parses, in the
//! same round and over the same sources; for cerco there is also the difference from its own program
//! with everybody allowed and not limited, which leaves nothing but the limiter.

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::Reason;
use filter_userspace::{
    compile::compile,
    kernel::Gate,
    policy::{Action, Limit, Policy},
};

use super::{
    cable::Cable,
    context::Context,
    cpu,
    drops::{Drops, Program},
    fairness,
    lru::Lru,
    names::{family, peer, trace, what},
    part::Part,
    program_gates,
    row::{Row, Subject},
    trace::{Draw, Prefixes},
    traffic::{Sources, Traffic},
};
use crate::policies;

const UNIT: &str = "ns/packet";
/// With the making of the frame and the tail call.
const GROSS: &str = "limiter, with parser and harness";
/// The difference that the limit makes.
const MORE: &str = "limiter, more than without a limit";
const CERCO_UNLIMITED: &str = "cerco, not limited";

/// Frames of a sample.
const FRAMES: u32 = 1 << 20;
/// Frames before the first sample: twice the sources that either limiter has room for, so that a new
/// source takes the place of another one from the first sample on.
const WARM_UP: u32 = 1 << 21;

pub fn measure(context: &Context) -> Result<Vec<Row>> {
    let wide = limit(1_000_000, 1_000_000);
    let mut bench = Bench {
        // Only for its frames: nothing is sent.
        cable: Cable::lay()?,
        traffic: Traffic::load()?,
        limited: gate(context, Action::Limit(0), &wide)?,
        unlimited: gate(context, Action::Allow, &wide)?,
        lru: Lru::load(&wide, 0)?,
        parse_only: Drops::load(Program::ParseOnly, &Prefixes::default())?,
        context,
    };
    let _pinned = cpu::pin()?;
    let mut rows = Vec::new();
    for (label, count) in [
        (trace::SOURCES_1K, 1 << 10),
        (Draw::Many.label(), 1 << 20),
        (trace::SOURCES_2_32, 1 << 32),
    ] {
        context.step(label)?;
        rows.extend(bench.rows(label, count)?);
    }
    rows.extend(fairness::measure(context)?);
    Ok(rows)
}

/// A limit on packets for each address.
pub fn limit(packets_per_second: u32, burst_packets: u32) -> Limit {
    Limit {
        name: "everybody".to_owned(),
        packets_per_second: Some(packets_per_second),
        burst_packets,
        new_connections_per_second: None,
        burst_connections: 1,
        ipv4_prefix_len: 32,
        ipv6_prefix_len: 64,
    }
}

/// A gate that does the same with every source there is.
pub fn gate(context: &Context, everybody: Action, limit: &Limit) -> Result<Gate> {
    let policy = Policy {
        default: everybody,
        unknown: everybody,
        private: everybody,
        limits: vec![limit.clone()],
        ..policies::deny_all()
    };
    let mut compiled =
        compile(&policy, &context.database).context("failed to compile the policy")?;
    program_gates::use_stamps_of_common_limit(&mut compiled);
    program_gates::load(&compiled)
}

struct Bench<'a> {
    cable: Cable,
    traffic: Traffic,
    limited: Gate,
    unlimited: Gate,
    lru: Lru,
    parse_only: Drops,
    context: &'a Context,
}

impl Bench<'_> {
    /// All programs over `count` sources, in turns. The traffic goes on through the sources from one
    /// sample to the next, so that of 2^32 none comes twice.
    fn rows(&mut self, label: &str, count: u64) -> Result<Vec<Row>> {
        self.traffic.set_drawn(count)?;
        self.traffic.set_program(self.limited.program_fd()?)?;
        self.run(WARM_UP)?;
        self.traffic.set_program(self.lru.fd()?)?;
        self.run(WARM_UP)?;

        let frames = self.context.count(FRAMES);
        let (mut parse, mut unlimited, mut limited, mut lru) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.context.rounds {
            self.traffic.set_program(self.parse_only.fd()?)?;
            parse.push(self.run(frames)?);
            self.traffic.set_program(self.unlimited.program_fd()?)?;
            unlimited.push(self.run(frames)?);

            let before = program_gates::counted(&self.limited)?;
            self.traffic.set_program(self.limited.program_fd()?)?;
            limited.push(self.run(frames)?);
            let after = program_gates::counted(&self.limited)?;
            let allowed = Reason::Allowed as usize;
            ensure_all(peer::CERCO, frames, after[allowed] - before[allowed])?;

            let before = passed(&self.lru)?;
            self.traffic.set_program(self.lru.fd()?)?;
            lru.push(self.run(frames)?);
            ensure_all(peer::LRU_HASH, frames, passed(&self.lru)? - before)?;
        }
        let row = |what, peer, samples: &[f64]| {
            let subject = Subject {
                part: Part::Limiter,
                what,
                peer,
                family: family::V4,
                trace: label,
                unit: UNIT,
            };
            Row::new(subject, samples)
        };
        Ok(vec![
            row(GROSS, peer::PARSE_ONLY, &parse),
            row(GROSS, CERCO_UNLIMITED, &unlimited),
            row(GROSS, peer::CERCO, &limited),
            row(GROSS, peer::LRU_HASH, &lru),
            row(what::LIMITER, peer::CERCO, &less(&limited, &parse)),
            row(what::LIMITER, peer::LRU_HASH, &less(&lru, &parse)),
            row(MORE, peer::CERCO, &less(&limited, &unlimited)),
        ])
    }

    /// Nanoseconds a frame in the program that was set.
    fn run(&mut self, frames: u32) -> Result<f64> {
        let frame = self.cable.frame(Sources::DrawnV4);
        Ok(self.traffic.run(Sources::DrawnV4, frame, frames)?.0)
    }
}

fn passed(lru: &Lru) -> Result<u64> {
    Ok(lru.fates()?.iter().map(|fates| fates.passed).sum())
}

/// Round by round.
fn less(samples: &[f64], base: &[f64]) -> Vec<f64> {
    samples.iter().zip(base).map(|(all, it)| all - it).collect()
}

fn ensure_all(who: &str, frames: u32, passed: u64) -> Result<()> {
    ensure!(
        passed == u64::from(frames),
        "{who} let {passed} of {frames} frames through, all were expected"
    );
    Ok(())
}

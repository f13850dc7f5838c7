//! What grows with the database: the cost of a packet, and of loading; and what happens to packets
//! while one table takes the place of another.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::{Reason, Verdict};
use filter_userspace::{
    compile::{CompiledPolicy, compile},
    geo::{self, Database, ReadOptions},
    kernel::{AttachPreference, Gate},
};

use super::{
    cable::{Cable, LINK},
    context::{ALLOWED, Context},
    loading::{enforcing, growth},
    names::{family, peer, trace, what},
    part::Part,
    row::{Row, Subject},
    trace::{Draw, Prefixes},
    traffic::{Sources, Traffic},
};
use crate::policies;

/// Frames of one measurement.
const FRAMES: u32 = 1 << 19;
/// Frames of the flood under which tables are swapped.
const FLOOD: u32 = 1 << 21;

pub fn measure(context: &Context) -> Result<Vec<Row>> {
    let directory = tempfile::tempdir().context("failed to make a directory for databases")?;
    let mut traffic = Traffic::load()?;
    let mut rows = Vec::new();
    for size in growth::SIZES {
        let path = directory.path().join("growth.mmdb");
        context.step(&format!("{size} networks"))?;
        growth::write_database(&path, &context.database, size)?;
        let loading = enforcing::file(&path, context.rounds)?.samples;
        rows.push(row(what::GROWTH_LOAD, family::BOTH, size, "ms", &loading));
        let database = geo::read_file(&path, &ReadOptions::default())?;
        rows.extend(packets(context, &mut traffic, &database, size)?);
    }
    context.step("table swaps under a flood")?;
    rows.push(swaps(context, &mut traffic)?);
    Ok(rows)
}

/// A gate that enforces at the receiving end of a cable of its own.
struct Standing {
    cable: Cable,
    // The gate falls before its stand, which takes the pins away.
    gate: Gate,
    _stand: enforcing::Stand,
}

impl Standing {
    fn with(compiled: &CompiledPolicy) -> Result<Self> {
        let cable = Cable::lay()?;
        let stand = enforcing::Stand::build()?;
        let mut options = stand.options();
        options.interfaces = vec![LINK.to_owned()];
        let mut gate = Gate::load(compiled, &options)?;
        cable
            .receiver
            .run(|| gate.attach(AttachPreference::Native).map(|_| ()))??;
        Ok(Self {
            cable,
            gate,
            _stand: stand,
        })
    }

    /// Frames that were dropped, and frames that were not, since the gate stands.
    fn dropped_and_passed(&self) -> Result<(u64, u64)> {
        let (mut dropped, mut passed) = (0, 0);
        for counters in self.gate.counters()? {
            for reason in Reason::ALL {
                let packets = counters.enforced[*reason as usize].packets;
                match reason.verdict() {
                    Verdict::Drop => dropped += packets,
                    Verdict::Pass => passed += packets,
                }
            }
        }
        Ok((dropped, passed))
    }
}

fn packets(
    context: &Context,
    traffic: &mut Traffic,
    database: &Database,
    size: usize,
) -> Result<Vec<Row>> {
    let standing = Standing::with(&compile(&context.policy(), database)?)?;
    let allowed = ALLOWED.map(policies::country);
    let denied = Prefixes::of(database, |country| !allowed.contains(&country));
    let frames = context.count(FRAMES);
    let mut rows = Vec::new();
    for (sources, family) in [
        (Sources::TraceV4, family::V4),
        (Sources::TraceV6, family::V6),
    ] {
        match sources {
            Sources::TraceV6 => traffic.set_v6(&denied.draw_v6(Draw::Many))?,
            _ => {
                let frame = standing.cable.frame(sources);
                traffic.set_v4(frame, &denied.draw_v4(Draw::Many))?;
            }
        }
        let (dropped_before, _) = standing.dropped_and_passed()?;
        let samples = (0..context.rounds)
            .map(|_| standing.cable.send(traffic, sources, frames))
            .collect::<Result<Vec<f64>>>()?;
        let (dropped, passed) = standing.dropped_and_passed()?;
        let sent = u64::from(frames) * samples.len() as u64;
        ensure!(
            (dropped - dropped_before, passed) == (sent, 0),
            "{size} networks: {sent} frames were sent, {} dropped, {passed} let in",
            dropped - dropped_before
        );
        rows.push(row(what::GROWTH, family, size, "ns/packet", &samples));
    }
    Ok(rows)
}

/// Two policies by turns while denied sources flood the gate. Wrong is what was let in or not seen.
fn swaps(context: &Context, traffic: &mut Traffic) -> Result<Row> {
    let file = tempfile::NamedTempFile::new().context("failed to make a file for a database")?;
    growth::write_database(file.path(), &context.database, 100_000)?;
    let other = geo::read_file(file.path(), &ReadOptions::default())?;
    let compiled = [
        compile(&context.policy(), &context.database)?,
        compile(&policies::deny_all(), &other)?,
    ];
    let mut standing = Standing::with(&compiled[0])?;
    let frame = standing.cable.frame(Sources::TraceV4).to_vec();
    traffic.set_v4(&frame, &context.blocked.draw_v4(Draw::Many))?;
    let frames = context.count(FLOOD);
    let samples = (0..context.rounds)
        .map(|_| {
            let (dropped_before, passed_before) = standing.dropped_and_passed()?;
            let over = AtomicBool::new(false);
            let Standing { cable, gate, .. } = &mut standing;
            let mut swapped = 0;
            std::thread::scope(|scope| -> Result<()> {
                let flood = scope.spawn(|| {
                    let sent = cable.send(traffic, Sources::TraceV4, frames);
                    over.store(true, Ordering::Release);
                    sent
                });
                while !over.load(Ordering::Acquire) {
                    swapped += 1;
                    gate.publish(&compiled[swapped % 2])?;
                }
                flood.join().expect("invariant: sending does not panic")?;
                Ok(())
            })?;
            ensure!(swapped > 1, "the flood was over before a table was swapped");
            let (dropped, passed) = standing.dropped_and_passed()?;
            let missed = u64::from(frames).abs_diff(dropped - dropped_before);
            Ok((missed + passed - passed_before) as f64)
        })
        .collect::<Result<Vec<f64>>>()?;
    let subject = Subject {
        part: Part::Growth,
        what: what::SWAP,
        peer: peer::CERCO,
        family: family::V4,
        trace: Draw::Many.label(),
        unit: "frames",
    };
    Ok(Row::new(subject, &samples))
}

fn row(what: &str, family: &str, size: usize, unit: &str, samples: &[f64]) -> Row {
    let trace = match size {
        1_000 => trace::NETWORKS_1K.to_owned(),
        2_000_000 => trace::NETWORKS_2M.to_owned(),
        size if size < 1_000_000 => format!("{}k networks", size / 1_000),
        size => format!("{}M networks", size / 1_000_000),
    };
    let subject = Subject {
        part: Part::Growth,
        what,
        peer: peer::CERCO,
        family,
        trace: &trace,
        unit,
    };
    Row::new(subject, samples)
}

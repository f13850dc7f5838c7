//! Part 2: the whole program, for each way that a packet can end.
//!
//! Every frame comes from a trace and reaches the program under test by a tail call; the empty program
//! stands beside each case and tells what that costs, and the program that only parses tells what is
//! left for the decision. The gate's own counters must say that every frame of a case ended as the
//! case claims.

use anyhow::{Context as _, Result, ensure};
use filter_common::{
    packet::{Address, Packet},
    verdict::{Reason, Verdict},
};
use filter_userspace::kernel::Gate;

use super::{
    cable::Cable,
    context::Context,
    cpu,
    drops::{Drops, Program},
    names::{family, peer, what},
    part::Part,
    program_cases::{CASES, Case, SourceSets},
    program_gates::Gates,
    row::{Row, Subject},
    trace::{Draw, Prefixes},
    traffic::{Sources, Traffic},
    xdp_filter::XdpFilter,
};

const UNIT: &str = "ns/packet";
/// With the making of the frame and the tail call.
const GROSS: &str = "program, with the harness";
const EMPTY: &str = "empty program";
const XDP_FILTER_DENIED: &str = "xdp-filter, denied";

/// Frames of a sample: all of the longest trace.
const FRAMES: u32 = 1 << 20;
/// Frames of a sample where the trace is short.
const FEW_FRAMES: u32 = 1 << 18;

/// Numbers of `xdp_action`.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

pub fn measure(context: &Context) -> Result<Vec<Row>> {
    let xdp_filter = XdpFilter::load()
        .inspect_err(|error| {
            context.missing(Part::Program, peer::XDP_FILTER, format!("{error:#}"));
        })
        .ok();
    context.step("loading the gates")?;
    let mut bench = Bench {
        // Only for its frames: nothing is sent.
        cable: Cable::lay()?,
        traffic: Traffic::load()?,
        gates: Gates::load(&context.database)?,
        drop_all: Drops::load(Program::DropAll, &Prefixes::default())?,
        parse_only: Drops::load(Program::ParseOnly, &Prefixes::default())?,
        xdp_filter,
        context,
    };
    let _pinned = cpu::pin()?;
    let sets = SourceSets::of(&context.database);
    let mut rows = Vec::new();
    for sources in [Sources::TraceV4, Sources::TraceV6] {
        for case in CASES {
            if sources == Sources::TraceV6 && !case.has_v6() {
                continue;
            }
            for draw in case.draws() {
                context.step(&format!("{}, {}", case.peer, draw.label()))?;
                rows.extend(
                    bench
                        .rows(&sets, case, sources, *draw)
                        .with_context(|| format!("{}, {sources:?}", case.peer))?,
                );
            }
        }
    }
    Ok(rows)
}

/// Opens the flows, as if the host had just sent these packets.
fn connect(gate: &Gate, sent: &[Packet]) -> Result<()> {
    if !sent.is_empty() {
        gate.record_sent(sent.iter().copied())?;
        gate.renew_reply_ports()?;
    }
    Ok(())
}

struct Bench<'a> {
    cable: Cable,
    traffic: Traffic,
    gates: Gates,
    drop_all: Drops,
    parse_only: Drops,
    xdp_filter: Option<XdpFilter>,
    context: &'a Context,
}

impl Bench<'_> {
    /// One case over one trace: cerco and what stands beside it, in turns.
    fn rows(
        &mut self,
        sets: &SourceSets,
        case: &Case,
        sources: Sources,
        draw: Draw,
    ) -> Result<Vec<Row>> {
        let frame = case.frame(self.cable.frame(sources));
        match sources {
            Sources::TraceV6 => {
                let addresses = case.sources_v6(sets, draw, self.gates.banned_v6())?;
                self.traffic.set_v6(&addresses)?;
                let sources = addresses.iter().map(|it| Address::v6(it.to_be_bytes()));
                connect(self.gates.of(case), &case.flows(&frame, sources))?;
            }
            _ => {
                let addresses = case.sources_v4(sets, draw, self.gates.banned_v4())?;
                self.traffic.set_v4(&frame, &addresses)?;
                let sources = addresses.iter().map(|it| Address::v4(it.to_be_bytes()));
                connect(self.gates.of(case), &case.flows(&frame, sources))?;
            }
        }
        let (frames, first) = match draw {
            Draw::One | Draw::Few => (self.context.count(FEW_FRAMES), draw.count() as u32),
            Draw::Many | Draw::Uniform => (self.context.count(FRAMES), self.context.count(FRAMES)),
        };
        // Once before all: caches, and of the short trace the one packet that a source over its limit
        // has free.
        let gate = self.gates.of(case);
        self.traffic.set_program(gate.program_fd()?)?;
        self.traffic.run(sources, &frame, first)?;

        let (mut empty, mut parse, mut cerco, mut filter) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.context.rounds {
            self.traffic.set_program(self.drop_all.fd()?)?;
            empty.push(self.traffic.run(sources, &frame, frames)?.0);
            if case.is_limited() {
                self.traffic.set_program(self.parse_only.fd()?)?;
                parse.push(self.traffic.run(sources, &frame, frames)?.0);
            }
            cerco.push(self.run_cerco(case, sources, &frame, frames)?);
            if let Some(program) = self.xdp_filter.as_ref().filter(|_| case.is_denied()) {
                self.traffic.set_whole_program(program.fd())?;
                let (nanoseconds, action) = self.traffic.run_whole(sources, &frame, frames)?;
                ensure!(action == XDP_DROP, "xdp-filter ended with action {action}");
                filter.push(nanoseconds);
            }
        }
        let mut rows = Vec::new();
        for (peer, samples) in [
            (EMPTY, &empty),
            (peer::PARSE_ONLY, &parse),
            (case.peer, &cerco),
            (XDP_FILTER_DENIED, &filter),
        ] {
            // One row for the empty program is enough: it is the same in all cases.
            if samples.is_empty() || (peer == EMPTY && !case.is_limited()) {
                continue;
            }
            let subject = Subject {
                part: Part::Program,
                what: GROSS,
                peer,
                family: match sources {
                    Sources::TraceV6 => family::V6,
                    _ => family::V4,
                },
                trace: draw.label(),
                unit: UNIT,
            };
            rows.push(Row::new(subject, samples));
            if peer != EMPTY {
                let net: Vec<f64> = samples
                    .iter()
                    .zip(&empty)
                    .map(|(all, it)| all - it)
                    .collect();
                let what = what::PROGRAM;
                rows.push(Row::new(Subject { what, ..subject }, &net));
            }
        }
        Ok(rows)
    }

    /// A sample of cerco's program; fails unless every frame ended as the case claims.
    fn run_cerco(
        &mut self,
        case: &Case,
        sources: Sources,
        frame: &[u8],
        frames: u32,
    ) -> Result<f64> {
        let gate = self.gates.of(case);
        self.traffic.set_program(gate.program_fd()?)?;
        let before = self.gates.counted(case)?;
        let (nanoseconds, action) = self.traffic.run(sources, frame, frames)?;
        let after = self.gates.counted(case)?;
        for reason in Reason::ALL {
            let counted = after[*reason as usize] - before[*reason as usize];
            let expected = match *reason == case.reason {
                true => u64::from(frames),
                false => 0,
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

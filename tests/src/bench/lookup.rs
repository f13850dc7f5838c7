//! Part 1: the look-up alone, cerco's table beside what else holds prefixes.
//!
//! Every structure runs inside the same loop in the kernel, over the same addresses; the loop without
//! a look-up is a row of its own, and what it costs is taken off in the net rows. Each timed walk
//! also computes a checksum of all classes that it found, which must be the one that the database
//! says: no time is taken of wrong answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use filter_common::country::Class;
use filter_userspace::{
    compile::{CompiledPolicy, compile, covers},
    geo::Database,
};

use super::{
    context::Context,
    cpu,
    lookup_layout::checksum_step,
    lookup_programs::{CHECKSUM_BASIS, LOOKUPS, Lookups, Structure, Walking, World},
    names::{self, what},
    part::Part,
    row::{Row, Subject},
    trace::Draw,
};
use crate::policies;

const UNIT: &str = "ns/lookup";

/// How the look-ups follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// As fast as the processor can overlap them.
    Free,
    /// Each waits for the one before.
    Chained,
}

impl Order {
    const ALL: [Self; 2] = [Self::Free, Self::Chained];

    /// The thing measured, with the loop, and without it.
    const fn what(self) -> [&'static str; 2] {
        match self {
            Self::Free => ["lookup, with the loop", what::LOOKUP],
            Self::Chained => ["chained lookup, with the loop", what::CHAINED_LOOKUP],
        }
    }
}

pub fn measure(context: &Context) -> Result<Vec<Row>> {
    context.step("filling all tables")?;
    let policy = policies::deny_all();
    let compiled = compile(&policy, &context.database).context("failed to compile the table")?;
    let (v4, v6) = covers(&policy, &context.database, &compiled);
    let mut bench = Bench {
        lookups: Lookups::load(&World {
            lines: &compiled.lines,
            v4: &v4,
            v6: &v6,
        })?,
        context,
        compiled: &compiled,
    };
    let _pinned = cpu::pin()?;
    let mut rows = Vec::new();
    for draw in Draw::ALL {
        let addresses = context.world.draw_v4(draw);
        bench.lookups.set_v4(&addresses)?;
        let trace = addresses.into_iter().map(Ipv4Addr::from).map(IpAddr::V4);
        rows.extend(bench.rows(draw, &trace.collect::<Vec<_>>())?);
    }
    for draw in Draw::ALL {
        let addresses = context.world.draw_v6(draw);
        bench.lookups.set_v6(&addresses)?;
        let trace = addresses.into_iter().map(Ipv6Addr::from).map(IpAddr::V6);
        rows.extend(bench.rows(draw, &trace.collect::<Vec<_>>())?);
    }
    Ok(rows)
}

struct Bench<'a> {
    lookups: Lookups,
    context: &'a Context,
    compiled: &'a CompiledPolicy,
}

impl Bench<'_> {
    /// All structures over one trace, in turns.
    fn rows(&mut self, draw: Draw, trace: &[IpAddr]) -> Result<Vec<Row>> {
        let is_v4 = trace.first().is_some_and(IpAddr::is_ipv4);
        let database = &self.context.database;
        let classes: Vec<u64> = trace
            .iter()
            .map(|address| class_of(database, self.compiled, *address).0.into())
            .collect();
        let first_bytes: Vec<u64> = trace.iter().map(first_byte).collect();
        let mut rows = Vec::new();
        for order in Order::ALL {
            self.context
                .step(&format!("{}, {}, {order:?}", family(is_v4), draw.label()))?;
            let mut samples = [const { Vec::new() }; Structure::ALL.len()];
            for _ in 0..self.context.rounds {
                for (structure, samples) in Structure::ALL.into_iter().zip(&mut samples) {
                    let walk = Walking {
                        structure,
                        is_v4,
                        chained: order == Order::Chained,
                    };
                    let expected = match structure {
                        Structure::NoLookup => &first_bytes,
                        _ => &classes,
                    };
                    samples.push(self.timed(walk, trace, expected)?);
                }
            }
            rows.extend(order_rows(order, is_v4, draw, &samples));
        }
        Ok(rows)
    }

    /// Nanoseconds of a look-up; fails unless every answer is the expected one.
    fn timed(&mut self, walk: Walking, trace: &[IpAddr], expected: &[u64]) -> Result<f64> {
        let count = self.context.count(LOOKUPS);
        let lookups = &mut self.lookups;
        let walked = lookups.walk(walk, count)?;
        if walked.checksum == checksum(expected, count) {
            return Ok(walked.nanoseconds);
        }
        let at = first_wrong(expected, count, |count| {
            Ok(lookups.walk(walk, count)?.checksum)
        })?;
        let at = at % trace.len();
        bail!(
            "{} answers wrongly for {}, which has class {}",
            walk.structure.label(),
            trace[at],
            expected[at]
        )
    }
}

/// With the loop, and for look-ups also without the loop of the same round.
fn order_rows(
    order: Order,
    is_v4: bool,
    draw: Draw,
    samples: &[Vec<f64>; Structure::ALL.len()],
) -> Vec<Row> {
    let row = |what, structure: Structure, samples: &[f64]| {
        let subject = Subject {
            part: Part::Lookup,
            what,
            peer: structure.label(),
            family: family(is_v4),
            trace: draw.label(),
            unit: UNIT,
        };
        Row::new(subject, samples)
    };
    let [gross, net] = order.what();
    let harness = &samples[Structure::NoLookup as usize];
    let mut rows = Vec::new();
    for (structure, samples) in Structure::ALL.into_iter().zip(samples) {
        rows.push(row(gross, structure, samples));
        if structure != Structure::NoLookup {
            let above: Vec<f64> = samples
                .iter()
                .zip(harness)
                .map(|(all, loop_alone)| all - loop_alone)
                .collect();
            rows.push(row(net, structure, &above));
        }
    }
    rows
}

const fn family(is_v4: bool) -> &'static str {
    if is_v4 {
        names::family::V4
    } else {
        names::family::V6
    }
}

/// What the database says, and where private space lies; by other code than the table's.
fn class_of(database: &Database, compiled: &CompiledPolicy, address: IpAddr) -> Class {
    let is_private = match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            // RFC 6598: shared address space.
            v4.is_private() || v4.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    if is_private {
        return Class::PRIVATE;
    }
    let country = database.lookup(address).country;
    country
        .and_then(|country| compiled.class_of(country))
        .unwrap_or(Class::UNKNOWN)
}

fn first_byte(address: &IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => v4.octets()[0].into(),
        IpAddr::V6(v6) => v6.octets()[0].into(),
    }
}

/// The checksum of the first `count` answers of a trace that begins again at its end.
fn checksum(answers: &[u64], count: u32) -> u64 {
    answers
        .iter()
        .cycle()
        .take(count as usize)
        .fold(CHECKSUM_BASIS, |sum, answer| checksum_step(sum, *answer))
}

/// The number of the first wrong answer, given that there is one among the first `count`.
fn first_wrong(
    expected: &[u64],
    count: u32,
    mut walk: impl FnMut(u32) -> Result<u64>,
) -> Result<usize> {
    // `right` answers are right; among `wrong` answers is a wrong one.
    let (mut right, mut wrong) = (0, count);
    while wrong - right > 1 {
        let middle = right + (wrong - right) / 2;
        if walk(middle)? == checksum(expected, middle) {
            right = middle;
        } else {
            wrong = middle;
        }
    }
    Ok(right as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_tells_order_and_every_single_answer() {
        let answers = [5, 6, 7, 8];
        assert_eq!(checksum(&answers, 0), CHECKSUM_BASIS);
        assert_eq!(
            checksum(&answers, 6),
            checksum(&[5, 6, 7, 8, 5, 6], 6),
            "the trace begins again"
        );
        assert_ne!(checksum(&answers, 4), checksum(&[5, 7, 6, 8], 4));
        for place in 0..4 {
            let mut other = answers;
            other[place] ^= 1;
            assert_ne!(checksum(&answers, 4), checksum(&other, 4), "{place}");
        }
    }

    #[test]
    fn first_wrong_answer_is_found_wherever_it_is() {
        let expected = [1, 2, 3, 4];
        for place in [0, 1, 77, LOOKUPS as usize - 1] {
            let walk = |count: u32| {
                let answers = expected.iter().cycle().take(count as usize).enumerate();
                Ok(answers.fold(CHECKSUM_BASIS, |sum, (index, answer)| {
                    checksum_step(sum, if index == place { 9 } else { *answer })
                }))
            };
            assert_eq!(first_wrong(&expected, LOOKUPS, walk).unwrap(), place);
        }
    }
}

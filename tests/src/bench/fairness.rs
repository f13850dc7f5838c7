//! One source at ten times its limit among a million that keep to theirs, in real time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use filter_common::country::CountryCode;
use filter_userspace::{
    compile::compile,
    kernel::{Gate, InterfaceCounters},
    policy::Action,
};

use super::{
    cable::Cable,
    context::Context,
    cpu, limiter,
    lru::{Fates, Lru},
    names::{family, peer, what},
    part::Part,
    program_gates,
    row::{Row, Subject},
    trace::{Draw, Prefixes},
    traffic::{Sources, Traffic},
};
use crate::policies;

/// What everybody may send.
const PER_SECOND: u32 = 100;
/// Absorbs half a second in which nothing is sent: between two calls the kernel waits for grace periods
/// of RCU, and this machine may do something else.
const BURST: u32 = 50;
/// The heavy source sends every frame of the trace whose number is a multiple of this …
const HEAVY_EVERY: usize = 1_024;
/// … and so ten times what it may. All others send about one frame a second.
const FRAMES_PER_SECOND: u64 = 10 * PER_SECOND as u64 * HEAVY_EVERY as u64;
/// How long it goes on.
const DURATION: Duration = Duration::from_secs(3);
const QUICK_DURATION: Duration = Duration::from_secs(1);
/// Between two calls.
const PAUSE: Duration = Duration::from_millis(1);
/// The most that one call sends, should this machine have slept.
const FRAMES_PER_CALL: u64 = 1 << 18;
/// A longer silence takes from the heavy source what it may send: it says something of this machine, and nothing of
/// a limiter.
const SILENCE: Duration = Duration::from_millis(400);
/// Before the first frame its bucket is full, and nothing that it may send comes in addition.
const LATE_BEGIN: Duration = Duration::from_millis(50);
/// How often a disturbed round is done again.
const TURNS: usize = 5;

/// The country whose only sender is the heavy source, so that the gate counts it apart.
const HEAVY_COUNTRY: &str = "MO";

/// What became of all frames.
struct Outcome {
    quiet: Fates,
    heavy: Fates,
    elapsed: Duration,
}

pub fn measure(context: &Context) -> Result<Vec<Row>> {
    let heavy_country = policies::country(HEAVY_COUNTRY);
    let is_heavy = |country: CountryCode| country == heavy_country;
    let heavy = Prefixes::of(&context.database, is_heavy).draw_v4(Draw::One)[0];
    let mut sources =
        Prefixes::of(&context.database, |country| !is_heavy(country)).draw_v4(Draw::Many);
    for place in sources.iter_mut().step_by(HEAVY_EVERY) {
        *place = heavy;
    }
    let cable = Cable::lay()?;
    let mut traffic = Traffic::load()?;
    traffic.set_v4(cable.frame(Sources::TraceV4), &sources)?;
    let frame = cable.frame(Sources::TraceV4);
    let duration = if context.quick {
        QUICK_DURATION
    } else {
        DURATION
    };

    let limit = limiter::limit(PER_SECOND, BURST);
    let class = compile(&policies::deny_all(), &context.database)?
        .class_of(heavy_country)
        .context("the heavy country has a class")?;
    let _preferred = cpu::prefer()?;
    let mut outcomes = [Vec::new(), Vec::new()];
    for _ in 0..context.rounds {
        context.step("one heavy source among a million")?;
        // Anew in each turn: nobody has sent anything yet.
        outcomes[0].push(undisturbed(|| {
            let mut gate = limiter::gate(context, Action::Limit(0), &limit)?;
            traffic.set_program(gate.program_fd()?)?;
            let Some(elapsed) = send(&mut traffic, frame, duration)? else {
                return Ok(None);
            };
            of_gate(&gate, class.0.into(), elapsed).map(Some)
        })?);
        outcomes[1].push(undisturbed(|| {
            let mut lru = Lru::load(&limit, heavy)?;
            traffic.set_program(lru.fd()?)?;
            let Some(elapsed) = send(&mut traffic, frame, duration)? else {
                return Ok(None);
            };
            let [quiet, heavy] = lru.fates()?;
            Ok(Some(Outcome {
                quiet,
                heavy,
                elapsed,
            }))
        })?);
    }
    let mut rows = Vec::new();
    for (peer, outcomes) in [peer::CERCO, peer::LRU_HASH].into_iter().zip(&outcomes) {
        rows.extend(rows_of(peer, outcomes)?);
    }
    Ok(rows)
}

/// The first outcome of a round in which this machine had the time for it.
fn undisturbed(mut turn: impl FnMut() -> Result<Option<Outcome>>) -> Result<Outcome> {
    for _ in 0..TURNS {
        if let Some(outcome) = turn()? {
            return Ok(outcome);
        }
    }
    bail!(
        "this machine is too busy to send {FRAMES_PER_SECOND} frames a second without a silence of more than {} ms: \
         {TURNS} attempts",
        SILENCE.as_millis()
    )
}

/// Sends at the rate above for `duration`; returns how long it took from the first to the last frame, or `None` when
/// this machine had something else to do.
fn send(traffic: &mut Traffic, frame: &[u8], duration: Duration) -> Result<Option<Duration>> {
    let start = Instant::now();
    let mut last = Duration::ZERO;
    let mut sent = 0;
    loop {
        let elapsed = start.elapsed();
        let silence = if sent == 0 { LATE_BEGIN } else { SILENCE };
        if elapsed - last > silence {
            return Ok(None);
        }
        last = elapsed;
        let due = (elapsed.as_secs_f64() * FRAMES_PER_SECOND as f64) as u64 - sent;
        let count = due.min(FRAMES_PER_CALL);
        if count > 0 {
            traffic.run(Sources::TraceV4, frame, count as u32)?;
            sent += count;
        }
        if elapsed >= duration {
            return Ok((count == due).then_some(elapsed));
        }
        thread::sleep(PAUSE);
    }
}

fn of_gate(gate: &Gate, heavy_class: usize, elapsed: Duration) -> Result<Outcome> {
    let counters: InterfaceCounters = program_gates::counters(gate)?;
    let mut outcome = Outcome {
        quiet: Fates {
            passed: 0,
            dropped: 0,
        },
        heavy: Fates {
            passed: 0,
            dropped: 0,
        },
        elapsed,
    };
    let classes = counters.class_passed.iter().zip(&counters.class_dropped);
    for (class, (passed, dropped)) in classes.enumerate() {
        let fates = if class == heavy_class {
            &mut outcome.heavy
        } else {
            &mut outcome.quiet
        };
        fates.passed += passed.packets;
        fates.dropped += dropped.packets;
    }
    Ok(outcome)
}

fn rows_of(peer: &str, outcomes: &[Outcome]) -> Result<Vec<Row>> {
    let (mut shares, mut losses) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        let may = outcome.elapsed.as_secs_f64() * f64::from(PER_SECOND) + f64::from(BURST);
        let heavy = outcome.heavy;
        let sent = heavy.passed + heavy.dropped;
        ensure!(
            sent as f64 > 9.0 * (may - f64::from(BURST)),
            "the heavy source sent {sent} frames, which is not ten times its limit of {may:.0}"
        );
        shares.push(heavy.passed as f64 / may);
        let quiet = outcome.quiet;
        losses.push(100.0 * quiet.dropped as f64 / (quiet.passed + quiet.dropped) as f64);
    }
    let row = |what, unit, samples: &[f64]| {
        let subject = Subject {
            part: Part::Limiter,
            what,
            peer,
            family: family::V4,
            trace: Draw::Many.label(),
            unit,
        };
        Row::new(subject, samples)
    };
    Ok(vec![
        row(what::HEAVY_SOURCE, "of the limit", &shares),
        row(what::QUIET_LOSS, "%", &losses),
    ])
}

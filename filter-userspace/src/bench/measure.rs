//! The rounds, and the proof of what they ran.

use std::time::{Duration, Instant};

use filter_common::verdict::{Reason, Verdict};

use super::{
    BenchError, NotMeasured, Plan, Report, Row, Timing,
    cases::{Prepared, RUNS_PER_CALL, Style},
    frames, system,
};
use crate::kernel::{EmptyProgram, KernelError, Live};

/// What a call may take: bottom halves are off for each run, and the live gate waits for its CPU.
const CALL_TIME: Duration = Duration::from_micros(500);
/// Runs that tell how many fit into a call, and warm the caches up.
const TRIAL_RUNS: u32 = 200;
const TRIALS: u32 = 3;
/// The kernel installs the empty program where it calls XDP programs from for each call, and takes it
/// out again, which costs milliseconds: so one call of many runs.
const EMPTY_RUNS: u32 = 50_000;
/// Beyond its limit a source still gets its rate; at a million packets a second, the highest, that is
/// a good part of all runs. The row names the share.
const MIN_SHARE_OVER_LIMIT: f64 = 0.5;

/// Runs all rounds. A row whose frames did not end as expected is not shown as one.
pub fn measure(
    live: &Live,
    plan: Plan,
    (prepared, mut not_measured): (Vec<Prepared>, Vec<NotMeasured>),
    cpu: Option<usize>,
) -> Result<Report, BenchError> {
    let start = Instant::now();
    let empty = EmptyProgram::load()?;
    let mut empty_rounds = Vec::new();
    let mut measured: Vec<Measured> = prepared.into_iter().map(Measured::new).collect();
    for it in &mut measured {
        it.choose_runs_per_call(live)?;
    }
    for round in 0..plan.rounds {
        if round >= Plan::MIN_ROUNDS && start.elapsed() >= plan.time_limit {
            break;
        }
        let run = uninterrupted(|| empty.test_run(&frames::arp(), EMPTY_RUNS))?;
        empty_rounds.push(run.duration.as_nanos() as f64);
        for it in &mut measured {
            it.run_round(live, round, plan.rounds)?;
        }
    }
    let empty_program = Timing::of(&empty_rounds);
    let mut rows = Vec::new();
    for it in measured {
        match it.into_row(empty_program) {
            Ok(row) => rows.push(row),
            Err(it) => not_measured.push(it),
        }
    }
    not_measured.sort_by_key(|it| (it.case as u8, it.family.map(|family| family as u8)));
    Ok(Report {
        program_id: live.program_id(),
        interfaces: live.interfaces(),
        mode: live.mode().into(),
        kernel: system::kernel(),
        cpu,
        cpu_model: system::cpu_model(),
        rounds: empty_rounds.len(),
        seconds: start.elapsed().as_secs_f64(),
        empty_program,
        rows,
        not_measured,
        warnings: system::warnings(),
    })
}

impl Timing {
    /// `rounds` is not empty.
    fn of(rounds: &[f64]) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median_ns = match sorted.len() % 2 {
            1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        };
        Self {
            best_ns: sorted[0],
            median_ns,
        }
    }
}

struct Measured {
    prepared: Prepared,
    runs_per_call: u32,
    /// Mean nanoseconds of each round.
    rounds: Vec<f64>,
    /// Timed runs by `[reason as usize]`.
    reasons: Vec<u64>,
}

impl Measured {
    fn new(prepared: Prepared) -> Self {
        Self {
            prepared,
            runs_per_call: RUNS_PER_CALL,
            rounds: Vec::new(),
            reasons: vec![0; Reason::COUNT],
        }
    }

    fn choose_runs_per_call(&mut self, live: &Live) -> Result<(), BenchError> {
        self.runs_per_call = match self.prepared.style {
            Style::Once { batch } => batch,
            Style::Repeat | Style::Spent { .. } => {
                let Some(frame) = self.prepared.frames.first() else {
                    return Ok(());
                };
                // The best of some: one that others had the CPU in tells nothing.
                let mut one = u128::MAX;
                for _ in 0..TRIALS {
                    let trial = uninterrupted(|| live.test_run(frame, TRIAL_RUNS))?;
                    one = one.min(trial.duration.as_nanos().max(1));
                }
                let fit = u32::try_from(CALL_TIME.as_nanos() / one).unwrap_or(u32::MAX);
                fit.clamp(TRIAL_RUNS, RUNS_PER_CALL)
            }
        };
        Ok(())
    }

    fn run_round(&mut self, live: &Live, round: usize, rounds: usize) -> Result<(), BenchError> {
        let frames = match self.prepared.style {
            Style::Once { .. } => part(&self.prepared.frames, round, rounds),
            Style::Repeat | Style::Spent { .. } => &self.prepared.frames,
        };
        if frames.is_empty() {
            return Ok(());
        }
        let (runs, reasons) = (self.runs_per_call, &mut self.reasons);
        let sum_ns = match self.prepared.style {
            // One source at a time: at a high rate much of a burst is back after milliseconds.
            Style::Spent { burst } => {
                let mut sum_ns = 0;
                for frame in frames {
                    // Half as much again, for what comes back while this runs.
                    spend(live, frame, burst + burst / 2 + 1)?;
                    sum_ns += run_proven(live, std::slice::from_ref(frame), runs, reasons)?;
                }
                sum_ns
            }
            Style::Repeat | Style::Once { .. } => run_proven(live, frames, runs, reasons)?,
        };
        self.rounds.push(sum_ns as f64 / frames.len() as f64);
        Ok(())
    }

    fn into_row(self, empty_program: Timing) -> Result<Row, NotMeasured> {
        let Prepared {
            case,
            family,
            expected,
            style,
            frames,
        } = self.prepared;
        let refused = |why: String| NotMeasured { case, family, why };
        let runs: u64 = self.reasons.iter().sum();
        if self.rounds.is_empty() || runs == 0 {
            return Err(refused("nothing was run".to_owned()));
        }
        let share = |reason: Reason| self.reasons[reason as usize] as f64 / runs as f64;
        let least = match style {
            Style::Spent { .. } => MIN_SHARE_OVER_LIMIT,
            Style::Repeat | Style::Once { .. } => 1.0,
        };
        if share(expected) < least {
            let others: Vec<String> = Reason::ALL
                .iter()
                .filter(|reason| self.reasons[**reason as usize] > 0)
                .map(|reason| format!("{} {:.1} %", reason.label(), share(*reason) * 100.0))
                .collect();
            return Err(refused(format!(
                "expected {}, the program gave {}",
                expected.label(),
                others.join(", ")
            )));
        }
        let timing = Timing::of(&self.rounds);
        // Noise can make the fastest rows look faster than nothing.
        let net_ns = (timing.median_ns - empty_program.median_ns).max(0.1);
        Ok(Row {
            case,
            family,
            reason: expected.label(),
            verdict: match expected.verdict() {
                Verdict::Pass => "pass",
                Verdict::Drop => "drop",
            },
            reason_share: share(expected),
            frame_bytes: frames.first().map_or(0, Vec::len),
            sources: frames.len(),
            runs_per_call: self.runs_per_call,
            runs,
            timing,
            net_ns,
            packets_per_second: 1e9 / net_ns,
        })
    }
}

/// Runs every frame `runs_per_call` times, and adds what the program made of them to `tally`, by
/// `[reason as usize]`. Returns the sum of the frames' mean times, nanoseconds.
fn run_proven(
    live: &Live,
    frames: &[Vec<u8>],
    runs_per_call: u32,
    tally: &mut [u64],
) -> Result<u128, BenchError> {
    // A call that was broken off has counted, nobody knows how often: all of them are made again.
    let (before, sum_ns) = uninterrupted(|| {
        let before = reasons(live)?;
        let mut sum_ns = 0;
        for frame in frames {
            sum_ns += live.test_run(frame, runs_per_call)?.duration.as_nanos();
        }
        Ok((before, sum_ns))
    })?;
    let counted: Vec<u64> = reasons(live)?
        .iter()
        .zip(&before)
        .map(|(after, before)| after.wrapping_sub(*before))
        .collect();
    let ours = frames.len() as u64 * u64::from(runs_per_call);
    if counted.iter().sum::<u64>() != ours {
        let counted = counted.iter().sum();
        return Err(BenchError::Disturbed { ours, counted });
    }
    for (sum, count) in tally.iter_mut().zip(counted) {
        *sum += count;
    }
    Ok(sum_ns)
}

/// The frames of one round, when each is used in one only. Every round gets as many; too few frames
/// last for fewer rounds.
fn part(frames: &[Vec<u8>], round: usize, rounds: usize) -> &[Vec<u8>] {
    let each = (frames.len() / rounds.max(1)).max(1);
    let first = (round * each).min(frames.len());
    &frames[first..(first + each).min(frames.len())]
}

/// Runs that nobody times, in calls that are as short as the others.
fn spend(live: &Live, frame: &[u8], mut runs: u32) -> Result<(), BenchError> {
    while runs > 0 {
        let now = runs.min(RUNS_PER_CALL);
        uninterrupted(|| live.test_run(frame, now))?;
        runs -= now;
    }
    Ok(())
}

/// Measures until no signal breaks it off, as Ctrl-Z and `fg` do (EINTR, bpf_test_run() in net/bpf/test_run.c).
fn uninterrupted<T>(mut measure: impl FnMut() -> Result<T, KernelError>) -> Result<T, KernelError> {
    /// Some moments without a signal are enough.
    const TRIES: usize = 20;
    for _ in 1..TRIES {
        match measure() {
            Err(error) if error.is_interruption() => {}
            outcome => return outcome,
        }
    }
    measure()
}

/// What test runs have counted, by `[reason as usize]`.
fn reasons(live: &Live) -> Result<Vec<u64>, KernelError> {
    let counters = live.elsewhere()?;
    let pairs = counters.enforced.iter().zip(&counters.would_drop);
    Ok(pairs
        .map(|(enforced, would_drop)| enforced.packets.wrapping_add(would_drop.packets))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_or_the_mean_of_both() {
        let timing = |rounds: &[f64]| {
            let timing = Timing::of(rounds);
            (timing.best_ns, timing.median_ns)
        };
        assert_eq!(timing(&[7.0]), (7.0, 7.0));
        assert_eq!(timing(&[9.0, 1.0, 5.0]), (1.0, 5.0));
        assert_eq!(timing(&[9.0, 1.0, 5.0, 6.0]), (1.0, 5.5));
    }

    #[test]
    fn no_frame_is_in_two_parts() {
        for (count, rounds, expected) in [
            (9, 3, vec![3, 3, 3]),
            (10, 3, vec![3, 3, 3]),
            (2, 3, vec![1, 1, 0]),
            (0, 2, vec![0, 0]),
        ] {
            let frames: Vec<Vec<u8>> = (0..count).map(|number| vec![number]).collect();
            let mut seen = Vec::new();
            let mut lens = Vec::new();
            for round in 0..rounds {
                let part = part(&frames, round, rounds);
                lens.push(part.len());
                seen.extend_from_slice(part);
            }
            assert_eq!(lens, expected, "{count} frames");
            assert_eq!(seen, frames[..seen.len()], "{count} frames");
        }
    }
}

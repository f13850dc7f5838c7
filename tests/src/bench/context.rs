//! What every part of the benchmark works with.

use std::{
    cell::{Cell, RefCell},
    path::Path,
    time::Instant,
};

use anyhow::{Context as _, Result};
use filter_common::country::CountryCode;
use filter_userspace::{
    geo::{self, Database, ReadOptions},
    policy::{Action, Policy},
};
use serde::Serialize;

use super::{part::Part, row::RUNS, trace::Prefixes};
use crate::{demo::interrupt, policies};

/// The countries that the gate lets in, everywhere in the benchmark.
pub const ALLOWED: [&str; 2] = ["MO", "CN"];

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amount {
    /// What the goals ask for.
    Full,
    /// One minute. Goals ask for [`RUNS`], so it only hints at them.
    Quick,
    /// Enough to see that it works.
    Tiny,
}

impl Amount {
    const fn rounds(self) -> usize {
        match self {
            Self::Full => RUNS,
            Self::Quick => 2,
            Self::Tiny => 1,
        }
    }

    /// Loops are that much shorter.
    const fn divisor(self) -> u32 {
        match self {
            Self::Full => 1,
            Self::Quick => 16,
            Self::Tiny => 1_024,
        }
    }
}

/// Characters of a reason that are kept.
const REASON_LIMIT: usize = 300;

/// Something that could not be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    pub part: Part,
    /// Which rows: a peer, or a thing.
    pub rows: String,
    pub reason: String,
}

/// Given to each part.
pub struct Context {
    pub database: Database,
    /// All prefixes of `database` outside of [`ALLOWED`]: what every peer blocks.
    pub blocked: Prefixes,
    /// All prefixes of [`ALLOWED`].
    pub allowed: Prefixes,
    /// All prefixes of `database`.
    pub world: Prefixes,
    /// Whether this is not the full benchmark.
    pub quick: bool,
    /// How often each thing is measured, round by round: all peers once, then all again.
    pub rounds: usize,
    amount: Amount,
    started: Instant,
    part: Cell<Option<Part>>,
    missing: RefCell<Vec<Missing>>,
}

impl Context {
    /// `database`: a file in place of the builtin database.
    pub fn new(database: Option<&Path>, quick: bool) -> Result<Self> {
        let database = match database {
            None => geo::builtin()?,
            Some(path) => geo::read_file(path, &ReadOptions::default())
                .with_context(|| format!("failed to read {}", path.display()))?,
        };
        let amount = if quick { Amount::Quick } else { Amount::Full };
        Ok(Self::with(database, amount))
    }

    pub fn with(database: Database, amount: Amount) -> Self {
        let allowed = ALLOWED.map(policies::country);
        Self {
            blocked: Prefixes::of(&database, |country| !allowed.contains(&country)),
            allowed: Prefixes::of(&database, |country| allowed.contains(&country)),
            world: Prefixes::of(&database, |_| true),
            database,
            quick: amount != Amount::Full,
            rounds: amount.rounds(),
            amount,
            started: Instant::now(),
            part: Cell::new(None),
            missing: RefCell::default(),
        }
    }

    /// The policy of the benchmark: [`ALLOWED`] are let in without a limit, all else is denied, and
    /// all ports are guarded.
    pub fn policy(&self) -> Policy {
        let mut policy = policies::deny_all();
        for code in ALLOWED {
            let country: CountryCode = policies::country(code);
            policy.countries.insert(country, Action::Allow);
        }
        policy
    }

    /// Whether there is time to put up a peer's set of the whole world, which takes up to twenty seconds.
    pub fn has_time_for_large_sets(&self) -> bool {
        self.amount != Amount::Quick
    }

    /// How often a loop runs that runs `full` times when there is no hurry.
    pub fn count(&self, full: u32) -> u32 {
        (full / self.amount.divisor()).max(1)
    }

    /// Says on standard error what happens now; an error when somebody pressed Ctrl-C, so to be
    /// called between any two steps of a second or so.
    pub fn step(&self, text: &str) -> Result<()> {
        interrupt::check()?;
        let seconds = self.started.elapsed().as_secs();
        let part = self.part.get().map_or("bench", Part::title);
        eprintln!("{:>2}:{:02}  {part}: {text}", seconds / 60, seconds % 60);
        Ok(())
    }

    /// Notes that `rows` of `part` cannot be measured on this machine, for the report.
    pub fn missing(&self, part: Part, rows: &str, reason: impl Into<String>) {
        let reason: String = reason.into();
        // The verifier's log follows the first line.
        let first = reason.lines().next().unwrap_or_default();
        let reason: String = first.chars().take(REASON_LIMIT).collect();
        eprintln!("       {}: no {rows}: {reason}", part.title());
        self.missing.borrow_mut().push(Missing {
            part,
            rows: rows.to_owned(),
            reason,
        });
    }

    pub(super) fn begin(&self, part: Part) {
        self.part.set(Some(part));
    }

    pub(super) fn take_missing(&self) -> Vec<Missing> {
        self.missing.take()
    }
}

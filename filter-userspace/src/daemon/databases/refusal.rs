//! Why a database does not come into force, on its way to whoever wants to know.

use super::source_of;
use crate::{
    cause,
    config::Config,
    geo::{GeoError, UpdateFailure, judge::Doubt},
};

/// A database that was refused, on its way to `status`, log and metric.
pub(super) struct RefusedFor {
    pub failure: UpdateFailure,
    /// Everything that speaks against it; the first gave the failure its name.
    reasons: Vec<String>,
    /// Whether `geo accept` would take it.
    is_doubted: bool,
}

impl RefusedFor {
    pub fn one(failure: UpdateFailure, reason: String) -> Self {
        Self {
            failure,
            reasons: vec![reason],
            is_doubted: false,
        }
    }

    pub fn message(&self) -> String {
        self.reasons.join("; ")
    }

    /// For whoever asked: a line that names it, one for each doubt, and what can be done.
    pub fn told(&self, config: &Config, in_force: Option<u64>) -> String {
        let mut told = match self.is_doubted {
            false => self.message(),
            true => format!(
                "the database {} is refused ({}):\n  {}\n`cerco geo diff` shows the change, `cerco geo \
                 accept` takes it",
                source_of(config),
                self.failure.label(),
                self.reasons.join("\n  ")
            ),
        };
        if let Some(number) = in_force {
            told += &format!(
                "\n`cerco geo rollback {number}` holds the one in force, for a reload of the rest"
            );
        }
        told
    }
}

impl From<GeoError> for RefusedFor {
    fn from(error: GeoError) -> Self {
        Self::one(UpdateFailure::from(&error), cause::chain(&error))
    }
}

/// All doubts in one sentence, under the name of the first.
pub(super) fn refusal_of(doubts: &[Doubt]) -> Option<RefusedFor> {
    let first = doubts.first()?;
    Some(RefusedFor {
        failure: first.failure(),
        reasons: doubts.iter().map(ToString::to_string).collect(),
        is_doubted: true,
    })
}

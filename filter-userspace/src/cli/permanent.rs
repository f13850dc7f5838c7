//! `--permanent`: a change that is written into the config.
//!
//! This command writes the file, not the daemon: who may edit /etc/cerco is decided by its owner and mode alone, and
//! the daemon, which talks to others and reads what they send, needs no way to write there. The
//! daemon then reads the files again, and when it refuses them they are put back.

mod write;

use std::time::Duration;

use self::write::write;
use super::{Context, Failure};
use crate::{
    config::edit::{Change, CountryAction, List},
    control::{
        protocol::{ModeWord, RuleVerb, Target},
        reply::rule_word,
    },
    policy::Port,
};

/// The option of every verb whose change a config can hold.
#[derive(Debug, clap::Args)]
pub struct Permanent {
    /// Write it into the config, which keeps its comments; in force at once if a daemon runs
    #[arg(long)]
    pub permanent: bool,
}

/// A change of the config, and what the verb knows about it.
pub struct Asked {
    pub change: Change,
    /// In words, as `deny US`.
    pub word: String,
    pub target: Option<Target>,
    pub comment: Option<String>,
    /// Also when it cuts off sessions.
    pub force: bool,
}

/// Refuses what a config cannot hold.
pub fn refuse_beside(
    ports: &[Port],
    duration: Option<Duration>,
    confirm: Option<Duration>,
) -> Result<(), Failure> {
    if !ports.is_empty() {
        return Err(Failure::bad_usage(
            "a config has no rules for single ports: --port does not go with --permanent",
        ));
    }
    if duration.is_some() {
        return Err(Failure::bad_usage(
            "a config has no end dates: --for does not go with --permanent",
        ));
    }
    if confirm.is_some() {
        return Err(Failure::bad_usage(
            "--permanent is not tried: --confirm does not go with it",
        )
        .hint(
            "try it first, with --confirm and without --permanent; after `cerco confirm` repeat it \
             with --permanent",
        ));
    }
    Ok(())
}

/// What `verb` does to `target`, as a change of the config.
pub fn rule(
    verb: RuleVerb,
    target: Target,
    limit: Option<String>,
    comment: Option<String>,
    force: bool,
    context: &Context,
) -> Result<(), Failure> {
    let word = rule_word(verb, &target, None, limit.as_deref());
    let action = match (verb, limit) {
        (RuleVerb::Deny, _) => CountryAction::Deny,
        (_, Some(limit)) => CountryAction::AllowWithin(limit),
        (_, None) => CountryAction::Allow,
    };
    let change = match (target, verb) {
        (Target::Country(code), _) => Change::Country(code, action),
        (Target::Prefix(_), _) if matches!(action, CountryAction::AllowWithin(_)) => {
            return Err(Failure::bad_usage(
                "a limit goes only with allow and a country",
            ));
        }
        (Target::Prefix(prefix), RuleVerb::Allow) => Change::Prefix(prefix, List::Allow),
        (Target::Prefix(prefix), RuleVerb::Deny) => Change::Prefix(prefix, List::Deny),
        (Target::Prefix(prefix), RuleVerb::Trust) => Change::Prefix(prefix, List::Trusted),
    };
    let asked = Asked {
        change,
        word,
        target: Some(target),
        comment,
        force,
    };
    write(asked, context)
}

/// Takes everything away that the config and the runtime say about `target`.
pub fn remove(target: Target, force: bool, context: &Context) -> Result<(), Failure> {
    let change = match target {
        Target::Country(code) => Change::NoCountry(code),
        Target::Prefix(prefix) => Change::NoPrefix(prefix),
    };
    let asked = Asked {
        change,
        word: target.to_string(),
        target: Some(target),
        comment: None,
        force,
    };
    write(asked, context)
}

pub fn mode(mode: ModeWord, force: bool, context: &Context) -> Result<(), Failure> {
    let asked = Asked {
        change: Change::Mode(mode.into()),
        word: mode.word().to_owned(),
        target: None,
        comment: None,
        force,
    };
    write(asked, context)
}

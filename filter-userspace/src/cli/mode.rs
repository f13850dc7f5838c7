//! `cerco observe` and `cerco enforce`.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    time::Duration,
};

use super::{Context, Failure, countries, lockout, trial::OnTrial};
use crate::control::{
    protocol::{ModeWord, Request},
    reply::{Countries, Done},
};

/// Stop dropping: count what would be dropped, and let it pass
///
/// Holds over restarts, until `mode` in the config changes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  cerco observe")]
pub struct ObserveArgs {}

/// Drop what the policy denies
///
/// Shows what would have been dropped so far, then asks. Refuses to lock out the SSH session in
/// which it is typed. Holds over restarts, until `mode` in the config changes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco enforce
  cerco enforce --confirm 2m        undone in two minutes unless confirmed
  cerco enforce --yes               in a script")]
pub struct EnforceArgs {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Also when it locks out the SSH session in which this is typed
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    on_trial: OnTrial,
}

/// More countries than this are summed up in a question.
const SHOWN_COUNTRIES: usize = 12;

pub fn observe(_: ObserveArgs, context: &Context) -> Result<(), Failure> {
    set(ModeWord::Observe, None, context)
}

pub fn enforce(args: EnforceArgs, context: &Context) -> Result<(), Failure> {
    if !args.force {
        lockout::refuse_if_enforcing_denies(context)?;
    }
    if !args.yes && !confirmed(context)? {
        return Err(Failure::failed("nothing was changed"));
    }
    set(ModeWord::Enforce, args.on_trial.confirm, context)
}

fn set(mode: ModeWord, confirm: Option<Duration>, context: &Context) -> Result<(), Failure> {
    let done: Done = context.ask_on_trial(Request::SetMode { mode }, confirm)?;
    context.output.done(&done)
}

fn confirmed(context: &Context) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::bad_usage(
            "there is no terminal to ask on; repeat it with --yes",
        ));
    }
    let mut seen: Countries = context.ask(Request::Countries)?;
    if seen.mode == ModeWord::Enforce {
        return Ok(true);
    }
    let more = seen.countries.len().saturating_sub(SHOWN_COUNTRIES);
    seen.countries.truncate(SHOWN_COUNTRIES);
    eprint!("{}", countries::render(&seen, &context.output));
    if more > 0 {
        eprintln!("and {more} more sources: see `cerco countries`");
    }
    eprint!("Drop them from now on? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

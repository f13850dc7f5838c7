//! `cerco observe` and `cerco enforce`.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    time::Duration,
};

use super::{
    Context, Failure, confirm, countries,
    failure::NO_DAEMON,
    lockout,
    permanent::{self, Permanent},
    trial::OnTrial,
};
use crate::control::{
    protocol::{ModeWord, Request},
    reply::{Countries, Done},
};

/// Stop dropping: count what would be dropped, and let it pass
///
/// Holds over restarts, until `mode` in the config changes. With --permanent the config says it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco observe
  cerco observe --permanent")]
pub struct ObserveArgs {
    #[command(flatten)]
    permanent: Permanent,
}

/// Drop what the policy denies
///
/// Shows what would have been dropped so far, then asks. Refuses to lock out the SSH session in
/// which it is typed. Holds over restarts, until `mode` in the config changes. With --permanent the
/// config says it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco enforce
  cerco enforce --confirm 2m        undone in two minutes unless confirmed
  cerco enforce --permanent         the config says it
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
    #[command(flatten)]
    permanent: Permanent,
}

/// More countries than this are summed up in a question.
const SHOWN_COUNTRIES: usize = 12;

pub fn observe(args: ObserveArgs, context: &Context) -> Result<(), Failure> {
    if args.permanent.permanent {
        // Whoever drops nothing locks nobody out.
        return permanent::mode(ModeWord::Observe, None, context);
    }
    set(ModeWord::Observe, None, context)
}

pub fn enforce(args: EnforceArgs, context: &Context) -> Result<(), Failure> {
    if args.permanent.permanent {
        return enforce_permanently(args, context);
    }
    if !args.force {
        lockout::refuse_if_enforcing_denies(context)?;
    }
    if !args.yes && !confirmed(context)? {
        return Err(Failure::failed("nothing was changed"));
    }
    set(ModeWord::Enforce, args.on_trial.confirm, context)
}

fn enforce_permanently(args: EnforceArgs, context: &Context) -> Result<(), Failure> {
    permanent::refuse_beside(&[], None, args.on_trial.confirm)?;
    if !args.force {
        permanent::if_a_daemon_runs(lockout::refuse_if_enforcing_denies(context))?;
    }
    let yes = args.yes
        || match confirmed(context) {
            Err(failure) if failure.code == NO_DAEMON => confirm::confirmed(
                "No daemon runs that could show what would be dropped. Drop it from the next start on?",
            )?,
            answer => answer?,
        };
    if !yes {
        return Err(Failure::failed("nothing was changed"));
    }
    permanent::mode(ModeWord::Enforce, permanent::ssh_peer(args.force), context)
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

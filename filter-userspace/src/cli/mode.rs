//! `cerco observe` and `cerco enforce`.

use std::time::Duration;

use super::{
    Context, Failure,
    confirm::{self, on_a_terminal},
    failure::NO_DAEMON,
    permanent::{self, Permanent},
    preview,
    trial::OnTrial,
};
use crate::control::{
    preview::Preview,
    protocol::{ModeWord, Request},
    reply::Done,
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
/// Shows what would have been dropped so far, and which of this host's connections would end, then
/// asks. Refuses to cut off whoever is logged in. Holds over restarts, until `mode` in the config
/// changes. With --permanent the config says it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco enforce --dry-run           look, and change nothing
  cerco enforce --confirm 2m        undone in two minutes unless confirmed
  cerco enforce --permanent         the config says it
  cerco enforce --yes               in a script")]
pub struct EnforceArgs {
    /// Do not show and ask; sessions are not cut off all the same
    #[arg(long)]
    yes: bool,
    /// Show what it would drop and whom it would cut off, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Also when it cuts off sessions: yours, or those of others who are logged in
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    on_trial: OnTrial,
    #[command(flatten)]
    permanent: Permanent,
}

pub fn observe(args: ObserveArgs, context: &Context) -> Result<(), Failure> {
    if args.permanent.permanent {
        return permanent::mode(ModeWord::Observe, false, context);
    }
    set(ModeWord::Observe, None, false, context)
}

pub fn enforce(args: EnforceArgs, context: &Context) -> Result<(), Failure> {
    if args.dry_run {
        let seen: Preview = context.change(Request::Preview, None, args.force)?;
        return context.output.show(&seen, preview::render);
    }
    if args.permanent.permanent {
        return enforce_permanently(args, context);
    }
    if !args.yes && !confirmed(args.force, context)? {
        return Err(Failure::failed("nothing was changed"));
    }
    set(
        ModeWord::Enforce,
        args.on_trial.confirm,
        args.force,
        context,
    )
}

fn enforce_permanently(args: EnforceArgs, context: &Context) -> Result<(), Failure> {
    permanent::refuse_beside(&[], None, args.on_trial.confirm)?;
    let yes = args.yes
        || match confirmed(args.force, context) {
            Err(failure) if failure.code == NO_DAEMON => confirm::confirmed(
                "No daemon runs that could show what would be dropped. Drop it from the next start on?",
            )?,
            answer => answer?,
        };
    if !yes {
        return Err(Failure::failed("nothing was changed"));
    }
    permanent::mode(ModeWord::Enforce, args.force, context)
}

fn set(
    mode: ModeWord,
    confirm: Option<Duration>,
    force: bool,
    context: &Context,
) -> Result<(), Failure> {
    let done: Done = context.change(Request::SetMode { mode }, confirm, force)?;
    context.output.done(&done)
}

/// Shows what it would cost, and asks.
fn confirmed(force: bool, context: &Context) -> Result<bool, Failure> {
    on_a_terminal()?;
    let seen: Preview = context.change(Request::Preview, None, force)?;
    if seen.mode == ModeWord::Enforce {
        return Ok(true);
    }
    eprintln!("{}", preview::render(&seen, &context.output));
    if let Some(refusal) = seen.refusal {
        return Err(refusal.into());
    }
    confirm::confirmed("Drop them from now on?")
}

//! `cerco confirm` and `cerco rollback`, and the `--confirm` of the verbs that change something.

use std::time::Duration;

use super::{Context, Failure, duration};
use crate::control::{protocol::Request, reply::Done};

/// The option of every verb that changes the policy or the mode.
#[derive(Debug, clap::Args)]
pub struct OnTrial {
    /// Undo it after this time unless `cerco confirm` comes; the kernel keeps the deadline, also
    /// without daemon and terminal
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub confirm: Option<Duration>,
}

/// Keep the change that is on trial
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  cerco deny US --confirm 2m
  cerco confirm")]
pub struct ConfirmArgs {}

/// Undo the change that is on trial, at once
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  cerco reload --confirm 5m
  cerco rollback")]
pub struct RollbackArgs {
    /// Also when it cuts off sessions: yours, or those of others who are logged in
    #[arg(long)]
    force: bool,
}

pub fn confirm(_: ConfirmArgs, context: &Context) -> Result<(), Failure> {
    let done: Done = context.ask(Request::Confirm)?;
    context.output.done(&done)
}

pub fn rollback(args: RollbackArgs, context: &Context) -> Result<(), Failure> {
    let done: Done = context.change(Request::Rollback, None, args.force)?;
    context.output.done(&done)
}

//! `cerco reload`: config and database, read again.

use super::{Context, Failure, trial::OnTrial};
use crate::control::{protocol::Request, reply::Done};

/// Read config and database again, and put them in force as one
///
/// On any error the running policy stays, and `cerco status` goes on showing the error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  cerco check && cerco reload
  cerco apply --confirm 5m          undone in five minutes unless confirmed")]
pub struct Args {
    /// Also when it cuts off sessions: yours, or those of others who are logged in
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    on_trial: OnTrial,
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let done: Done = context
        .change(Request::Reload, args.on_trial.confirm, args.force)
        .map_err(|failure| {
            if failure.hint.is_some() {
                return failure;
            }
            failure.hint("`cerco status` shows what is in force, and keeps showing this error")
        })?;
    context.output.done(&done)
}

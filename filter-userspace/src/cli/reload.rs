//! `cerco reload`: config and database, read again.

use super::{Context, Failure, lockout, trial::OnTrial};
use crate::control::{protocol::Request, reply::Done};

/// Read config and database again, and put them in force as one
///
/// On any error the running policy stays, and `cerco status` goes on showing the error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  cerco check && cerco reload
  cerco apply --confirm 5m          undone in five minutes unless confirmed")]
pub struct Args {
    /// Also when it locks out the SSH session in which this is typed
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    on_trial: OnTrial,
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let ssh_peer = if args.force {
        None
    } else {
        lockout::ssh_peer()
    };
    let done: Done = context
        .ask_on_trial(Request::Reload { ssh_peer }, args.on_trial.confirm)
        .map_err(|failure| {
            if failure.code == super::failure::NO_DAEMON {
                return failure;
            }
            failure.hint("`cerco status` shows what is in force, and keeps showing this error")
        })?;
    context.output.done(&done)
}

//! `cerco geo rollback`: back to a database that is kept.

use super::{Context, Failure};
use crate::control::{protocol::Request, reply::Done};

/// Go back to a database that was in force before, and stay there
///
/// Reloads and restarts do not go forward again until `cerco geo accept`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco geo rollback                the one before
  cerco geo rollback 4              that one; `cerco geo status` lists them")]
pub struct Args {
    /// Its number; if left out, the one before
    generation: Option<u64>,
    /// Also when it cuts off sessions: yours, or those of others who are logged in
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let request = Request::RollBackDatabase {
        generation: args.generation,
    };
    let done: Done = context.change(request, None, args.force)?;
    context.output.done(&done)
}

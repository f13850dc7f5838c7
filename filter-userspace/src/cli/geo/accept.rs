//! `cerco geo accept`: a database that was refused, or held back, comes into force all the same.

use super::{super::confirm::confirmed, Context, Failure, diff, in_force, load_config};
use crate::control::{protocol::Request, reply::Done};

/// Put the config's database in force, whatever the comparison says
///
/// Shows what it will change, then asks. A file that cannot be read or is invalid is refused all the
/// same. Ends a hold.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco geo accept
  cerco geo accept --yes            in a script")]
pub struct Args {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Also when it cuts off sessions: yours, or those of others who are logged in
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let config = load_config(context)?;
    let after = config
        .read_database()
        .map_err(|error| Failure::bad_usage(error.to_string()))?;
    let sha256 = after.info.digest;
    if !args.yes {
        // A database that is not kept cannot be shown, and that must not keep a better one out.
        match in_force::read(context, &config) {
            Ok(before) => {
                let shown = diff::compare(&before, &after, &config);
                eprint!("{}", diff::render(&shown, &context.output));
            }
            Err(failure) => context.output.warn(&failure.message),
        }
        if !confirmed("Put it in force?")? {
            return Err(Failure::failed("nothing was changed"));
        }
    }
    let done: Done = context.change(Request::AcceptDatabase { sha256 }, None, args.force)?;
    context.output.done(&done)
}

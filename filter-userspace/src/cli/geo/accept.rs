//! `cerco geo accept`: a database that was refused, or held back, comes into force all the same.

use super::{super::confirm::confirmed, Context, Failure, diff, in_force, load_config};
use crate::control::{
    configured::{ConfigDiff, DATABASE_FILE, Kind},
    protocol::Request,
    reply::Done,
};

/// Put the config's database in force, whatever the comparison says
///
/// Shows what it will change, then asks. It is a reload: changes of the config that wait come along, and are
/// shown, too. A file that cannot be read or is invalid is refused all the
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
    let coming_along = coming_along(context);
    if !args.yes {
        if let Some(lines) = &coming_along {
            eprint!("The config has changes that are not in force yet, and come along:\n{lines}");
        }
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
    let mut done: Done = context.change(Request::AcceptDatabase { sha256 }, None, args.force)?;
    if coming_along.is_some() {
        done.warnings
            .push("changes of the config that waited came along".to_owned());
    }
    context.output.done(&done)
}

/// What a reload would put in force beside the database. Without a daemon nothing is; it says so itself.
fn coming_along(context: &Context) -> Option<String> {
    let diff: ConfigDiff = context.ask(Request::Diff).ok()?;
    let of_the_config = diff
        .differences
        .iter()
        .filter(|it| it.kind == Kind::Reload && it.key != DATABASE_FILE);
    let lines: String = of_the_config
        .map(|it| super::super::diff::lines(it, &context.output))
        .collect();
    (!lines.is_empty()).then_some(lines)
}

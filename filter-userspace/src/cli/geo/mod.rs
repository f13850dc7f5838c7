//! `cerco geo`: the country database in force, what is kept, and how to change it.

mod accept;
mod diff;
mod in_force;
mod lookup;
mod rollback;
mod status;
mod update;

use std::net::IpAddr;

pub use self::status::about;
use super::{Context, Failure};
use crate::config::{self, Config};

/// Ask and change the country database
///
/// A new database comes into force with `cerco reload` only if it looks like the next edition of the
/// one in force. The databases that were in force are kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco geo status                  what is in force, refused and kept
  cerco geo lookup 192.0.2.1 2001:db8::1
  cerco geo diff new.mmdb           what would change with that file
  cerco geo update                  fetch the next edition
  cerco geo rollback                back to the database before
  cerco geo accept                  take the one that was refused")]
pub struct Args {
    #[command(subcommand)]
    verb: GeoVerb,
}

#[derive(Debug, clap::Subcommand)]
enum GeoVerb {
    /// Say which country addresses belong to, by the database of the config
    Lookup {
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<IpAddr>,
    },
    /// Show the database in force, what was refused, and what is kept
    Status,
    Diff(diff::Args),
    Accept(accept::Args),
    Rollback(rollback::Args),
    Update(update::Args),
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.verb {
        GeoVerb::Lookup { addresses } => lookup::run(&addresses, context),
        GeoVerb::Status => status::run(context),
        GeoVerb::Diff(args) => diff::run(args, context),
        GeoVerb::Accept(args) => accept::run(args, context),
        GeoVerb::Rollback(args) => rollback::run(args, context),
        GeoVerb::Update(args) => update::run(args, context),
    }
}

fn load_config(context: &Context) -> Result<Config, Failure> {
    let (config, _) = config::load(context.global.config.as_deref())
        .map_err(|report| Failure::bad_usage(format!("the config is wrong\n{report}")))?;
    Ok(config)
}

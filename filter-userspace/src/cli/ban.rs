//! `cerco ban`, `unban` and `bans`: out for a time, whatever the country.

use std::{path::PathBuf, time::Duration};

use ipnetwork::IpNetwork;

use super::{Context, Failure, duration, prefix_list, rule::prefix, table};
use crate::{
    control::{
        protocol::Request,
        reply::{Bans, Done},
    },
    kernel::Pinned,
};

/// Keep addresses or prefixes out for a time
///
/// The kernel ends a ban by itself, also without the daemon. Trusted prefixes are never banned. With
/// a file, all of its prefixes are banned or none.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco ban 203.0.113.9 --for 1h
  cerco ban 2001:db8:bad::/48 --for 7days
  cerco ban --file blocklist.txt --for 25h
  zcat blocklist.gz | cerco ban --file - --for 25h")]
pub struct BanArgs {
    /// An address or a prefix
    #[arg(
        value_parser = prefix,
        value_name = "ADDRESS|PREFIX",
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    prefix: Option<IpNetwork>,
    /// All of this file, `-` for standard input: one a line, comments behind # or ;
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How long, as in 90s, 10m, 1h or 7days
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    duration: Duration,
    /// Also when it cuts off sessions: yours, or those of others who are logged in
    #[arg(long)]
    force: bool,
}

/// End a ban early
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  cerco unban 203.0.113.9")]
pub struct UnbanArgs {
    /// The address or the prefix as it was banned
    #[arg(value_parser = prefix, value_name = "ADDRESS|PREFIX")]
    prefix: IpNetwork,
}

/// List the bans and how long they last
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco bans
  cerco bans --json | jq -r '.bans[].prefix'")]
pub struct BansArgs {}

pub fn ban(args: BanArgs, context: &Context) -> Result<(), Failure> {
    let prefixes = match (&args.file, args.prefix) {
        (Some(file), _) => prefix_list::read(file)?,
        (None, prefix) => prefix.into_iter().collect(),
    };
    let duration = args.duration;
    let request = match args.prefix {
        Some(prefix) => Request::Ban { prefix, duration },
        None => Request::BanAll { prefixes, duration },
    };
    let done: Done = context.change(request, None, args.force)?;
    context.output.done(&done)
}

pub fn unban(args: UnbanArgs, context: &Context) -> Result<(), Failure> {
    let done: Done = context.ask(Request::Unban {
        prefix: args.prefix,
    })?;
    context.output.done(&done)
}

pub fn bans(_: BansArgs, context: &Context) -> Result<(), Failure> {
    let from_pins = |pinned: &Pinned| Ok(Bans::from(pinned.bans()?));
    context.ask_or_read(Request::Bans, from_pins, |bans: &Bans, _| {
        if bans.bans.is_empty() {
            return "nobody is banned\n".to_owned();
        }
        let rows: Vec<Vec<String>> = bans
            .bans
            .iter()
            .map(|ban| {
                let left = Duration::from_secs(ban.remaining_seconds);
                vec![
                    ban.prefix.to_string(),
                    humantime::format_duration(left).to_string(),
                ]
            })
            .collect();
        table::render(&["prefix", "left"], &[], &rows)
    })
}

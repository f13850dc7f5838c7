//! `cerco allow`, `deny` and `trust`: rules at runtime.

use std::time::Duration;

use ipnetwork::IpNetwork;

use super::{
    Context, Failure, duration,
    permanent::{self, Permanent},
    trial::OnTrial,
};
use crate::{
    config,
    control::{
        protocol::{Request, RuleVerb, Target},
        reply::Done,
    },
    policy::Port,
};

/// Let a country or a prefix in, at once
///
/// Goes over the config and survives restarts; `cerco rules remove TARGET` ends it. With --permanent
/// the config says it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco allow PT
  cerco allow CN --limit residents
  cerco allow US --port 80/tcp --for 10m --comment 'certificate renewal'
  cerco allow 198.51.100.0/24
  cerco allow PT --permanent --comment 'asked for by the registry'")]
pub struct AllowArgs {
    /// A country code or a prefix
    target: Target,
    /// Within this limit of the config (countries only)
    #[arg(long, value_name = "NAME")]
    limit: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Keep a country or a prefix out, at once
///
/// Goes over the config and survives restarts; `cerco rules remove TARGET` ends it. With --permanent
/// the config says it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco deny 203.0.113.0/24 --comment 'scans since Monday'
  cerco deny US --for 1h
  cerco deny US --confirm 2m        undone in two minutes unless confirmed")]
pub struct DenyArgs {
    /// A country code or a prefix
    target: Target,
    #[command(flatten)]
    common: Common,
}

/// Let a prefix of your own pass always: never limited, never banned
///
/// Goes over the config and survives restarts; `cerco rules remove PREFIX` ends it. With --permanent
/// the config says it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco trust 192.0.2.0/24
  cerco trust 2001:db8::1 --for 2h --comment 'hotel'")]
pub struct TrustArgs {
    /// An address or a prefix
    #[arg(value_parser = prefix)]
    prefix: IpNetwork,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Only packets to this port, as in 80/tcp or 53/udp; can be repeated
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<Port>,
    /// End it after this time, as in 90s, 10m, 1h or 7days; the kernel does, with the daemon or
    /// without
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Why, for those who read `cerco rules`, or the config: there it stands beside the line
    #[arg(long, value_name = "TEXT", value_parser = comment)]
    comment: Option<String>,
    /// Also when it cuts off sessions: yours, or those of others who are logged in
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    on_trial: OnTrial,
    #[command(flatten)]
    permanent: Permanent,
}

pub fn allow(args: AllowArgs, context: &Context) -> Result<(), Failure> {
    add(
        RuleVerb::Allow,
        args.target,
        args.limit,
        args.common,
        context,
    )
}

pub fn deny(args: DenyArgs, context: &Context) -> Result<(), Failure> {
    add(RuleVerb::Deny, args.target, None, args.common, context)
}

pub fn trust(args: TrustArgs, context: &Context) -> Result<(), Failure> {
    let target = Target::Prefix(args.prefix);
    add(RuleVerb::Trust, target, None, args.common, context)
}

fn add(
    rule: RuleVerb,
    target: Target,
    limit: Option<String>,
    common: Common,
    context: &Context,
) -> Result<(), Failure> {
    if common.permanent.permanent {
        permanent::refuse_beside(&common.ports, common.duration, common.on_trial.confirm)?;
        let (comment, force) = (common.comment, common.force);
        return permanent::rule(rule, target, limit, comment, force, context);
    }
    let request = Request::AddRule {
        rule,
        target,
        ports: common.ports,
        limit,
        duration: common.duration,
        comment: common.comment,
    };
    let done: Done = context.change(request, common.on_trial.confirm, common.force)?;
    context.output.done(&done)
}

pub fn prefix(text: &str) -> Result<IpNetwork, config::PrefixFault> {
    config::parse_prefix(text)
}

/// A comment is one line in every listing.
fn comment(text: &str) -> Result<String, String> {
    const MAX_CHARS: usize = 200;
    if text.chars().count() > MAX_CHARS || text.chars().any(char::is_control) {
        return Err(format!(
            "a comment is one line of at most {MAX_CHARS} characters"
        ));
    }
    Ok(text.to_owned())
}

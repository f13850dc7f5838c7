//! The command line: one file per verb, or per family of verbs that differ in a word.

mod ban;
mod bench;
mod capture;
mod check;
mod confirm;
mod countries;
mod detach;
mod diff;
mod doctor;
mod events;
mod explain;
mod failure;
mod generate;
mod geo;
mod history;
mod lockout;
mod mode;
mod output;
mod permanent;
mod prefix_list;
mod preview;
mod reload;
mod report;
mod rule;
mod rules;
mod run;
mod status;
pub(crate) mod table;
mod top;
mod trial;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};
use serde::{Serialize, de::DeserializeOwned};

pub use self::failure::Failure;
use self::{failure::NO_DAEMON, output::Output};
use crate::{
    config::{self, Paths},
    control::{
        client,
        protocol::{Asker, Request},
    },
    kernel::{KernelError, Pinned},
};

const ABOUT: &str =
    "A border gate for Linux servers: drops packets by country in the network driver";
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nIP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0"
);
const AFTER_HELP: &str = "\
First steps:
  cerco check --example > /etc/cerco/cerco.toml
  cerco check              is the config right?
  systemctl start cerco    the gate observes and drops nothing
  cerco countries          who comes, and who would be dropped
  cerco enforce --confirm 2m    it drops, and stops doing so in two minutes
  cerco confirm            you are still there: from now on it drops
  cerco doctor             what is wrong, and what mends it

Exit status: 0 done, 1 failed, 2 bad usage or config, 3 no daemon answers;
of diff: 0 equal, 1 different; of doctor: 0 fine, 1 a warning, 2 a fault.
Locked out? From the console: cerco detach --force";

/// What `cerco` was asked to do.
#[derive(Debug, Parser)]
#[command(
    name = "cerco",
    about = ABOUT,
    version,
    long_version = LONG_VERSION,
    after_help = AFTER_HELP,
    max_term_width = 80,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, clap::Args)]
pub struct Global {
    /// Read this file instead of /etc/cerco/cerco.toml and conf.d
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Talk to the daemon at this socket instead of the config's
    #[arg(
        long,
        value_name = "PATH",
        env = "CERCO_SOCKET",
        global = true,
        hide_env = true
    )]
    pub socket: Option<PathBuf>,
    /// Print JSON with a `schema` number
    #[arg(long, global = true)]
    pub json: bool,
    /// No colours (as NO_COLOR in the environment)
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Log or show more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    Run(run::Args),
    Check(check::Args),
    Status(status::Args),
    Explain(explain::Args),
    Countries(countries::Args),
    Allow(rule::AllowArgs),
    Deny(rule::DenyArgs),
    Trust(rule::TrustArgs),
    Ban(ban::BanArgs),
    Unban(ban::UnbanArgs),
    Bans(ban::BansArgs),
    Rules(rules::Args),
    Diff(diff::Args),
    Observe(mode::ObserveArgs),
    Enforce(mode::EnforceArgs),
    #[command(visible_alias = "apply")]
    Reload(reload::Args),
    Confirm(trial::ConfirmArgs),
    Rollback(trial::RollbackArgs),
    Top(top::Args),
    Events(events::Args),
    Capture(capture::Args),
    History(history::Args),
    Report(report::Args),
    Geo(geo::Args),
    Doctor(doctor::Args),
    Bench(bench::Args),
    Detach(detach::Args),
    Completions(generate::CompletionsArgs),
    Man(generate::ManArgs),
}

/// What every verb needs to know.
pub struct Context {
    global: Global,
    pub output: Output,
}

impl Context {
    /// The paths of the config, or the defaults when it cannot be read.
    pub fn paths(&self) -> Paths {
        let mut paths = config::paths(self.global.config.as_deref());
        if let Some(socket) = &self.global.socket {
            paths.socket = socket.clone();
        }
        paths
    }

    /// Asks the daemon.
    pub fn ask<R: DeserializeOwned>(&self, request: Request) -> Result<R, Failure> {
        self.ask_on_trial(request, None)
    }

    /// Asks the daemon for a change; with `confirm` it is undone after that time unless it is confirmed.
    /// Refused when it cuts off a session.
    pub fn ask_on_trial<R: DeserializeOwned>(
        &self,
        request: Request,
        confirm: Option<Duration>,
    ) -> Result<R, Failure> {
        self.change(request, confirm, false)
    }

    /// As [`Context::ask_on_trial`]; with `force` also when it cuts off sessions.
    pub fn change<R: DeserializeOwned>(
        &self,
        request: Request,
        confirm: Option<Duration>,
        force: bool,
    ) -> Result<R, Failure> {
        let asker = Asker {
            ssh_peer: lockout::ssh_peer(),
            force,
        };
        let reply = client::ask_as(&self.paths().socket, asker, request, confirm)?;
        serde_json::from_value(reply).map_err(|source| client::ClientError::Parse { source }.into())
    }

    /// Asks the daemon and shows the answer. When no daemon answers it shows what the pins tell, and
    /// fails with exit code 3.
    pub fn ask_or_read<R: DeserializeOwned + Serialize>(
        &self,
        request: Request,
        from_pins: impl FnOnce(&Pinned) -> Result<R, KernelError>,
        render: impl FnOnce(&R, &Output) -> String,
    ) -> Result<(), Failure> {
        let failure = match self.ask::<R>(request) {
            Ok(reply) => return self.output.show(&reply, render),
            Err(failure) if failure.code == NO_DAEMON => failure,
            Err(failure) => return Err(failure),
        };
        let reply = read_pins(&self.paths(), &failure.message, from_pins)?;
        self.output.show(&reply, render)?;
        Err(Failure::new(
            NO_DAEMON,
            "no daemon answers; this was read from the kernel, where the gate filters on",
        ))
    }
}

/// What `read` finds in the kernel. `why`: nobody else was there to ask.
pub fn read_pins<R>(
    paths: &Paths,
    why: &str,
    read: impl FnOnce(&Pinned) -> Result<R, KernelError>,
) -> Result<R, Failure> {
    let pins = &paths.pins;
    match Pinned::open(pins).and_then(|pinned| pinned.as_ref().map(read).transpose()) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(Failure::new(
            NO_DAEMON,
            format!(
                "no daemon answers and no gate stands under {}: every packet passes",
                pins.display()
            ),
        )
        .hint("start it with `systemctl start cerco`, or `cerco run` in the foreground")),
        Err(error) => Err(Failure::new(
            NO_DAEMON,
            format!(
                "{why}; what stands under {} cannot be read: {error}",
                pins.display()
            ),
        )
        .hint("only root can read the pins")),
    }
}

/// Parses the arguments, does it, and says how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when the terminal is gone.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let output = Output::new(cli.global.json, cli.global.no_color);
    let context = Context {
        global: cli.global,
        output,
    };
    match dispatch(cli.verb, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            context.output.failure(&failure);
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Run(args) => run::run(args, context),
        Verb::Check(args) => check::run(args, context),
        Verb::Status(args) => status::run(args, context),
        Verb::Explain(args) => explain::run(args, context),
        Verb::Countries(args) => countries::run(args, context),
        Verb::Allow(args) => rule::allow(args, context),
        Verb::Deny(args) => rule::deny(args, context),
        Verb::Trust(args) => rule::trust(args, context),
        Verb::Ban(args) => ban::ban(args, context),
        Verb::Unban(args) => ban::unban(args, context),
        Verb::Bans(args) => ban::bans(args, context),
        Verb::Rules(args) => rules::run(args, context),
        Verb::Diff(args) => diff::run(args, context),
        Verb::Observe(args) => mode::observe(args, context),
        Verb::Enforce(args) => mode::enforce(args, context),
        Verb::Reload(args) => reload::run(args, context),
        Verb::Confirm(args) => trial::confirm(args, context),
        Verb::Rollback(args) => trial::rollback(args, context),
        Verb::Top(args) => top::run(args, context),
        Verb::Events(args) => events::run(args, context),
        Verb::Capture(args) => capture::run(args, context),
        Verb::History(args) => history::run(args, context),
        Verb::Report(args) => report::run(args, context),
        Verb::Geo(args) => geo::run(args, context),
        Verb::Doctor(args) => doctor::run(args, context),
        Verb::Bench(args) => bench::run(args, context),
        Verb::Detach(args) => detach::run(args, context),
        Verb::Completions(args) => generate::completions(args),
        Verb::Man(args) => generate::man(args),
    }
}

/// The definition from which help, completions and man pages are made.
pub fn command() -> clap::Command {
    Cli::command()
}

/// A duration of at least a second: `90s`, `10m`, `1h 30m`, `7days`.
pub(crate) fn duration(text: &str) -> Result<std::time::Duration, String> {
    let expected = "expected a duration like 90s, 10m, 1h or 7days";
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; {expected}"))?;
    if duration.as_secs() == 0 {
        return Err(format!("less than a second; {expected}"));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests;

//! `cerco run`: the daemon.

use std::io::IsTerminal;

use tracing::warn;
use tracing_subscriber::EnvFilter;

use super::{Context, Failure};
use crate::{config, daemon};

/// Run the daemon in the foreground
///
/// Loads the config and the database, puts the gate before the interfaces, and answers on the
/// control socket. When it ends, the gate stays and filters on. SIGHUP reloads.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco run                         as the service does
  cerco run -c test.toml -v         with another config, and a longer log")]
pub struct Args {}

pub fn run(_: Args, context: &Context) -> Result<(), Failure> {
    start_log(context);
    let file = context.global.config.clone();
    let (mut config, mut report) = config::load(file.as_deref())
        .map_err(|report| Failure::bad_usage(format!("the config is wrong\n{report}")))?;
    let mut warnings = Vec::new();
    if let Some(before) = daemon::files_before(&config.paths.state, &report.files)
        && let Ok((config_before, report_before)) = config::load_texts(before)
    {
        (config, report) = (config_before, report_before);
        warnings.push(
            "the config files were on trial and nobody confirmed them: what they said before is in force; \
             `cerco apply --confirm 2m` tries them again, `cerco reload` takes them"
                .to_owned(),
        );
    }
    if let Some(socket) = &context.global.socket {
        config.paths.socket = socket.clone();
    }
    warnings.extend(report.warning_lines());
    for warning in &warnings {
        warn!("{warning}");
    }
    Ok(daemon::run(file, config, report.files, warnings)?)
}

fn start_log(context: &Context) {
    let level = match context.global.verbose {
        0 => "info",
        1 => "info,filter_userspace=debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("CERCO_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(context.output.error_color)
        .with_target(context.global.verbose > 0);
    // The journal stamps each line itself.
    if std::io::stderr().is_terminal() {
        log.init();
    } else {
        log.without_time().init();
    }
}

//! `cerco check`: is the config right?

use serde::Serialize;

use super::{Context, Failure, lockout, table::grouped};
use crate::{
    cause,
    compile::compile,
    config::{self, Config, DatabaseSource},
    control::protocol::ModeWord,
    daemon::age,
    dashboard::Access,
    doctor,
    doubts::judged,
    generations::Store,
    geo::Database,
    kernel,
    report::Networks,
};

/// Validate the config and its database; change nothing
///
/// Reads what `cerco run` would read, and compiles the tables; warns of SSH sessions that it would lock out. Needs
/// no root and no daemon.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco check
  cerco check -c new.toml && mv new.toml /etc/cerco/cerco.toml
  cerco check --example > /etc/cerco/cerco.toml")]
pub struct Args {
    /// Print a config with a comment beside each key
    #[arg(long)]
    example: bool,
}

#[derive(Serialize)]
struct Checked {
    ok: bool,
    mode: ModeWord,
    interfaces: Vec<String>,
    database: String,
    database_built: Option<String>,
    networks_v4: u64,
    networks_v6: u64,
    table_bytes: usize,
    warnings: Vec<String>,
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let output = &context.output;
    if args.example {
        return output.print(config::EXAMPLE);
    }
    let (config, report) = config::load(context.global.config.as_deref()).map_err(|report| {
        eprintln!("{}", report.render(output.error_color));
        let errors = report.diagnostics.len();
        Failure::bad_usage(format!("the config has {errors} fault{}", plural(errors)))
    })?;
    if !output.is_json() && !report.diagnostics.is_empty() {
        eprintln!("{}\n", report.render(output.error_color));
    }
    let bad = |error: &dyn std::error::Error| Failure::bad_usage(error.to_string());
    let interfaces = config.interfaces.resolve().map_err(|e| bad(&e))?;
    let database = config.read_database().map_err(|e| bad(&e))?;
    let compiled = compile(&config.policy, &database).map_err(|e| bad(&e))?;
    refuse_doubtful(&config, &database)?;
    let unread = check_dashboard(&config)?;
    let now = std::time::SystemTime::now();
    let mut warnings = report.warning_lines();
    let old = age::warning(database.info.build_time, now);
    let locked_out = doctor::locked_out(
        &config,
        &interfaces,
        context.global.config.as_deref(),
        lockout::ssh_peer(),
    );
    let named_twice = kernel::named_twice(&interfaces, &kernel::links().unwrap_or_default());
    let named_twice = named_twice.iter().map(ToString::to_string);
    let others = unread.into_iter().chain(old).chain(named_twice);
    for warning in others.chain(locked_out) {
        if !output.is_json() {
            output.warn(&warning);
        }
        warnings.push(warning);
    }
    if let Some(Err(error)) = config.asn_database.as_deref().map(Networks::open) {
        let warning = format!(
            "`asn_database` under [geo], so reports name no networks: {}",
            cause::chain(&error)
        );
        if !output.is_json() {
            output.warn(&warning);
        }
        warnings.push(warning);
    }
    let checked = Checked {
        ok: true,
        mode: config.mode.into(),
        interfaces,
        database: database.info.source.to_string(),
        database_built: database.info.build_time.map(age::date),
        networks_v4: database.info.networks_v4,
        networks_v6: database.info.networks_v6,
        table_bytes: compiled.table_bytes(),
        warnings,
    };
    output.show(&checked, |checked, _| {
        format!(
            "the config is right: {} on {}\ndatabase {}: {} IPv4 and {} IPv6 networks\n",
            checked.mode.word(),
            checked.interfaces.join(", "),
            checked.database,
            grouped(checked.networks_v4),
            grouped(checked.networks_v6),
        )
    })
}

/// Whether the files of the dashboard will do; what only root can read is a warning for others.
fn check_dashboard(config: &Config) -> Result<Option<String>, Failure> {
    if !config.dashboard.enabled {
        return Ok(None);
    }
    match Access::load(&config.dashboard) {
        Ok(_) => Ok(None),
        Err(error) if error.is_permission() => Ok(Some(error.to_string())),
        Err(error) => Err(Failure::bad_usage(error.to_string())),
    }
}

/// As a reload would: what is not the next edition of the last good database.
fn refuse_doubtful(config: &Config, database: &Database) -> Result<(), Failure> {
    let store = Store::at(&config.paths.state);
    let current = store.current();
    // What cannot be read here is the daemon's to say; before the first start there is nothing.
    let last_good = current.in_force.and_then(|number| store.read(number).ok());
    let (DatabaseSource::File(path), Some((last_good, _))) = (&config.database, last_good) else {
        return Ok(());
    };
    if current.held_since.is_some() || last_good.info.digest == database.info.digest {
        return Ok(());
    }
    let doubts = judged(Some(&last_good), database, config, &config.policy, None);
    if doubts.is_empty() {
        return Ok(());
    }
    let doubts: Vec<String> = doubts.iter().map(ToString::to_string).collect();
    Err(Failure::bad_usage(format!(
        "a reload would refuse the database {}:\n  {}",
        path.display(),
        doubts.join("\n  ")
    ))
    .hint("`cerco geo diff` shows the change, `cerco geo accept` takes it"))
}

pub fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

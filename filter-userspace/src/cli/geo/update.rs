//! `cerco geo update`: the next edition, fetched, judged, put in its place.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::{
    super::{duration, failure::NO_DAEMON},
    Context, Failure, in_force, load_config,
};
use crate::{
    cause,
    config::{Config, DatabaseSource},
    control::{
        protocol::Request,
        reply::{Done, RefusedDatabase},
    },
    doubts::judged,
    durable,
    generations::Store,
    geo::{self, Digest, Source, UpdateFailure, checksum_path, judge::Doubt},
    update::{self, Edition, Fetcher, Month, Origin, Record, UpdateConfig},
};

/// Fetch the next edition of the database and put it in force
///
/// It goes through the same gate as a file that somebody else puts there. Only when it has passed does
/// it take the place of the file that `[geo] database` names, with its SHA-256 beside it. When anything
/// fails, that file stays. `cerco-update.timer` does this every day.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco geo update                  as [geo.update] in the config says
  cerco geo update --from dbip-lite
  cerco geo update --from maxmind   with account and key of /etc/GeoIP.conf
  cerco geo update --from https://mirror.example/country-{year}-{month}.mmdb.gz
  cerco geo update --from /srv/geo  the newest file there")]
pub struct Args {
    /// Instead of the config's source
    #[arg(long, value_name = "SOURCE")]
    from: Option<String>,
    /// Also when a reload would refuse it
    #[arg(long)]
    accept: bool,
    /// How often a question is repeated after a passing failure
    #[arg(long, value_name = "N", default_value_t = 4)]
    retries: u32,
    /// How long a question may take
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    timeout: Duration,
    /// Where MaxMind's account and key stand
    #[arg(long, value_name = "FILE", default_value = "/etc/GeoIP.conf")]
    geoip_conf: PathBuf,
}

#[derive(Serialize)]
struct Updated {
    /// Whether there was a new edition.
    updated: bool,
    message: String,
    sha256: Option<Digest>,
    warnings: Vec<String>,
}

/// Why nothing was updated; the daemon is told, unless it has said so itself.
struct Failed {
    failure: UpdateFailure,
    message: String,
    told_by_daemon: bool,
}

impl Failed {
    fn new(failure: UpdateFailure, message: impl Into<String>) -> Self {
        Self {
            failure,
            message: message.into(),
            told_by_daemon: false,
        }
    }
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let config = load_config(context)?;
    let DatabaseSource::File(path) = &config.database else {
        return Err(Failure::bad_usage(
            "the config names the builtin database, which comes with cerco",
        )
        .hint(
            "write database = \"/var/lib/cerco/country.mmdb\" under [geo], and repeat this; the file \
             need not exist yet",
        ));
    };
    let from = args.from.as_ref().or(config.update.source.as_ref());
    let from = from.ok_or_else(|| Failure::bad_usage(update::OriginError::Nothing.to_string()))?;
    let outcome = update(&args, from, path, &config, context);
    let failure = match &outcome {
        Ok(_) => None,
        Err(failed) if failed.told_by_daemon => {
            return Err(Failure::failed(failed.message.clone()));
        }
        Err(failed) => Some(RefusedDatabase {
            source: from.clone(),
            reason: failed.failure.label().to_owned(),
            message: failed.message.replace("\n  ", " ").replace('\n', "; "),
            at: Some(SystemTime::now()),
        }),
    };
    // A daemon that does not run has nothing to show.
    let _ = context.ask::<Done>(Request::NoteUpdate { failure });
    let updated = outcome.map_err(|failed| {
        Failure::failed(failed.message).hint("nothing was changed: the database in force stays")
    })?;
    if !context.output.is_json() {
        for warning in &updated.warnings {
            context.output.warn(warning);
        }
    }
    context
        .output
        .show(&updated, |updated, _| updated.message.clone())
}

fn update(
    args: &Args,
    from: &str,
    path: &Path,
    config: &Config,
    context: &Context,
) -> Result<Updated, Failed> {
    let installed = fs::read(path).ok().map(|bytes| Digest::of(&bytes));
    let record_path = Store::at(&context.paths().state)
        .directory()
        .join("update.json");
    // What was asked for matters only while its answer is what is installed.
    let earlier = Record::load(&record_path).filter(|it| Some(it.sha256) == installed);
    let Some(edition) = fetch(args, from, &config.update, earlier.as_ref())? else {
        return Ok(unchanged(from, installed));
    };
    if Some(edition.record.sha256) == installed {
        save(&edition.record, &record_path, context);
        return Ok(unchanged(from, installed));
    }
    let doubts = judge(&edition, path, config, context)?;
    if let Some(first) = doubts.first().filter(|_| !args.accept) {
        let texts: Vec<String> = doubts.iter().map(Doubt::to_string).collect();
        let message = format!(
            "the new edition is refused:\n  {}\n`cerco geo update --accept` takes it",
            texts.join("\n  ")
        );
        return Err(Failed::new(first.failure(), message));
    }
    let done = install(&edition, path, args.accept, context)?;
    save(&edition.record, &record_path, context);
    Ok(Updated {
        updated: true,
        message: format!(
            "{} is a new edition from {from}\n{}",
            path.display(),
            done.message
        ),
        sha256: Some(edition.record.sha256),
        warnings: done.warnings,
    })
}

fn unchanged(from: &str, sha256: Option<Digest>) -> Updated {
    Updated {
        updated: false,
        message: format!("{from} has no newer edition than the one that is there"),
        sha256,
        warnings: Vec::new(),
    }
}

/// Without a record the next update only asks for the whole file.
fn save(record: &Record, path: &Path, context: &Context) {
    if let Err(error) = record.save(path) {
        let path = path.display();
        context
            .output
            .warn(&format!("failed to write {path}: {error}"));
    }
}

fn fetch(
    args: &Args,
    from: &str,
    config: &UpdateConfig,
    earlier: Option<&Record>,
) -> Result<Option<Edition>, Failed> {
    let failed = |error: update::UpdateError| Failed::new(error.failure(), cause::chain(&error));
    let origin = Origin::parse(from, Month::now(), &args.geoip_conf)
        .map_err(|error| failed(error.into()))?;
    let fetcher = Fetcher::new(config.max_bytes, args.retries, args.timeout);
    update::fetch(&origin, config, &fetcher, earlier).map_err(failed)
}

/// The gate, before the file is touched: what is no database is an error, whatever is accepted.
fn judge(
    edition: &Edition,
    path: &Path,
    config: &Config,
    context: &Context,
) -> Result<Vec<Doubt>, Failed> {
    let source = Source::File(path.to_owned());
    let database = geo::read_bytes(edition.bytes.clone(), source, &config.read_options())
        .map_err(|error| Failed::new(UpdateFailure::from(&error), cause::chain(&error)))?;
    // Before the first database only what must be true of every one can be looked at.
    let before = in_force::read(context, config).ok();
    let policy = &config.policy;
    Ok(judged(before.as_ref(), &database, config, policy, None))
}

/// Puts the edition in the place of `path` and asks the daemon to take it. When that refuses, the old
/// file comes back.
fn install(
    edition: &Edition,
    path: &Path,
    accept: bool,
    context: &Context,
) -> Result<Done, Failed> {
    let before = fs::read(path).ok();
    let sum_before = fs::read(checksum_path(path)).ok();
    let sum = format!(
        "{}  {}\n",
        edition.record.sha256,
        path.file_name().unwrap_or_default().display()
    );
    let written = |outcome: io::Result<()>| {
        outcome.map_err(|error| {
            let path = path.display();
            let message = format!("failed to write {path}: {error}");
            Failed::new(UpdateFailure::NotKept, message)
        })
    };
    written(replace(path, Some(&edition.bytes), Some(sum.as_bytes())))?;
    let request = Request::ReloadDatabase {
        file: path.to_owned(),
        accepted: accept.then_some(edition.record.sha256),
    };
    match context.change::<Done>(request, None, false) {
        Ok(done) => Ok(done),
        Err(failure) if failure.code == NO_DAEMON => Ok(Done {
            message: "no daemon answers: the next start uses it".to_owned(),
            warnings: Vec::new(),
        }),
        Err(failure) => {
            written(replace(path, before.as_deref(), sum_before.as_deref()))?;
            Err(Failed {
                told_by_daemon: true,
                ..Failed::new(UpdateFailure::Table, failure.message)
            })
        }
    }
}

/// At no time does a checksum stand beside a file that it is not of.
fn replace(path: &Path, bytes: Option<&[u8]>, sum: Option<&[u8]>) -> io::Result<()> {
    let sum_path = checksum_path(path);
    let remove = |path: &Path| match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    remove(&sum_path)?;
    match bytes {
        Some(bytes) => durable::replace(path, &[bytes])?,
        None => remove(path)?,
    }
    match sum {
        Some(sum) => durable::replace(&sum_path, &[sum]),
        None => Ok(()),
    }
}

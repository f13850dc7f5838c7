//! `cerco report`: the incident report, for people who do not run the gate.

mod gather;

use std::{
    io::{self, IsTerminal, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use clap::ValueEnum;

use super::{
    Context, Failure,
    history::{class, period},
    output,
};
use crate::{
    durable,
    history::unix_now,
    report::{
        Report, csv, page,
        sign::{self, Signed},
        words,
    },
};

/// Readers beside its owner are a group's, as for a log: sources are in it.
const FILE_MODE: u32 = 0o640;

/// Write what was turned away in a time as a report for others: one HTML file that prints well
///
/// Summary, timeline, world map, tables, policy and database in force with every change, and how each
/// number was obtained. It needs no other file and no network. The numbers are those of cerco history,
/// status and the metrics. All times are UTC. Without a daemon it reads the file (as root), and exits
/// with 3.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco report --since 48h -o incident.html
  cerco report --since 2026-11-24 --until 2026-11-26 -o incident.html --sign
  cerco report --since 7days --country US -o us.csv
  cerco report --format json | jq .sentences")]
pub struct Args {
    /// So long ago, or a time like 2026-11-24 or 2026-11-24T18:30:00Z
    #[arg(long, value_name = "WHEN", default_value = "24h")]
    since: String,
    /// As --since; now, if left out
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only this country (or `unknown`, `private`, `trusted`, `rule_allow`, `rule_deny`)
    #[arg(long, value_name = "COUNTRY", value_parser = class)]
    country: Option<String>,
    /// Where to write, in place of what is there; `-` or nothing is the standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// If left out, what the name of the file ends in, else html
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Also write FILE.minisig, a signature by your secret key of minisign
    #[arg(long, requires = "output")]
    sign: bool,
    /// The secret key; if left out, that of minisign (~/.minisign/minisign.key)
    #[arg(long, value_name = "FILE", requires = "sign")]
    secret_key: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    Html,
    Json,
    Csv,
}

/// Where the report goes.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Target {
    Stdout,
    File(PathBuf),
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let target = match args.output.as_deref() {
        None => Target::Stdout,
        Some(path) if path == Path::new("-") => Target::Stdout,
        Some(path) => Target::File(path.to_owned()),
    };
    let format = format(&args, &target, context.output.is_json())?;
    check(&args, &target, format)?;
    let asked = unix_now();
    let (since, until) = period(&args.since, args.until.as_deref(), asked)?;
    let period = gather::Asked {
        now: asked,
        since,
        until,
        country: args.country,
    };
    let (material, without_daemon) = gather::gather(context, period)?;
    let report = Report::new(material);
    let text = rendered(&report, format)?;
    match target {
        Target::Stdout => context.output.print(&text)?,
        Target::File(path) => {
            // First the signature: a wrong password leaves no report that looks signed.
            let signed = match args.sign {
                true => Some(signed(&report, &text, &path, args.secret_key)?),
                false => None,
            };
            write(&path, text.as_bytes())?;
            if let Some(warning) = earlier_signature(&path).filter(|_| signed.is_none()) {
                context.output.warn(&warning);
            }
            let mut said = format!("{}: {}\n", path.display(), told(&report));
            if let Some(signed) = signed {
                let beside = sign::beside(&path);
                write(&beside, signed.text.as_bytes())?;
                said += &format!(
                    "{}: check it with `minisign -Vm {} -P {}`\n",
                    beside.display(),
                    path.display(),
                    signed.public_key
                );
            }
            context.output.print(&said)?;
        }
    }
    without_daemon.map_or(Ok(()), Err)
}

fn format(args: &Args, target: &Target, json: bool) -> Result<Format, Failure> {
    match (args.format, json) {
        (Some(Format::Html | Format::Csv), true) => {
            return Err(Failure::bad_usage("--json and another --format"));
        }
        (Some(format), _) => return Ok(format),
        (None, true) => return Ok(Format::Json),
        (None, false) => {}
    }
    let Target::File(path) = target else {
        return Ok(Format::Html);
    };
    let extension = path.extension().map(|it| it.to_ascii_lowercase());
    match extension.as_ref().and_then(|it| it.to_str()) {
        None | Some("html" | "htm") => Ok(Format::Html),
        Some("json") => Ok(Format::Json),
        Some("csv") => Ok(Format::Csv),
        Some(other) => Err(Failure::bad_usage(format!(
            "there is no format for files that end in .{other}"
        ))
        .hint("name one with --format: html, json or csv")),
    }
}

/// What cannot go well is refused before anybody is asked.
fn check(args: &Args, target: &Target, format: Format) -> Result<(), Failure> {
    match target {
        Target::Stdout if args.sign => Err(Failure::bad_usage(
            "--sign needs a file: the signature is written beside it",
        )),
        Target::Stdout if format == Format::Html && io::stdout().is_terminal() => {
            Err(Failure::bad_usage("HTML on a terminal helps nobody")
                .hint("write it to a file with -o incident.html, or ask for --format json"))
        }
        // A rename would put a file in the place of a device.
        Target::File(path) if path.exists() && !path.is_file() => Err(Failure::bad_usage(format!(
            "{} is no regular file",
            path.display()
        ))),
        _ => Ok(()),
    }
}

fn rendered(report: &Report, format: Format) -> Result<String, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::failed(error.to_string());
    match format {
        Format::Html => page::render(report).map_err(|error| failed(&error)),
        Format::Json => output::document(report),
        Format::Csv => csv::render(report).map_err(|error| failed(&error)),
    }
}

/// What a person at the terminal wants to know at once.
fn told(report: &Report) -> String {
    report.sentences.first().cloned().unwrap_or_default()
}

fn signed(
    report: &Report,
    text: &str,
    path: &Path,
    key: Option<PathBuf>,
) -> Result<Signed, Failure> {
    let key = key.or_else(sign::default_key).ok_or_else(|| {
        Failure::bad_usage("--sign: no HOME to look for a secret key in")
            .hint("name it with --secret-key")
    })?;
    let name = path.file_name().unwrap_or_default();
    let comment = format!(
        "timestamp:{}\tfile:{}\tcerco report of {}, {} to {}",
        report.generated,
        name.to_string_lossy(),
        report.host,
        words::rfc3339(report.period.since),
        words::rfc3339(report.period.until),
    );
    sign::sign(text.as_bytes(), &key, &comment).map_err(|error| {
        let failure = Failure::failed(error.to_string());
        match error {
            sign::SignError::Key { .. } => failure.hint("`minisign -G` makes a pair of keys"),
            _ => failure,
        }
    })
}

/// That a signature beside `path` is not of this report: whoever checks it would take the report for forged.
fn earlier_signature(path: &Path) -> Option<String> {
    let beside = sign::beside(path);
    beside.exists().then(|| {
        format!(
            "{} is of an earlier report and does not fit this one: remove it, or write this one with --sign",
            beside.display()
        )
    })
}

/// Puts a new file in the place of `path`: readers see the old one or the new one, whole.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let written = || -> io::Result<()> {
        // A name that nobody can foresee: who else may write into the directory cannot lay a link there.
        let mut file = tempfile::Builder::new()
            .prefix(".cerco-report-")
            .permissions(std::fs::Permissions::from_mode(FILE_MODE))
            .tempfile_in(directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        durable::sync_directory_of(&directory.join("file"))
    };
    written()
        .map_err(|error| Failure::failed(format!("failed to write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests;

//! `cerco history`: what the gate has seen, also before the daemon's last start.

use std::time::{Duration, UNIX_EPOCH};

use clap::{ValueEnum, builder::PossibleValuesParser};
use filter_common::verdict::Reason;

use super::{
    Context, Failure,
    failure::{BAD_USAGE, NO_DAEMON},
    output::Output,
    table::{self, bytes, grouped, wrapped},
};
use crate::{
    control::protocol::Request,
    countries,
    history::{
        DAY, HOUR, Part, Query, Step, Store, StoreError, file_in,
        query::QueryError,
        reply::{Fates, History, HistoryStatus, Line, Point},
        unix_now,
    },
};

/// Lines of a table that has no end of its own.
const SHOWN: usize = 15;
const WIDTH: usize = 80;

/// Show what the gate has seen, by minute, hour or day
///
/// Totals are exact: differences of the counters. Sources, ports and protocols are a sample, and the text
/// says how good it is: of `900 to 1,100` frames 900 were seen, and 1,100 are an estimate. All times are UTC. Without
/// a daemon it reads the file (as root), and exits with 3.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco history                                 the last 24 hours
  cerco history --since 90m --by minute
  cerco history --since 2026-11-24 --until 2026-11-26 --country US
  cerco history --since 30days --json | jq .points[].dropped_packets")]
pub struct Args {
    /// So long ago, or a time like 2026-11-24 or 2026-11-24T18:30:00Z
    #[arg(long, value_name = "WHEN", default_value = "24h")]
    since: String,
    /// As --since; now, if left out
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// The length of a line; if left out, what suits the time
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Only this country (or `unknown`, `private`, `trusted`, `rule_allow`, `rule_deny`)
    #[arg(long, value_name = "COUNTRY", value_parser = class)]
    country: Option<String>,
    /// Only frames that were counted for this reason
    #[arg(long, conflicts_with = "country", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(Reason::ALL.iter().map(|it| it.label())))]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Minute,
    Hour,
    Day,
}

impl From<By> for Step {
    fn from(by: By) -> Self {
        match by {
            By::Minute => Self::Minute,
            By::Hour => Self::Hour,
            By::Day => Self::Day,
        }
    }
}

pub fn class(text: &str) -> Result<String, countries::UnknownCountry> {
    match text {
        "unknown" | "private" | "trusted" | "rule_allow" | "rule_deny" => Ok(text.to_owned()),
        code => countries::parse(code).map(|code| code.to_string()),
    }
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let now = unix_now();
    let (since, until) = period(&args.since, args.until.as_deref(), now)?;
    let length = until.unwrap_or(now).saturating_sub(since);
    let query = Query {
        since,
        until,
        by: args.by.map_or_else(|| suitable(length), Step::from),
        country: args.country,
        reason: args.reason,
        part: Part::Whole,
    };
    let (history, without_daemon) = ask(context, query)?;
    context.output.show(&history, render)?;
    without_daemon.map_or(Ok(()), Err)
}

fn bad(option: &str, error: &str) -> Failure {
    Failure::bad_usage(format!("{option}: {error}"))
}

/// The beginning and the end that are asked for, in seconds since 1970. Of a time that has not been nothing is told:
/// it would read as a quiet one.
pub fn period(since: &str, until: Option<&str>, now: u64) -> Result<(u64, Option<u64>), Failure> {
    let begin = moment(since, now).map_err(|error| bad("--since", &error))?;
    let end = until.map(|text| moment(text, now));
    let end = end.transpose().map_err(|error| bad("--until", &error))?;
    if begin > now {
        let words = format!("{since} lies in the future: it is {} UTC", time(now));
        return Err(bad("--since", &words).hint("all times are UTC; 24h is so long ago"));
    }
    if let (Some(until), Some(end)) = (until, end)
        && end <= begin
    {
        return Err(
            bad("--until", &format!("{until} is not after --since {since}"))
                .hint("a date alone is its first moment; without --until it is until now"),
        );
    }
    Ok((begin, end))
}

/// Seconds since 1970 of a time, or of so long before `now`.
pub fn moment(text: &str, now: u64) -> Result<u64, String> {
    if let Ok(duration) = humantime::parse_duration(text) {
        return Ok(now.saturating_sub(duration.as_secs()));
    }
    let whole = match text.len() {
        // A date alone: its first moment.
        10 => format!("{text} 00:00:00"),
        _ => text.to_owned(),
    };
    let time = humantime::parse_rfc3339_weak(&whole).map_err(|_| {
        format!("expected 90m, 24h, 7days, 2026-11-24 or 2026-11-24T18:30:00Z, not {text}")
    })?;
    Ok(time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs())
}

/// Some dozens of lines.
const fn suitable(length: u64) -> Step {
    match length {
        ..=7200 => Step::Minute,
        length if length <= 4 * DAY => Step::Hour,
        _ => Step::Day,
    }
}

/// Asks the daemon, or without one the file; then the failure says so.
pub fn ask(context: &Context, query: Query) -> Result<(History, Option<Failure>), Failure> {
    let failure = match context.ask(Request::History(query.clone())) {
        Ok(history) => return Ok((history, None)),
        Err(failure) if failure.code == NO_DAEMON => failure,
        Err(failure) => return Err(failure),
    };
    let path = file_in(&context.paths().state);
    let status = HistoryStatus {
        file: path.display().to_string(),
        ..HistoryStatus::default()
    };
    let found = Store::open_to_read(&path)
        .map_err(QueryError::from)
        .and_then(|store| {
            let (minutes_since, hours_since) = store.oldest()?;
            let status = HistoryStatus {
                minutes_since,
                hours_since,
                ..status
            };
            store.query(&query, unix_now(), status)
        });
    match found {
        Ok(history) => {
            let history = History {
                daemon: false,
                ..history
            };
            let words = "no daemon answers; this was read from its file";
            Ok((history, Some(Failure::new(NO_DAEMON, words))))
        }
        Err(QueryError::Store(StoreError::Missing { path })) => Err(Failure {
            message: format!("{}; there is no {} either", failure.message, path.display()),
            ..failure
        }),
        Err(error) if error.is_bad_question() => Err(Failure::new(BAD_USAGE, error.to_string())),
        Err(error) => Err(Failure::new(
            NO_DAEMON,
            format!(
                "{}; its file cannot be read either: {error}",
                failure.message
            ),
        )
        .hint("only root can read the file")),
    }
}

/// `2026-11-24 18:30`, UTC.
pub fn time(unix: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(unix);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

fn render(history: &History, _: &Output) -> String {
    let mut text = heading(history);
    if history.points.is_empty() {
        text += "\nno frame was counted in this time\n";
    } else {
        text += &format!("\n{}", steps(history));
    }
    let tables = [
        ("reason", &history.reasons),
        ("country", &history.countries),
        ("interface", &history.interfaces),
    ];
    for (name, lines) in tables {
        if !lines.is_empty() {
            text += &format!("\n{}", table_of(name, lines));
        }
    }
    if history.sampled.events > 0 {
        text += &format!("\n{}", sampled(history));
    }
    if !history.changes.is_empty() {
        text += &format!("\n{}", changes(history));
    }
    text + &store(&history.store)
}

fn heading(history: &History) -> String {
    let about = match (&history.country, &history.reason) {
        (Some(country), _) => format!(", sources in {country}"),
        (_, Some(reason)) => format!(", reason {reason}"),
        _ => String::new(),
    };
    let mut text = format!(
        "{} to {} UTC{about}; totals are exact\n",
        time(history.since),
        time(history.until)
    );
    match history.begins {
        None => text += "nothing was recorded yet\n",
        Some(begins) if begins > history.since => {
            text += &format!("nothing is known of the time before {}\n", time(begins));
        }
        Some(_) => {}
    }
    text
}

fn cells(name: String, fates: &Fates) -> Vec<String> {
    vec![
        name,
        grouped(fates.passed_packets),
        grouped(fates.dropped_packets),
        grouped(fates.would_drop_packets),
    ]
}

fn steps(history: &History) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut notes = String::new();
    for Point {
        unix,
        counted_since,
        fates,
    } in &history.points
    {
        let mark = match counted_since {
            Some(since) => {
                notes += &format!(
                    "* {}: counted since {}, nobody looked meanwhile\n",
                    time(*unix),
                    time(*since)
                );
                " *"
            }
            None => "",
        };
        rows.push(cells(format!("{}{mark}", time(*unix)), fates));
    }
    rows.push(cells("total".to_owned(), &history.total));
    let header = [history.by.as_str(), "passed", "dropped", "would drop"];
    table::render(&header, &[1, 2, 3], &rows) + &notes
}

fn table_of(name: &str, lines: &[Line]) -> String {
    let shown = lines.iter().take(SHOWN);
    let mut rows: Vec<Vec<String>> = shown
        .map(|line| cells(line.name.clone(), &line.fates))
        .collect();
    if lines.len() > SHOWN {
        let mut rest = Fates::default();
        for line in &lines[SHOWN..] {
            rest.passed_packets += line.fates.passed_packets;
            rest.dropped_packets += line.fates.dropped_packets;
            rest.would_drop_packets += line.fates.would_drop_packets;
        }
        rows.push(cells(format!("{} more", lines.len() - SHOWN), &rest));
    }
    table::render(
        &[name, "passed", "dropped", "would drop"],
        &[1, 2, 3],
        &rows,
    )
}

/// What two numbers beside a port or a source mean.
const BOUNDS: &str = "`2 to 5`: 2 frames were seen and 5 are estimated, as frames that were not seen are shared \
                      out among those seen just before";

/// `1,200`, or `1,150 to 1,200`.
fn between(at_least: u64, at_most: u64) -> String {
    match at_least == at_most {
        true => grouped(at_least),
        false => format!("{} to {}", grouped(at_least), grouped(at_most)),
    }
}

fn sampled(history: &History) -> String {
    let sampled = &history.sampled;
    let range = match (sampled.since, sampled.until) == (history.since, history.until) {
        true => String::new(),
        false => format!(
            ", which is kept by the hour, of {} to {}",
            time(sampled.since),
            time(sampled.until)
        ),
    };
    let words = format!(
        "from a sample{range}: {} events, which stand for {} frames that were dropped or would have been",
        grouped(sampled.events),
        grouped(sampled.frames)
    );
    let mut text = format!("{}\n", wrapped(&words, WIDTH, 0));
    if let Some(sources) = sampled.distinct_sources {
        let error = sampled.distinct_error * 100.0;
        let words = format!(
            "at least {} different sources: those seen in the sample, with an error of {error:.1} %",
            grouped(sources)
        );
        text += &format!("{}\n", wrapped(&words, WIDTH, 0));
    }
    let protocols = sampled.protocols.iter().take(SHOWN);
    let rows: Vec<Vec<String>> = protocols
        .map(|line| vec![protocol(&line.name), grouped(line.fates.denied_packets())])
        .collect();
    if !rows.is_empty() {
        text += &format!("\n{}", table::render(&["protocol", "frames"], &[1], &rows));
    }
    if !(sampled.ports.is_empty() && sampled.sources.is_empty()) {
        text += &format!("\n{}\n", wrapped(BOUNDS, WIDTH, 0));
    }
    let ports = sampled.ports.iter().take(SHOWN);
    let rows: Vec<Vec<String>> = ports
        .map(|line| vec![line.port.clone(), between(line.at_least, line.at_most)])
        .collect();
    if !rows.is_empty() {
        text += &format!("\n{}", table::render(&["port", "frames"], &[1], &rows));
        let next = sampled.ports.get(SHOWN).map(|it| it.at_most);
        text += &others("port", "got", next.unwrap_or(sampled.other_ports_at_most));
    }
    let sources = sampled.sources.iter().take(SHOWN);
    let rows: Vec<Vec<String>> = sources
        .map(|line| {
            vec![
                line.source.clone(),
                line.class.clone(),
                between(line.at_least, line.at_most),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let header = ["source", "country", "frames"];
        text += &format!("\n{}", table::render(&header, &[2], &rows));
        let next = sampled.sources.get(SHOWN).map(|it| it.at_most);
        text += &others(
            "source",
            "sent",
            next.unwrap_or(sampled.other_sources_at_most),
        );
    }
    text
}

fn others(what: &str, verb: &str, at_most: u64) -> String {
    match at_most {
        0 => String::new(),
        at_most => format!(
            "by this estimate no {what} that is missing here {verb} more than {}\n",
            grouped(at_most)
        ),
    }
}

/// The name of an IP protocol, or its number, for the number as the history has it.
pub fn protocol(number: &str) -> String {
    number
        .parse()
        .map_or_else(|_| format!("protocol {number}"), crate::protocols::name)
}

fn changes(history: &History) -> String {
    let mut text = match history.earlier_changes {
        0 => "changes\n".to_owned(),
        count => format!("changes, the newest; {} came before\n", grouped(count)),
    };
    for change in &history.changes {
        let words = format!("{}: {}", change.who, change.what);
        let indent = 18;
        text += &format!(
            "{}  {}\n",
            time(change.unix),
            wrapped(&words, WIDTH, indent)
        );
    }
    text
}

fn store(status: &HistoryStatus) -> String {
    let Some(since) = status.hours_since.filter(|_| status.max_bytes > 0) else {
        return String::new();
    };
    let minutes = status.minutes_since.map_or(String::new(), |minutes| {
        match minutes - minutes % HOUR > since {
            true => format!(", by minute since {}", time(minutes)),
            false => String::new(),
        }
    });
    let words = format!(
        "kept since {}{minutes}; {} of at most {}",
        time(since),
        bytes(status.bytes),
        bytes(status.max_bytes)
    );
    format!("\n{}\n", wrapped(&words, WIDTH, 0))
}

#[cfg(test)]
mod tests;

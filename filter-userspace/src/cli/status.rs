//! `cerco status`: what stands, and what it does.

use std::time::{Duration, SystemTime};

use super::{
    Context, Failure,
    output::{Output, Paint},
    table::{self, bytes, grouped, wrapped},
};
use crate::{
    control::{
        protocol::{ModeWord, Request},
        reply::{RepliesStatus, Status, TrialStatus},
    },
    daemon::{
        age,
        rates::Totals,
        view::{attached, reason_totals},
    },
    kernel::{KernelError, Pinned},
};

/// Show mode, interfaces, database, totals and rates
///
/// Without a daemon it reads what stands in the kernel (as root), and exits with 3.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco status
  cerco status --json | jq .mode")]
pub struct Args {}

pub fn run(_: Args, context: &Context) -> Result<(), Failure> {
    context.ask_or_read(Request::Status, from_pins, render)
}

fn from_pins(pinned: &Pinned) -> Result<Status, KernelError> {
    Ok(Status {
        daemon: false,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: None,
        uptime_seconds: None,
        mode: pinned.mode().into(),
        trial: pinned.trial().map(|trial| TrialStatus {
            change: None,
            remaining_seconds: trial.left.as_secs(),
        }),
        interfaces: attached(pinned.attachments()),
        database: None,
        published: pinned.published_at(),
        allowed_countries: None,
        default_action: None,
        table_bytes: None,
        kernel_bytes: None,
        replies: pinned.flows()?.map(|count| RepliesStatus {
            enabled: true,
            open: Some(count.into()),
            faults: Vec::new(),
        }),
        totals: reason_totals(&Totals::of(&pinned.counters()?), None),
        bans: pinned.bans()?.len() as u64,
        runtime_rules: None,
        warnings: Vec::new(),
        last_reload_error: None,
        history: None,
    })
}

fn render(status: &Status, output: &Output) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text += &format!("{name:<11} {}\n", wrapped(value, 80, 12));
    };
    line("gate", &gate(status, output));
    if let Some(trial) = &status.trial {
        line(
            &output.paint(Paint::Caution, "on trial"),
            &self::trial(trial),
        );
    }
    line("interfaces", &interfaces(status));
    line("daemon", &daemon(status));
    if let Some(database) = &status.database {
        let built = database.built.map_or("age unknown".to_owned(), |time| {
            age::built(time, SystemTime::now())
        });
        line(
            "database",
            &format!(
                "{}, {built}; {} IPv4 and {} IPv6 networks",
                database.source,
                grouped(database.networks_v4),
                grouped(database.networks_v6)
            ),
        );
        if let Some(attribution) = &database.attribution {
            line("", attribution);
        }
    }
    if let Some(time) = status.published {
        line(
            "published",
            &humantime::format_rfc3339_seconds(time).to_string(),
        );
    }
    if let Some(allowed) = &status.allowed_countries {
        let countries = match allowed.is_empty() {
            true => "no country".to_owned(),
            false => allowed.join(", "),
        };
        let default = status.default_action.as_deref().unwrap_or("deny");
        line("allowed", &format!("{countries}; all others: {default}"));
    }
    if let (Some(tables), Some(kernel)) = (status.table_bytes, status.kernel_bytes) {
        line(
            "memory",
            &format!(
                "{} of tables, {} in the kernel",
                bytes(tables),
                bytes(kernel)
            ),
        );
    }
    if let Some(replies) = &status.replies {
        line("replies", &self::replies(replies, output));
    }
    let rules = status
        .runtime_rules
        .map_or(String::new(), |rules| match rules {
            1 => ", 1 runtime rule".to_owned(),
            rules => format!(", {} runtime rules", grouped(rules)),
        });
    line("bans", &format!("{}{rules}", grouped(status.bans)));
    if let Some(history) = &status.history {
        let since = history
            .hours_since
            .map_or("nothing yet".to_owned(), |unix| {
                format!("since {}", super::history::time(unix))
            });
        let size = format!(
            "{} of at most {}",
            bytes(history.bytes),
            bytes(history.max_bytes)
        );
        line("history", &format!("{since}; {size}"));
    }
    for warning in &status.warnings {
        line(&output.paint(Paint::Caution, "warning"), warning);
    }
    if let Some(error) = &status.last_reload_error {
        let first = error.lines().next().unwrap_or_default();
        let first = first.trim_end_matches(':');
        let words = format!("refused, the earlier policy stays in force: {first}");
        line(&output.paint(Paint::Bad, "reload"), &words);
    }
    text.push('\n');
    text + &totals(status)
}

fn trial(trial: &TrialStatus) -> String {
    let change = trial.change.as_deref().unwrap_or("the last change");
    match trial.remaining_seconds {
        0 => format!("{change}; its time is over, and what was before is in force"),
        seconds => format!("{change}; undone in {seconds} s unless `cerco confirm` keeps it"),
    }
}

fn gate(status: &Status, output: &Output) -> String {
    match status.mode {
        ModeWord::Enforce => {
            let word = output.paint(Paint::Good, "enforcing");
            format!("{word}: what the policy denies is dropped")
        }
        ModeWord::Observe => {
            let word = output.paint(Paint::Caution, "observing");
            format!("{word}: nothing is dropped; `cerco enforce` changes that")
        }
    }
}

fn replies(replies: &RepliesStatus, output: &Output) -> String {
    if !replies.enabled {
        return "off ([replies] enabled = false)".to_owned();
    }
    let word = match replies.faults.is_empty() {
        true => "let in".to_owned(),
        false => output.paint(Paint::Caution, "not let in everywhere"),
    };
    let open = replies.open.map_or(String::new(), |open| {
        format!(
            "; connections opened here: {} TCP, {} UDP, {} ping",
            grouped(open.tcp),
            grouped(open.udp),
            grouped(open.icmp)
        )
    });
    format!("{word}{open}")
}

fn interfaces(status: &Status) -> String {
    if status.interfaces.is_empty() {
        return "none: no packet is seen".to_owned();
    }
    let names: Vec<String> = status
        .interfaces
        .iter()
        .map(|at| match &at.fallback_reason {
            Some(reason) => format!("{} ({}, because {reason})", at.interface, at.attach_mode),
            None => format!("{} ({})", at.interface, at.attach_mode),
        })
        .collect();
    names.join(", ")
}

fn daemon(status: &Status) -> String {
    if !status.daemon {
        return "none answers; the gate filters on without it. Start it with `systemctl start \
                cerco`"
            .to_owned();
    }
    let up = Duration::from_secs(status.uptime_seconds.unwrap_or_default());
    format!(
        "version {}, process {}, up {}",
        status.version,
        status.pid.unwrap_or_default(),
        humantime::format_duration(up)
    )
}

/// Sums by verdict, then each reason that was seen.
fn totals(status: &Status) -> String {
    let mut rows = Vec::new();
    for (verdict, name) in [
        ("pass", "passed"),
        ("drop", "dropped"),
        ("would_drop", "would drop"),
    ] {
        let lines = || {
            status
                .totals
                .iter()
                .filter(|total| total.verdict == verdict)
        };
        let rate = lines()
            .map(|total| total.packets_per_second)
            .sum::<Option<f64>>();
        rows.push(vec![
            name.to_owned(),
            grouped(lines().map(|total| total.packets).sum()),
            bytes(lines().map(|total| total.bytes).sum()),
            per_second(rate),
        ]);
        rows.extend(lines().filter(|total| total.packets > 0).map(|total| {
            vec![
                format!("  {}", total.reason),
                grouped(total.packets),
                bytes(total.bytes),
                per_second(total.packets_per_second),
            ]
        }));
    }
    table::render(
        &["packets", "total", "bytes", "per second"],
        &[1, 2, 3],
        &rows,
    )
}

fn per_second(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate > 0.0 && rate < 10.0 => format!("{rate:.1}"),
        Some(rate) => grouped(rate.round() as u64),
    }
}

#[cfg(test)]
mod tests;

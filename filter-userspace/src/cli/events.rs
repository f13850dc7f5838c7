//! `cerco events`: dropped frames, one a line.

use std::{
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::builder::PossibleValuesParser;
use filter_common::verdict::{Reason, Verdict};
use serde::Serialize;

use super::{Context, Failure, output::Output};
use crate::{
    control::{
        client::Follower,
        protocol::{Request, SCHEMA},
        reply::Events,
    },
    countries,
    events::{Event, Filter, Line},
};

/// Show frames that are dropped, or would be, each with its reason
///
/// A sample: at most 1,000 frames of each reason in a second, so that no flood drowns a rare reason.
/// `x 250` says that the line stands for 250 frames. What is exact is counted: see `cerco status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco events                        the last ones
  cerco events --follow --reason banned
  cerco events --country US --json | jq .events[].source")]
pub struct Args {
    /// Go on with those that come, until Ctrl-C; with --json one object a line
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    wanted: Wanted,
}

/// Which events.
#[derive(Debug, clap::Args)]
pub struct Wanted {
    /// Only those dropped for this reason
    #[arg(long, value_parser = PossibleValuesParser::new(drop_reasons()), hide_possible_values = true)]
    reason: Option<String>,
    /// Only those from this country (or `unknown`, `private`, `rule_deny`)
    #[arg(long, value_name = "COUNTRY", value_parser = class)]
    country: Option<String>,
}

impl Wanted {
    pub fn filter(self) -> Filter {
        Filter {
            reason: self.reason,
            class: self.country,
        }
    }
}

fn drop_reasons() -> impl Iterator<Item = &'static str> {
    let drops = Reason::ALL
        .iter()
        .filter(|it| it.verdict() == Verdict::Drop);
    drops.map(|it| it.label())
}

fn class(text: &str) -> Result<String, countries::UnknownCountry> {
    match text {
        "unknown" | "private" | "rule_deny" => Ok(text.to_owned()),
        code => countries::parse(code).map(|code| code.to_string()),
    }
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let filter = args.wanted.filter();
    if !args.follow {
        let events: Events = context.ask(Request::Events { filter })?;
        return context.output.show(&events, render);
    }
    let request = Request::FollowEvents {
        filter,
        heads: false,
    };
    let mut follower = Follower::begin(&context.paths().socket, request)?;
    // A reader that has seen enough, as `head`, ends this.
    let mut out = io::stdout().lock();
    loop {
        let Some(line) = follower.next(Duration::MAX)? else {
            continue;
        };
        let text = match context.output.is_json() {
            true => json_line(&line)?,
            false => match line {
                Line::Event(event) => words(&event),
                Line::Missed(count) => format!("({count} more were too many for this terminal)"),
            },
        };
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
    }
}

fn json_line(line: &Line) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct WithSchema<'a> {
        schema: u32,
        #[serde(flatten)]
        line: &'a Line,
    }
    let schema = SCHEMA;
    serde_json::to_string(&WithSchema { schema, line })
        .map_err(|error| Failure::failed(error.to_string()))
}

fn render(events: &Events, _: &Output) -> String {
    if events.events.is_empty() {
        return "no frame was dropped since the daemon started, or none of these\n".to_owned();
    }
    let lines = events.events.iter().map(|event| words(event) + "\n");
    lines.collect()
}

/// `05:12:33.123 country_denied US 203.0.113.7:40000 > 192.0.2.1:80/tcp x 250`.
pub(super) fn words(event: &Event) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_micros(event.unix_us));
    let time = humantime::format_rfc3339_millis(time.unwrap_or(SystemTime::UNIX_EPOCH)).to_string();
    let clock = time.get(11..23).unwrap_or(&time);
    let mut words = format!("{clock} {}", event.reason);
    if event.verdict == "would_drop" {
        words += " (would drop)";
    }
    if let Some(class) = &event.class {
        words += &format!(" {class}");
    }
    match &event.packet {
        Some(packet) => words += &format!(" {}", packet.words()),
        None => words += &format!(" frame of {} bytes", event.frame_bytes),
    }
    if event.stands_for > 1 {
        words += &format!(" x {}", event.stands_for);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::PacketLine;

    fn event() -> Event {
        Event {
            unix_us: 1_800_000_000_123_456,
            interface: "eth0".to_owned(),
            verdict: "drop".to_owned(),
            reason: "country_denied".to_owned(),
            class: Some("US".to_owned()),
            packet: Some(PacketLine {
                source: "203.0.113.7".parse().unwrap(),
                destination: "192.0.2.1".parse().unwrap(),
                protocol: 6,
                source_port: Some(40_000),
                destination_port: Some(80),
            }),
            frame_bytes: 60,
            stands_for: 1,
            cpu: 0,
            head: None,
        }
    }

    #[test]
    fn line_says_what_there_is_to_say() {
        assert_eq!(
            words(&event()),
            "08:00:00.123 country_denied US 203.0.113.7:40000 > 192.0.2.1:80/tcp"
        );
        let many = Event {
            verdict: "would_drop".to_owned(),
            stands_for: 250,
            cpu: 0,
            ..event()
        };
        assert_eq!(
            words(&many),
            "08:00:00.123 country_denied (would drop) US 203.0.113.7:40000 > 192.0.2.1:80/tcp x 250"
        );
        let malformed = Event {
            reason: "truncated_ipv4".to_owned(),
            class: None,
            packet: None,
            ..event()
        };
        assert_eq!(
            words(&malformed),
            "08:00:00.123 truncated_ipv4 frame of 60 bytes"
        );
    }

    #[test]
    fn only_what_events_have_can_be_asked_for() {
        assert_eq!(class("us"), Ok("US".to_owned()));
        assert_eq!(class("unknown"), Ok("unknown".to_owned()));
        assert!(class("trusted").is_err());
        let reasons: Vec<_> = drop_reasons().collect();
        assert!(reasons.contains(&"packet_limit"));
        assert!(!reasons.contains(&"allowed"));
    }
}

//! What `cerco enforce` shows before it asks.

use std::time::Duration;

use super::{
    Failure,
    output::{Output, Paint},
    table::{self, bytes, cut, grouped, wrapped},
};
use crate::control::{
    preview::{LivePort, LoggedIn, Observed, Preview, PreviewRefusal, Rest, WouldDrop},
    protocol::ModeWord,
};

/// Longer lists are summed up; `--json` has all.
const SHOWN: usize = 10;
const COLUMNS: usize = 80;

pub fn render(preview: &Preview, output: &Output) -> String {
    let mut text = match &preview.observed {
        Some(observed) => self::observed(observed),
        None => "The gate enforces already: nothing is observed.\n".to_owned(),
    };
    text += &connections(preview);
    text += &sessions(preview, output);
    text
}

fn observed(observed: &Observed) -> String {
    let since = observed.since.map_or("an unknown time".to_owned(), |time| {
        humantime::format_rfc3339_seconds(time).to_string()
    });
    let time = humantime::format_duration(Duration::from_secs(observed.seconds));
    if observed.would_drop_packets == 0 {
        let words = format!(
            "Observed since {since} ({time}): no packet came that would have been dropped."
        );
        return format!("{}\n", wrapped(&words, COLUMNS, 0));
    }
    let packets = match observed.would_drop_packets {
        1 => "1 packet".to_owned(),
        count => format!("{} packets", grouped(count)),
    };
    let words = format!(
        "Observed since {since} ({time}): {packets} ({}) would have been dropped.",
        bytes(observed.would_drop_bytes)
    );
    let mut text = format!("{}\n", wrapped(&words, COLUMNS, 0));
    text += &section("source", &observed.countries, Rest::default());
    if observed.countries.iter().any(is_allowed_by_now) {
        text += "what is allowed by now was denied when it came\n";
    }
    text += &section("reason", &observed.reasons, Rest::default());
    text += &section("to", &observed.destinations, observed.other_destinations);
    text
}

fn is_allowed_by_now(line: &WouldDrop) -> bool {
    line.action
        .as_deref()
        .is_some_and(|action| action != "deny")
}

/// A table of the first lines; `rest`: what comes behind the last.
fn section(title: &str, lines: &[WouldDrop], rest: Rest) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let with_names = lines.iter().any(|line| line.name.is_some());
    let row = |what: &str, name: &str, packets: u64, size: u64, action: &str| {
        let mut row = vec![what.to_owned()];
        if with_names {
            row.push(cut(name, 30));
        }
        row.extend([grouped(packets), bytes(size)]);
        if with_names {
            row.push(cut(action, 14));
        }
        row
    };
    let (shown, more) = lines.split_at(SHOWN.min(lines.len()));
    let mut rows: Vec<Vec<String>> = shown
        .iter()
        .map(|line| {
            let name = line.name.as_deref().unwrap_or_default();
            let action = line.action.as_deref().unwrap_or_default();
            row(&line.what, name, line.packets, line.bytes, action)
        })
        .collect();
    let others = more.len() as u64 + rest.count;
    if others > 0 {
        let sum = |part: fn(&WouldDrop) -> u64| more.iter().map(part).sum::<u64>();
        rows.push(row(
            &format!("{} others", grouped(others)),
            "",
            sum(|line| line.packets) + rest.packets,
            sum(|line| line.bytes) + rest.bytes,
            "",
        ));
    }
    let header = match with_names {
        true => vec![title, "name", "packets", "bytes", "action"],
        false => vec![title, "packets", "bytes"],
    };
    let right = match with_names {
        true => [2, 3],
        false => [1, 2],
    };
    format!("\n{}", table::render(&header, &right, &rows))
}

fn connections(preview: &Preview) -> String {
    let all = grouped(preview.open_connections);
    let cut_off: u64 = preview.connections.iter().map(|it| it.connections).sum();
    if cut_off == 0 {
        return match preview.open_connections {
            0 => "\nNobody is connected by way of the gate.\n".to_owned(),
            _ => {
                format!("\nOf {all} connections that others have opened, none would be cut off.\n")
            }
        };
    }
    let verb = match preview.mode {
        ModeWord::Observe => "would be",
        ModeWord::Enforce => "are",
    };
    let mut text = format!(
        "\nOf {all} connections that others have opened, {} {verb} cut off:\n",
        grouped(cut_off)
    );
    let (shown, more) = preview
        .connections
        .split_at(SHOWN.min(preview.connections.len()));
    for port in shown {
        text += &format!("  {}\n", wrapped(&live_port(port), COLUMNS, 4));
    }
    if !more.is_empty() {
        let connections: u64 = more.iter().map(|it| it.connections).sum();
        text += &format!(
            "  {} to {} other ports\n",
            grouped(connections),
            grouped(more.len() as u64)
        );
    }
    text
}

fn live_port(live: &LivePort) -> String {
    let (shown, more) = live.countries.split_at(SHOWN.min(live.countries.len()));
    let mut countries: Vec<String> = shown
        .iter()
        .map(|it| format!("{} {}", it.class, grouped(it.connections)))
        .collect();
    if !more.is_empty() {
        let others: u64 = more.iter().map(|it| it.connections).sum();
        countries.push(format!("others {}", grouped(others)));
    }
    let peers: Vec<String> = live.peers.iter().map(ToString::to_string).collect();
    format!(
        "{} to port {} ({}): from {}{}",
        grouped(live.connections),
        live.port,
        countries.join(", "),
        peers.join(", "),
        match live.connections > live.peers.len() as u64 {
            true => ", …",
            false => "",
        }
    )
}

fn sessions(preview: &Preview, output: &Output) -> String {
    if preview.sessions.is_empty() {
        return "\nNobody is logged in by way of the gate.\n".to_owned();
    }
    let mut text = "\nLogged in by way of the gate:\n".to_owned();
    // Those that are lost are never left out, be it at once or later.
    let (lost, safe): (Vec<&LoggedIn>, Vec<&LoggedIn>) = preview
        .sessions
        .iter()
        .partition(|it| !it.passes || it.until.is_some());
    for session in &lost {
        let fate = match (session.until, preview.mode) {
            (Some(until), _) => format!(
                "PASSES UNTIL {} ONLY",
                humantime::format_rfc3339_seconds(until)
            ),
            (None, ModeWord::Observe) => "WOULD BE LOCKED OUT".to_owned(),
            (None, ModeWord::Enforce) => "IS LOCKED OUT".to_owned(),
        };
        text += &session_line(session, &output.paint(Paint::Bad, &fate));
    }
    for session in safe.iter().take(SHOWN) {
        text += &session_line(session, "passes");
    }
    if safe.len() > SHOWN {
        text += &format!("  {} more, which pass\n", safe.len() - SHOWN);
    }
    text
}

fn session_line(session: &LoggedIn, fate: &str) -> String {
    let class = session.class.as_deref().unwrap_or("not looked at");
    let mut line = format!("{} to port {} ({class})", session.address, session.port);
    for user in &session.users {
        line += &format!(", {user}");
    }
    if session.own {
        line += ", your own";
    }
    format!("  {}\n", wrapped(&format!("{line}: {fate}"), COLUMNS, 4))
}

impl From<PreviewRefusal> for Failure {
    fn from(refusal: PreviewRefusal) -> Self {
        Self {
            hint: refusal.hint,
            ..Self::failed(refusal.message)
        }
    }
}

#[cfg(test)]
mod tests;

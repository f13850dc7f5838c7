//! The result of the demo as a table in plain words, 80 columns wide.

use super::summary::{CountryRow, Run, Summary, grouped};
use std::{
    env,
    fmt::Write,
    io::{IsTerminal, stdout},
    path::Path,
};

/// How many countries the table names; the JSON has all of them.
const COUNTRIES_SHOWN: usize = 10;
const MISSING: &str = "-";

/// The table, ready to print.
pub fn table(summary: &Summary) -> String {
    let runs: Vec<&Run> = summary.gate_off.iter().chain(&summary.gate_on).collect();
    let mut text = String::new();
    let mut line = |words: &str, cells: &dyn Fn(&Run) -> String| {
        let mut row = format!("{words:<44}");
        for run in &runs {
            push(&mut row, format_args!("{:>18}", cells(run)));
        }
        push(&mut text, format_args!("{}\n", row.trim_end()));
    };
    let titles = [
        summary.gate_off.as_ref().map(|_| "GATE OFF"),
        summary.gate_on.as_ref().map(|_| "GATE ON"),
    ];
    let titles: Vec<&str> = titles.into_iter().flatten().collect();
    let header = titles.iter().fold(format!("{:<44}", ""), |row, title| {
        format!("{row}{title:>18}")
    });

    line("The visitor from Macau (IPv4 and IPv6)", &|_| String::new());
    line("  requests tried", &|run| grouped(run.client_tried));
    line("  requests served", &|run| grouped(run.client_ok));
    line("    over IPv4", &|run| {
        of(run.client_ipv4.ok, run.client_ipv4.tried)
    });
    line("    over IPv6", &|run| {
        of(run.client_ipv6.ok, run.client_ipv6.tried)
    });
    line("  requests failed", &|run| grouped(run.client_failed));
    line("  half were served within (p50)", &|run| {
        millis(run.client_p50_ms)
    });
    line("  99 of 100 were served within (p99)", &|run| {
        millis(run.client_p99_ms)
    });
    line("", &|_| String::new());
    line("The attack from abroad", &|_| String::new());
    line("  packets sent", &|run| grouped(run.attack_packets));
    line("  packets let in", &|run| grouped(run.denied_passed));
    line("  packets stopped at the gate", &|run| {
        grouped(run.denied_dropped)
    });
    line("  connections tried", &|run| {
        grouped(run.bot_connections_tried)
    });
    line("  connections that got the page", &|run| {
        grouped(run.bot_connections_served)
    });
    line("", &|_| String::new());
    line("Other visitors from Macau and China", &|_| String::new());
    line("  packets sent during the flood", &|run| {
        grouped(run.allowed_sent)
    });
    line("  packets lost", &|run| grouped(run.allowed_dropped));
    line("", &|_| String::new());
    line("Computing time, in seconds", &|_| String::new());
    line("  kernel, for arriving packets", &|run| {
        seconds(run.cpu_seconds.softirq)
    });
    line("  web server", &|run| seconds(run.cpu_seconds.nginx));
    line("  gate's daemon", &|run| seconds(run.cpu_seconds.cerco));
    line("  length of the attack", &|run| seconds(run.duration_s));

    let countries: String = [("off", &summary.gate_off), ("on", &summary.gate_on)]
        .into_iter()
        .filter_map(|(state, run)| run.as_ref().map(|run| country_table(state, run)))
        .collect();
    format!("{}\n{text}{countries}", bold(header.trim_end()))
}

/// Where cerco's own report lies.
pub fn report_line(path: &Path) -> String {
    format!("\ncerco's report of this attack: {}", path.display())
}

fn country_table(state: &str, run: &Run) -> String {
    let mut text = format!(
        "\n{:<28}{:>16}{:>18}{:>18}\n",
        format!("By country, gate {state}"),
        "packets sent",
        "let in",
        "stopped"
    );
    for row in run.by_country.iter().take(COUNTRIES_SHOWN) {
        push_country(&mut text, row);
    }
    if let Some(rest) = run.by_country.get(COUNTRIES_SHOWN..)
        && !rest.is_empty()
    {
        let others = CountryRow {
            code: "..".into(),
            name: "all others",
            sent: rest.iter().map(|row| row.sent).sum(),
            passed: rest.iter().map(|row| row.passed).sum(),
            dropped: rest.iter().map(|row| row.dropped).sum(),
        };
        push_country(&mut text, &others);
    }
    text
}

fn push_country(text: &mut String, row: &CountryRow) {
    push(
        text,
        format_args!(
            "  {} {:<23}{:>16}{:>18}{:>18}\n",
            row.code,
            row.name,
            grouped(row.sent),
            row.passed.map_or_else(|| MISSING.to_owned(), grouped),
            grouped(row.dropped)
        ),
    );
}

/// The last line: did the gate hold?
pub fn verdict(run: &Run) -> String {
    let failures = run.failures();
    if failures.is_empty() {
        return coloured(
            GREEN,
            "The gate held: nobody from abroad got in, nobody from Macau was turned away.",
        );
    }
    let mut text = coloured(RED, "The gate did not hold:");
    for failure in failures {
        push(&mut text, format_args!("\n  {failure}"));
    }
    text
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("invariant: writing to a String cannot fail");
}

fn of(part: u64, all: u64) -> String {
    format!("{} of {}", grouped(part), grouped(all))
}

fn millis(value: Option<f64>) -> String {
    value.map_or_else(|| MISSING.to_owned(), |value| format!("{value:.1} ms"))
}

fn seconds(value: f64) -> String {
    format!("{value:.1}")
}

const GREEN: &str = "\x1b[1;32m";
const RED: &str = "\x1b[1;31m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

fn bold(text: &str) -> String {
    coloured(BOLD, text)
}

/// See no-color.org for `NO_COLOR`.
fn coloured(colour: &str, text: &str) -> String {
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if stdout().is_terminal() && !no_color {
        format!("{colour}{text}{RESET}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::summary::{Client, CpuSeconds};

    fn run() -> Run {
        let client = || Client {
            tried: 500,
            ok: 500,
            p50_ms: Some(0.5),
            p99_ms: Some(2.25),
        };
        Run {
            attack_packets: 3_142_377,
            flood_packets: 3_140_000,
            flood_packets_asked: 3_000_000,
            flood_s: 12.0,
            flood_waits: 0,
            denied_passed: 0,
            denied_dropped: 3_142_377,
            allowed_sent: 12_000,
            allowed_arrived: 12_000,
            allowed_dropped: 0,
            client_tried: 1_000,
            client_ok: 1_000,
            client_failed: 0,
            client_p50_ms: Some(0.5),
            client_p99_ms: None,
            client_ipv4: client(),
            client_ipv6: client(),
            bot_connections_tried: 2_000,
            bot_connections_connected: 0,
            bot_connections_served: 0,
            by_country_equal: true,
            report_equal: Some(true),
            by_country: vec![CountryRow {
                code: "US".into(),
                name: "United States",
                sent: 3_142_377,
                passed: Some(0),
                dropped: 3_142_377,
            }],
            cpu_seconds: CpuSeconds {
                softirq: 1.0,
                nginx: 1.0,
                cerco: 0.1,
                demo: 9.0,
                machine: 12.0,
            },
            duration_s: 24.0,
        }
    }

    #[test]
    fn table_fits_eighty_columns() {
        let summary = Summary {
            schema: 1,
            seed: 1,
            gate_off: Some(run()),
            gate_on: Some(run()),
            report: None,
        };
        let table = table(&summary);
        for line in table.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(
            table.contains(
                "  packets sent                                       3,142,377         3,142,377\n"
            ),
            "{table}"
        );
        assert!(
            table.contains(
                "  US United States                 3,142,377                 0         3,142,377\n"
            ),
            "{table}"
        );
    }

    #[test]
    fn every_broken_promise_is_named() {
        assert_eq!(run().failures(), Vec::<String>::new());
        type Break = fn(&mut Run);
        let cases: [(Break, &str); 7] = [
            (
                |run| run.report_equal = Some(false),
                "the numbers of cerco's report differ from what was sent",
            ),
            (
                |run| run.flood_packets = 5,
                "only 5 of 3,000,000 packets were sent in the time given",
            ),
            (
                |run| run.denied_passed = 1,
                "1 packets from denied countries got in",
            ),
            (
                |run| run.allowed_dropped = 2,
                "2 of 12,000 packets from allowed addresses were lost",
            ),
            (
                |run| run.client_failed = 3,
                "3 of 1,000 requests of the Macau client failed",
            ),
            (
                |run| run.bot_connections_connected = 4,
                "4 connections from denied countries were accepted",
            ),
            (
                |run| run.by_country_equal = false,
                "cerco's numbers by country differ from what was sent",
            ),
        ];
        for (break_promise, expected) in cases {
            let mut broken = run();
            break_promise(&mut broken);
            assert_eq!(broken.failures(), [expected]);
        }
    }

    #[test]
    fn thousands_are_grouped() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345, "12,345"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }
}

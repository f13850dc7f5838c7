//! The lists of a report in one table for spreadsheets: the first column says which list a line belongs to.
//! What is no list, such as the average and the peak, stands in the sentences of the summary.

use csv::Writer;

use super::{numbers::Report, words};
use crate::history::reply::Fates;

const HEAD: [&str; 16] = [
    "list",
    "name",
    "words",
    "time",
    "passed_packets",
    "passed_bytes",
    "dropped_packets",
    "dropped_bytes",
    "would_drop_packets",
    "would_drop_bytes",
    "at_least",
    "at_most",
    "country",
    "network_number",
    "network_name",
    "note",
];

/// What the two numbers of a port or a source are.
const BOUNDS: &str = "at_least were seen, at_most is an estimate";

/// One line; what is not said stays empty.
#[derive(Default)]
struct Line<'a> {
    list: &'static str,
    name: &'a str,
    words: &'a str,
    unix: Option<u64>,
    fates: Option<Fates>,
    at_least: Option<u64>,
    at_most: Option<u64>,
    country: &'a str,
    network: Option<(u32, &'a str)>,
    note: &'a str,
}

/// Lines end as RFC 4180 has it.
pub fn render(report: &Report) -> Result<String, csv::Error> {
    let mut lines = vec![HEAD.map(str::to_owned).to_vec()];
    let total = Line {
        list: "total",
        unix: Some(report.period.since),
        fates: Some(report.total),
        ..Line::default()
    };
    lines.push(cells(&total));
    for sentence in &report.sentences {
        lines.push(cells(&Line {
            list: "summary",
            note: sentence,
            ..Line::default()
        }));
    }
    for warning in &report.warnings {
        lines.push(cells(&Line {
            list: "warning",
            note: warning,
            ..Line::default()
        }));
    }
    timeline(report, &mut lines);
    totals(report, &mut lines);
    sample(report, &mut lines);
    for change in &report.changes {
        let after = &change.after;
        let note = match after.policy_sha256.is_empty() {
            true => change.what.clone(),
            false => format!(
                "{}; then in force: {}, policy {}, database {} {}",
                change.what, after.mode, after.policy_sha256, after.database, after.database_sha256
            ),
        };
        lines.push(cells(&Line {
            list: "change",
            name: change.kind.word(),
            words: &change.who,
            unix: Some(change.unix),
            note: &note,
            ..Line::default()
        }));
    }
    for method in &report.methods {
        lines.push(cells(&Line {
            list: "method",
            name: method.number,
            words: &method.how,
            note: &method.exact,
            ..Line::default()
        }));
    }
    for line in &report.attributions {
        lines.push(cells(&Line {
            list: "attribution",
            note: line,
            ..Line::default()
        }));
    }
    written(&lines)
}

fn written(lines: &[Vec<String>]) -> Result<String, csv::Error> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    for line in lines {
        Writer::write_record(&mut writer, line)?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn timeline(report: &Report, lines: &mut Vec<Vec<String>>) {
    for bar in &report.timeline.bars {
        let mut line = cells(&Line {
            list: "timeline",
            unix: Some(bar.unix),
            ..Line::default()
        });
        // The bars have no bytes.
        line[4] = bar.passed_packets.to_string();
        line[6] = bar.dropped_packets.to_string();
        line[8] = bar.would_drop_packets.to_string();
        lines.push(line);
    }
}

fn totals(report: &Report, lines: &mut Vec<Vec<String>>) {
    let mut push = |list, name: &str, words: &str, fates: Fates| {
        lines.push(cells(&Line {
            list,
            name,
            words,
            fates: Some(fates),
            ..Line::default()
        }));
    };
    for line in &report.countries {
        push("country", &line.class, &line.name, line.fates);
    }
    if report.without_country.packets() > 0 {
        let words = "no address was looked up";
        push("country", "", words, report.without_country);
    }
    for line in &report.reasons {
        push("reason", &line.reason, &line.meaning, line.fates);
    }
    for line in &report.interfaces {
        push("interface", &line.name, "", line.fates);
    }
    for line in &report.sample.protocols {
        push("protocol", &line.name, "estimate", line.fates);
    }
}

fn sample(report: &Report, lines: &mut Vec<Vec<String>>) {
    for line in &report.sample.ports {
        lines.push(cells(&Line {
            list: "port",
            name: &line.port,
            words: BOUNDS,
            at_least: Some(line.at_least),
            at_most: Some(line.at_most),
            ..Line::default()
        }));
    }
    for line in &report.sample.sources {
        let network = line.network.as_ref();
        lines.push(cells(&Line {
            list: "source",
            name: &line.source,
            words: BOUNDS,
            at_least: Some(line.at_least),
            at_most: Some(line.at_most),
            country: &line.class,
            network: network.map(|it| (it.number, it.name.as_deref().unwrap_or_default())),
            ..Line::default()
        }));
    }
}

fn cells(line: &Line<'_>) -> Vec<String> {
    let number = |number: Option<u64>| number.map_or_else(String::new, |it| it.to_string());
    let of = |of: fn(&Fates) -> u64| number(line.fates.as_ref().map(of));
    vec![
        line.list.to_owned(),
        text(line.name),
        text(line.words),
        line.unix.map_or_else(String::new, words::rfc3339),
        of(|it| it.passed_packets),
        of(|it| it.passed_bytes),
        of(|it| it.dropped_packets),
        of(|it| it.dropped_bytes),
        of(|it| it.would_drop_packets),
        of(|it| it.would_drop_bytes),
        number(line.at_least),
        number(line.at_most),
        text(line.country),
        number(line.network.map(|(number, _)| number.into())),
        text(line.network.map_or("", |(_, name)| name)),
        text(line.note),
    ]
}

/// A text that a spreadsheet does not take for a formula.
/// <https://owasp.org/www-community/attacks/CSV_Injection>
fn text(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::numbers::fixture;

    fn lines_of(text: &str) -> Vec<Vec<String>> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let lines = reader.records().map(|line| {
            let line = line.unwrap();
            line.iter().map(str::to_owned).collect()
        });
        lines.collect()
    }

    #[test]
    fn every_list_adds_up_to_the_total() {
        let report = fixture::report();
        let lines = lines_of(&render(&report).unwrap());
        let sum = |list: &str, column: usize| -> u64 {
            let of_list = lines.iter().filter(|line| line[0] == list);
            of_list
                .map(|line| line[column].parse::<u64>().unwrap())
                .sum()
        };
        for list in ["total", "timeline", "country", "reason", "interface"] {
            let sums = [4, 6, 8].map(|column| sum(list, column));
            let total = &report.total;
            let expected = [
                total.passed_packets,
                total.dropped_packets,
                total.would_drop_packets,
            ];
            assert_eq!(sums, expected, "{list}");
        }
        let source = lines.iter().find(|line| line[0] == "source").unwrap();
        assert_eq!(source[1..3], ["203.0.113.7", BOUNDS]);
        assert_eq!(source[10..12], ["900", "1100"]);
        assert_eq!(&source[12..15], ["US", "64496", "'=Bad <b>Network</b>"]);
    }

    #[test]
    fn warnings_are_in_the_table() {
        let mut report = fixture::report();
        report.warnings = vec!["the last minutes may be missing".into()];
        let lines = lines_of(&render(&report).unwrap());
        let warnings: Vec<&str> = lines
            .iter()
            .filter(|line| line[0] == "warning")
            .map(|line| line[15].as_str())
            .collect();
        assert_eq!(warnings, ["the last minutes may be missing"]);
    }

    #[test]
    fn nothing_is_a_formula() {
        assert_eq!(text("=1+1"), "'=1+1");
        assert_eq!(text("@SUM(A1)"), "'@SUM(A1)");
        assert_eq!(text("US"), "US");
    }
}

//! Writes tables into docs/performance.md, so that no number there is typed by hand.
//!
//! A table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; what is around stays as it is.
//! The tables of parts that were not measured stay too.

use std::{
    fmt::{self, Write as _},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};

use super::{
    names::{family, peer, what},
    part::Part,
    report::{Grid, Report, grids, number, verdict},
    row::Row,
    trace::Draw,
};

const FILE: &str = "performance.md";

/// Replaces the tables in `folder`/performance.md; nothing where there is no such file.
pub fn update(report: &Report, folder: &Path) -> Result<()> {
    let path = folder.join(FILE);
    if !path.exists() {
        eprintln!("no {}: no tables written", path.display());
        return Ok(());
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let mut updated = text;
    for (name, table) in blocks(report).context("failed to write a table")? {
        updated = replaced(&updated, &name, &table);
    }
    fs::write(&path, updated).with_context(|| format!("failed to write {}", path.display()))
}

/// `text` with `table` between the marks of `name`; as it was when it has no such marks.
fn replaced(text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (
        format!("<!-- begin {name} -->"),
        format!("<!-- end {name} -->"),
    );
    let Some((before, rest)) = text.split_once(&begin) else {
        return text.to_owned();
    };
    let Some((_, after)) = rest.split_once(&end) else {
        return text.to_owned();
    };
    format!("{before}{begin}\n{}\n{end}{after}", table.trim_end())
}

fn blocks(report: &Report) -> Result<Vec<(String, String)>, fmt::Error> {
    let mut blocks = vec![
        ("machine".to_owned(), machine(report)?),
        ("goals".to_owned(), goals(report)?),
    ];
    for part in Part::ALL {
        let rows: Vec<Row> = report
            .rows
            .iter()
            .filter(|it| it.part == part)
            .cloned()
            .collect();
        if rows.is_empty() {
            continue;
        }
        let mut table = String::new();
        for grid in grids(&rows) {
            write_grid(&mut table, &grid)?;
        }
        for it in report.missing.iter().filter(|it| it.part == part) {
            writeln!(table, "Not measured: {}: {}.\n", it.rows, it.reason)?;
        }
        blocks.push((part.title().to_lowercase(), table));
    }
    if let Some(table) = capacity(&report.rows)? {
        blocks.push(("capacity".to_owned(), table));
    }
    Ok(blocks)
}

fn write_grid(out: &mut String, grid: &Grid<'_>) -> fmt::Result {
    write!(out, "| {} |", grid.title)?;
    for trace in &grid.traces {
        write!(
            out,
            " {} |",
            if trace.is_empty() {
                "median (best)"
            } else {
                trace
            }
        )?;
    }
    writeln!(out, "\n|---|{}", "---:|".repeat(grid.traces.len()))?;
    for (peer, cells) in &grid.peers {
        write!(out, "| {peer} |")?;
        for cell in cells {
            match cell {
                Some(row) => write!(out, " {} ({}) |", number(row.median), number(row.best))?,
                None => out.push_str(" – |"),
            }
        }
        out.push('\n');
    }
    out.push('\n');
    Ok(())
}

fn machine(report: &Report) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let machine = &report.machine;
    writeln!(out, "| | |\n|---|---|")?;
    writeln!(out, "| date | {} |", report.date)?;
    writeln!(
        out,
        "| cerco | {}{} |",
        report.cerco,
        if report.quick { ", a quick run" } else { "" }
    )?;
    writeln!(out, "| CPU | {}, {} of them |", machine.cpu, machine.cpus)?;
    writeln!(out, "| caches | {} |", machine.caches.join(", "))?;
    writeln!(out, "| kernel | {} |", machine.kernel)?;
    writeln!(out, "| hypervisor | {} |", machine.hypervisor)?;
    for (name, line) in &machine.mitigations {
        writeln!(out, "| {name} | {line} |")?;
    }
    for (name, version) in &report.packages {
        writeln!(out, "| {name} | {version} |")?;
    }
    let database = &report.database;
    writeln!(
        out,
        "| database | {}{}: {} IPv4 and {} IPv6 networks |",
        database.source,
        database
            .date
            .as_ref()
            .map_or(String::new(), |date| format!(" of {date}")),
        database.networks_v4,
        database.networks_v6
    )?;
    writeln!(
        out,
        "| blocked | {} IPv4 and {} IPv6 prefixes: all countries but MO and CN |",
        database.blocked_v4, database.blocked_v6
    )?;
    Ok(out)
}

fn goals(report: &Report) -> Result<String, fmt::Error> {
    let mut out = String::from("| goal | limit | measured (best) | |\n|---|---:|---:|---|\n");
    for goal in &report.goals {
        let verdict = verdict(goal);
        writeln!(
            out,
            "| {} | {} | {} | {} |",
            goal.goal, verdict.limit, verdict.measured, verdict.word
        )?;
    }
    Ok(out)
}

/// Minimum-size frames on a wire: 64 bytes with their FCS, and 20 of preamble and gap (IEEE 802.3).
const WIRE_BITS: f64 = (64 + 20) as f64 * 8.0;

/// Cores that the packet path of each peer needs at line rate.
fn capacity(rows: &[Row]) -> Result<Option<String>, fmt::Error> {
    let traces = [Draw::Few.label(), Draw::Many.label()];
    let mut out = String::from(
        "| dropped packets | ns/packet | M packets/s a core | cores at 10 Gbit/s (14.88 M/s) | \
         40 Gbit/s (59.5 M/s) | 100 Gbit/s (148.8 M/s) |\n|---|---:|---:|---:|---:|---:|\n",
    );
    let mut any = false;
    for (name, what) in [
        (peer::PLAIN_DROP, what::PATH_NO_SET),
        (peer::CERCO, what::PATH),
        (peer::NFTABLES, what::PATH),
        (peer::IPTABLES, what::PATH),
    ] {
        for (family, trace) in [family::V4, family::V6]
            .into_iter()
            .flat_map(|family| traces.map(|trace| (family, trace)))
        {
            let row = rows.iter().find(|row| {
                row.what == what && row.peer == name && row.family == family && row.trace == trace
            });
            let Some(row) = row else { continue };
            any = true;
            let cores = |gigabit: f64| (gigabit * row.median / WIRE_BITS).ceil();
            writeln!(
                out,
                "| {name}, {family}, {trace} | {} | {} | {} | {} | {} |",
                number(row.median),
                number(1_000.0 / row.median),
                cores(10.0),
                cores(40.0),
                cores(100.0)
            )?;
        }
    }
    Ok(any.then_some(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row::Subject;

    #[test]
    fn only_what_is_between_the_marks_of_a_name_is_replaced() {
        let text =
            "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n<!-- begin y -->\nz\n<!-- end y -->\n";
        let expected =
            "a\n<!-- begin x -->\nnew\n<!-- end x -->\nb\n<!-- begin y -->\nz\n<!-- end y -->\n";
        assert_eq!(replaced(text, "x", "new\n\n"), expected);
        assert_eq!(replaced(text, "no such", "new"), text);
        assert_eq!(replaced("<!-- begin x -->", "x", "new"), "<!-- begin x -->");
    }

    #[test]
    fn cores_follow_from_line_rate_and_cost() {
        let subject = Subject {
            part: Part::Path,
            what: what::PATH,
            peer: peer::CERCO,
            family: family::V4,
            trace: Draw::Few.label(),
            unit: "ns/packet",
        };
        let rows = [Row::new(subject, &[200.0; 5])];
        let table = capacity(&rows).unwrap().unwrap();
        // 14.88, 59.52 and 148.8 million packets of 200 ns are 2.98, 11.9 and 29.8 seconds.
        let line = "| cerco, IPv4, 4,096 sources | 200 | 5.00 | 3 | 12 | 30 |";
        assert!(table.contains(line), "{table}");
        assert_eq!(capacity(&[]).unwrap(), None);
    }
}

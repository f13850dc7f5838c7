//! The report for the terminal, 80 columns wide.

use std::fmt::{self, Write as _};

use super::{Grid, Report, grids, number};
use crate::bench::{
    goals::{Judged, Limit},
    part::Part,
};

const WIDTH: usize = 80;
/// Room for the peer's name.
const NAME: usize = 27;
/// Room for `1100 (1050)`, a median and a best.
const CELL: usize = 13;
/// Traces side by side.
const COLUMNS: usize = (WIDTH - NAME) / CELL;

pub fn text(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, report);
    text
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    for part in Part::ALL {
        let rows: Vec<_> = report
            .rows
            .iter()
            .filter(|it| it.part == part)
            .cloned()
            .collect();
        let missing: Vec<_> = report.missing.iter().filter(|it| it.part == part).collect();
        if rows.is_empty() && missing.is_empty() {
            continue;
        }
        writeln!(
            out,
            "\n{}\n{}",
            part.title(),
            "=".repeat(part.title().len())
        )?;
        for grid in grids(&rows) {
            write_grid(out, &grid)?;
        }
        for it in missing {
            wrapped(
                out,
                "not measured: ",
                &format!("{}: {}", it.rows, it.reason),
            )?;
        }
    }
    write_goals(out, report)
}

fn write_grid(out: &mut String, grid: &Grid<'_>) -> fmt::Result {
    let mut title = format!("{}: median (best)", grid.title);
    for first in (0..grid.traces.len()).step_by(COLUMNS) {
        let columns = first..(first + COLUMNS).min(grid.traces.len());
        writeln!(out, "\n{title}")?;
        title = "… the same".to_owned();
        if grid.traces[columns.clone()]
            .iter()
            .any(|trace| !trace.is_empty())
        {
            write!(out, "{:NAME$}", "")?;
            for trace in &grid.traces[columns.clone()] {
                // What stands in brackets is said in the documentation.
                let short = trace.split(" (").next().unwrap_or(trace);
                write!(out, "{short:>CELL$.CELL$}")?;
            }
            out.push('\n');
        }
        for (peer, cells) in &grid.peers {
            let cells = &cells[columns.clone()];
            if cells.iter().all(Option::is_none) {
                continue;
            }
            if peer.chars().count() >= NAME {
                write!(out, "{peer}\n{:NAME$}", "")?;
            } else {
                write!(out, "{peer:NAME$}")?;
            }
            for cell in cells {
                let cell = cell.map_or("-".to_owned(), |row| {
                    format!("{} ({})", number(row.median), number(row.best))
                });
                write!(out, "{cell:>CELL$}")?;
            }
            out.push('\n');
        }
    }
    Ok(())
}

fn write_goals(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(
        out,
        "\nGoals: limit, measured (best), verdict\n{}",
        "=".repeat(38)
    )?;
    for goal in &report.goals {
        wrapped(out, "", goal.goal)?;
        let verdict = verdict(goal);
        let Verdict {
            limit,
            measured,
            word,
        } = verdict;
        writeln!(out, "    {limit:<16} {measured:<26} {word}")?;
    }
    let met = report
        .goals
        .iter()
        .filter(|it| it.met == Some(true))
        .count();
    let missed = report
        .goals
        .iter()
        .filter(|it| it.met == Some(false))
        .count();
    let unknown = report.goals.len() - met - missed;
    writeln!(
        out,
        "\n{met} goals met, {missed} not met, {unknown} not measured."
    )?;
    if report.quick {
        wrapped(
            out,
            "",
            "A quick run has too few rounds to judge ratios by; it only shows where they lie.",
        )?;
    }
    Ok(())
}

/// A judged goal in words.
pub struct Verdict {
    pub limit: String,
    /// The number that decides, and the best; `-` when there is none.
    pub measured: String,
    pub word: String,
}

pub fn verdict(goal: &Judged) -> Verdict {
    let unit = match goal.unit {
        "" => String::new(),
        unit => format!(" {unit}"),
    };
    let limit = match goal.limit {
        Limit::AtMost(most) => format!("≤ {}", number(most)),
        Limit::Below(most) => format!("< {}", number(most)),
        Limit::AtLeast(least) => format!("≥ {}", number(least)),
        Limit::Between(least, most) => format!("{} to {}", number(least), number(most)),
    };
    let measured = match (goal.measured, goal.best) {
        (Some(measured), Some(best)) => format!("{} ({}){unit}", number(measured), number(best)),
        _ => "-".to_owned(),
    };
    let word = match (goal.met, goal.measured, &goal.reason) {
        (Some(true), ..) => "met".to_owned(),
        (Some(false), ..) => "NOT MET".to_owned(),
        (None, Some(_), Some(reason)) => reason.clone(),
        (None, ..) => "not measured".to_owned(),
    };
    Verdict {
        limit: limit + &unit,
        measured,
        word,
    }
}

/// A paragraph, broken at spaces; what follows the first line is indented.
fn wrapped(out: &mut String, head: &str, text: &str) -> fmt::Result {
    let mut line = head.to_owned();
    for word in text.split_whitespace() {
        let space = !line.is_empty() && !line.ends_with(' ');
        if line.chars().count() + usize::from(space) + word.chars().count() > WIDTH {
            writeln!(out, "{}", line.trim_end())?;
            line = "  ".to_owned();
        } else if space {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "{}", line.trim_end())
}

//! `cerco bench`: what a packet costs on this host.

use std::fmt::Write as _;

use super::{
    Context, Failure,
    failure::NO_DAEMON,
    output::{Output, Paint},
    table::{self, wrapped},
};
use crate::{
    bench::{self, Case, Family, NotMeasured, Plan, Report, Row},
    kernel::Live,
};

/// Measure what a packet costs on this host, by what becomes of it
///
/// Runs the program that is loaded over frames of its own making (BPF_PROG_TEST_RUN), on one CPU for
/// a few seconds, with or without a daemon. Nothing is sent, no packet is lost, and no counter of an
/// interface changes. Needs root.
///
/// Where a limit applies, its sources are charged as by real packets: some hundred addresses, chosen
/// at random in the countries that have the limit, lose half of their burst once, and 16 lose all of
/// it, until it comes back at the limit's own rate.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco bench
  cerco bench --quick --json | jq '.rows[] | {case, family, net_ns}'")]
pub struct Args {
    /// Fewer sources and rounds: about one second
    #[arg(long)]
    quick: bool,
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        return Err(
            Failure::failed("only root may run the loaded program over test frames")
                .hint("sudo cerco bench"),
        );
    }
    let pins = context.paths().pins;
    let live = Live::open(&pins).map_err(|error| Failure::failed(error.to_string()))?;
    let Some(live) = live else {
        return Err(Failure::new(
            NO_DAEMON,
            format!(
                "no gate stands under {}: there is nothing to measure",
                pins.display()
            ),
        )
        .hint("start it with `systemctl start cerco`, or `cerco run` in the foreground"));
    };
    let plan = if args.quick { Plan::QUICK } else { Plan::FULL };
    let report = bench::run(&live, plan).map_err(|error| Failure::failed(error.to_string()))?;
    context.output.show(&report, render)
}

fn render(report: &Report, output: &Output) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<11} {}", wrapped(value, 80, 12));
    };
    line(
        "program",
        &format!(
            "{} in the kernel, on {}, {}",
            report.program_id,
            report.interfaces.join(", "),
            report.mode.word()
        ),
    );
    line("host", &host(report));
    line(
        "measured",
        &format!(
            "{} rounds in {:.1} s, over the smallest frames of their kind",
            report.rounds, report.seconds
        ),
    );
    for warning in &report.warnings {
        line(&output.paint(Paint::Caution, "warning"), warning);
    }
    text += "\n";
    text += &rows(report);
    text += "\n";
    for why in not_measured(&report.not_measured) {
        text += &format!("{why}\n");
    }
    if !report.not_measured.is_empty() {
        text += "\n";
    }
    text += &notes(report);
    text
}

fn host(report: &Report) -> String {
    let mut words = vec![format!("Linux {}", report.kernel)];
    words.extend(report.cpu_model.clone());
    words.push(match report.cpu {
        Some(cpu) => format!("CPU {cpu}"),
        None => "on any CPU, since it could not be pinned to one".to_owned(),
    });
    words.join(", ")
}

fn rows(report: &Report) -> String {
    let ns = |value: f64| match value {
        // An interpreted program; a tenth of a nanosecond says nothing here.
        value if value >= 1_000.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    };
    let mut rows = vec![vec![
        "empty program".to_owned(),
        String::new(),
        String::new(),
        String::new(),
        ns(report.empty_program.best_ns),
        ns(report.empty_program.median_ns),
    ]];
    rows.extend(report.rows.iter().map(|row| {
        vec![
            row.case.name().to_owned(),
            row.family.map_or("", Family::name).to_owned(),
            reason(row),
            row.sources.to_string(),
            ns(row.timing.best_ns),
            ns(row.timing.median_ns),
            ns(row.net_ns),
            format!("{:.1}", row.packets_per_second / 1e6),
        ]
    }));
    table::render(
        &[
            "packet", "", "reason", "src", "best", "median", "net", "M/s",
        ],
        &[3, 4, 5, 6, 7],
        &rows,
    )
}

/// As the program counted it; with its part, where others are among it.
fn reason(row: &Row) -> String {
    match row.reason_share {
        share if share < 0.999 => format!("{} {:.0} %", row.reason, share * 100.0),
        _ => row.reason.to_owned(),
    }
}

/// One paragraph for each case, or one for both families when they have it for the same reason.
fn not_measured(all: &[NotMeasured]) -> Vec<String> {
    let mut lines: Vec<(Case, Vec<&str>, &str)> = Vec::new();
    for it in all {
        let family = it.family.map_or("", Family::name);
        match lines.last_mut() {
            Some((case, families, why)) if *case == it.case && *why == it.why => {
                families.push(family);
            }
            _ => lines.push((it.case, vec![family], &it.why)),
        }
    }
    lines
        .into_iter()
        .map(|(case, families, why)| {
            let families = match families.as_slice() {
                [family] if !family.is_empty() => format!(" ({family})"),
                _ => String::new(),
            };
            let words = format!("not measured: {}{families}: {why}", case.name());
            wrapped(&words, 80, 0)
        })
        .collect()
}

fn notes(report: &Report) -> String {
    let mut notes = vec![
        "src: addresses that the frames come from, at random among those that the policy treats so. \
         best, median: ns of one run, over the rounds; the kernel rounds each call down to whole ns. \
         net: the median less the empty program's. M/s: million packets a second that one core can \
         decide on at that, if it did nothing else."
            .to_owned(),
        "Not in it: NIC, driver and memory, which each packet costs besides, and the network stack \
         for those that pass. A frame is run many times in a row, so caches are warm: the best case. \
         A flood from a million sources costs more."
            .to_owned(),
    ];
    let batch = |case| {
        let mut rows = report.rows.iter().filter(move |row| row.case == case);
        rows.next().map(|row| row.runs_per_call)
    };
    let batches: Vec<String> = [Case::WithinLimit, Case::NewConnection]
        .into_iter()
        .filter_map(|case| Some(format!("`{}` {}", case.name(), batch(case)?)))
        .collect();
    if !batches.is_empty() {
        notes.push(format!(
            "Runs in a row, to stay within half of a source's burst: {}. The first one is cold, so \
             the fewer they are, the higher the figure.",
            batches.join(", ")
        ));
    }
    notes
        .iter()
        .map(|note| format!("{}\n", wrapped(note, 80, 0)))
        .collect()
}

#[cfg(test)]
mod tests;

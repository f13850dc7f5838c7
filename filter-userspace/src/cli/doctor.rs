//! `cerco doctor`: what is wrong, and the command that mends it.

use super::{
    Context, Failure, lockout,
    output::{Output, Paint},
    table::wrapped,
};
use crate::doctor::{self, Counts, Finding, Question, Report, Severity};

/// The longest word and a blank.
const WORD_WIDTH: usize = 8;

/// Look for what is wrong, and name the command that mends it
///
/// Looks at kernel, rights, BPF file system, config, database, clock, every interface of the config,
/// the gate on it, other programs there, and whom the policy would lock out of SSH. Changes nothing,
/// and needs no daemon. Without root it says which checks it could not do.
///
/// Shows faults, warnings, notes and what it could not look at; with -v also what is fine.
///
/// Exit status: 0 no faults and warnings, 1 a warning, 2 a fault, as monitoring expects.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sudo cerco doctor
  cerco doctor -v
  cerco doctor --json | jq -r '.findings[] | select(.severity == \"fault\")'")]
pub struct Args {}

pub fn run(_: Args, context: &Context) -> Result<(), Failure> {
    let report = doctor::examine(&Question {
        config_file: context.global.config.clone(),
        paths: context.paths(),
        ssh_session: lockout::ssh_peer(),
    });
    let with_ok = context.global.verbose > 0;
    context
        .output
        .show(&report, |report, output| render(report, with_ok, output))?;
    match exit_code(report.verdict) {
        0 => Ok(()),
        // Everything was said.
        code => Err(Failure::new(code, "")),
    }
}

/// As the plugins of monitoring do it.
const fn exit_code(verdict: Severity) -> u8 {
    match verdict {
        Severity::Ok | Severity::Unknown | Severity::Note => 0,
        Severity::Warning => 1,
        Severity::Fault => 2,
    }
}

fn render(report: &Report, with_ok: bool, output: &Output) -> String {
    let shown = report
        .findings
        .iter()
        .filter(|finding| with_ok || finding.severity != Severity::Ok);
    let mut text: String = shown.map(|finding| finding_text(finding, output)).collect();
    if !text.is_empty() {
        text.push('\n');
    }
    text + &summary(&report.counts)
}

fn finding_text(finding: &Finding, output: &Output) -> String {
    let word = finding.severity.word();
    let padding = " ".repeat(WORD_WIDTH - word.len());
    let painted = match finding.severity {
        Severity::Fault => output.paint(Paint::Bad, word),
        Severity::Warning => output.paint(Paint::Caution, word),
        Severity::Ok => output.paint(Paint::Good, word),
        Severity::Note | Severity::Unknown => word.to_owned(),
    };
    let sentence = wrapped(&finding.sentence, 80, WORD_WIDTH);
    let indent = " ".repeat(WORD_WIDTH);
    // A command is not broken: it is there to be copied.
    let command = finding
        .command
        .as_ref()
        .map_or(String::new(), |command| format!("{indent}→ {command}\n"));
    format!("{painted}{padding}{sentence}\n{command}")
}

fn summary(counts: &Counts) -> String {
    let plural = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let total = counts.fault + counts.warning + counts.note + counts.unknown + counts.ok;
    let mut parts = Vec::new();
    for (count, word) in [
        (counts.fault, "fault"),
        (counts.warning, "warning"),
        (counts.note, "note"),
    ] {
        if count > 0 {
            parts.push(plural(count, word));
        }
    }
    if counts.unknown > 0 {
        parts.push(format!("{} unknown", counts.unknown));
    }
    parts.push(format!("{} fine", counts.ok));
    format!("{}: {}\n", plural(total, "check"), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_fit_80_columns_and_commands_stay_whole() {
        let report = Report::new(vec![
            Finding::ok("kernel", "Linux 6.1 is new enough."),
            Finding::note("mode", "The gate only observes: nothing is dropped.")
                .mend("cerco enforce"),
            Finding::fault(
                "gate",
                "No gate stands on eth0: every packet passes there, whatever the config says, from \
                 everywhere.",
            )
            .mend("systemctl restart cerco"),
        ]);
        assert_eq!(
            render(&report, false, &Output::plain()),
            "fault   No gate stands on eth0: every packet passes there, whatever the config\n\
             \x20       says, from everywhere.\n\
             \x20       → systemctl restart cerco\n\
             note    The gate only observes: nothing is dropped.\n\
             \x20       → cerco enforce\n\
             \n\
             3 checks: 1 fault, 1 note, 1 fine\n"
        );
        let verbose = render(&report, true, &Output::plain());
        assert!(
            verbose.contains("\nok      Linux 6.1 is new enough.\n"),
            "{verbose}"
        );
        let fine = Report::new(vec![Finding::ok("kernel", "Linux 6.1 is new enough.")]);
        assert_eq!(render(&fine, false, &Output::plain()), "1 check: 1 fine\n");
    }

    #[test]
    fn exit_code_is_that_of_monitoring_plugins() {
        let codes = [
            (Severity::Ok, 0),
            (Severity::Unknown, 0),
            (Severity::Note, 0),
            (Severity::Warning, 1),
            (Severity::Fault, 2),
        ];
        for (verdict, code) in codes {
            assert_eq!(exit_code(verdict), code, "{verdict:?}");
        }
    }
}

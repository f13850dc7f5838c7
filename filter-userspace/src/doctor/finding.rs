//! What the doctor says: one sentence, how bad it is, and the command that mends it.

use serde::Serialize;

/// How bad it is. The order is that of the listing, the worst last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Ok,
    /// Could not be looked at; the sentence says why.
    Unknown,
    /// Worth knowing, and nothing is wrong.
    Note,
    /// The gate stands, and something will go wrong or costs more than it must.
    Warning,
    /// The gate does not stand, cannot start, or keeps out whom it should not.
    Fault,
}

impl Severity {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What was looked at, for scripts: `kernel`, `mtu`.
    pub check: &'static str,
    /// The interface that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    pub severity: Severity,
    pub sentence: String,
    /// What mends it, to be typed as root.
    pub command: Option<String>,
}

impl Finding {
    pub fn new(check: &'static str, severity: Severity, sentence: impl Into<String>) -> Self {
        Self {
            check,
            interface: None,
            severity,
            sentence: sentence.into(),
            command: None,
        }
    }

    pub fn ok(check: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(check, Severity::Ok, sentence)
    }

    pub fn unknown(check: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(check, Severity::Unknown, sentence)
    }

    pub fn note(check: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(check, Severity::Note, sentence)
    }

    pub fn warning(check: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(check, Severity::Warning, sentence)
    }

    pub fn fault(check: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(check, Severity::Fault, sentence)
    }

    pub fn mend(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    pub fn on(mut self, interface: &str) -> Self {
        self.interface = Some(interface.to_owned());
        self
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    pub fault: usize,
    pub warning: usize,
    pub note: usize,
    pub unknown: usize,
    pub ok: usize,
}

/// All findings, the worst first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The worst of `ok`, `warning` and `fault` that was found.
    pub verdict: Severity,
    pub counts: Counts,
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn new(mut findings: Vec<Finding>) -> Self {
        // Stable: findings about one thing stay together.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let mut counts = Counts::default();
        for finding in &findings {
            *match finding.severity {
                Severity::Fault => &mut counts.fault,
                Severity::Warning => &mut counts.warning,
                Severity::Note => &mut counts.note,
                Severity::Unknown => &mut counts.unknown,
                Severity::Ok => &mut counts.ok,
            } += 1;
        }
        let verdict = match counts {
            Counts { fault: 1.., .. } => Severity::Fault,
            Counts { warning: 1.., .. } => Severity::Warning,
            _ => Severity::Ok,
        };
        Self {
            verdict,
            counts,
            findings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_comes_first_and_makes_the_verdict() {
        let [ok, unknown, note] = [
            Finding::ok("a", "fine"),
            Finding::unknown("b", "who knows"),
            Finding::note("c", "well"),
        ];
        let warning = Finding::warning("d", "hm").mend("do").on("eth0");
        let report = Report::new(vec![ok.clone(), unknown.clone(), note.clone()]);
        assert_eq!(report.verdict, Severity::Ok);
        let report = Report::new(vec![
            ok.clone(),
            warning.clone(),
            unknown.clone(),
            note.clone(),
        ]);
        assert_eq!(
            report,
            Report {
                verdict: Severity::Warning,
                counts: Counts {
                    fault: 0,
                    warning: 1,
                    note: 1,
                    unknown: 1,
                    ok: 1
                },
                findings: vec![warning, note, unknown, ok],
            }
        );
        let report = Report::new(vec![Finding::warning("d", "hm"), Finding::fault("e", "no")]);
        assert_eq!(report.verdict, Severity::Fault);
    }
}

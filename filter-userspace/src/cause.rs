//! An error and its causes in one line, each said once.

use std::error::Error;

/// `error` and what caused it, joined by `: `.
///
/// Many errors repeat their cause in their own text, so a cause that has been said is left out.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Fault {
        #[error("disk full")]
        Disk,
        #[error("failed to write x: {source}")]
        Repeating { source: Box<Fault> },
        #[error("cannot keep it")]
        Silent { source: Box<Fault> },
    }

    #[test]
    fn every_cause_is_said_once() {
        let disk = || Box::new(Fault::Disk);
        let repeating = || Box::new(Fault::Repeating { source: disk() });
        let cases: [(Fault, &str); 3] = [
            (Fault::Disk, "disk full"),
            (*repeating(), "failed to write x: disk full"),
            (
                Fault::Silent {
                    source: repeating(),
                },
                "cannot keep it: failed to write x: disk full",
            ),
        ];
        for (fault, expected) in cases {
            assert_eq!(chain(&fault), expected);
        }
    }
}

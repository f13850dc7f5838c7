//! The clock: what ends by it ends wrong when it is wrong.

use std::time::{Duration, SystemTime};

use super::finding::Finding;
use crate::daemon::age;

/// A file made a moment ago on another machine is not from the future.
const SLACK: Duration = Duration::from_secs(24 * 60 * 60);
const SET_CLOCK: &str = "timedatectl set-ntp true && timedatectl timesync-status";

pub struct Clock {
    pub now: SystemTime,
    /// What the kernel knows; `None` when it does not say.
    pub is_synchronised: Option<bool>,
    /// Things that cannot be of later than now, and their times.
    pub dated: Vec<(String, SystemTime)>,
}

/// Whether somebody keeps the clock right: `None` when the kernel does not say.
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: an all-zero timex asks and changes nothing; the kernel fills it.
    let (state, status) = unsafe {
        let mut asked: libc::timex = std::mem::zeroed();
        let state = libc::adjtimex(&raw mut asked);
        (state, asked.status)
    };
    (state >= 0).then_some(state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0)
}

impl Clock {
    pub fn judge(&self) -> Vec<Finding> {
        let latest = self.dated.iter().max_by_key(|(_, time)| *time);
        let behind = latest
            .filter(|(_, time)| *time > self.now + SLACK)
            .map(|(what, time)| {
                Finding::warning(
                    "clock",
                    format!(
                        "The clock is behind, or {what} is dated wrong: it is {} here, and that is \
                         of {}; rules with an end end late.",
                        age::date(self.now),
                        age::date(*time)
                    ),
                )
                .mend(SET_CLOCK)
            });
        let kept = match self.is_synchronised {
            Some(true) => Finding::ok("clock_sync", "The clock is kept right."),
            Some(false) => Finding::note(
                "clock_sync",
                "Nothing that the kernel knows of keeps the clock right: the ages here and the \
                 ends of rules are as wrong as it is.",
            )
            .mend(SET_CLOCK),
            None => Finding::unknown(
                "clock_sync",
                "The kernel does not say whether the clock is kept right.",
            )
            .mend("timedatectl"),
        };
        behind.into_iter().chain([kept]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_behind_the_database_is_found() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_272_000);
        let clock = |days, is_synchronised| Clock {
            now,
            is_synchronised,
            dated: vec![
                ("the config".into(), now - SLACK),
                ("the database".into(), now + SLACK * days),
            ],
        };
        let kept = Finding::ok("clock_sync", "The clock is kept right.");
        assert_eq!(clock(1, Some(true)).judge(), std::slice::from_ref(&kept));
        let behind = Finding::warning(
            "clock",
            "The clock is behind, or the database is dated wrong: it is 2026-06-01 here, and that \
             is of 2026-06-03; rules with an end end late.",
        )
        .mend("timedatectl set-ntp true && timedatectl timesync-status");
        assert_eq!(clock(2, Some(true)).judge(), [behind, kept]);
        assert_eq!(
            clock(0, Some(false)).judge(),
            [Finding::note(
                "clock_sync",
                "Nothing that the kernel knows of keeps the clock right: the ages here and the \
                 ends of rules are as wrong as it is."
            )
            .mend("timedatectl set-ntp true && timedatectl timesync-status")]
        );
        assert_eq!(
            clock(0, None).judge(),
            [Finding::unknown(
                "clock_sync",
                "The kernel does not say whether the clock is kept right."
            )
            .mend("timedatectl")]
        );
    }

    #[test]
    fn kernel_can_be_asked() {
        assert!(is_synchronised().is_some());
    }
}

//! Who changed what, and when.

use serde::{Deserialize, Serialize};

/// What a change was about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The daemon came or went.
    Daemon,
    Mode,
    Policy,
    Database,
    /// A change on trial was begun, confirmed or undone.
    Trial,
    /// The clock of the host was set, or the history itself has a hole.
    History,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Mode => "mode",
            Self::Policy => "policy",
            Self::Database => "database",
            Self::Trial => "trial",
            Self::History => "history",
        }
    }

    pub(super) fn of_word(word: &str) -> Self {
        [
            Self::Daemon,
            Self::Mode,
            Self::Policy,
            Self::Database,
            Self::Trial,
        ]
        .into_iter()
        .find(|kind| kind.word() == word)
        .unwrap_or(Self::History)
    }
}

/// Who asked for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    /// The daemon itself: its start, a trial whose time was over, a rule that had an end.
    Daemon,
    /// A signal, as `systemctl reload` sends one.
    Signal,
    /// The other end of the control socket.
    Peer { uid: u32, pid: Option<i32> },
}

/// What is in force.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    pub mode: String,
    /// SHA-256 of the config files in their order and `runtime.json` behind them, as `cat … | sha256sum`
    /// prints it.
    pub policy_sha256: String,
    pub database: String,
    pub database_sha256: String,
}

/// One line of the log of changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// Seconds since 1970.
    pub unix: u64,
    pub kind: Kind,
    /// As in `root`, `alice as root`, `the daemon`.
    pub who: String,
    pub what: String,
    /// What was in force after it.
    #[serde(flatten)]
    pub after: Standing,
}

/// What changes say of the gate itself, which a report must be able to read.
pub mod gate {
    use std::time::SystemTime;

    const DETACHED: &str =
        "the gate was detached: every packet passes, until a restart puts it up again";
    const OPEN: &str = ": no gate stands there, every packet passes";
    const ABSENT: &str = ": no gate stands there, since there is no such interface";
    const CLOSED: &str = ": the gate stands there now";
    const UNWANTED: &str = ": no gate shall stand there any more";
    const OFF: &str = ": the gate was taken off, and stands there again";
    const ANOTHER: &str =
        "another gate stands, so it is not known what the one before counted after ";

    #[derive(Clone, PartialEq, Eq, Debug)]
    pub enum Told {
        /// Somebody took the whole gate down.
        Detached,
        /// No gate stands on an interface that is there.
        Open(String),
        /// One stands there, or shall not, or there is no such interface.
        Closed(String),
        /// Somebody took it off an interface, where it was put up again at once.
        Off(String),
        /// The counters that were read last are of another gate.
        Another { since: SystemTime },
    }

    impl Told {
        pub fn words(&self) -> String {
            match self {
                Self::Detached => DETACHED.to_owned(),
                Self::Open(interface) => format!("{interface}{OPEN}"),
                Self::Closed(interface) => format!("{interface}{CLOSED}"),
                Self::Off(interface) => format!("{interface}{OFF}"),
                Self::Another { since } => {
                    format!("{ANOTHER}{}", humantime::format_rfc3339_seconds(*since))
                }
            }
        }

        /// `None`: the change is about something else.
        pub fn of(what: &str) -> Option<Self> {
            if what == DETACHED {
                return Some(Self::Detached);
            }
            if let Some(time) = what.strip_prefix(ANOTHER) {
                let since = humantime::parse_rfc3339(time).ok()?;
                return Some(Self::Another { since });
            }
            let about = |words| Some(what.strip_suffix(words)?.to_owned());
            about(OPEN)
                .map(Self::Open)
                .or_else(|| about(OFF).map(Self::Off))
                .or_else(|| {
                    let closed = [CLOSED, UNWANTED, ABSENT];
                    closed.into_iter().find_map(about).map(Self::Closed)
                })
        }
    }

    /// Nothing passes where no interface is.
    pub fn absent_words(interface: &str) -> String {
        format!("{interface}{ABSENT}")
    }

    pub fn unwanted_words(interface: &str) -> String {
        format!("{interface}{UNWANTED}")
    }

    #[cfg(test)]
    mod tests {
        use std::time::{Duration, UNIX_EPOCH};

        use super::*;

        #[test]
        fn what_is_told_is_read_again() {
            let eth0 = || "eth0".to_owned();
            let since = UNIX_EPOCH + Duration::from_secs(1_795_651_200);
            for told in [
                Told::Detached,
                Told::Open(eth0()),
                Told::Closed(eth0()),
                Told::Off(eth0()),
                Told::Another { since },
            ] {
                assert_eq!(Told::of(&told.words()), Some(told));
            }
            for words in [absent_words("eth0"), unwanted_words("eth0")] {
                assert_eq!(Told::of(&words), Some(Told::Closed(eth0())));
            }
            assert_eq!(Told::of("started, version 0.1.0: enforcing"), None);
        }
    }
}

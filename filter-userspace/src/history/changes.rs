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

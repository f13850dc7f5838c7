//! What the gate has seen, minute by minute, in a file that outlives the daemon.
//!
//! Exact are the totals: differences of the kernel's counters, of which none is lost and none is counted
//! twice, since the counters that were read last lie in the same transaction as the totals that came of
//! them. Sampled are protocols, ports and sources: they come from events, each weighted with the frames it
//! stands for.
//!
//! One thread owns the file ([`worker`]), so a slow or a full disk holds up nothing but the history.

pub mod changes;
mod distinct;
pub mod query;
pub mod reply;
mod sketch;
mod store;
pub mod tally;
mod top;
mod unseen;
mod who;
pub mod worker;

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

pub use self::{
    query::{Part, Query, Step},
    store::{Store, StoreError},
};

pub const MINUTE: u64 = 60;
pub const HOUR: u64 = 60 * MINUTE;
pub const DAY: u64 = 24 * HOUR;

/// `[history]` of the config.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryConfig {
    pub enabled: bool,
    /// How long minutes are kept, in seconds.
    pub keep_minutes: u64,
    /// How long hours are kept, in seconds.
    pub keep_hours: u64,
    /// The largest size of the file.
    pub max_bytes: u64,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            keep_minutes: 90 * DAY,
            keep_hours: 730 * DAY,
            max_bytes: 512_000_000,
        }
    }
}

/// The clock of the host, in seconds since 1970.
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// The file below the state directory.
pub fn file_in(state: &Path) -> PathBuf {
    state.join("history").join("history.db")
}

//! What the history answers; `cerco history --json` prints it.

use serde::{Deserialize, Serialize};

use super::changes::Change;

/// How the history itself fares.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HistoryStatus {
    pub file: String,
    pub bytes: u64,
    pub max_bytes: u64,
    /// The oldest minute and the oldest hour that are kept, in seconds since 1970.
    pub minutes_since: Option<u64>,
    pub hours_since: Option<u64>,
    /// Why nothing is written at the moment.
    pub fault: Option<String>,
    /// Events that could not be taken in since the start; totals never miss anything.
    pub missed_events: u64,
}

impl HistoryStatus {
    /// As a warning of `cerco status`.
    pub fn warning(&self) -> Option<String> {
        let fault = self.fault.as_ref()?;
        Some(format!(
            "the history is not written: {fault}; the gate filters as always, and what is counted \
             meanwhile is written when it can be"
        ))
    }
}

/// Frames by what became of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Fates {
    pub passed_packets: u64,
    pub passed_bytes: u64,
    pub dropped_packets: u64,
    pub dropped_bytes: u64,
    pub would_drop_packets: u64,
    pub would_drop_bytes: u64,
}

impl Fates {
    /// Frames that the policy denies, whether they were dropped or observed.
    pub const fn denied_packets(&self) -> u64 {
        self.dropped_packets.saturating_add(self.would_drop_packets)
    }

    pub const fn packets(&self) -> u64 {
        self.denied_packets().saturating_add(self.passed_packets)
    }
}

/// One step of the time asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Point {
    /// Seconds since 1970.
    pub unix: u64,
    /// Set when the numbers tell more than this step: they were counted from here on, while nobody looked.
    pub counted_since: Option<u64>,
    #[serde(flatten)]
    pub fates: Fates,
}

/// One reason, country, interface or protocol.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    pub name: String,
    #[serde(flatten)]
    pub fates: Fates,
}

/// A source and the frames from it that were denied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourceLine {
    /// An IPv4 address or an IPv6 /64.
    pub source: String,
    pub class: String,
    /// Frames that were seen as events.
    pub at_least: u64,
    /// An estimate: with its share of the frames that nobody saw, and what it may have sent while it was not
    /// counted. See [`Sampled`].
    pub at_most: u64,
}

/// A port and the denied frames to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PortLine {
    /// `443/tcp`.
    pub port: String,
    /// As in [`SourceLine`].
    pub at_least: u64,
    pub at_most: u64,
}

/// What events tell; a sample. With a country asked for, of that country alone.
///
/// An event proves one frame. Frames that came unseen between two events of a reason are shared out among the
/// events that were read before, so all but `at_least`, `events` and `distinct_sources` are estimates.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sampled {
    /// What all but `protocols` is about, in seconds since 1970: the sample is kept by the hour, so it is
    /// wider than [`History::since`] and [`History::until`] unless these are whole hours, or now.
    pub since: u64,
    pub until: u64,
    pub events: u64,
    /// Denied frames that the events stand for.
    pub frames: u64,
    /// By protocol number, from [`History::since`] to [`History::until`].
    pub protocols: Vec<Line>,
    /// The first by `at_most`, as the ports.
    pub sources: Vec<SourceLine>,
    /// By the same estimate no source that is missing above sent more.
    pub other_sources_at_most: u64,
    pub ports: Vec<PortLine>,
    /// By the same estimate no port that is missing above got more.
    pub other_ports_at_most: u64,
    /// Different sources among the events, so at least so many in truth.
    pub distinct_sources: Option<u64>,
    /// Of `distinct_sources`, as a share of it.
    pub distinct_error: f64,
}

/// The answer to [`super::Query`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct History {
    /// False: nothing answers; this was read from the file.
    pub daemon: bool,
    /// What the numbers are about, in seconds since 1970: wider than asked where only hours are kept.
    pub since: u64,
    pub until: u64,
    /// `minute`, `hour` or `day`.
    pub by: String,
    pub country: Option<String>,
    pub reason: Option<String>,
    /// The first moment of which the history knows anything.
    pub begins: Option<u64>,
    pub total: Fates,
    pub points: Vec<Point>,
    pub reasons: Vec<Line>,
    pub countries: Vec<Line>,
    pub interfaces: Vec<Line>,
    pub sampled: Sampled,
    pub changes: Vec<Change>,
    /// Changes of this time that are left out of `changes`, older than those in it.
    pub earlier_changes: u64,
    pub store: HistoryStatus,
}

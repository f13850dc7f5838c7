//! The replies of the daemon; `--json` prints them as they are, with a `schema` number.

use std::{net::IpAddr, time::SystemTime};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::protocol::{ModeWord, RuleVerb, Target};
use crate::{
    events::Event,
    generations::About,
    geo::Digest,
    history::reply::HistoryStatus,
    kernel::{Ban, FlowCount, TrackerFault},
    policy::Port,
};

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AttachedInterface {
    pub interface: String,
    /// `native` or `generic`.
    pub attach_mode: String,
    /// Why it is generic, when native was tried first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback_reason: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DatabaseStatus {
    pub source: String,
    pub format: String,
    #[serde(with = "unix_seconds")]
    pub built: Option<SystemTime>,
    pub networks_v4: u64,
    pub networks_v6: u64,
    pub attribution: Option<String>,
    /// Set when the data is too old.
    pub warning: Option<String>,
    /// Its number among those that are kept; `None` while it is not kept.
    #[serde(default)]
    pub generation: Option<u64>,
    /// Since when reloads do not read the config's one; set by a rollback.
    #[serde(with = "unix_seconds", default)]
    pub held_since: Option<SystemTime>,
    /// What was refused last, if nothing was taken since.
    #[serde(default)]
    pub refused: Option<RefusedDatabase>,
}

/// A database that did not come into force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefusedDatabase {
    pub source: String,
    /// A value of `reason` in `cerco_database_update_failures_total`.
    pub reason: String,
    /// Everything that speaks against it.
    pub message: String,
    #[serde(with = "unix_seconds")]
    pub at: Option<SystemTime>,
}

/// A database that is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GenerationLine {
    pub generation: u64,
    pub in_force: bool,
    #[serde(flatten)]
    pub about: About,
}

/// The database in force, what was refused, and what is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GeoStatus {
    /// False: nothing answers; this is what the next start would use.
    pub daemon: bool,
    pub source: String,
    pub format: String,
    pub generation: Option<u64>,
    /// A date, as in 2026-06-01.
    pub built: Option<String>,
    pub age: Option<String>,
    pub sha256: Digest,
    pub networks_v4: u64,
    pub networks_v6: u64,
    /// Addresses with a country.
    pub addresses_v4: u64,
    /// Networks of /48 with a country.
    pub sites_v6: u64,
    pub attribution: Option<String>,
    /// Set when the data is too old.
    pub warning: Option<String>,
    #[serde(with = "unix_seconds")]
    pub held_since: Option<SystemTime>,
    pub refused: Option<RefusedDatabase>,
    /// Why the last `cerco geo update` brought nothing.
    #[serde(default)]
    pub update_failed: Option<RefusedDatabase>,
    /// Why the database in force is not kept for the next start.
    pub not_kept: Option<String>,
    /// The oldest first.
    pub generations: Vec<GenerationLine>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReasonTotal {
    pub reason: String,
    /// `pass`, `drop` or `would_drop`.
    pub verdict: String,
    pub packets: u64,
    pub bytes: u64,
    /// Over the last 10 to 20 seconds; absent in the first ten and without a daemon.
    pub packets_per_second: Option<f64>,
}

/// Connections of this host that have not ended, by protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenFlows {
    pub tcp: u64,
    pub udp: u64,
    /// Echo requests.
    pub icmp: u64,
}

impl From<FlowCount> for OpenFlows {
    fn from(count: FlowCount) -> Self {
        Self {
            tcp: count.tcp,
            udp: count.udp,
            icmp: count.echo,
        }
    }
}

/// An interface on which answers to this host's own connections are not let in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplyFault {
    pub interface: String,
    pub reason: String,
}

impl From<TrackerFault> for ReplyFault {
    fn from(fault: TrackerFault) -> Self {
        Self {
            interface: fault.interface,
            reason: fault.reason,
        }
    }
}

impl ReplyFault {
    /// As a warning of [`Status`].
    pub fn warning(&self) -> String {
        format!(
            "answers to this host's own connections may be denied on {}: {}",
            self.interface, self.reason
        )
    }
}

/// Answers to this host's own connections.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RepliesStatus {
    /// Whether they are let in.
    pub enabled: bool,
    pub open: Option<OpenFlows>,
    pub faults: Vec<ReplyFault>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// False: read from the pins, no daemon runs.
    pub daemon: bool,
    pub version: String,
    pub pid: Option<u32>,
    pub uptime_seconds: Option<u64>,
    pub mode: ModeWord,
    /// A change that will be undone unless somebody confirms it.
    #[serde(default)]
    pub trial: Option<TrialStatus>,
    pub interfaces: Vec<AttachedInterface>,
    pub database: Option<DatabaseStatus>,
    #[serde(with = "unix_seconds")]
    pub published: Option<SystemTime>,
    /// `MO`, `CN (limit residents)`; absent without a daemon.
    pub allowed_countries: Option<Vec<String>>,
    pub default_action: Option<String>,
    pub table_bytes: Option<u64>,
    pub kernel_bytes: Option<u64>,
    /// Absent without a daemon where the kernel does not tell (before Linux 6.6).
    #[serde(default)]
    pub replies: Option<RepliesStatus>,
    pub totals: Vec<ReasonTotal>,
    pub bans: u64,
    pub runtime_rules: Option<u64>,
    pub warnings: Vec<String>,
    pub last_reload_error: Option<String>,
    /// Absent when it is off, and without a daemon.
    #[serde(default)]
    pub history: Option<HistoryStatus>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrialStatus {
    /// What was changed, in words; the kernel alone does not know.
    pub change: Option<String>,
    /// 0: the time is over, and what was before is in force.
    pub remaining_seconds: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CountryTotal {
    /// Two letters, or `unknown`, `private`, `trusted`, `rule_allow`, `rule_deny`.
    pub class: String,
    pub name: Option<String>,
    pub action: Option<String>,
    pub passed_packets: u64,
    pub dropped_packets: u64,
    pub would_drop_packets: u64,
    pub passed_bytes: u64,
    pub dropped_bytes: u64,
    pub would_drop_bytes: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Countries {
    pub mode: ModeWord,
    /// Most drops first.
    pub countries: Vec<CountryTotal>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stage {
    pub stage: String,
    /// What it said.
    pub finding: String,
    /// Whether the decision fell here.
    pub decided: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Explanation {
    pub address: IpAddr,
    /// `443/tcp` or `ping`.
    pub packet: String,
    pub stages: Vec<Stage>,
    pub reason: String,
    /// In enforce mode: `pass` or `drop`.
    pub verdict: String,
    pub mode: ModeWord,
    /// What happens now, in this mode.
    pub passes_now: bool,
    /// Dropped, but for answers to this host's own connections.
    #[serde(default)]
    pub replies_pass: bool,
    pub class: Option<String>,
    /// Set when the class stands for a country.
    pub country: Option<String>,
    pub country_name: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RuleLine {
    pub rule: String,
    pub target: String,
    /// The only port that it is about.
    #[serde(default)]
    pub port: Option<Port>,
    pub limit: Option<String>,
    /// `config` or `runtime`.
    pub origin: String,
    #[serde(with = "unix_seconds")]
    pub expires: Option<SystemTime>,
    pub comment: Option<String>,
    /// Why a runtime rule is not in force.
    pub suspended: Option<String>,
}

/// A mode that goes over that of the config, until that one changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RuntimeMode {
    pub mode: ModeWord,
    pub configured: ModeWord,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rules {
    /// Set when the mode was set at runtime.
    #[serde(default)]
    pub mode: Option<RuntimeMode>,
    pub default: String,
    pub unknown: String,
    pub private: String,
    pub rules: Vec<RuleLine>,
}

/// The last events, the oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Events {
    pub events: Vec<Event>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BanLine {
    pub prefix: IpNetwork,
    pub remaining_seconds: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bans {
    pub bans: Vec<BanLine>,
}

impl From<Vec<Ban>> for Bans {
    /// Those that end first come first.
    fn from(bans: Vec<Ban>) -> Self {
        let mut bans: Vec<BanLine> = bans
            .into_iter()
            .map(|ban| BanLine {
                prefix: ban.prefix,
                remaining_seconds: ban.remaining.as_secs(),
            })
            .collect();
        bans.sort_by_key(|ban| ban.remaining_seconds);
        Self { bans }
    }
}

/// Something was changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Done {
    /// What is true now, for a person.
    pub message: String,
    pub warnings: Vec<String>,
}

/// The parts of a rule's request that make its line, shared with `runtime.json`.
pub fn rule_word(
    rule: RuleVerb,
    target: &Target,
    ports: impl IntoIterator<Item = Port>,
    limit: Option<&str>,
) -> String {
    let ports: Vec<String> = ports.into_iter().map(|port| port.to_string()).collect();
    let mut word = format!("{} {target}", rule.word());
    if !ports.is_empty() {
        word += &format!(" on {}", ports.join(", "));
    }
    if let Some(limit) = limit {
        word += &format!(" (limit {limit})");
    }
    word
}

/// Times as whole seconds since 1970, which every JSON reader understands.
pub mod unix_seconds {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// `None` also for what was before 1970.
    pub fn of(time: Option<SystemTime>) -> Option<u64> {
        let since = time?.duration_since(UNIX_EPOCH).ok()?;
        Some(since.as_secs())
    }

    pub fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        of(*time).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        let seconds = Option::<u64>::deserialize(deserializer)?;
        seconds
            .map(|seconds| {
                UNIX_EPOCH
                    .checked_add(Duration::from_secs(seconds))
                    .ok_or_else(|| serde::de::Error::custom("time is out of range"))
            })
            .transpose()
    }
}

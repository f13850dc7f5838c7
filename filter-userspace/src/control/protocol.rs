//! What the CLI and the daemon say to each other: one JSON line asks, one JSON line answers.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use filter_common::country::CountryCode;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{configured::Adoption, reply::RefusedDatabase};
use crate::{
    config, countries,
    events::Filter,
    geo::Digest,
    history::Query,
    policy::{NoPort, Port},
};

/// Raised when a field changes its meaning or goes away; new fields do not raise it.
pub const SCHEMA: u32 = 1;

/// What a runtime change is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Target {
    Country(CountryCode),
    Prefix(IpNetwork),
}

/// Why a text is no [`Target`]; only what it looks like is explained.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("{0} (all codes: `cerco countries --list`; a prefix looks like 192.0.2.0/24)")]
    Country(#[from] countries::UnknownCountry),
    #[error(transparent)]
    Prefix(#[from] config::PrefixFault),
}

impl std::str::FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.contains(['.', ':', '/']) {
            return Ok(Self::Prefix(config::parse_prefix(text)?));
        }
        Ok(Self::Country(countries::parse(text)?))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Country(code) => f.pad(code.as_str()),
            Self::Prefix(prefix) => f.pad(&prefix.to_string()),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a runtime rule does to its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleVerb {
    Allow,
    Deny,
    Trust,
}

impl RuleVerb {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Trust => "trust",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeWord {
    Observe,
    Enforce,
}

impl ModeWord {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

impl From<crate::kernel::Mode> for ModeWord {
    fn from(mode: crate::kernel::Mode) -> Self {
        match mode {
            crate::kernel::Mode::Observe => Self::Observe,
            crate::kernel::Mode::Enforce => Self::Enforce,
        }
    }
}

impl From<ModeWord> for crate::kernel::Mode {
    fn from(mode: ModeWord) -> Self {
        match mode {
            ModeWord::Observe => Self::Observe,
            ModeWord::Enforce => Self::Enforce,
        }
    }
}

/// What the packet asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PacketKind {
    /// A TCP SYN to the port.
    Tcp(u16),
    /// A UDP datagram to the port.
    Udp(u16),
    /// An ICMP or ICMPv6 echo request.
    Ping,
}

impl PacketKind {
    /// The IP protocol number, for a source of the family of `address`.
    pub const fn protocol(self, address: IpAddr) -> u8 {
        match (self, address) {
            (Self::Tcp(_), _) => 6,
            (Self::Udp(_), _) => 17,
            (Self::Ping, IpAddr::V4(_)) => 1,
            (Self::Ping, IpAddr::V6(_)) => 58,
        }
    }

    pub const fn port(self) -> Option<u16> {
        match self {
            Self::Tcp(port) | Self::Udp(port) => Some(port),
            Self::Ping => None,
        }
    }
}

impl std::fmt::Display for PacketKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "{port}/tcp"),
            Self::Udp(port) => write!(f, "{port}/udp"),
            Self::Ping => f.write_str("ping"),
        }
    }
}

impl std::str::FromStr for PacketKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "ping" => Ok(Self::Ping),
            Ok(Port::Tcp(port)) => Ok(Self::Tcp(port)),
            Ok(Port::Udp(port)) => Ok(Self::Udp(port)),
            Err(NoPort) => Err("expected PORT/tcp, PORT/udp or ping, as in 443/tcp".to_owned()),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    Status,
    Countries,
    Rules,
    Bans,
    /// Asks for the decision on a packet from `address`; without `packet`, on one that the policy
    /// protects against.
    Explain {
        address: IpAddr,
        packet: Option<PacketKind>,
    },
    /// Adds runtime rules, in place of earlier ones for the same target and port; what ends only for as long as it
    /// stands.
    AddRule {
        rule: RuleVerb,
        target: Target,
        /// One rule for each; empty: all packets.
        #[serde(default)]
        ports: Vec<Port>,
        limit: Option<String>,
        duration: Option<Duration>,
        comment: Option<String>,
    },
    /// Without a port all runtime rules for the target.
    RemoveRule {
        target: Target,
        #[serde(default)]
        port: Option<Port>,
    },
    Ban {
        prefix: IpNetwork,
        duration: Duration,
    },
    /// Bans all of them or none.
    BanAll {
        prefixes: Vec<IpNetwork>,
        duration: Duration,
    },
    Unban {
        prefix: IpNetwork,
    },
    SetMode {
        mode: ModeWord,
    },
    /// What enforcing would drop, and whom it would cut off.
    Preview,
    /// Reads config and database again.
    Reload,
    /// The last events that are kept.
    Events {
        #[serde(default)]
        filter: Filter,
    },
    /// Answered with `null`, and then with a [`crate::events::Line`] for each event until the asker hangs up.
    FollowEvents {
        #[serde(default)]
        filter: Filter,
        /// With the first bytes of the frames; only for who may change something.
        #[serde(default)]
        heads: bool,
    },
    /// What the gate has seen; the history's own thread answers.
    History(Query),
    /// Compares what runs with what the config files say.
    Diff,
    /// A reload of config files that were changed by command.
    Adopt(Adoption),
    /// Makes the change on trial last.
    Confirm,
    /// Undoes the change on trial.
    Rollback,
    GeoStatus,
    /// A reload that takes the database whatever the comparison says, if it still has this digest;
    /// ends a hold.
    AcceptDatabase {
        sha256: Option<Digest>,
    },
    /// Reads the database of the running config again, and nothing else, if it is `file`. With a digest it is taken
    /// whatever the comparison says, if it is of that; that ends a hold.
    ReloadDatabase {
        file: PathBuf,
        accepted: Option<Digest>,
    },
    /// How an update that another process tried has ended, for `status` and the metrics.
    NoteUpdate {
        failure: Option<RefusedDatabase>,
    },
    /// Puts a kept database in force, and holds it; without a number the one before.
    RollBackDatabase {
        generation: Option<u64>,
    },
}

impl Request {
    /// Whether only root and the daemon's own user may ask this: whatever changes something, and what packets
    /// carry.
    pub const fn is_privileged(&self) -> bool {
        match self {
            Self::Status
            | Self::Countries
            | Self::Rules
            | Self::Bans
            | Self::Explain { .. }
            | Self::Preview
            | Self::Events { .. }
            | Self::FollowEvents { heads: false, .. }
            | Self::History(_)
            | Self::Diff
            | Self::GeoStatus => false,
            Self::AddRule { .. }
            | Self::RemoveRule { .. }
            | Self::Ban { .. }
            | Self::BanAll { .. }
            | Self::Unban { .. }
            | Self::SetMode { .. }
            | Self::Reload
            | Self::Adopt(_)
            | Self::Confirm
            | Self::FollowEvents { heads: true, .. }
            | Self::Rollback => true,
            Self::AcceptDatabase { .. }
            | Self::ReloadDatabase { .. }
            | Self::NoteUpdate { .. }
            | Self::RollBackDatabase { .. } => true,
        }
    }
}

/// Who asks. Changes are judged for every session of the host; this one is named as the asker's own.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Asker {
    /// The address and the local port of the SSH session in which the question is asked.
    #[serde(default)]
    pub ssh_peer: Option<(IpAddr, u16)>,
    /// Do it although it cuts off sessions.
    #[serde(default)]
    pub force: bool,
}

/// One request on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    pub schema: u32,
    #[serde(flatten)]
    pub request: Request,
    /// Undo the change after this time, unless [`Request::Confirm`] comes.
    #[serde(default)]
    pub confirm: Option<Duration>,
    #[serde(default)]
    pub asker: Asker,
}

/// One response on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    pub schema: u32,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What the verb's reply type serialises to.
    Ok(serde_json::Value),
    Error(Refusal),
}

/// Why the daemon did not do it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
    /// The next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The request or the config is at fault: exit code 2.
    BadRequest,
    /// This user may only read.
    Forbidden,
    /// It was tried and did not work.
    Failed,
}

impl Refusal {
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self {
            kind: RefusalKind::BadRequest,
            message: message.into(),
            hint: None,
        }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            kind: RefusalKind::Failed,
            message: message.into(),
            hint: None,
        }
    }
}

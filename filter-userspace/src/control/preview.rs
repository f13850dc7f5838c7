//! The reply to [`super::protocol::Request::Preview`]: what enforcing would drop, and whom it would cut off.

use std::{net::IpAddr, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::{protocol::ModeWord, reply::unix_seconds};

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Preview {
    pub mode: ModeWord,
    /// Absent in enforce mode: nothing is observed there.
    pub observed: Option<Observed>,
    /// Connections of this host that would end, most of a port first.
    pub connections: Vec<LivePort>,
    /// All that others have opened to this host by way of the gate, those that pass as well.
    pub open_connections: u64,
    /// Who is logged in from outside, by way of the gate.
    pub sessions: Vec<LoggedIn>,
    /// Why `cerco enforce` would be refused without `--force`.
    pub refusal: Option<PreviewRefusal>,
}

/// What would have been dropped since the gate began to observe.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Observed {
    #[serde(with = "unix_seconds")]
    pub since: Option<SystemTime>,
    pub seconds: u64,
    pub would_drop_packets: u64,
    pub would_drop_bytes: u64,
    /// By class of the source, most packets first. Frames that cannot be read have no source.
    pub countries: Vec<WouldDrop>,
    /// Most packets first.
    pub reasons: Vec<WouldDrop>,
    /// By destination, as `443/tcp`, most packets first; what has no port by protocol, as `icmp` or `udp fragments`.
    /// Frames that cannot be read have no destination.
    pub destinations: Vec<WouldDrop>,
    /// All destinations that are not listed, taken together.
    pub other_destinations: Rest,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WouldDrop {
    /// Class, reason or destination.
    pub what: String,
    /// Of a country, its name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Of a country, what the policy says by now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action: Option<String>,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Rest {
    pub count: u64,
    pub packets: u64,
    pub bytes: u64,
}

/// Connections to one local port whose far ends would be denied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LivePort {
    pub port: u16,
    pub connections: u64,
    /// By class, most first.
    pub countries: Vec<ClassCount>,
    /// Some of the far ends.
    pub peers: Vec<IpAddr>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClassCount {
    pub class: String,
    pub connections: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LoggedIn {
    pub address: IpAddr,
    /// The local port.
    pub port: u16,
    /// Who it is, where the host's login manager tells.
    pub users: Vec<String>,
    /// It is the session in which this is asked.
    pub own: bool,
    /// Whether it goes on when the gate enforces.
    pub passes: bool,
    /// When a rule ends without which it would not pass.
    #[serde(with = "unix_seconds", default)]
    pub until: Option<SystemTime>,
    /// `MO`, `unknown`, `banned`; absent when the policy does not look at it.
    pub class: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PreviewRefusal {
    pub message: String,
    pub hint: Option<String>,
}

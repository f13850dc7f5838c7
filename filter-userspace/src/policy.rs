//! A valid policy: what the config and the runtime changes ask for, before it is compiled.

use std::collections::BTreeMap;

use filter_common::country::CountryCode;
use ipnetwork::IpNetwork;

/// What happens to the sources of one class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Deny,
    Allow,
    /// Allow within the limit `limits[index]` of the policy.
    Limit(usize),
}

/// A named limit that every single source gets for itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limit {
    pub name: String,
    /// Packets per second, 1 to 1,000,000; `None`: no limit on packets.
    pub packets_per_second: Option<u32>,
    /// Packets that a source may send at once after a pause; at least 1.
    pub burst_packets: u32,
    /// TCP connections (SYN without ACK) per second, 1 to 1,000,000; `None`: no limit.
    pub new_connections_per_second: Option<u32>,
    /// Connections that a source may open at once after a pause; at least 1.
    pub burst_connections: u32,
    /// Bits of an IPv4 address that tell one source from another, 8 to 32.
    pub ipv4_prefix_len: u8,
    /// Bits of an IPv6 address that tell one source from another, 16 to 64.
    pub ipv6_prefix_len: u8,
}

/// What the gate looks at; the rest passes untouched. All empty: everything is in scope.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scope {
    /// Inclusive destination port ranges, host byte order.
    pub tcp: Vec<(u16, u16)>,
    pub udp: Vec<(u16, u16)>,
    /// IP protocol numbers that are in scope as a whole (ICMP is 1, ICMPv6 is 58).
    pub protocols: Vec<u8>,
    /// Destinations in scope; empty: all.
    pub destinations: Vec<IpNetwork>,
}

/// A rule over the rest of the policy that ends, or is about one port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exception {
    pub subject: Subject,
    /// `None`: all packets.
    pub service: Option<Port>,
    pub gets: Gets,
    /// Nanoseconds of CLOCK_BOOTTIME; `None`: it has no end.
    pub until_ns: Option<u64>,
}

/// Whose packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    Country(CountryCode),
    Prefix(IpNetwork),
}

/// What the subject of an [`Exception`] gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gets {
    Action(Action),
    /// As the prefixes under `[trusted]`; not for countries.
    Trust,
}

/// A destination port, host byte order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Port {
    Tcp(u16),
    Udp(u16),
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "{port}/tcp"),
            Self::Udp(port) => write!(f, "{port}/udp"),
        }
    }
}

/// A text that is no [`Port`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected PORT/tcp or PORT/udp, as in 80/tcp, PORT being 1 to 65535")]
pub struct NoPort;

impl std::str::FromStr for Port {
    type Err = NoPort;

    /// A number alone is a TCP port.
    fn from_str(text: &str) -> Result<Self, NoPort> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        // `parse` would take a sign.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NoPort);
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(NoPort)?;
        match protocol {
            "tcp" => Ok(Self::Tcp(port)),
            "udp" => Ok(Self::Udp(port)),
            _ => Err(NoPort),
        }
    }
}

impl serde::Serialize for Port {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Port {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Countries that `countries` does not name.
    pub default: Action,
    /// Addresses that the database does not know.
    pub unknown: Action,
    /// Private and link-local addresses.
    pub private: Action,
    pub countries: BTreeMap<CountryCode, Action>,
    pub limits: Vec<Limit>,
    pub scope: Scope,
    pub trusted: Vec<IpNetwork>,
    pub allow: Vec<IpNetwork>,
    pub deny: Vec<IpNetwork>,
    pub exceptions: Vec<Exception>,
}

impl Scope {
    /// Whether a TCP segment to `port` is looked at, at some destination.
    pub fn holds_tcp(&self, port: u16) -> bool {
        const TCP: u8 = 6;
        let everything = self.tcp.is_empty() && self.udp.is_empty() && self.protocols.is_empty();
        let listed = |(first, last): &(u16, u16)| (*first..=*last).contains(&port);
        everything || self.tcp.iter().any(listed) || self.protocols.contains(&TCP)
    }
}

impl Policy {
    /// What happens to sources of `country`.
    pub fn action_for(&self, country: CountryCode) -> Action {
        self.countries
            .get(&country)
            .copied()
            .unwrap_or(self.default)
    }

    /// `allow`, `deny` or `allow:NAME`, as the config writes it.
    pub fn action_word(&self, action: Action) -> String {
        match action {
            Action::Allow => "allow".to_owned(),
            Action::Deny => "deny".to_owned(),
            Action::Limit(index) => match self.limits.get(index) {
                Some(limit) => format!("allow:{}", limit.name),
                None => format!("allow:#{index}"),
            },
        }
    }

    /// The number of the limit `name`.
    pub fn limit_index(&self, name: &str) -> Option<usize> {
        self.limits.iter().position(|limit| limit.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_a_number_with_its_protocol() {
        let cases = [
            ("80", Ok(Port::Tcp(80))),
            ("80/tcp", Ok(Port::Tcp(80))),
            ("65535/udp", Ok(Port::Udp(65_535))),
            ("0/tcp", Err(NoPort)),
            ("65536", Err(NoPort)),
            ("+80", Err(NoPort)),
            ("80/TCP", Err(NoPort)),
            ("80/", Err(NoPort)),
            ("/tcp", Err(NoPort)),
            ("http", Err(NoPort)),
            ("ping", Err(NoPort)),
            ("", Err(NoPort)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), expected, "{text:?}");
        }
        for port in [Port::Tcp(80), Port::Udp(53)] {
            assert_eq!(port.to_string().parse(), Ok(port));
        }
    }
}

//! What enforcing would drop, from what was observed, and whom it would cut off, from the connections that stand.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::SystemTime,
};

use filter_common::{
    country::Class,
    packet::protocol,
    verdict::{Reason, Verdict},
};

use super::{
    lockout::{Kind, passes_until},
    state::{Daemon, failed},
};
use crate::{
    control::{
        preview::{
            ClassCount, LivePort, LoggedIn, Observed, Preview, PreviewRefusal, Rest, WouldDrop,
        },
        protocol::Refusal,
    },
    countries,
    kernel::{Count, Destination, Mode, ObservedTime, Oracle, Planned, Service},
    sessions::{self, Connection},
};

/// A port scan has touched all of them; the others are summed up.
const MAX_DESTINATIONS: usize = 100;
/// Far ends that are named, of each port.
const MAX_PEERS: usize = 5;

impl Daemon {
    pub(super) fn preview(&mut self) -> Result<Preview, Refusal> {
        let mode = self.gate.mode();
        let observed = match mode {
            Mode::Enforce => None,
            Mode::Observe => Some(self.observed()?),
        };
        let oracle = self.gate.oracle().map_err(failed)?;
        let behind = self.behind();
        let connections: Vec<Connection> = sessions::connections()
            .into_iter()
            .filter(|it| it.is_to_listener && behind.holds(Some(it.local.ip())))
            .collect();
        let denied = connections.iter().filter_map(|it| {
            let class = self.denied(&oracle, it)?;
            Some((it.local.port(), it.peer.ip(), class))
        });
        let refused = self.enforcing_is_safe().err();
        Ok(Preview {
            mode: mode.into(),
            observed,
            connections: by_port(denied),
            open_connections: connections.len() as u64,
            sessions: self.sessions(&oracle),
            refusal: refused.map(|Refusal { message, hint, .. }| PreviewRefusal { message, hint }),
        })
    }

    /// Why the far end of a connection would be denied.
    fn denied(&self, oracle: &Oracle<'_>, connection: &Connection) -> Option<String> {
        let Connection { local, peer, .. } = connection;
        let decision = oracle.decide(peer.ip(), local.ip(), Service::Tcp(local.port()));
        (decision.verdict == Verdict::Drop).then(|| self.why(&decision))
    }

    fn sessions(&self, oracle: &Oracle<'_>) -> Vec<LoggedIn> {
        let standing = self.logged_in(self.asker.unwrap_or_default());
        let logged_in = standing.into_iter().map(|it| {
            let decision = self.decide_on(oracle, &it);
            let until = passes_until(oracle, Planned::Running, &[], &self.policy, &it, self.clock);
            LoggedIn {
                address: it.peer,
                port: it.port,
                users: it.users.into_iter().collect(),
                own: it.what == Kind::Own,
                passes: decision.verdict == Verdict::Pass,
                until,
                class: decision.class.map(|_| self.why(&decision)),
            }
        });
        logged_in.collect()
    }

    fn observed(&self) -> Result<Observed, Refusal> {
        let ObservedTime {
            since,
            reasons,
            classes,
            destinations,
        } = self.gate.observed().map_err(failed)?;
        let (destinations, other_destinations) = top(
            destinations
                .into_iter()
                .map(|(destination, count)| would_drop(destination_word(destination), count)),
            MAX_DESTINATIONS,
        );
        let by_reason = Reason::ALL
            .iter()
            .map(|reason| would_drop(reason.label().to_owned(), reasons[*reason as usize]));
        let by_class = (0..=u8::MAX).map(|number| {
            let class = Class(number);
            let code = self.compiled.country_of(class);
            let action = match class {
                Class::UNKNOWN => Some(self.policy.unknown),
                Class::PRIVATE => Some(self.policy.private),
                _ => code.map(|code| self.policy.action_for(code)),
            };
            WouldDrop {
                name: code.and_then(countries::name).map(str::to_owned),
                action: action.map(|action| self.policy.action_word(action)),
                ..would_drop(
                    self.compiled.class_name(class),
                    classes[usize::from(number)],
                )
            }
        });
        let sum = |part: fn(&Count) -> u64| reasons.iter().map(part).sum();
        let passed = SystemTime::now().duration_since(since);
        Ok(Observed {
            since: Some(since),
            seconds: passed.map_or(0, |passed| passed.as_secs()),
            would_drop_packets: sum(|count| count.packets),
            would_drop_bytes: sum(|count| count.bytes),
            countries: top(by_class, usize::MAX).0,
            reasons: top(by_reason, usize::MAX).0,
            destinations,
            other_destinations,
        })
    }
}

fn would_drop(what: String, count: Count) -> WouldDrop {
    WouldDrop {
        what,
        name: None,
        action: None,
        packets: count.packets,
        bytes: count.bytes,
    }
}

/// The lines with most packets, and all others together.
fn top(lines: impl Iterator<Item = WouldDrop>, most: usize) -> (Vec<WouldDrop>, Rest) {
    let mut shown: Vec<WouldDrop> = lines.filter(|line| line.packets > 0).collect();
    shown.sort_by_key(|line| Reverse(line.packets));
    let others = shown.split_off(most.min(shown.len()));
    let rest = Rest {
        count: others.len() as u64,
        packets: others.iter().map(|line| line.packets).sum(),
        bytes: others.iter().map(|line| line.bytes).sum(),
    };
    (shown, rest)
}

/// `443/tcp`; by protocol what has no port.
fn destination_word(destination: Destination) -> String {
    match destination {
        Destination::Tcp(port) => format!("{port}/tcp"),
        Destination::Udp(port) => format!("{port}/udp"),
        Destination::Protocol(protocol::TCP) => "tcp fragments".to_owned(),
        Destination::Protocol(protocol::UDP) => "udp fragments".to_owned(),
        Destination::Protocol(number) => crate::protocols::name(number),
    }
}

/// Local port, far end and class of each connection, put together by port.
fn by_port(denied: impl Iterator<Item = (u16, IpAddr, String)>) -> Vec<LivePort> {
    #[derive(Default)]
    struct Port {
        connections: u64,
        classes: BTreeMap<String, u64>,
        peers: BTreeSet<IpAddr>,
    }
    let mut ports: BTreeMap<u16, Port> = BTreeMap::new();
    for (port, peer, class) in denied {
        let port = ports.entry(port).or_default();
        port.connections += 1;
        *port.classes.entry(class).or_default() += 1;
        port.peers.insert(peer);
    }
    let mut live: Vec<LivePort> = ports
        .into_iter()
        .map(|(number, port)| {
            let classes = port.classes.into_iter();
            let mut countries: Vec<ClassCount> = classes
                .map(|(class, connections)| ClassCount { class, connections })
                .collect();
            countries.sort_by_key(|it| Reverse(it.connections));
            LivePort {
                port: number,
                connections: port.connections,
                countries,
                peers: port.peers.into_iter().take(MAX_PEERS).collect(),
            }
        })
        .collect();
    live.sort_by_key(|it| Reverse(it.connections));
    live
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_packets_come_first_and_the_rest_is_summed_up() {
        let lines = [("a", 1), ("b", 0), ("c", 7), ("d", 1), ("e", 2)];
        let lines = || {
            lines.into_iter().map(|(what, packets)| {
                let bytes = packets * 100;
                would_drop(what.to_owned(), Count { packets, bytes })
            })
        };
        let names = |lines: &[WouldDrop]| -> Vec<String> {
            lines.iter().map(|line| line.what.clone()).collect()
        };
        let (shown, rest) = top(lines(), 2);
        assert_eq!(names(&shown), ["c", "e"]);
        assert_eq!((rest.count, rest.packets, rest.bytes), (2, 2, 200));
        let (shown, rest) = top(lines(), usize::MAX);
        assert_eq!(names(&shown), ["c", "e", "a", "d"]);
        assert_eq!(rest, Rest::default());
    }

    #[test]
    fn connections_are_put_together_by_port() {
        let connection = |port, peer: &str, class: &str| {
            (port, peer.parse::<IpAddr>().unwrap(), class.to_owned())
        };
        let mut denied = vec![
            connection(22, "203.0.113.7", "US"),
            connection(443, "203.0.113.9", "unknown"),
            connection(443, "203.0.113.8", "US"),
            connection(443, "203.0.113.8", "US"),
        ];
        denied.extend((1..9).map(|host| connection(443, &format!("2001:db8::{host}"), "DE")));
        let live = by_port(denied.into_iter());
        let class = |class: &str, connections| ClassCount {
            class: class.into(),
            connections,
        };
        let peers = |peers: &[&str]| peers.iter().map(|it| it.parse().unwrap()).collect();
        assert_eq!(
            live,
            [
                LivePort {
                    port: 443,
                    connections: 11,
                    countries: vec![class("DE", 8), class("US", 2), class("unknown", 1)],
                    peers: peers(&[
                        "203.0.113.8",
                        "203.0.113.9",
                        "2001:db8::1",
                        "2001:db8::2",
                        "2001:db8::3"
                    ]),
                },
                LivePort {
                    port: 22,
                    connections: 1,
                    countries: vec![class("US", 1)],
                    peers: peers(&["203.0.113.7"]),
                }
            ]
        );
    }

    #[test]
    fn destinations_have_a_word_each() {
        for (destination, word) in [
            (Destination::Tcp(443), "443/tcp"),
            (Destination::Udp(0), "0/udp"),
            (Destination::Protocol(1), "icmp"),
            (Destination::Protocol(58), "icmpv6"),
            (Destination::Protocol(6), "tcp fragments"),
            (Destination::Protocol(17), "udp fragments"),
            (Destination::Protocol(47), "gre"),
        ] {
            assert_eq!(destination_word(destination), word);
        }
    }
}

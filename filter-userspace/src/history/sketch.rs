//! What events tell of one hour: who came, and what for, in bounded memory.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use sha2::{Digest as _, Sha256};

use super::{distinct::Distinct, top::SpaceSaving};
use crate::events::Event;

/// Sources and ports that are counted at a time, and those of them that are written.
const COUNTED: usize = 1024;
pub const WRITTEN: usize = 128;

/// Keeps who can choose addresses from choosing hashes.
pub type Salt = [u8; 16];

/// What the history takes from an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sighting {
    pub interface: String,
    pub would_drop: bool,
    pub reason: String,
    /// Frames come unseen between events of the same reason, interface and CPU.
    pub cpu: u16,
    pub class: Option<String>,
    /// Absent when the frame was not well-formed.
    pub packet: Option<SeenPacket>,
    /// Frames; itself, and those of any source that came unseen before it.
    pub stands_for: u64,
}

impl Sighting {
    /// Frames before it that nobody saw.
    pub const fn unseen(&self) -> u64 {
        self.stands_for.saturating_sub(1)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeenPacket {
    pub source: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Of the destination, host byte order.
    pub port: Option<u16>,
}

impl From<&Event> for Sighting {
    fn from(event: &Event) -> Self {
        Self {
            interface: event.interface.clone(),
            would_drop: event.verdict == "would_drop",
            reason: event.reason.clone(),
            cpu: event.cpu,
            class: event.class.clone(),
            packet: event.packet.as_ref().map(|packet| SeenPacket {
                source: packet.source,
                protocol: packet.protocol,
                port: packet.destination_port,
            }),
            stands_for: event.stands_for,
        }
    }
}

/// What counts as one source: an IPv4 address, or an IPv6 /64, of which one host has all the addresses.
pub fn source_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(network).into()
        }
    }
}

/// `203.0.113.7`, `2001:db8::/64`.
pub fn source_words(source: IpAddr) -> String {
    match source {
        IpAddr::V4(_) => source.to_string(),
        IpAddr::V6(_) => format!("{source}/64"),
    }
}

/// One hour of one run of the daemon.
#[derive(Clone, Debug)]
pub struct Sketch {
    /// Seconds since 1970.
    pub hour: u64,
    /// Tells it from other sketches of the hour.
    pub run: u64,
    pub events: u64,
    /// Frames that the events stand for.
    pub frames: u64,
    /// Both by class, of which there are less than 260.
    pub classes: BTreeMap<String, (u64, u64)>,
    /// By source; the tag is its class.
    pub sources: SpaceSaving<IpAddr, String>,
    /// By IP protocol and port of the destination.
    pub ports: SpaceSaving<(u8, u16), ()>,
    pub distinct: Distinct,
}

impl Sketch {
    pub fn new(hour: u64, run: u64) -> Self {
        Self {
            hour,
            run,
            events: 0,
            frames: 0,
            classes: BTreeMap::new(),
            sources: SpaceSaving::new(COUNTED),
            ports: SpaceSaving::new(COUNTED),
            distinct: Distinct::default(),
        }
    }

    /// Counts `frames` for the event, of which so many were `seen`: one or none.
    pub fn see(&mut self, sighting: &Sighting, seen: u64, frames: u64, salt: &Salt) {
        self.events += seen;
        self.frames = self.frames.saturating_add(frames);
        if let Some(class) = &sighting.class {
            let of_class = self.classes.entry(class.clone()).or_default();
            of_class.0 += seen;
            of_class.1 = of_class.1.saturating_add(frames);
        }
        let Some(packet) = sighting.packet else {
            return;
        };
        let source = source_of(packet.source);
        if seen > 0 {
            self.distinct.add(hash(source, salt));
        }
        let class = sighting.class.clone().unwrap_or_default();
        self.sources.add(source, seen, frames, class);
        if let Some(port) = packet.port {
            self.ports.add((packet.protocol, port), seen, frames, ());
        }
    }
}

fn hash(source: IpAddr, salt: &Salt) -> u64 {
    let hasher = Sha256::new_with_prefix(salt);
    let digest = match source {
        IpAddr::V4(address) => hasher.chain_update(address.octets()),
        IpAddr::V6(address) => hasher.chain_update(address.octets()),
    }
    .finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(source: &str, port: Option<u16>, stands_for: u64) -> Sighting {
        Sighting {
            interface: "eth0".to_owned(),
            would_drop: false,
            reason: "country_denied".to_owned(),
            cpu: 0,
            class: Some("US".to_owned()),
            packet: Some(SeenPacket {
                source: source.parse().unwrap(),
                protocol: 6,
                port,
            }),
            stands_for,
        }
    }

    /// As of a burst that began in the hour before.
    #[test]
    fn frames_that_nobody_saw_are_of_no_new_source() {
        let mut sketch = Sketch::new(0, 1);
        sketch.see(&sighting("192.0.2.1", Some(80), 10), 1, 10, &[7; 16]);
        sketch.see(&sighting("192.0.2.2", Some(80), 10), 0, 10, &[7; 16]);
        assert_eq!((sketch.events, sketch.frames), (1, 20));
        assert_eq!(sketch.distinct.estimate(), 1);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let mut sketch = Sketch::new(0, 1);
        let mut see = |sighting: &Sighting| sketch.see(sighting, 1, sighting.stands_for, &[7; 16]);
        for source in [
            "2001:db8::1",
            "2001:db8::2:3",
            "2001:db8:0:1::1",
            "192.0.2.1",
        ] {
            see(&sighting(source, Some(80), 10));
        }
        see(&sighting("192.0.2.1", None, 5));
        let malformed = Sighting {
            packet: None,
            ..sighting("192.0.2.1", None, 3)
        };
        see(&malformed);
        let elsewhere = Sighting {
            class: Some("MO".to_owned()),
            packet: None,
            ..sighting("192.0.2.1", None, 2)
        };
        see(&elsewhere);
        assert_eq!((sketch.events, sketch.frames), (7, 50));
        let classes = [("MO".to_owned(), (1, 2)), ("US".to_owned(), (6, 48))];
        assert_eq!(sketch.classes, BTreeMap::from(classes));
        assert_eq!(sketch.distinct.estimate(), 3);
        let (sources, floor) = sketch.sources.first(10);
        let words: Vec<(String, u64, u64)> = sources
            .iter()
            .map(|(source, entry)| (source_words(**source), entry.certain, entry.count))
            .collect();
        let expected = [
            ("2001:db8::/64".to_owned(), 2, 20),
            ("192.0.2.1".to_owned(), 2, 15),
            ("2001:db8:0:1::/64".to_owned(), 1, 10),
        ];
        assert_eq!((words.as_slice(), floor), (&expected[..], 0));
        let (ports, _) = sketch.ports.first(10);
        assert_eq!((ports[0].0, ports[0].1.count), (&(6, 80), 40));
    }
}

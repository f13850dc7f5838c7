//! Events: frames that were dropped, or would have been, as people and programs read them.

use std::{net::IpAddr, time::Duration};

use filter_common::{
    abi::{self, event_flag},
    country::Class,
    frame::{FrameBytes, Word},
    packet::Transport,
    parse::parse,
    verdict::Reason,
};
use serde::{Deserialize, Serialize};

use crate::protocols;

/// One frame, and how many it stands for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Microseconds since 1970.
    pub unix_us: u64,
    pub interface: String,
    /// `drop` or `would_drop`.
    pub verdict: String,
    pub reason: String,
    /// Two letters, or `unknown`, `private`, `rule_deny`; absent when the source was not looked up.
    pub class: Option<String>,
    /// Absent when the frame is not well-formed.
    #[serde(flatten)]
    pub packet: Option<PacketLine>,
    /// Bytes of the whole frame.
    pub frame_bytes: u32,
    /// Frames dropped for this reason on the same CPU since the event before, this one among them.
    pub stands_for: u64,
    /// That CPU, for whoever shares them out.
    #[serde(skip)]
    pub cpu: u16,
    /// The first bytes of the frame, in base64; only for who may see what packets carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}

/// What a well-formed frame carries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PacketLine {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    pub source_port: Option<u16>,
    pub destination_port: Option<u16>,
}

/// Which events are wanted; everything that is absent is not asked.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    pub reason: Option<String>,
    /// As [`Event::class`].
    pub class: Option<String>,
}

impl Filter {
    pub fn wants(&self, event: &Event) -> bool {
        let is_reason = self.reason.as_ref().is_none_or(|it| *it == event.reason);
        is_reason && (self.class.is_none() || self.class == event.class)
    }
}

/// A line of the stream that a follower gets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Event(Event),
    /// So many events the follower was too slow for.
    Missed(u64),
}

/// An event as it came from the kernel, with its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub event: Event,
    pub head: Vec<u8>,
}

/// Reads what the kernel wrote. `since_1970`: the time of the event; the names are those of its numbers.
pub fn decode(
    raw: &abi::Event,
    since_1970: Duration,
    interface: String,
    class_name: impl Fn(Class) -> String,
) -> Seen {
    let head_len = usize::from(raw.head_len).min(raw.head.len());
    let head = Head {
        bytes: &raw.head[..head_len],
        frame_len: raw.frame_len as usize,
    };
    let verdict = match raw.flags & event_flag::OBSERVED {
        0 => "drop",
        _ => "would_drop",
    };
    let reason = Reason::ALL.get(usize::from(raw.reason));
    let has_class = raw.flags & event_flag::HAS_CLASS != 0;
    let event = Event {
        unix_us: u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX),
        interface,
        verdict: verdict.to_owned(),
        reason: reason.map_or_else(
            || format!("reason_{}", raw.reason),
            |it| it.label().to_owned(),
        ),
        class: has_class.then(|| class_name(Class(raw.class))),
        packet: packet(&head),
        frame_bytes: raw.frame_len,
        stands_for: raw.stands_for,
        cpu: raw.cpu,
        head: None,
    };
    Seen {
        event,
        head: head.bytes.to_vec(),
    }
}

fn packet(head: &Head<'_>) -> Option<PacketLine> {
    let packet = parse(head).ok()??;
    let (protocol, ports) = match packet.transport() {
        Transport::Tcp {
            src_port, dst_port, ..
        } => (6, Some((src_port, dst_port))),
        Transport::Udp { src_port, dst_port } => (17, Some((src_port, dst_port))),
        Transport::Icmp(_) => (1, None),
        Transport::Icmpv6(_) => (58, None),
        Transport::Other { protocol } | Transport::LaterFragment { protocol } => (protocol, None),
    };
    Some(PacketLine {
        source: packet.source().into(),
        destination: packet.destination().into(),
        protocol,
        source_port: ports.map(|(source, _)| source),
        destination_port: ports.map(|(_, destination)| destination),
    })
}

impl PacketLine {
    /// `203.0.113.7:40000 > 192.0.2.1:80/tcp`.
    pub fn words(&self) -> String {
        let protocol = protocols::name(self.protocol);
        let end = |address: IpAddr, port: Option<u16>| match (address, port) {
            (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
            (address, Some(port)) => format!("{address}:{port}"),
            (address, None) => address.to_string(),
        };
        let from = end(self.source, self.source_port);
        let to = end(self.destination, self.destination_port);
        match self.destination_port {
            Some(_) => format!("{from} > {to}/{protocol}"),
            None => format!("{from} > {to} {protocol}"),
        }
    }
}

/// The first bytes of a frame that was longer.
struct Head<'a> {
    bytes: &'a [u8],
    frame_len: usize,
}

impl FrameBytes for Head<'_> {
    fn frame_len(&self) -> usize {
        self.frame_len
    }

    fn first_len(&self) -> usize {
        self.bytes.len()
    }

    fn read_first<W: Word, const N: usize>(&self, offset: usize) -> Option<[W; N]> {
        self.bytes.read(offset)
    }

    fn read<W: Word, const N: usize>(&self, offset: usize) -> Option<[W; N]> {
        self.bytes.read(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP datagram of 300 bytes from 203.0.113.7:40000 to 192.0.2.1:53, of which the event holds the head.
    fn raw() -> abi::Event {
        let mut head = [0; abi::EVENT_HEAD];
        head[12..14].copy_from_slice(&[8, 0]);
        let (ip, udp) = ([0x45, 0, 1, 72, 0, 0, 0, 0, 64, 17, 0, 0], [1, 52]);
        head[14..26].copy_from_slice(&ip);
        head[26..34].copy_from_slice(&[203, 0, 113, 7, 192, 0, 2, 1]);
        head[34..38].copy_from_slice(&[0x9c, 0x40, 0, 53]);
        head[38..40].copy_from_slice(&udp);
        abi::Event {
            time_ns: 5,
            stands_for: 12,
            ifindex: 3,
            frame_len: 342,
            head_len: abi::EVENT_HEAD as u16,
            reason: Reason::CountryDenied as u8,
            class: 9,
            flags: event_flag::HAS_CLASS,
            cpu: 3,
            head,
        }
    }

    fn decoded(raw: &abi::Event) -> Event {
        let time = Duration::from_micros(1_800_000_000_123_456);
        decode(raw, time, "eth0".to_owned(), |class| {
            format!("class {}", class.0)
        })
        .event
    }

    fn expected() -> Event {
        Event {
            unix_us: 1_800_000_000_123_456,
            interface: "eth0".to_owned(),
            verdict: "drop".to_owned(),
            reason: "country_denied".to_owned(),
            class: Some("class 9".to_owned()),
            packet: Some(PacketLine {
                source: "203.0.113.7".parse().unwrap(),
                destination: "192.0.2.1".parse().unwrap(),
                protocol: 17,
                source_port: Some(40_000),
                destination_port: Some(53),
            }),
            frame_bytes: 342,
            stands_for: 12,
            cpu: 3,
            head: None,
        }
    }

    #[test]
    fn event_holds_what_the_head_of_its_frame_tells() {
        assert_eq!(decoded(&raw()), expected());
        let words = expected().packet.unwrap().words();
        assert_eq!(words, "203.0.113.7:40000 > 192.0.2.1:53/udp");
    }

    #[test]
    fn frame_that_cannot_be_read_has_no_packet() {
        let short = abi::Event {
            head_len: 20,
            frame_len: 20,
            flags: event_flag::OBSERVED,
            reason: Reason::TruncatedIpv4 as u8,
            ..raw()
        };
        let expected = Event {
            verdict: "would_drop".to_owned(),
            reason: "truncated_ipv4".to_owned(),
            class: None,
            packet: None,
            frame_bytes: 20,
            ..expected()
        };
        assert_eq!(decoded(&short), expected);
        // Numbers that the kernel side never writes must not stop the reader.
        let odd = abi::Event {
            head_len: u16::MAX,
            reason: 200,
            ..raw()
        };
        assert_eq!(decoded(&odd).reason, "reason_200");
    }

    #[test]
    fn json_is_one_flat_object() {
        let json = serde_json::to_value(expected()).unwrap();
        assert_eq!(json["source"], "203.0.113.7");
        assert_eq!(json["destination_port"], 53);
        for event in [
            Event {
                cpu: 0,
                ..expected()
            },
            Event {
                packet: None,
                head: Some("AAAA".to_owned()),
                cpu: 0,
                ..expected()
            },
        ] {
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        }
    }

    #[test]
    fn filter_asks_what_it_names_and_no_more() {
        let filter = |reason: Option<&str>, class: Option<&str>| Filter {
            reason: reason.map(str::to_owned),
            class: class.map(str::to_owned),
        };
        let cases = [
            (None, None, true),
            (Some("country_denied"), None, true),
            (Some("banned"), None, false),
            (None, Some("class 9"), true),
            (None, Some("US"), false),
            (Some("country_denied"), Some("US"), false),
        ];
        for (reason, class, wanted) in cases {
            let filter = filter(reason, class);
            assert_eq!(filter.wants(&expected()), wanted, "{filter:?}");
        }
        let no_class = Event {
            class: None,
            ..expected()
        };
        assert!(!filter(None, Some("US")).wants(&no_class));
    }

    #[test]
    fn ends_of_ipv6_stand_in_brackets() {
        let packet = PacketLine {
            source: "2001:db8::7".parse().unwrap(),
            destination: "2001:db8::1".parse().unwrap(),
            protocol: 6,
            source_port: Some(1),
            destination_port: Some(80),
        };
        assert_eq!(packet.words(), "[2001:db8::7]:1 > [2001:db8::1]:80/tcp");
        let ping = PacketLine {
            protocol: 58,
            source_port: None,
            destination_port: None,
            ..packet
        };
        assert_eq!(ping.words(), "2001:db8::7 > 2001:db8::1 icmpv6");
    }
}

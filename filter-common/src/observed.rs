//! What observe mode lets pass, by where it went: one value, written by the kernel side for drops that are
//! observed, and never in enforce mode.

use crate::{
    abi::{Count, REASON_SLOTS, outcome},
    country::Class,
    packet::{Packet, Transport, protocol},
    verdict::Reason,
};

/// Ports of one protocol.
const PORTS: usize = 1 << 16;
/// Where the counts of UDP ports start in [`Observed::destinations`].
const UDP: usize = PORTS;
/// Where those of protocols start, for packets without a port.
const PROTOCOLS: usize = 2 * PORTS;
/// Places that are told apart.
pub const DESTINATIONS: usize = PROTOCOLS + 256;

/// The observed time, and what it would have cost to enforce.
///
/// CPUs share it: the kernel side adds atomically.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Observed {
    /// By [`Destination`]: what has gone there and would have been dropped, since `since_unix_s`. Frames that are
    /// no packets have no destination.
    pub destinations: [Count; DESTINATIONS],
    /// When the observed time began: seconds since the Unix epoch. The host writes this and what follows.
    pub since_unix_s: u64,
    /// What [`crate::abi::Counters::reasons`] of all interfaces had counted as observed when it began.
    /// Wrapping: interfaces that go away take their counts along.
    pub reasons_before: [Count; REASON_SLOTS],
    /// The same of [`crate::abi::Counters::classes`] and [`outcome::WOULD_DROP`].
    pub classes_before: [Count; Class::COUNT],
}

/// Where a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Destination {
    /// The destination port.
    Tcp(u16),
    /// The destination port.
    Udp(u16),
    /// The IP protocol, of whatever has no port: later fragments of TCP and UDP as well.
    Protocol(u8),
}

impl Destination {
    #[inline(always)] // One caller in the kernel.
    pub fn of(packet: &Packet) -> Self {
        match packet.transport() {
            Transport::Tcp { dst_port, .. } => Self::Tcp(dst_port),
            Transport::Udp { dst_port, .. } => Self::Udp(dst_port),
            Transport::Icmp(_) => Self::Protocol(protocol::ICMP),
            Transport::Icmpv6(_) => Self::Protocol(protocol::ICMPV6),
            Transport::Other { protocol } | Transport::LaterFragment { protocol } => {
                Self::Protocol(protocol)
            }
        }
    }

    /// The index in [`Observed::destinations`].
    #[inline(always)] // An addition.
    pub const fn index(self) -> usize {
        match self {
            Self::Tcp(port) => port as usize,
            Self::Udp(port) => UDP + port as usize,
            Self::Protocol(protocol) => PROTOCOLS + protocol as usize,
        }
    }

    /// All of them, by index.
    pub fn all() -> impl Iterator<Item = Self> {
        let tcp = (0..=u16::MAX).map(Self::Tcp);
        let udp = (0..=u16::MAX).map(Self::Udp);
        tcp.chain(udp).chain((0..=u8::MAX).map(Self::Protocol))
    }
}

/// Whether drops of this reason are of packets that have a [`Destination`]: the others are of frames that could not
/// be read to the end.
#[inline(always)] // Two comparisons.
pub const fn has_destination(reason: usize) -> bool {
    reason >= Reason::Banned as usize && reason <= Reason::ConnectionLimit as usize
}

const _: () = {
    assert!(size_of::<Observed>() == (DESTINATIONS + REASON_SLOTS + Class::COUNT) * 16 + 8);
    assert!(outcome::COUNT == 3);
};

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, made of integers alone, without padding (the assert above adds the fields up).
unsafe impl aya::Pod for Observed {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        packet::{Address, IcmpMessage, TcpFlags},
        verdict::Verdict,
    };

    #[test]
    fn packets_without_a_port_are_told_apart_by_protocol() {
        let destination = |transport| {
            let address = Address::v4([192, 0, 2, 1]);
            Destination::of(&Packet::new(address, address, 64, transport))
        };
        let message = IcmpMessage::echo(8, 7);
        for (transport, expected, index) in [
            (
                Transport::Tcp {
                    src_port: 1,
                    dst_port: 443,
                    flags: TcpFlags(TcpFlags::SYN),
                },
                Destination::Tcp(443),
                443,
            ),
            (
                Transport::Udp {
                    src_port: 1,
                    dst_port: 65_535,
                },
                Destination::Udp(65_535),
                131_071,
            ),
            (Transport::Icmp(message), Destination::Protocol(1), 131_073),
            (
                Transport::Icmpv6(message),
                Destination::Protocol(58),
                131_130,
            ),
            (
                Transport::Other { protocol: 255 },
                Destination::Protocol(255),
                131_327,
            ),
            (
                Transport::LaterFragment { protocol: 17 },
                Destination::Protocol(17),
                131_089,
            ),
        ] {
            assert_eq!(destination(transport), expected, "{transport:?}");
            assert_eq!(expected.index(), index, "{transport:?}");
        }
        for (index, destination) in Destination::all().enumerate() {
            assert_eq!(destination.index(), index);
        }
        assert_eq!(Destination::all().count(), DESTINATIONS);
    }

    #[test]
    fn drops_by_the_policy_have_a_place_and_malformed_frames_have_none() {
        let with_place: Vec<&str> = Reason::ALL
            .iter()
            .filter(|reason| has_destination(**reason as usize))
            .map(|reason| {
                assert_eq!(reason.verdict(), Verdict::Drop);
                reason.label()
            })
            .collect();
        assert_eq!(
            with_place,
            [
                "banned",
                "rule_denied",
                "country_denied",
                "unknown_denied",
                "private_denied",
                "packet_limit",
                "connection_limit"
            ]
        );
    }
}

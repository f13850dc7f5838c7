//! The smallest frames that the gate can be asked about. Checksums are 0: the gate reads none.

use std::net::IpAddr;

use filter_common::packet::{TcpFlags, protocol};

/// 64 bytes on the wire, less the FCS, which no program sees (IEEE 802.3 §4.4.2).
const MIN_FRAME_LEN: usize = 64 - 4;
const ETHERNET_LEN: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const SRC_PORT: u16 = 40_000;
const HOP_LIMIT: u8 = 64;

/// What a frame carries behind its IP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// The first TCP segment of a connection, to this port.
    Syn(u16),
    /// A TCP segment of a connection that stands.
    Segment(u16),
    Datagram(u16),
    /// Eight bytes of another protocol: an echo request, if the protocol has one.
    Other(u8),
}

impl Content {
    fn protocol(self) -> u8 {
        match self {
            Self::Syn(_) | Self::Segment(_) => protocol::TCP,
            Self::Datagram(_) => protocol::UDP,
            Self::Other(number) => number,
        }
    }

    fn bytes(self) -> Vec<u8> {
        let tcp = |dst_port: u16, flags: u8| {
            let mut header = [0; 20];
            header[..2].copy_from_slice(&SRC_PORT.to_be_bytes());
            header[2..4].copy_from_slice(&dst_port.to_be_bytes());
            // Data offset: five words, no options.
            header[12] = 5 << 4;
            header[13] = flags;
            header.to_vec()
        };
        match self {
            Self::Syn(port) => tcp(port, TcpFlags::SYN),
            Self::Segment(port) => tcp(port, TcpFlags::ACK),
            Self::Datagram(port) => {
                let words = [SRC_PORT, port, 8, 0];
                words.iter().flat_map(|word| word.to_be_bytes()).collect()
            }
            // Echo requests: type 8 (RFC 792) and 128 (RFC 4443 §4.1).
            Self::Other(protocol::ICMP) => vec![8, 0, 0, 0, 0, 0, 0, 0],
            Self::Other(protocol::ICMPV6) => vec![128, 0, 0, 0, 0, 0, 0, 0],
            Self::Other(_) => vec![0; 8],
        }
    }

    /// The same service, asked by a connection that stands, where there is such a thing.
    pub fn established(self) -> Self {
        match self {
            Self::Syn(port) => Self::Segment(port),
            other => other,
        }
    }
}

/// A whole frame. Both addresses are of one family.
pub fn ip(source: IpAddr, destination: IpAddr, content: Content) -> Vec<u8> {
    let payload = content.bytes();
    let (ethertype, header) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = [0; 20];
            // Version 4, five words.
            header[0] = 0x45;
            let total_len = (header.len() + payload.len()) as u16;
            header[2..4].copy_from_slice(&total_len.to_be_bytes());
            header[8] = HOP_LIMIT;
            header[9] = content.protocol();
            header[12..16].copy_from_slice(&source.octets());
            header[16..].copy_from_slice(&destination.octets());
            (ETHERTYPE_IPV4, header.to_vec())
        }
        (source, destination) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let mut header = [0; 40];
            // Version 6.
            header[0] = 0x60;
            header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
            header[6] = content.protocol();
            header[7] = HOP_LIMIT;
            header[8..24].copy_from_slice(&octets(source));
            header[24..].copy_from_slice(&octets(destination));
            (ETHERTYPE_IPV6, header.to_vec())
        }
    };
    ethernet(ethertype, &[header, payload].concat())
}

/// `frame`, made by [`ip`], with a length in its IP header that cannot be.
pub fn malformed(mut frame: Vec<u8>, is_v4: bool) -> Vec<u8> {
    if is_v4 {
        // A header of four words (RFC 791 §3.1 asks for five).
        frame[ETHERNET_LEN] = 0x44;
    } else {
        // A payload far beyond the end of the frame.
        frame[ETHERNET_LEN + 4..ETHERNET_LEN + 6].copy_from_slice(&u16::MAX.to_be_bytes());
    }
    frame
}

/// An ARP request (RFC 826), as far as the gate reads it.
pub fn arp() -> Vec<u8> {
    ethernet(ETHERTYPE_ARP, &[0, 1, 8, 0, 6, 4, 0, 1])
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    // Locally administered addresses that nobody has; the gate does not look at them.
    let mut frame = vec![2, 0xce, 0xc0, 0, 0, 1, 2, 0xce, 0xc0, 0, 0, 2];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(MIN_FRAME_LEN), 0);
    frame
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use filter_common::{
        packet::{IcmpMessage, Packet, Transport},
        parse::parse,
    };

    use super::*;

    const V4: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)),
    ];
    const V6: [IpAddr; 2] = [
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
    ];

    #[test]
    fn frames_are_the_smallest_of_their_kind_and_parse_as_meant() {
        let tcp = |flags| Transport::Tcp {
            src_port: 40_000,
            dst_port: 443,
            flags: TcpFlags(flags),
        };
        let udp = Transport::Udp {
            src_port: 40_000,
            dst_port: 53,
        };
        let echo_v4 = Transport::Icmp(IcmpMessage::echo(8, 0));
        let echo_v6 = Transport::Icmpv6(IcmpMessage::echo(128, 0));
        let other = Transport::Other { protocol: 50 };
        for ([source, destination], content, transport, frame_len) in [
            (V4, Content::Syn(443), tcp(2), 60),
            (V6, Content::Syn(443), tcp(2), 14 + 40 + 20),
            (V4, Content::Segment(443), tcp(0x10), 60),
            (V6, Content::Segment(443), tcp(0x10), 14 + 40 + 20),
            (V4, Content::Datagram(53), udp, 60),
            (V6, Content::Datagram(53), udp, 14 + 40 + 8),
            (V4, Content::Other(1), echo_v4, 60),
            (V6, Content::Other(58), echo_v6, 14 + 40 + 8),
            (V4, Content::Other(50), other, 60),
            (V6, Content::Other(50), other, 14 + 40 + 8),
        ] {
            let frame = ip(source, destination, content);
            let packet = Packet::new(source.into(), destination.into(), 64, transport);
            assert_eq!(parse(frame.as_slice()), Ok(Some(packet)), "{content:?}");
            assert_eq!(frame.len(), frame_len, "{source} {content:?}");
        }
        assert_eq!(parse(arp().as_slice()), Ok(None));
        assert_eq!(arp().len(), 60);
    }

    #[test]
    fn malformed_frames_break_in_the_ip_header() {
        for ([source, destination], is_v4, reason) in [
            (V4, true, "bad_ipv4_header_len"),
            (V6, false, "bad_ipv6_payload_len"),
        ] {
            let frame = malformed(ip(source, destination, Content::Syn(443)), is_v4);
            let error = parse(frame.as_slice()).unwrap_err();
            assert_eq!(error.reason().label(), reason);
        }
    }
}

//! Ethernet frames for tests, written field by field.
//!
//! Lengths and checksums are correct unless a test overwrites bytes of the result. The headers
//! come from etherparse, which shares no code with cerco's own parser.

use crate::veth::Mac;
use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpFragOffset, IpNumber, Ipv4Header,
    Ipv4Options, Ipv6Header, TcpHeader, UdpHeader,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q, the customer tag.
pub const TPID_CUSTOMER: u16 = 0x8100;
/// IEEE 802.1ad, the service tag.
pub const TPID_SERVICE: u16 = 0x88a8;

/// One frame, outermost header first.
#[derive(Clone, Debug)]
pub struct Frame {
    pub destination: Mac,
    pub source: Mac,
    /// Outermost tag first; any number.
    pub vlan_tags: Vec<VlanTag>,
    pub network: Network,
    pub transport: Transport,
}

/// A VLAN tag. `control` holds priority (3 bits), drop eligibility (1) and VLAN id (12).
#[derive(Clone, Copy, Debug)]
pub struct VlanTag {
    pub tpid: u16,
    pub control: u16,
}

#[derive(Clone, Debug)]
pub enum Network {
    V4 {
        source: Ipv4Addr,
        destination: Ipv4Addr,
        time_to_live: u8,
        /// A multiple of four bytes, at most 40.
        options: Vec<u8>,
        fragment: Option<Fragment>,
    },
    V6 {
        source: Ipv6Addr,
        destination: Ipv6Addr,
        hop_limit: u8,
        /// In the order of the wire, sensible or not.
        extensions: Vec<Extension>,
    },
}

/// The place of a fragment in its datagram; `offset` in bytes, a multiple of eight.
#[derive(Clone, Copy, Debug)]
pub struct Fragment {
    pub offset: u16,
    pub more: bool,
    pub identification: u32,
}

/// An IPv6 extension header; its first byte, the next header, is filled in by [`Frame::bytes`].
#[derive(Clone, Debug)]
pub struct Extension {
    pub number: u8,
    pub bytes: Vec<u8>,
}

impl Extension {
    /// Hop-by-hop (0), routing (43) or destination options (60) of `8 + 8 * extra_words` bytes,
    /// filled by one PadN option (RFC 8200 §4.2), which a routing header reads as zero segments.
    pub fn options(number: u8, extra_words: u8) -> Self {
        let len = 8 + 8 * usize::from(extra_words);
        let mut bytes = vec![0; len];
        bytes[1] = extra_words;
        if number != 43 {
            bytes[2] = 1;
            bytes[3] = (len - 4).min(255) as u8;
        }
        Self { number, bytes }
    }

    /// A fragment header (RFC 8200 §4.5).
    pub fn fragment(fragment: Fragment) -> Self {
        let mut bytes = vec![0; 8];
        let offset_and_flag = (fragment.offset & !7) | u16::from(fragment.more);
        bytes[2..4].copy_from_slice(&offset_and_flag.to_be_bytes());
        bytes[4..8].copy_from_slice(&fragment.identification.to_be_bytes());
        Self { number: 44, bytes }
    }

    /// An authentication header with 12 bytes of check value. Its length field counts words of
    /// four bytes minus two, not of eight as all others do (RFC 4302 §2.2).
    pub fn authentication() -> Self {
        let mut bytes = vec![0; 24];
        bytes[1] = 24 / 4 - 2;
        Self { number: 51, bytes }
    }
}

/// TCP control bits (RFC 9293 §3.1).
pub mod tcp_flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

#[derive(Clone, Debug)]
pub enum Transport {
    Tcp {
        source_port: u16,
        destination_port: u16,
        /// Bits of [`tcp_flags`].
        flags: u8,
        payload: Vec<u8>,
    },
    Udp {
        source_port: u16,
        destination_port: u16,
        payload: Vec<u8>,
    },
    Icmpv4(Icmpv4Type, Vec<u8>),
    /// Over IPv6 only.
    Icmpv6(Icmpv6Type, Vec<u8>),
    /// Anything else, a later fragment for instance: the bytes as they are.
    Raw {
        protocol: u8,
        bytes: Vec<u8>,
    },
}

impl Transport {
    fn protocol(&self) -> IpNumber {
        match self {
            Self::Tcp { .. } => IpNumber::TCP,
            Self::Udp { .. } => IpNumber::UDP,
            Self::Icmpv4(..) => IpNumber::ICMP,
            Self::Icmpv6(..) => IpNumber::IPV6_ICMP,
            Self::Raw { protocol, .. } => IpNumber(*protocol),
        }
    }
}

impl Network {
    /// A plain header, without options or extension headers.
    ///
    /// # Panics
    /// When the addresses are of different families.
    pub fn plain(source: IpAddr, destination: IpAddr) -> Self {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Self::V4 {
                source,
                destination,
                time_to_live: 64,
                options: Vec::new(),
                fragment: None,
            },
            (IpAddr::V6(source), IpAddr::V6(destination)) => Self::V6 {
                source,
                destination,
                hop_limit: 64,
                extensions: Vec::new(),
            },
            _ => panic!("a packet from {source} to {destination} mixes families"),
        }
    }
}

impl Frame {
    /// An untagged frame from one host's link to another's.
    pub fn new(source: Mac, destination: Mac, network: Network, transport: Transport) -> Self {
        Self {
            destination,
            source,
            vlan_tags: Vec::new(),
            network,
            transport,
        }
    }

    /// The first packet of a TCP connection.
    pub fn tcp_syn(source: (Mac, SocketAddr), destination: (Mac, SocketAddr)) -> Self {
        Self::new(
            source.0,
            destination.0,
            Network::plain(source.1.ip(), destination.1.ip()),
            Transport::Tcp {
                source_port: source.1.port(),
                destination_port: destination.1.port(),
                flags: tcp_flags::SYN,
                payload: Vec::new(),
            },
        )
    }

    /// A UDP datagram.
    pub fn udp(source: (Mac, SocketAddr), destination: (Mac, SocketAddr), payload: &[u8]) -> Self {
        Self::new(
            source.0,
            destination.0,
            Network::plain(source.1.ip(), destination.1.ip()),
            Transport::Udp {
                source_port: source.1.port(),
                destination_port: destination.1.port(),
                payload: payload.to_vec(),
            },
        )
    }

    /// The frame as it goes on the wire, without the trailing check sequence.
    ///
    /// # Panics
    /// When a length does not fit its field, which is a mistake of the test.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(self.destination.0);
        bytes.extend(self.source.0);
        for tag in &self.vlan_tags {
            bytes.extend(tag.tpid.to_be_bytes());
            bytes.extend(tag.control.to_be_bytes());
        }
        match &self.network {
            Network::V4 {
                source,
                destination,
                time_to_live,
                options,
                fragment,
            } => {
                bytes.extend(ETHERTYPE_IPV4.to_be_bytes());
                let payload = self.transport_over_v4(*source, *destination);
                let mut header = Ipv4Header::new(
                    0,
                    *time_to_live,
                    self.transport.protocol(),
                    source.octets(),
                    destination.octets(),
                )
                .expect("a header without payload fits");
                header.options =
                    Ipv4Options::try_from(options.as_slice()).expect("options of 0, 4, … 40 bytes");
                header
                    .set_payload_len(payload.len())
                    .expect("a payload below 64 KiB");
                if let Some(fragment) = fragment {
                    header.dont_fragment = false;
                    header.more_fragments = fragment.more;
                    header.identification = fragment.identification as u16;
                    header.fragment_offset =
                        IpFragOffset::try_new(fragment.offset / 8).expect("an offset below 64 KiB");
                }
                header.header_checksum = header.calc_header_checksum();
                bytes.extend(header.to_bytes());
                bytes.extend(payload);
            }
            Network::V6 {
                source,
                destination,
                hop_limit,
                extensions,
            } => {
                bytes.extend(ETHERTYPE_IPV6.to_be_bytes());
                let payload = self.transport_over_v6(*source, *destination);
                let protocol = self.transport.protocol().0;
                // Every header names the one behind it.
                let numbers = extensions.iter().map(|extension| extension.number);
                let mut next = numbers.chain([protocol]);
                let extensions_len: usize = extensions.iter().map(|e| e.bytes.len()).sum();
                let header = Ipv6Header {
                    payload_length: u16::try_from(extensions_len + payload.len())
                        .expect("a payload below 64 KiB"),
                    next_header: IpNumber(next.next().expect("the protocol is always there")),
                    hop_limit: *hop_limit,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                bytes.extend(header.to_bytes());
                for extension in extensions {
                    let start = bytes.len();
                    bytes.extend(&extension.bytes);
                    bytes[start] = next.next().expect("one number behind each extension");
                }
                bytes.extend(payload);
            }
        }
        bytes
    }

    fn transport_over_v4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let (source, destination) = (source.octets(), destination.octets());
        match &self.transport {
            Transport::Tcp { payload, .. } => {
                let mut header = self.tcp_header();
                header.checksum = header
                    .calc_checksum_ipv4_raw(source, destination, payload)
                    .expect("a payload below 64 KiB");
                [&header.to_bytes(), payload.as_slice()].concat()
            }
            Transport::Udp { payload, .. } => {
                let mut header = self.udp_header();
                header.checksum = header
                    .calc_checksum_ipv4_raw(source, destination, payload)
                    .expect("a payload below 64 KiB");
                [&header.to_bytes(), payload.as_slice()].concat()
            }
            Transport::Icmpv4(icmp_type, payload) => {
                let header = Icmpv4Header::with_checksum(icmp_type.clone(), payload);
                [&header.to_bytes(), payload.as_slice()].concat()
            }
            Transport::Icmpv6(..) => panic!("ICMPv6 has no checksum over IPv4; send it as Raw"),
            Transport::Raw { bytes, .. } => bytes.clone(),
        }
    }

    fn transport_over_v6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let (source, destination) = (source.octets(), destination.octets());
        match &self.transport {
            Transport::Tcp { payload, .. } => {
                let mut header = self.tcp_header();
                header.checksum = header
                    .calc_checksum_ipv6_raw(source, destination, payload)
                    .expect("a payload below 64 KiB");
                [&header.to_bytes(), payload.as_slice()].concat()
            }
            Transport::Udp { payload, .. } => {
                let mut header = self.udp_header();
                header.checksum = header
                    .calc_checksum_ipv6_raw(source, destination, payload)
                    .expect("a payload below 64 KiB");
                [&header.to_bytes(), payload.as_slice()].concat()
            }
            Transport::Icmpv4(icmp_type, payload) => {
                let header = Icmpv4Header::with_checksum(icmp_type.clone(), payload);
                [&header.to_bytes(), payload.as_slice()].concat()
            }
            Transport::Icmpv6(icmp_type, payload) => {
                let header = Icmpv6Header::with_checksum(*icmp_type, source, destination, payload)
                    .expect("a payload below 64 KiB");
                [&header.to_bytes(), payload.as_slice()].concat()
            }
            Transport::Raw { bytes, .. } => bytes.clone(),
        }
    }

    fn tcp_header(&self) -> TcpHeader {
        let Transport::Tcp {
            source_port,
            destination_port,
            flags,
            ..
        } = self.transport
        else {
            unreachable!("called for TCP only")
        };
        let mut header = TcpHeader::new(source_port, destination_port, 1, 64_240);
        header.fin = flags & tcp_flags::FIN != 0;
        header.syn = flags & tcp_flags::SYN != 0;
        header.rst = flags & tcp_flags::RST != 0;
        header.psh = flags & tcp_flags::PSH != 0;
        header.ack = flags & tcp_flags::ACK != 0;
        header
    }

    fn udp_header(&self) -> UdpHeader {
        let Transport::Udp {
            source_port,
            destination_port,
            payload,
        } = &self.transport
        else {
            unreachable!("called for UDP only")
        };
        UdpHeader {
            source_port: *source_port,
            destination_port: *destination_port,
            length: u16::try_from(UdpHeader::LEN + payload.len()).expect("a payload below 64 KiB"),
            checksum: 0,
        }
    }
}

//! What the parser found: the parts of a packet that the decision looks at.

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Which IP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    V4,
    V6,
}

/// An IP address, left-aligned in 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// Host byte order; IPv4 fills the top 32 bits.
    hi: u64,
    /// Host byte order; 0 in IPv4.
    lo: u64,
    family: Family,
}

impl Address {
    /// Network byte order.
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self {
            hi: (u32::from_be_bytes(octets) as u64) << 32,
            lo: 0,
            family: Family::V4,
        }
    }

    /// Network byte order.
    pub const fn v6(octets: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(octets);
        Self {
            hi: (bits >> 64) as u64,
            lo: bits as u64,
            family: Family::V6,
        }
    }

    /// Host byte order, the upper half first.
    #[inline(always)] // Two registers.
    pub const fn v6_from_words(hi: u64, lo: u64) -> Self {
        Self {
            hi,
            lo,
            family: Family::V6,
        }
    }

    pub const fn family(&self) -> Family {
        self.family
    }

    /// The address left-aligned in 128 bits, as two host-order words: IPv4 fills the top 32 bits.
    #[inline(always)] // Two registers.
    pub const fn left_aligned(&self) -> (u64, u64) {
        (self.hi, self.lo)
    }

    /// fe80::/10 (RFC 4291 §2.5.6). IPv4 has no such duty in what cerco asks this for.
    pub const fn is_ipv6_link_local(&self) -> bool {
        matches!(self.family, Family::V6) && self.hi >> 54 == 0xfe80 >> 6
    }

    /// `::`, the source of a host that has no address yet (RFC 4291 §2.5.2).
    pub const fn is_ipv6_unspecified(&self) -> bool {
        matches!(self.family, Family::V6) && self.hi == 0 && self.lo == 0
    }

    /// 224.0.0.0/4 (RFC 5771).
    pub const fn is_ipv4_multicast(&self) -> bool {
        matches!(self.family, Family::V4) && self.hi >> 60 == 0xe
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        match address.family {
            Family::V4 => Ipv4Addr::from_bits((address.hi >> 32) as u32).into(),
            Family::V6 => {
                Ipv6Addr::from_bits(u128::from(address.hi) << 64 | u128::from(address.lo)).into()
            }
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

/// The TCP flags byte (RFC 9293 §3.1): CWR ECE URG ACK PSH RST SYN FIN, high bit first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;

    /// The first segment of a connection: SYN without ACK.
    #[inline(always)] // Two instructions.
    pub const fn opens_connection(self) -> bool {
        self.0 & (Self::SYN | Self::ACK) == Self::SYN
    }

    /// True when `flag` is set.
    #[inline(always)] // Two instructions.
    pub const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// The transport header, as far as it is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transport {
    /// Ports in host byte order.
    Tcp {
        src_port: u16,
        dst_port: u16,
        flags: TcpFlags,
    },
    /// Ports in host byte order.
    Udp { src_port: u16, dst_port: u16 },
    /// ICMP over IPv4 (RFC 792).
    Icmp(IcmpMessage),
    /// ICMPv6 over IPv6 (RFC 4443).
    Icmpv6(IcmpMessage),
    /// Any other IP protocol, by its IANA number.
    Other { protocol: u8 },
    /// A fragment after the first. It has no ports: the bytes at their place are payload.
    ///
    /// `protocol` is the IPv4 protocol field or the next header of the IPv6 fragment header, which
    /// may name an extension header that only the first fragment carries.
    LaterFragment { protocol: u8 },
}

/// The head of an ICMP or ICMPv6 message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IcmpMessage {
    pub message_type: u8,
    pub code: u8,
    /// Of an echo, its identifier (RFC 792, RFC 4443 §4), host byte order. Of an error, where the packet
    /// that it quotes starts: bytes from the start of the frame. Else 0.
    pub context: u16,
}

impl IcmpMessage {
    /// An echo request or reply.
    pub const fn echo(message_type: u8, identifier: u16) -> Self {
        Self {
            message_type,
            code: 0,
            context: identifier,
        }
    }
}

/// A transport with ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    Tcp(TcpFlags),
    Udp,
}

/// One parsed packet.
///
/// Five whole words: the kernel side lays a packet into memory and reads it back, which is fast when
/// words go in as they come out; and no byte is left undefined, which the verifier would not let pass.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Packet {
    source: [u64; 2],
    destination: [u64; 2],
    /// From the lowest byte on: kind of transport, family, hop limit, `detail`, `second`, `first`: ports stand
    /// as in the frame, which are the upper half in one piece.
    header: u64,
}

/// The numbers of [`Transport`]'s variants in [`Packet`].
mod kind {
    pub const OTHER: u8 = 0;
    pub const TCP: u8 = 1;
    pub const UDP: u8 = 2;
    pub const ICMP: u8 = 3;
    pub const ICMPV6: u8 = 4;
    pub const LATER_FRAGMENT: u8 = 5;
}

impl Packet {
    /// Both addresses are of one family. `hop_limit`: the IPv4 time to live or IPv6 hop limit.
    #[inline(always)] // The kernel side makes five stores of it.
    pub const fn new(
        source: Address,
        destination: Address,
        hop_limit: u8,
        transport: Transport,
    ) -> Self {
        let (kind, detail, first, second) = match transport {
            Transport::Tcp {
                src_port,
                dst_port,
                flags,
            } => (kind::TCP, flags.0, src_port, dst_port),
            Transport::Udp { src_port, dst_port } => (kind::UDP, 0, src_port, dst_port),
            Transport::Icmp(message) => (kind::ICMP, 0, type_and_code(message), message.context),
            Transport::Icmpv6(message) => {
                (kind::ICMPV6, 0, type_and_code(message), message.context)
            }
            Transport::Other { protocol } => (kind::OTHER, protocol, 0, 0),
            Transport::LaterFragment { protocol } => (kind::LATER_FRAGMENT, protocol, 0, 0),
        };
        Self {
            source: [source.hi, source.lo],
            destination: [destination.hi, destination.lo],
            header: kind as u64
                | (source.family as u64) << 8
                | (hop_limit as u64) << 16
                | (detail as u64) << 24
                | (second as u64) << 32
                | (first as u64) << 48,
        }
    }

    /// A packet with ports, which `ports` holds as they stand in the frame, the source's first.
    #[inline(always)] // A few instructions.
    pub const fn with_ports(
        source: Address,
        destination: Address,
        hop_limit: u8,
        service: Service,
        ports: u32,
    ) -> Self {
        let (kind, detail) = match service {
            Service::Tcp(flags) => (kind::TCP, flags.0),
            Service::Udp => (kind::UDP, 0),
        };
        Self {
            source: [source.hi, source.lo],
            destination: [destination.hi, destination.lo],
            header: (ports as u64) << 32
                | (detail as u64) << 24
                | (hop_limit as u64) << 16
                | (source.family as u64) << 8
                | kind as u64,
        }
    }

    /// Its memory.
    #[inline(always)] // See `new`.
    pub const fn words(&self) -> [u64; 5] {
        [
            self.source[0],
            self.source[1],
            self.destination[0],
            self.destination[1],
            self.header,
        ]
    }

    #[inline(always)] // See `new`.
    pub const fn family(&self) -> Family {
        match self.byte(1) {
            0 => Family::V4,
            _ => Family::V6,
        }
    }

    #[inline(always)] // See `new`.
    pub const fn source(&self) -> Address {
        self.address(self.source)
    }

    #[inline(always)] // See `new`.
    pub const fn destination(&self) -> Address {
        self.address(self.destination)
    }

    /// The IPv4 time to live or IPv6 hop limit.
    #[inline(always)] // See `new`.
    pub const fn hop_limit(&self) -> u8 {
        self.byte(2)
    }

    #[inline(always)] // See `new`.
    pub const fn transport(&self) -> Transport {
        let detail = self.byte(3);
        let first = (self.header >> 48) as u16;
        let second = (self.header >> 32) as u16;
        match self.byte(0) {
            kind::TCP => Transport::Tcp {
                src_port: first,
                dst_port: second,
                flags: TcpFlags(detail),
            },
            kind::UDP => Transport::Udp {
                src_port: first,
                dst_port: second,
            },
            kind::ICMP => Transport::Icmp(icmp_message(first, second)),
            kind::ICMPV6 => Transport::Icmpv6(icmp_message(first, second)),
            kind::LATER_FRAGMENT => Transport::LaterFragment { protocol: detail },
            _ => Transport::Other { protocol: detail },
        }
    }

    #[inline(always)] // See `new`.
    const fn byte(&self, index: u32) -> u8 {
        (self.header >> (8 * index)) as u8
    }

    #[inline(always)] // See `new`.
    const fn address(&self, [hi, lo]: [u64; 2]) -> Address {
        Address {
            hi,
            lo,
            family: self.family(),
        }
    }
}

/// As they stand in the frame.
#[inline(always)] // See `Packet::new`.
const fn type_and_code(message: IcmpMessage) -> u16 {
    u16::from_be_bytes([message.message_type, message.code])
}

#[inline(always)] // See `Packet::new`.
const fn icmp_message(type_and_code: u16, context: u16) -> IcmpMessage {
    let [message_type, code] = type_and_code.to_be_bytes();
    IcmpMessage {
        message_type,
        code,
        context,
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("source", &self.source())
            .field("destination", &self.destination())
            .field("hop_limit", &self.hop_limit())
            .field("transport", &self.transport())
            .finish()
    }
}

/// IP protocol numbers (IANA), as far as the code names them.
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;

    /// Extension headers that the parser walks over (RFC 7045 §4). ESP is none of them: what
    /// follows it is encrypted.
    #[inline(always)] // A comparison chain that the caller's match can absorb.
    pub const fn is_ipv6_extension(next_header: u8) -> bool {
        matches!(
            next_header,
            HOP_BY_HOP
                | ROUTING
                | FRAGMENT
                | AUTHENTICATION
                | DESTINATION_OPTIONS
                | MOBILITY
                | HIP
                | SHIM6
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_keeps_every_field() {
        let v4 = Address::v4([198, 51, 100, 7]);
        let v6 = Address::v6([0x20, 1, 0xd, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        for (source, destination) in [
            (v4, Address::v4([192, 0, 2, 1])),
            (v6, Address::v6([0xff; 16])),
        ] {
            for transport in [
                Transport::Tcp {
                    src_port: 0xfedc,
                    dst_port: 0x1234,
                    flags: TcpFlags(0xa5),
                },
                Transport::Udp {
                    src_port: 0xffff,
                    dst_port: 1,
                },
                Transport::Icmp(IcmpMessage {
                    message_type: 0xfe,
                    code: 0xdc,
                    context: 0xba98,
                }),
                Transport::Icmpv6(IcmpMessage {
                    message_type: 1,
                    code: 0xff,
                    context: 0xffff,
                }),
                Transport::Other { protocol: 0xff },
                Transport::LaterFragment { protocol: 6 },
            ] {
                let packet = Packet::new(source, destination, 0xc3, transport);
                assert_eq!(packet.source(), source);
                assert_eq!(packet.destination(), destination);
                assert_eq!(packet.family(), source.family());
                assert_eq!(packet.hop_limit(), 0xc3);
                assert_eq!(packet.transport(), transport);
            }
        }
    }

    #[test]
    fn address_is_what_it_was_made_of() {
        for text in [
            "198.51.100.7",
            "0.0.0.0",
            "2001:db8:1:2:3:4:5:6",
            "::",
            "::ffff:0:1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address, "{text}");
        }
    }
}

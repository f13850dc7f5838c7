//! What the parser found: the parts of a packet that the decision looks at.

/// An IP address in network byte order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    V4([u8; 4]),
    V6([u8; 16]),
}

impl Address {
    /// The address left-aligned in 128 bits, as two host-order words: IPv4 fills the top 32 bits.
    #[inline(always)] // The kernel keeps both words in registers.
    pub const fn left_aligned(&self) -> (u64, u64) {
        match *self {
            Self::V4(octets) => ((u32::from_be_bytes(octets) as u64) << 32, 0),
            Self::V6(o) => (
                u64::from_be_bytes([o[0], o[1], o[2], o[3], o[4], o[5], o[6], o[7]]),
                u64::from_be_bytes([o[8], o[9], o[10], o[11], o[12], o[13], o[14], o[15]]),
            ),
        }
    }

    /// fe80::/10 (RFC 4291 §2.5.6). IPv4 has no such duty in what cerco asks this for.
    pub const fn is_ipv6_link_local(&self) -> bool {
        matches!(*self, Self::V6(o) if o[0] == 0xfe && o[1] & 0xc0 == 0x80)
    }

    /// `::`, the source of a host that has no address yet (RFC 4291 §2.5.2).
    pub const fn is_ipv6_unspecified(&self) -> bool {
        matches!(self, Self::V6(_)) && {
            let (hi, lo) = self.left_aligned();
            hi == 0 && lo == 0
        }
    }

    /// 224.0.0.0/4 (RFC 5771).
    pub const fn is_ipv4_multicast(&self) -> bool {
        matches!(*self, Self::V4(o) if o[0] & 0xf0 == 0xe0)
    }
}

/// The TCP flags byte (RFC 9293 §3.1): CWR ECE URG ACK PSH RST SYN FIN, high bit first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    pub const SYN: u8 = 0x02;
    pub const ACK: u8 = 0x10;

    /// The first segment of a connection: SYN without ACK.
    #[inline(always)] // Two instructions.
    pub const fn opens_connection(self) -> bool {
        self.0 & (Self::SYN | Self::ACK) == Self::SYN
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
    Icmp { message_type: u8, code: u8 },
    /// ICMPv6 over IPv6 (RFC 4443).
    Icmpv6 { message_type: u8, code: u8 },
    /// Any other IP protocol, by its IANA number.
    Other { protocol: u8 },
    /// A fragment after the first. It has no ports: the bytes at their place are payload.
    ///
    /// `protocol` is the IPv4 protocol field or the next header of the IPv6 fragment header, which
    /// may name an extension header that only the first fragment carries.
    LaterFragment { protocol: u8 },
}

/// One parsed packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Packet {
    pub source: Address,
    pub destination: Address,
    /// The IPv4 time to live or IPv6 hop limit.
    pub hop_limit: u8,
    pub transport: Transport,
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

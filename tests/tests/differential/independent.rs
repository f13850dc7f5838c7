//! The parser against etherparse, which shares no code with it.
//!
//! Compared wherever both accept a frame: addresses, hop limit, and the transport. Where the two
//! differ by design, the transport is not compared:
//! - payload length 0 in IPv6: etherparse takes the rest of the frame (a jumbogram's length would
//!   stand in an option), cerco takes the header's word, as Linux does without that option;
//! - AH over IPv4: etherparse walks over it; to cerco it is protocol 51, without ports;
//! - mobility, HIP and Shim6 headers: cerco walks over them (RFC 7045), etherparse stops;
//! - ICMP over IPv6 and ICMPv6 over IPv4: etherparse reads them, to Linux and cerco they are nothing.
//!
//! Frames that only one of the two accepts do not count as differences: etherparse refuses, for
//! instance, short ICMP timestamps, and walks over nine extension headers or three VLAN tags.

use etherparse::{
    IpNumber, Ipv6ExtensionSlice, NetSlice, SlicedPacket, TcpHeaderSlice, TransportSlice,
    UdpHeaderSlice,
};
use filter_common::packet::{Address, IcmpMessage, Packet, TcpFlags, Transport};

/// What etherparse read; `transport` is `None` where the two differ by design.
pub struct Independent {
    source: Address,
    destination: Address,
    hop_limit: u8,
    transport: Option<Transport>,
}

/// How much of a frame was compared.
#[derive(PartialEq, Eq)]
pub enum Compared {
    Nothing,
    Addresses,
    All,
}

/// `Err` holds what etherparse makes of the frame.
pub fn compare(frame: &[u8], packet: &Packet) -> Result<Compared, String> {
    let Some(theirs) = SlicedPacket::from_ethernet(frame)
        .ok()
        .and_then(|sliced| read(frame, &sliced))
    else {
        return Ok(Compared::Nothing);
    };
    let same_network = theirs.source == packet.source()
        && theirs.destination == packet.destination()
        && theirs.hop_limit == packet.hop_limit();
    match theirs.transport {
        None if same_network => Ok(Compared::Addresses),
        Some(transport) if same_network && transport == packet.transport() => Ok(Compared::All),
        transport => Err(format!(
            "{:?} to {:?}, hop limit {}, {transport:?}",
            theirs.source, theirs.destination, theirs.hop_limit
        )),
    }
}

fn read(frame: &[u8], sliced: &SlicedPacket<'_>) -> Option<Independent> {
    match sliced.net.as_ref()? {
        NetSlice::Ipv4(v4) => {
            let header = v4.header();
            let protocol = header.protocol();
            let transport = if header.fragments_offset().value() != 0 {
                Some(Transport::LaterFragment {
                    protocol: protocol.0,
                })
            } else if protocol == IpNumber::AUTHENTICATION_HEADER || protocol == IpNumber::IPV6_ICMP
            {
                None
            } else {
                transport(frame, sliced, protocol, v4.payload().payload)
            };
            Some(Independent {
                source: Address::v4(header.source()),
                destination: Address::v4(header.destination()),
                hop_limit: header.ttl(),
                transport,
            })
        }
        NetSlice::Ipv6(v6) => {
            let header = v6.header();
            let later_fragment =
                v6.extensions()
                    .clone()
                    .into_iter()
                    .find_map(|extension| match extension {
                        Ipv6ExtensionSlice::Fragment(fragment) => {
                            (fragment.fragment_offset().value() != 0)
                                .then_some(fragment.next_header().0)
                        }
                        _ => None,
                    });
            let protocol = v6.payload().ip_number;
            let transport = if let Some(protocol) = later_fragment {
                Some(Transport::LaterFragment { protocol })
            } else if header.payload_length() == 0
                || protocol == IpNumber::ICMP
                || matches!(protocol.0, 135 | 139 | 140)
            {
                None
            } else {
                transport(frame, sliced, protocol, v6.payload().payload)
            };
            Some(Independent {
                source: Address::v6(header.source()),
                destination: Address::v6(header.destination()),
                hop_limit: header.hop_limit(),
                transport,
            })
        }
        NetSlice::Arp(_) => None,
    }
}

/// `frame`: what the slices are parts of.
fn transport(
    frame: &[u8],
    sliced: &SlicedPacket<'_>,
    protocol: IpNumber,
    payload: &[u8],
) -> Option<Transport> {
    Some(match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => Transport::Tcp {
            src_port: tcp.source_port(),
            dst_port: tcp.destination_port(),
            flags: TcpFlags(tcp.slice()[13]),
        },
        Some(TransportSlice::Udp(udp)) => Transport::Udp {
            src_port: udp.source_port(),
            dst_port: udp.destination_port(),
        },
        Some(TransportSlice::Icmpv4(icmp)) => Transport::Icmp(IcmpMessage {
            message_type: icmp.type_u8(),
            code: icmp.code_u8(),
            context: match icmp.type_u8() {
                0 | 8 => identifier(icmp.slice()),
                3 | 11 | 12 => behind(frame, icmp.slice()),
                _ => 0,
            },
        }),
        Some(TransportSlice::Icmpv6(icmp)) => Transport::Icmpv6(IcmpMessage {
            message_type: icmp.type_u8(),
            code: icmp.code_u8(),
            context: match icmp.type_u8() {
                128 | 129 => identifier(icmp.slice()),
                0..=127 => behind(frame, icmp.slice()),
                _ => 0,
            },
        }),
        // etherparse leaves the payload of a first fragment alone; its header slices do not.
        None if protocol == IpNumber::TCP => {
            let tcp = TcpHeaderSlice::from_slice(payload).ok()?;
            Transport::Tcp {
                src_port: tcp.source_port(),
                dst_port: tcp.destination_port(),
                flags: TcpFlags(tcp.slice()[13]),
            }
        }
        None if protocol == IpNumber::UDP => {
            let udp = UdpHeaderSlice::from_slice(payload).ok()?;
            Transport::Udp {
                src_port: udp.source_port(),
                dst_port: udp.destination_port(),
            }
        }
        None if protocol == IpNumber::ICMP || protocol == IpNumber::IPV6_ICMP => return None,
        Some(TransportSlice::Igmp(_)) | None => Transport::Other {
            protocol: protocol.0,
        },
    })
}

/// The third word of an echo message.
fn identifier(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[4], message[5]])
}

/// Where the packet that an error quotes starts in the frame.
fn behind(frame: &[u8], message: &[u8]) -> u16 {
    (message.as_ptr().addr() - frame.as_ptr().addr() + 8) as u16
}

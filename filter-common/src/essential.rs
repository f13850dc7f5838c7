//! Traffic without which a host falls off its network, whatever the policy says.
//!
//! ARP is not IP and never gets here. What can come from beyond the local link (DHCPv4, path-MTU
//! messages) is the smallest set that works; the rest is checked to be from the link itself.

use crate::packet::{Family, IcmpMessage, Packet, Transport, protocol};

/// A router lowers the hop limit, so 255 proves that the sender is a neighbour (RFC 4861 §6.1, §7.1).
const FROM_NEIGHBOUR_HOP_LIMIT: u8 = 255;
/// Group membership messages never leave the link (RFC 2236 §2, RFC 2710 §3, RFC 3810 §5).
const GROUP_MEMBERSHIP_HOP_LIMIT: u8 = 1;

mod icmp {
    pub const DESTINATION_UNREACHABLE: u8 = 3;
    pub const FRAGMENTATION_NEEDED: u8 = 4;
}

mod icmpv6 {
    pub const PACKET_TOO_BIG: u8 = 2;
    pub const MLD_QUERY: u8 = 130;
    pub const MLD_DONE: u8 = 132;
    pub const ROUTER_SOLICITATION: u8 = 133;
    pub const REDIRECT: u8 = 137;
    pub const MLDV2_REPORT: u8 = 143;
}

mod port {
    pub const DHCPV4_SERVER: u16 = 67;
    pub const DHCPV4_CLIENT: u16 = 68;
    pub const DHCPV6_CLIENT: u16 = 546;
    pub const DHCPV6_SERVER: u16 = 547;
}

/// True for TCP, and UDP to other ports than a DHCP client's: nothing that [`is_essential`] could mean.
#[inline(always)] // A few comparisons, on the hot path.
pub fn is_never_essential(packet: &Packet) -> bool {
    match packet.transport() {
        Transport::Tcp { .. } => true,
        Transport::Udp { dst_port, .. } => {
            dst_port != port::DHCPV4_CLIENT && dst_port != port::DHCPV6_CLIENT
        }
        _ => false,
    }
}

/// True for neighbour discovery, group membership, DHCP replies and path-MTU messages.
#[inline(always)] // Called once, on the hot path.
pub fn is_essential(packet: &Packet) -> bool {
    match packet.transport() {
        Transport::Icmpv6(message) => is_essential_icmpv6(packet, message),
        Transport::Icmp(message) => {
            message.message_type == icmp::DESTINATION_UNREACHABLE
                && message.code == icmp::FRAGMENTATION_NEEDED
        }
        Transport::Udp {
            src_port: port::DHCPV4_SERVER,
            dst_port: port::DHCPV4_CLIENT,
        } => matches!(packet.family(), Family::V4),
        // Servers and relays answer a client from their link-local address (RFC 8415 §18.4).
        Transport::Udp {
            src_port: port::DHCPV6_SERVER,
            dst_port: port::DHCPV6_CLIENT,
        } => packet.source().is_ipv6_link_local(),
        // IGMP: without it a snooping switch stops the host's multicast.
        Transport::Other {
            protocol: protocol::IGMP,
        } => {
            packet.hop_limit() == GROUP_MEMBERSHIP_HOP_LIMIT
                && packet.destination().is_ipv4_multicast()
        }
        _ => false,
    }
}

#[inline(always)] // Called once, on the hot path.
fn is_essential_icmpv6(packet: &Packet, message: IcmpMessage) -> bool {
    match message.message_type {
        icmpv6::PACKET_TOO_BIG => true,
        icmpv6::ROUTER_SOLICITATION..=icmpv6::REDIRECT => {
            packet.hop_limit() == FROM_NEIGHBOUR_HOP_LIMIT && message.code == 0
        }
        icmpv6::MLD_QUERY..=icmpv6::MLD_DONE | icmpv6::MLDV2_REPORT => {
            packet.hop_limit() == GROUP_MEMBERSHIP_HOP_LIMIT
                && (packet.source().is_ipv6_link_local() || packet.source().is_ipv6_unspecified())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;

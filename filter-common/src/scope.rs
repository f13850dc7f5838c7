//! Does `[protect]` name this packet?

use crate::{
    abi::{PortSet, Scope, TCP_PORT_SET, UDP_PORT_SET, scope_flag},
    packet::{Address, Family, Packet, Transport, protocol},
};

/// `port_set(index)` gives the TCP or UDP port set of the policy that decides; a missing one counts
/// as full, so that a fault here never takes the guard off a port.
#[inline(always)] // Called once, on the hot path.
pub fn contains<'a>(
    scope: &Scope,
    port_set: impl Fn(usize) -> Option<&'a PortSet>,
    packet: &Packet,
) -> bool {
    if scope.flags & scope_flag::DESTINATIONS != 0 && !is_listed(scope, &packet.destination()) {
        return false;
    }
    names_service(scope, port_set, packet)
}

/// As [`contains`], whatever the destination.
#[inline(always)] // Called once, on the hot path.
pub fn names_service<'a>(
    scope: &Scope,
    port_set: impl Fn(usize) -> Option<&'a PortSet>,
    packet: &Packet,
) -> bool {
    if scope.flags & scope_flag::SERVICES == 0 {
        return true;
    }
    let has = |flag| scope.flags & flag != 0;
    match packet.transport() {
        Transport::Tcp { dst_port, .. } => {
            has_protocol(scope, protocol::TCP)
                || (has(scope_flag::TCP_PORTS) && has_port(port_set(TCP_PORT_SET), dst_port))
        }
        Transport::Udp { dst_port, .. } => {
            has_protocol(scope, protocol::UDP)
                || (has(scope_flag::UDP_PORTS) && has_port(port_set(UDP_PORT_SET), dst_port))
        }
        Transport::Icmp(_) => has_protocol(scope, protocol::ICMP),
        Transport::Icmpv6(_) => has_protocol(scope, protocol::ICMPV6),
        Transport::Other { protocol } => has_protocol(scope, protocol),
        // Which port a later fragment belongs to is not known; it could be any that is guarded. So
        // could its protocol, when only the first fragment names it.
        Transport::LaterFragment { protocol } => {
            has_protocol(scope, protocol)
                || (protocol == protocol::TCP && has(scope_flag::TCP_PORTS))
                || (protocol == protocol::UDP && has(scope_flag::UDP_PORTS))
                || (matches!(packet.family(), Family::V6) && protocol::is_ipv6_extension(protocol))
        }
    }
}

#[inline(always)] // Two instructions.
fn has_protocol(scope: &Scope, protocol: u8) -> bool {
    scope.protocols[(protocol >> 6) as usize] >> (protocol & 63) & 1 != 0
}

#[inline(always)] // Three instructions.
fn has_port(set: Option<&PortSet>, port: u16) -> bool {
    set.is_none_or(|set| set.0[(port >> 6) as usize] >> (port & 63) & 1 != 0)
}

#[inline(always)] // Called once.
fn is_listed(scope: &Scope, destination: &Address) -> bool {
    let (hi, lo) = destination.left_aligned();
    match destination.family() {
        Family::V4 => {
            let address = (hi >> 32) as u32;
            let mut listed = false;
            for (index, prefix) in scope.destinations_v4.iter().enumerate() {
                listed |= (index as u32) < scope.destination_count_v4
                    && address & prefix.mask == prefix.network;
            }
            listed
        }
        Family::V6 => {
            let mut listed = false;
            for (index, prefix) in scope.destinations_v6.iter().enumerate() {
                listed |= (index as u32) < scope.destination_count_v6
                    && hi & prefix.mask[0] == prefix.network[0]
                    && lo & prefix.mask[1] == prefix.network[1];
            }
            listed
        }
    }
}

#[cfg(test)]
mod tests;

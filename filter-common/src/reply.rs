//! Stage 7: does a packet that would be denied answer this host?
//!
//! It does when the host opened the connection that it belongs to: an answer of TCP or UDP, an echo
//! reply, an ICMP error about a packet of the host's, or a later fragment from a host that it talks to.

use crate::{
    abi::{Control, REPLY_PORT_SETS, reply_ports},
    decide::Gate,
    flow::{self, Flow, Kind},
    packet::{Family, IcmpMessage, Packet, Transport, protocol},
};

/// Types of ICMP (RFC 792) and ICMPv6 (RFC 4443).
pub mod icmp_type {
    pub const ECHO_REPLY: u8 = 0;
    pub const DESTINATION_UNREACHABLE: u8 = 3;
    pub const ECHO_REQUEST: u8 = 8;
    pub const TIME_EXCEEDED: u8 = 11;
    pub const PARAMETER_PROBLEM: u8 = 12;
    pub const V6_DESTINATION_UNREACHABLE: u8 = 1;
    pub const V6_PARAMETER_PROBLEM: u8 = 4;
    pub const V6_ECHO_REQUEST: u8 = 128;
    pub const V6_ECHO_REPLY: u8 = 129;
}

/// False for nearly all TCP and UDP packets that are no reply: those that open a connection, and those to a
/// port from which the host has opened none. Says nothing about other packets.
#[inline(always)] // A test and a load, on the hot path.
pub fn may_be_reply(control: &Control, packet: &Packet) -> bool {
    match packet.transport() {
        Transport::Tcp {
            dst_port, flags, ..
        } => !flags.opens_connection() && is_reply_port(control, reply_ports::TCP, dst_port),
        Transport::Udp { dst_port, .. } => is_reply_port(control, reply_ports::UDP, dst_port),
        _ => true,
    }
}

#[inline(always)] // A load.
fn is_reply_port(control: &Control, protocol: usize, port: u16) -> bool {
    // The mask proves the bound.
    let sets = control.reply_ports_in_use as usize & (REPLY_PORT_SETS - 1);
    let word = control.reply_ports[sets][protocol].0[usize::from(port) / 64];
    word >> (port % 64) & 1 != 0
}

/// True when the packet answers something that this host has sent.
#[inline(always)] // One caller in the kernel.
pub fn is_reply<G: Gate>(gate: &G, packet: &Packet) -> bool {
    if !may_be_reply(gate.control(), packet) {
        return false;
    }
    let (ours, theirs) = (packet.destination(), packet.source());
    let flow = match packet.transport() {
        Transport::Tcp {
            src_port, dst_port, ..
        } => flow_of(Kind::Tcp, packet, dst_port, src_port),
        Transport::Udp { src_port, dst_port } => flow_of(Kind::Udp, packet, dst_port, src_port),
        Transport::Icmp(message) if message.message_type == icmp_type::ECHO_REPLY => {
            flow_of(Kind::Echo, packet, message.context, 0)
        }
        Transport::Icmpv6(message) if message.message_type == icmp_type::V6_ECHO_REPLY => {
            flow_of(Kind::Echo, packet, message.context, 0)
        }
        Transport::Icmp(message) | Transport::Icmpv6(message)
            if is_error(packet.family(), message) =>
        {
            let Some(quoted) = gate.quoted(message.context) else {
                return false;
            };
            // A router speaks of a packet that left from the address that it answers.
            match sent_flow(&quoted) {
                Some(flow) if flow.ours == ours => flow,
                _ => return false,
            }
        }
        Transport::LaterFragment { protocol } => Flow::fragments(ours, theirs, protocol),
        _ => return false,
    };
    let control = gate.control();
    let key = flow.key(&control.flow_seed).map(|hash| gate.forget(hash));
    gate.flow_set(key.set()).is_some_and(|set| {
        flow::find(&set, key).is_some_and(|found| {
            found.is_alive(&control.flow_timeouts, flow::tick(gate.recent_ns()))
        })
    })
}

/// The flow of a packet that came in.
#[inline(always)] // A few registers.
pub(crate) fn flow_of(kind: Kind, packet: &Packet, our_port: u16, their_port: u16) -> Flow {
    Flow {
        kind,
        ours: packet.destination(),
        theirs: packet.source(),
        our_port,
        their_port,
    }
}

/// The flow of a packet that this host sent, if it is of a kind that has one: TCP, UDP, an echo request.
#[inline(always)] // A few registers.
pub(crate) fn sent_flow(packet: &Packet) -> Option<Flow> {
    let (kind, our_port, their_port) = match packet.transport() {
        Transport::Tcp {
            src_port, dst_port, ..
        } => (Kind::Tcp, src_port, dst_port),
        Transport::Udp { src_port, dst_port } => (Kind::Udp, src_port, dst_port),
        Transport::Icmp(message) if message.message_type == icmp_type::ECHO_REQUEST => {
            (Kind::Echo, message.context, 0)
        }
        Transport::Icmpv6(message) if message.message_type == icmp_type::V6_ECHO_REQUEST => {
            (Kind::Echo, message.context, 0)
        }
        _ => return None,
    };
    Some(Flow {
        kind,
        ours: packet.source(),
        theirs: packet.destination(),
        our_port,
        their_port,
    })
}

/// The protocol of a packet with a flow, as its fragments name it.
#[inline(always)] // A few instructions.
pub(crate) fn protocol_of(kind: Kind, family: Family) -> u8 {
    match (kind, family) {
        (Kind::Tcp, _) => protocol::TCP,
        (Kind::Udp, _) => protocol::UDP,
        (_, Family::V4) => protocol::ICMP,
        (_, Family::V6) => protocol::ICMPV6,
    }
}

/// True for the errors that quote a packet; redirects and the obsolete source quench are none of them.
#[inline(always)] // A few comparisons.
fn is_error(family: Family, message: IcmpMessage) -> bool {
    use icmp_type::*;
    match family {
        Family::V4 => matches!(
            message.message_type,
            DESTINATION_UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM
        ),
        Family::V6 => {
            (V6_DESTINATION_UNREACHABLE..=V6_PARAMETER_PROBLEM).contains(&message.message_type)
        }
    }
}

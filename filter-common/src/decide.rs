//! The decision: stages 2 to 8 of a packet's way, as one function over the memory of the gate.

use crate::{
    abi::{BanKey, Control, Limit, PolicyBlock, PortSet, action},
    ban, bits,
    country::Class,
    essential,
    limit::{self, SourceKey, StampSet},
    packet::{Address, Family, Packet, Transport},
    scope,
    table::{self, Memory},
    verdict::{Decision, Reason},
};

/// Which of the two limiter arrays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Charge {
    Packet,
    NewConnection,
}

/// The memory that a decision reads, of one generation: maps in the kernel, copies on the host.
pub trait Gate {
    type Stamps<'a>: StampSet + Copy
    where
        Self: 'a;
    type Table<'a>: Memory
    where
        Self: 'a;

    fn control(&self) -> &Control;
    /// `None`: no policy is published.
    fn policy(&self) -> Option<&PolicyBlock>;
    /// `index` is [`crate::abi::TCP_PORT_SET`] or [`crate::abi::UDP_PORT_SET`].
    fn port_set(&self, index: usize) -> Option<&PortSet>;
    /// The address table; `None`: the map is missing.
    fn table(&self) -> Option<Self::Table<'_>>;
    /// Expiry of a ban, nanoseconds of CLOCK_BOOTTIME.
    fn ban_expiry_ns(&self, key: &BanKey) -> Option<u64>;
    /// Set `index` of a limiter array.
    fn stamps(&self, kind: Charge, index: u32) -> Option<Self::Stamps<'_>>;
    /// Nanoseconds of CLOCK_BOOTTIME.
    fn now_ns(&self) -> u64;
    /// As `now_ns`, but up to a timer tick late, for the twentieth part of the price.
    fn recent_ns(&self) -> u64;
    /// Does the packet answer a connection that this host opened?
    fn is_reply(&self, packet: &Packet) -> bool;
}

/// Decides on one packet, as in enforce mode.
#[inline(always)] // One caller in the kernel, which has five registers for arguments.
pub fn decide<G: Gate>(gate: &G, packet: &Packet) -> Decision {
    if essential::is_essential(packet) {
        return Decision::new(Reason::Essential, None);
    }
    let Some(policy) = gate.policy() else {
        return Decision::new(Reason::TableEmpty, None);
    };
    if !scope::contains(&policy.scope, |index| gate.port_set(index), packet) {
        return Decision::new(Reason::OutOfScope, None);
    }
    let class = gate
        .table()
        .and_then(|table| table::lookup(&table, &packet.source()));
    let Some(class) = class else {
        return Decision::new(Reason::TableEmpty, None);
    };
    let reason = if class == Class::TRUSTED {
        Reason::Trusted
    } else if is_banned(gate, &packet.source()) {
        Reason::Banned
    } else {
        by_class(gate, policy, packet, class)
    };
    Decision::new(reason, Some(class))
}

#[inline(always)] // See `decide`.
fn is_banned<G: Gate>(gate: &G, source: &Address) -> bool {
    let lengths = match source.family() {
        Family::V4 => &gate.control().ban_lengths_v4,
        Family::V6 => &gate.control().ban_lengths_v6,
    };
    ban::is_banned(
        lengths,
        |key| gate.ban_expiry_ns(key),
        || gate.now_ns(),
        source,
    )
}

/// Stages 6 to 8: what the class says, then whether it is a reply, then the limit.
#[inline(always)] // See `decide`.
fn by_class<G: Gate>(gate: &G, policy: &PolicyBlock, packet: &Packet, class: Class) -> Reason {
    let denied = match class {
        Class::RULE_ALLOW => return Reason::RuleAllowed,
        Class::RULE_DENY => Reason::RuleDenied,
        Class::UNKNOWN => Reason::UnknownDenied,
        Class::PRIVATE => Reason::PrivateDenied,
        _ => Reason::CountryDenied,
    };
    let action = policy.actions[class.0 as usize];
    if class == Class::RULE_DENY || action == action::DENY {
        if gate.is_reply(packet) {
            return Reason::Reply;
        }
        return denied;
    }
    if action == action::ALLOW {
        return Reason::Allowed;
    }
    within_limit(gate, policy, packet, action - action::FIRST_LIMIT)
}

/// Charges the packet, and the connection that it opens, to its source.
#[inline(always)] // See `decide`.
fn within_limit<G: Gate>(
    gate: &G,
    policy: &PolicyBlock,
    packet: &Packet,
    limit_index: u8,
) -> Reason {
    // An index beyond the array would be a fault of the compiler of policies; it lets the packet
    // pass unlimited, since its country is allowed.
    let Some(limit) = policy
        .limits
        .get(bits::unknown(limit_index.into()) as usize)
    else {
        return Reason::Allowed;
    };
    let control = gate.control();
    let (hi, _) = packet.source().left_aligned();
    let is_v4 = matches!(packet.family(), Family::V4);
    let source = SourceKey::new(limit_index, limit, hi, is_v4, &control.limiter_seed);
    if !conforms(gate, policy, Charge::Packet, limit, source) {
        return Reason::PacketLimit;
    }
    let opens_connection =
        matches!(packet.transport(), Transport::Tcp { flags, .. } if flags.opens_connection());
    if opens_connection && !conforms(gate, policy, Charge::NewConnection, limit, source) {
        return Reason::ConnectionLimit;
    }
    Reason::Allowed
}

/// True when the limit does not count this kind, or the source has some left and is charged.
#[inline(always)] // See `decide`.
fn conforms<G: Gate>(
    gate: &G,
    policy: &PolicyBlock,
    kind: Charge,
    limit: &Limit,
    source: SourceKey,
) -> bool {
    let (interval, tolerance, set_mask) = match kind {
        Charge::Packet => (
            limit.packet_interval,
            limit.packet_tolerance,
            policy.packet_set_mask,
        ),
        Charge::NewConnection => (
            limit.connection_interval,
            limit.connection_tolerance,
            policy.connection_set_mask,
        ),
    };
    interval == 0
        || gate.stamps(kind, source.set(set_mask)).is_none_or(|set| {
            limit::charge(set, source, interval, tolerance, gate.recent_ns())
                    // Only who seems to be over the limit is worth the price of the true time.
                    || limit::charge(set, source, interval, tolerance, gate.now_ns())
        })
}

#[cfg(test)]
mod tests;

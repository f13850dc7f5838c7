//! The decision: stages 2 to 8 of a packet's way, as one function over the memory of the gate.

use crate::{
    abi::{
        BanKey, Control, Limit, MAX_BAN_LENGTHS, NO_BAN_LENGTH, PolicyBlock, PortSet, action,
        exception, scope_flag,
    },
    ban, bits,
    country::Class,
    essential,
    flow::FlowSet,
    limit::{self, SourceKey, StampSet},
    packet::{Address, Family, Packet, Transport},
    reply, scope,
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
    type Flows<'a>: FlowSet
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
    /// Set `index` of the flow table.
    fn flow_set(&self, index: u32) -> Option<Self::Flows<'_>>;
    /// The packet that starts at `offset` (bytes) of the frame that is decided on, as an ICMP error quotes it.
    fn quoted(&self, offset: u16) -> Option<Packet>;

    /// `value`, in the kernel by way of a map: so the verifier loses sight of it, and follows what comes
    /// after once and not for every way that led to it.
    #[inline(always)] // Nothing, on the host.
    fn forget(&self, value: u64) -> u64 {
        value
    }

    /// [`limit::charge`]. In the kernel a call, because it is long and has two callers.
    #[inline(always)] // Nothing but a call.
    fn charge(
        &self,
        set: Self::Stamps<'_>,
        source: SourceKey,
        interval: u64,
        tolerance: u64,
        now_ns: u64,
    ) -> bool {
        limit::charge(set, source, interval, tolerance, now_ns)
    }

    /// What [`exception::find`] says under the policy that decides. In the kernel a call.
    #[inline(always)] // One caller.
    fn exception(&self, packet: &Packet, class: Class) -> u16
    where
        Self: Sized,
    {
        self.policy().map_or(exception::NOTHING, |policy| {
            crate::exception::find(policy, packet, class, self.recent_ns())
        })
    }

    /// Stage 7. In the kernel a call.
    #[inline(always)] // One caller.
    fn is_reply(&self, packet: &Packet) -> bool
    where
        Self: Sized,
    {
        reply::is_reply(self, packet)
    }
}

/// Decides on one packet, as in enforce mode.
pub fn decide<G: Gate>(gate: &G, packet: &Packet) -> Decision {
    match at_once(gate, packet) {
        AtOnce::Decided(decision) => decision,
        AtOnce::Limited {
            policy,
            class,
            limit,
        } => Decision::new(within_limit(gate, policy, packet, limit), Some(class)),
        AtOnce::Unclear => step_by_step(gate, packet),
    }
}

/// What [`at_once`] can say.
pub enum AtOnce<'a> {
    Decided(Decision),
    /// [`within_limit`] has the last word.
    Limited {
        policy: &'a PolicyBlock,
        class: Class,
        limit: u8,
    },
    /// [`step_by_step`] has to decide.
    Unclear,
}

/// Decides on nearly all packets of a flood: TCP and UDP that cannot be replies, of a country without
/// exceptions, while there are no bans, no exceptions for prefixes, and `[protect]` names no destinations. What it says is what [`step_by_step`] would say (a test holds them together). It has less to
/// hold in registers, which took a tenth off a whole denied packet.
#[inline(always)] // One caller in the kernel.
pub fn at_once<'a, G: Gate>(gate: &'a G, packet: &Packet) -> AtOnce<'a> {
    if !essential::is_never_essential(packet) || has_bans(gate, packet) {
        return AtOnce::Unclear;
    }
    let Some(policy) = gate.policy() else {
        return AtOnce::Unclear;
    };
    if policy.scope.flags & (scope_flag::DESTINATIONS | scope_flag::PREFIX_EXCEPTIONS) != 0 {
        return AtOnce::Unclear;
    }
    if !scope::names_service(&policy.scope, |index| gate.port_set(index), packet) {
        return AtOnce::Decided(Decision::new(Reason::OutOfScope, None));
    }
    let Some(class) = class_of(gate, packet) else {
        return AtOnce::Unclear;
    };
    match by_class(class, policy.actions[class.0 as usize]) {
        ByClass::Denied(_) if reply::may_be_reply(gate.control(), packet) => AtOnce::Unclear,
        ByClass::Exceptions => AtOnce::Unclear,
        ByClass::Denied(reason) | ByClass::Passes(reason) => {
            AtOnce::Decided(Decision::new(reason, Some(class)))
        }
        ByClass::Limit(limit) => AtOnce::Limited {
            policy,
            class,
            limit,
        },
    }
}

/// Stage after stage, for every packet.
#[inline(always)] // One caller in the kernel, which has five registers for arguments.
pub fn step_by_step<G: Gate>(gate: &G, packet: &Packet) -> Decision {
    if essential::is_essential(packet) {
        return Decision::new(Reason::Essential, None);
    }
    let Some(policy) = gate.policy() else {
        return Decision::new(Reason::TableEmpty, None);
    };
    if !scope::contains(&policy.scope, |index| gate.port_set(index), packet) {
        return Decision::new(Reason::OutOfScope, None);
    }
    let Some(class) = class_of(gate, packet) else {
        return Decision::new(Reason::TableEmpty, None);
    };
    let (class, action) = with_exceptions(gate, policy, packet, class);
    let reason = if class != Class::TRUSTED && is_banned(gate, &packet.source()) {
        Reason::Banned
    } else {
        match by_class(class, action) {
            ByClass::Denied(_) if gate.is_reply(packet) => Reason::Reply,
            ByClass::Denied(reason) | ByClass::Passes(reason) => reason,
            // `with_exceptions` gives no such action; the country may be allowed, so it passes.
            ByClass::Exceptions => Reason::Allowed,
            ByClass::Limit(limit) => within_limit(gate, policy, packet, limit),
        }
    };
    Decision::new(reason, Some(class))
}

#[inline(always)] // See `step_by_step`.
fn class_of<G: Gate>(gate: &G, packet: &Packet) -> Option<Class> {
    table::lookup(&gate.table()?, &packet.source())
}

#[inline(always)] // Two loads and a comparison.
fn has_bans<G: Gate>(gate: &G, packet: &Packet) -> bool {
    ban_lengths(gate, packet.family())[0] != NO_BAN_LENGTH
}

#[inline(always)] // An address.
fn ban_lengths<G: Gate>(gate: &G, family: Family) -> &[u8; MAX_BAN_LENGTHS] {
    match family {
        Family::V4 => &gate.control().ban_lengths_v4,
        Family::V6 => &gate.control().ban_lengths_v6,
    }
}

#[inline(always)] // See `step_by_step`.
fn is_banned<G: Gate>(gate: &G, source: &Address) -> bool {
    ban::is_banned(
        ban_lengths(gate, source.family()),
        |key| gate.ban_expiry_ns(key),
        || gate.now_ns(),
        source,
    )
}

/// The class that a packet counts for and the action that it gets, by the exceptions or else by its class.
#[inline(always)] // See `step_by_step`.
fn with_exceptions<G: Gate>(
    gate: &G,
    policy: &PolicyBlock,
    packet: &Packet,
    class: Class,
) -> (Class, u8) {
    let action = policy.actions[class.0 as usize];
    // One test, or the verifier would follow two ways to the same call.
    let has_some = u32::from(action & action::HAS_EXCEPTIONS)
        | policy.scope.flags & scope_flag::PREFIX_EXCEPTIONS
        != 0;
    let own = exception::gets(class, action & !action::HAS_EXCEPTIONS);
    let gets = match has_some {
        true => match gate.exception(packet, class) {
            exception::NOTHING => own,
            found => found,
        },
        false => own,
    };
    exception::class_and_action(gate.forget(gets.into()) as u16)
}

/// What a class gets.
enum ByClass {
    Passes(Reason),
    /// Unless it is a reply.
    Denied(Reason),
    /// The limit of this index decides.
    Limit(u8),
    /// Exceptions have to be asked.
    Exceptions,
}

/// Stages 4 and 6.
#[inline(always)] // See `step_by_step`.
fn by_class(class: Class, action: u8) -> ByClass {
    let denied = match class {
        Class::TRUSTED => return ByClass::Passes(Reason::Trusted),
        Class::RULE_ALLOW => return ByClass::Passes(Reason::RuleAllowed),
        Class::RULE_DENY => Reason::RuleDenied,
        Class::UNKNOWN => Reason::UnknownDenied,
        Class::PRIVATE => Reason::PrivateDenied,
        _ => Reason::CountryDenied,
    };
    if class == Class::RULE_DENY || action == action::DENY {
        ByClass::Denied(denied)
    } else if action == action::ALLOW {
        ByClass::Passes(Reason::Allowed)
    } else if action & action::HAS_EXCEPTIONS != 0 {
        ByClass::Exceptions
    } else {
        ByClass::Limit(action - action::FIRST_LIMIT)
    }
}

/// Stage 8: charges the packet, and the connection that it opens, to its source.
#[inline(always)] // See `step_by_step`.
pub fn within_limit<G: Gate>(
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
#[inline(always)] // See `step_by_step`.
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
    if interval == 0 {
        return true;
    }
    // Not a closure, which the compiler makes a function of its own: 7 ns.
    let Some(set) = gate.stamps(kind, source.set(set_mask)) else {
        return true;
    };
    limit::charge_at_home(&set, source, interval, tolerance, gate.recent_ns())
        || gate.charge(set, source, interval, tolerance, gate.recent_ns())
        // Only who seems to be over the limit is worth the price of the true time.
        || gate.charge(set, source, interval, tolerance, gate.now_ns())
}

#[cfg(test)]
mod tests;

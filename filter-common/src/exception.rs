//! Exceptions: rules over the address policy that end at a time, or that are about one port.
//!
//! They are a short list beside the table, which stays what it is under them: when an exception is over, or
//! is about another port, the packet gets what its class gets. The order of the list says which one goes
//! first; userspace puts it there, longer prefixes before shorter ones.

use crate::{
    abi::{Exception, MAX_EXCEPTIONS, PolicyBlock, exception},
    bits,
    country::Class,
    packet::{Family, Packet, Transport, protocol},
};

/// What the first exception says that is about this packet of a source of `class`, at `now_ns` (CLOCK_BOOTTIME):
/// a number of [`exception`]. [`exception::NOTHING`] leaves it to the class.
#[inline(always)] // One caller, which is a subprogram in the kernel.
pub fn find(policy: &PolicyBlock, packet: &Packet, class: Class, now_ns: u64) -> u16 {
    first(policy, packet, class, now_ns).map_or(exception::NOTHING, |found| found.gets)
}

/// The first exception that is about this packet and not over; it may be a hole, which gets
/// [`exception::NOTHING`].
#[inline(always)] // See `find`.
pub fn first<'a>(
    policy: &'a PolicyBlock,
    packet: &Packet,
    class: Class,
    now_ns: u64,
) -> Option<&'a Exception> {
    let (hi, lo) = packet.source().left_aligned();
    let prefix = prefix_subject(packet.family());
    let yielding = match is_of_a_rule(class) {
        true => exception::NOBODY,
        false => prefix | exception::YIELDS,
    };
    let subjects = [prefix, yielding, class.0.into()];
    let service = service_number(packet.transport());
    let count = policy.exception_count;
    // Opaque to the compiler, which would unroll the loop, but a constant to the verifier, which remembers what lies in
    // a word of the stack and not what lies in half of one.
    let last = core::hint::black_box(MAX_EXCEPTIONS as u64) as u32;
    let mut index = 0;
    while index < last && index < count {
        let exception = &policy.exceptions[index as usize & (MAX_EXCEPTIONS - 1)];
        if differs(exception, (hi, lo), subjects, service, now_ns) == 0 {
            return Some(exception);
        }
        index += 1;
    }
    None
}

/// 0 when `exception` is about the packet and not over. Without branches, of which the verifier would follow
/// each side.
#[inline(always)] // Some twenty instructions, in a loop.
fn differs(
    exception: &Exception,
    (hi, lo): (u64, u64),
    subjects: [u16; 3],
    service: u32,
    now_ns: u64,
) -> u64 {
    let address = (hi & exception.mask[0] ^ exception.network[0])
        | (lo & exception.mask[1] ^ exception.network[1]);
    // A product of numbers that have 64 bits together is 0 only when one of them is.
    let subject = subjects.iter().fold(1, |product, subject| {
        product * u64::from(exception.subject ^ subject)
    });
    let wanted = u64::from(exception.service);
    let other_service = wanted * (wanted ^ u64::from(service));
    // Both are below 2^63: the difference is negative while the end lies ahead.
    let is_live = bits::sign_bit(now_ns.wrapping_sub(exception.until_ns));
    address | subject | other_service | (is_live ^ 1)
}

/// Whether a rule of the table, not the database, gave the source its class.
#[inline(always)] // A comparison.
const fn is_of_a_rule(class: Class) -> bool {
    const {
        assert!(Class::TRUSTED.0 == 1 && Class::RULE_ALLOW.0 == 2 && Class::RULE_DENY.0 == 3);
    }
    class.0.wrapping_sub(1) < 3
}

/// The subject of an exception for prefixes of a family; see [`Exception::subject`].
#[inline(always)] // A constant.
pub const fn prefix_subject(family: Family) -> u16 {
    match family {
        Family::V4 => exception::PREFIX_V4,
        Family::V6 => exception::PREFIX_V6,
    }
}

/// Protocol and destination port, as [`Exception::service`] has them; 0 for a packet without ports, which no
/// exception for a port is about. That holds for later fragments, too: without its first fragment
/// a datagram is none, and an exception shall open no more than its port.
#[inline(always)] // A shift.
pub const fn service_number(transport: Transport) -> u32 {
    match transport {
        Transport::Tcp { dst_port, .. } => number(protocol::TCP, dst_port),
        Transport::Udp { dst_port, .. } => number(protocol::UDP, dst_port),
        _ => 0,
    }
}

/// As [`Exception::service`] has it: `port` in host byte order.
#[inline(always)] // A shift.
pub const fn number(protocol: u8, port: u16) -> u32 {
    (protocol as u32) << 16 | port as u32
}

#[cfg(test)]
mod tests;

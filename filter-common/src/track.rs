//! What is remembered of the packets that leave, and of those that were let in.
//!
//! The times are those of Linux's connection tracking (nf_conntrack) unless the config says otherwise.

use crate::{
    abi::Control,
    flow::{self, Flow, FlowKey, FlowSet, Found, HeardSet, Kind, state},
    packet::{Packet, TcpFlags, Transport},
    reply::{flow_of, protocol_of, sent_flow},
};

/// The memory that is written: maps in the kernel, copies on the host.
pub trait FlowMemory {
    type Flows<'a>: FlowSet
    where
        Self: 'a;
    type Heard<'a>: HeardSet
    where
        Self: 'a;

    fn control(&self) -> &Control;
    /// Set `index` of the flow table.
    fn flow_set(&self, index: u32) -> Option<Self::Flows<'_>>;
    /// Set `index` of the tuples whose other side wrote first.
    fn heard_set(&self, index: u32) -> Option<Self::Heard<'_>>;
    /// [`flow::tick`] of now.
    fn now(&self) -> u32;
    /// See [`crate::decide::Gate::forget`].
    #[inline(always)] // Nothing, on the host.
    fn forget(&self, value: u64) -> u64 {
        value
    }
    /// Lets packets to this port of ours ask the flow table.
    fn open_port(&self, kind: Kind, port: u16);
}

/// A packet left this host, or what is behind it and was given its address.
#[inline(always)] // One caller in the kernel.
pub fn sent<M: FlowMemory>(memory: &M, packet: &Packet) {
    let Some(flow) = sent_flow(packet) else {
        return;
    };
    let control = memory.control();
    let key = flow.key(&control.flow_seed).map(|hash| memory.forget(hash));
    let Some(set) = memory.flow_set(key.set()) else {
        return;
    };
    let now = memory.now();
    let found = flow::find(&set, key);
    let next = match packet.transport() {
        Transport::Tcp { flags, .. } if flags.opens_connection() => state::SYN_SENT,
        // A connection whose SYN was not seen may be one that the other side opened.
        Transport::Tcp { flags, .. } => match found {
            Some(found) => after_segment_sent(found.state(), flags),
            None => return,
        },
        Transport::Udp { .. } => match found {
            Some(found) if found.is_alive(&control.flow_timeouts, now) => found.state(),
            _ => {
                let is_answer = memory
                    .heard_set(key.heard_set())
                    .is_some_and(|set| flow::is_heard(&set, key, control, now));
                if is_answer {
                    return;
                }
                state::UDP
            }
        },
        _ => state::ECHO,
    };
    let word = memory.forget(flow::word(next, flow.our_port, now));
    match found {
        Some(found) if found.word == word => return,
        Some(found) => {
            set.compare_exchange(found.way, found.word, word);
        }
        None => flow::insert(&set, control, key, word),
    }
    let flow = Flow {
        kind: Kind::from_number(memory.forget(flow.kind as u64)),
        ..flow
    };
    if found.is_none_or(|found| !found.is_alive(&control.flow_timeouts, now)) {
        memory.open_port(flow.kind, flow.our_port);
    }
    remember_addresses(memory, &flow, now);
}

/// The later fragments of what is answered have no ports.
#[inline(always)] // One caller.
fn remember_addresses<M: FlowMemory>(memory: &M, flow: &Flow, now: u32) {
    let protocol = protocol_of(flow.kind, flow.ours.family());
    let fragments = Flow::fragments(flow.ours, flow.theirs, protocol);
    let hash = fragments.key(&memory.control().flow_seed);
    let key = hash.map(|hash| memory.forget(hash));
    let Some(set) = memory.flow_set(key.set()) else {
        return;
    };
    let word = flow::word(state::FRAGMENTS, 0, now);
    match flow::find(&set, key) {
        Some(found) => {
            set.compare_exchange(found.way, found.word, word);
        }
        None => flow::insert(&set, memory.control(), key, word),
    }
}

/// A packet came in and was let in, for whatever reason.
#[inline(always)] // One caller in the kernel.
pub fn received<M: FlowMemory>(memory: &M, packet: &Packet) {
    let flow = match packet.transport() {
        Transport::Tcp {
            src_port, dst_port, ..
        } => flow_of(Kind::Tcp, packet, dst_port, src_port),
        Transport::Udp { src_port, dst_port } => flow_of(Kind::Udp, packet, dst_port, src_port),
        // An echo reply ends nothing, and an echo's time runs from the request.
        _ => return,
    };
    let control = memory.control();
    let key = flow.key(&control.flow_seed);
    let Some(set) = memory.flow_set(key.set()) else {
        return;
    };
    let now = memory.now();
    match flow::find(&set, key) {
        Some(found) if found.is_alive(&control.flow_timeouts, now) => {
            answered(&set, found, packet, now);
        }
        _ if flow.kind == Kind::Udp => hear(memory, key, now),
        _ => {}
    }
}

#[inline(always)] // One caller.
fn answered<S: FlowSet>(set: &S, found: Found, packet: &Packet, now: u32) {
    let next = match packet.transport() {
        Transport::Tcp { flags, .. } => match found.state() {
            // Whoever sent the RST does not prolong what is left.
            state::RESET => return,
            _ if flags.has(TcpFlags::RST) => state::RESET,
            // Anybody could have made a FIN up. An orderly close has one of the host's own.
            state => state,
        },
        _ => state::UDP_STREAM,
    };
    let word = flow::word(next, flow::our_port(found.word), now);
    if word != found.word {
        set.compare_exchange(found.way, found.word, word);
    }
}

#[inline(always)] // One caller.
fn hear<M: FlowMemory>(memory: &M, key: FlowKey, now: u32) {
    if let Some(set) = memory.heard_set(key.heard_set()) {
        flow::hear(&set, key, now);
    }
}

/// The state of a TCP flow after the host sent a segment that opens nothing.
#[inline(always)] // A few comparisons.
fn after_segment_sent(before: u8, flags: TcpFlags) -> u8 {
    if flags.has(TcpFlags::RST) {
        state::RESET
    } else if flags.has(TcpFlags::FIN) {
        state::FIN
    } else {
        match before {
            // The RST was not for this connection, or it would be silent: somebody made it up.
            state::SYN_SENT | state::RESET => state::ESTABLISHED,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests;

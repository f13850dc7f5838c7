//! The flow table: connections that this host opened, in a seeded, set-associative array.
//!
//! Only what the host itself sends writes new flows ([`crate::track`]), so nobody can fill the table from
//! outside; a packet that would be denied asks it ([`crate::reply`]).
//!
//! A flow is two 64-bit words. The first is a hash of its addresses and ports under a seed that nobody outside
//! knows: of a packet out of the blue, one in 2^46 would be taken for an answer. The second holds, from the
//! lowest bit on: state (8 bits), 8 bits of 0, our port (16 bits), and the [`tick`] at which the flow was last seen
//! (32 bits). Four flows make a set, one cache line. A new flow takes a free place, or that of the flow
//! that has the least time left.

#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::{AtomicU64, Ordering};

use crate::{
    abi::{Control, FLOW_SETS, HEARD_SETS},
    bits::{is_negative, is_zero, mix, smaller, unknown},
    packet::{Address, Family},
};

/// Flows in a set.
pub const WAYS: usize = 4;
/// Tuples in a set of [`HeardSet`].
pub const HEARD_WAYS: usize = 8;
/// A tick is 2^27 ns, 134 ms: 32 bits of them last for 18 years.
const TICK_BITS: u32 = 27;
const WAY_BITS: u32 = WAYS.trailing_zeros();
/// More than any flow has left.
const TAKEN: u64 = 1 << 62;
/// Lost races against other CPUs for one place before a flow goes unrecorded.
const MAX_ATTEMPTS: usize = 2;

/// States of a flow; each has a time after which it is over, see [`Control::flow_timeouts`].
pub mod state {
    /// No flow.
    pub const FREE: u8 = 0;
    /// TCP: the host has sent a SYN.
    pub const SYN_SENT: u8 = 1;
    /// TCP: the host has sent something behind it.
    pub const ESTABLISHED: u8 = 2;
    /// TCP: the host has sent a FIN.
    pub const FIN: u8 = 3;
    /// TCP: one side has sent a RST. What the host sends afterwards shows that it was not in earnest.
    pub const RESET: u8 = 4;
    /// UDP: the host has written.
    pub const UDP: u8 = 5;
    /// UDP: it was answered.
    pub const UDP_STREAM: u8 = 6;
    /// ICMP: an echo request.
    pub const ECHO: u8 = 7;
    /// Any flow between two addresses; later fragments, which have no ports, belong to it.
    pub const FRAGMENTS: u8 = 8;
    /// Its hash is being written.
    pub const BUSY: u8 = 9;
    pub const COUNT: usize = 10;
}

/// What two addresses talk about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    Tcp = 1,
    Udp = 2,
    Echo = 3,
    Fragments = 4,
}

impl Kind {
    /// The kind of this number; an unknown one is [`Kind::Fragments`].
    #[inline(always)] // Three comparisons.
    pub fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Tcp,
            2 => Self::Udp,
            3 => Self::Echo,
            _ => Self::Fragments,
        }
    }
}

/// One connection, as the host sees it. Ports in host byte order; an echo has its identifier as our port and 0
/// as theirs, [`Kind::Fragments`] the protocol as our port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    pub kind: Kind,
    pub ours: Address,
    pub theirs: Address,
    pub our_port: u16,
    pub their_port: u16,
}

impl Flow {
    /// Of later fragments of `protocol` between the two hosts.
    #[inline(always)] // A few registers.
    pub fn fragments(ours: Address, theirs: Address, protocol: u8) -> Self {
        Self {
            kind: Kind::Fragments,
            ours,
            theirs,
            our_port: protocol.into(),
            their_port: 0,
        }
    }

    /// The hash of the flow under `seed`.
    #[inline(always)] // A dozen multiplications that do not wait for each other.
    pub fn key(&self, seed: &[u64; 2]) -> FlowKey {
        let [a, b] = *seed;
        let (our_hi, our_lo) = self.ours.left_aligned();
        let (their_hi, their_lo) = self.theirs.left_aligned();
        let rest = u64::from(self.our_port) << 32
            | u64::from(self.their_port) << 16
            | (self.kind as u64) << 8
            | matches!(self.ours.family(), Family::V6) as u64;
        let sum = mix(our_hi ^ a)
            .wrapping_add(mix(our_lo ^ b))
            .wrapping_add(mix(their_hi.wrapping_add(a)))
            .wrapping_add(mix(their_lo.wrapping_add(b)))
            .wrapping_add(mix(rest.wrapping_add(a ^ b)));
        FlowKey(mix(sum))
    }
}

/// A flow's hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowKey(u64);

impl FlowKey {
    /// Takes the hash on a way, see [`crate::decide::Gate::forget`].
    #[inline(always)] // What `way` does.
    pub fn map(self, way: impl FnOnce(u64) -> u64) -> Self {
        Self(way(self.0))
    }

    /// The set of the flow table.
    #[inline(always)] // One instruction.
    pub fn set(self) -> u32 {
        self.0 as u32 & (FLOW_SETS - 1)
    }

    /// The set of tuples that wrote first.
    #[inline(always)] // One instruction.
    pub fn heard_set(self) -> u32 {
        self.0 as u32 & (HEARD_SETS - 1)
    }
}

/// The tick of a time of CLOCK_BOOTTIME.
#[inline(always)] // One instruction.
pub fn tick(now_ns: u64) -> u32 {
    (now_ns >> TICK_BITS) as u32
}

/// Ticks that last for `seconds`, at least.
pub const fn ticks(seconds: u32) -> u32 {
    ((seconds as u64 * 1_000_000_000) >> TICK_BITS) as u32 + 1
}

/// How long a flow lasts after its last packet, by [`state`]: the times of Linux's connection tracking
/// (net.netfilter.nf_conntrack_*_timeout), but for [`state::RESET`], which it calls "close".
pub const DEFAULT_TIMEOUTS: [u32; 16] = {
    let mut timeouts = [0; 16];
    timeouts[state::SYN_SENT as usize] = ticks(120);
    timeouts[state::ESTABLISHED as usize] = ticks(432_000);
    timeouts[state::FIN as usize] = ticks(120);
    timeouts[state::RESET as usize] = ticks(10);
    timeouts[state::UDP as usize] = ticks(30);
    timeouts[state::UDP_STREAM as usize] = ticks(120);
    timeouts[state::ECHO as usize] = ticks(30);
    timeouts[state::FRAGMENTS as usize] = ticks(30);
    timeouts
};

/// One set of flows, shared by all CPUs. `way` is below [`WAYS`].
pub trait FlowSet {
    fn hash(&self, way: usize) -> u64;
    fn store_hash(&self, way: usize, hash: u64);
    fn word(&self, way: usize) -> u64;
    /// Replaces `old` by `new`; false when the word was not `old` any more.
    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool;
}

/// One set of tuples. `way` is below [`HEARD_WAYS`].
pub trait HeardSet {
    fn load(&self, way: usize) -> u64;
    fn store(&self, way: usize, word: u64);
}

/// Hash and word of each flow, as they lie in the map.
#[cfg(not(target_arch = "bpf"))]
impl FlowSet for &[AtomicU64; 2 * WAYS] {
    fn hash(&self, way: usize) -> u64 {
        self[2 * way].load(Ordering::Acquire)
    }

    fn store_hash(&self, way: usize, hash: u64) {
        self[2 * way].store(hash, Ordering::Release);
    }

    fn word(&self, way: usize) -> u64 {
        self[2 * way + 1].load(Ordering::Acquire)
    }

    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool {
        self[2 * way + 1]
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

#[cfg(not(target_arch = "bpf"))]
impl HeardSet for &[AtomicU64; HEARD_WAYS] {
    fn load(&self, way: usize) -> u64 {
        self[way].load(Ordering::Acquire)
    }

    fn store(&self, way: usize, word: u64) {
        self[way].store(word, Ordering::Release);
    }
}

/// A flow that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    pub way: usize,
    pub word: u64,
}

impl Found {
    /// A number of [`state`].
    #[inline(always)] // One instruction.
    pub fn state(self) -> u8 {
        self.word as u8
    }

    /// False when the time of its state is over.
    #[inline(always)] // A few instructions.
    pub fn is_alive(self, timeouts: &[u32; 16], now: u32) -> bool {
        left(self.word, timeouts, now) > 0
    }
}

/// The second word of a flow.
#[inline(always)] // A few instructions.
pub fn word(state: u8, our_port: u16, now: u32) -> u64 {
    u64::from(now) << 32 | u64::from(our_port) << 16 | u64::from(state)
}

/// The port in a flow's second word.
#[inline(always)] // One instruction.
pub fn our_port(word: u64) -> u16 {
    (word >> 16) as u16
}

/// When a flow was last seen.
#[inline(always)] // One instruction.
pub fn last_seen(word: u64) -> u32 {
    (word >> 32) as u32
}

/// Ticks that a flow has left; 0: it is over, or there is none.
#[inline(always)] // A few instructions.
fn left(word: u64, timeouts: &[u32; 16], now: u32) -> u64 {
    let timeout = u64::from(timeouts[word as usize & 15]);
    // Signed: another CPU's clock may be read a moment later than this one's.
    let age = now.wrapping_sub(last_seen(word)) as i32;
    let left = timeout.wrapping_sub(i64::from(age) as u64);
    // A free place has a timeout of 0, and so has one that is being written.
    left & !is_negative(left) & !is_zero(timeout)
}

/// The flow of `key` in its set, also when its time is over.
///
/// Without branches but for the last, as each would double the ways that the verifier has to follow.
#[inline(always)] // One caller in each program.
pub fn find<S: FlowSet>(set: &S, key: FlowKey) -> Option<Found> {
    let (mut way, mut word) = (0, 0);
    for candidate in 0..WAYS {
        let is_hit = is_zero(set.hash(candidate) ^ key.0);
        way = (way & !is_hit) | (candidate as u64 & is_hit);
        word = (word & !is_hit) | (set.word(candidate) & is_hit);
    }
    let found = Found {
        // Opaque, see `limit::find`.
        way: unknown(way) as usize & (WAYS - 1),
        word,
    };
    (found.state() != state::FREE && found.state() != state::BUSY).then_some(found)
}

/// Lays a flow down that the set does not hold. `word` is its second word.
///
/// While the place changes hands nobody finds a flow in it.
#[inline(always)] // One caller in the kernel.
pub fn insert<S: FlowSet>(set: &S, control: &Control, key: FlowKey, word: u64) {
    let now = last_seen(word);
    // Opaque to the compiler, which would unroll the loop, but a constant to the verifier.
    let mut attempts = core::hint::black_box(MAX_ATTEMPTS);
    while attempts > 0 {
        attempts -= 1;
        let busy = self::word(state::BUSY, 0, now);
        let words: [u64; WAYS] = core::array::from_fn(|way| set.word(way));
        let mut least = u64::MAX >> 1;
        for (candidate, word) in words.into_iter().enumerate() {
            // One that is being written belongs to somebody, unless that was long ago.
            let is_taken = is_zero(word ^ busy) & TAKEN;
            // The number of the way rides along in the lower bits.
            let rank = left(word, &control.flow_timeouts, now) << WAY_BITS | candidate as u64;
            least = smaller(least, rank | is_taken);
        }
        if least >= TAKEN {
            continue;
        }
        let way = unknown(least) as usize & (WAYS - 1);
        let mut old = 0;
        for (candidate, word) in words.into_iter().enumerate() {
            old |= word & is_zero((candidate ^ way) as u64);
        }
        if set.compare_exchange(way, old, busy) {
            set.store_hash(way, key.0);
            set.compare_exchange(way, busy, word);
            return;
        }
    }
    // Several CPUs want this set at this very moment; a flow that goes unrecorded now is recorded with its
    // next packet, or its SYN that is sent again.
}

/// True when the other side of this tuple wrote first, not longer ago than a flow of [`state::UDP_STREAM`] lasts;
/// notes that it was seen again.
///
/// Not, however, when the other side was heard last before all trackers stood: it may have answered what nobody saw
/// the host send. Such a tuple is over after its time, however much the host writes: then the host begins it.
#[inline(always)] // One caller in the kernel.
pub fn is_heard<S: HeardSet>(set: &S, key: FlowKey, control: &Control, now: u32) -> bool {
    let timeout = control.flow_timeouts[state::UDP_STREAM as usize];
    for way in 0..HEARD_WAYS {
        let word = set.load(way);
        if word >> 32 == key.0 >> 32 && heard_age(word, now) <= timeout as i32 {
            if word as u32 != now && word as u32 > control.trackers_since {
                set.store(way, heard_word(key, now));
            }
            return true;
        }
    }
    false
}

/// Notes that the other side of this tuple wrote to us. The tuple that was not seen for the longest time
/// is forgotten for it.
#[inline(always)] // One caller in the kernel.
pub fn hear<S: HeardSet>(set: &S, key: FlowKey, now: u32) {
    let (mut oldest, mut age) = (0, i32::MIN);
    for way in 0..HEARD_WAYS {
        let word = set.load(way);
        if word >> 32 == key.0 >> 32 {
            if word as u32 != now {
                set.store(way, heard_word(key, now));
            }
            return;
        }
        let candidate = heard_age(word, now);
        if candidate > age {
            (oldest, age) = (way, candidate);
        }
    }
    // Of two CPUs that want this place, one is not remembered until its next packet.
    set.store(oldest, heard_word(key, now));
}

#[inline(always)] // Two instructions.
fn heard_word(key: FlowKey, now: u32) -> u64 {
    key.0 >> 32 << 32 | u64::from(now)
}

#[inline(always)] // One instruction.
fn heard_age(word: u64, now: u32) -> i32 {
    // An empty word has the age of the system.
    now.wrapping_sub(word as u32) as i32
}

#[cfg(test)]
mod tests;

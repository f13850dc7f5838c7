//! The limiter: GCRA stamps in a seeded, set-associative array.
//!
//! The generic cell rate algorithm (ITU-T I.371 Annex A) keeps one number for each source, the
//! theoretical arrival time (TAT) of its next packet. A packet at `now` conforms when
//! `TAT - now <= tolerance`, and then `TAT = max(TAT, now) + interval`. With
//! `tolerance = (burst - 1) × interval` a rested source may send exactly `burst` packets at once.
//!
//! A stamp is one 64-bit word, so that compare-exchange updates it whole: the upper 20 bits are a tag
//! of the source, the lower 44 its TAT in ticks, modulo 2^44 (78 hours). Four stamps make a set, half a
//! cache line. A new source takes the stamp whose TAT is the furthest behind, of equal ones the one that is
//! the nearest to a way that its hash names, where [`charge_at_home`] looks first: the source
//! that is closest to having been idle, which loses nothing by being forgotten. A source far over
//! its limit has its TAT the furthest ahead and is the last to be forgotten.
//!
//! A stamp that is not ahead of the clock says as much as none. Each packet keeps one ahead for
//! `interval` at most, so what must be remembered at a time is packets a second × interval, however many
//! sources there are: see [`sets_for`].
//!
//! The time may lag behind, see [`charge`].

use crate::{
    abi::Limit,
    bits::{is_negative, is_zero, mix, smaller, unknown},
};

/// Stamps in a set.
pub const WAYS: usize = 4;
/// Nanoseconds in a tick; at a million packets a second an interval is 62 ticks, so rounding it
/// changes a rate by less than one per cent.
pub const TICK_NS: u64 = 16;
/// Ticks that a burst may span; the rest of the 44 bits tells "ahead" from "long ago".
pub const MAX_TOLERANCE_TICKS: u64 = 3_600 * 1_000_000_000 / TICK_NS;

/// How late the time that [`charge`] is given may be, in ticks: a second, far more than a timer tick.
const MAX_LATENESS_TICKS: u64 = 1_000_000_000 / TICK_NS;

const TAT_BITS: u32 = 44;
const TAT_MASK: u64 = (1 << TAT_BITS) - 1;
/// Lost races against other CPUs for one stamp before a packet passes uncharged.
const MAX_ATTEMPTS: usize = 3;
const WAY_BITS: u32 = WAYS.trailing_zeros();

/// One set of stamps, shared by all CPUs.
pub trait StampSet {
    /// The stamp in `way`, which is below [`WAYS`].
    fn load(&self, way: usize) -> u64;
    /// Replaces `old` by `new`; false when the stamp was not `old` any more.
    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool;
}

/// Whom a limit counts: the hash tells the set, the tag tells the source inside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SourceKey {
    hash: u64,
}

impl SourceKey {
    /// `hi`: the upper 64 bits of the left-aligned address; `is_v4`: which family it is of.
    #[inline(always)] // On the hot path, a few multiplications.
    pub fn new(limit_index: u8, limit: &Limit, hi: u64, is_v4: bool, seed: &[u64; 2]) -> Self {
        let prefix_len = if is_v4 {
            limit.ipv4_prefix_len
        } else {
            limit.ipv6_prefix_len
        };
        let source = hi & crate::ban::leading_ones(prefix_len as u8);
        // Family and limit are spread over the word by a number that the attacker does not know.
        let salt = ((limit_index as u64) << 2 | (is_v4 as u64) << 1 | 1).wrapping_mul(seed[1]);
        Self {
            hash: mix((source ^ seed[0]).wrapping_add(salt)),
        }
    }

    /// The source in one register; [`SourceKey::from_word`] makes it again.
    #[inline(always)] // The register.
    pub fn word(self) -> u64 {
        self.hash
    }

    /// Of a word that [`SourceKey::word`] gave.
    #[inline(always)] // The register.
    pub fn from_word(word: u64) -> Self {
        Self { hash: word }
    }

    /// The set, below `set_mask + 1`.
    #[inline(always)] // One instruction.
    pub fn set(self, set_mask: u32) -> u32 {
        self.hash as u32 & set_mask
    }

    /// The way that this source takes when it can.
    #[inline(always)] // Two instructions.
    fn home(self) -> usize {
        (self.hash >> (TAT_BITS - WAY_BITS)) as usize & (WAYS - 1)
    }

    /// Never 0, so that an empty stamp belongs to nobody.
    #[inline(always)] // Two instructions.
    fn tag(self) -> u64 {
        (self.hash >> TAT_BITS).max(1)
    }
}

/// Sets that hold what `packets_per_second` of any number of sources keep ahead of the clock, between 2^8
/// and `most`; a power of two, as `most` is.
///
/// Fewer are better: memory that is in a cache is read ten times as fast. `interval`: ticks.
pub const fn sets_for(interval: u64, packets_per_second: u64, most: u32) -> u32 {
    let ticks_per_second = 1_000_000_000 / TICK_NS;
    let ahead = packets_per_second.saturating_mul(interval) / ticks_per_second;
    let sets = (ahead / WAYS as u64).next_power_of_two();
    if sets > most as u64 {
        most
    } else if sets < 1 << 8 {
        1 << 8
    } else {
        sets as u32
    }
}

/// Charges one arrival to `source`; false when it is over the limit, and then nothing is charged.
///
/// `now_ns`: nanoseconds of a clock that does not go back; it may be late. A late time finds a source
/// further ahead than it is, so who conforms conforms in truth; who does not is to be asked about again
/// with the true time. What a source loses of its rest stands in its favour: at most the lateness, once
/// for each pause. `interval` above 0 and `tolerance` at most [`MAX_TOLERANCE_TICKS`], in ticks.
#[cfg_attr(target_arch = "bpf", inline(always))] // One caller, which is a subprogram.
pub fn charge<S: StampSet>(
    set: S,
    source: SourceKey,
    interval: u64,
    tolerance: u64,
    now_ns: u64,
) -> bool {
    let now = (now_ns / TICK_NS) & TAT_MASK;
    let tag = source.tag();
    // Opaque to the compiler, which would unroll the loop, but a constant to the verifier.
    let mut attempts = core::hint::black_box(MAX_ATTEMPTS);
    while attempts > 0 {
        attempts -= 1;
        let (way, old) = find(&set, source, now);
        let mut ahead = ticks_ahead(old, now);
        // Someone else's stamp: the source is new here and starts rested. Further ahead than this
        // limit can bring a stamp, however late the time: left from the last round of the 44-bit
        // clock.
        if old >> TAT_BITS != tag || ahead > tolerance + interval + MAX_LATENESS_TICKS {
            ahead = 0;
        }
        if ahead > tolerance {
            return false;
        }
        let tat = (now + ahead + interval) & TAT_MASK;
        if set.compare_exchange(way, old, tag << TAT_BITS | tat) {
            return true;
        }
    }
    // Several CPUs charge this source at this very moment; one packet too many for the fastest
    // sources is less harm than one too few for a source within its limit.
    true
}

/// As [`charge`], but only for a source whose stamp is in its home way, which is where most are; false also
/// when it is not, or when another CPU was faster.
#[inline(always)] // One caller in the kernel, on the hot path.
pub fn charge_at_home<S: StampSet>(
    set: &S,
    source: SourceKey,
    interval: u64,
    tolerance: u64,
    now_ns: u64,
) -> bool {
    let now = (now_ns / TICK_NS) & TAT_MASK;
    let old = set.load(source.home());
    if old >> TAT_BITS != source.tag() {
        return false;
    }
    let ahead = ticks_ahead(old, now);
    // Also when it is further ahead than the limit can bring it; `charge` knows why.
    if ahead > tolerance {
        return false;
    }
    let tat = (now + ahead + interval) & TAT_MASK;
    set.compare_exchange(source.home(), old, source.tag() << TAT_BITS | tat)
}

/// The way that holds `source`, else the one whose TAT is the furthest behind, and its stamp. The home way
/// comes first.
///
/// Without branches, but for the one that tells known sources from new ones, which floods keep for long:
/// each would double the ways that the verifier has to follow, and the CPU would guess most of them wrong.
#[inline(always)] // See `charge`.
fn find<S: StampSet>(set: &S, source: SourceKey, now: u64) -> (usize, u64) {
    let (tag, home) = (source.tag(), source.home());
    let (mut found, mut way, mut stamp) = (0, 0, 0);
    // From the way that is the furthest from home to home itself.
    for distance in (0..WAYS).rev() {
        let candidate = (home + distance) & (WAYS - 1);
        let loaded = set.load(candidate);
        let is_hit = is_zero(loaded >> TAT_BITS ^ tag);
        found |= is_hit;
        // Two ways may hold one source, when two CPUs met it as new at the same moment.
        way = (way & !is_hit) | (candidate as u64 & is_hit);
        stamp = (stamp & !is_hit) | (loaded & is_hit);
    }
    if found != 0 {
        // Opaque, as the compiler knows that the mask changes nothing, and the verifier of Linux 6.1 does not.
        return (unknown(way) as usize & (WAYS - 1), stamp);
    }
    let mut best = u64::MAX >> 1;
    for distance in 0..WAYS {
        // The distance rides along in the lower bits.
        let stamp = set.load((home + distance) & (WAYS - 1));
        let rank = ticks_ahead(stamp, now) << WAY_BITS | distance as u64;
        best = smaller(best, rank);
    }
    let way = (home + best as usize) & (WAYS - 1);
    (way, set.load(way))
}

/// How far the stamp's TAT is ahead of `now`; 0 when it is behind or the stamp is empty.
#[inline(always)] // Six instructions.
fn ticks_ahead(stamp: u64, now: u64) -> u64 {
    let ahead = stamp.wrapping_sub(now) & TAT_MASK;
    let is_ahead = is_negative(ahead.wrapping_sub(2 * MAX_TOLERANCE_TICKS + 1));
    ahead & is_ahead & !is_zero(stamp)
}

#[cfg(test)]
mod tests;

//! The limiter: GCRA stamps in a seeded, set-associative array.
//!
//! The generic cell rate algorithm (ITU-T I.371 Annex A) keeps one number for each source, the
//! theoretical arrival time (TAT) of its next packet. A packet at `now` conforms when
//! `TAT - now <= tolerance`, and then `TAT = max(TAT, now) + interval`. With
//! `tolerance = (burst - 1) × interval` a rested source may send exactly `burst` packets at once.
//!
//! A stamp is one 64-bit word, so that compare-exchange updates it whole: the upper 20 bits are a tag
//! of the source, the lower 44 its TAT in ticks, modulo 2^44 (78 hours). Eight stamps share a cache
//! line and make a set. A new source takes the stamp whose TAT is the furthest behind: the source
//! that is closest to having been idle, which loses nothing by being forgotten. A source far over
//! its limit has its TAT the furthest ahead and is the last to be forgotten.

use crate::abi::Limit;

/// Stamps in a set.
pub const WAYS: usize = 8;
/// Nanoseconds in a tick; at a million packets a second an interval is 62 ticks, so rounding it
/// changes a rate by less than one per cent.
pub const TICK_NS: u64 = 16;
/// Ticks that a burst may span; the rest of the 44 bits tells "ahead" from "long ago".
pub const MAX_TOLERANCE_TICKS: u64 = 3_600 * 1_000_000_000 / TICK_NS;

const TAT_BITS: u32 = 44;
const TAT_MASK: u64 = (1 << TAT_BITS) - 1;
/// Lost races against other CPUs for one stamp before a packet passes uncharged.
const MAX_ATTEMPTS: usize = 3;

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
    #[inline(always)] // On the hot path, two multiplications.
    pub fn new(limit_index: u8, limit: &Limit, hi: u64, is_v4: bool, seed: &[u64; 2]) -> Self {
        let prefix_len = if is_v4 {
            limit.ipv4_prefix_len
        } else {
            limit.ipv6_prefix_len
        };
        let source = hi & crate::ban::leading_ones(prefix_len as u8);
        // Family and limit go where no IPv4 source has bits, and are spread by the multiplication.
        let salt = seed[1] ^ ((limit_index as u64) << 1 | is_v4 as u64);
        Self {
            hash: mix(mix(source ^ seed[0]).wrapping_add(salt)),
        }
    }

    /// The set, below `set_mask + 1`.
    #[inline(always)] // One instruction.
    pub fn set(self, set_mask: u32) -> u32 {
        self.hash as u32 & set_mask
    }

    /// Never 0, so that an empty stamp belongs to nobody.
    #[inline(always)] // Two instructions.
    fn tag(self) -> u64 {
        (self.hash >> TAT_BITS).max(1)
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every input bit reaches every output bit.
#[inline(always)] // On the hot path.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Charges one arrival to `source`; false when it is over the limit, and then nothing is charged.
///
/// `now_ns`: nanoseconds of a clock that does not go back. `interval` above 0 and `tolerance` at
/// most [`MAX_TOLERANCE_TICKS`], in ticks.
#[inline(always)] // The verifier follows the set's memory through it.
pub fn charge<S: StampSet + ?Sized>(
    set: &S,
    source: SourceKey,
    interval: u64,
    tolerance: u64,
    now_ns: u64,
) -> bool {
    let now = (now_ns / TICK_NS) & TAT_MASK;
    let tag = source.tag();
    for _ in 0..MAX_ATTEMPTS {
        let mut way = 0;
        let mut old = 0;
        let mut ahead = u64::MAX;
        for candidate in 0..WAYS {
            let stamp = set.load(candidate);
            let candidate_ahead = ticks_ahead(stamp, now);
            if stamp >> TAT_BITS == tag {
                way = candidate;
                old = stamp;
                ahead = candidate_ahead;
                break;
            }
            if candidate_ahead < ahead {
                way = candidate;
                old = stamp;
                ahead = candidate_ahead;
            }
        }
        // Someone else's stamp: the source is new here and starts rested. Further ahead than this
        // limit can bring a stamp: left from the last round of the 44-bit clock.
        if old >> TAT_BITS != tag || ahead > tolerance + interval {
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

/// How far the stamp's TAT is ahead of `now`; 0 when it is behind or the stamp is empty.
#[inline(always)] // Four instructions.
fn ticks_ahead(stamp: u64, now: u64) -> u64 {
    let ahead = stamp.wrapping_sub(now) & TAT_MASK;
    if stamp == 0 || ahead > 2 * MAX_TOLERANCE_TICKS {
        0
    } else {
        ahead
    }
}

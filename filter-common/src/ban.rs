//! Bans: exact-match entries, one look-up for each prefix length that bans have at present.

use crate::{
    abi::{BanKey, MAX_BAN_LENGTHS, NO_BAN_LENGTH},
    packet::{Address, Family},
};

/// True while a ban covers `source`. `lengths` are those of the address family of `source`.
///
/// `expiry_ns(key)` looks a ban up; `now_ns` is asked only when one is found, because the clock
/// costs more than the look-up. Both are in nanoseconds of CLOCK_BOOTTIME.
#[inline(always)] // Called once, on the hot path; most hosts have no ban and leave at the first test.
pub fn is_banned(
    lengths: &[u8; MAX_BAN_LENGTHS],
    expiry_ns: impl Fn(&BanKey) -> Option<u64>,
    now_ns: impl Fn() -> u64,
    source: &Address,
) -> bool {
    for &prefix_len in lengths {
        if prefix_len == NO_BAN_LENGTH {
            return false;
        }
        if let Some(expiry) = expiry_ns(&ban_key(source, prefix_len))
            && expiry > now_ns()
        {
            return true;
        }
    }
    false
}

/// The key under which a ban of the first `prefix_len` bits of `address` stands.
///
/// A `prefix_len` beyond the address takes all of it.
#[inline(always)] // Builds its result in the caller's stack frame.
pub fn ban_key(address: &Address, prefix_len: u8) -> BanKey {
    let (hi, lo) = address.left_aligned();
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&(hi & leading_ones(prefix_len)).to_be_bytes());
    octets[8..].copy_from_slice(&(lo & leading_ones(prefix_len.saturating_sub(64))).to_be_bytes());
    BanKey {
        address: octets,
        prefix_len,
        family: match address.family() {
            Family::V4 => 4,
            Family::V6 => 6,
        },
        _pad: [0; 6],
    }
}

/// A word whose first `count` bits are 1; 64 and more: all of them.
#[inline(always)] // Three instructions.
pub const fn leading_ones(count: u8) -> u64 {
    if count >= 64 {
        u64::MAX
    } else {
        !(u64::MAX >> count)
    }
}

#[cfg(test)]
mod tests;

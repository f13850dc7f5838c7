//! Word tricks without branches, and a hash.
//!
//! The verifier follows both sides of each branch, so eight comparisons in a row are up to 256 ways;
//! and the CPU guesses those that depend on addresses wrong. BPF has no conditional move, and LLVM
//! turns a shift by 63 back into the comparison that it stands for, and that into a branch. So it
//! must not know that the shift is by 63.

/// 63, which only the verifier knows.
#[inline(always)] // One instruction, which the compiler shares between uses.
fn sign_shift() -> u32 {
    #[cfg(target_arch = "bpf")]
    {
        let shift: u64;
        // SAFETY: writes a constant to the register that it is given.
        unsafe {
            core::arch::asm!("{0} = 63", out(reg) shift, options(pure, nomem, nostack));
            core::hint::assert_unchecked(shift <= 63);
        }
        shift as u32
    }
    #[cfg(not(target_arch = "bpf"))]
    63
}

/// `word`, about which the compiler knows nothing any more.
///
/// A test of the result is then made on the very register that is used after it, which is the one
/// whose bounds the verifier learns.
#[inline(always)] // One instruction.
pub fn unknown(word: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut word = word;
        // SAFETY: copies a register to itself.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) word, options(pure, nomem, nostack));
        }
        word
    }
    #[cfg(not(target_arch = "bpf"))]
    word
}

/// 1 when the top bit is set, else 0.
#[inline(always)] // One instruction.
pub fn sign_bit(word: u64) -> u64 {
    word >> sign_shift()
}

/// All ones when the top bit is set, else 0.
#[inline(always)] // One instruction.
pub fn is_negative(word: u64) -> u64 {
    (word as i64 >> sign_shift()) as u64
}

/// All ones when `word` is 0, else 0.
#[inline(always)] // Four instructions.
pub fn is_zero(word: u64) -> u64 {
    !is_negative(word | word.wrapping_neg())
}

/// The smaller of two words below 2^63.
#[inline(always)] // Four instructions.
pub fn smaller(a: u64, b: u64) -> u64 {
    let difference = a.wrapping_sub(b);
    b.wrapping_add(difference & is_negative(difference))
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every input bit reaches every output bit.
#[inline(always)] // On the hot path.
pub fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_all_or_nothing() {
        for (word, zero, negative) in [
            (0, u64::MAX, 0),
            (1, 0, 0),
            (u64::MAX >> 1, 0, 0),
            (1 << 63, 0, u64::MAX),
            (u64::MAX, 0, u64::MAX),
        ] {
            assert_eq!(
                (is_zero(word), is_negative(word)),
                (zero, negative),
                "{word:#x}"
            );
        }
    }

    #[test]
    fn smaller_of_two() {
        let largest = u64::MAX >> 1;
        for (a, b) in [(0, 0), (0, 1), (7, 3), (largest, 0), (largest, largest - 1)] {
            assert_eq!(smaller(a, b), a.min(b), "{a} {b}");
            assert_eq!(smaller(b, a), a.min(b), "{b} {a}");
        }
    }
}

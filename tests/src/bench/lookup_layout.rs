//! What the look-up programs share with the process that loads them; they include this file by path.

/// Addresses of a trace, which has as many places whatever it draws.
pub const ADDRESSES: usize = 1 << 20;

/// One walk over the trace: where it stands, and what it has found.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    /// The number of the next address.
    pub next: u64,
    /// Addresses in use, a power of two, less one.
    pub mask: u64,
    /// Look-ups of one run.
    pub count: u64,
    /// The classes found, in their order: FNV-1a over 64-bit words.
    pub checksum: u64,
    /// 0, which no compiler and no processor can know: a dependent walk adds the class last found,
    /// masked by this, to the number of the next address.
    pub zero: u64,
    /// The class last found.
    pub class: u64,
}

/// The factor of each step (Fowler, Noll, Vo; RFC 9923).
const CHECKSUM_PRIME: u64 = 0x0100_0000_01b3;

/// Adds one class to a checksum. One wrong class among a million, or two that changed places, end in
/// another checksum: every step is a bijection of what was there before.
#[inline(always)] // Two instructions.
pub const fn checksum_step(checksum: u64, class: u64) -> u64 {
    (checksum ^ class).wrapping_mul(CHECKSUM_PRIME)
}

/// Entries of the first table of DIR-24-8: the upper 24 bits of an address.
pub const FIRST_ENTRIES: usize = 1 << 24;
/// Entries of a block: the next 8 bits.
pub const BLOCK_ENTRIES: usize = 256;
/// Blocks that the IPv4 table has room for; the entries name them in 15 bits.
pub const BLOCKS_V4: usize = 1 << 15;
/// Blocks that the IPv6 table has room for.
pub const BLOCKS_V6: usize = 1 << 16;
/// In an IPv4 entry: the rest is the number of a block, else a class.
pub const IS_BLOCK_V4: u16 = 1 << 15;
/// As [`IS_BLOCK_V4`].
pub const IS_BLOCK_V6: u32 = 1 << 31;

/// What a look-up of cerco's returns when a line is missing, which must not be: no class.
pub const NO_CLASS: u64 = 0xffff;

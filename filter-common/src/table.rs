//! The compiled address table: layout and look-up.
//!
//! One flat array of 64-byte lines (a cache line each) for both families; addresses are left-aligned in
//! 128 bits, and IPv4 addresses end after 32. Each family has a root of 65,536 words, indexed by the
//! first 16 bits.
//!
//! **IPv4** is a grid: the word of a /16 names a block of 256 bytes, one for each /24. A byte is the class
//! of its /24, or [`FINER`]: then a record of 8 bytes holds up to 3 range starts inside the /24 and 4
//! classes. Two or three loads, and no comparison on most ways. Blocks of equal content are stored once.
//! Records lie so that those of one /16 have a common displacement: record `slot` of it stands `slot`
//! places behind, and the gaps between them hold those of others (row displacement, Tarjan and Yao 1979),
//! so they need no keys. A /16 that does not fit this (more boundaries in one /24) takes a detour into the
//! trie.
//!
//! **IPv6**, and such a /16, is a trie. A word of it is a class, or the kind and first line of a node that
//! decides on the bits behind:
//!
//! | node | lines | bits used | holds |
//! |---|---|---|---|
//! | narrow | 4 | 8 | 256 classes of one byte |
//! | wide | 16 | 8 | 256 entries |
//! | list | 1 | 32 | up to 12 range starts and 13 classes |
//! | tree | 1 + up to 16 | 32 | 15 range starts over 16 lists: up to 208 ranges |
//! | deep list | 1 | 32 | up to 7 range starts and 8 entries, for ranges finer than 32 bits |
//!
//! Everything is exact down to /32 and /128. Equal nodes are stored once. `filter-userspace::compile`
//! builds the lines. An entry of 0, which a zeroed table is full of, is [`Class::UNKNOWN`]: for IPv4
//! because block 0 would lie in the root, which starts with zeroes then.

use crate::{
    bits::sign_bit,
    country::Class,
    packet::{Address, Family},
};

/// Words in a line.
pub const LINE_WORDS: usize = 16;
/// Bytes of a line.
pub const LINE_BYTES: usize = 64;
/// Range starts in a list.
pub const LIST_KEYS: usize = 12;
/// Range starts in the first line of a tree; the word behind them is the number of its last list.
pub const TREE_KEYS: usize = 15;
/// Range starts in a deep list.
pub const DEEP_KEYS: usize = 7;
/// Lines of a narrow node, and of a block of the grid.
pub const NARROW_LINES: u32 = 4;
/// Lines of a wide node.
pub const WIDE_LINES: u32 = 16;
/// Lines of one root: 65,536 entries.
pub const ROOT_LINES: u32 = 65_536 / LINE_WORDS as u32;
/// The first line of the IPv4 root.
pub const ROOT_V4: u32 = 0;
/// The first line of the IPv6 root.
pub const ROOT_V6: u32 = ROOT_LINES;
/// The first line behind the roots: the records of the grid, then its blocks, then the trie's nodes.
pub const FIRST_NODE: u32 = 2 * ROOT_LINES;

/// Range starts of a record.
pub const RECORD_KEYS: usize = 3;
/// Bytes of a record: starts, classes, and one that is unused.
pub const RECORD_BYTES: usize = 8;
/// Records in a line; the displacement of a /16 counts in lines.
pub const RECORDS_PER_LINE: usize = LINE_BYTES / RECORD_BYTES;
/// The byte of a block that stands for "see the record"; no class of the grid has this number.
pub const FINER: u8 = 0xff;

/// The range start that fills the unused places of a list, a tree or a deep list. The largest key
/// counts those too, so the last class or entry of a list is repeated to its end. Records do the same
/// with a byte of ones.
pub const NO_KEY: u32 = u32::MAX;

/// Nodes on the longest way through the table: 112 bits behind the root, at least 8 a node.
const MAX_DEPTH: usize = (128 - 16) / 8;

/// One cache line of the table, as host-order words.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Line(pub [u32; LINE_WORDS]);

const _: () = assert!(size_of::<Line>() == 64);

#[cfg(feature = "user")]
// SAFETY: sixteen integers without padding.
unsafe impl aya::Pod for Line {}

/// What an entry points to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum Kind {
    Class = 0,
    Narrow = 1,
    Wide = 2,
    List = 3,
    Tree = 4,
    DeepList = 5,
}

/// A class, or a node: kind in the lower 3 bits, class or first line above.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct Entry(pub u32);

impl Entry {
    /// The lower bits, which hold a number of [`Kind`].
    pub const KIND_BITS: u32 = 3;
    /// The largest line number that an entry can name: bytes are counted in 32 bits.
    pub const MAX_LINE: u32 = u32::MAX / LINE_BYTES as u32;

    pub const fn class(class: Class) -> Self {
        Self((class.0 as u32) << Self::KIND_BITS)
    }

    /// `line` is at most [`Entry::MAX_LINE`].
    pub const fn node(kind: Kind, line: u32) -> Self {
        Self(line << Self::KIND_BITS | kind as u32)
    }

    /// The class, when the entry is one.
    pub const fn as_class(self) -> Option<Class> {
        if self.kind() == Kind::Class as u32 {
            Some(Class(self.value() as u8))
        } else {
            None
        }
    }

    const fn kind(self) -> u32 {
        self.0 & ((1 << Self::KIND_BITS) - 1)
    }

    const fn value(self) -> u32 {
        self.0 >> Self::KIND_BITS
    }
}

/// A word of the IPv4 root: a block and a displacement, or an [`Entry`] of the trie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct GridEntry(pub u32);

impl GridEntry {
    /// Set in a detour. Below it lies the number of the block.
    const DETOUR: u32 = 1 << 15;
    /// The largest block number.
    pub const MAX_BLOCK: u32 = Self::DETOUR - 1;
    /// The largest displacement.
    pub const MAX_DISPLACEMENT: u32 = 0xffff;
    /// `block`: its first line, counted in blocks. `displacement`: line of the records, counted from the
    /// first of them.
    pub const fn grid(block: u32, displacement: u32) -> Self {
        Self(displacement << 16 | block)
    }

    /// Any entry that names at most [`Entry::MAX_LINE`] fits beside the flag.
    pub const fn detour(entry: Entry) -> Self {
        let high = entry.0 >> 15 << 16;
        Self(high | Self::DETOUR | (entry.0 & Self::MAX_BLOCK))
    }

    /// Where the trie goes on, in a detour.
    #[inline(always)] // Five instructions.
    pub const fn as_detour(self) -> Option<Entry> {
        if self.0 & Self::DETOUR == 0 {
            None
        } else {
            Some(Entry(self.0 >> 16 << 15 | (self.0 & Self::MAX_BLOCK)))
        }
    }

    /// The number of the block, unless this is a detour.
    #[inline(always)] // One instruction.
    pub const fn block(self) -> u32 {
        self.0 & Self::MAX_BLOCK
    }

    /// See [`GridEntry::grid`].
    #[inline(always)] // One instruction.
    pub const fn displacement(self) -> u32 {
        self.0 >> 16
    }
}

/// The memory of one generation of the table. `None`: beyond its end.
pub trait Memory {
    fn line(&self, index: u32) -> Option<&Line>;
    /// Four bytes; index 0 is the first word of line 0.
    fn word(&self, index: u32) -> Option<u32>;
    /// Eight bytes, the first word in the lower half.
    fn double_word(&self, index: u32) -> Option<u64>;
    /// Low byte of a word first, whatever the byte order of the host.
    fn byte(&self, index: u32) -> Option<u8>;
}

impl Memory for &[Line] {
    fn line(&self, index: u32) -> Option<&Line> {
        self.get(index as usize)
    }

    fn word(&self, index: u32) -> Option<u32> {
        let index = index as usize;
        Some(self.get(index / LINE_WORDS)?.0[index % LINE_WORDS])
    }

    fn double_word(&self, index: u32) -> Option<u64> {
        let (low, high) = (self.word(2 * index)?, self.word(2 * index + 1)?);
        Some((high as u64) << 32 | low as u64)
    }

    fn byte(&self, index: u32) -> Option<u8> {
        Some((self.word(index / 4)? >> (index % 4 * 8)) as u8)
    }
}

/// The class of `address`, or `None` when a line is missing: a fault of the table, never of the packet.
#[inline(always)] // One caller in the kernel; the look-up is most of what a denied packet costs.
pub fn lookup<M: Memory>(memory: &M, address: &Address) -> Option<Class> {
    let (hi, lo) = address.left_aligned();
    match address.family() {
        Family::V4 => {
            let address = (hi >> 32) as u32;
            let entry = GridEntry(memory.word(address >> 16)?);
            match entry.as_detour() {
                None => in_grid(memory, entry, address),
                Some(entry) => in_trie(memory, entry, shift_left(hi, lo, 16)),
            }
        }
        Family::V6 => {
            let root = ROOT_V6 * LINE_WORDS as u32;
            let entry = Entry(memory.word(root + (hi >> 48) as u32)?);
            in_trie(memory, entry, shift_left(hi, lo, 16))
        }
    }
}

#[inline(always)] // See `lookup`.
fn in_grid<M: Memory>(memory: &M, entry: GridEntry, address: u32) -> Option<Class> {
    const { assert!(NARROW_LINES as usize * LINE_BYTES == 1 << 8) };
    let slot = address >> 8 & 0xff;
    let class = memory.byte(entry.block() << 8 | slot)?;
    if class != FINER {
        return Some(Class(class));
    }
    let first = FIRST_NODE + entry.displacement();
    let record = memory.double_word(first * RECORDS_PER_LINE as u32 + slot)?;
    let key = address as u64 & 0xff;
    let mut rank = 0;
    for place in 0..RECORD_KEYS {
        // As in `rank`.
        rank += sign_bit((record >> (8 * place) & 0xff).wrapping_sub(key + 1));
    }
    Some(Class((record >> (8 * (RECORD_KEYS as u64 + rank))) as u8))
}

/// `hi`, `lo`: the bits that no node has decided on yet.
#[inline(always)] // See `lookup`.
fn in_trie<M: Memory>(memory: &M, mut entry: Entry, (mut hi, mut lo): (u64, u64)) -> Option<Class> {
    // Opaque to the compiler, which would unroll the loop, but a constant to the verifier.
    let mut depth_left = core::hint::black_box(MAX_DEPTH);
    while depth_left > 0 {
        depth_left -= 1;
        let first = entry.value();
        if entry.kind() == Kind::Class as u32 {
            return Some(Class(first as u8));
        } else if entry.kind() == Kind::Narrow as u32 {
            let slot = (hi >> 56) as u32;
            return memory.byte(first * LINE_BYTES as u32 + slot).map(Class);
        } else if entry.kind() == Kind::Wide as u32 {
            let slot = (hi >> 56) as u32;
            entry = Entry(memory.word(first * LINE_WORDS as u32 + slot)?);
            (hi, lo) = shift_left(hi, lo, 8);
        } else if entry.kind() == Kind::DeepList as u32 {
            let list = memory.line(first)?;
            let rank = rank::<DEEP_KEYS>(list, (hi >> 32) as u32);
            entry = Entry(list.0[(DEEP_KEYS as u32 + rank) as usize & 15]);
            (hi, lo) = shift_left(hi, lo, 32);
        } else {
            let key = (hi >> 32) as u32;
            let mut list = memory.line(first)?;
            if entry.kind() == Kind::Tree as u32 {
                // The largest key also counts the unused places.
                let child = rank::<TREE_KEYS>(list, key).min(list.0[TREE_KEYS]);
                list = memory.line(first + 1 + child)?;
            }
            return Some(byte(list, LIST_KEYS, rank::<LIST_KEYS>(list, key)));
        }
    }
    None
}

/// How many of the first `N` range starts of `list` are at or below `key`: the number of its range.
#[inline(always)] // Unrolled; branches here would be guessed wrong half of the time.
fn rank<const N: usize>(list: &Line, key: u32) -> u32 {
    let mut rank = 0;
    for start in &list.0[..N] {
        // The top bit is the borrow of start - (key + 1): set when start <= key. See `bits` for why this is
        // no comparison.
        rank += sign_bit((*start as u64).wrapping_sub(key as u64 + 1)) as u32;
    }
    rank
}

/// Byte `index` (below 64) of the bytes that start at word `first_word`, low byte of a word first.
#[inline(always)] // Four instructions.
fn byte(line: &Line, first_word: usize, index: u32) -> Class {
    let word = line.0[(first_word + (index >> 2) as usize) & 15];
    Class((word >> ((index & 3) * 8)) as u8)
}

#[inline(always)] // Four instructions.
const fn shift_left(hi: u64, lo: u64, bits: u32) -> (u64, u64) {
    (hi << bits | lo >> (64 - bits), lo << bits)
}

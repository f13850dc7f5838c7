//! The compiled address table: layout and look-up.
//!
//! A trie over left-aligned 128-bit addresses, in one flat array of 64-byte lines (a cache line
//! each). Both families use the same nodes and the same walk; IPv4 addresses end after 32 bits.
//! Each family's root is an array of 65,536 entries, indexed by the first 16 bits. An entry is a
//! class, or the kind and first line of a node that decides on the bits behind:
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
//! builds the lines. An entry of 0, which a zeroed table is full of, is [`Class::UNKNOWN`].

use crate::{
    bits::sign_bit,
    country::Class,
    packet::{Address, Family},
};

/// Words in a line.
pub const LINE_WORDS: usize = 16;
/// Range starts in a list.
pub const LIST_KEYS: usize = 12;
/// Range starts in the first line of a tree; the word behind them is the number of its last list.
pub const TREE_KEYS: usize = 15;
/// Range starts in a deep list.
pub const DEEP_KEYS: usize = 7;
/// Lines of a narrow node.
pub const NARROW_LINES: u32 = 4;
/// Lines of a wide node.
pub const WIDE_LINES: u32 = 16;
/// Lines of one root: 65,536 entries.
pub const ROOT_LINES: u32 = 65_536 / LINE_WORDS as u32;
/// The first line of the IPv4 root.
pub const ROOT_V4: u32 = 0;
/// The first line of the IPv6 root.
pub const ROOT_V6: u32 = ROOT_LINES;
/// The first line behind the roots.
pub const FIRST_NODE: u32 = 2 * ROOT_LINES;

/// The range start that fills the unused places of a list, a tree or a deep list. The largest key
/// counts those too, so the last class or entry of a list is repeated to its end.
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
    const KIND_BITS: u32 = 3;
    /// The largest line number that an entry can name.
    pub const MAX_LINE: u32 = u32::MAX >> Self::KIND_BITS;

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

/// The class of `address`, or `None` when a line is missing: a fault of the table, never of the packet.
///
/// `line(index)` gives a line of the table, counted from the start of its generation.
#[inline(always)] // One caller in the kernel; the look-up is most of what a denied packet costs.
pub fn lookup<'a>(line: impl Fn(u32) -> Option<&'a Line>, address: &Address) -> Option<Class> {
    let (mut hi, mut lo) = address.left_aligned();
    let root = match address.family() {
        Family::V4 => ROOT_V4,
        Family::V6 => ROOT_V6,
    };
    let slot = (hi >> 48) as u32;
    let mut entry = Entry(line(root + (slot >> 4))?.0[(slot & 15) as usize]);
    (hi, lo) = shift_left(hi, lo, 16);

    // Opaque to the compiler, which would unroll the loop, but a constant to the verifier.
    let mut depth_left = core::hint::black_box(MAX_DEPTH);
    while depth_left > 0 {
        depth_left -= 1;
        let first = entry.value();
        if entry.kind() == Kind::Class as u32 {
            return Some(Class(first as u8));
        } else if entry.kind() == Kind::Narrow as u32 {
            let slot = (hi >> 56) as u32;
            let classes = line(first + (slot >> 6))?;
            return Some(byte(classes, 0, slot & 63));
        } else if entry.kind() == Kind::Wide as u32 {
            let slot = (hi >> 56) as u32;
            entry = Entry(line(first + (slot >> 4))?.0[(slot & 15) as usize]);
            (hi, lo) = shift_left(hi, lo, 8);
        } else if entry.kind() == Kind::DeepList as u32 {
            let list = line(first)?;
            let rank = rank::<DEEP_KEYS>(list, (hi >> 32) as u32);
            entry = Entry(list.0[(DEEP_KEYS as u32 + rank) as usize & 15]);
            (hi, lo) = shift_left(hi, lo, 32);
        } else {
            let key = (hi >> 32) as u32;
            let mut list = line(first)?;
            if entry.kind() == Kind::Tree as u32 {
                // The largest key also counts the unused places.
                let child = rank::<TREE_KEYS>(list, key).min(list.0[TREE_KEYS]);
                list = line(first + 1 + child)?;
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

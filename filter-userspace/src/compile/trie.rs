//! Ranges → lines of the table that `filter_common::table` looks up.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use filter_common::{
    country::Class,
    table::{
        DEEP_KEYS, Entry, FIRST_NODE, GridEntry, Kind, LINE_WORDS, LIST_KEYS, Line, NARROW_LINES,
        NO_KEY, ROOT_V4, ROOT_V6, TREE_KEYS, WIDE_LINES,
    },
};

use super::{cover::Cover, grid::Grid};

/// Range starts that a tree can hold: one starts each list but the first.
const MAX_TREE_STARTS: usize = (TREE_KEYS + 1) * (LIST_KEYS + 1) - 1;
/// Bits that the root decides on.
const ROOT_BITS: u32 = 16;
/// Bits of a range start inside a list or tree.
const LIST_BITS: u32 = 32;
/// Bits that a narrow or wide node decides on.
const STRIDE_BITS: u32 = 8;

/// The table needs more lines than an entry can name.
#[derive(Debug, thiserror::Error)]
#[error(
    "the address table would need more than {} lines of 64 bytes",
    Entry::MAX_LINE
)]
pub struct TableTooLarge;

/// Builds the table of both families: their roots, the grid, then the nodes.
pub fn build(v4: &Cover, v6: &Cover) -> Result<Vec<Line>, TableTooLarge> {
    let mut builder = Builder {
        lines: vec![Line([0; LINE_WORDS]); FIRST_NODE as usize],
        shared: HashMap::default(),
    };
    builder.build_grid(v4)?;
    builder.build_root(v6)?;
    Ok(builder.lines)
}

/// Calls `visit` for the part of the cover under each slot of a root, in order.
fn for_each_slot<'a, E>(
    cover: &'a Cover,
    mut visit: impl FnMut(usize, Region<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let whole = Region {
        base: 0,
        depth: 0,
        first_class: cover.classes[0],
        starts: &cover.starts[1..],
        classes: &cover.classes[1..],
    };
    let mut from = 0;
    for slot in 0..1usize << ROOT_BITS {
        let (region, next) = whole.slot(slot as u128, ROOT_BITS, from);
        from = next;
        visit(slot, region)?;
    }
    Ok(())
}

struct Builder {
    lines: Vec<Line>,
    /// Hash of a node → the first line of one that has it. Two nodes of one hash would merely not be
    /// shared; keeping their content here would double the memory.
    shared: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
}

/// The part of a cover that lies under one node: the addresses whose first `depth` bits are those of `base`.
#[derive(Clone, Copy)]
pub(super) struct Region<'a> {
    base: u128,
    depth: u32,
    /// The class at `base`.
    pub(super) first_class: Class,
    /// Starts behind `base`, inside the region.
    pub(super) starts: &'a [u128],
    pub(super) classes: &'a [Class],
}

impl<'a> Region<'a> {
    /// Range start number `index`, with the bits of the node moved to the top.
    pub(super) fn shifted(&self, index: usize) -> u128 {
        self.starts[index] << self.depth
    }

    /// True when all range starts are multiples of the unit that is left behind `bits` more bits.
    fn fits(&self, bits: u32) -> bool {
        (0..self.starts.len()).all(|index| self.shifted(index) << bits == 0)
    }

    /// The part in slot `slot` of the slots that `bits` more bits make.
    fn slot(&self, slot: u128, bits: u32, from: usize) -> (Region<'a>, usize) {
        let depth = self.depth + bits;
        let base = self.base | slot << (128 - depth);
        let last = base | (u128::MAX >> depth);
        let mut first_class = if from == 0 {
            self.first_class
        } else {
            self.classes[from - 1]
        };
        let mut begin = from;
        if self.starts.get(begin) == Some(&base) {
            first_class = self.classes[begin];
            begin += 1;
        }
        // Slots are taken in order, so these steps add up to one for each start, less than searching.
        let within = self.starts[begin..].iter().take_while(|at| **at <= last);
        let end = begin + within.count();
        let region = Region {
            base,
            depth,
            first_class,
            starts: &self.starts[begin..end],
            classes: &self.classes[begin..end],
        };
        (region, end)
    }
}

impl Builder {
    fn build_grid(&mut self, cover: &Cover) -> Result<(), TableTooLarge> {
        let mut grid = Grid::default();
        let mut detours = Vec::new();
        let mut fitting = Vec::new();
        for_each_slot(cover, |slot, region| {
            match grid.insert(&region) {
                Some(place) => fitting.push((slot, place)),
                None => detours.push((slot, region)),
            }
            Ok(())
        })?;
        let first_block = grid.append_to(&mut self.lines);
        for (slot, place) in fitting {
            self.set_root(ROOT_V4, slot, place.entry(first_block).0);
        }
        for (slot, region) in detours {
            let entry = self.build(&region)?;
            self.set_root(ROOT_V4, slot, GridEntry::detour(entry).0);
        }
        Ok(())
    }

    fn build_root(&mut self, cover: &Cover) -> Result<(), TableTooLarge> {
        for_each_slot(cover, |slot, region| {
            let entry = self.build(&region)?;
            self.set_root(ROOT_V6, slot, entry.0);
            Ok(())
        })
    }

    fn set_root(&mut self, root: u32, slot: usize, word: u32) {
        self.lines[root as usize + slot / LINE_WORDS].0[slot % LINE_WORDS] = word;
    }

    fn build(&mut self, region: &Region<'_>) -> Result<Entry, TableTooLarge> {
        let count = region.starts.len();
        if count == 0 {
            return Ok(Entry::class(region.first_class));
        }
        let fits_list = region.fits(LIST_BITS);
        if fits_list && count <= LIST_KEYS {
            return self.store(Kind::List, &[list(region, 0..count)]);
        }
        if region.fits(STRIDE_BITS) {
            return self.store(Kind::Narrow, &narrow(region));
        }
        if fits_list && count <= MAX_TREE_STARTS {
            return self.store(Kind::Tree, &tree(region));
        }
        if !fits_list && let Some(parts) = deep_parts(region) {
            return self.build_deep(&parts);
        }
        self.build_wide(region)
    }

    fn build_wide(&mut self, region: &Region<'_>) -> Result<Entry, TableTooLarge> {
        let mut node = [Line([0; LINE_WORDS]); WIDE_LINES as usize];
        let mut from = 0;
        for slot in 0..1usize << STRIDE_BITS {
            let (child, next) = region.slot(slot as u128, STRIDE_BITS, from);
            from = next;
            node[slot / LINE_WORDS].0[slot % LINE_WORDS] = self.build(&child)?.0;
        }
        self.store(Kind::Wide, &node)
    }

    fn build_deep(&mut self, parts: &[(u32, Region<'_>)]) -> Result<Entry, TableTooLarge> {
        let mut line = Line([NO_KEY; LINE_WORDS]);
        let mut last = Entry::class(Class::UNKNOWN);
        for (index, (key, region)) in parts.iter().enumerate() {
            last = self.build(region)?;
            // The first part starts where the node does and needs no key.
            if index > 0 {
                line.0[index - 1] = *key;
            }
            line.0[DEEP_KEYS + index] = last.0;
        }
        line.0[DEEP_KEYS + parts.len()..].fill(last.0);
        self.store(Kind::DeepList, &[line])
    }

    /// Appends a node, or finds an equal one.
    fn store(&mut self, kind: Kind, node: &[Line]) -> Result<Entry, TableTooLarge> {
        let hash = content_hash(node);
        if let Some(first) = self.shared.get(&hash)
            && self.lines[*first as usize..].starts_with(node)
        {
            return Ok(Entry::node(kind, *first));
        }
        let first = u32::try_from(self.lines.len()).map_err(|_| TableTooLarge)?;
        if first > Entry::MAX_LINE - node.len() as u32 {
            return Err(TableTooLarge);
        }
        self.lines.extend_from_slice(node);
        self.shared.insert(hash, first);
        Ok(Entry::node(kind, first))
    }
}

/// A hash of the content of a node, the same in every process: the table is deterministic.
///
/// Multiply and rotate, as in FxHash: it need not withstand anybody, since what comes of equal hashes
/// is compared, and a node that finds another in its place is merely not shared.
pub(super) fn content_hash(node: &[Line]) -> u64 {
    // The golden ratio of 64 bits, odd, with no pattern in its bits.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = 0u64;
    for line in node {
        for pair in line.0.as_chunks::<2>().0 {
            let word = u64::from(pair[0]) << 32 | u64::from(pair[1]);
            hash = (hash.rotate_left(23) ^ word).wrapping_mul(FACTOR);
        }
    }
    // The table of hashes takes its place from the low bits, where a product is weakest.
    hash ^ hash >> 32
}

/// For keys that are hashes already.
#[derive(Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("invariant: keys are u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// One list line of the starts in `keys`; the range before the first of them is the class that
/// stands before it.
fn list(region: &Region<'_>, keys: std::ops::Range<usize>) -> Line {
    let mut line = Line([NO_KEY; LINE_WORDS]);
    let mut classes = [0u8; (LINE_WORDS - LIST_KEYS) * 4];
    let mut class = match keys.start {
        0 => region.first_class,
        start => region.classes[start - 1],
    };
    classes[0] = class.0;
    let count = keys.len();
    for (place, index) in keys.enumerate() {
        line.0[place] = key(region, index);
        class = region.classes[index];
        classes[place + 1] = class.0;
    }
    classes[count + 1..].fill(class.0);
    for (word, bytes) in line.0[LIST_KEYS..].iter_mut().zip(classes.chunks_exact(4)) {
        *word = pack(bytes);
    }
    line
}

/// The first 32 bits of a range start behind the region's own.
fn key(region: &Region<'_>, index: usize) -> u32 {
    (region.shifted(index) >> 96) as u32
}

/// Four classes in a word, low byte first, whatever the byte order of the host.
pub(super) fn pack(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// Lists of as equal a length as can be, and the line of range starts over them.
fn tree(region: &Region<'_>) -> Vec<Line> {
    let count = region.starts.len();
    // Each list but the first gives one start up to the line above.
    let lists = (count + 1).div_ceil(LIST_KEYS + 1);
    let mut head = Line([NO_KEY; LINE_WORDS]);
    head.0[TREE_KEYS] = lists as u32 - 1;
    let mut node = vec![head];
    let mut begin = 0;
    for number in 0..lists {
        if number > 0 {
            node[0].0[number - 1] = key(region, begin);
            begin += 1;
        }
        let left = lists - number;
        // Of what is left, the starts that go up stay out of the share.
        let share = (count - begin - (left - 1)).div_ceil(left);
        node.push(list(region, begin..begin + share));
        begin += share;
    }
    node
}

fn narrow(region: &Region<'_>) -> [Line; NARROW_LINES as usize] {
    let mut classes = [region.first_class.0; 1 << STRIDE_BITS];
    for (index, class) in region.classes.iter().enumerate() {
        let slot = (region.shifted(index) >> (128 - STRIDE_BITS)) as usize;
        classes[slot..].fill(class.0);
    }
    let mut node = [Line([0; LINE_WORDS]); NARROW_LINES as usize];
    for (index, bytes) in classes.chunks_exact(4).enumerate() {
        node[index / LINE_WORDS].0[index % LINE_WORDS] = pack(bytes);
    }
    node
}

/// The region cut at multiples of its 32-bit unit, such that each part is either of one class or one
/// unit that a further node decides on. `None` when a deep list cannot hold the parts.
fn deep_parts<'a>(region: &Region<'a>) -> Option<Vec<(u32, Region<'a>)>> {
    let mut parts: Vec<(u32, Region<'a>)> = Vec::new();
    let mut push = |slot: u32, part: Region<'a>| {
        // The first range of the node needs a part of its own, unless slot 0 is one already.
        if parts.is_empty() && slot != 0 {
            parts.push((0, flat(region, region.first_class)));
        }
        parts.push((slot, part));
        (parts.len() <= DEEP_KEYS + 1).then_some(())
    };
    let mut index = 0;
    while index < region.starts.len() {
        let slot = key(region, index);
        let (unit, next) = region.slot(u128::from(slot), LIST_BITS, index);
        if unit.starts.is_empty() {
            push(slot, flat(region, unit.first_class))?;
        } else {
            push(slot, unit)?;
            // The unit ends where its last range may go on; a range start right there, or inside the
            // next unit, makes a part of its own in the next turn.
            if let Some(after) = slot.checked_add(1)
                && (next >= region.starts.len() || key(region, next) != after)
            {
                push(after, flat(region, region.classes[next - 1]))?;
            }
        }
        index = next;
    }
    Some(parts)
}

/// A part that is of one class.
fn flat<'a>(region: &Region<'a>, class: Class) -> Region<'a> {
    Region {
        base: region.base,
        depth: region.depth,
        first_class: class,
        starts: &[],
        classes: &[],
    }
}

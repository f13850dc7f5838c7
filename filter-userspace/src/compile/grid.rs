//! The grid of the IPv4 table: blocks of one class a /24, and records for the /24s that have several.

use std::{collections::HashMap, hash::BuildHasherDefault};

use filter_common::{
    country::Class,
    table::{
        FINER, FIRST_NODE, GridEntry, LINE_WORDS, Line, NARROW_LINES, RECORD_KEYS, RECORDS_PER_LINE,
    },
};

use super::trie::{Hashed, Region, content_hash, pack};

/// /24s in a /16.
const SLOTS: usize = 256;
/// Lines that the records of one /16 span, if each of its /24s has one.
const RECORD_LINES: usize = SLOTS / RECORDS_PER_LINE;

type Block = [Line; NARROW_LINES as usize];

/// Blocks and records of all /16s so far.
#[derive(Default)]
pub(super) struct Grid {
    blocks: Vec<Block>,
    /// Hash of a block → its number.
    shared: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    records: Vec<u64>,
    /// One bit for each record of a line that is taken.
    taken: Vec<u8>,
    /// Lines before this one are full.
    first_free: usize,
}

/// Where a /16 lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Counted from the first block.
    block: u32,
    displacement: u32,
}

impl Place {
    /// `first_block`: what [`Grid::append_to`] returned.
    pub(super) fn entry(self, first_block: u32) -> GridEntry {
        GridEntry::grid(first_block + self.block, self.displacement)
    }
}

impl Grid {
    /// Takes a /16 in; `None` when the grid cannot hold it.
    pub(super) fn insert(&mut self, region: &Region<'_>) -> Option<Place> {
        let (block, records) = cells(region)?;
        let displacement = self.place(&records)?;
        Some(Place {
            block: self.store(block)?,
            displacement,
        })
    }

    /// Puts records and blocks behind the roots, and returns the number of the first block.
    pub(super) fn append_to(self, lines: &mut Vec<Line>) -> u32 {
        assert_eq!(
            lines.len(),
            FIRST_NODE as usize,
            "invariant: records lie behind the roots"
        );
        for records in self.records.chunks(RECORDS_PER_LINE) {
            let mut line = Line([0; LINE_WORDS]);
            for (words, record) in line.0.chunks_exact_mut(2).zip(records) {
                words[0] = *record as u32;
                words[1] = (record >> 32) as u32;
            }
            lines.push(line);
        }
        let first_block = lines.len().div_ceil(NARROW_LINES as usize);
        lines.resize(first_block * NARROW_LINES as usize, Line([0; LINE_WORDS]));
        lines.extend(self.blocks.iter().flatten());
        first_block as u32
    }

    /// The number of the block, or of an equal one.
    fn store(&mut self, block: Block) -> Option<u32> {
        // The largest number that blocks get behind as many records as there can be.
        const RECORD_BLOCKS: usize =
            (GridEntry::MAX_DISPLACEMENT as usize + RECORD_LINES).div_ceil(NARROW_LINES as usize);
        const MOST: usize = GridEntry::MAX_BLOCK as usize
            - (FIRST_NODE as usize).div_ceil(NARROW_LINES as usize)
            - RECORD_BLOCKS;
        let hash = content_hash(&block);
        if let Some(number) = self.shared.get(&hash)
            && self.blocks[*number as usize] == block
        {
            return Some(*number);
        }
        let number = self.blocks.len();
        if number >= MOST {
            return None;
        }
        self.blocks.push(block);
        self.shared.insert(hash, number as u32);
        Some(number as u32)
    }

    /// Finds the first displacement at which all records, by their slot, meet free places.
    fn place(&mut self, records: &[(usize, u64)]) -> Option<u32> {
        if records.is_empty() {
            return Some(0);
        }
        let mut wanted: Vec<(usize, u8)> = Vec::with_capacity(RECORD_LINES);
        for (slot, _) in records {
            let (line, bit) = (slot / RECORDS_PER_LINE, 1 << (slot % RECORDS_PER_LINE));
            match wanted.last_mut() {
                Some((last, bits)) if *last == line => *bits |= bit,
                _ => wanted.push((line, bit)),
            }
        }
        // The first record may lie in the first line that has room, however far behind its slot is.
        let mut displacement = self.first_free.saturating_sub(wanted[0].0);
        let is_free = |displacement: usize| {
            wanted.iter().all(|(line, bits)| {
                self.taken
                    .get(displacement + line)
                    .is_none_or(|taken| taken & bits == 0)
            })
        };
        while !is_free(displacement) {
            displacement += 1;
        }
        if displacement > GridEntry::MAX_DISPLACEMENT as usize {
            return None;
        }
        let lines = displacement + wanted.last().map_or(0, |(line, _)| line + 1);
        if self.taken.len() < lines {
            self.taken.resize(lines, 0);
            self.records.resize(lines * RECORDS_PER_LINE, 0);
        }
        for (line, bits) in wanted {
            self.taken[displacement + line] |= bits;
        }
        for (slot, record) in records {
            self.records[displacement * RECORDS_PER_LINE + slot] = *record;
        }
        while self.taken.get(self.first_free) == Some(&u8::MAX) {
            self.first_free += 1;
        }
        Some(displacement as u32)
    }
}

/// The block of a /16, and its records by slot. `None` when a /24 has more ranges than a record holds,
/// or a class has the number of [`FINER`].
fn cells(region: &Region<'_>) -> Option<(Block, Vec<(usize, u64)>)> {
    if region.first_class.0 == FINER || region.classes.iter().any(|class| class.0 == FINER) {
        return None;
    }
    let mut bytes = [0; SLOTS];
    let mut records = Vec::new();
    // Slots before this one are written, those behind have this class until a range starts.
    let (mut written, mut class) = (0, region.first_class);
    let mut index = 0;
    while index < region.starts.len() {
        let (slot, low) = place_of(region, index);
        bytes[written..slot].fill(class.0);
        written = slot;
        if low == 0 {
            class = region.classes[index];
            index += 1;
        }
        // Does another range start inside of this /24?
        let (record, next) = Record::new(class).filled(region, slot, index)?;
        if next > index {
            bytes[slot] = FINER;
            written = slot + 1;
            records.push((slot, record.packed()));
            class = region.classes[next - 1];
            index = next;
        }
    }
    bytes[written..].fill(class.0);
    let mut block = [Line([0; LINE_WORDS]); NARROW_LINES as usize];
    for (index, bytes) in bytes.chunks_exact(4).enumerate() {
        block[index / LINE_WORDS].0[index % LINE_WORDS] = pack(bytes);
    }
    Some((block, records))
}

/// The /24 of a range start inside its /16, and the last byte of the address.
fn place_of(region: &Region<'_>, index: usize) -> (usize, u8) {
    let bits = (region.shifted(index) >> 112) as u16;
    (usize::from(bits >> 8), bits as u8)
}

/// The ranges of one /24.
struct Record {
    starts: [u8; RECORD_KEYS],
    classes: [u8; RECORD_KEYS + 1],
}

impl Record {
    /// One range. Unused starts are the last address, which counts them; so the last class is repeated.
    fn new(class: Class) -> Self {
        Self {
            starts: [u8::MAX; RECORD_KEYS],
            classes: [class.0; RECORD_KEYS + 1],
        }
    }

    /// With all range starts of `slot` from `index` on; also returns the first start behind it.
    fn filled(mut self, region: &Region<'_>, slot: usize, index: usize) -> Option<(Self, usize)> {
        let mut next = index;
        while next < region.starts.len() {
            let (at, low) = place_of(region, next);
            if at != slot {
                break;
            }
            let place = next - index;
            *self.starts.get_mut(place)? = low;
            self.classes[place + 1..].fill(region.classes[next].0);
            next += 1;
        }
        Some((self, next))
    }

    fn packed(&self) -> u64 {
        let bytes = self.starts.iter().chain(&self.classes);
        bytes
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
    }
}

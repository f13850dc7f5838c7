//! A compiled table back into ranges: what `trie` builds, read in the order of addresses.

use filter_common::{
    country::Class,
    table::{
        DEEP_KEYS, Entry, FINER, FIRST_NODE, GridEntry, Kind, LINE_WORDS, LIST_KEYS, Line,
        Memory as _, RECORD_KEYS, RECORDS_PER_LINE, ROOT_V4, ROOT_V6, TREE_KEYS,
    },
};

/// Bits of an address, left-aligned IPv4 addresses included.
const ADDRESS_BITS: u32 = 128;
const ROOT_BITS: u32 = 16;
const STRIDE_BITS: u32 = 8;
const KEY_BITS: u32 = 32;
/// The last value of a key, which also fills the unused places of a list.
const LAST_KEY: u64 = u32::MAX as u64;

const NARROW: u32 = Kind::Narrow as u32;
const WIDE: u32 = Kind::Wide as u32;
const LIST: u32 = Kind::List as u32;
const TREE: u32 = Kind::Tree as u32;
const DEEP_LIST: u32 = Kind::DeepList as u32;

/// Which root to start at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Root {
    V4,
    V6,
}

/// Calls `visit(first, last, class)` for every range of the table, in order; addresses are
/// left-aligned, and neighbours differ in their class. A missing line is left out: the table may be
/// one that somebody else writes at the moment.
pub fn for_each_range(lines: &[Line], root: Root, visit: impl FnMut(u128, u128, Class)) {
    let mut walk = Walk {
        lines,
        visit,
        pending: None,
    };
    match root {
        Root::V4 => walk.grid(),
        Root::V6 => walk.slots(0, 0, ROOT_BITS, ROOT_V6),
    }
    walk.flush();
}

struct Walk<'a, V> {
    lines: &'a [Line],
    visit: V,
    /// A range that may go on: a node's end is not always a range's.
    pending: Option<(u128, u128, Class)>,
}

impl<'a, V> Walk<'a, V>
where
    V: FnMut(u128, u128, Class),
{
    fn line(&self, index: u32) -> Option<&'a Line> {
        self.lines.get(index as usize)
    }

    fn flush(&mut self) {
        if let Some((first, last, class)) = self.pending.take() {
            (self.visit)(first, last, class);
        }
    }

    fn range(&mut self, first: u128, last: u128, class: Class) {
        match &mut self.pending {
            Some((_, end, same)) if *same == class && end.checked_add(1) == Some(first) => {
                *end = last;
            }
            _ => {
                self.flush();
                self.pending = Some((first, last, class));
            }
        }
    }

    fn grid(&mut self) {
        let lines = self.lines;
        for slot in 0..1u32 << ROOT_BITS {
            let Some(word) = lines.word(ROOT_V4 * LINE_WORDS as u32 + slot) else {
                continue;
            };
            let entry = GridEntry(word);
            let base = u128::from(slot) << (ADDRESS_BITS - ROOT_BITS);
            if let Some(entry) = entry.as_detour() {
                self.entry(base, ROOT_BITS, entry);
                continue;
            }
            for slot in 0..1u32 << STRIDE_BITS {
                let Some(class) = lines.byte(entry.block() << STRIDE_BITS | slot) else {
                    continue;
                };
                let keys = (u64::from(slot), u64::from(slot));
                if class != FINER {
                    self.keys(base, ROOT_BITS, STRIDE_BITS, keys, Class(class));
                    continue;
                }
                let first = (FIRST_NODE + entry.displacement()) * RECORDS_PER_LINE as u32;
                if let Some(record) = lines.double_word(first + slot) {
                    let depth = ROOT_BITS + STRIDE_BITS;
                    self.record(
                        base | u128::from(slot) << (ADDRESS_BITS - depth),
                        depth,
                        record,
                    );
                }
            }
        }
    }

    fn record(&mut self, base: u128, depth: u32, record: u64) {
        let bytes = record.to_le_bytes();
        let (starts, classes) = bytes.split_at(RECORD_KEYS);
        for key in 0..=u8::MAX {
            let rank = starts.iter().filter(|start| **start <= key).count();
            let keys = (u64::from(key), u64::from(key));
            self.keys(base, depth, STRIDE_BITS, keys, Class(classes[rank]));
        }
    }

    /// What `entry` says about the addresses whose first `depth` bits are those of `base`.
    fn entry(&mut self, base: u128, depth: u32, entry: Entry) {
        if let Some(class) = entry.as_class() {
            let last = base | u128::MAX.checked_shr(depth).unwrap_or(0);
            return self.range(base, last, class);
        }
        // A node behind the last bit would be a fault of the table.
        if depth >= ADDRESS_BITS {
            return;
        }
        let first = entry.0 >> Entry::KIND_BITS;
        match entry.0 & ((1 << Entry::KIND_BITS) - 1) {
            WIDE => self.slots(base, depth, STRIDE_BITS, first),
            NARROW => {
                for slot in 0..1u32 << STRIDE_BITS {
                    if let Some(line) = self.line(first + slot / 64) {
                        self.keys(
                            base,
                            depth,
                            STRIDE_BITS,
                            (u64::from(slot), u64::from(slot)),
                            class_at(line, 0, slot as usize % 64),
                        );
                    }
                }
            }
            LIST => {
                if let Some(line) = self.line(first) {
                    self.list(base, depth, line, (0, LAST_KEY));
                }
            }
            TREE => self.tree(base, depth, first),
            DEEP_LIST => self.deep_list(base, depth, first),
            _ => {}
        }
    }

    /// An array of entries that `bits` more bits index.
    fn slots(&mut self, base: u128, depth: u32, bits: u32, first_line: u32) {
        for slot in 0..1u32 << bits {
            let (number, place) = (slot / LINE_WORDS as u32, slot as usize % LINE_WORDS);
            if let Some(line) = self.line(first_line + number) {
                let base = base | u128::from(slot) << (ADDRESS_BITS - depth - bits);
                self.entry(base, depth + bits, Entry(line.0[place]));
            }
        }
    }

    fn tree(&mut self, base: u128, depth: u32, first: u32) {
        let Some(head) = self.line(first) else {
            return;
        };
        let last_list = head.0[TREE_KEYS].min(TREE_KEYS as u32) as usize;
        let mut from = 0;
        for list in 0..=last_list {
            let to = match list {
                _ if list == last_list => LAST_KEY,
                list => u64::from(head.0[list]).saturating_sub(1),
            };
            if let Some(line) = self.line(first + 1 + list as u32) {
                self.list(base, depth, line, (from, to));
            }
            from = to + 1;
        }
    }

    /// The classes of a list, for the keys of `window`.
    fn list(&mut self, base: u128, depth: u32, line: &Line, window: (u64, u64)) {
        for (first, last, place) in parts(&line.0[..LIST_KEYS]) {
            let (first, last) = (first.max(window.0), last.min(window.1));
            if first <= last {
                let class = class_at(line, LIST_KEYS, place);
                self.keys(base, depth, KEY_BITS, (first, last), class);
            }
        }
    }

    fn deep_list(&mut self, base: u128, depth: u32, first: u32) {
        let Some(line) = self.line(first) else {
            return;
        };
        for (first, last, place) in parts(&line.0[..DEEP_KEYS]) {
            let entry = Entry(line.0[DEEP_KEYS + place]);
            match entry.as_class() {
                Some(class) => self.keys(base, depth, KEY_BITS, (first, last), class),
                // A node decides on one key alone, see `trie::deep_parts`.
                None if depth + KEY_BITS <= ADDRESS_BITS => {
                    let base = base | u128::from(first) << (ADDRESS_BITS - depth - KEY_BITS);
                    self.entry(base, depth + KEY_BITS, entry);
                }
                None => {}
            }
        }
    }

    /// A class for the addresses whose `bits` bits behind `depth` are `first` to `last`.
    fn keys(&mut self, base: u128, depth: u32, bits: u32, (first, last): (u64, u64), class: Class) {
        // Keys may reach beyond the address, with bits that are 0 in all that is looked up.
        let excess = (depth + bits).saturating_sub(ADDRESS_BITS);
        let (first, last) = (first.div_ceil(1 << excess), last >> excess);
        if first > last {
            return;
        }
        let shift = |key: u64| u128::from(key) << (ADDRESS_BITS + excess - depth - bits);
        let unit = u128::MAX.checked_shr(depth + bits).unwrap_or(0);
        self.range(base | shift(first), base | shift(last) | unit, class);
    }
}

/// First key, last key and place of each range between the range starts of a list.
///
/// The last key counts the unused places as well, so it takes the last place.
fn parts(starts: &[u32]) -> impl Iterator<Item = (u64, u64, usize)> {
    let begins = |place: usize| match place {
        0 => 0,
        place => u64::from(starts[place - 1]),
    };
    let count = starts.len();
    let below = (0..=count).map(move |place| {
        let end = match place {
            place if place == count => LAST_KEY,
            place => begins(place + 1),
        };
        (begins(place), end, place)
    });
    // `end` is the first key of the next range, or the last key of all.
    below
        .filter(|(first, end, _)| first < end)
        .map(|(first, end, place)| (first, end - 1, place))
        .chain(std::iter::once((LAST_KEY, LAST_KEY, count)))
}

/// Byte `index` of the bytes that start at word `first_word`, low byte of a word first.
fn class_at(line: &Line, first_word: usize, index: usize) -> Class {
    let word = line.0[(first_word + index / 4) % LINE_WORDS];
    Class((word >> (index % 4 * 8)) as u8)
}

//! DIR-24-8 (Gupta, Lin, McKeown, INFOCOM 1998), as in DPDK's rte_lpm and rte_lpm6: a peer of cerco's
//! table.
//!
//! A first table indexed by the upper 24 bits; where those do not decide, 256-entry blocks for 8 bits
//! each. One thing is better here than in DPDK: equal blocks are stored once, which takes memory and
//! thus cache misses off the peer.

use std::collections::HashMap;

use filter_userspace::compile::Cover;

use super::lookup_layout::{BLOCK_ENTRIES, FIRST_ENTRIES, IS_BLOCK_V6};

/// The tables; an entry is a class, or [`IS_BLOCK_V6`] and the number of a block.
pub struct Dir24 {
    pub first: Vec<u32>,
    pub blocks: Vec<[u32; BLOCK_ENTRIES]>,
}

impl Dir24 {
    pub fn build(cover: &Cover) -> Self {
        let mut builder = Builder {
            cover,
            blocks: Vec::new(),
            numbers: HashMap::new(),
        };
        let mut run = 0;
        let first = (0..FIRST_ENTRIES as u128)
            .map(|index| builder.entry(&mut run, index << 104, 104))
            .collect();
        Self {
            first,
            blocks: builder.blocks,
        }
    }

    /// The class of a left-aligned address.
    #[cfg(test)]
    pub fn lookup(&self, address: u128) -> u32 {
        let mut entry = self.first[(address >> 104) as usize];
        let mut rest = address << 24;
        while entry & IS_BLOCK_V6 != 0 {
            entry = self.blocks[(entry & !IS_BLOCK_V6) as usize][(rest >> 120) as usize];
            rest <<= 8;
        }
        entry
    }
}

struct Builder<'a> {
    cover: &'a Cover,
    blocks: Vec<[u32; BLOCK_ENTRIES]>,
    numbers: HashMap<[u32; BLOCK_ENTRIES], u32>,
}

impl Builder<'_> {
    /// The entry for the addresses that begin at `start` and differ in the last `bits` bits.
    ///
    /// `run`: the number of a range of the cover that starts at or before `start`; it moves along.
    fn entry(&mut self, run: &mut usize, start: u128, bits: u32) -> u32 {
        let starts = &self.cover.starts;
        let last = start | ((1 << bits) - 1);
        while starts.get(*run + 1).is_some_and(|next| *next <= start) {
            *run += 1;
        }
        if starts.get(*run + 1).is_none_or(|next| *next > last) {
            return self.cover.classes[*run].0.into();
        }
        // Ranges are whole addresses, so there are bits left to tell them apart.
        let bits = bits - 8;
        let mut block = [0; BLOCK_ENTRIES];
        for (index, place) in block.iter_mut().enumerate() {
            *place = self.entry(run, start | (index as u128) << bits, bits);
        }
        let number = *self.numbers.entry(block).or_insert_with(|| {
            self.blocks.push(block);
            self.blocks.len() as u32 - 1
        });
        number | IS_BLOCK_V6
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use filter_common::country::Class;
    use filter_userspace::compile::Painted;

    use super::*;

    /// Ranges with borders on and beside every step of the tables, and random ones.
    fn covers() -> Vec<(&'static str, Cover)> {
        let single = |first, last| {
            Cover::from_ranges(
                [Painted {
                    first,
                    last,
                    class: Class(7),
                }]
                .into_iter(),
            )
        };
        let mut rng = Rng::with_seed(1);
        let mut borders: Vec<u128> = (0..20_000)
            .map(|_| rng.u128(..) >> 1 & u128::MAX << rng.u32(0..112))
            .collect();
        borders.sort_unstable();
        borders.dedup();
        let random =
            Cover::from_ranges(borders.windows(2).enumerate().map(|(index, pair)| Painted {
                first: pair[0],
                last: pair[1] - 1,
                class: Class((index % 250) as u8),
            }));
        vec![
            ("nothing", Cover::of(Class::UNKNOWN)),
            ("everything", Cover::of(Class(7))),
            ("one /24", single(5 << 104, (6 << 104) - 1)),
            ("one address of 32 bits", single(5 << 96, (6 << 96) - 1)),
            ("one address of 128 bits", single(5 << 96 | 1, 5 << 96 | 1)),
            ("the last address", single(u128::MAX, u128::MAX)),
            ("random ranges", random),
        ]
    }

    #[test]
    fn every_border_and_random_address_has_the_class_of_its_range() {
        for (name, cover) in covers() {
            let table = Dir24::build(&cover);
            let mut rng = Rng::with_seed(2);
            let borders = cover
                .starts
                .iter()
                .flat_map(|start| [start.wrapping_sub(1), *start, start.wrapping_add(1)]);
            let random = (0..100_000).map(|_| rng.u128(..));
            for address in borders.chain(random) {
                assert_eq!(
                    table.lookup(address),
                    u32::from(cover.class_of(address).0),
                    "{name}: {address:#034x}"
                );
            }
        }
    }

    #[test]
    fn equal_blocks_are_stored_once() {
        let painted = |first: u128| Painted {
            first: first << 96,
            last: (first << 96) | (u128::MAX >> 32),
            class: Class(7),
        };
        // 0.0.5.9 and 0.1.5.9, each alone in its /24.
        let cover = Cover::from_ranges([0x509, 0x1_0509].map(painted).into_iter());
        let table = Dir24::build(&cover);
        assert_eq!(table.blocks.len(), 1);
        assert_eq!(table.first[5], table.first[0x105]);
    }
}

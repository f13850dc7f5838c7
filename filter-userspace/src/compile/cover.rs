//! The whole address space of one family as ranges that follow each other.

use filter_common::country::Class;
use ipnetwork::IpNetwork;

/// Every address has exactly one class: range `i` runs from `starts[i]` to just before `starts[i + 1]`.
///
/// Addresses are left-aligned in 128 bits, IPv4 in the top 32. `starts[0]` is 0, starts ascend, and
/// neighbours differ in class.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cover {
    pub starts: Vec<u128>,
    pub classes: Vec<Class>,
}

/// Addresses from `first` to `last`, both inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Painted {
    pub first: u128,
    pub last: u128,
    pub class: Class,
}

impl Cover {
    /// One class everywhere.
    pub fn of(class: Class) -> Self {
        Self {
            starts: vec![0],
            classes: vec![class],
        }
    }

    /// From ranges that ascend and do not overlap; what lies between them is [`Class::UNKNOWN`].
    pub fn from_ranges(ranges: impl Iterator<Item = Painted>) -> Self {
        Self::of(Class::UNKNOWN).painted(ranges)
    }

    /// The class of a left-aligned address.
    pub fn class_of(&self, address: u128) -> Class {
        let after = self.starts.partition_point(|start| *start <= address);
        self.classes[after - 1]
    }

    /// Lays ranges, which ascend and do not overlap, over this cover.
    pub fn painted(&self, ranges: impl Iterator<Item = Painted>) -> Self {
        let more = ranges.size_hint().0;
        let mut painted = Self {
            starts: Vec::with_capacity(self.starts.len() + more),
            classes: Vec::with_capacity(self.starts.len() + more),
        };
        // The next range of `self` that has not been written.
        let mut index = 0;
        for range in ranges {
            index = painted.copy(self, index, range.first);
            painted.begin(range.first, range.class);
            let Some(next) = range.last.checked_add(1) else {
                return painted;
            };
            while self.starts.get(index).is_some_and(|start| *start <= next) {
                index += 1;
            }
            // What was there before the range goes on behind it.
            painted.begin(next, self.classes[index - 1]);
        }
        painted.copy_run(self, index..self.starts.len());
        painted
    }

    /// Copies ranges of `from`, from number `begin` on, that start before `end`.
    fn copy(&mut self, from: &Self, begin: usize, end: u128) -> usize {
        let count = from.starts[begin..].partition_point(|start| *start < end);
        self.copy_run(from, begin..begin + count);
        begin + count
    }

    /// Copies some ranges of `from` in one piece: policies paint a few ranges over a whole world.
    fn copy_run(&mut self, from: &Self, run: std::ops::Range<usize>) {
        if run.is_empty() {
            return;
        }
        // Only the first one can meet a neighbour that it did not have in `from`.
        self.begin(from.starts[run.start], from.classes[run.start]);
        let rest = run.start + 1..run.end;
        self.starts.extend_from_slice(&from.starts[rest.clone()]);
        self.classes.extend_from_slice(&from.classes[rest]);
    }

    /// Starts a range, or continues the last one when the class is the same.
    fn begin(&mut self, start: u128, class: Class) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.classes.pop();
        }
        if self.classes.last() != Some(&class) {
            self.starts.push(start);
            self.classes.push(class);
        }
    }
}

/// The left-aligned first and last address of a prefix.
pub fn bounds(prefix: &IpNetwork) -> (u128, u128) {
    match prefix {
        IpNetwork::V4(v4) => (
            u128::from(u32::from(v4.network())) << 96,
            u128::from(u32::from(v4.broadcast())) << 96 | (u128::MAX >> 32),
        ),
        IpNetwork::V6(v6) => (u128::from(v6.network()), u128::from(v6.broadcast())),
    }
}

/// Prefixes of one family as ranges that ascend and do not overlap: the longer prefix wins, and of
/// two equal ones that which stands later in `prefixes`.
pub fn flatten(prefixes: &[(IpNetwork, Class)]) -> Vec<Painted> {
    let mut nested: Vec<(u128, u128, Class)> = prefixes
        .iter()
        .map(|(prefix, class)| {
            let (first, last) = bounds(prefix);
            (first, last, *class)
        })
        .collect();
    // Outer before inner; the sort is stable, so equal prefixes keep their order.
    nested.sort_by_key(|(first, last, _)| (*first, std::cmp::Reverse(*last)));

    let mut flat: Vec<Painted> = Vec::with_capacity(nested.len());
    // The prefixes that contain the place reached, innermost last, and the place itself.
    let mut open: Vec<(u128, Class)> = Vec::new();
    let mut reached = 0u128;
    for (first, last, class) in nested {
        while let Some((outer_last, outer_class)) = open.last().copied()
            && outer_last < first
        {
            push(&mut flat, reached, outer_last, outer_class);
            // Prefixes nest, so something lies behind this one: `first` does.
            reached = outer_last + 1;
            open.pop();
        }
        if let Some((outer_last, outer_class)) = open.last().copied() {
            if first > reached {
                push(&mut flat, reached, first - 1, outer_class);
            }
            if outer_last == last && reached == first {
                open.pop();
            }
        }
        reached = first;
        open.push((last, class));
    }
    while let Some((last, class)) = open.pop() {
        if reached <= last {
            push(&mut flat, reached, last, class);
        }
        match last.checked_add(1) {
            Some(next) => reached = reached.max(next),
            None => break,
        }
    }
    flat
}

fn push(flat: &mut Vec<Painted>, first: u128, last: u128, class: Class) {
    if first <= last {
        flat.push(Painted { first, last, class });
    }
}

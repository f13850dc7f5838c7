//! The most frequent of many, in bounded memory: the space-saving algorithm (Metwally, Agrawal, El Abbadi:
//! Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005), with weights.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

/// What is known of one element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry<T> {
    /// What was counted for it at most.
    pub count: u64,
    /// How often it came for certain.
    pub certain: u64,
    pub tag: T,
}

/// Counts elements; each carries a tag, of which the last one is kept.
#[derive(Clone, Debug)]
pub struct SpaceSaving<K, T> {
    capacity: usize,
    /// What is not among the entries came at most so often.
    floor: u64,
    entries: HashMap<K, Entry<T>>,
    /// The entries by count, so that the smallest is found without a search.
    order: BTreeSet<(u64, K)>,
}

impl<K: Clone + Eq + Hash + Ord, T> SpaceSaving<K, T> {
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            floor: 0,
            entries: HashMap::new(),
            order: BTreeSet::new(),
        }
    }

    /// Counts `key` `weight` times, of which so many are `certain`.
    pub fn add(&mut self, key: K, certain: u64, weight: u64, tag: T) {
        if let Some(entry) = self.entries.get_mut(&key) {
            self.order.remove(&(entry.count, key.clone()));
            entry.count = entry.count.saturating_add(weight);
            entry.certain = entry.certain.saturating_add(certain);
            entry.tag = tag;
            self.order.insert((entry.count, key));
            return;
        }
        if self.entries.len() >= self.capacity
            && let Some((count, evicted)) = self.order.pop_first()
        {
            self.entries.remove(&evicted);
            self.floor = count;
        }
        // It may have come as often as what was evicted, and nobody knows.
        let entry = Entry {
            count: self.floor.saturating_add(weight),
            certain,
            tag,
        };
        self.order.insert((entry.count, key.clone()));
        self.entries.insert(key, entry);
    }

    /// The first `len` entries, and how often anything else came at most.
    pub fn first(&self, len: usize) -> (Vec<(&K, &Entry<T>)>, u64) {
        let mut largest = self.order.iter().rev();
        let first = largest
            .by_ref()
            .take(len)
            .filter_map(|(_, key)| self.entries.get_key_value(key))
            .collect();
        let floor = largest.next().map_or(self.floor, |(count, _)| *count);
        (first, floor)
    }
}

/// Entries of a sum. What comes above them is given up for the larger ones.
const MOST: usize = 16_384;

/// The sum of several counts, each of another part of the stream, in bounded memory.
#[derive(Clone, Debug)]
pub struct Merged<K, T> {
    floor: u64,
    /// What was given up, and comes again, has had at most so much above the floor.
    lost: u64,
    entries: HashMap<K, Bounds<T>>,
}

/// Between `at_least` and `floor + above_floor` times.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Bounds<T> {
    at_least: u64,
    above_floor: u64,
    tag: T,
}

/// What is known of one element of a sum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ranked<K, T> {
    pub key: K,
    pub at_least: u64,
    pub at_most: u64,
    pub tag: T,
}

impl<K: Clone + Eq + Hash + Ord, T: Clone> Default for Merged<K, T> {
    fn default() -> Self {
        Self {
            floor: 0,
            lost: 0,
            entries: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord, T: Clone> Merged<K, T> {
    /// Adds a part in which everything but its entries came at most `floor` times.
    pub fn add_floor(&mut self, floor: u64) {
        self.floor = self.floor.saturating_add(floor);
    }

    /// Adds an entry of a part that has this `floor`, which is not above the count of any of its entries.
    pub fn add(&mut self, key: K, entry: Entry<T>, floor: u64) {
        if self.entries.len() >= MOST && !self.entries.contains_key(&key) {
            self.give_up();
        }
        let lost = self.lost;
        let bounds = self.entries.entry(key).or_insert_with(|| Bounds {
            at_least: 0,
            above_floor: lost,
            tag: entry.tag.clone(),
        });
        bounds.at_least = bounds.at_least.saturating_add(entry.certain);
        let above = entry.count.saturating_sub(floor);
        bounds.above_floor = bounds.above_floor.saturating_add(above);
        bounds.tag = entry.tag;
    }

    /// Gives up the smaller half.
    fn give_up(&mut self) {
        let mut above: Vec<u64> = self.entries.values().map(|it| it.above_floor).collect();
        let (_, median, _) = above.select_nth_unstable(MOST / 2);
        self.lost = *median;
        self.entries.retain(|_, it| it.above_floor > self.lost);
    }

    /// The first `len` by what they came at most, and how often anything else came at most.
    ///
    /// The most is a sum of the floors, which is the same for all, and of what was counted above them: so nothing
    /// is among the first for the floors alone. What is certain tells of a flood no more than of a trickle.
    pub fn first(&self, len: usize) -> (Vec<Ranked<K, T>>, u64) {
        let mut ranked: Vec<Ranked<K, T>> = self
            .entries
            .iter()
            .map(|(key, bounds)| Ranked {
                key: key.clone(),
                at_least: bounds.at_least,
                at_most: self.floor.saturating_add(bounds.above_floor),
                tag: bounds.tag.clone(),
            })
            .collect();
        ranked
            .sort_by(|a, b| (b.at_most, b.at_least, &a.key).cmp(&(a.at_most, a.at_least, &b.key)));
        let left_out = ranked.get(len).map(|it| it.at_most);
        ranked.truncate(len);
        let unknown = self.floor.saturating_add(self.lost);
        (ranked, unknown.max(left_out.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream in which few elements are frequent and many are rare, and the true counts.
    fn stream(seed: u64, len: usize) -> (Vec<(u32, u64)>, HashMap<u32, u64>) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut truth = HashMap::new();
        let stream: Vec<(u32, u64)> = (0..len)
            .map(|_| {
                let key = match random.u32(0..10) {
                    0..5 => random.u32(0..8),
                    _ => random.u32(100..100_000),
                };
                (key, random.u64(1..50))
            })
            .collect();
        for (key, weight) in &stream {
            *truth.entry(*key).or_default() += weight;
        }
        (stream, truth)
    }

    #[test]
    fn few_elements_are_counted_exactly() {
        let mut top = SpaceSaving::new(3);
        for (key, weight) in [("a", 5), ("b", 1), ("a", 2), ("c", 3)] {
            top.add(key, weight, weight, ());
        }
        let entry = |count| Entry {
            count,
            certain: count,
            tag: (),
        };
        let (first, floor) = top.first(2);
        assert_eq!(first, [(&"a", &entry(7)), (&"c", &entry(3))]);
        // What is not shown is the one that came once.
        assert_eq!(floor, 1);
        top.add("d", 10, 10, ());
        let (first, floor) = top.first(3);
        assert_eq!((first[0].1.certain, first[0].1.count, floor), (10, 11, 1));
    }

    #[test]
    fn flood_of_few_events_comes_before_a_trickle_that_was_seen_whole() {
        let mut top = SpaceSaving::new(8);
        top.add("flood", 100, 1_000_000, ());
        top.add("trickle", 5_000, 5_000, ());
        let mut merged = Merged::default();
        let (first, floor) = top.first(8);
        for (key, entry) in first {
            merged.add(*key, entry.clone(), floor);
        }
        let line = |key, at_least, at_most| Ranked {
            key,
            at_least,
            at_most,
            tag: (),
        };
        let ranked = vec![line("flood", 100, 1_000_000), line("trickle", 5_000, 5_000)];
        assert_eq!(merged.first(2), (ranked.clone(), 0));
        assert_eq!(merged.first(1), (ranked[..1].to_vec(), 5_000));
    }

    #[test]
    fn true_count_lies_within_the_bounds_and_memory_is_bounded() {
        for seed in 0..20 {
            let (stream, truth) = stream(seed, 20_000);
            let mut top = SpaceSaving::new(64);
            for (key, weight) in &stream {
                top.add(*key, *weight, *weight, ());
            }
            assert_eq!((top.entries.len(), top.order.len()), (64, 64));
            for len in [64, 20] {
                let (first, floor) = top.first(len);
                assert_eq!(first.len(), len);
                for (key, entry) in &first {
                    let count = truth[*key];
                    assert!(entry.certain <= count && count <= entry.count);
                }
                let absent = truth
                    .keys()
                    .filter(|key| !first.iter().any(|it| it.0 == *key));
                for key in absent {
                    assert!(truth[key] <= floor, "{key}: {} > {floor}", truth[key]);
                }
                // The algorithm's own bound: no error above the sum by the number of counters.
                let sum: u64 = truth.values().sum();
                let error = |entry: &Entry<()>| entry.count - entry.certain;
                assert!(first.iter().all(|(_, entry)| error(entry) <= sum / 64));
            }
            // The eight frequent ones are all found.
            let (first, _) = top.first(8);
            assert!(first.iter().all(|(key, _)| **key < 8));
        }
    }

    #[test]
    fn bounds_hold_in_sums_of_parts() {
        let mut merged = Merged::default();
        let mut sums: HashMap<u32, u64> = HashMap::new();
        for seed in 0..6 {
            let (stream, truth) = stream(seed, 5_000);
            let mut top = SpaceSaving::new(64);
            for (key, weight) in stream {
                top.add(key, weight, weight, key % 2);
            }
            let (first, floor) = top.first(32);
            merged.add_floor(floor);
            for (key, entry) in first {
                merged.add(*key, entry.clone(), floor);
            }
            for (key, count) in truth {
                *sums.entry(key).or_default() += count;
            }
        }
        let (ranked, floor) = merged.first(usize::MAX);
        for it in &ranked {
            let count = sums[&it.key];
            assert!(
                it.at_least <= count && count <= it.at_most,
                "{it:?}: {count}"
            );
        }
        let known: Vec<u32> = ranked.iter().map(|it| it.key).collect();
        for (key, count) in sums.iter().filter(|(key, _)| !known.contains(key)) {
            assert!(*count <= floor, "{key}: {count} > {floor}");
        }
        // What is left out of a short list keeps to the bound as well.
        for len in [0, 1, 3, 8, 20] {
            let (shown, others_at_most) = merged.first(len);
            assert_eq!(shown, ranked[..len]);
            let shown: Vec<u32> = shown.iter().map(|it| it.key).collect();
            for (key, count) in sums.iter().filter(|(key, _)| !shown.contains(key)) {
                assert!(
                    *count <= others_at_most,
                    "{key}: {count} > {others_at_most}"
                );
            }
        }
    }

    #[test]
    fn sum_of_many_parts_is_bounded_and_its_bounds_hold() {
        let mut merged = Merged::default();
        let mut sums: HashMap<u32, u64> = HashMap::new();
        let mut random = fastrand::Rng::with_seed(3);
        for part in 0..400_u32 {
            for _ in 0..128 {
                let (key, count) = match random.u32(0..4) {
                    0 => (random.u32(0..8), random.u64(100..200)),
                    1 => (random.u32(8..2_000), random.u64(1..40)),
                    _ => (10_000 + part * 200 + random.u32(0..200), random.u64(1..20)),
                };
                let entry = Entry {
                    count,
                    certain: count,
                    tag: (),
                };
                merged.add(key, entry, 0);
                *sums.entry(key).or_default() += count;
            }
        }
        assert!(sums.len() > 16_384, "{}", sums.len());
        assert!(merged.entries.len() <= 16_384, "{}", merged.entries.len());
        let (ranked, floor) = merged.first(usize::MAX);
        for it in &ranked {
            let count = sums[&it.key];
            let bounds = it.at_least..=it.at_most;
            assert!(bounds.contains(&count), "{it:?}: {count}");
        }
        let known: std::collections::HashSet<u32> = ranked.iter().map(|it| it.key).collect();
        for (key, count) in sums.iter().filter(|(key, _)| !known.contains(key)) {
            assert!(*count <= floor, "{key}: {count} > {floor}");
        }
        // The frequent ones were never given up, so they are known exactly.
        assert!(
            ranked[..8]
                .iter()
                .all(|it| it.key < 8 && it.at_least == it.at_most),
            "{:?}",
            &ranked[..8]
        );
    }
}

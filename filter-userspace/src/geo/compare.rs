//! Two databases side by side: which addresses change their country, and how much space that is.

use filter_common::country::CountryCode;

use super::Database;
use super::range::{Address, Range};

/// A run of addresses with one answer before and one after; `None` where a database knows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run<A> {
    pub first: A,
    pub last: A,
    pub before: Option<CountryCode>,
    pub after: Option<CountryCode>,
}

/// Everything that either of the two knows, in ascending order.
pub fn runs<'r, A: Address>(
    before: &'r [Range<A>],
    after: &'r [Range<A>],
) -> impl Iterator<Item = Run<A>> + use<'r, A> {
    let (mut before, mut after) = (before, after);
    let mut at = Some(A::MIN);
    std::iter::from_fn(move || {
        loop {
            let first = at?;
            let (last_before, country_before) = answer(&mut before, first);
            let (last_after, country_after) = answer(&mut after, first);
            let last = last_before.min(last_after);
            at = last.successor();
            if country_before.is_some() || country_after.is_some() {
                return Some(Run {
                    first,
                    last,
                    before: country_before,
                    after: country_after,
                });
            }
        }
    })
}

/// What `ranges` say about `at`, and up to where; ranges that lie behind are dropped.
fn answer<A: Address>(ranges: &mut &[Range<A>], at: A) -> (A, Option<CountryCode>) {
    while let Some((first, rest)) = ranges.split_first()
        && first.last < at
    {
        *ranges = rest;
    }
    match ranges.first() {
        Some(range) if range.first <= at => (range.last, Some(range.country)),
        Some(range) => (range.first.predecessor().unwrap_or(A::MIN), None),
        None => (A::MAX, None),
    }
}

/// The runs that change, neighbours with the same change joined.
pub fn changes<'r, A: Address>(
    before: &'r [Range<A>],
    after: &'r [Range<A>],
) -> impl Iterator<Item = Run<A>> + use<'r, A> {
    let mut changed = runs(before, after)
        .filter(|run| run.before != run.after)
        .peekable();
    std::iter::from_fn(move || {
        let mut joined = changed.next()?;
        while let Some(next) = changed.next_if(|next| {
            (next.before, next.after) == (joined.before, joined.after)
                && joined.last.successor() == Some(next.first)
        }) {
            joined.last = next.last;
        }
        Some(joined)
    })
}

/// Numbers of addresses; they saturate where all of IPv6 would not fit.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Space {
    pub before: u128,
    pub after: u128,
    /// Had this country, and have it no more.
    pub lost: u128,
    /// Have this country now, and had it not.
    pub gained: u128,
    /// The part of `gained` that another country had.
    pub taken: u128,
}

impl Space {
    pub const fn changed(&self) -> bool {
        self.lost > 0 || self.gained > 0
    }
}

/// One address family of a comparison.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Family {
    /// One for each pair of letters, see [`place`].
    by_country: Vec<Space>,
    /// All countries together; `lost` to no country, `gained` from none.
    pub all: Space,
    /// Addresses that have a country in both, and not the same.
    pub reassigned: u128,
}

const LETTERS: usize = 26;

fn place(country: CountryCode) -> usize {
    let [a, b] = country.letters().map(|letter| usize::from(letter - b'A'));
    a * LETTERS + b
}

impl Family {
    pub fn of<A: Address + Into<u128>>(before: &[Range<A>], after: &[Range<A>]) -> Self {
        let mut family = Self {
            by_country: vec![Space::default(); LETTERS * LETTERS],
            all: Space::default(),
            reassigned: 0,
        };
        for run in runs(before, after) {
            family.count(run.before, run.after, size(run.first, run.last));
        }
        family
    }

    fn count(&mut self, before: Option<CountryCode>, after: Option<CountryCode>, size: u128) {
        let add = |sum: &mut u128| *sum = sum.saturating_add(size);
        let changes = before != after;
        if let Some(country) = before {
            let space = &mut self.by_country[place(country)];
            add(&mut space.before);
            add(&mut self.all.before);
            if changes {
                add(&mut space.lost);
            }
            if after.is_none() {
                add(&mut self.all.lost);
            }
        }
        if let Some(country) = after {
            let space = &mut self.by_country[place(country)];
            add(&mut space.after);
            add(&mut self.all.after);
            if changes {
                add(&mut space.gained);
            }
            match before {
                None => add(&mut self.all.gained),
                Some(_) if changes => {
                    add(&mut space.taken);
                    add(&mut self.reassigned);
                }
                Some(_) => {}
            }
        }
    }

    pub fn of_country(&self, country: CountryCode) -> Space {
        self.by_country[place(country)]
    }
}

/// How many addresses there are from `first` to `last`; saturates at all of IPv6.
pub fn size<A: Into<u128>>(first: A, last: A) -> u128 {
    (last.into() - first.into()).saturating_add(1)
}

/// Both families.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comparison {
    pub v4: Family,
    pub v6: Family,
}

impl Comparison {
    pub fn of(before: &Database, after: &Database) -> Self {
        Self {
            v4: Family::of(&before.v4, &after.v4),
            v6: Family::of(&before.v6, &after.v6),
        }
    }

    /// The countries of which anything changes, in the order of the codes.
    pub fn changed_countries(&self) -> Vec<CountryCode> {
        (b'A'..=b'Z')
            .flat_map(|a| (b'A'..=b'Z').map(move |b| [a, b]))
            .filter_map(CountryCode::new)
            .filter(|code| {
                self.v4.of_country(*code).changed() || self.v6.of_country(*code).changed()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::merge::Merger;
    use super::super::range::find;
    use super::*;

    fn code(text: &str) -> CountryCode {
        CountryCode::parse(text).unwrap()
    }

    fn ranges(list: &[(u32, u32, &str)]) -> Vec<Range<u32>> {
        let mut merger = Merger::new();
        for (first, last, country) in list {
            merger.push(*first, *last, code(country));
        }
        merger.finish()
    }

    #[test]
    fn space_is_told_apart_by_where_it_went() {
        let before = ranges(&[(0, 99, "MO"), (100, 199, "CN"), (300, 399, "FR")]);
        let after = ranges(&[
            (0, 49, "MO"),
            (50, 149, "CN"),
            (200, 209, "MO"),
            (300, 399, "FR"),
        ]);
        let family = Family::of(&before, &after);
        let space = |before, after, lost, gained, taken| Space {
            before,
            after,
            lost,
            gained,
            taken,
        };
        assert_eq!(family.of_country(code("MO")), space(100, 60, 50, 10, 0));
        assert_eq!(family.of_country(code("CN")), space(100, 100, 50, 50, 50));
        assert_eq!(family.of_country(code("FR")), space(100, 100, 0, 0, 0));
        assert_eq!(family.all, space(300, 260, 50, 10, 0));
        assert_eq!(family.reassigned, 50);
        let changed: Vec<_> = changes(&before, &after)
            .map(|run| (run.first, run.last, run.before, run.after))
            .collect();
        assert_eq!(
            changed,
            [
                (50, 99, Some(code("MO")), Some(code("CN"))),
                (150, 199, Some(code("CN")), None),
                (200, 209, None, Some(code("MO"))),
            ]
        );
    }

    #[test]
    fn equal_changes_are_joined_only_where_they_touch() {
        let before = ranges(&[(0, 9, "MO"), (10, 19, "CN"), (20, 29, "MO"), (30, 34, "MO")]);
        let after = ranges(&[(0, 34, "CN")]);
        let changed: Vec<_> = changes(&before, &after)
            .map(|run| (run.first, run.last))
            .collect();
        assert_eq!(changed, [(0, 9), (20, 34)]);
    }

    #[test]
    fn whole_address_space_neither_overflows_nor_is_missed() {
        let all = |country| {
            vec![Range {
                first: 0u128,
                last: u128::MAX,
                country: code(country),
            }]
        };
        let family = Family::of(&all("MO"), &all("CN"));
        assert_eq!(family.reassigned, u128::MAX);
        assert_eq!(family.all.before, u128::MAX);
        assert_eq!(Family::of::<u128>(&[], &[]).all, Space::default());
        assert_eq!(changes(&all("MO"), &[]).count(), 1);
    }

    proptest! {
        /// Against asking both databases about each of 64 addresses.
        #[test]
        fn every_address_is_in_the_run_that_both_databases_give_it(
            bounds in prop::collection::vec((0u32..64, 0u32..64, 0usize..3, any::<bool>()), 0..12),
        ) {
            let countries = ["MO", "CN", "FR"].map(code);
            let mut sides = [Vec::new(), Vec::new()];
            for (a, b, country, is_after) in bounds {
                let (first, last) = (a.min(b), a.max(b));
                let side: &mut Vec<Range<u32>> = &mut sides[usize::from(is_after)];
                if side.iter().all(|other| other.last < first || last < other.first) {
                    side.push(Range { first, last, country: countries[country] });
                }
            }
            for side in &mut sides {
                side.sort_by_key(|range| range.first);
            }
            let [before, after] = sides;
            let runs: Vec<_> = runs(&before, &after).collect();
            for address in 0..64u32 {
                let expected = (find(&before, address).2, find(&after, address).2);
                let holding: Vec<_> = runs
                    .iter()
                    .filter(|run| (run.first..=run.last).contains(&address))
                    .map(|run| (run.before, run.after))
                    .collect();
                match expected {
                    (None, None) => prop_assert_eq!(holding, []),
                    expected => prop_assert_eq!(holding, [expected]),
                }
            }
        }
    }
}

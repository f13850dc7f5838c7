//! From the networks of a file to sorted, disjoint, merged ranges.

use filter_common::country::CountryCode;

use super::error::{Fault, Position, Problem};
use super::range::{Address, Range};

/// Joins ranges that arrive in ascending order and do not overlap.
pub(super) struct Merger<A> {
    ranges: Vec<Range<A>>,
}

impl<A: Address> Merger<A> {
    pub(super) fn new() -> Self {
        Self::with_capacity(0)
    }

    pub(super) fn with_capacity(ranges: usize) -> Self {
        Self {
            ranges: Vec::with_capacity(ranges),
        }
    }

    /// Appends `first..=last`, which must lie behind everything that was pushed before.
    pub(super) fn push(&mut self, first: A, last: A, country: CountryCode) {
        debug_assert!(first <= last);
        if let Some(previous) = self.ranges.last_mut() {
            debug_assert!(previous.last < first);
            if previous.country == country && previous.last.successor() == Some(first) {
                previous.last = last;
                return;
            }
        }
        self.ranges.push(Range {
            first,
            last,
            country,
        });
    }

    pub(super) fn finish(mut self) -> Vec<Range<A>> {
        // A vector that grew by doubling may hold twice the memory; the daemon keeps this one.
        self.ranges.shrink_to_fit();
        self.ranges
    }
}

/// One line of a text database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<A> {
    pub first: A,
    pub last: A,
    /// Counts from 1.
    pub line: u32,
    pub country: CountryCode,
}

/// What to do where a line lies within the range of another line of a different country.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nesting {
    /// The narrower one wins, as in a routing table.
    NarrowerWins,
    /// The file promises disjoint ranges, so it is an error.
    Refused,
}

/// Sorts the claims and resolves those that overlap.
///
/// Equal claims and overlaps within one country are fine. Two countries that claim the same range,
/// or ranges of which neither holds the other, are an error that names both lines.
///
/// Takes n log n steps for n claims in any order, and n steps if they are in order already.
pub(super) fn overlay<A: Address>(
    mut claims: Vec<Claim<A>>,
    nesting: Nesting,
) -> Result<Vec<Range<A>>, Fault> {
    // Wider before narrower, so that an enclosing claim is open when the enclosed one arrives.
    claims.sort_unstable_by(|a, b| (a.first, b.last, a.line).cmp(&(b.first, a.last, b.line)));
    let mut merger = Merger::new();
    // Each open claim encloses the one above it.
    let mut open: Vec<Claim<A>> = Vec::new();
    // The first address not yet written; `None` once the last address of the family is.
    let mut from = Some(A::MIN);
    for claim in claims {
        while let Some(top) = open.pop_if(|top| top.last < claim.first) {
            write(&mut merger, &mut from, top.last, top.country);
        }
        let mut is_duplicate = false;
        while let Some(top) = open.last().copied() {
            let same_range = top.first == claim.first && top.last == claim.last;
            let crossing = top.last < claim.last;
            if top.country != claim.country
                && (same_range || crossing || nesting == Nesting::Refused)
            {
                return Err(conflict(&top, &claim));
            }
            is_duplicate = same_range;
            if let Some(last) = claim.first.predecessor() {
                write(&mut merger, &mut from, last, top.country);
            }
            if !crossing {
                break;
            }
            // Same country, and `claim` reaches further: it takes over from its first address on.
            open.pop();
        }
        if !is_duplicate {
            from = Some(claim.first);
            open.push(claim);
        }
    }
    while let Some(top) = open.pop() {
        write(&mut merger, &mut from, top.last, top.country);
    }
    Ok(merger.finish())
}

/// Writes everything from `from` to `last`, if anything is left there, and goes on behind it.
fn write<A: Address>(merger: &mut Merger<A>, from: &mut Option<A>, last: A, country: CountryCode) {
    if let Some(first) = from.filter(|&first| first <= last) {
        merger.push(first, last, country);
        *from = last.successor();
    }
}

fn conflict<A: Address>(a: &Claim<A>, b: &Claim<A>) -> Fault {
    let (earlier, later) = if a.line <= b.line { (a, b) } else { (b, a) };
    let text = |claim: &Claim<A>| format!("{} to {}", claim.first.to_ip(), claim.last.to_ip());
    Fault {
        at: Some(Position::Line(later.line.into())),
        problem: Problem::Conflict {
            range: text(later),
            country: later.country,
            other_line: earlier.line,
            other_range: text(earlier),
            other_country: earlier.country,
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(text: &str) -> CountryCode {
        CountryCode::parse(text).unwrap()
    }

    fn claims(list: &[(u32, u32, &str)]) -> Vec<Claim<u32>> {
        (1..)
            .zip(list)
            .map(|(line, &(first, last, country))| Claim {
                first,
                last,
                line,
                country: code(country),
            })
            .collect()
    }

    const END: u32 = u32::MAX;

    #[test]
    fn narrower_claims_cut_holes_into_wider_ones() {
        type Ranges<'a> = &'a [(u32, u32, &'a str)];
        let cases: &[(&str, Ranges, Ranges)] = &[
            ("nothing", &[], &[]),
            (
                "unsorted",
                &[(20, 29, "FR"), (0, 9, "US")],
                &[(0, 9, "US"), (20, 29, "FR")],
            ),
            (
                "adjacent of one country",
                &[(0, 9, "US"), (10, 19, "US")],
                &[(0, 19, "US")],
            ),
            (
                "adjacent of two",
                &[(0, 9, "US"), (10, 19, "FR")],
                &[(0, 9, "US"), (10, 19, "FR")],
            ),
            ("duplicates", &[(0, 9, "US"), (0, 9, "US")], &[(0, 9, "US")]),
            (
                "hole in the middle",
                &[(0, 99, "US"), (10, 19, "FR")],
                &[(0, 9, "US"), (10, 19, "FR"), (20, 99, "US")],
            ),
            (
                "holes at both ends",
                &[(0, 99, "US"), (0, 9, "FR"), (90, 99, "DE")],
                &[(0, 9, "FR"), (10, 89, "US"), (90, 99, "DE")],
            ),
            (
                "three deep",
                &[
                    (0, 99, "US"),
                    (10, 50, "FR"),
                    (20, 30, "DE"),
                    (60, 70, "FR"),
                ],
                &[
                    (0, 9, "US"),
                    (10, 19, "FR"),
                    (20, 30, "DE"),
                    (31, 50, "FR"),
                    (51, 59, "US"),
                    (60, 70, "FR"),
                    (71, 99, "US"),
                ],
            ),
            (
                "up to the last address",
                &[(0, END, "US"), (END, END, "FR")],
                &[(0, END - 1, "US"), (END, END, "FR")],
            ),
            (
                "nested in one country at the last address",
                &[(0, END, "US"), (9, END, "FR"), (END, END, "FR")],
                &[(0, 8, "US"), (9, END, "FR")],
            ),
            (
                "crossing in one country",
                &[(0, 50, "US"), (40, 99, "US")],
                &[(0, 99, "US")],
            ),
        ];
        for (name, input, expected) in cases {
            let got: Vec<_> = overlay(claims(input), Nesting::NarrowerWins)
                .unwrap()
                .iter()
                .map(|range| (range.first, range.last, range.country))
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|&(first, last, country)| (first, last, code(country)))
                .collect();
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn contradictions_name_both_lines() {
        use Nesting::{NarrowerWins, Refused};
        let cases = [
            (
                "same range",
                NarrowerWins,
                vec![(0, 9, "US"), (0, 9, "FR")],
                (2, 1),
            ),
            (
                "same range within a third",
                NarrowerWins,
                vec![(0, 99, "US"), (0, 9, "US"), (0, 9, "FR")],
                (3, 2),
            ),
            (
                "crossing",
                NarrowerWins,
                vec![(5, 15, "US"), (0, 9, "FR")],
                (2, 1),
            ),
            (
                "crossing two",
                NarrowerWins,
                vec![(0, 9, "FR"), (2, 9, "US"), (4, 12, "US")],
                (3, 1),
            ),
            (
                "nested where refused",
                Refused,
                vec![(0, 9, "US"), (3, 4, "FR")],
                (2, 1),
            ),
        ];
        for (name, nesting, input, (line, other)) in cases {
            let fault = overlay(claims(&input), nesting).unwrap_err();
            assert_eq!(fault.at, Some(Position::Line(line)), "{name}");
            match fault.problem {
                Problem::Conflict { other_line, .. } => assert_eq!(other_line, other, "{name}"),
                problem => panic!("{name}: {problem}"),
            }
        }
    }

    proptest! {
        /// Against a linear oracle over 256 addresses: the narrowest prefix that holds an address.
        #[test]
        fn prefixes_overlay_like_a_routing_table(
            prefixes in prop::collection::vec((any::<u8>(), 0u32..=8, 0usize..3), 0..24),
        ) {
            let countries = [code("US"), code("FR"), code("DE")];
            let mut input: Vec<Claim<u32>> = Vec::new();
            for (at, prefix_len, country) in prefixes {
                let size = 256u32 >> prefix_len;
                let first = u32::from(at) / size * size;
                let last = first + size - 1;
                if !input.iter().any(|claim| (claim.first, claim.last) == (first, last)) {
                    let line = input.len() as u32 + 1;
                    input.push(Claim { first, last, line, country: countries[country] });
                }
            }
            let ranges = overlay(input.clone(), Nesting::NarrowerWins).unwrap();
            for address in 0..256u32 {
                let expected = input
                    .iter()
                    .filter(|claim| (claim.first..=claim.last).contains(&address))
                    .min_by_key(|claim| claim.last - claim.first)
                    .map(|claim| claim.country);
                prop_assert_eq!(super::super::range::find(&ranges, address).2, expected);
            }
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].last < pair[1].first);
                prop_assert!(
                    pair[0].last + 1 < pair[1].first || pair[0].country != pair[1].country
                );
            }
        }
    }
}

//! The compiled table against covers, and covers against what they should be.

use filter_common::{country::Class, packet::Address, table};
use ipnetwork::IpNetwork;
use proptest::prelude::*;

use super::{
    cover::{Cover, Painted, bounds, flatten},
    trie, walk,
};

const A: Class = Class(10);
const B: Class = Class(11);
const C: Class = Class(12);

fn prefix(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn v4_cover(prefixes: &[(&str, Class)]) -> Cover {
    let prefixes: Vec<_> = prefixes.iter().map(|(p, c)| (prefix(p), *c)).collect();
    Cover::of(Class::UNKNOWN).painted(flatten(&prefixes).into_iter())
}

fn v4(text: &str) -> u128 {
    bounds(&prefix(text)).0
}

#[test]
fn longer_prefix_wins_and_the_shorter_goes_on_behind_it() {
    let cover = v4_cover(&[("10.0.0.0/8", A), ("10.1.0.0/16", B), ("10.1.2.3/32", C)]);
    assert_eq!(
        cover.starts,
        [
            0,
            v4("10.0.0.0"),
            v4("10.1.0.0"),
            v4("10.1.2.3"),
            v4("10.1.2.4"),
            v4("10.2.0.0"),
            v4("11.0.0.0"),
        ]
    );
    assert_eq!(
        cover.classes,
        [Class::UNKNOWN, A, B, C, B, A, Class::UNKNOWN]
    );
}

#[test]
fn equal_prefixes_take_the_later_one() {
    let cover = v4_cover(&[("192.0.2.0/24", A), ("192.0.2.0/24", B)]);
    assert_eq!(cover.class_of(v4("192.0.2.77")), B);
    assert_eq!(cover.starts.len(), 3);
}

#[test]
fn prefixes_reach_both_ends_of_the_space() {
    let cover = v4_cover(&[
        ("0.0.0.0/0", A),
        ("255.255.255.255/32", B),
        ("0.0.0.0/32", C),
    ]);
    assert_eq!(cover.starts, [0, v4("0.0.0.1"), v4("255.255.255.255")]);
    assert_eq!(cover.classes, [C, A, B]);
}

#[test]
fn painting_keeps_what_lies_between() {
    let base = v4_cover(&[("10.0.0.0/8", A), ("11.0.0.0/8", B)]);
    let painted = base.painted(
        [
            Painted {
                first: v4("10.255.0.0"),
                last: v4("11.1.0.0") - 1,
                class: C,
            },
            Painted {
                first: v4("11.1.0.0"),
                last: v4("11.1.1.0") - 1,
                class: B,
            },
        ]
        .into_iter(),
    );
    assert_eq!(
        painted.starts,
        [
            0,
            v4("10.0.0.0"),
            v4("10.255.0.0"),
            v4("11.1.0.0"),
            v4("12.0.0.0")
        ]
    );
    assert_eq!(painted.classes, [Class::UNKNOWN, A, C, B, Class::UNKNOWN]);
}

/// The first and last address of every range, and their neighbours.
fn edges(cover: &Cover) -> impl Iterator<Item = u128> + '_ {
    cover
        .starts
        .iter()
        .flat_map(|start| [start.wrapping_sub(1), *start, start.wrapping_add(1)])
}

fn differences(v4: &Cover, v6: &Cover, more: &[u128]) -> Vec<String> {
    let lines = trie::build(v4, v6).unwrap();
    let look_up = |address: &Address| table::lookup(&lines.as_slice(), address);
    let mut differences = Vec::new();
    for address in edges(v6).chain(more.iter().copied()) {
        let expected = Some(v6.class_of(address));
        let got = look_up(&Address::v6(address.to_be_bytes()));
        if got != expected {
            differences.push(format!("{address:032x}: {got:?}, not {expected:?}"));
        }
    }
    for address in edges(v4).chain(more.iter().copied()) {
        let octets = ((address >> 96) as u32).to_be_bytes();
        let expected = Some(v4.class_of(u128::from(u32::from_be_bytes(octets)) << 96));
        let got = look_up(&Address::v4(octets));
        if got != expected {
            differences.push(format!("{octets:?}: {got:?}, not {expected:?}"));
        }
    }
    for (root, cover) in [(walk::Root::V4, v4), (walk::Root::V6, v6)] {
        let mut walked = Vec::new();
        walk::for_each_range(&lines, root, |first, last, class| {
            walked.push((first, last, class));
        });
        if walked != ranges(cover) {
            differences.push(format!("{root:?}: {walked:x?}, not {:x?}", ranges(cover)));
        }
    }
    differences
}

/// First, last and class of every range of a cover.
fn ranges(cover: &Cover) -> Vec<(u128, u128, Class)> {
    let next = cover.starts.iter().skip(1);
    let lasts = next.map(|start| start - 1).chain([u128::MAX]);
    let ranges = cover.starts.iter().zip(lasts).zip(&cover.classes);
    ranges
        .map(|((first, last), class)| (*first, last, *class))
        .collect()
}

fn cover(mut starts: Vec<(u128, u8)>) -> Cover {
    starts.sort_unstable();
    starts.dedup_by_key(|(start, _)| *start);
    let mut cover = Cover::of(Class(0));
    for (start, class) in starts {
        if start != 0 && cover.classes.last() != Some(&Class(class)) {
            cover.starts.push(start);
            cover.classes.push(Class(class));
        }
    }
    cover
}

/// Range starts that lie close together: a few bits of an address at random, the rest from one place.
fn clustered(v4: bool, count: usize) -> impl Strategy<Value = Vec<(u128, u8)>> {
    let widths = if v4 { 1..=32u32 } else { 1..=128u32 };
    (any::<u128>(), widths).prop_flat_map(move |(place, width)| {
        let mask = if width == 128 {
            u128::MAX
        } else {
            (1 << width) - 1
        };
        let shift = if v4 { 96 } else { 0 };
        let mask = if v4 {
            (mask & 0xffff_ffff) << shift
        } else {
            mask
        };
        let keep = if v4 { 0xffff_ffff << 96 } else { u128::MAX };
        prop::collection::vec((any::<u128>(), any::<u8>()), 0..count).prop_map(move |list| {
            list.into_iter()
                .map(|(random, class)| (((place & !mask) | (random & mask)) & keep, class))
                .collect()
        })
    })
}

/// Range starts at ever finer places, which is what makes deep nodes.
fn nested() -> impl Strategy<Value = Vec<(u128, u8)>> {
    (
        any::<u128>(),
        prop::collection::vec((0u32..128, any::<u8>()), 0..60),
    )
        .prop_map(|(place, list)| {
            list.into_iter()
                .map(|(depth, class)| ((place >> depth) << depth | 1 << depth, class))
                .collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn table_equals_cover(
        v4 in clustered(true, 600),
        near in clustered(false, 600),
        far in clustered(false, 20),
        deep in nested(),
        more in prop::collection::vec(any::<u128>(), 50),
    ) {
        let v6 = cover([near, far, deep].concat());
        prop_assert_eq!(differences(&cover(v4), &v6, &more), Vec::<String>::new());
    }
}

#[test]
fn ends_of_the_space_are_found_in_every_node() {
    // The largest key also counts the unused places of a node; each kind gets one such range.
    let top = u128::MAX;
    for count in [1, 5, 12, 13, 100, 207, 208, 255, 300] {
        for unit in [0, 32, 64, 72, 96, 104, 120] {
            let starts = (0..count)
                .map(|index| {
                    (
                        top - (top >> (128 - unit).min(127)) - (index << unit),
                        index as u8,
                    )
                })
                .chain([(top, 77)])
                .collect();
            let v6 = cover(starts);
            assert_eq!(
                differences(&v6_to_v4(&v6), &v6, &[top, 0]),
                [""; 0],
                "{count} {unit}"
            );
        }
    }
}

/// The same range starts in the top 32 bits.
fn v6_to_v4(v6: &Cover) -> Cover {
    cover(
        v6.starts
            .iter()
            .zip(&v6.classes)
            .map(|(start, class)| (start << 96, class.0))
            .collect(),
    )
}

//! Ranges of addresses, and how they are looked up and written as prefixes.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::country::CountryCode;
use ipnetwork::IpNetwork;

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u128 {}
}

/// An IPv4 (`u32`) or IPv6 (`u128`) address in host order.
pub trait Address: sealed::Sealed + Copy + Ord + Debug {
    /// Width in bits: 32 or 128.
    const BITS: u32;
    /// `0.0.0.0` or `::`.
    const MIN: Self;
    /// The last address of the family.
    const MAX: Self;

    /// The next address, or `None` after the last one.
    fn successor(self) -> Option<Self>;
    /// The address before, or `None` before the first one.
    fn predecessor(self) -> Option<Self>;
    /// The address that is `count` further, or `None` behind the last one.
    fn checked_add(self, count: u128) -> Option<Self>;
    /// The first address of the prefix of this length (0 to `BITS`) around `self`.
    fn network(self, prefix_len: u32) -> Self;
    /// The last address of the prefix of this length (0 to `BITS`) around `self`.
    fn broadcast(self, prefix_len: u32) -> Self;
    /// The address as the standard library writes it.
    fn to_ip(self) -> IpAddr;
}

macro_rules! impl_address {
    ($int:ty, $ip:ty, $variant:path) => {
        impl Address for $int {
            const BITS: u32 = <$int>::BITS;
            const MIN: Self = 0;
            const MAX: Self = <$int>::MAX;

            fn successor(self) -> Option<Self> {
                <$int>::checked_add(self, 1)
            }

            fn predecessor(self) -> Option<Self> {
                self.checked_sub(1)
            }

            fn checked_add(self, count: u128) -> Option<Self> {
                <$int>::checked_add(self, <$int>::try_from(count).ok()?)
            }

            fn network(self, prefix_len: u32) -> Self {
                self & !Self::MAX.checked_shr(prefix_len).unwrap_or(0)
            }

            fn broadcast(self, prefix_len: u32) -> Self {
                self | Self::MAX.checked_shr(prefix_len).unwrap_or(0)
            }

            fn to_ip(self) -> IpAddr {
                $variant(<$ip>::from(self))
            }
        }
    };
}

impl_address!(u32, Ipv4Addr, IpAddr::V4);
impl_address!(u128, Ipv6Addr, IpAddr::V6);

/// Addresses `first` to `last`, both inclusive and in host order, that belong to one country.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range<A> {
    pub first: A,
    pub last: A,
    pub country: CountryCode,
}

/// IPv4 addresses of one country.
pub type Range4 = Range<u32>;
/// IPv6 addresses of one country.
pub type Range6 = Range<u128>;

/// What a database says about one address: the widest run of addresses with the same answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// The address that was asked for.
    pub address: IpAddr,
    /// The first address of the run (same family as `address`).
    pub first: IpAddr,
    /// The last address of the run, inclusive.
    pub last: IpAddr,
    /// `None`: the database does not know the address, and the run is the gap around it.
    pub country: Option<CountryCode>,
}

impl Found {
    /// The largest prefix that holds the address and lies within the run.
    pub fn prefix(&self) -> IpNetwork {
        match (self.address, self.first, self.last) {
            (IpAddr::V4(at), IpAddr::V4(first), IpAddr::V4(last)) => {
                largest_prefix_around(u32::from(at), u32::from(first), u32::from(last))
            }
            (at, first, last) => largest_prefix_around(as_u128(at), as_u128(first), as_u128(last)),
        }
    }

    /// The fewest prefixes that cover the run exactly, in ascending order.
    pub fn prefixes(&self) -> Vec<IpNetwork> {
        match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                covering_prefixes(u32::from(first), u32::from(last))
            }
            (first, last) => covering_prefixes(as_u128(first), as_u128(last)),
        }
    }
}

fn as_u128(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// Looks `address` up in sorted, disjoint ranges.
///
/// Returns the bounds of the range, or of the gap, and the country of the range.
pub(super) fn find<A: Address>(ranges: &[Range<A>], address: A) -> (A, A, Option<CountryCode>) {
    let at = ranges.partition_point(|range| range.last < address);
    match ranges.get(at) {
        Some(range) if range.first <= address => (range.first, range.last, Some(range.country)),
        next => {
            let before = at.checked_sub(1).and_then(|index| ranges.get(index));
            let first = before.and_then(|range| range.last.successor());
            let last = next.and_then(|range| range.first.predecessor());
            (first.unwrap_or(A::MIN), last.unwrap_or(A::MAX), None)
        }
    }
}

/// The fewest prefixes that cover `first..=last` exactly, in ascending order.
///
/// Empty if `first` is greater than `last`.
pub fn covering_prefixes<A: Address>(first: A, last: A) -> Vec<IpNetwork> {
    let mut prefixes = Vec::new();
    let mut next = (first <= last).then_some(first);
    while let Some(at) = next {
        // The shortest prefix that starts here and does not pass the end; a /32 or /128 always fits.
        let prefix_len = (0..=A::BITS)
            .find(|&len| at.network(len) == at && at.broadcast(len) <= last)
            .unwrap_or(A::BITS);
        prefixes.extend(to_network(at, prefix_len));
        next = at
            .broadcast(prefix_len)
            .successor()
            .filter(|&at| at <= last);
    }
    prefixes
}

fn largest_prefix_around<A: Address>(at: A, first: A, last: A) -> IpNetwork {
    let prefix_len = (0..=A::BITS)
        .find(|&len| at.network(len) >= first && at.broadcast(len) <= last)
        .unwrap_or(A::BITS);
    to_network(at.network(prefix_len), prefix_len).unwrap_or_else(|| at.to_ip().into())
}

/// `None` cannot happen: `prefix_len` is at most the width of the family, which fits a `u8`.
fn to_network<A: Address>(first: A, prefix_len: u32) -> Option<IpNetwork> {
    IpNetwork::new(first.to_ip(), u8::try_from(prefix_len).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> u32 {
        text.parse::<Ipv4Addr>().unwrap().into()
    }

    #[test]
    fn covering_prefixes_are_exact_and_fewest() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("1.0.0.0", "1.0.0.255", &["1.0.0.0/24"]),
            (
                "1.0.0.1",
                "1.0.0.4",
                &["1.0.0.1/32", "1.0.0.2/31", "1.0.0.4/32"],
            ),
            ("0.0.0.0", "255.255.255.255", &["0.0.0.0/0"]),
            (
                "255.255.255.255",
                "255.255.255.255",
                &["255.255.255.255/32"],
            ),
            ("2.0.0.0", "1.0.0.0", &[]),
        ];
        for (first, last, expected) in cases {
            let got: Vec<String> = covering_prefixes(v4(first), v4(last))
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(got, *expected, "{first} to {last}");
        }
        assert_eq!(covering_prefixes(0u128, u128::MAX)[0].to_string(), "::/0");
        assert_eq!(covering_prefixes(1u128, u128::MAX).len(), 128);
    }

    #[test]
    fn lookup_gives_the_range_or_the_gap_around_an_address() {
        let mo = CountryCode::parse("MO").unwrap();
        let ranges = [
            Range {
                first: 10u32,
                last: 19,
                country: mo,
            },
            Range {
                first: 30,
                last: u32::MAX,
                country: mo,
            },
        ];
        let cases = [
            (0, (0, 9, None)),
            (9, (0, 9, None)),
            (10, (10, 19, Some(mo))),
            (19, (10, 19, Some(mo))),
            (20, (20, 29, None)),
            (29, (20, 29, None)),
            (30, (30, u32::MAX, Some(mo))),
            (u32::MAX, (30, u32::MAX, Some(mo))),
        ];
        for (address, expected) in cases {
            assert_eq!(find(&ranges, address), expected, "{address}");
        }
        assert_eq!(find(&[], 7u32), (0, u32::MAX, None));
        assert_eq!(find(&ranges[..1], 25u32), (20, u32::MAX, None));
    }

    #[test]
    fn prefix_of_a_lookup_stays_within_its_run() {
        let found = Found {
            address: "1.0.0.5".parse().unwrap(),
            first: "1.0.0.1".parse().unwrap(),
            last: "1.0.0.7".parse().unwrap(),
            country: None,
        };
        assert_eq!(found.prefix().to_string(), "1.0.0.4/30");
        assert_eq!(found.prefixes().len(), 3);
        let found = Found {
            address: "2001:db8::1".parse().unwrap(),
            first: "2001:db8::".parse().unwrap(),
            last: "2001:db8:0:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
            country: None,
        };
        assert_eq!(found.prefix().to_string(), "2001:db8::/48");
    }
}

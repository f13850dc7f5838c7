//! Source addresses in the order in which packets bring them.

use fastrand::Rng;
use filter_common::country::CountryCode;
use filter_userspace::geo::{Database, Range, covering_prefixes};
use ipnetwork::IpNetwork;

/// The same addresses in every run.
const SEED: u64 = 20_210_508;

/// How a trace draws its addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Draw {
    /// One source, again and again: the best case, since all it touches stays in the first cache.
    One,
    /// 4,096 sources: what a busy server sees in a while.
    Few,
    /// A million addresses, each in a prefix drawn from all prefixes: a botnet, or spoofed sources.
    Many,
    /// A million addresses drawn from the whole address space.
    Uniform,
}

impl Draw {
    pub const ALL: [Self; 4] = [Self::One, Self::Few, Self::Many, Self::Uniform];

    pub const fn label(self) -> &'static str {
        match self {
            Self::One => "one source (best case)",
            Self::Few => "4,096 sources",
            Self::Many => "1M sources",
            Self::Uniform => "1M uniform",
        }
    }

    /// A power of two.
    pub const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Few => 4_096,
            Self::Many | Self::Uniform => 1 << 20,
        }
    }
}

/// The prefixes of the countries that `wanted` names, by family.
#[derive(Clone, Debug, Default)]
pub struct Prefixes {
    pub v4: Vec<IpNetwork>,
    pub v6: Vec<IpNetwork>,
}

impl Prefixes {
    pub fn of(database: &Database, wanted: impl Fn(CountryCode) -> bool) -> Self {
        fn expand<A: filter_userspace::geo::Address>(
            ranges: &[Range<A>],
            wanted: &impl Fn(CountryCode) -> bool,
        ) -> Vec<IpNetwork> {
            ranges
                .iter()
                .filter(|range| wanted(range.country))
                .flat_map(|range| covering_prefixes(range.first, range.last))
                .collect()
        }
        Self {
            v4: expand(&database.v4, &wanted),
            v6: expand(&database.v6, &wanted),
        }
    }

    /// Addresses in host byte order.
    pub fn draw_v4(&self, draw: Draw) -> Vec<u32> {
        let mut rng = Rng::with_seed(SEED);
        (0..draw.count())
            .map(|_| match (draw, self.v4[rng.usize(..self.v4.len())]) {
                (Draw::Uniform, _) | (_, IpNetwork::V6(_)) => rng.u32(..),
                (_, IpNetwork::V4(prefix)) => {
                    let host = u32::MAX.checked_shr(prefix.prefix().into()).unwrap_or(0);
                    u32::from(prefix.network()) | (rng.u32(..) & host)
                }
            })
            .collect()
    }

    /// Addresses in host byte order. Uniform ones lie in 2000::/3, which is all that is given out
    /// (RFC 4291 §2.4).
    pub fn draw_v6(&self, draw: Draw) -> Vec<u128> {
        let mut rng = Rng::with_seed(SEED);
        (0..draw.count())
            .map(|_| match (draw, self.v6[rng.usize(..self.v6.len())]) {
                (Draw::Uniform, _) | (_, IpNetwork::V4(_)) => 1 << 125 | rng.u128(..) >> 3,
                (_, IpNetwork::V6(prefix)) => {
                    let host = u128::MAX.checked_shr(prefix.prefix().into()).unwrap_or(0);
                    u128::from(prefix.network()) | (rng.u128(..) & host)
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        net::{IpAddr, Ipv4Addr, Ipv6Addr},
    };

    use super::*;
    use crate::policies;

    fn prefixes() -> Prefixes {
        let of_both = policies::prefixes(&[
            "192.0.2.0/24",
            "198.51.100.7/32",
            "2001:db8::/32",
            "2001:db8:1::1/128",
        ]);
        let (v4, v6) = of_both.into_iter().partition(IpNetwork::is_ipv4);
        Prefixes { v4, v6 }
    }

    fn drawn(draw: Draw) -> [Vec<IpAddr>; 2] {
        let v4 = prefixes().draw_v4(draw).into_iter().map(Ipv4Addr::from);
        let v6 = prefixes().draw_v6(draw).into_iter().map(Ipv6Addr::from);
        [v4.map(IpAddr::V4).collect(), v6.map(IpAddr::V6).collect()]
    }

    #[test]
    fn every_trace_has_its_length_and_is_the_same_each_time() {
        for (draw, len) in [
            (Draw::One, 1),
            (Draw::Few, 4_096),
            (Draw::Many, 1_048_576),
            (Draw::Uniform, 1_048_576),
        ] {
            let traces = drawn(draw);
            assert_eq!(traces.each_ref().map(Vec::len), [len; 2], "{draw:?}");
            assert!(traces == drawn(draw), "{draw:?}");
        }
    }

    #[test]
    fn sources_lie_in_the_prefixes_and_use_all_of_them() {
        for (trace, prefixes) in drawn(Draw::Few).iter().zip([prefixes().v4, prefixes().v6]) {
            let of: BTreeSet<_> = trace
                .iter()
                .map(|source| prefixes.iter().rposition(|prefix| prefix.contains(*source)))
                .collect();
            assert_eq!(of, [Some(0), Some(1)].into());
            let [low, high] = [trace.iter().min(), trace.iter().max()];
            assert_ne!(low, high);
        }
    }

    #[test]
    fn uniform_sources_lie_everywhere_that_is_given_out() {
        let [v4, v6] = drawn(Draw::Uniform);
        let first_bytes: BTreeSet<u8> = v4
            .iter()
            .filter_map(|source| match source {
                IpAddr::V4(v4) => Some(v4.octets()[0]),
                IpAddr::V6(_) => None,
            })
            .collect();
        assert_eq!(first_bytes.len(), 256);
        let first_bytes: BTreeSet<u8> = v6
            .iter()
            .filter_map(|source| match source {
                IpAddr::V6(v6) => Some(v6.octets()[0]),
                IpAddr::V4(_) => None,
            })
            .collect();
        assert_eq!(first_bytes, (0x20..=0x3f).collect());
    }
}

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

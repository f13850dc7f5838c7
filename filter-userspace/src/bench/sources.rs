//! Addresses by what the running policy does with them, at random out of the table that decides.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use filter_common::{
    abi::{PolicyBlock, action},
    country::Class,
};
use ipnetwork::IpNetwork;

use super::Family;
use crate::{
    compile::walk::{self, Root},
    kernel::Live,
};

/// Ranges that are kept of each group: more than the addresses that are asked for.
const RANGES: usize = 512;
/// Addresses that are tried for each that is wanted: some are banned, or doubles.
const TRIES: usize = 8;

/// Sources of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    Trusted,
    CountryDenied,
    UnknownDenied,
    /// Allowed without a limit.
    Allowed,
    /// Allowed within the limit of this index.
    Limited(u8),
    /// Of any class.
    Any,
}

impl Group {
    fn holds(self, policy: &PolicyBlock, class: Class) -> bool {
        let what = policy.actions[usize::from(class.0)];
        let is_country = class.0 >= Class::FIRST_COUNTRY;
        let has_action = is_country || class == Class::UNKNOWN || class == Class::PRIVATE;
        match self {
            Self::Trusted => class == Class::TRUSTED,
            Self::CountryDenied => is_country && what == action::DENY,
            Self::UnknownDenied => class == Class::UNKNOWN && what == action::DENY,
            Self::Allowed => has_action && what == action::ALLOW,
            Self::Limited(index) => has_action && what == action::FIRST_LIMIT + index,
            Self::Any => true,
        }
    }
}

/// Ranges of one family and group, chosen at random with equal chances (Vitter's algorithm R).
pub struct Ranges {
    group: Group,
    chosen: Vec<(u128, u128)>,
    seen: usize,
}

/// One choice for each of `groups`, in one walk through the table.
pub fn choose(live: &Live, family: Family, groups: &[Group], random: &mut Random) -> Vec<Ranges> {
    let mut all: Vec<Ranges> = groups
        .iter()
        .map(|group| Ranges {
            group: *group,
            chosen: Vec::new(),
            seen: 0,
        })
        .collect();
    let (Some(policy), Some(table)) = (live.policy(), live.table()) else {
        return all;
    };
    let root = match family {
        Family::V4 => Root::V4,
        Family::V6 => Root::V6,
    };
    walk::for_each_range(table, root, |first, last, class| {
        for ranges in &mut all {
            if ranges.group.holds(policy, class) {
                ranges.offer((first, last), random);
            }
        }
    });
    all
}

impl Ranges {
    fn offer(&mut self, range: (u128, u128), random: &mut Random) {
        self.seen += 1;
        if self.chosen.len() < RANGES {
            self.chosen.push(range);
        } else if let Some(place) = self
            .chosen
            .get_mut(random.below(self.seen as u128) as usize)
        {
            *place = range;
        }
    }

    /// Up to `count` addresses that `accept` takes, no two of one prefix of `prefix_len` bits.
    pub fn addresses(
        &self,
        family: Family,
        prefix_len: u32,
        count: usize,
        random: &mut Random,
        accept: impl Fn(IpAddr) -> bool,
    ) -> Vec<IpAddr> {
        let mut taken = HashSet::new();
        let tries = self.chosen.iter().cycle().take(match self.chosen.len() {
            0 => 0,
            ranges => (count * TRIES).max(ranges),
        });
        tries
            .filter_map(|(first, last)| {
                let aligned = first + random.upto(last - first);
                let address = unaligned(family, aligned);
                let source = aligned.checked_shr(128 - prefix_len).unwrap_or(0);
                (!taken.contains(&source) && accept(address)).then(|| {
                    taken.insert(source);
                    address
                })
            })
            .take(count)
            .collect()
    }
}

/// Up to `count` addresses of banned prefixes that `accept` takes.
pub fn in_prefixes(
    prefixes: &[IpNetwork],
    count: usize,
    random: &mut Random,
    accept: impl Fn(IpAddr) -> bool,
) -> Vec<IpAddr> {
    let tries = match prefixes.len() {
        0 => 0,
        prefixes => (count * TRIES).max(prefixes),
    };
    let mut taken = HashSet::new();
    let mut addresses = Vec::new();
    for prefix in prefixes.iter().cycle().take(tries) {
        let host_bits = |bits: u32| {
            let free = bits - u32::from(prefix.prefix());
            u128::MAX.checked_shr(128 - free).unwrap_or(0)
        };
        let address: IpAddr = match prefix.ip() {
            IpAddr::V4(v4) => {
                let host = random.upto(host_bits(32)) as u32;
                Ipv4Addr::from_bits(v4.to_bits() | host).into()
            }
            IpAddr::V6(v6) => {
                let host = random.upto(host_bits(128));
                Ipv6Addr::from_bits(v6.to_bits() | host).into()
            }
        };
        if addresses.len() < count && !taken.contains(&address) && accept(address) {
            taken.insert(address);
            addresses.push(address);
        }
    }
    addresses
}

fn unaligned(family: Family, aligned: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits((aligned >> 96) as u32).into(),
        Family::V6 => Ipv6Addr::from_bits(aligned).into(),
    }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): enough to choose addresses.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// 0 to `most`.
    fn upto(&mut self, most: u128) -> u128 {
        let word = u128::from(self.next()) << 64 | u128::from(self.next());
        most.checked_add(1).map_or(word, |count| word % count)
    }

    /// 0 to `count`, without `count` itself, which is not 0.
    fn below(&mut self, count: u128) -> u128 {
        self.upto(count - 1)
    }
}

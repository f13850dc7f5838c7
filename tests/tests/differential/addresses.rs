//! Sources from every part of the policy, destinations from inside and outside of `[protect]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use filter_userspace::geo::Database;
use integration_tests::policies::country;
use ipnetwork::IpNetwork;

/// Sources of each strictly limited kind: so few that no set of the limiter ever has to forget one,
/// whatever seed the kernel drew.
const LIMITED_SOURCES: usize = 400;

/// v4-mapped, 6to4, Teredo, NAT64, loopback, multicast, link-local, documentation, zero.
const SPECIAL_V6: [&str; 16] = [
    "::",
    "::1",
    "::ffff:192.0.2.1",
    "::ffff:8.8.8.8",
    "::192.0.2.1",
    "2002:c000:0201::1",
    "2002:0808:0808::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "ff02::1",
    "fe80::1",
    "febf:ffff::1",
    "fec0::1",
    "fd00::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];
const SPECIAL_V4: [&str; 14] = [
    "0.0.0.0",
    "0.0.0.1",
    "127.0.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "240.0.0.1",
    "169.254.1.1",
    "10.0.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.88.99.1",
    "100.64.0.0",
    "100.63.255.255",
];

/// Lists to draw from: each one first, then an address of it.
pub struct Addresses {
    sources_v4: Vec<Vec<[u8; 4]>>,
    sources_v6: Vec<Vec<[u8; 16]>>,
    /// Drawn from anew each time.
    prefixes: Vec<IpNetwork>,
}

impl Addresses {
    /// `limited`: countries with limits that bite; `others`: countries of all other kinds;
    /// `prefixes`: rules, trusted prefixes and bans.
    pub fn new(
        database: &Database,
        limited: &[&str],
        others: &[&str],
        prefixes: Vec<IpNetwork>,
    ) -> Self {
        let mut random = Rng::with_seed(7);
        let mut addresses = Self {
            sources_v4: vec![SPECIAL_V4.iter().map(|text| v4(text)).collect()],
            sources_v6: vec![SPECIAL_V6.iter().map(|text| v6(text)).collect()],
            prefixes,
        };
        for code in limited.iter().chain(others) {
            let code = country(code);
            let v4: Vec<_> = database.v4.iter().filter(|r| r.country == code).collect();
            let v6: Vec<_> = database.v6.iter().filter(|r| r.country == code).collect();
            addresses.sources_v4.push(
                (0..LIMITED_SOURCES)
                    .map(|_| {
                        let range = v4[random.usize(..v4.len())];
                        random.u32(range.first..=range.last).to_be_bytes()
                    })
                    .collect(),
            );
            addresses.sources_v6.push(
                (0..LIMITED_SOURCES)
                    .map(|_| {
                        let range = v6[random.usize(..v6.len())];
                        random.u128(range.first..=range.last).to_be_bytes()
                    })
                    .collect(),
            );
        }
        addresses
    }

    pub fn source_v4(&self, random: &mut Rng) -> [u8; 4] {
        match random.u8(..10) {
            0 => random.u32(..).to_be_bytes(),
            1..=4 => self
                .inside(random, true)
                .map_or([0; 4], |bits| ((bits >> 96) as u32).to_be_bytes()),
            _ => {
                let list = &self.sources_v4[random.usize(..self.sources_v4.len())];
                list[random.usize(..list.len())]
            }
        }
    }

    pub fn source_v6(&self, random: &mut Rng) -> [u8; 16] {
        match random.u8(..10) {
            0 => (random.u128(..) >> 3 | 1 << 125).to_be_bytes(),
            1..=4 => self.inside(random, false).unwrap_or(0).to_be_bytes(),
            _ => {
                let list = &self.sources_v6[random.usize(..self.sources_v6.len())];
                list[random.usize(..list.len())]
            }
        }
    }

    /// A left-aligned address of one of the prefixes, or just beside it.
    fn inside(&self, random: &mut Rng, is_v4: bool) -> Option<u128> {
        let prefixes: Vec<_> = self
            .prefixes
            .iter()
            .filter(|prefix| prefix.is_ipv4() == is_v4)
            .collect();
        let prefix = prefixes.get(random.usize(..prefixes.len()))?;
        let (start, step) = match prefix.ip() {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 1 << 96),
            IpAddr::V6(v6) => (u128::from(v6), 1),
        };
        let host_bits = u128::MAX.checked_shr(prefix.prefix().into()).unwrap_or(0);
        Some(match random.u8(..8) {
            0 => start.wrapping_sub(step),
            1 => (start | host_bits).wrapping_add(step),
            2 => start,
            3 => start | host_bits,
            _ => start | random.u128(..) & host_bits,
        })
    }

    pub fn destination_v4(&self, random: &mut Rng) -> [u8; 4] {
        match random.u8(..5) {
            0 => random.u32(..).to_be_bytes(),
            1 => v4("224.0.0.22"),
            // The host, and its neighbours on both sides of 192.0.2.16/28.
            _ => [192, 0, 2, random.u8(10..40)],
        }
    }

    pub fn destination_v6(&self, random: &mut Rng) -> [u8; 16] {
        match random.u8(..5) {
            0 => random.u128(..).to_be_bytes(),
            1 => v6("ff02::16"),
            _ => (u128::from_be_bytes(v6("2001:db8::")) | u128::from(random.u32(..0x40)))
                .to_be_bytes(),
        }
    }
}

fn v4(text: &str) -> [u8; 4] {
    text.parse::<Ipv4Addr>().expect("an IPv4 address").octets()
}

fn v6(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().expect("an IPv6 address").octets()
}

//! Addresses that the builtin database gives to a country, or to none.

use filter_common::country::CountryCode;
use filter_userspace::geo::{self, Database};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

static WORLD: LazyLock<Database> =
    LazyLock::new(|| geo::builtin().expect("invariant: the embedded database is whole"));

/// Which kind of address a test wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

/// The `index`-th address behind the first of a range of `country` that has at least `room`
/// addresses (IPv4) or `room` networks of /64 (IPv6, where `index` counts networks).
///
/// # Panics
/// When the database has no such range, or `index` is not below `room`.
pub fn address_in(country: &str, family: Family, room: u32, index: u32) -> IpAddr {
    assert!(index < room, "address {index} of {room}");
    let code = CountryCode::parse(country).expect("two letters");
    let missing = format!("no range of {room} {family:?} sources in {country}");
    match family {
        Family::V4 => {
            let range = WORLD
                .v4
                .iter()
                // One to spare: a range may begin with .0, which reads badly as a host.
                .find(|range| range.country == code && range.last - range.first > room)
                .expect(&missing);
            Ipv4Addr::from_bits(range.first + 1 + index).into()
        }
        Family::V6 => {
            let networks = |first: u128, last: u128| (last >> 64) - (first >> 64);
            let range = WORLD
                .v6
                .iter()
                .find(|range| {
                    range.country == code && networks(range.first, range.last) > u128::from(room)
                })
                .expect(&missing);
            let network = (range.first >> 64) + 1 + u128::from(index);
            Ipv6Addr::from_bits(network << 64 | 0x10).into()
        }
    }
}

/// A documentation address (RFC 5737, RFC 3849) that no country has.
///
/// # Panics
/// When the database gives it to one after all.
pub fn unknown_address(family: Family) -> IpAddr {
    let address: IpAddr = match family {
        Family::V4 => Ipv4Addr::new(198, 51, 100, 77).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x77).into(),
    };
    assert_eq!(WORLD.lookup(address).country, None, "{address}");
    address
}

/// An address of RFC 1918 or RFC 4193 space.
pub fn private_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 9, 8, 7).into(),
        Family::V6 => Ipv6Addr::new(0xfd12, 0x3456, 0x789a, 0, 0, 0, 0, 7).into(),
    }
}

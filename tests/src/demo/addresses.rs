//! Addresses drawn from the ranges that a GeoIP database gives to a country.
//!
//! The only module of the demo that knows where the ranges come from.

use super::countries::{ATTACKERS, HOME, NEIGHBOUR};
use anyhow::{Context, Result, bail};
use fastrand::Rng;
use filter_common::country::CountryCode;
use filter_userspace::geo::{self, Database, ReadOptions};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

/// The ranges of the countries that take part.
#[derive(Debug, Default)]
pub struct World {
    countries: BTreeMap<CountryCode, Country>,
}

/// First and last address of each range of a country; never empty in either family.
#[derive(Debug, Default)]
pub struct Country {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl World {
    /// Reads the builtin database, or the file that was asked for.
    pub fn load(database: Option<&Path>) -> Result<Self> {
        let database = match database {
            Some(path) => geo::read_file(path, &ReadOptions::default()),
            None => geo::builtin(),
        };
        Self::from_database(&database.context("failed to load the GeoIP database")?)
    }

    fn from_database(database: &Database) -> Result<Self> {
        let mut countries: BTreeMap<CountryCode, Country> = participants()
            .map(|code| (code, Country::default()))
            .collect();
        for range in &database.v4 {
            if let Some(country) = countries.get_mut(&range.country) {
                country.v4.push((range.first, range.last));
            }
        }
        for range in &database.v6 {
            if let Some(country) = countries.get_mut(&range.country) {
                country.v6.push((range.first, range.last));
            }
        }
        for (code, country) in &countries {
            if country.v4.is_empty() || country.v6.is_empty() {
                bail!("the database has no addresses of {code} in one of the two families");
            }
        }
        Ok(Self { countries })
    }

    /// The ranges of a country that takes part in the demo.
    pub fn country(&self, code: CountryCode) -> &Country {
        self.countries
            .get(&code)
            .expect("invariant: from_database() made an entry for every participant")
    }
}

impl Country {
    /// Ranges are drawn alike, whatever their size: a table goes wrong first in the small ones.
    pub fn draw_v4(&self, rng: &mut Rng) -> Ipv4Addr {
        let (first, last) = self.v4[rng.usize(..self.v4.len())];
        Ipv4Addr::from_bits(rng.u32(first..=last))
    }

    /// As [`Country::draw_v4`].
    pub fn draw_v6(&self, rng: &mut Rng) -> Ipv6Addr {
        let (first, last) = self.v6[rng.usize(..self.v6.len())];
        Ipv6Addr::from_bits(rng.u128(first..=last))
    }
}

fn participants() -> impl Iterator<Item = CountryCode> {
    ATTACKERS
        .iter()
        .map(|(code, _)| *code)
        .chain([HOME, NEIGHBOUR])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn drawn_addresses_belong_to_their_country() {
        let database = geo::builtin().unwrap();
        let world = World::from_database(&database).unwrap();
        let mut rng = Rng::with_seed(3);
        for code in participants() {
            for _ in 0..1_000 {
                let country = world.country(code);
                for address in [
                    IpAddr::V4(country.draw_v4(&mut rng)),
                    country.draw_v6(&mut rng).into(),
                ] {
                    let found = database.lookup(address).country;
                    assert_eq!(found, Some(code), "{address}");
                }
            }
        }
    }
}

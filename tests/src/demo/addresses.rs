//! Addresses drawn from the ranges that a GeoIP database gives to a country.
//!
//! The only module of the demo that knows where the ranges come from.

use super::countries::{ATTACKERS, HOME, NEIGHBOUR};
use anyhow::{Context, Result, bail};
use fastrand::Rng;
use filter_common::country::CountryCode;
use ipnetwork::IpNetwork;
use maxminddb::{PathElement, Reader};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

/// The ranges of the countries that take part, first and last address of each.
#[derive(Debug, Default)]
pub struct World {
    countries: BTreeMap<CountryCode, Country>,
}

#[derive(Debug, Default)]
pub struct Country {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl World {
    /// Reads the builtin database, or the MMDB file that was asked for.
    pub fn load(database: Option<&Path>) -> Result<Self> {
        let mut world = Self::default();
        for code in participants() {
            world.countries.insert(code, Country::default());
        }
        match database {
            Some(path) => world.read_mmdb(path)?,
            None => bail!("this build has no builtin database; name one with --database FILE.mmdb"),
        }
        for (code, country) in &world.countries {
            if country.v4.is_empty() || country.v6.is_empty() {
                bail!("the database has no addresses of {code} in one of the two families");
            }
        }
        Ok(world)
    }

    /// The ranges of a country that takes part in the demo.
    pub fn country(&self, code: CountryCode) -> &Country {
        self.countries
            .get(&code)
            .expect("invariant: load() made an entry for every participant")
    }

    fn read_mmdb(&mut self, path: &Path) -> Result<()> {
        let attempt = || format!("failed to read {}", path.display());
        let reader = Reader::open_readfile(path).with_context(attempt)?;
        for record in reader.networks(Default::default()).with_context(attempt)? {
            let record = record.with_context(attempt)?;
            let mut code = record
                .decode_path::<&str>(&[PathElement::Key("country_code")])
                .with_context(attempt)?;
            if code.is_none() {
                code = record
                    .decode_path(&[PathElement::Key("country"), PathElement::Key("iso_code")])
                    .with_context(attempt)?;
            }
            let Some(country) = code
                .and_then(CountryCode::parse)
                .and_then(|code| self.countries.get_mut(&code))
            else {
                continue;
            };
            match record.network().with_context(attempt)? {
                IpNetwork::V4(network) => country
                    .v4
                    .push((network.network().into(), network.broadcast().into())),
                IpNetwork::V6(network) => country
                    .v6
                    .push((network.network().into(), network.broadcast().into())),
            }
        }
        Ok(())
    }
}

impl Country {
    /// Ranges are drawn alike, whatever their size: a table goes wrong first in the small ones.
    pub fn draw_v4(&self, rng: &mut Rng) -> Ipv4Addr {
        let (first, last) = self.v4[rng.usize(..self.v4.len())];
        Ipv4Addr::from_bits(rng.u32(first..=last))
    }

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

//! Databases of a thousand to two million networks.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use filter_common::country::CountryCode;
use filter_userspace::geo::{Address, Database, Range, covering_prefixes};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use crate::mmdb_file;

/// The sizes, in networks of both families.
pub const SIZES: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, 2_000_000];
/// As many as the large free databases have.
pub const REAL_SIZE: usize = 1_400_000;

/// Writes a MaxMind DB file of exactly `size` networks at `path`.
pub fn write_database(path: &Path, database: &Database, size: usize) -> Result<()> {
    let file = mmdb_file::write(networks(database, size)?.into_iter())?;
    fs::write(path, file).with_context(|| format!("failed to write {}", path.display()))
}

/// `size` networks, the same in every run: some of the real ones, evenly from all of them, or all of
/// them and as many as are missing cut in halves, of which the second goes to the next country.
pub fn networks(database: &Database, size: usize) -> Result<Vec<(IpNetwork, CountryCode)>> {
    let real = real_networks(database);
    if size <= real.len() {
        let picked = (0..size).map(|index| real[index * real.len() / size]);
        return Ok(picked.collect());
    }
    let countries = database.countries();
    let mut missing = size - real.len();
    let mut networks = Vec::with_capacity(size);
    // Even steps over all of them, as above.
    for (index, (network, country)) in real.iter().enumerate() {
        let due = missing_by(index + 1, real.len(), size) > missing_by(index, real.len(), size);
        match halves(*network).filter(|_| missing > 0 && (due || is_late(index, real.len()))) {
            Some([first, second]) => {
                let place = countries.binary_search(country).unwrap_or(0);
                networks.push((first, *country));
                networks.push((second, countries[(place + 1) % countries.len()]));
                missing -= 1;
            }
            None => networks.push((*network, *country)),
        }
    }
    if missing > 0 {
        bail!("the embedded database cannot be cut into {size} networks");
    }
    Ok(networks)
}

/// How many of the first `count` of `len` networks are cut to get `size` of them.
fn missing_by(count: usize, len: usize, size: usize) -> usize {
    count * (size - len) / len
}

/// The last third makes up for those that were single addresses and could not be cut.
fn is_late(index: usize, len: usize) -> bool {
    index > len * 2 / 3
}

fn real_networks(database: &Database) -> Vec<(IpNetwork, CountryCode)> {
    fn expand<A: Address>(ranges: &[Range<A>]) -> impl Iterator<Item = (IpNetwork, CountryCode)> {
        ranges.iter().flat_map(|range| {
            let prefixes = covering_prefixes(range.first, range.last);
            prefixes.into_iter().map(|prefix| (prefix, range.country))
        })
    }
    expand(&database.v4).chain(expand(&database.v6)).collect()
}

/// `None`: a single address.
fn halves(network: IpNetwork) -> Option<[IpNetwork; 2]> {
    let longer = network.prefix() + 1;
    match network {
        IpNetwork::V4(v4) => {
            let half = 1u32.checked_shl(32u32.checked_sub(longer.into())?)?;
            let cut = |first: u32| Ipv4Network::new(first.into(), longer).ok();
            let first = v4.network().to_bits();
            Some([cut(first)?.into(), cut(first | half)?.into()])
        }
        IpNetwork::V6(v6) => {
            let half = 1u128.checked_shl(128u32.checked_sub(longer.into())?)?;
            let cut = |first: u128| Ipv6Network::new(first.into(), longer).ok();
            let first = v6.network().to_bits();
            Some([cut(first)?.into(), cut(first | half)?.into()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_its_number_of_networks_and_none_overlap() {
        let database = filter_userspace::geo::builtin().unwrap();
        for size in SIZES.into_iter().chain([REAL_SIZE]) {
            let networks = networks(&database, size).unwrap();
            assert_eq!(networks.len(), size);
            for pair in networks.windows(2) {
                let (before, after) = (pair[0].0, pair[1].0);
                assert!(
                    before.is_ipv4() != after.is_ipv4() || before.broadcast() < after.network(),
                    "{before} {after}"
                );
            }
        }
    }
}

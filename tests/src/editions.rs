//! Editions of a database of some thousand networks, good and bad.

use filter_common::country::CountryCode;
use ipnetwork::IpNetwork;

use crate::mmdb_file;

/// When the first edition was built, seconds since 1970.
pub const BUILT: u64 = mmdb_file::BUILT;

/// A month.
pub const MONTH: u64 = 30 * 24 * 60 * 60;

const BULK: [&str; 4] = ["MO", "DE", "FR", "US"];

/// A network and its country.
pub type Network = (IpNetwork, CountryCode);

/// The addresses of [`crate::site`], 192.0.2.0/24 as Macau, and `bulk` networks of each family: an
/// equal share for Macau, Germany, France and the United States.
pub fn networks(bulk: u32) -> Vec<Network> {
    let named = [
        ("192.0.2.0/24", "MO"),
        ("198.51.100.0/24", "MO"),
        ("203.0.113.0/24", "US"),
        ("2001:db8:1::/48", "MO"),
        ("2001:db8:2::/48", "US"),
    ];
    let mut networks: Vec<Network> = named
        .iter()
        .map(|(network, country)| (parse(network), code(country)))
        .collect();
    for index in 0..bulk {
        let country = code(BULK[index as usize % BULK.len()]);
        let [a, b, c, _] = (0x1400_0000 + index * 256).to_be_bytes();
        networks.push((parse(&format!("{a}.{b}.{c}.0/24")), country));
        let (high, low) = (0x2400 + (index >> 16), index & 0xffff);
        networks.push((parse(&format!("{high:x}:{low:x}::/32")), country));
    }
    networks
}

/// `networks` with another country for those that `of` names one for, and without those that it
/// gives `None`.
pub fn changed(
    networks: &[Network],
    of: impl Fn(usize, IpNetwork, CountryCode) -> Option<CountryCode>,
) -> Vec<Network> {
    networks
        .iter()
        .enumerate()
        .filter_map(|(index, &(network, country))| Some((network, of(index, network, country)?)))
        .collect()
}

/// # Panics
/// When there are more networks than a file can have.
pub fn mmdb(networks: &[Network], built: u64) -> Vec<u8> {
    mmdb_file::write_built(networks.iter().copied(), built).expect("few networks")
}

/// Sorted by family and address, as the makers of such files sort them.
pub fn csv(networks: &[Network]) -> String {
    let mut sorted = networks.to_vec();
    sorted.sort_by_key(|(network, _)| (network.is_ipv6(), network.ip()));
    sorted
        .iter()
        .map(|(network, country)| format!("{network},{country}\n"))
        .collect()
}

fn parse(network: &str) -> IpNetwork {
    network.parse().expect("a network")
}

/// # Panics
/// When the text is not two letters.
pub fn code(text: &str) -> CountryCode {
    CountryCode::parse(text).expect("two letters")
}

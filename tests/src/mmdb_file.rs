//! Writes MaxMind DB files of countries and of networks, for hosts on which no real one is at hand.
//!
//! Format: <https://maxmind.github.io/MaxMind-DB/>. IPv6 trees with IPv4 below `::/96`, records of
//! 28 bits and flat records, as the large free databases have them.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Result, ensure};
use filter_common::country::CountryCode;
use ipnetwork::IpNetwork;

/// Record values that fit 28 bits.
const MAX_RECORD: u32 = (1 << 28) - 1;
/// Zeros between tree and data.
const SEPARATOR: u32 = 16;

#[derive(Clone, Copy)]
enum Child {
    Empty,
    Node(u32),
    /// Offset in the data section.
    Data(u32),
}

/// When they are built if nobody says otherwise, seconds since 1970.
pub const BUILT: u64 = 1_780_000_000;

/// The bytes of a database of `networks`, which do not overlap.
pub fn write(networks: impl Iterator<Item = (IpNetwork, CountryCode)>) -> Result<Vec<u8>> {
    write_built(networks, BUILT)
}

/// As [`write()`], built at `built`, in seconds since 1970.
pub fn write_built(
    networks: impl Iterator<Item = (IpNetwork, CountryCode)>,
    built: u64,
) -> Result<Vec<u8>> {
    let records = networks.map(|(network, country)| {
        // A map of one pair.
        let mut record = vec![7 << 5 | 1];
        push_text(&mut record, "country_code");
        push_text(&mut record, country.as_str());
        (network, record)
    });
    write_records(records, "Synthetic-Country", built)
}

/// The bytes of a database that names the autonomous systems of `networks`, which do not overlap.
pub fn write_systems<'a>(
    networks: impl Iterator<Item = (IpNetwork, u32, &'a str)>,
) -> Result<Vec<u8>> {
    let records = networks.map(|(network, number, name)| {
        let mut record = vec![7 << 5 | 2];
        push_text(&mut record, "autonomous_system_number");
        record.push(6 << 5 | 4);
        record.extend(number.to_be_bytes());
        push_text(&mut record, "autonomous_system_organization");
        push_text(&mut record, name);
        (network, record)
    });
    write_records(records, "Synthetic-ASN", BUILT)
}

fn write_records(
    networks: impl Iterator<Item = (IpNetwork, Vec<u8>)>,
    kind: &str,
    built: u64,
) -> Result<Vec<u8>> {
    let mut nodes = vec![[Child::Empty; 2]];
    let mut data: Vec<u8> = Vec::new();
    let mut offsets = BTreeMap::new();
    for (network, record) in networks {
        let offset = *offsets.entry(record).or_insert_with_key(|record| {
            let offset = data.len() as u32;
            data.extend(record);
            offset
        });
        insert(&mut nodes, network, Child::Data(offset));
    }
    let count = nodes.len() as u32;
    let largest = count + SEPARATOR + data.len() as u32;
    ensure!(
        largest <= MAX_RECORD,
        "too many networks for 28-bit records"
    );
    let record = |child: Child| match child {
        Child::Empty => count,
        Child::Node(node) => node,
        Child::Data(offset) => count + SEPARATOR + offset,
    };
    let mut file = Vec::with_capacity(nodes.len() * 7 + data.len() + 1024);
    for [left, right] in nodes {
        let [l, r] = [record(left), record(right)].map(u32::to_be_bytes);
        file.extend_from_slice(&[l[1], l[2], l[3], l[0] << 4 | r[0], r[1], r[2], r[3]]);
    }
    file.extend([0; SEPARATOR as usize]);
    file.extend(data);
    push_metadata(&mut file, count, kind, built);
    Ok(file)
}

fn insert(nodes: &mut Vec<[Child; 2]>, network: IpNetwork, leaf: Child) {
    let (address, prefix_len) = match network.ip() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 96 + u32::from(network.prefix())),
        IpAddr::V6(v6) => (v6.to_bits(), u32::from(network.prefix())),
    };
    let bit = |depth: u32| (address >> (127 - depth)) as usize & 1;
    let mut node = 0;
    for depth in 0..prefix_len.saturating_sub(1) {
        node = match nodes[node][bit(depth)] {
            Child::Node(next) => next as usize,
            _ => {
                let next = nodes.len();
                nodes.push([Child::Empty; 2]);
                nodes[node][bit(depth)] = Child::Node(next as u32);
                next
            }
        };
    }
    nodes[node][bit(prefix_len.saturating_sub(1))] = leaf;
}

fn push_metadata(file: &mut Vec<u8>, node_count: u32, kind: &str, built: u64) {
    file.extend(b"\xab\xcd\xefMaxMind.com");
    file.push(7 << 5 | 9);
    let words: [(&str, u16); 4] = [
        ("binary_format_major_version", 2),
        ("binary_format_minor_version", 0),
        ("ip_version", 6),
        ("record_size", 28),
    ];
    for (key, value) in words {
        push_text(file, key);
        file.push(5 << 5 | 2);
        file.extend(value.to_be_bytes());
    }
    push_text(file, "node_count");
    file.push(6 << 5 | 4);
    file.extend(node_count.to_be_bytes());
    push_text(file, "build_epoch");
    // An extended type: 9 is a u64.
    file.extend([8, 9 - 7]);
    file.extend(built.to_be_bytes());
    push_text(file, "languages");
    // An extended type as well: 11 is an array, of nothing here.
    file.extend([0, 11 - 7]);
    push_text(file, "database_type");
    push_text(file, kind);
    push_text(file, "description");
    file.push(7 << 5 | 1);
    push_text(file, "en");
    push_text(file, "for measurements");
}

/// Strings below 29 bytes carry their length in the control byte, those up to 284 in one more.
fn push_text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        short @ ..29 => out.push(2 << 5 | short as u8),
        long => out.extend([2 << 5 | 29, (long - 29) as u8]),
    }
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use filter_userspace::geo::{ReadOptions, Source, read_bytes};

    use super::*;

    #[test]
    fn written_networks_are_read_back() {
        let networks = [
            ("1.0.0.0/24", "AU"),
            ("1.0.1.0/32", "MO"),
            ("2001:db8::/32", "PT"),
        ];
        let parsed = networks.map(|(network, code)| {
            let code = CountryCode::parse(code).unwrap();
            (network.parse().unwrap(), code)
        });
        let file = write(parsed.into_iter()).unwrap();
        let source = Source::File("synthetic.mmdb".into());
        let database = read_bytes(file, source, &ReadOptions::default()).unwrap();
        for (network, code) in networks {
            let first = network.split('/').next().unwrap().parse().unwrap();
            let found = database.lookup(first);
            assert_eq!(found.country, CountryCode::parse(code), "{network}");
            assert_eq!(found.prefix().to_string(), network);
        }
        assert_eq!(
            (database.info.networks_v4, database.info.networks_v6),
            (2, 1)
        );
    }
}

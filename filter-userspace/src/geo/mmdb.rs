//! MaxMind DB files, in the record shapes of all common vendors.
//!
//! Format: <https://maxmind.github.io/MaxMind-DB/>.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use filter_common::country::CountryCode;
use ipnetwork::IpNetwork;
use maxminddb::{LookupResult, MaxMindDbError, Metadata, Reader, WithinOptions};
use serde::Deserialize;

use super::error::{Fault, Problem};
use super::merge::Merger;
use super::{Format, Parsed, field};
use crate::both::both;

/// Starts the metadata, which stand at the end of the file.
const METADATA_MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// The metadata are looked for in the last 128 KiB only, as the format says.
const METADATA_MAX_LEN: usize = 128 * 1024;

pub(super) fn is_mmdb(bytes: &[u8]) -> bool {
    let end = &bytes[bytes.len().saturating_sub(METADATA_MAX_LEN)..];
    end.windows(METADATA_MARKER.len())
        .any(|window| window == METADATA_MARKER)
}

/// A file of any kind that [`Reader::verify`] finds sound, with its metadata as they were found: it may get
/// more of them here.
pub fn sound_mmdb(mut bytes: Vec<u8>) -> Result<(Reader<Vec<u8>>, Metadata), MaxMindDbError> {
    let metadata = describe(&mut bytes)?;
    let reader = Reader::from_source(bytes)?;
    reader.verify()?;
    Ok((reader, metadata))
}

/// The metadata, and such in the file as `verify()` wants to see.
fn describe(bytes: &mut Vec<u8>) -> Result<Metadata, MaxMindDbError> {
    let metadata = Reader::from_source(&*bytes)?.metadata().clone();
    if metadata.description.is_empty() || metadata.database_type.is_empty() {
        append_described_metadata(bytes, &metadata);
    }
    Ok(metadata)
}

pub(super) fn parse(mut bytes: Vec<u8>) -> Result<Parsed, Fault> {
    let metadata = describe(&mut bytes).map_err(Problem::MmdbOpen)?;
    let reader = Reader::from_source(&bytes).map_err(Problem::MmdbOpen)?;
    // Each walks the whole tree. What was read counts only when the file is sound, and if not, what
    // verify() says is the better message.
    let (parsed, verified) =
        both(|| read_networks(&reader), || reader.verify()).map_err(Problem::from)?;
    verified.map_err(Problem::MmdbVerify)?;
    let parsed = parsed?;
    Ok(Parsed {
        build_time: metadata.build_time().ok(),
        ..parsed
    })
}

fn read_networks(reader: &Reader<&Vec<u8>>) -> Result<Parsed, Fault> {
    let mut countries = Countries::default();
    let mut v4 = Merger::new();
    let mut v6 = Merger::new();
    let mut networks_v4 = 0;
    let mut networks_v6 = 0;
    let options = match ipv4_root(reader).map_err(Problem::MmdbWalk)? {
        // The IPv4 addresses are a subtree. Other places of the tree (6to4, Teredo, IPv4-mapped) may
        // point at it; by default they are not walked, so every network comes once.
        Ipv4Root::Subtree => WithinOptions::default(),
        // No subtree, no aliases. The default would skip every record that is equal to that of
        // `::/96`, taking it for an alias.
        Ipv4Root::Record(country) => {
            if let Some(country) = countries.of(&country)? {
                v4.push(0, u32::MAX, country);
                networks_v4 += 1;
            }
            WithinOptions::default().include_aliased_networks()
        }
        Ipv4Root::Empty => WithinOptions::default().include_aliased_networks(),
    };
    // Dead ends are asked for as well, so that the bound below sees them.
    let options = options.include_networks_without_data();
    let networks = reader.networks(options).map_err(Problem::MmdbWalk)?;
    for (walked, network) in (0u64..).zip(networks) {
        // A broken tree that joins its branches again has more ways than could ever be walked. The
        // bound is that of verify(), which may still be on its own way.
        if walked > 3 * u64::from(reader.metadata().node_count) {
            let message = "the search tree has more ends than its nodes can have";
            return Err(Problem::MmdbWalk(MaxMindDbError::invalid_database(message)).into());
        }
        let network = network.map_err(Problem::MmdbWalk)?;
        let Some(country) = countries.of(&network)? else {
            continue;
        };
        // The walk is in ascending order, as the merger needs it.
        match network.network().map_err(Problem::MmdbWalk)? {
            IpNetwork::V4(prefix) => {
                networks_v4 += 1;
                v4.push(prefix.network().into(), prefix.broadcast().into(), country);
            }
            IpNetwork::V6(prefix) => {
                networks_v6 += 1;
                v6.push(prefix.network().into(), prefix.broadcast().into(), country);
            }
        }
    }
    if networks_v4 + networks_v6 == 0 {
        let detail = format!("it calls itself {:?}", reader.metadata().database_type);
        return Err(Problem::NoNetworks {
            detail: Some(detail),
        }
        .into());
    }
    Ok(Parsed {
        v4: v4.finish(),
        v6: v6.finish(),
        format: Format::Mmdb,
        build_time: None,
        networks_v4,
        networks_v6,
    })
}

/// What stands at `::/96` of an IPv6 tree, or at the root of an IPv4 tree.
enum Ipv4Root<'a> {
    Subtree,
    /// One IPv6 record that holds the whole IPv4 address space.
    Record(LookupResult<'a, &'a Vec<u8>>),
    Empty,
}

fn ipv4_root<'a>(reader: &'a Reader<&'a Vec<u8>>) -> Result<Ipv4Root<'a>, MaxMindDbError> {
    let lowest = reader.lookup(IpAddr::V4(Ipv4Addr::UNSPECIFIED))?;
    Ok(match lowest.network()? {
        IpNetwork::V4(_) => Ipv4Root::Subtree,
        IpNetwork::V6(_) if lowest.has_data() => Ipv4Root::Record(lowest),
        IpNetwork::V6(_) => Ipv4Root::Empty,
    })
}

/// The country of each record, decoded once: a country database has some 250 records for a million
/// networks.
#[derive(Default)]
struct Countries {
    by_offset: HashMap<usize, Option<CountryCode>>,
    /// Neighbours often share their record, which saves the hash.
    latest: Option<(usize, Option<CountryCode>)>,
}

impl Countries {
    fn of(&mut self, network: &LookupResult<'_, &Vec<u8>>) -> Result<Option<CountryCode>, Fault> {
        let Some(offset) = network.offset() else {
            return Ok(None);
        };
        if let Some((_, country)) = self.latest.filter(|(latest, _)| *latest == offset) {
            return Ok(country);
        }
        let country = match self.by_offset.get(&offset) {
            Some(country) => *country,
            None => {
                let country = decode_country(network)?;
                self.by_offset.insert(offset, country);
                country
            }
        };
        self.latest = Some((offset, country));
        Ok(country)
    }
}

/// The parts of a record that may name the country.
///
/// `represented_country` is left out on purpose: it is the country that the *users* of a network
/// stand for, such as a military base abroad, and not where the network is.
#[derive(Deserialize)]
struct Record<'a> {
    /// IPinfo Lite, and the npm editions of DB-IP and GeoLite2.
    #[serde(borrow, default)]
    country_code: Option<&'a str>,
    #[serde(borrow, default)]
    country: Option<Country<'a>>,
    /// MaxMind: the country that the registry names, which is there also where `country` is not.
    #[serde(borrow, default)]
    registered_country: Option<Country<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Country<'a> {
    /// MaxMind, DB-IP, IP2Location.
    Nested {
        #[serde(borrow, default)]
        iso_code: Option<&'a str>,
    },
    /// IPinfo.
    Plain(&'a str),
}

impl<'a> Country<'a> {
    fn code(self) -> Option<&'a str> {
        match self {
            Self::Nested { iso_code } => iso_code,
            Self::Plain(code) => Some(code),
        }
    }
}

fn decode_country(network: &LookupResult<'_, &Vec<u8>>) -> Result<Option<CountryCode>, Fault> {
    let name = || {
        network
            .network()
            .map_or("?".to_owned(), |name| name.to_string())
    };
    let record: Option<Record<'_>> = network.decode().map_err(|source| Problem::MmdbRecord {
        network: name(),
        source,
    })?;
    let code = record.and_then(|record| {
        record
            .country_code
            .or_else(|| record.country.and_then(Country::code))
            .or_else(|| record.registered_country.and_then(Country::code))
    });
    code.map_or(Ok(None), |code| {
        field::country(code.as_bytes()).map_err(|problem| Fault {
            at: None,
            problem: Problem::MmdbCountry {
                network: name(),
                problem: Box::new(problem),
            },
        })
    })
}

/// Repeats the metadata behind the old ones, with a type and a description.
///
/// `verify()` demands both, and stops before it has looked at the tree if one is missing. Some
/// databases in wide use (those of npm's `@ip-location-db`) describe nothing, and that is no reason
/// to trust their trees unseen. Readers take the last metadata of a file.
fn append_described_metadata(bytes: &mut Vec<u8>, metadata: &Metadata) {
    bytes.extend_from_slice(METADATA_MARKER);
    // Types and sizes: https://maxmind.github.io/MaxMind-DB/#output-data-section
    const MAP_OF_9: u8 = 7 << 5 | 9;
    const MAP_OF_1: u8 = 7 << 5 | 1;
    const EMPTY_ARRAY: [u8; 2] = [0, 11 - 7];
    bytes.push(MAP_OF_9);
    let version = [
        (
            "binary_format_major_version",
            metadata.binary_format_major_version,
        ),
        (
            "binary_format_minor_version",
            metadata.binary_format_minor_version,
        ),
        ("ip_version", metadata.ip_version),
        ("record_size", metadata.record_size),
    ];
    for (key, value) in version {
        push_text(bytes, key);
        bytes.push(5 << 5 | 2);
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    push_text(bytes, "node_count");
    bytes.push(6 << 5 | 4);
    bytes.extend_from_slice(&metadata.node_count.to_be_bytes());
    push_text(bytes, "build_epoch");
    bytes.extend_from_slice(&[8, 9 - 7]);
    bytes.extend_from_slice(&metadata.build_epoch.to_be_bytes());
    push_text(bytes, "languages");
    bytes.extend_from_slice(&EMPTY_ARRAY);
    push_text(bytes, "database_type");
    push_text(bytes, "unnamed");
    push_text(bytes, "description");
    bytes.push(MAP_OF_1);
    push_text(bytes, "en");
    push_text(bytes, "undescribed");
}

/// Strings below 29 bytes, as all of ours are, carry their length in the control byte.
fn push_text(bytes: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() < 29);
    bytes.push(2 << 5 | text.len() as u8);
    bytes.extend_from_slice(text.as_bytes());
}

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::super::{Database, DatabaseInfo, Source, builtin};
use super::*;

fn database(v4: Vec<Range<u32>>, v6: Vec<Range<u128>>) -> Database {
    Database {
        v4,
        v6,
        info: DatabaseInfo {
            source: Source::Builtin,
            format: Format::Snapshot,
            build_time: Some(UNIX_EPOCH + Duration::from_secs(1_780_345_978)),
            networks_v4: 7,
            networks_v6: 9,
            attribution: None,
            digest: None,
            unterminated: false,
        },
    }
}

fn code(letters: &str) -> CountryCode {
    CountryCode::parse(letters).unwrap()
}

/// Disjoint, merged ranges from any list of bounds.
fn merged<A: Address>(mut bounds: Vec<A>, countries: &[u8]) -> Vec<Range<A>> {
    bounds.sort();
    bounds.dedup();
    let mut merger = Merger::new();
    for (pair, country) in bounds.chunks_exact(2).zip(countries.iter().cycle()) {
        let country = CountryCode::new([b'A' + country % 26, b'A' + country / 26 % 26]).unwrap();
        merger.push(pair[0], pair[1], country);
    }
    merger.finish()
}

proptest! {
    #[test]
    fn decoding_gives_back_what_was_encoded(
        v4 in prop::collection::vec(prop_oneof![any::<u32>(), 0u32..64, Just(u32::MAX)], 0..64),
        v6 in prop::collection::vec(prop_oneof![any::<u128>(), 0u128..64, Just(u128::MAX)], 0..64),
        countries in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let database = database(merged(v4, &countries), merged(v6, &countries));
        let bytes = encode(&database).unwrap();
        prop_assert_eq!(&bytes, &encode(&database).unwrap());
        let decoded = decode(&bytes).unwrap().into_database(Source::Builtin);
        prop_assert_eq!(&decoded, &database);
        let stored = encode_stored(&database).unwrap();
        prop_assert_eq!(&read(&stored, Source::Builtin).unwrap(), &database);
        // The CRC sees every change of a bit, which a disk may make to what is kept.
        let mut flipped = stored.clone();
        let bit = stored.len() * 3 % (stored.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(read(&flipped, Source::Builtin).is_err());
        prop_assert!(read(&stored[..stored.len() - 1], Source::Builtin).is_err());
    }

    #[test]
    fn databases_without_a_date_can_be_stored(first in any::<u32>()) {
        let mut database = database(merged(vec![first, u32::MAX], &[7]), Vec::new());
        database.info.build_time = None;
        let stored = encode_stored(&database).unwrap();
        prop_assert_eq!(&read(&stored, Source::Builtin).unwrap(), &database);
        prop_assert!(encode(&database).is_err());
    }

    #[test]
    fn garbage_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(decode(&[MAGIC, &bytes[..]].concat()).is_err());
        prop_assert!(decode(&with_checksum(&bytes)).is_err());
    }
}

/// Makes the checksum right, so that the checks behind it are reached.
fn with_checksum(body: &[u8]) -> Vec<u8> {
    [MAGIC, &crc32fast::hash(body).to_le_bytes()[..], body].concat()
}

#[test]
fn stored_columns_of_another_length_are_refused() {
    let stored = encode_stored(&small()).unwrap();
    let body = &stored[MAGIC.len() + 4..];
    assert_eq!(decode(&with_checksum(body)).unwrap().v4, small().v4);
    for body in [&[body, &[0]].concat(), &body[..body.len() - 1]] {
        let error = decode(&with_checksum(body)).err();
        assert_eq!(error, Some(SnapshotError::Header("number of entries")));
    }
}

fn small() -> Database {
    let range4 = |first, last, country| Range {
        first,
        last,
        country: code(country),
    };
    let v4 = vec![
        range4(1, 1, "MO"),
        range4(7, 18, "CN"),
        range4(19, u32::MAX, "MO"),
    ];
    let v6 = vec![Range {
        first: 0,
        last: u128::MAX,
        country: code("FR"),
    }];
    database(v4, v6)
}

#[test]
fn the_ends_of_the_address_space_survive() {
    let decoded = decode(&encode(&small()).unwrap()).unwrap();
    assert_eq!(decoded.into_database(Source::Builtin), small());
}

#[test]
fn every_flipped_bit_and_every_truncation_is_an_error() {
    let bytes = encode(&small()).unwrap();
    for at in 0..bytes.len() {
        assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(decode(&flipped).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn flips_behind_a_right_checksum_never_panic() {
    let bytes = encode(&small()).unwrap();
    let body = &bytes[12..];
    for at in 0..body.len() {
        let _ = decode(&with_checksum(&body[..at]));
        for value in 0..=255 {
            let mut changed = body.to_vec();
            changed[at] = value;
            if let Ok(parsed) = decode(&with_checksum(&changed)) {
                let pairs = parsed.v4.windows(2);
                assert!(pairs.into_iter().all(|pair| pair[0].last < pair[1].first));
            }
        }
    }
}

/// Each field of the header that lies, with the error that says so.
#[test]
fn header_errors_name_the_field() {
    let bytes = encode(&small()).unwrap();
    let body = &bytes[12..];
    let cases: &[(&str, usize, &[u8], SnapshotError)] = &[
        ("version", 0, &[3, 0], SnapshotError::Version(3)),
        (
            "build time",
            2,
            &[0xff; 8],
            SnapshotError::Header("build time"),
        ),
        (
            "ranges",
            14,
            &[0xff; 4],
            SnapshotError::Header("number of ranges"),
        ),
        (
            "entries",
            18,
            &[0xff; 4],
            SnapshotError::Header("number of entries"),
        ),
        (
            "mantissas",
            22,
            &[0xff; 4],
            SnapshotError::Header("bytes of mantissas"),
        ),
        (
            "ranges off by one",
            14,
            &[4],
            SnapshotError::Ranges {
                family: "IPv4",
                expected: 4,
                found: 3,
            },
        ),
        ("country", 43, b"?", SnapshotError::Header("country code")),
    ];
    for (name, at, patch, expected) in cases {
        let mut changed = body.to_vec();
        changed[*at..at + patch.len()].copy_from_slice(patch);
        assert_eq!(
            decode(&with_checksum(&changed)).err().as_ref(),
            Some(expected),
            "{name}"
        );
    }
    assert_eq!(decode(b"GARBAGE!").err(), Some(SnapshotError::Magic));
    assert_eq!(decode(b"CERCOGEO").err(), Some(SnapshotError::CutOff));
}

#[test]
fn the_embedded_world_is_the_one_that_world_toml_describes() {
    let world = builtin().unwrap();
    let about = include_str!("../../../data/world.toml");
    let number = |key: &str| -> u64 {
        let line = about
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.unwrap().parse().unwrap()
    };
    assert_eq!(world.info.networks_v4, number("networks_v4"));
    assert_eq!(world.info.networks_v6, number("networks_v6"));
    assert_eq!(world.v4.len() as u64, number("ranges_v4"));
    assert_eq!(world.v6.len() as u64, number("ranges_v6"));
    assert_eq!(world.covered_v4(), number("addresses_v4"));
    assert_eq!(world.countries().len() as u64, number("countries"));
    let attribution = world.info.attribution.unwrap();
    assert!(attribution.contains("IP Geolocation by DB-IP"));
    assert!(about.contains(attribution));
    // Macau's incumbent has held this block since the 1990s.
    let macau = world.lookup("202.175.0.1".parse().unwrap());
    assert_eq!(macau.country, Some(code("MO")));
}

use std::time::{Duration, UNIX_EPOCH};

use super::mmdb_writer::{Value, Writer, flat, nested, text};
use super::*;

fn read(bytes: Vec<u8>) -> Result<Database, GeoError> {
    read_bytes(
        bytes,
        Source::File("test.mmdb".into()),
        &ReadOptions::default(),
    )
}

/// `first-last CC` of every range, IPv4 before IPv6.
pub(super) fn ranges(database: &Database) -> Vec<String> {
    fn written<A: Address>(range: &Range<A>) -> String {
        format!(
            "{}-{} {}",
            range.first.to_ip(),
            range.last.to_ip(),
            range.country
        )
    }
    let v4 = database.v4.iter().map(written);
    v4.chain(database.v6.iter().map(written)).collect()
}

fn map(entries: &[(&'static str, Value)]) -> Value {
    Value::Map(entries.to_vec())
}

#[test]
fn every_record_shape_names_its_country() {
    let iso = |code: &str| map(&[("iso_code", text(code))]);
    let cases: &[(&str, Value, Option<&str>)] = &[
        ("MaxMind, DB-IP", nested("country", "MO"), Some("MO")),
        (
            "MaxMind, registered only",
            nested("registered_country", "MO"),
            Some("MO"),
        ),
        (
            "MaxMind, both",
            map(&[("registered_country", iso("US")), ("country", iso("MO"))]),
            Some("MO"),
        ),
        (
            "MaxMind, country without a code",
            map(&[
                ("country", map(&[("geoname_id", Value::U32(7))])),
                ("registered_country", iso("MO")),
            ]),
            Some("MO"),
        ),
        (
            "MaxMind, represented only",
            nested("represented_country", "US"),
            None,
        ),
        (
            "IPinfo",
            map(&[("country", text("MO")), ("country_name", text("Macao"))]),
            Some("MO"),
        ),
        (
            "IPinfo Lite",
            map(&[("country", text("Macao")), ("country_code", text("MO"))]),
            Some("MO"),
        ),
        ("flat", flat("MO"), Some("MO")),
        ("flat, lower case", flat("mo"), Some("MO")),
        ("no country", flat("ZZ"), None),
        ("region", flat("EU"), None),
        ("empty", flat(""), None),
        ("something else", map(&[("asn", Value::U32(7))]), None),
    ];
    for (name, record, expected) in cases {
        let mut writer = Writer::new(6, 28);
        writer.insert_v4([9, 0, 0, 0], 8, &flat("US"));
        writer.insert_v4([192, 0, 2, 0], 24, record);
        let database = read(writer.finish()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut all = vec!["9.0.0.0-9.255.255.255 US".to_owned()];
        all.extend(expected.map(|code| format!("192.0.2.0-192.0.2.255 {code}")));
        assert_eq!(ranges(&database), all, "{name}");
        assert_eq!(database.info.networks_v4, all.len() as u64, "{name}");
    }
}

#[test]
fn all_record_sizes_and_both_tree_kinds_read_alike() {
    for (ip_version, described) in [(4, true), (6, true), (4, false), (6, false)] {
        for record_size in [24, 28, 32] {
            let mut writer = Writer::new(ip_version, record_size);
            if !described {
                writer = writer.undescribed();
            }
            let mut expected = vec![
                "1.0.0.0-1.0.1.255 AU",
                "1.0.2.0-1.0.2.255 MO",
                "255.255.255.255-255.255.255.255 AU",
            ];
            writer.insert_v4([1, 0, 0, 0], 24, &flat("AU"));
            writer.insert_v4([1, 0, 1, 0], 24, &nested("country", "AU"));
            writer.insert_v4([1, 0, 2, 0], 24, &flat("MO"));
            writer.insert_v4([255; 4], 32, &flat("AU"));
            if ip_version == 6 {
                writer.insert(0x2001_0db8 << 96, 32, &flat("MO"));
                writer.insert(u128::MAX, 128, &flat("AU"));
                expected.push("2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff MO");
                expected.push(
                    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff AU",
                );
            }
            let database = read(writer.finish()).unwrap();
            assert_eq!(
                ranges(&database),
                expected,
                "version {ip_version}, {record_size} bits"
            );
            let info = DatabaseInfo {
                source: Source::File("test.mmdb".into()),
                format: Format::Mmdb,
                build_time: Some(UNIX_EPOCH + Duration::from_secs(1_780_000_000)),
                networks_v4: 4,
                networks_v6: if ip_version == 6 { 2 } else { 0 },
                attribution: None,
                digest: database.info.digest,
                unterminated: false,
            };
            assert_eq!(database.info, info);
        }
    }
}

#[test]
fn branches_that_join_again_are_refused_and_not_walked_to_the_end() {
    for (ip_version, depth) in [(4, 32), (6, 128)] {
        let writer = Writer::new(ip_version, 24).braided(depth, &flat("AU"));
        let error = read(writer.finish()).unwrap_err().to_string();
        assert!(
            error.contains("verify() of the MaxMind DB failed"),
            "{error}"
        );
    }
}

#[test]
fn aliases_of_the_ipv4_tree_are_not_read_again() {
    let mut writer = Writer::new(6, 24);
    writer.insert_v4([1, 0, 0, 0], 8, &flat("AU"));
    writer.insert(0x2a00 << 112, 16, &flat("FR"));
    writer.alias_v4(0xffff << 32, 96);
    writer.alias_v4(0x2001 << 112, 32);
    writer.alias_v4(0x2002 << 112, 16);
    let database = read(writer.finish()).unwrap();
    assert_eq!(
        ranges(&database),
        [
            "1.0.0.0-1.255.255.255 AU",
            "2a00::-2a00:ffff:ffff:ffff:ffff:ffff:ffff:ffff FR"
        ]
    );
    assert_eq!(
        (database.info.networks_v4, database.info.networks_v6),
        (1, 1)
    );
}

#[test]
fn records_that_equal_that_of_the_ipv4_space_are_no_aliases() {
    let mut writer = Writer::new(6, 24);
    // `::/8` is one record, so there is no IPv4 subtree; 2a00::/16 has the very same record.
    writer.insert(0, 8, &flat("FR"));
    writer.insert(0x2a00 << 112, 16, &flat("FR"));
    let database = read(writer.finish()).unwrap();
    assert_eq!(
        ranges(&database),
        [
            "0.0.0.0-255.255.255.255 FR",
            "::-ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff FR",
            "2a00::-2a00:ffff:ffff:ffff:ffff:ffff:ffff:ffff FR",
        ]
    );
}

#[test]
fn undescribed_trees_are_verified_as_well() {
    let mut writer = Writer::new(4, 24).undescribed();
    writer.insert_v4([1, 0, 0, 0], 8, &flat("AU"));
    let mut bytes = writer.finish();
    // The separator stands behind the 8 nodes of 6 bytes; only verify() looks at it.
    bytes[8 * 6] = 1;
    let error = read(bytes).unwrap_err().to_string();
    assert!(
        error.contains("verify() of the MaxMind DB failed"),
        "{error}"
    );
}

#[test]
fn a_truncated_database_is_an_error_wherever_it_ends() {
    let mut writer = Writer::new(6, 28);
    let codes = ["AU", "MO", "CN", "US", "FR"];
    for index in 0..2000u32 {
        let [_, _, a, b] = index.to_be_bytes();
        writer.insert_v4(
            [1 + a, b, 0, 0],
            16,
            &nested("country", codes[index as usize % 5]),
        );
        let v6 = (0x2000_0000 + u128::from(index)) << 96;
        writer.insert(v6, 32, &flat(codes[index as usize % 3]));
    }
    let whole = writer.finish();
    assert!(read(whole.clone()).is_ok());
    // 200 places over the file, and every one of the last 400, where the metadata stand.
    let step = whole.len() / 200;
    let near_the_end = whole.len() - 400..whole.len();
    for len in (0..200).map(|place| place * step).chain(near_the_end) {
        assert!(
            read(whole[..len].to_vec()).is_err(),
            "cut at {len} of {}",
            whole.len()
        );
    }
}

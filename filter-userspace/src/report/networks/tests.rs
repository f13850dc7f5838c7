use std::fs;

use ipnetwork::IpNetwork;

use super::*;
use crate::geo::mmdb_writer::{Value, Writer, flat, text};

fn flat_asn(number: u32, name: &str) -> Value {
    Value::Map(vec![
        ("autonomous_system_number", Value::U32(number)),
        ("autonomous_system_organization", text(name)),
    ])
}

fn ipinfo(number: &str, name: &str) -> Value {
    Value::Map(vec![("asn", text(number)), ("as_name", text(name))])
}

fn insert(writer: &mut Writer, network: &str, value: &Value) {
    match network.parse().unwrap() {
        IpNetwork::V4(it) => writer.insert_v4(it.ip().octets(), it.prefix().into(), value),
        IpNetwork::V6(it) => writer.insert(it.ip().to_bits(), it.prefix().into(), value),
    }
}

fn opened(records: &[(&str, Value)]) -> Result<Networks, String> {
    let mut writer = Writer::new(6, 28);
    for (network, value) in records {
        insert(&mut writer, network, value);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("asn.mmdb");
    fs::write(&path, writer.finish()).unwrap();
    Networks::open(&path).map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
}

#[test]
fn networks_are_named_in_the_shapes_of_common_vendors() {
    let networks = opened(&[
        ("198.51.100.0/24", flat_asn(64_496, "Example Networks")),
        ("203.0.113.0/24", ipinfo("AS64511", "Other Networks")),
        ("2001:db8::/32", flat_asn(64_500, "")),
    ])
    .unwrap();
    let cases = [
        ("198.51.100.7", Some("Example Networks (AS64496)")),
        ("203.0.113.7", Some("Other Networks (AS64511)")),
        ("2001:db8:2::", Some("AS64500")),
        ("192.0.2.1", None),
    ];
    for (address, expected) in cases {
        let found = networks.of(address.parse().unwrap());
        assert_eq!(
            found.map(|it| it.to_string()).as_deref(),
            expected,
            "{address}"
        );
    }
    assert_eq!(networks.about().words(), "Test-Country, built 2026-05-28");
}

#[test]
fn what_names_no_networks_is_refused_and_says_why() {
    let error = opened(&[("198.51.100.0/24", flat("MO"))]).unwrap_err();
    assert_eq!(
        error,
        "FILE names no network: it calls itself \"Test-Country\""
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("asn.mmdb");
    let open = || Networks::open(&path).unwrap_err().to_string();
    assert!(open().contains("No such file"), "{}", open());
    fs::write(&path, b"<html>404</html>").unwrap();
    assert!(open().contains("is no sound MaxMind DB"), "{}", open());
    let mut writer = Writer::new(6, 28);
    insert(&mut writer, "198.51.100.0/24", &flat_asn(1, "x"));
    let whole = writer.finish();
    // Part of the tree is gone, and the metadata are where they belong.
    fs::write(&path, &whole[200..]).unwrap();
    assert!(open().contains("is no sound MaxMind DB"), "{}", open());
}

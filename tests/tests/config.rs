//! Every bad config and every bad database ends in an error that says where and what to do, and the
//! running policy stays.

use integration_tests::site::{ABROAD, MACAU, Site, packets};
use std::fs;

/// `check` and `reload` refuse `config` with all of `expected`, and nothing has changed.
fn assert_refused(site: &Site, cerco: &integration_tests::daemon::Cerco, case: &Case) {
    let name = case.name;
    site.send(ABROAD[0], 1).unwrap();
    let before = cerco.json(&["status"]);
    cerco.write_config(&case.config).unwrap();
    let check = cerco.try_cli(&["check"]);
    assert_eq!(check.code, 2, "{name}: {check:?}");
    let reload = cerco.try_cli(&["reload"]);
    assert!(matches!(reload.code, 1 | 2), "{name}: {reload:?}");
    for words in &case.expected {
        assert!(
            check.stderr.contains(words),
            "{name}: no {words:?} in check: {}",
            check.stderr
        );
        assert!(
            reload.stderr.contains(words),
            "{name}: no {words:?} in reload: {}",
            reload.stderr
        );
    }
    assert!(
        !reload.stderr.contains("error: error:"),
        "{name}: {reload:?}"
    );
    let after = cerco.json(&["status"]);
    let error = after["last_reload_error"].as_str().unwrap_or_default();
    assert!(error.contains(&case.expected[0]), "{name}: {error}");
    assert_eq!(after["published"], before["published"], "{name}");
    assert_eq!(
        after["allowed_countries"], before["allowed_countries"],
        "{name}"
    );
    assert_eq!(
        packets(&after, "country_denied", "drop"),
        packets(&before, "country_denied", "drop"),
        "{name}"
    );
    let text = cerco.cli(&["status"]).unwrap();
    assert!(
        text.contains("the earlier policy stays in force"),
        "{name}: {text}"
    );
}

struct Case {
    name: &'static str,
    config: String,
    expected: Vec<String>,
}

fn case(name: &'static str, config: String, expected: &[&str]) -> Case {
    Case {
        name,
        config,
        expected: expected.iter().map(|&words| words.to_owned()).collect(),
    }
}

#[test]
fn bad_configs_are_refused_and_the_policy_stays() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let more = |text| site.config_with("", text);
    let cases = [
        case(
            "unknown key",
            site.config_with("mod = 1", ""),
            &[
                "unknown key `mod`",
                "cerco.toml:3:1",
                "did you mean `mode`?",
            ],
        ),
        case(
            "unknown country",
            more("UK = \"allow\""),
            &["did you mean GB (United Kingdom)?", "cerco.toml:8:1"],
        ),
        case("no TOML", more("[policy"), &["not TOML", "cerco.toml:8:"]),
        case(
            "unknown action",
            more("US = \"maybe\""),
            &["maybe", "cerco.toml:8:6"],
        ),
        case(
            "unknown limit",
            more("US = \"allow:gone\""),
            &["gone", "cerco.toml:8:6"],
        ),
        case(
            "limit out of range",
            more("[limits.a]\npackets_per_second = 0"),
            &["packets_per_second", "out of range", "1 to 1000000"],
        ),
        case(
            "host bits",
            more("[rules]\ndeny = [\"192.0.2.1/24\"]"),
            &["192.0.2.1/24", "192.0.2.0/24", "cerco.toml:9:9"],
        ),
        case(
            "no interfaces",
            "mode = \"observe\"".into(),
            &["interfaces"],
        ),
        case(
            "wrong mode",
            site.config_with("mode = \"enforced\"", ""),
            &["enforced", "did you mean \"enforce\"?"],
        ),
    ];
    for case in &cases {
        assert_refused(&site, &cerco, case);
    }
    cerco.write_config(&site.config()).unwrap();
    cerco.cli(&["check"]).unwrap();
    cerco.cli(&["reload"]).unwrap();
    let status = cerco.json(&["status"]);
    assert_eq!(status["last_reload_error"], serde_json::Value::Null);
    assert_eq!(
        packets(&status, "country_denied", "drop"),
        cases.len() as u64
    );
}

#[test]
fn bad_databases_are_refused_and_the_policy_stays() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let path = |name: &str| site.path(name).display().to_string();
    let good = fs::read(site.path("database.csv")).unwrap();
    let with = |name: &str| site.config().replace("database.csv", name);
    site.write("half.csv", &good[..good.len() - 8]).unwrap();
    site.write(
        "page.mmdb",
        "<!DOCTYPE html><html><body>429 Too Many Requests</body></html>",
    )
    .unwrap();
    site.write("empty.csv", "").unwrap();
    site.write(
        "country.csv",
        "192.0.2.0,192.0.2.255,MO\n198.51.100.0,198.51.100.255,Q1\n",
    )
    .unwrap();
    site.write("turned.csv", "192.0.2.255,192.0.2.0,MO\n")
        .unwrap();
    site.write("list.txt", "192.0.2.0/24\n198.51.100.0/24\n")
        .unwrap();
    site.write("zeroes.mmdb", vec![0; 8192]).unwrap();
    let cases = [
        case(
            "missing",
            with("gone.csv"),
            &[&path("gone.csv"), "No such file"],
        ),
        case("truncated", with("half.csv"), &[&path("half.csv"), "4"]),
        case(
            "HTML page",
            with("page.mmdb"),
            &[&path("page.mmdb"), "this looks like a web page"],
        ),
        case("empty", with("empty.csv"), &[&path("empty.csv"), "empty"]),
        case(
            "no country code",
            with("country.csv"),
            &[&path("country.csv"), "2", "Q1"],
        ),
        case(
            "range turned around",
            with("turned.csv"),
            &[&path("turned.csv"), "1"],
        ),
        case(
            "list without country",
            with("list.txt"),
            &[&path("list.txt"), "country"],
        ),
        case("zeroes", with("zeroes.mmdb"), &[&path("zeroes.mmdb")]),
        case("a directory", with("."), &["not a regular file"]),
    ];
    for case in &cases {
        assert_refused(&site, &cerco, case);
    }
    assert_eq!(cerco.json(&["explain", MACAU[0]])["verdict"], "pass");
    let status = cerco.json(&["status"]);
    assert_eq!(
        packets(&status, "country_denied", "drop"),
        cases.len() as u64
    );
}

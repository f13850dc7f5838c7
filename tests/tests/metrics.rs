//! The metrics as a scraper sees them, beside what `status` says.

use integration_tests::{
    daemon::Cerco,
    http, poll,
    site::{ABROAD, MACAU, Site, packets},
};
use std::{fs, net::TcpListener, time::Duration};

const LIMIT: Duration = Duration::from_secs(20);

/// `METHOD PATH` at the daemon's address: status line and headers, and the body.
fn http(site: &Site, method: &str, path: &str) -> Option<(String, String)> {
    let request = format!("{method} {path} HTTP/1.1");
    let answer = http::ask(&site.host, Cerco::METRICS, &request, "").ok()?;
    Some((answer.head, answer.body))
}

fn value(body: &str, series: &str) -> u64 {
    body.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no {series} in\n{body}"))
        .parse()
        .unwrap()
}

#[test]
fn scrape_says_what_status_says() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    site.send(ABROAD[0], 30).unwrap();
    site.send(ABROAD[1], 12).unwrap();
    site.send(MACAU[0], 9).unwrap();
    cerco.cli(&["ban", "198.51.100.99", "--for", "1h"]).unwrap();
    let status = cerco.json(&["status"]);
    let (head, body) = http(&site, "GET", "/metrics").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let mut compared = 0;
    for line in status["totals"].as_array().unwrap() {
        let (reason, verdict) = (&line["reason"], &line["verdict"]);
        // Multicast of the two kernels comes at any time.
        if reason == "essential" || reason == "not_ip" || reason == "private_denied" {
            continue;
        }
        for (name, unit) in [("packets", "packets"), ("bytes", "bytes")] {
            let series = format!(
                "cerco_{name}_total{{interface=\"eth0\",verdict={verdict},reason={reason}}}"
            );
            assert_eq!(
                value(&body, &series),
                line[unit].as_u64().unwrap(),
                "{series}"
            );
            compared += 1;
        }
    }
    assert!(compared > 60, "{compared}");
    assert_eq!(packets(&status, "country_denied", "drop"), 42);
    let series = "cerco_country_packets_total{country=\"US\",verdict=\"drop\"}";
    assert_eq!(value(&body, series), 42);
    let series = "cerco_country_packets_total{country=\"MO\",verdict=\"pass\"}";
    assert_eq!(value(&body, series), 9);
    assert_eq!(value(&body, "cerco_bans"), 1);
    assert_eq!(value(&body, "cerco_mode{mode=\"enforce\"}"), 1);
    assert_eq!(value(&body, "cerco_mode{mode=\"observe\"}"), 0);
    assert_eq!(value(&body, "cerco_database_networks{family=\"ipv4\"}"), 2);
    assert_eq!(value(&body, "cerco_reload_failures_total"), 0);
    for address in ABROAD.iter().chain(&MACAU) {
        assert!(!body.contains(address), "an address is no label: {address}");
    }
    for (method, path, expected) in [
        ("GET", "/", "HTTP/1.1 404"),
        ("POST", "/metrics", "HTTP/1.1 405"),
    ] {
        let (head, _) = http(&site, method, path).unwrap();
        assert!(head.starts_with(expected), "{method} {path}: {head}");
    }
}

#[test]
fn connections_of_the_host_and_lost_trackers_are_counted() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let scraped = || {
        let (_, body) = http(&site, "GET", "/metrics").unwrap();
        [
            "cerco_replies_enabled",
            "cerco_flows{protocol=\"tcp\"}",
            "cerco_flows{protocol=\"udp\"}",
            "cerco_flows{protocol=\"icmp\"}",
            "cerco_tracker_faults",
        ]
        .map(|series| value(&body, series))
    };
    assert_eq!(scraped(), [1, 0, 0, 0, 0]);
    let opened = site.open_connections().unwrap();
    // `status` counts anew; a scrape does not.
    cerco.json(&["status"]);
    assert_eq!(scraped(), [1, 1, 1, 0, 0]);
    drop(opened);
    fs::remove_file(cerco.pins().join("v1/tracking/out-eth0")).unwrap();
    assert_eq!(scraped(), [1, 1, 1, 0, 1]);
    let off = "[replies]\nenabled = false\n";
    cerco.write_config(&site.config_with("", off)).unwrap();
    cerco.stop().unwrap();
    cerco.run().unwrap();
    assert_eq!(scraped(), [0; 5]);
}

#[test]
fn way_of_attaching_is_told_for_each_interface() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let scraped = || {
        let (_, body) = http(&site, "GET", "/metrics").unwrap();
        [
            "cerco_interface_attached{interface=\"eth0\"}",
            "cerco_interface_attach_mode{interface=\"eth0\",mode=\"native\"}",
            "cerco_interface_attach_mode{interface=\"eth0\",mode=\"generic\"}",
        ]
        .map(|series| value(&body, series))
    };
    assert_eq!(scraped(), [1, 1, 0]);
    cerco.stop().unwrap();
    cerco
        .write_config(&site.config_with("attach = \"generic\"\n", ""))
        .unwrap();
    cerco.run().unwrap();
    assert_eq!(scraped(), [1, 0, 1]);
    site.host.ip("link del eth0").unwrap();
    poll::until("see the gate missing", LIMIT, || {
        (scraped() == [0, 0, 0]).then_some(())
    })
    .unwrap();
}

#[test]
fn changes_of_the_policy_are_told() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let scraped = || {
        let (_, body) = http(&site, "GET", "/metrics").unwrap();
        let published = value(&body, "cerco_policy_published_timestamp_seconds");
        let others = ["cerco_trial_pending", "cerco_runtime_rules"];
        (published, others.map(|series| value(&body, series)))
    };
    let (begun, others) = scraped();
    assert_eq!(others, [0, 0]);
    cerco.cli(&["allow", "US", "--confirm", "1h"]).unwrap();
    // Seconds have to pass, or the time would be the same.
    poll::until("see a later time", LIMIT, || {
        cerco.cli(&["rollback"]).unwrap();
        cerco.cli(&["allow", "US", "--confirm", "1h"]).unwrap();
        (scraped().0 > begun).then_some(())
    })
    .unwrap();
    assert_eq!(scraped().1, [1, 1]);
    cerco.cli(&["confirm"]).unwrap();
    assert_eq!(scraped().1, [0, 1]);
    cerco.cli(&["rules", "remove", "US"]).unwrap();
    assert_eq!(scraped().1, [0, 0]);
}

#[test]
fn every_country_is_there_before_its_first_packet() {
    let site = Site::new().unwrap();
    let _cerco = site.start().unwrap();
    let (_, body) = http(&site, "GET", "/metrics").unwrap();
    let prefix = "cerco_country_packets_total{country=\"";
    let countries = body.lines().filter_map(|line| line.strip_prefix(prefix));
    let mut seen: Vec<&str> = countries.map(|rest| &rest[..2]).collect();
    seen.dedup();
    assert_eq!(seen.len(), 250, "{seen:?}");
    for country in ["AD", "XK", "ZW"] {
        for verdict in ["pass", "drop", "would_drop"] {
            let series = format!("{prefix}{country}\",verdict=\"{verdict}\"}}");
            assert_eq!(value(&body, &series), 0);
        }
    }
}

#[test]
fn refused_reloads_are_counted() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let failures = || {
        let (_, body) = http(&site, "GET", "/metrics").unwrap();
        value(&body, "cerco_reload_failures_total")
    };
    assert_eq!(failures(), 0);
    cerco.write_config("interfaces = 7").unwrap();
    for expected in 1..=2 {
        assert_eq!(cerco.try_cli(&["reload"]).code, 2);
        assert_eq!(failures(), expected);
    }
    cerco.write_config(&site.config()).unwrap();
    assert_eq!(cerco.try_cli(&["reload"]).code, 0);
    assert_eq!(failures(), 2);
}

#[test]
fn taken_port_does_not_keep_the_gate_from_standing() {
    let site = Site::new().unwrap();
    let taken = site
        .host
        .run(|| TcpListener::bind(Cerco::METRICS))
        .unwrap()
        .unwrap();
    let cerco = site.start().unwrap();
    site.send(ABROAD[0], 3).unwrap();
    let status = cerco.json(&["status"]);
    assert_eq!(packets(&status, "country_denied", "drop"), 3);
    let warnings = status["warnings"].to_string();
    for words in ["no metrics", Cerco::METRICS, "in use", "[metrics] listen"] {
        assert!(warnings.contains(words), "{words}: {warnings}");
    }
    cerco.assert_logs("WARN no metrics");
    drop(taken);
    poll::until("see the metrics come", LIMIT, || {
        http(&site, "GET", "/metrics").map(drop)
    })
    .unwrap();
    let warnings = cerco.json(&["status"])["warnings"].to_string();
    assert!(!warnings.contains("no metrics"), "{warnings}");
}

//! The metrics as a scraper sees them, beside what `status` says.

use integration_tests::{
    daemon::Cerco,
    poll,
    site::{ABROAD, MACAU, Site, packets},
};
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(20);

/// `METHOD PATH` at the daemon's address: status line and headers, and the body.
fn http(site: &Site, method: &str, path: &str) -> Option<(String, String)> {
    let mut stream = site
        .host
        .run(|| TcpStream::connect(Cerco::METRICS))
        .unwrap()
        .ok()?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Some((head.to_owned(), body.to_owned()))
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
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
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
    let log = cerco.log();
    assert!(log.contains("WARN no metrics"), "{log}");
    drop(taken);
    poll::until("see the metrics come", LIMIT, || {
        http(&site, "GET", "/metrics").map(drop)
    })
    .unwrap();
    let warnings = cerco.json(&["status"])["warnings"].to_string();
    assert!(!warnings.contains("no metrics"), "{warnings}");
}

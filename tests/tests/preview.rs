//! What `cerco enforce` shows before it asks: exactly what came, by source, reason and destination, and whom it
//! would cut off.

use integration_tests::{
    daemon::Cerco,
    frames::{Extension, Fragment, Frame, Network, Transport},
    guarded::{ELSEWHERE, Guarded, Visitor},
    poll,
    raw::{Backpressure, RawSocket},
    site::{ABROAD, LINK, MACAU, Site},
    visits::{settle, start_hidden, visit},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(20);
const UNKNOWN: [&str; 2] = ["192.0.2.77", "2001:db8:77::1"];

/// A gate that observes, over the small database of [`Site`]; nothing comes but what a test sends.
struct Observing {
    net: Guarded,
    _files: tempfile::TempDir,
}

impl Observing {
    fn start() -> Self {
        Self::start_with_queues(1)
    }

    fn start_with_queues(queues: u32) -> Self {
        let files = tempfile::tempdir().unwrap();
        let database = files.path().join("database.csv");
        std::fs::write(
            &database,
            "198.51.100.0,198.51.100.255,MO\n203.0.113.0,203.0.113.255,US\n\
             2001:db8:1::,2001:db8:1:ffff:ffff:ffff:ffff:ffff,MO\n\
             2001:db8:2::,2001:db8:2:ffff:ffff:ffff:ffff:ffff,US\n",
        )
        .unwrap();
        let config = format!(
            "mode = \"observe\"\n[geo]\ndatabase = \"{}\"\n[policy.countries]\nMO = \"allow\"\n\
             [rules]\ndeny = [\"198.51.100.200/32\"]\n",
            database.display()
        );
        Self {
            net: Guarded::start_with_queues(Visitor::Mute, 1500, queues, &config),
            _files: files,
        }
    }

    fn observed(&self) -> Value {
        self.net.cerco.json(&["enforce", "--dry-run"])["observed"].clone()
    }
}

/// `what` → packets and bytes.
type Lines = BTreeMap<String, (u64, u64)>;

fn lines(list: &Value) -> Lines {
    let number = |line: &Value, key: &str| line[key].as_u64().unwrap();
    list.as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let counts = (number(line, "packets"), number(line, "bytes"));
            (line["what"].as_str().unwrap().to_owned(), counts)
        })
        .collect()
}

/// One kind of frame: how many of them are sent, and where each would be counted. Empty: nowhere.
struct Kind {
    frame: Vec<u8>,
    count: u64,
    class: &'static str,
    reason: &'static str,
    destination: &'static str,
}

fn kinds(net: &Guarded) -> Vec<Kind> {
    let source = |text: &str| text.parse::<IpAddr>().unwrap();
    let tcp = |from: &str, port| {
        net.frame(
            source(from),
            Transport::Tcp {
                source_port: 40_000,
                destination_port: port,
                flags: 2,
                payload: Vec::new(),
            },
        )
    };
    let udp = |from: &str, port, text: &[u8]| net.udp_frame(source(from), port, text);
    let raw = |from: &str, protocol, bytes: &[u8]| {
        let bytes = bytes.to_vec();
        net.frame(source(from), Transport::Raw { protocol, bytes })
    };
    let piece = Fragment {
        offset: 1480,
        more: false,
        identification: 7,
    };
    // Behind the first piece of a datagram stands payload, which could be read as ports.
    let mut later_v4 = raw(UNKNOWN[0], 17, &[0, 53, 0, 53, 1, 2, 3, 4, 5, 6, 7, 8]);
    if let Network::V4 { fragment, .. } = &mut later_v4.network {
        *fragment = Some(piece);
    }
    let mut later_v6 = raw(ABROAD[1], 6, &[1, 187, 1, 187, 0, 0, 0, 0]);
    if let Network::V6 { extensions, .. } = &mut later_v6.network {
        extensions.push(Extension::fragment(piece));
    }
    // A header in the way does not hide the port.
    let mut behind_options = tcp(ABROAD[1], 8443);
    if let Network::V6 { extensions, .. } = &mut behind_options.network {
        extensions.push(Extension::options(60, 0));
    }
    let mut bad_length = udp(ABROAD[0], 53, b"");
    bad_length.destination = ELSEWHERE;
    let mut bad_length = bad_length.bytes();
    let len = bad_length.len();
    bad_length[len - 4..len - 2].copy_from_slice(&7_u16.to_be_bytes());
    let ping = [8, 0, 0xf7, 0xf6, 0, 7, 0, 1];
    let ping_v6 = [128, 0, 0, 0, 0, 7, 0, 1];

    let kind = |mut frame: Frame, count, class, reason, destination| {
        frame.destination = ELSEWHERE;
        Kind {
            frame: frame.bytes(),
            count,
            class,
            reason,
            destination,
        }
    };
    let country = "country_denied";
    vec![
        kind(tcp(ABROAD[0], 443), 50, "US", country, "443/tcp"),
        kind(tcp(ABROAD[1], 443), 7, "US", country, "443/tcp"),
        kind(tcp(ABROAD[0], 22), 3, "US", country, "22/tcp"),
        kind(udp(ABROAD[1], 443, b"quic"), 11, "US", country, "443/udp"),
        kind(
            udp(UNKNOWN[0], 0, b""),
            1,
            "unknown",
            "unknown_denied",
            "0/udp",
        ),
        kind(
            udp(UNKNOWN[1], 65_535, b"some text"),
            5,
            "unknown",
            "unknown_denied",
            "65535/udp",
        ),
        kind(later_v4, 13, "unknown", "unknown_denied", "udp fragments"),
        kind(later_v6, 4, "US", country, "tcp fragments"),
        kind(behind_options, 6, "US", country, "8443/tcp"),
        kind(
            raw(UNKNOWN[0], 1, &ping),
            2,
            "unknown",
            "unknown_denied",
            "icmp",
        ),
        kind(raw(ABROAD[1], 58, &ping_v6), 9, "US", country, "icmpv6"),
        kind(
            raw("10.1.2.3", 47, &[0; 8]),
            8,
            "private",
            "private_denied",
            "gre",
        ),
        kind(
            tcp("198.51.100.200", 443),
            12,
            "rule_deny",
            "rule_denied",
            "443/tcp",
        ),
        kind(tcp(MACAU[0], 80), 10, "MO", "banned", "80/tcp"),
        kind(tcp(MACAU[1], 443), 100, "", "", ""),
        Kind {
            frame: bad_length,
            count: 21,
            class: "",
            reason: "bad_udp_len",
            destination: "",
        },
    ]
}

/// What `times` rounds of `kinds` come to.
fn expected(kinds: &[Kind], times: u64, key: fn(&Kind) -> &'static str) -> Lines {
    let mut lines = Lines::new();
    for kind in kinds.iter().filter(|kind| !key(kind).is_empty()) {
        let (packets, bytes) = lines.entry(key(kind).to_owned()).or_default();
        *packets += times * kind.count;
        *bytes += times * kind.count * kind.frame.len() as u64;
    }
    lines
}

fn send(net: &Guarded, kinds: &[Kind]) {
    let frames: Vec<&[u8]> = kinds
        .iter()
        .flat_map(|kind| (0..kind.count).map(|_| kind.frame.as_slice()))
        .collect();
    let mut backpressure = Backpressure::default();
    net.sender().send_all(&frames, &mut backpressure).unwrap();
}

#[track_caller]
fn assert_observed(observing: &Observing, kinds: &[Kind], times: u64) -> Value {
    let reasons = expected(kinds, times, |kind| kind.reason);
    let packets: u64 = reasons.values().map(|(packets, _)| packets).sum();
    let mut observed = Value::Null;
    poll::until("count all frames", LIMIT, || {
        observed = observing.observed();
        (observed["would_drop_packets"] == packets).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {packets} are missing in {observed}"));
    assert_eq!(lines(&observed["reasons"]), reasons);
    let countries = expected(kinds, times, |kind| kind.class);
    assert_eq!(lines(&observed["countries"]), countries);
    let destinations = expected(kinds, times, |kind| kind.destination);
    assert_eq!(lines(&observed["destinations"]), destinations);
    let nothing = json!({ "count": 0, "packets": 0, "bytes": 0 });
    assert_eq!(observed["other_destinations"], nothing);
    let bytes: u64 = reasons.values().map(|(_, bytes)| bytes).sum();
    assert_eq!(observed["would_drop_bytes"], bytes);
    observed
}

#[test]
fn what_was_observed_is_what_came_over_restarts_and_begins_anew_after_enforcing() {
    let mut observing = Observing::start();
    let fresh = observing.observed();
    assert_eq!(fresh["would_drop_packets"], 0);
    assert_eq!(fresh["destinations"], json!([]));
    let cerco = |observing: &Observing, args: &[&str]| {
        observing.net.cerco.cli(args).unwrap();
    };
    cerco(&observing, &["ban", MACAU[0], "--for", "1h"]);
    let kinds = kinds(&observing.net);
    send(&observing.net, &kinds);
    let observed = assert_observed(&observing, &kinds, 1);
    assert_eq!(observed["since"], fresh["since"]);
    // Most packets first, and of a country its name and what it gets.
    let first = &observed["countries"][0];
    assert_eq!(
        (&first["what"], &first["name"], &first["action"]),
        (&json!("US"), &json!("United States"), &json!("deny"))
    );
    assert_eq!(observed["destinations"][0]["what"], "443/tcp");
    // Test runs are no traffic.
    cerco(&observing, &["bench", "--quick"]);
    assert_observed(&observing, &kinds, 1);

    // The gate counts on while there is no daemon, and the next one goes on from there.
    observing.net.cerco.kill().unwrap();
    send(&observing.net, &kinds);
    observing.net.cerco.run().unwrap();
    let restarted = assert_observed(&observing, &kinds, 2);
    assert_eq!(restarted["since"], fresh["since"]);
    cerco(&observing, &["reload"]);
    assert_observed(&observing, &kinds, 2);

    // What is dropped is not observed.
    cerco(&observing, &["enforce", "--yes"]);
    send(&observing.net, &kinds);
    let dropped = expected(&kinds, 1, |kind| kind.reason)["country_denied"].0;
    poll::until("see them dropped", LIMIT, || {
        (observing.net.counts().packets("country_denied") == dropped).then_some(())
    })
    .unwrap();
    assert_eq!(observing.observed(), Value::Null);
    cerco(&observing, &["observe"]);
    assert_observed(&observing, &[], 1);
    send(&observing.net, &kinds);
    assert_observed(&observing, &kinds, 1);
    // Also when the mode changes with a restart.
    cerco(&observing, &["enforce", "--yes"]);
    observing.net.cerco.kill().unwrap();
    std::fs::remove_file(observing.net.cerco.state().join("runtime.json")).unwrap();
    observing.net.cerco.run().unwrap();
    assert_observed(&observing, &[], 1);
    // A trial of enforcing that ends is no end of the observed time.
    send(&observing.net, &kinds);
    cerco(&observing, &["enforce", "--yes", "--confirm", "1h"]);
    cerco(&observing, &["rollback"]);
    send(&observing.net, &kinds);
    assert_observed(&observing, &kinds, 2);
}

#[test]
fn destinations_add_up_to_the_reasons_under_a_flood_over_many_changes() {
    const ROUNDS: u64 = 400;
    // Raw senders use the queue of their CPU, so that two CPUs add to one count at a time.
    let observing = Observing::start_with_queues(2);
    let kinds = kinds(&observing.net);
    observing
        .net
        .cerco
        .cli(&["ban", MACAU[0], "--for", "1h"])
        .unwrap();
    let stop = AtomicBool::new(false);
    let mut reloads = 0;
    thread::scope(|scope| {
        let reloader = scope.spawn(|| {
            let mut reloads = 0;
            while !stop.load(Ordering::Relaxed) {
                observing.net.cerco.cli(&["reload"]).unwrap();
                reloads += 1;
            }
            reloads
        });
        let senders: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| (0..ROUNDS / 2).for_each(|_| send(&observing.net, &kinds))))
            .collect();
        for sender in senders {
            sender.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        reloads = reloader.join().unwrap();
    });
    println!("{reloads} reloads");
    assert!(reloads > 1);
    assert_observed(&observing, &kinds, ROUNDS);
}

#[test]
fn all_ports_are_told_apart_and_summed_up_behind_the_hundredth() {
    let observing = Observing::start();
    let net = &observing.net;
    let frames: Vec<Vec<u8>> = (0..=u16::MAX)
        .map(|port| {
            let mut frame = net.udp_frame(ABROAD[0].parse().unwrap(), port, b"");
            frame.destination = ELSEWHERE;
            frame.bytes()
        })
        .collect();
    let twice: Vec<&[u8]> = frames[100..200].iter().map(Vec::as_slice).collect();
    let all: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let sender = net.sender();
    for frames in [&all, &twice] {
        sender
            .send_all(frames, &mut Backpressure::default())
            .unwrap();
    }
    let mut observed = Value::Null;
    poll::until("count all frames", LIMIT, || {
        observed = observing.observed();
        (observed["would_drop_packets"] == 65_636).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {observed}"));
    let bytes = frames[0].len() as u64;
    let shown: Lines = (100..200)
        .map(|port| (format!("{port}/udp"), (2, 2 * bytes)))
        .collect();
    assert_eq!(lines(&observed["destinations"]), shown);
    assert_eq!(
        observed["other_destinations"],
        json!({ "count": 65_436, "packets": 65_436, "bytes": 65_436 * bytes })
    );
}

/// A cable with `link` at both ends, up; the host's default route goes there.
fn lay_cable(site: &Site, link: &str) {
    let (a, b) = (site.veth.a_mac, site.veth.b_mac);
    let host = site.host.path();
    let ends = format!("{link} address {a} type veth peer name {link} address {b} netns {host}");
    site.world.ip(&format!("link add {ends}")).unwrap();
    site.world.ip(&format!("link set {link} up")).unwrap();
    site.host.ip(&format!("link set {link} up")).unwrap();
    let route = format!("-6 route add default via fe80::1 dev {link}");
    site.host.ip(&route).unwrap();
}

#[test]
fn interfaces_that_go_away_take_nothing_out_of_the_observed_time() {
    let site = Site::new().unwrap();
    site.host.ip("route add default via 192.0.2.2").unwrap();
    let auto = "interfaces = \"auto\"\nmode = \"observe\"\n";
    let mut cerco = Cerco::start(&site.host, &site.config_with(auto, "")).unwrap();
    let send_over = |link: &str, count: u64| {
        let socket = RawSocket::open_sender(&site.world, link).unwrap();
        let frame = site.syn_from(ABROAD[0]);
        (0..count).for_each(|_| socket.send(&frame).unwrap());
    };
    let assert_seen = |cerco: &Cerco, packets: u64| {
        let mut observed = Value::Null;
        poll::until("count all frames, in each list", LIMIT, || {
            observed = cerco.json(&["enforce", "--dry-run"])["observed"].clone();
            let is_whole = |list: &str| {
                let lines = lines(&observed[list]);
                lines.values().map(|it| it.0).eq([packets])
            };
            let lists = ["countries", "reasons", "destinations"];
            lists.into_iter().all(is_whole).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {packets} in {observed}"));
    };
    send_over(LINK, 3);
    // More than there are places for: what the first ones counted makes room for the last ones.
    for number in 0..12_u64 {
        let name = format!("ppp{number}");
        lay_cable(&site, &name);
        poll::until("see it attached", LIMIT, || {
            let words = format!("{name} is there: attached");
            cerco.log().contains(&words).then_some(())
        })
        .unwrap();
        send_over(&name, 5);
        assert_seen(&cerco, 3 + 5 * (number + 1));
        site.host.ip(&format!("link delete {name}")).unwrap();
        poll::until("see it gone", LIMIT, || {
            cerco
                .log()
                .contains(&format!("{name} (number"))
                .then_some(())
        })
        .unwrap();
    }
    cerco.assert_logs("makes room for");
    // A start that does not know those that are gone.
    cerco.kill().unwrap();
    cerco.run().unwrap();
    assert_seen(&cerco, 63);
    send_over(LINK, 2);
    assert_seen(&cerco, 65);
}

fn start(site: &Site) -> Cerco {
    let config = site.config_with("mode = \"observe\"\n", "");
    let logins = [("anna", MACAU[1]), ("root", ABROAD[1])];
    start_hidden(site, &config, Some(&logins))
}

#[test]
fn live_connections_and_sessions_that_would_die_are_shown() {
    let site = Site::new().unwrap();
    settle(&site);
    let cerco = start(&site);
    let text = cerco.cli(&["enforce", "--dry-run"]).unwrap();
    let rest =
        "\nNobody is connected by way of the gate.\n\nNobody is logged in by way of the gate.\n";
    assert!(text.starts_with("Observed since 20"), "{text}");
    let words = "no packet came that would have been\ndropped.\n";
    assert!(
        text.replace("would have\nbeen ", "would have been\n")
            .contains(words)
            && text.ends_with(rest),
        "{text}"
    );
    let _visits = [
        visit(&site, ABROAD[0], 443),
        visit(&site, ABROAD[1], 443),
        visit(&site, ABROAD[1], 22),
        visit(&site, MACAU[1], 9090),
        visit(&site, MACAU[0], 80),
    ];
    // Answers to the host's own connections pass, so nothing would be cut off here.
    let _own = site.own_connection(ABROAD[0], 443);
    let mut command = cerco.cli_command(&["enforce", "--dry-run", "--json"]);
    let own = command.env("SSH_CONNECTION", "2001:db8:2::7 50000 2001:db8::1 22");
    let output = own.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let preview: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(preview["schema"], 1);
    assert_eq!(preview["mode"], "observe");
    assert_eq!(preview["open_connections"], 5);
    assert_eq!(
        preview["connections"],
        json!([
            {
                "port": 443,
                "connections": 2,
                "countries": [{ "class": "US", "connections": 2 }],
                "peers": ["203.0.113.7", "2001:db8:2::7"],
            },
            {
                "port": 22,
                "connections": 1,
                "countries": [{ "class": "US", "connections": 1 }],
                "peers": ["2001:db8:2::7"],
            },
        ])
    );
    assert_eq!(
        preview["sessions"],
        json!([
            {
                "address": "2001:db8:1::7",
                "port": 9090,
                "users": ["anna"],
                "own": false,
                "passes": true,
                "until": null,
                "class": "MO",
            },
            {
                "address": "2001:db8:2::7",
                "port": 22,
                "users": ["root"],
                "own": true,
                "passes": false,
                "until": null,
                "class": "US",
            },
        ])
    );
    assert_eq!(
        preview["refusal"]["message"],
        "enforcing would lock out your SSH session:\n  2001:db8:2::7 to port 22 (US), root, your own"
    );
    let text = cerco.cli(&["enforce", "--dry-run"]).unwrap();
    let shown = "\nOf 5 connections that others have opened, 3 would be cut off:\n  \
                 2 to port 443 (US 2): from 203.0.113.7, 2001:db8:2::7\n  \
                 1 to port 22 (US 1): from 2001:db8:2::7\n\n\
                 Logged in by way of the gate:\n  \
                 2001:db8:2::7 to port 22 (US), root: WOULD BE LOCKED OUT\n  \
                 2001:db8:1::7 to port 9090 (MO), anna: passes\n";
    assert!(text.ends_with(shown), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert_eq!(cerco.json(&["status"])["mode"], "observe");

    // On a terminal it is shown, and not even asked.
    let text = cerco.on_a_terminal(&site.host, "enforce", "y");
    for words in [
        "2001:db8:2::7 to port 22 (US), root: ",
        "error",
        ": enforcing would lock out a session:\n  2001:db8:2::7 to port 22 (US), root\n",
        "cerco trust 2001:db8:2::7\n",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("[y/N]"), "{text}");
    assert_eq!(cerco.json(&["status"])["mode"], "observe");

    // Once it enforces there is nothing to foresee.
    cerco.cli(&["enforce", "--yes", "--force"]).unwrap();
    let preview = cerco.json(&["enforce", "--dry-run"]);
    assert_eq!(
        (&preview["mode"], &preview["observed"]),
        (&json!("enforce"), &Value::Null)
    );
    assert_eq!(preview["refusal"], Value::Null);
    let text = cerco.cli(&["enforce", "--dry-run"]).unwrap();
    let words = "Of 5 connections that others have opened, 3 are cut off:";
    assert!(text.contains(words), "{text}");
}

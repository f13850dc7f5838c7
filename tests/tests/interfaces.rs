//! The gate follows its interfaces, whatever happens to them.
//!
//! Bonds, VLANs, teams and VRFs are not here: they need drivers that a kernel may lack, and there is no telling
//! one that should have them from one that need not. Bridges are; `old_kernel` brings a kernel with bonds and VLANs.

use aya::programs::{
    XdpMode,
    links::{FdLink, PinnedLink},
};
use integration_tests::{
    bench::{
        drops::{Drops, Program},
        trace::Prefixes,
    },
    daemon::Cerco,
    http,
    netns::NetNs,
    poll,
    raw::RawSocket,
    site::{ABROAD, LINK, MACAU, Site, ended, packets},
    tap::{Count, Tap},
    veth::Mac,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(20);
const SECOND: &str = "eth1";

fn addresses(texts: &[&str]) -> BTreeSet<std::net::IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Counts denied frames that came in on `link`.
fn denied_on(netns: &NetNs, link: &str) -> Tap {
    Tap::open(netns, link, &Count::From(&addresses(&ABROAD))).unwrap()
}

fn allowed_on(netns: &NetNs, link: &str) -> Tap {
    Tap::open(netns, link, &Count::From(&addresses(&MACAU))).unwrap()
}

/// A cable with `link` at both ends, up.
fn lay_cable(site: &Site, link: &str) {
    let (a, b) = (site.veth.a_mac, site.veth.b_mac);
    let host = site.host.path();
    site.world
        .ip(&format!(
            "link add {link} address {a} type veth peer name {link} address {b} netns {host}"
        ))
        .unwrap();
    site.world.ip(&format!("link set {link} up")).unwrap();
    site.host.ip(&format!("link set {link} up")).unwrap();
}

fn delete(site: &Site, link: &str) {
    site.host.ip(&format!("link delete {link}")).unwrap();
}

/// Sends `count` frames to port 80 over `link`, from outside.
fn send_over(site: &Site, link: &str, source: &str, count: usize) {
    let socket = RawSocket::open_sender(&site.world, link).unwrap();
    let frame = site.syn_from(source);
    (0..count).for_each(|_| socket.send(&frame).unwrap());
}

fn warnings(cerco: &Cerco) -> String {
    cerco.json(&["status"])["warnings"].to_string()
}

fn attached(cerco: &Cerco) -> Vec<String> {
    let status = cerco.json(&["status"]);
    let interfaces = status["interfaces"].as_array().unwrap();
    let name = |it: &Value| it["interface"].as_str().unwrap().to_owned();
    interfaces.iter().map(name).collect()
}

/// Waits for the `count`-th line of the log that holds `words`.
fn wait_for_line(cerco: &Cerco, words: &str, count: usize, limit: Duration) {
    poll::until(&format!("see {words:?} {count} times"), limit, || {
        (cerco.log().matches(words).count() >= count).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", cerco.log()));
}

fn metric(cerco: &Cerco, site: &Site, line: &str) -> Option<u64> {
    let accept = "Accept: application/openmetrics-text\r\n";
    let answer = http::ask(&site.host, Cerco::METRICS, "GET /metrics HTTP/1.1", accept);
    let body = answer
        .unwrap_or_else(|error| panic!("{error}: {}", cerco.log()))
        .body;
    let value = body.lines().find_map(|it| it.strip_prefix(line));
    assert!(body.ends_with("# EOF\n"), "{body}");
    value.map(|value| value.trim().parse().unwrap())
}

fn attached_metric(cerco: &Cerco, site: &Site, link: &str) -> Option<u64> {
    let name = format!("cerco_interface_attached{{interface=\"{link}\"}}");
    metric(cerco, site, &name)
}

/// Frames that the counters of one interface have under a reason.
fn counted_on(cerco: &Cerco, site: &Site, link: &str, verdict: &str, reason: &str) -> u64 {
    let name = format!(
        "cerco_packets_total{{interface=\"{link}\",verdict=\"{verdict}\",reason=\"{reason}\"}}"
    );
    metric(cerco, site, &name).unwrap_or_else(|| panic!("no {name}"))
}

fn both_names(site: &Site) -> String {
    site.config_with(&format!("interfaces = [\"{LINK}\", \"{SECOND}\"]"), "")
}

#[test]
fn link_made_anew_is_filtered_again_within_a_second_and_counters_go_on() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    site.send(ABROAD[0], 100).unwrap();
    site.send(MACAU[1], 40).unwrap();
    delete(&site, LINK);
    wait_for_line(&cerco, "eth0 (number", 1, LIMIT);
    assert!(warnings(&cerco).contains("no gate stands on eth0 any more: the interface went away"));
    assert_eq!(attached_metric(&cerco, &site, LINK), Some(0));
    assert_eq!(attached(&cerco), [""; 0]);

    let mut fastest = LIMIT;
    for turn in 1..=3 {
        lay_cable(&site, LINK);
        let laid = Instant::now();
        wait_for_line(&cerco, "eth0 is back: attached again, native", turn, LIMIT);
        fastest = fastest.min(laid.elapsed());
        let mut bad = denied_on(&site.host, LINK);
        let mut good = allowed_on(&site.host, LINK);
        site.send(ABROAD[0], 10).unwrap();
        site.send(ABROAD[1], 10).unwrap();
        site.send(MACAU[0], 5).unwrap();
        assert_eq!(bad.total().unwrap(), 0);
        assert_eq!(good.total().unwrap(), 5);
        assert_eq!(attached_metric(&cerco, &site, LINK), Some(1));
        if turn < 3 {
            delete(&site, LINK);
        }
    }
    // One may have been stopped on the way; all three at the pace of its own regular looks (5 s) were not told.
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    let status = cerco.json(&["status"]);
    assert_eq!(packets(&status, "country_denied", "drop"), 100 + 3 * 20);
    assert_eq!(packets(&status, "allowed", "pass"), 40 + 3 * 5);
    assert_eq!(status["warnings"].as_array().unwrap().len(), 0, "{status}");
}

#[test]
fn link_made_anew_under_load_lets_nothing_in_after_a_second() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let frame = site.syn_from(ABROAD[0]);
            while !stop.load(Ordering::Relaxed) {
                // There is no link between two of them.
                let Ok(socket) = RawSocket::open_sender(&site.world, LINK) else {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                };
                while !stop.load(Ordering::Relaxed) && socket.send(&frame).is_ok() {
                    thread::sleep(Duration::from_micros(50));
                }
            }
        });
        let flaps = || {
            for turn in 1..=3 {
                delete(&site, LINK);
                lay_cable(&site, LINK);
                let laid = Instant::now();
                wait_for_line(&cerco, "eth0 is back: attached again", turn, LIMIT);
                let mut bad = denied_on(&site.host, LINK);
                let seen = || cerco.packets("country_denied", "drop");
                let see_dropped = |count| {
                    let before = seen();
                    poll::until("see the load dropped", LIMIT, || {
                        (seen() > before + count).then_some(())
                    })
                    .unwrap();
                };
                // Once these are dropped, none of before the gate can be on the way still.
                see_dropped(200);
                let until_then = bad.total().unwrap();
                see_dropped(200);
                assert_eq!(
                    bad.total().unwrap(),
                    until_then,
                    "turn {turn}, {:?}",
                    laid.elapsed()
                );
            }
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(flaps));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn counters_of_an_interface_that_is_away_survive_a_new_load() {
    let site = Site::new().unwrap();
    lay_cable(&site, SECOND);
    // With the three capabilities that the service has.
    let three = "--bounding-set=-all,+bpf,+net_admin,+perfmon";
    let cerco = Cerco::start_under(&site.host, &both_names(&site), &["setpriv", three]).unwrap();
    send_over(&site, SECOND, ABROAD[0], 9);
    delete(&site, SECOND);
    wait_for_line(&cerco, "eth1 (number", 1, LIMIT);
    // Thousands of blocks that differ, from 20.0.0.0 on: more than the table has room for.
    let mut database = fs::read_to_string(site.path("database.csv")).unwrap();
    for block in 0..60_000_u32 {
        let first = 0x1400_0000 + block * 20_000 + block % 199;
        let last = first + 5_000 + block % 53 * 100;
        let ip = std::net::Ipv4Addr::from;
        let country = ["US", "DE", "FR"][block as usize % 3];
        database += &format!("{},{},{country}\n", ip(first), ip(last));
    }
    site.write("database.csv", database).unwrap();
    cerco.cli(&["geo", "accept", "--yes"]).unwrap();
    cerco.assert_logs("loaded anew");
    lay_cable(&site, SECOND);
    wait_for_line(&cerco, "eth1 is back: attached again", 1, LIMIT);
    send_over(&site, SECOND, ABROAD[0], 4);
    let counted = counted_on(&cerco, &site, SECOND, "drop", "country_denied");
    assert_eq!(counted, 13);
    assert_eq!(warnings(&cerco), "[]");
}

#[test]
fn gate_stays_on_a_renamed_interface_until_another_bears_the_name() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let rename = |from: &str, to: &str| {
        // A kernel before 6.2 renames only what is down.
        site.host.ip(&format!("link set {from} down")).unwrap();
        site.host.ip(&format!("link set {from} name {to}")).unwrap();
        site.host.ip(&format!("link set {to} up")).unwrap();
    };
    rename(LINK, "wan0");
    wait_for_line(&cerco, "eth0 is called wan0 now", 1, LIMIT);
    let mut bad = denied_on(&site.host, "wan0");
    site.send(ABROAD[0], 10).unwrap();
    assert_eq!(bad.total().unwrap(), 0);
    assert!(warnings(&cerco).contains("write wan0 into `interfaces`"));
    assert_eq!(attached_metric(&cerco, &site, LINK), Some(1));

    rename("wan0", LINK);
    poll::until("see the warning end", LIMIT, || {
        (warnings(&cerco) == "[]").then_some(())
    })
    .unwrap();
    site.send(ABROAD[0], 10).unwrap();
    assert_eq!(bad.total().unwrap(), 0);

    rename(LINK, "wan0");
    wait_for_line(&cerco, "eth0 is called wan0 now", 2, LIMIT);
    // Its other end has the name already, outside.
    let (a, b) = (Mac::unique(), Mac::unique());
    let host = site.host.path();
    site.world
        .ip(&format!(
            "link add new0 address {a} type veth peer name {LINK} address {b} netns {host}"
        ))
        .unwrap();
    site.world.ip("link set new0 up").unwrap();
    site.host.ip(&format!("link set {LINK} up")).unwrap();
    wait_for_line(&cerco, "another interface is called eth0 now", 1, LIMIT);
    let mut bad_on_new = denied_on(&site.host, LINK);
    send_over(&site, "new0", ABROAD[0], 10);
    assert_eq!(bad_on_new.total().unwrap(), 0, "the name decides");
    send_over(&site, LINK, ABROAD[0], 10);
    assert_eq!(bad.total().unwrap(), 10, "and the other one is free");
    assert_eq!(attached(&cerco), [LINK]);
    let link = site.host.ip("link show wan0").unwrap();
    assert!(!link.contains("xdp"), "{link}");
    assert_eq!(cerco.packets("country_denied", "drop"), 30);
}

#[test]
fn gate_stays_where_it_is_while_the_new_bearer_of_the_name_refuses_it() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let rival = Rival::load();
    site.world
        .ip(&format!(
            "link add new0 type veth peer name new0 netns {}",
            site.host.path()
        ))
        .unwrap();
    rival.attach(&site.host, "new0", "xdpdrv");
    for (from, to) in [(LINK, "wan0"), ("new0", LINK)] {
        site.host.ip(&format!("link set {from} down")).unwrap();
        site.host.ip(&format!("link set {from} name {to}")).unwrap();
        site.host.ip(&format!("link set {to} up")).unwrap();
    }
    wait_for_line(&cerco, "no gate stands on eth0: failed", 1, LIMIT);
    let mut bad = denied_on(&site.host, "wan0");
    site.send(ABROAD[0], 10).unwrap();
    assert_eq!(bad.total().unwrap(), 0);
    assert!(warnings(&cerco).contains("no gate stands on eth0 now"));
    site.host
        .ip(&format!("link set dev {LINK} xdpdrv off"))
        .unwrap();
    wait_for_line(&cerco, "another interface is called eth0 now", 1, LIMIT);
    assert_eq!(cerco.packets("country_denied", "drop"), 10);
    assert_eq!(attached(&cerco), [LINK]);
    assert_eq!(warnings(&cerco), "[]");
}

#[test]
fn interfaces_that_swap_their_names_are_both_guarded_all_the_time() {
    let site = Site::new().unwrap();
    lay_cable(&site, SECOND);
    let mut cerco = Cerco::start(&site.host, &both_names(&site)).unwrap();
    // Up, as Linux 6.2 and later can: a veth that goes down lets a frame by that is under way, without XDP.
    let swap = || {
        for (from, to) in [(LINK, "tmp0"), (SECOND, LINK), ("tmp0", SECOND)] {
            site.host.ip(&format!("link set {from} name {to}")).unwrap();
        }
    };
    // Their names outside stay. `first`: what the cable that was eth0 at first is called in the host.
    let counts = |cerco: &Cerco, turn: &str, first: &str, second: &str| {
        let denied = |link| counted_on(cerco, &site, link, "drop", "country_denied");
        let before = [first, second].map(denied);
        send_over(&site, LINK, ABROAD[0], 10);
        send_over(&site, SECOND, ABROAD[0], 7);
        let after = [first, second].map(denied);
        let rose = [after[0] - before[0], after[1] - before[1]];
        assert_eq!(rose, [10, 7], "{turn}: {}", cerco.log());
    };
    let mut bad = [denied_on(&site.host, LINK), denied_on(&site.host, SECOND)];
    let mut none_came_in = |turn: &str| {
        let came_in = bad.each_mut().map(|tap| tap.total().unwrap());
        assert_eq!(came_in, [0, 0], "{turn}");
    };
    counts(&cerco, "at first", LINK, SECOND);

    // Under load, and the daemon may look at any moment between.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let frame = site.syn_from(ABROAD[1]);
            let open = |link| RawSocket::open_sender(&site.world, link).unwrap();
            let sockets = [open(LINK), open(SECOND)];
            while !stop.load(Ordering::Relaxed) {
                for socket in &sockets {
                    // The other end is down now and then.
                    let _ = socket.send(&frame);
                }
                thread::sleep(Duration::from_micros(100));
            }
        });
        let swaps = || {
            for turn in 1..=4 {
                swap();
                poll::until("see both attached", LIMIT, || {
                    let moved = cerco.log().matches("is called eth1 now").count() >= turn;
                    (moved && attached(&cerco) == [LINK, SECOND] && warnings(&cerco) == "[]")
                        .then_some(())
                })
                .unwrap_or_else(|error| panic!("{turn}: {error}\n{}", cerco.log()));
            }
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(swaps));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    none_came_in("swapped under load");
    let log = cerco.log();
    assert!(!log.contains("is released"), "{log}");
    for name in [LINK, SECOND] {
        let nonsense = format!("{name} is called {name} now");
        assert!(!log.contains(&nonsense), "{log}");
    }
    swap();
    wait_for_line(&cerco, "is called eth1 now", 5, LIMIT);
    counts(&cerco, "swapped", SECOND, LINK);
    cerco.kill().unwrap();
    swap();
    cerco.run().unwrap();
    counts(&cerco, "swapped while no daemon ran", LINK, SECOND);
    none_came_in("at the end");
}

#[test]
fn interface_that_lost_its_name_keeps_its_gate_while_another_name_is_missing() {
    let site = Site::new().unwrap();
    lay_cable(&site, SECOND);
    let cerco = Cerco::start(&site.host, &both_names(&site)).unwrap();
    let rename = |from: &str, to: &str| {
        site.host.ip(&format!("link set {from} name {to}")).unwrap();
    };
    // Half of a swap: eth0 is another one, and nobody is eth1 yet.
    rename(LINK, "tmp0");
    rename(SECOND, LINK);
    wait_for_line(&cerco, "is called eth0 now", 1, LIMIT);
    // Who answers has done all that it does when it looks.
    assert!(warnings(&cerco).contains("eth1"), "{}", warnings(&cerco));
    let mut bad = denied_on(&site.host, "tmp0");
    send_over(&site, LINK, ABROAD[0], 10);
    let shown = site.host.ip("link show tmp0").unwrap();
    assert!(shown.contains("xdp"), "{shown}");
    rename("tmp0", SECOND);
    wait_for_line(&cerco, "is called eth1 now", 1, LIMIT);
    assert_eq!(attached(&cerco), [LINK, SECOND]);
    assert_eq!(warnings(&cerco), "[]");
    send_over(&site, LINK, ABROAD[0], 10);
    assert_eq!(
        counted_on(&cerco, &site, SECOND, "drop", "country_denied"),
        10
    );
    assert_eq!(bad.total().unwrap(), 0);
    assert!(!cerco.log().contains("is released"), "{}", cerco.log());
}

/// A name that nobody bore before the rename is none that the interface could be about to get.
#[test]
fn interface_that_lost_its_name_is_released_though_another_name_was_missing_before() {
    let site = Site::new().unwrap();
    lay_cable(&site, SECOND);
    let config = site.config_with(&format!("interfaces = [\"{LINK}\", \"wwan0\"]"), "");
    let cerco = Cerco::start(&site.host, &config).unwrap();
    for (from, to) in [(LINK, "lan0"), (SECOND, LINK)] {
        site.host.ip(&format!("link set {from} name {to}")).unwrap();
    }
    wait_for_line(&cerco, "is released: every packet passes there", 1, LIMIT);
    assert_eq!(attached(&cerco), [LINK]);
    let shown = site.host.ip("link show lan0").unwrap();
    assert!(!shown.contains("xdp"), "{shown}");
    let status = cerco.json(&["status"]);
    let warnings = status["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].as_str().unwrap().contains("wwan0"));
}

#[test]
fn interface_that_lost_its_name_is_released_when_a_missing_name_does_not_come() {
    let site = Site::new().unwrap();
    lay_cable(&site, SECOND);
    let cerco = Cerco::start(&site.host, &both_names(&site)).unwrap();
    let renamed = Instant::now();
    for (from, to) in [(LINK, "lan0"), (SECOND, LINK)] {
        site.host.ip(&format!("link set {from} name {to}")).unwrap();
    }
    wait_for_line(&cerco, "is called eth0 now", 1, LIMIT);
    assert!(warnings(&cerco).contains("lan0 was called eth0, as another interface is now"));
    wait_for_line(&cerco, "is released: every packet passes there", 1, LIMIT);
    assert!(renamed.elapsed() > Duration::from_secs(9), "waited for");
    assert_eq!(attached(&cerco), [LINK]);
    let shown = site.host.ip("link show lan0").unwrap();
    assert!(!shown.contains("xdp"), "{shown}");
    assert!(!warnings(&cerco).contains("lan0"), "{}", warnings(&cerco));
}

/// As systemd gives them to network cards: the name in the config may be any of them.
#[test]
fn interface_may_be_written_by_its_alternative_name() {
    const ALTERNATIVE: &str = "enx001122334455";
    let site = Site::new().unwrap();
    let name_it = |what: &str| {
        let command = format!("link property {what} dev {LINK} altname {ALTERNATIVE}");
        site.host.ip(&command).unwrap();
    };
    name_it("add");
    let config = site.config_with(&format!("interfaces = [\"{ALTERNATIVE}\"]"), "");
    let cerco = Cerco::start(&site.host, &config).unwrap();
    let mut bad = denied_on(&site.host, LINK);
    site.send(ABROAD[0], 10).unwrap();
    assert_eq!(attached(&cerco), [ALTERNATIVE]);
    assert_eq!(warnings(&cerco), "[]");
    // Without a bearer of the name the gate stays.
    name_it("del");
    wait_for_line(
        &cerco,
        &format!("{ALTERNATIVE} is called {LINK} now"),
        1,
        LIMIT,
    );
    site.send(ABROAD[0], 10).unwrap();
    name_it("add");
    poll::until("see the warning end", LIMIT, || {
        (warnings(&cerco) == "[]").then_some(())
    })
    .unwrap();
    site.send(ABROAD[0], 10).unwrap();
    let counted = counted_on(&cerco, &site, ALTERNATIVE, "drop", "country_denied");
    assert_eq!(counted, 30);
    assert_eq!(bad.total().unwrap(), 0);
}

#[test]
fn interface_that_is_named_twice_has_one_gate() {
    const ALTERNATIVE: &str = "enp0s3";
    let site = Site::new().unwrap();
    let config = |names: [&str; 2]| {
        site.config_with(&format!("interfaces = [\"{}\"]", names.join("\", \"")), "")
    };
    let name_it = |what: &str| {
        let command = format!("link property {what} dev {LINK} altname {ALTERNATIVE}");
        site.host.ip(&command).unwrap();
    };
    name_it("add");
    let mut cerco = Cerco::start(&site.host, &config([LINK, ALTERNATIVE])).unwrap();
    let mut bad = denied_on(&site.host, LINK);
    let mut sent = 0;
    for [first, second] in [[LINK, ALTERNATIVE], [ALTERNATIVE, LINK]] {
        let words = format!("{first} and {second} of `interfaces` are one interface");
        wait_for_line(&cerco, &words, 1, LIMIT);
        // A look at the interfaces, and what it says is there when the second one has begun.
        for mtu in [1400, 1500] {
            site.host.ip(&format!("link set {LINK} mtu {mtu}")).unwrap();
            wait_for_line(&cerco, &format!("-> {mtu}"), 1, LIMIT);
        }
        assert_eq!(attached(&cerco), [first]);
        let status = cerco.json(&["status"]);
        let warnings = status["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].as_str().unwrap().starts_with(&words));
        for name in [first, second] {
            assert_eq!(attached_metric(&cerco, &site, name), Some(1), "{name}");
        }
        site.send(ABROAD[0], 10).unwrap();
        sent += 10;
        assert_eq!(cerco.packets("country_denied", "drop"), sent);
        let log = cerco.log();
        assert!(!log.contains("no gate stands"), "{log}");
        assert_eq!(log.matches("one interface").count(), 1, "{log}");
        cerco.write_config(&config([ALTERNATIVE, LINK])).unwrap();
        cerco.kill().unwrap();
        cerco.run().unwrap();
    }
    assert_eq!(bad.total().unwrap(), 0);
    // Another interface has the name now.
    name_it("del");
    lay_cable(&site, ALTERNATIVE);
    poll::until("see both attached", LIMIT, || {
        (attached(&cerco) == [ALTERNATIVE, LINK] && warnings(&cerco) == "[]").then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", cerco.log()));
}

#[test]
fn interface_that_appears_later_is_attached_and_missed_until_then() {
    let site = Site::new().unwrap();
    let cerco = Cerco::start(&site.host, &both_names(&site)).unwrap();
    assert_eq!(attached(&cerco), [LINK]);
    assert!(warnings(&cerco).contains("no gate stands on eth1 yet: there is no interface"));
    cerco.assert_logs("no gate stands on eth1");
    assert_eq!(attached_metric(&cerco, &site, SECOND), Some(0));
    site.send(ABROAD[0], 3).unwrap();

    lay_cable(&site, SECOND);
    wait_for_line(&cerco, "eth1 is there: attached, native", 1, LIMIT);
    let mut bad = denied_on(&site.host, SECOND);
    send_over(&site, SECOND, ABROAD[1], 7);
    assert_eq!(bad.total().unwrap(), 0);
    assert_eq!(warnings(&cerco), "[]");
    assert_eq!(attached_metric(&cerco, &site, SECOND), Some(1));
    for (link, expected) in [(LINK, 3), (SECOND, 7)] {
        let counted = counted_on(&cerco, &site, link, "drop", "country_denied");
        assert_eq!(counted, expected, "{link}");
    }
}

#[test]
fn larger_frames_and_back_leave_the_gate_standing() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let mut bad = denied_on(&site.host, LINK);
    for (turn, mtu, line) in [(1, 9000, "1500 -> 9000"), (2, 1500, "9000 -> 1500")] {
        for end in [&site.world, &site.host] {
            end.ip(&format!("link set {LINK} mtu {mtu}")).unwrap();
        }
        wait_for_line(&cerco, &format!("eth0: MTU {line}"), 1, LIMIT);
        site.send(ABROAD[0], 10).unwrap();
        assert_eq!(bad.total().unwrap(), 0);
        assert_eq!(cerco.packets("country_denied", "drop"), 10 * turn);
        assert_eq!(attached_metric(&cerco, &site, LINK), Some(1));
    }
    assert_eq!(warnings(&cerco), "[]");
}

#[test]
fn auto_follows_the_default_route_and_keeps_what_it_had() {
    let site = Site::new().unwrap();
    let add_second = || {
        lay_cable(&site, SECOND);
        site.host
            .ip(&format!("address add 198.18.0.1/24 dev {SECOND}"))
            .unwrap();
    };
    add_second();
    site.host.ip("route add default via 192.0.2.2").unwrap();
    let cerco = Cerco::start(&site.host, &site.config_with("interfaces = \"auto\"", "")).unwrap();
    assert_eq!(attached(&cerco), [LINK]);
    site.send(ABROAD[0], 3).unwrap();

    site.host
        .ip("route replace default via 198.18.0.2")
        .unwrap();
    wait_for_line(&cerco, "eth1 is there: attached, native", 1, LIMIT);
    let mut bad = [denied_on(&site.host, LINK), denied_on(&site.host, SECOND)];
    send_over(&site, LINK, ABROAD[0], 5);
    send_over(&site, SECOND, ABROAD[0], 7);
    assert_eq!(bad.each_mut().map(|tap| tap.total().unwrap()), [0, 0]);
    assert_eq!(attached(&cerco), [LINK, SECOND]);
    for (link, expected) in [(LINK, 8), (SECOND, 7)] {
        let counted = counted_on(&cerco, &site, link, "drop", "country_denied");
        assert_eq!(counted, expected, "{link}");
    }

    // One that comes back is guarded before it has a route again.
    delete(&site, SECOND);
    wait_for_line(&cerco, "eth1 (number", 1, LIMIT);
    add_second();
    wait_for_line(&cerco, "eth1 is back: attached again", 1, LIMIT);
    send_over(&site, SECOND, ABROAD[0], 7);
    let counted = counted_on(&cerco, &site, SECOND, "drop", "country_denied");
    assert_eq!(counted, 14);
    assert_eq!(warnings(&cerco), "[]");

    // With IPv6 as well.
    lay_cable(&site, "eth2");
    site.host
        .ip("-6 route add default via fe80::1 dev eth2")
        .unwrap();
    wait_for_line(&cerco, "eth2 is there: attached, native", 1, LIMIT);
}

#[test]
fn auto_never_runs_out_of_places() {
    let site = Site::new().unwrap();
    site.host.ip("route add default via 192.0.2.2").unwrap();
    let cerco = Cerco::start(&site.host, &site.config_with("interfaces = \"auto\"", "")).unwrap();
    site.send(ABROAD[0], 3).unwrap();
    for number in 0..12 {
        let name = format!("ppp{number}");
        lay_cable(&site, &name);
        site.host
            .ip(&format!("-6 route add default via fe80::1 dev {name}"))
            .unwrap();
        wait_for_line(&cerco, &format!("{name} is there: attached"), 1, LIMIT);
        let mut bad = denied_on(&site.host, &name);
        send_over(&site, &name, ABROAD[0], 5);
        assert_eq!(bad.total().unwrap(), 0, "{name}");
        let counted = counted_on(&cerco, &site, &name, "drop", "country_denied");
        assert_eq!(counted, 5, "{name} counts from zero");
        delete(&site, &name);
        wait_for_line(&cerco, &format!("{name} (number"), 1, LIMIT);
    }
    let counted = counted_on(&cerco, &site, LINK, "drop", "country_denied");
    assert_eq!(counted, 3, "what stands keeps its place");
}

#[test]
fn messages_that_are_lost_cost_no_interface() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    cerco.signal(libc::SIGSTOP).unwrap();
    // Some 700 bytes and more each, far beyond the socket's buffer of 208 KiB.
    let turns: String = (0..1_000)
        .map(|turn| format!("link set lo mtu {}\n", 60_000 + turn))
        .collect();
    site.host.ip_batch(&turns).unwrap();
    delete(&site, LINK);
    lay_cable(&site, LINK);
    cerco.signal(libc::SIGCONT).unwrap();
    wait_for_line(&cerco, "eth0 is back: attached again", 1, LIMIT);
    // And it goes on to listen.
    delete(&site, LINK);
    lay_cable(&site, LINK);
    wait_for_line(&cerco, "eth0 is back: attached again", 2, LIMIT);
    assert!(!cerco.log().contains("does not tell"), "{}", cerco.log());
}

#[test]
fn auto_renames_what_it_counts_with_the_interface() {
    let site = Site::new().unwrap();
    site.host
        .ip("-6 route add default via 2001:db8::2")
        .unwrap();
    let cerco = Cerco::start(&site.host, &site.config_with("interfaces = \"auto\"", "")).unwrap();
    site.send(ABROAD[0], 3).unwrap();
    for (from, to) in [(LINK, "wan0"), ("wan0", LINK)] {
        // A link that goes down loses its IPv6 addresses, and the route with them.
        site.host.ip(&format!("link set {from} down")).unwrap();
        site.host.ip(&format!("link set {from} name {to}")).unwrap();
        site.host.ip(&format!("link set {to} up")).unwrap();
        site.host
            .ip(&format!("-6 route replace default via fe80::1 dev {to}"))
            .unwrap();
        poll::until("see the new name", LIMIT, || {
            (attached(&cerco) == [to] && warnings(&cerco) == "[]").then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", cerco.log()));
        let mut bad = denied_on(&site.host, to);
        let before = counted_on(&cerco, &site, to, "drop", "country_denied");
        site.send(ABROAD[0], 4).unwrap();
        let after = counted_on(&cerco, &site, to, "drop", "country_denied");
        assert_eq!((after - before, bad.total().unwrap()), (4, 0));
    }
    assert_eq!(cerco.packets("country_denied", "drop"), 3 + 2 * 4);
    let log = cerco.log();
    assert!(!log.contains("write"), "nobody wrote a name: {log}");
}

/// No gate stands on the interface.
#[track_caller]
fn assert_open(site: &Site) {
    let shown = site.host.ip(&format!("link show {LINK}")).unwrap();
    assert!(!shown.contains("xdp"), "{shown}");
}

/// What `bpftool link detach id` does.
fn detach_link(id: u32) {
    // enum bpf_cmd of include/uapi/linux/bpf.h
    const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
    const BPF_LINK_DETACH: libc::c_long = 34;
    let bpf = |command: libc::c_long, mut attributes: [u32; 4]| {
        let size = size_of_val(&attributes);
        // SAFETY: both commands read one number from the beginning of `union bpf_attr`; zeroes follow.
        let status =
            unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size) };
        assert!(status >= 0, "{command}: {}", io::Error::last_os_error());
        status as i32
    };
    let fd = bpf(BPF_LINK_GET_FD_BY_ID, [id, 0, 0, 0]);
    // SAFETY: a new descriptor that nobody else owns.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    bpf(BPF_LINK_DETACH, [link.as_raw_fd() as u32, 0, 0, 0]);
}

/// The XDP program of somebody else, with a name on the BPF file system that is gone with the guard.
struct Rival {
    pin: PathBuf,
    _program: Drops,
}

impl Rival {
    fn load() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let pin = PathBuf::from(format!("/sys/fs/bpf/cerco-rival-{process}-{number}"));
        let mut program = Drops::load(Program::DropAll, &Prefixes::default()).unwrap();
        program.pin(&pin).unwrap();
        Self {
            pin,
            _program: program,
        }
    }

    /// As `ip` does it. `mode`: `xdpdrv` or `xdpgeneric`.
    fn attach(&self, netns: &NetNs, link: &str, mode: &str) {
        let pin = self.pin.display();
        netns
            .ip(&format!("link set dev {link} {mode} pinned {pin}"))
            .unwrap();
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.pin);
    }
}

#[test]
fn other_program_is_named_and_the_gate_comes_when_it_is_gone() {
    let site = Site::new().unwrap();
    lay_cable(&site, SECOND);
    let rival = Rival::load();
    for (turn, mode, word) in [(1, "xdpdrv", "native"), (2, "xdpgeneric", "generic")] {
        rival.attach(&site.host, SECOND, mode);
        let shown = site.host.ip(&format!("link show {SECOND}")).unwrap();
        let number = shown.split("prog/xdp id ").nth(1).unwrap();
        let number = number.split_whitespace().next().unwrap();
        let cerco = Cerco::start(&site.host, &both_names(&site)).unwrap();
        assert_eq!(attached(&cerco), [LINK], "turn {turn}");
        assert_eq!(attached_metric(&cerco, &site, SECOND), Some(0));
        let said = warnings(&cerco);
        let command = format!("ip link set dev {SECOND} {mode} off");
        for words in [
            "no gate stands on eth1 now, every packet passes there",
            // A child of another test may hold this process's descriptors for the moment before its exec.
            &format!("number {number} `drop_all`, {word}, held by process "),
            &format!("`{command}` takes it off"),
            "attach = \\\"generic\\\" does not help",
        ] {
            assert!(said.contains(words), "no {words:?} in {said}");
        }
        site.host.ip(command.strip_prefix("ip ").unwrap()).unwrap();
        wait_for_line(&cerco, "eth1 is there: attached, native", 1, LIMIT);
        let mut bad = denied_on(&site.host, SECOND);
        send_over(&site, SECOND, ABROAD[0], 5);
        assert_eq!(bad.total().unwrap(), 0);
        assert_eq!(warnings(&cerco), "[]");
    }
}

#[test]
fn program_on_a_bpf_link_is_named_with_the_command_that_detaches_it() {
    let site = Site::new().unwrap();
    let mut other = Drops::load(Program::DropAll, &Prefixes::default()).unwrap();
    // The same program on other interfaces is none of the gate's business.
    let elsewhere = ["eth1", "eth2", "eth3"];
    elsewhere.iter().for_each(|link| lay_cable(&site, link));
    for link in ["eth1", LINK, "eth2", "eth3"] {
        site.host
            .run(|| other.attach_to(link, XdpMode::Driver))
            .unwrap()
            .unwrap();
    }
    let three = "--bounding-set=-all,+bpf,+net_admin,+perfmon";
    let wrapper = ["setpriv", three];
    let blind = Cerco::start_under(&site.host, &site.config(), &wrapper).unwrap_err();
    let blind = blind.to_string();
    assert!(
        blind.contains("`cerco doctor`, run as root, names it"),
        "{blind}"
    );
    let error = site.start().unwrap_err().to_string();
    let command = error
        .split('`')
        .find(|it| it.starts_with("bpftool link detach id "));
    let command = command.unwrap_or_else(|| panic!("{error}"));
    let id = command.split_whitespace().last().unwrap();
    detach_link(id.parse().unwrap());
    site.start().unwrap();
    for link in elsewhere {
        let shown = site.host.ip(&format!("link show {link}")).unwrap();
        assert!(shown.contains("xdp"), "{shown}");
    }
}

#[test]
fn gate_that_was_taken_off_its_link_is_put_back() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let mut bad = denied_on(&site.host, LINK);
    site.send(ABROAD[0], 10).unwrap();
    let link = PinnedLink::from_pin(cerco.pins().join("v1/links/native-eth0")).unwrap();
    detach_link(FdLink::from(link).info().unwrap().id());
    wait_for_line(&cerco, "eth0 had lost the gate", 1, LIMIT);
    site.send(ABROAD[0], 10).unwrap();
    assert_eq!(bad.total().unwrap(), 0);
    assert_eq!(cerco.packets("country_denied", "drop"), 20);
    assert_eq!(warnings(&cerco), "[]");
    let told = cerco.json(&["report"])["warnings"].to_string();
    let words = "the gate was taken off eth0 and stood there again at ";
    assert!(told.contains(words), "{told}");
}

/// Every process that lists the links of the host has each of them open for a moment.
#[test]
fn gate_is_detached_while_another_process_has_its_links_open() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    cerco.kill().unwrap();
    let open: Vec<PinnedLink> = ["links", "tracking"]
        .iter()
        .flat_map(|kind| fs::read_dir(cerco.pins().join("v1").join(kind)).unwrap())
        .map(|entry| PinnedLink::from_pin(entry.unwrap().path()).unwrap())
        .collect();
    assert_eq!(open.len(), 3, "the gate and two trackers");
    cerco.cli(&["detach", "--force"]).unwrap();
    assert_open(&site);
    let mut bad = denied_on(&site.host, LINK);
    site.send(ABROAD[0], 10).unwrap();
    assert_eq!(bad.total().unwrap(), 10);
    cerco.run().unwrap();
    site.send(ABROAD[0], 10).unwrap();
    assert_eq!(bad.total().unwrap(), 10);
    drop(open);
}

#[test]
fn gate_that_was_detached_beside_the_daemon_stays_away() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    // A daemon that found its link pinned lets go of it as one that made it.
    cerco.kill().unwrap();
    cerco.run().unwrap();
    cerco.cli(&["detach", "--force"]).unwrap();
    assert_open(&site);
    site.host.ip(&format!("link set {LINK} mtu 1400")).unwrap();
    wait_for_line(
        &cerco,
        "the gate was detached: every packet passes",
        1,
        LIMIT,
    );
    delete(&site, LINK);
    lay_cable(&site, LINK);
    // Each answer comes behind the looks that the messages of before gave rise to.
    poll::until("see the daemon at rest", LIMIT, || {
        warnings(&cerco)
            .contains("restart the daemon to attach it again")
            .then_some(())
    })
    .unwrap();
    assert_open(&site);
    let mut bad = denied_on(&site.host, LINK);
    site.send(ABROAD[0], 10).unwrap();
    assert_eq!(bad.total().unwrap(), 10);
    cerco.kill().unwrap();
    cerco.run().unwrap();
    site.send(ABROAD[0], 10).unwrap();
    assert_eq!(bad.total().unwrap(), 10);
}

#[test]
fn flapping_interface_does_not_disturb_the_other() {
    let site = Site::new().unwrap();
    lay_cable(&site, SECOND);
    let cerco = Cerco::start(&site.host, &both_names(&site)).unwrap();
    let mut good = allowed_on(&site.host, LINK);
    let mut bad = denied_on(&site.host, LINK);
    let stop = AtomicBool::new(false);
    let (sent_good, sent_bad) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let socket = RawSocket::open_sender(&site.world, LINK).unwrap();
            let frames = |sources: [&str; 2]| sources.map(|source| site.syn_from(source));
            let (good, bad) = (frames(MACAU), frames(ABROAD));
            let (mut sent_good, mut sent_bad) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                for (good, bad) in good.iter().zip(&bad) {
                    socket.send(good).unwrap();
                    socket.send(bad).unwrap();
                    sent_good += 1;
                    sent_bad += 1;
                }
                thread::sleep(Duration::from_micros(100));
            }
            (sent_good, sent_bad)
        });
        let flaps = || {
            for turn in 1..=10 {
                delete(&site, SECOND);
                lay_cable(&site, SECOND);
                wait_for_line(&cerco, "eth1 is back: attached again", turn, LIMIT);
            }
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(flaps));
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join().unwrap();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent
    });
    assert!(sent_good > 1_000, "the load was real: {sent_good}");
    poll::until("see all frames counted", LIMIT, || {
        let all = cerco.packets("allowed", "pass") >= sent_good
            && cerco.packets("country_denied", "drop") >= sent_bad;
        all.then_some(())
    })
    .unwrap();
    assert_eq!(bad.total().unwrap(), 0, "denied frames that came in");
    assert_eq!(good.total().unwrap(), sent_good, "allowed frames");
    let counted = |verdict, reason| counted_on(&cerco, &site, LINK, verdict, reason);
    assert_eq!(counted("pass", "allowed"), sent_good);
    assert_eq!(counted("drop", "country_denied"), sent_bad);
}

#[test]
fn gate_stands_on_a_bridge_and_on_its_port_but_not_on_a_port_below() {
    let site = Site::new().unwrap();
    let mac = site.veth.b_mac;
    let bridge = |port: &str| {
        site.host
            .ip(&format!("link set {port} master br0"))
            .unwrap();
    };
    // The frames are for the host, so the bridge has the address that its port had.
    site.host
        .ip(&format!("link set {LINK} address {}", Mac::unique()))
        .unwrap();
    site.host
        .ip(&format!("link add br0 address {mac} type bridge"))
        .unwrap();
    site.host.ip("link set br0 up").unwrap();
    bridge(LINK);

    let on_port = site.start().unwrap();
    let mut bad = denied_on(&site.host, "br0");
    let mut good = allowed_on(&site.host, "br0");
    let forwards = |good: &mut Tap| {
        let before = good.total().unwrap();
        poll::until("see the port forward", LIMIT, || {
            site.send(MACAU[0], 1).unwrap();
            (good.total().unwrap() > before).then_some(())
        })
        .unwrap();
    };
    forwards(&mut good);
    let before = good.total().unwrap();
    site.send(ABROAD[0], 10).unwrap();
    site.send(MACAU[0], 4).unwrap();
    poll::until("see allowed frames come in", LIMIT, || {
        (good.total().unwrap() >= before + 4).then_some(())
    })
    .unwrap();
    assert_eq!(bad.total().unwrap(), 0, "port");
    assert_eq!(on_port.packets("country_denied", "drop"), 10);
    drop(on_port);

    // No generic program counts for the tap, which sits behind it.
    let config = site.config_with("interfaces = [\"br0\"]", "");
    let on_bridge = Cerco::start(&site.host, &config).unwrap();
    let at = on_bridge.json(&["status"])["interfaces"][0].clone();
    assert_eq!(at["attach_mode"], "generic", "{at}");
    site.send(ABROAD[0], 10).unwrap();
    site.send(MACAU[0], 4).unwrap();
    let passed = |count| {
        poll::until("see frames pass", LIMIT, || {
            (on_bridge.packets("allowed", "pass") >= count).then_some(())
        })
        .unwrap();
    };
    passed(4);
    assert_eq!(bad.total().unwrap(), 0, "bridge");
    // The port goes and comes; the bridge stays, and its gate with it.
    delete(&site, LINK);
    lay_cable(&site, LINK);
    site.host
        .ip(&format!("link set {LINK} address {}", Mac::unique()))
        .unwrap();
    bridge(LINK);
    forwards(&mut good);
    site.send(ABROAD[0], 10).unwrap();
    site.send(MACAU[0], 1).unwrap();
    assert_eq!(bad.total().unwrap(), 0);
    assert_eq!(on_bridge.packets("country_denied", "drop"), 20);
    drop(on_bridge);

    // The kernel takes no program below another one, and the message says which that is.
    let config = site.config_with(&format!("interfaces = [\"br0\", \"{LINK}\"]"), "");
    let both = Cerco::start(&site.host, &config).unwrap();
    assert_eq!(attached(&both), ["br0"]);
    let said = warnings(&both);
    assert!(
        said.contains("it belongs to br0, where an XDP program stands already"),
        "{said}"
    );
}

/// Who comes second finds its work done, at whatever moment.
#[test]
fn detachments_at_the_same_time_all_succeed() {
    let site = Site::new().unwrap();
    lay_cable(&site, SECOND);
    let mut cerco = Cerco::start(&site.host, &both_names(&site)).unwrap();
    for turn in 1..=10 {
        let detach = || ended(&mut cerco.cli_command(&["detach", "--force"]));
        let all = thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(detach)).collect();
            all.into_iter()
                .map(|it| it.join().unwrap())
                .collect::<Vec<_>>()
        });
        for ended in all {
            assert_eq!(ended.code, 0, "turn {turn}: {ended:?}");
        }
        assert_open(&site);
        assert!(!cerco.pins().exists(), "turn {turn}");
        cerco.kill().unwrap();
        cerco.run().unwrap();
    }
}

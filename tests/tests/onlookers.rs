//! A flood from many sources while all that can look on does: counters stay exact, and the daemon has little to do.

use integration_tests::{
    daemon::{Cerco, cerco_binary},
    follower::Follower,
    http, poll,
    raw::{Backpressure, RawSocket},
    site::{LINK, MACAU, Site},
    terminal::Terminal,
};
use serde_json::Value;
use std::{
    fs,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(20);
/// How long the flood goes on, and frames in it at most.
const FLOOD: Duration = Duration::from_secs(8);
const MOST: u64 = 2_000_000;
/// How long the daemon's share of a core is measured at a time.
const SLICE: Duration = Duration::from_millis(300);
/// IPv4 addresses, and IPv6 networks of one address each.
const SOURCES: u64 = 250;
/// Rounds of all sources between two looks at the clock.
const ROUNDS: u64 = 20;
/// Of the country that is allowed, in each burst.
const ALLOWED: u64 = 2;

/// Events, frames they stand for, and events that the follower was too slow for.
fn told(follower: &Follower) -> (u64, u64, u64) {
    let lines = follower.lines();
    let sum = |key: fn(&Value) -> Option<u64>| lines.iter().filter_map(key).sum();
    (
        sum(|it| it["event"].is_object().then_some(1)),
        sum(|it| it["event"]["stands_for"].as_u64()),
        sum(|it| it["missed"].as_u64()),
    )
}

/// For how long the threads of a process have run, exactly: `schedstat` counts nanoseconds, where `stat` counts ticks.
fn run_seconds(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanoseconds = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}

/// The line in which `key` is `value`.
#[track_caller]
fn line<'a>(lines: &'a Value, key: &str, value: &str) -> &'a Value {
    let mut found = lines.as_array().unwrap().iter();
    found
        .find(|it| it[key] == value)
        .unwrap_or_else(|| panic!("no {value} in {lines}"))
}

#[test]
fn flood_under_the_eyes_of_all_is_counted_exactly_and_costs_the_daemon_little() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let follower = Follower::begin(&cerco, &[]);
    let terminal = Terminal::open(&site.host, 120, 40).unwrap();
    let top = format!(
        "{} top -c {}",
        cerco_binary().unwrap().display(),
        cerco.config_path().display()
    );
    terminal.enter(&top).unwrap();
    terminal.wait_for("q quit").unwrap();
    // The follower stands before the flood begins.
    let mut first = 0;
    poll::until("see the follower get an event", LIMIT, || {
        site.send("203.0.113.255", 1).unwrap();
        first += 1;
        let is_told = || (told(&follower).0 > 0).then_some(());
        poll::until("be told of it", Duration::from_millis(300), is_told).ok()
    })
    .unwrap();

    let ipv4 = (1..=SOURCES).map(|host| site.syn_from(&format!("203.0.113.{host}")));
    let ipv6 = (1..=SOURCES).map(|network| site.syn_to(443, &format!("2001:db8:2:{network:x}::7")));
    let denied: Vec<Vec<u8>> = ipv4.chain(ipv6).collect();
    let allowed = site.syn_from(MACAU[0]);
    let mut burst: Vec<&[u8]> = Vec::new();
    for _ in 0..ROUNDS {
        burst.extend(denied.iter().map(Vec::as_slice));
    }
    burst.extend(vec![allowed.as_slice(); ALLOWED as usize]);
    let of_burst = 2 * SOURCES * ROUNDS;

    let daemon = cerco.pid().unwrap();
    let socket = RawSocket::open_sender(&site.world, LINK).unwrap();
    let mut backpressure = Backpressure::default();
    let began = Instant::now();
    let mut slice = (began, run_seconds(daemon));
    let mut shares = Vec::new();
    let mut bursts = 0;
    while began.elapsed() < FLOOD && (bursts + 1) * of_burst <= MOST {
        socket.send_all(&burst, &mut backpressure).unwrap();
        bursts += 1;
        let length = slice.0.elapsed();
        if length >= SLICE {
            let spent = run_seconds(daemon);
            shares.push((spent - slice.1) / length.as_secs_f64());
            slice = (Instant::now(), spent);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    // The median: what a machine is not given in a slice or two may be booked to whoever ran.
    shares.sort_by(f64::total_cmp);
    let share = shares[shares.len() / 2];
    let sent = bursts * of_burst;
    println!(
        "{sent} frames in {seconds:.1} s, {:.0} a second; the daemon took {:.1} % of a core",
        sent as f64 / seconds,
        share * 100.0
    );
    assert!(sent >= 100_000, "{sent}");

    let dropped = first + sent;
    let passed = bursts * ALLOWED;
    poll::until("see all counted", LIMIT, || {
        let all = cerco.packets("country_denied", "drop") >= dropped
            && cerco.packets("allowed", "pass") >= passed;
        all.then_some(())
    })
    .unwrap();
    // An IPv4 SYN has 54 bytes, an IPv6 one 74.
    let bytes = first * 54 + sent / 2 * (54 + 74);
    let status = cerco.json(&["status"]);
    let totals = status["totals"].as_array().unwrap().iter();
    let denied_lines: Vec<_> = totals
        .filter(|it| it["reason"] == "country_denied" && it["verdict"] == "drop")
        .map(|it| (it["packets"].as_u64(), it["bytes"].as_u64()))
        .collect();
    assert_eq!(denied_lines, [(Some(dropped), Some(bytes))]);
    assert_eq!(cerco.packets("allowed", "pass"), passed);
    let countries = cerco.json(&["countries"]);
    let us = line(&countries["countries"], "class", "US");
    assert_eq!(
        (&us["dropped_packets"], &us["dropped_bytes"]),
        (&dropped.into(), &bytes.into())
    );
    let scrape = http::ask(&site.host, Cerco::METRICS, "GET /metrics HTTP/1.1", "");
    let metric = format!(
        "cerco_packets_total{{interface=\"{LINK}\",verdict=\"drop\",reason=\"country_denied\"}} {dropped}"
    );
    let body = scrape.unwrap().body;
    assert!(body.lines().any(|it| it == metric), "{body}");
    let history = cerco.json(&["history"]);
    let reason = line(&history["reasons"], "name", "country_denied");
    assert_eq!(
        (&reason["dropped_packets"], &reason["dropped_bytes"]),
        (&dropped.into(), &bytes.into())
    );
    let us = line(&history["countries"], "name", "US");
    assert_eq!(us["dropped_packets"], dropped);
    assert_eq!(history["store"]["missed_events"], 0);

    // The sample: no more events than there is a budget for, of frames that all came.
    let (events, frames, missed) = told(&follower);
    assert!(events > 0 && frames <= dropped, "{events} {frames}");
    let cpus = aya::util::nr_cpus().unwrap() as u64;
    let budget = (seconds as u64 + 2) * 1_000 * cpus;
    assert!(events + missed < budget, "{events} and {missed} missed");
    // Each event stands for a frame, or for some that were not shown; `top` shows those it was told of.
    let screen = terminal.wait_for("US").unwrap();
    assert!(screen.contains("q quit"), "{screen}");
    assert!(share < 0.1, "shares of a core: {shares:?}");
}

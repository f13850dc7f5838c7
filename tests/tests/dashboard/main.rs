//! The dashboard over real sockets: who is answered, who is let in, and that it changes nothing.

mod admission;
mod requests;

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpListener,
    time::{Duration, Instant},
};

use integration_tests::{
    daemon::Cerco,
    poll,
    site::{ABROAD, MACAU, Site, packets},
};

use crate::requests::*;

#[test]
fn what_no_page_of_ours_asks_is_refused() {
    let site = Site::new().unwrap();
    let cerco = start(&site, "host_names = [\"gate.example.org\"]\n");
    let own = "Origin: http://localhost:9843\r\n";
    let cases: &[(&str, &str, u16)] = &[
        ("GET /", HOST, 200),
        ("HEAD /", HOST, 200),
        ("GET /api/v1/state", HOST, 200),
        ("GET /api/v1/about", "Host: gate.example.org\r\n", 200),
        ("GET /api/v1/state", "Host: [::1]:8080\r\n", 200),
        ("GET /", "", 400),
        ("GET /", "Host: localhost\r\nHost: localhost\r\n", 400),
        ("GET /", "Host: evil.example:9843\r\n", 421),
        ("GET /api/v1/state", "Host: evil.example\r\n", 421),
        ("GET /assets/none.js", "Host: evil.example\r\n", 421),
        ("GET http://evil.example/", HOST, 400),
        (
            "GET /api/v1/state",
            "Host: localhost:9843\r\nOrigin: http://evil.example\r\n",
            403,
        ),
        (
            "GET /api/v1/state",
            "Host: localhost:9843\r\nOrigin: null\r\n",
            403,
        ),
        (
            "GET /api/v1/state",
            "Host: localhost:9843\r\nSec-Fetch-Site: cross-site\r\n",
            403,
        ),
        (
            "GET /api/v1/state",
            "Host: localhost:9843\r\nSec-Fetch-Site: same-site\r\n",
            403,
        ),
        ("POST /", HOST, 405),
        ("POST /api/v1/state", &format!("{HOST}{own}"), 405),
        ("PUT /api/v1/state", HOST, 405),
        ("DELETE /api/v1/state", HOST, 405),
        ("OPTIONS /api/v1/state", HOST, 405),
        ("GET /../etc/passwd", HOST, 404),
        ("GET /assets/../../etc/passwd", HOST, 404),
        ("GET /%2e%2e/%2e%2e/etc/passwd", HOST, 404),
        ("GET /assets/", HOST, 404),
        ("GET /api/v1/reload", HOST, 404),
        ("GET /api/v1/ban", HOST, 404),
        ("GET /api/v1/../v1/state", HOST, 404),
        ("GET /api/v1/history", HOST, 400),
        ("GET /api/v1/history?since=1&by=week", HOST, 400),
        (
            "GET /api/v1/history?since=1&by=minute&reason=a&country=US",
            HOST,
            400,
        ),
        ("GET /login", HOST, 303),
    ];
    for (line, headers, expected) in cases {
        let reply = ask(&site, line, headers, "").unwrap();
        assert_eq!(reply.status, *expected, "{line} {headers}: {reply:?}");
        let policy = reply.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{line}");
        }
        assert_eq!(reply.header("access-control-allow-origin"), None, "{line}");
    }
    let long = format!("{HOST}X: {}\r\n", "a".repeat(20_000));
    assert_eq!(ask(&site, "GET /", &long, "").unwrap().status, 431);
    // The page, and all that it names, come from here.
    let page = get(&site, "/", "");
    let named: Vec<&str> = page
        .body
        .split('"')
        .filter(|it| it.starts_with('/'))
        .collect();
    assert_eq!(named.len(), 3, "{named:?}");
    for path in named {
        let asset = get(&site, path, "");
        assert_eq!(asset.status, 200, "{path}");
        let kept = asset.header("cache-control").unwrap();
        assert_eq!(kept, "public, max-age=31536000, immutable");
        let etag = format!("If-None-Match: {}\r\n", asset.header("etag").unwrap());
        assert_eq!(get(&site, path, &etag).status, 304);
    }
    // Nothing of this has changed anything.
    let status = cerco.json(&["status"]);
    assert_eq!(
        (&status["mode"], &status["bans"]),
        (&"enforce".into(), &0.into())
    );
}

#[test]
fn state_is_what_status_and_countries_say_at_one_moment() {
    let site = Site::new().unwrap();
    let cerco = start(&site, "");
    site.send(ABROAD[0], 30).unwrap();
    site.send(ABROAD[1], 12).unwrap();
    site.send(MACAU[0], 9).unwrap();
    let state = poll::until("see all frames", LIMIT, || {
        let state = get(&site, "/api/v1/state", "").json();
        (packets(&state["status"], "country_denied", "drop") == 42).then_some(state)
    })
    .unwrap();
    assert_eq!(packets(&state["status"], "allowed", "pass"), 9);
    let lines = state["countries"].as_array().unwrap();
    let line = |class: &str| lines.iter().find(|it| it["class"] == class).unwrap();
    assert_eq!(line("US")["dropped_packets"], 42);
    assert_eq!(line("US")["action"], "deny");
    assert_eq!(line("MO")["passed_packets"], 9);
    let digest = &state["standing"]["policy_sha256"];
    assert_eq!(digest.as_str().map(str::len), Some(64));
    // However often it is asked for, the daemon is asked once a second.
    let (began, mut asked, mut states) = (Instant::now(), 0, BTreeSet::new());
    while began.elapsed() < Duration::from_secs(2) {
        asked += 1;
        states.insert(get(&site, "/api/v1/state", "").json()["boot_ms"].to_string());
    }
    let seconds = began.elapsed().as_secs_f64();
    // One that was made before, and one of which somebody was told late.
    let most = (seconds / 0.95) as usize + 2;
    assert!(
        states.len() < asked && states.len() <= most,
        "{asked} in {seconds} s: {states:?}"
    );
    let since = state["unix_ms"].as_u64().unwrap() / 1000 - 600;
    let history = poll::until("see it in the history", LIMIT, || {
        let path = format!("/api/v1/history?since={since}&by=minute&country=US");
        let history = get(&site, &path, "").json();
        (history["total"]["dropped_packets"] == 42).then_some(history)
    })
    .unwrap();
    assert_eq!(history["country"], "US");
    // Events: what was kept comes first.
    let mut stream = connect(&site, PLACE).unwrap();
    write!(stream, "GET /api/v1/events HTTP/1.1\r\n{HOST}\r\n").unwrap();
    let mut seen = String::new();
    let mut chunk = [0; 65_536];
    poll::until("see events", LIMIT, || {
        let count = stream.read(&mut chunk).unwrap();
        seen += &String::from_utf8_lossy(&chunk[..count]);
        seen.contains("\n\n\r\n").then_some(())
    })
    .unwrap();
    assert!(seen.contains("content-type: text/event-stream"), "{seen}");
    assert_eq!(seen.matches("\"source\":").count(), 42, "{seen}");
    drop(cerco);
}

#[test]
fn followers_of_events_are_bounded_and_leave_room() {
    let site = Site::new().unwrap();
    let _cerco = start(&site, "");
    let follow = || {
        let mut stream = connect(&site, PLACE).unwrap();
        write!(stream, "GET /api/v1/events HTTP/1.1\r\n{HOST}\r\n").unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        (String::from_utf8_lossy(&start).into_owned(), stream)
    };
    let followers: Vec<_> = (0..24).map(|_| follow()).collect();
    assert!(followers.iter().all(|(start, _)| start == "HTTP/1.1 200"));
    assert_eq!(follow().0, "HTTP/1.1 503");
    assert_eq!(get(&site, "/api/v1/state", "").status, 200);
    drop(followers);
    poll::until("follow again", LIMIT, || {
        (follow().0 == "HTTP/1.1 200").then_some(())
    })
    .unwrap();
}

#[test]
fn dashboard_is_off_unless_it_is_enabled() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    cerco.json(&["status"]);
    assert!(connect(&site, PLACE).is_err());
}

#[test]
fn taken_port_of_the_dashboard_does_not_keep_the_gate_from_standing() {
    let site = Site::new().unwrap();
    let taken = site.host.run(|| TcpListener::bind(PLACE)).unwrap().unwrap();
    let cerco = Cerco::start(&site.host, &site.config_with("", ON)).unwrap();
    site.send(ABROAD[0], 3).unwrap();
    let fault = "no dashboard: cannot listen at 127.0.0.1:9843";
    let warnings = || cerco.json(&["status"])["warnings"].to_string();
    poll::until("read why", LIMIT, || {
        warnings().contains(fault).then_some(())
    })
    .unwrap();
    poll::until("see all frames counted", LIMIT, || {
        (cerco.packets("country_denied", "drop") == 3).then_some(())
    })
    .unwrap();
    drop(taken);
    poll::until("see the dashboard come", LIMIT, || {
        let reply = ask(&site, "GET /api/v1/state", HOST, "").ok()?;
        (reply.status == 200).then_some(())
    })
    .unwrap();
    poll::until("see the warning end", LIMIT, || {
        (!warnings().contains(fault)).then_some(())
    })
    .unwrap();
}

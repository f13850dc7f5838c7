//! The report: its numbers are those of status, of the metrics and of the frames that were sent, in every format.

mod documents;
mod signatures;

use documents::{Csv, Html};
use integration_tests::{
    daemon::Cerco,
    http, mmdb_file, poll,
    siege::{Asking, Siege},
    site::{ABROAD, LINK, Site, ended, parse},
};
use ipnetwork::IpNetwork;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(20);
const VERDICTS: [(&str, &str); 3] = [
    ("pass", "passed_packets"),
    ("drop", "dropped_packets"),
    ("would_drop", "would_drop_packets"),
];

/// A neighbour within a limit, beside the two countries of every site.
const NEIGHBOUR: &str = "203.0.113.200";
const WITH_NEIGHBOUR: &str = "198.51.100.0,198.51.100.255,MO\n203.0.113.0,203.0.113.127,US\n\
                              203.0.113.128,203.0.113.255,CN\n\
                              2001:db8:1::,2001:db8:1:ffff:ffff:ffff:ffff:ffff,MO\n\
                              2001:db8:2::,2001:db8:2:ffff:ffff:ffff:ffff:ffff,US\n";
/// Nothing is earned back while a test runs.
const BURST: u64 = 3;
const LIMITS: &str = "CN = \"allow:few\"\n[limits.few]\nnew_connections_per_second = 1\n\
                      burst_connections = 3\n";

fn start_with_neighbour(site: &Site) -> Cerco {
    site.write("database.csv", WITH_NEIGHBOUR).unwrap();
    Cerco::start(&site.host, &site.config_with("", LIMITS)).unwrap()
}

type Counted = BTreeMap<(String, String), u64>;

/// Packets by name and verdict, from lines of the report's JSON.
fn told(lines: &Value, name: &str) -> Counted {
    let mut told = Counted::new();
    for line in lines.as_array().unwrap() {
        for (verdict, key) in VERDICTS {
            let packets = line[key].as_u64().unwrap();
            let name = line[name].as_str().unwrap().to_owned();
            if packets > 0 {
                told.insert((name, verdict.to_owned()), packets);
            }
        }
    }
    told
}

/// The same from `status`.
fn of_status(status: &Value) -> Counted {
    let totals = status["totals"].as_array().unwrap().iter();
    let lines = totals.map(|it| {
        let word = |key: &str| it[key].as_str().unwrap().to_owned();
        let packets = it["packets"].as_u64().unwrap();
        ((word("reason"), word("verdict")), packets)
    });
    lines.filter(|(_, packets)| *packets > 0).collect()
}

/// The same from the metrics: the series `family`, by `label` and verdict.
fn of_metrics(metrics: &str, family: &str, label: &str) -> Counted {
    let mut counted = Counted::new();
    for line in metrics.lines().filter(|line| line.starts_with(family)) {
        let (labels, packets) = line.rsplit_once(' ').unwrap();
        let value = |name: &str| {
            let after = labels.split(&format!("{name}=\"")).nth(1).unwrap();
            after.split('"').next().unwrap().to_owned()
        };
        let packets: u64 = packets.parse().unwrap();
        if packets > 0 {
            *counted.entry((value(label), value("verdict"))).or_default() += packets;
        }
    }
    counted
}

fn of(counted: &Counted, name: &str, verdict: &str) -> u64 {
    let key = (name.to_owned(), verdict.to_owned());
    counted.get(&key).copied().unwrap_or_default()
}

/// Waits until the report says what status and metrics do; kernels send frames of their own meanwhile.
#[track_caller]
fn wait_until_equal(site: &Site, cerco: &Cerco) -> Value {
    let mut last = String::new();
    poll::until("see the report equal the counters", LIMIT, || {
        let report = cerco.json(&["report", "--since", "1h"]);
        let status = of_status(&cerco.json(&["status"]));
        let answer = http::ask(&site.host, Cerco::METRICS, "GET /metrics HTTP/1.1", "").unwrap();
        let by_reason = of_metrics(&answer.body, "cerco_packets_total{", "reason");
        let by_country = of_metrics(&answer.body, "cerco_country_packets_total{", "country");
        let reasons = told(&report["reasons"], "reason");
        let mut countries = told(&report["countries"], "class");
        countries.retain(|(class, _), _| class.len() == 2);
        last = format!("{reasons:?}\n{status:?}\n{by_reason:?}\n{countries:?}\n{by_country:?}");
        let equal = reasons == status && reasons == by_reason && countries == by_country;
        equal.then_some(report)
    })
    .unwrap_or_else(|error| panic!("{error}: {last}"))
}

/// `cerco report ARGS -o NAME`, which must succeed; what it wrote.
fn written(site: &Site, cerco: &Cerco, args: &[&str], name: &str) -> (PathBuf, String) {
    let path = site.path(name);
    let args = [&["report"], args, &["-o", path.to_str().unwrap()]].concat();
    let ended = cerco.try_cli(&args);
    assert_eq!(ended.code, 0, "{ended:?}");
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

fn sum_of(lines: &Value, key: &str) -> u64 {
    let lines = lines.as_array().unwrap().iter();
    lines.map(|line| line[key].as_u64().unwrap()).sum()
}

/// Each table of exact numbers adds up to the total.
fn assert_sums(report: &Value) {
    for (_, key) in VERDICTS {
        let total = report["total"][key].as_u64().unwrap();
        let rest = report["without_country"][key].as_u64().unwrap();
        assert_eq!(sum_of(&report["reasons"], key), total, "{key}");
        assert_eq!(sum_of(&report["interfaces"], key), total, "{key}");
        assert_eq!(sum_of(&report["countries"], key) + rest, total, "{key}");
        assert_eq!(sum_of(&report["timeline"]["bars"], key), total, "{key}");
    }
}

#[test]
fn report_of_a_siege_equals_what_was_sent_status_and_metrics() {
    let site = Site::new().unwrap();
    let cerco = start_with_neighbour(&site);
    let siege = Siege::begin(&site, Asking::Nothing).unwrap();
    thread::sleep(Duration::from_secs(1));
    let pause = siege.pause();
    let toll = pause.toll;
    toll.assert_frames_judged("the siege");
    let limited = 20;
    site.send(NEIGHBOUR, (BURST + limited) as usize).unwrap();
    poll::until("count all", LIMIT, || {
        let counted = cerco.packets("connection_limit", "drop");
        (counted == limited).then_some(())
    })
    .unwrap();
    let report = wait_until_equal(&site, &cerco);
    assert_sums(&report);
    let countries = told(&report["countries"], "class");
    assert_eq!(of(&countries, "US", "drop"), toll.denied_sent);
    assert_eq!(of(&countries, "US", "pass"), 0);
    assert_eq!(
        of(&countries, "MO", "pass"),
        toll.allowed_sent + toll.suspects_sent
    );
    assert_eq!(of(&countries, "CN", "drop"), limited);
    assert_eq!(of(&countries, "CN", "pass"), BURST);
    let allowed = &report["allowed"];
    assert_eq!(allowed["countries"], serde_json::json!(["CN", "MO"]));
    assert_eq!(allowed["denied_packets"], limited);
    assert_eq!(allowed["limited"]["dropped_packets"], limited);
    assert_eq!(allowed["only_limited"], true);
    let sentences = report["sentences"].to_string();
    let words = "From the allowed countries (China and Macao) 20 packets were turned away (China 20). \
                 All of them because their source sent more than its limit.";
    assert!(sentences.contains(words), "{sentences}");
    assert_eq!(report["interfaces"][0]["name"], LINK);
    let minutes = report["period"]["minutes"].as_u64().unwrap();
    assert!((1..=5).contains(&minutes), "{}", report["period"]);
    let denied = toll.denied_sent + limited;
    let average = report["packets_per_minute"].as_f64().unwrap();
    assert!((average - denied as f64 / minutes as f64).abs() < 1e-6);

    // The other formats have the same numbers.
    let (path, text) = written(&site, &cerco, &["--since", "1h"], "incident.html");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o640
    );
    let html = Html(&text);
    html.assert_needs_nothing();
    let country = html.table("Exact numbers of packets, by country");
    assert_eq!(
        country.number("United States", "Turned away"),
        toll.denied_sent
    );
    assert_eq!(country.number("China", "Turned away"), limited);
    assert_eq!(country.number("Macao", "Turned away"), 0);
    assert_eq!(country.number("All", "Turned away"), denied);
    assert_eq!(country.sum("Turned away"), denied);
    let reason = html.table("Exact numbers of packets, by the reason");
    assert_eq!(
        reason.number("country_denied", "Turned away"),
        toll.denied_sent
    );
    assert_eq!(reason.number("connection_limit", "Turned away"), limited);
    assert_eq!(reason.number("All", "Turned away"), denied);
    assert_eq!(reason.sum("Turned away"), denied);
    assert_eq!(reason.sum("Let in"), reason.number("All", "Let in"));
    let attribution = format!(
        "<p>Countries of addresses: {}</p>",
        site.path("database.csv").display()
    );
    assert!(text.contains(&attribution), "no {attribution}");

    let (_, text) = written(&site, &cerco, &["--since", "1h"], "incident.csv");
    let csv = Csv::read(&text);
    assert_eq!(
        csv.number("country", "US", "dropped_packets"),
        toll.denied_sent
    );
    assert_eq!(
        csv.number("reason", "connection_limit", "dropped_packets"),
        limited
    );
    for list in ["total", "country", "reason", "interface", "timeline"] {
        assert_eq!(csv.sum(list, "dropped_packets"), denied, "{list}");
    }

    let us = cerco.json(&["report", "--since", "1h", "--country", "us"]);
    assert_eq!(us["total"]["dropped_packets"], toll.denied_sent);
    assert_eq!(us["reasons"], serde_json::json!([]));
    let (_, text) = written(
        &site,
        &cerco,
        &["--since", "1h", "--country", "US"],
        "us.html",
    );
    assert!(text.contains("Not known by country: a report without --country has it"));
    drop(pause);
}

#[test]
fn observed_frames_and_a_restart_are_told_as_they_were() {
    let site = Site::new().unwrap();
    let mut cerco =
        Cerco::start(&site.host, &site.config_with("mode = \"observe\"\n", "")).unwrap();
    site.send(ABROAD[0], 30).unwrap();
    poll::until("count all", LIMIT, || {
        (cerco.packets("country_denied", "would_drop") == 30).then_some(())
    })
    .unwrap();
    cerco.stop().unwrap();
    site.send(ABROAD[1], 12).unwrap();
    cerco.run().unwrap();
    poll::until("count all again", LIMIT, || {
        (cerco.packets("country_denied", "would_drop") == 42).then_some(())
    })
    .unwrap();
    let report = wait_until_equal(&site, &cerco);
    assert_sums(&report);
    assert_eq!(report["total"]["would_drop_packets"], 42);
    let first = report["sentences"][0].as_str().unwrap();
    let words = "would have turned away 42 packets";
    assert!(first.contains(words), "{first}");
    assert!(
        first.contains("it only observed, so all of them passed"),
        "{first}"
    );
    let nobody = "Nobody from the allowed countries (Macao) would have been turned away.";
    assert!(
        report["sentences"].to_string().contains(nobody),
        "{report:#}"
    );
    let (_, text) = written(&site, &cerco, &["--since", "1h"], "incident.html");
    let reason = Html(&text).table("Exact numbers of packets, by the reason");
    assert_eq!(reason.number("country_denied", "Would have been"), 42);
    assert_eq!(reason.number("All", "Turned away"), 0);
}

#[test]
fn report_without_a_daemon_is_made_of_its_file() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    site.send(ABROAD[0], 4).unwrap();
    poll::until("count all", LIMIT, || {
        (cerco.packets("country_denied", "drop") == 4).then_some(())
    })
    .unwrap();
    cerco
        .cli(&["allow", "PT", "--comment", "asked for"])
        .unwrap();
    cerco.stop().unwrap();
    let path = site.path("incident.html");
    let args = ["report", "--since", "1h", "-o", path.to_str().unwrap()];
    let ended_with = cerco.try_cli(&args);
    assert_eq!(ended_with.code, 3, "{ended_with:?}");
    assert!(
        ended_with.stderr.contains("no daemon answers"),
        "{ended_with:?}"
    );
    let text = fs::read_to_string(&path).unwrap();
    let html = Html(&text);
    assert!(text.contains("no daemon answered: this was read from its file"));
    let country = html.table("Exact numbers of packets, by country");
    assert_eq!(country.number("United States", "Turned away"), 4);
    // Policy and rules of the files, with that of the runtime.
    assert!(
        text.contains("Nobody from the allowed countries (Macao and Portugal) was turned away.")
    );
    assert!(
        html.table("The rules")
            .cells("Portugal (PT)")
            .contains(&"asked for".to_owned())
    );
    let json = ended(
        cerco
            .cli_command(&["report", "--since", "1h"])
            .arg("--json"),
    );
    assert_eq!(json.code, 3);
    let json = parse(&json.stdout);
    assert_eq!(json["in_force"]["at_end"]["mode"], "enforce");
    assert_eq!(json["period"]["minutes_from"], Value::Null);
    assert_eq!(json["peak"]["certain"], true);
}

#[test]
fn hostile_words_of_rules_and_databases_stay_words() {
    let site = Site::new().unwrap();
    let systems = [
        (
            "203.0.113.0/24",
            64_496,
            "<script>alert('network')</script>",
        ),
        ("2001:db8:2::/48", 64_497, "=cmd|' /C calc'!A0"),
    ];
    let systems = systems
        .map(|(network, number, name)| (network.parse::<IpNetwork>().unwrap(), number, name));
    let bytes = mmdb_file::write_systems(systems.into_iter()).unwrap();
    let database = site.write("asn.mmdb", bytes).unwrap();
    let cerco = Cerco::start(&site.host, &with_networks(&site, &database)).unwrap();
    let comment = "</table><script>alert(\"comment\")</script>";
    cerco.cli(&["allow", "PT", "--comment", comment]).unwrap();
    site.send(ABROAD[0], 20).unwrap();
    site.send(ABROAD[1], 10).unwrap();
    let json = poll::until("see all events told", LIMIT, || {
        let report = cerco.json(&["report", "--since", "1h"]);
        (report["sample"]["frames"] == 30).then_some(report)
    })
    .unwrap();
    let network = &json["sample"]["sources"][0]["network"];
    assert_eq!(network["number"], 64_496);
    let (_, text) = written(&site, &cerco, &["--since", "1h"], "incident.html");
    Html(&text).assert_needs_nothing();
    assert!(!text.contains("<script"));
    assert!(text.contains("&lt;script&gt;alert('network')&lt;/script&gt; (AS64496)"));
    assert!(text.contains("&lt;/table&gt;&lt;script&gt;alert(&quot;comment&quot;)&lt;/script&gt;"));
    let (_, text) = written(&site, &cerco, &["--since", "1h"], "incident.csv");
    let csv = Csv::read(&text);
    assert_eq!(
        csv.text("source", "2001:db8:2::/64", "network_name"),
        "'=cmd|' /C calc'!A0"
    );
    // A database that breaks is told and stands in nobody's way.
    fs::write(&database, "<html>404</html>").unwrap();
    let (_, text) = written(&site, &cerco, &["--since", "1h"], "incident.html");
    assert!(text.contains("sources have no network names: "), "{text}");
    assert!(text.contains("is no sound MaxMind DB"), "{text}");
    let checked = cerco.try_cli(&["check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(
        checked
            .stderr
            .contains("`asn_database` under [geo], so reports name no networks"),
        "{checked:?}"
    );
    assert_eq!(cerco.try_cli(&["reload"]).code, 0);
}

fn with_networks(site: &Site, database: &Path) -> String {
    let line = format!("[geo]\nasn_database = \"{}\"", database.display());
    site.config().replace("[geo]", &line)
}

#[test]
fn changes_and_what_was_in_force_stand_with_their_hashes() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let sum = |path: &Path| {
        let ended = ended(Command::new("sha256sum").arg(path));
        ended.stdout.split(' ').next().unwrap().to_owned()
    };
    let (policy, database) = (sum(&cerco.config_path()), sum(&site.path("database.csv")));
    cerco.cli(&["allow", "PT"]).unwrap();
    let report = cerco.json(&["report", "--since", "1h"]);
    let in_force = &report["in_force"];
    assert_eq!(in_force["at_begin"], Value::Null);
    assert_eq!(in_force["at_end"]["database_sha256"], database);
    assert_eq!(in_force["database"]["sha256"], database);
    assert_ne!(in_force["at_end"]["policy_sha256"], policy);
    assert_eq!(in_force["changed"], true);
    assert_eq!(in_force["rules_are_of_the_end"], true);
    let changes = report["changes"].as_array().unwrap();
    assert_eq!(changes[0]["policy_sha256"], policy);
    assert_eq!(changes[1]["who"], "root");
    let (_, text) = written(&site, &cerco, &["--since", "1h"], "incident.html");
    for sum in [policy, database] {
        assert!(text.contains(&sum), "{sum}");
    }
    assert!(text.contains("The policy or the database changed in this time"));
}

#[test]
fn wrong_questions_and_places_are_refused() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--since", "yesterday"], 2, "--since: expected 90m"),
        (
            &["--since", "1h", "--until", "2h"],
            2,
            "--until: 2h is not after --since 1h",
        ),
        (
            &["--since", "2100-01-01", "--until", "2100-01-02"],
            2,
            "--since: 2100-01-01 lies in the future",
        ),
        (&["-o", "/dev/null"], 2, "/dev/null is no regular file"),
        (
            &["-o", "/nonexistent/a.html"],
            1,
            "failed to write /nonexistent/a.html",
        ),
        (
            &["-o", "a.pdf"],
            2,
            "there is no format for files that end in .pdf",
        ),
    ];
    for (args, code, words) in cases {
        let ended = cerco.try_cli(&[&["report"], args].concat());
        assert_eq!(ended.code, code, "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(words), "{args:?}: {ended:?}");
    }
    // What was asked for is what it is about, also where the history begins later.
    let args = ["report", "--since", "2026-01-02", "--until", "2026-01-04"];
    let before = cerco.json(&args);
    let period = &before["period"];
    assert_eq!(
        (period["since"].as_u64(), period["until"].as_u64()),
        (Some(1_767_312_000), Some(1_767_484_800))
    );
    let sentences = before["sentences"].as_array().unwrap();
    assert_eq!(sentences.len(), 1, "{sentences:?}");
    assert!(
        sentences[0]
            .as_str()
            .unwrap()
            .starts_with("Nothing is known of the time from 2 Jan 2026 00:00"),
        "{sentences:?}"
    );
    let shown = cerco.on_a_terminal(&site.host, "report", "");
    assert!(shown.contains("HTML on a terminal helps nobody"), "{shown}");
}

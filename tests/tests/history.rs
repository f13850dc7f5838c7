//! The history: what it tells equals what was sent and counted, whatever happens to the daemon and the disk.

use integration_tests::{
    counts::Counts,
    daemon::Cerco,
    http, poll,
    site::{ABROAD, LINK, MACAU, Site, ended, parse},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Child, Stdio},
    thread,
    time::{Duration, UNIX_EPOCH},
};

const LIMIT: Duration = Duration::from_secs(20);

fn metrics(site: &Site) -> String {
    http::ask(&site.host, Cerco::METRICS, "GET /metrics HTTP/1.1", "")
        .unwrap()
        .body
}

/// Packets by reason and verdict, as the history tells them.
fn told(history: &Value) -> BTreeMap<(String, String), u64> {
    let mut told = BTreeMap::new();
    for line in history["reasons"].as_array().unwrap() {
        for (verdict, key) in [
            ("pass", "passed_packets"),
            ("drop", "dropped_packets"),
            ("would_drop", "would_drop_packets"),
        ] {
            let packets = line[key].as_u64().unwrap();
            let name = line["name"].as_str().unwrap().to_owned();
            if packets > 0 {
                told.insert((name, verdict.to_owned()), packets);
            }
        }
    }
    told
}

/// The same, as `status` counts them.
fn counted(status: &Value) -> BTreeMap<(String, String), u64> {
    let totals = status["totals"].as_array().unwrap().iter();
    totals
        .map(|it| {
            let word = |key: &str| it[key].as_str().unwrap().to_owned();
            (
                (word("reason"), word("verdict")),
                it["packets"].as_u64().unwrap(),
            )
        })
        .filter(|(_, packets)| *packets > 0)
        .collect()
}

/// Waits until the history tells all that is counted; kernels send frames of their own meanwhile.
#[track_caller]
fn wait_until_equal(cerco: &Cerco) -> Value {
    let mut last = String::new();
    poll::until("see the history equal the counters", LIMIT, || {
        let history = cerco.json(&["history"]);
        let status = cerco.json(&["status"]);
        last = format!("{:?}\n{:?}", told(&history), counted(&status));
        (told(&history) == counted(&status)).then_some(history)
    })
    .unwrap_or_else(|error| panic!("{error}: {last}"))
}

fn packets(history: &Value, reason: &str, key: &str) -> u64 {
    let lines = history["reasons"].as_array().unwrap();
    let line = lines.iter().find(|it| it["name"] == reason);
    line.map_or(0, |line| line[key].as_u64().unwrap())
}

/// Who, and what, without the daemon's own comings and goings.
fn changes(history: &Value) -> Vec<(String, String, String)> {
    let changes = history["changes"].as_array().unwrap().iter();
    changes
        .map(|it| {
            let word = |key: &str| it[key].as_str().unwrap().to_owned();
            (word("kind"), word("who"), word("what"))
        })
        .filter(|(kind, ..)| kind != "daemon")
        .collect()
}

#[test]
fn history_equals_the_counters_over_modes_restarts_and_a_new_gate() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    site.send(ABROAD[0], 30).unwrap();
    site.send(ABROAD[1], 12).unwrap();
    site.send_to(443, MACAU[0], 9).unwrap();
    cerco.cli(&["observe"]).unwrap();
    site.send(ABROAD[0], 5).unwrap();
    poll::until("count all", LIMIT, || {
        (Counts::read(cerco.pins()).packets("would country_denied") == 5).then_some(())
    })
    .unwrap();
    let history = wait_until_equal(&cerco);
    assert_eq!(packets(&history, "country_denied", "dropped_packets"), 42);
    assert_eq!(packets(&history, "country_denied", "would_drop_packets"), 5);
    assert_eq!(packets(&history, "allowed", "passed_packets"), 9);
    let us = cerco.json(&["history", "--country", "us"]);
    assert_eq!(us["total"]["dropped_packets"], 42);
    assert_eq!(us["total"]["would_drop_packets"], 5);
    let denied = cerco.json(&["history", "--reason", "country_denied", "--by", "minute"]);
    let points = denied["points"].as_array().unwrap();
    let sum = |key: &str| {
        points
            .iter()
            .map(|it| it[key].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!((sum("dropped_packets"), sum("would_drop_packets")), (42, 5));
    assert_eq!(history["interfaces"][0]["name"], LINK);
    assert_eq!(
        history["interfaces"][0]["dropped_packets"],
        history["total"]["dropped_packets"]
    );

    // Frames that come while no daemon runs are in the counters, so they are in the history.
    cerco.stop().unwrap();
    site.send(ABROAD[0], 7).unwrap();
    cerco.run().unwrap();
    let history = wait_until_equal(&cerco);
    assert_eq!(
        packets(&history, "country_denied", "would_drop_packets"),
        12
    );

    // A gate that was taken down has taken its counters along; the history goes on.
    cerco.stop().unwrap();
    let before = counted(&serde_json::from_str(&without_daemon(&cerco, &["status"])).unwrap());
    cerco.cli(&["detach", "--force"]).unwrap();
    cerco.run().unwrap();
    site.send(ABROAD[0], 3).unwrap();
    poll::until("see both gates in the history", LIMIT, || {
        let mut told = told(&cerco.json(&["history"]));
        let mut sum = counted(&cerco.json(&["status"]));
        for (key, packets) in &before {
            *sum.entry(key.clone()).or_default() += packets;
        }
        // What the kernels themselves sent between the last look and the end of the gate, nobody has counted.
        for counts in [&mut told, &mut sum] {
            counts.retain(|(reason, _), _| reason != "essential" && reason != "not_ip");
        }
        let key = ("country_denied".to_owned(), "would_drop".to_owned());
        (told == sum && told.get(&key) == Some(&15)).then_some(())
    })
    .unwrap();
    let text = cerco.cli(&["history"]).unwrap();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// The output of a verb that finds no daemon and reads what there is.
fn without_daemon(cerco: &Cerco, args: &[&str]) -> String {
    let ended = ended(cerco.cli_command(args).arg("--json"));
    assert!(
        ended.code == 3 && !ended.stdout.is_empty(),
        "{args:?}: {ended:?}"
    );
    ended.stdout
}

#[test]
fn file_is_read_beside_the_daemon_and_without_it() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    site.send(ABROAD[0], 4).unwrap();
    poll::until("see it told", LIMIT, || {
        let history = cerco.json(&["history"]);
        (packets(&history, "country_denied", "dropped_packets") == 4).then_some(())
    })
    .unwrap();
    // A socket where nobody answers, so that the file is read while its writer lives.
    let nowhere = site.path("nowhere.sock");
    let nowhere = nowhere.to_str().unwrap();
    let beside = parse(&without_daemon(&cerco, &["history", "--socket", nowhere]));
    assert_eq!(packets(&beside, "country_denied", "dropped_packets"), 4);
    assert_eq!(beside["daemon"], false);
    cerco.stop().unwrap();
    let alone = parse(&without_daemon(&cerco, &["history"]));
    assert_eq!(packets(&alone, "country_denied", "dropped_packets"), 4);
    let said = |history: &Value| {
        let changes = history["changes"].as_array().unwrap();
        changes.last().unwrap()["what"].as_str().unwrap().to_owned()
    };
    assert_eq!(said(&alone), "stopped; the gate stands");
    // Off: nothing is there, and that is said.
    let off = "[history]\nenabled = false\n";
    cerco.write_config(&site.config_with("", off)).unwrap();
    cerco.run().unwrap();
    let refused = ended(&mut cerco.cli_command(&["history"]));
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("[history] enabled is false"),
        "{refused:?}"
    );
    assert_eq!(cerco.json(&["status"])["history"], Value::Null);
    let metrics = metrics(&site);
    assert!(!metrics.contains("cerco_history"), "{metrics}");
}

#[test]
fn changes_are_told_with_who_made_them() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let first = cerco.json(&["history"])["changes"][0].clone();
    assert_eq!(first["kind"], "daemon");
    assert!(
        first["what"]
            .as_str()
            .unwrap()
            .starts_with("started, version"),
        "{first}"
    );
    // What `sha256sum` says of the config.
    let sum = ended(std::process::Command::new("sha256sum").arg(cerco.config_path()));
    let sum = sum.stdout.split(' ').next().unwrap().to_owned();
    assert_eq!(first["policy_sha256"], sum);
    cerco.cli(&["observe"]).unwrap();
    cerco.cli(&["allow", "PT", "--for", "8s"]).unwrap();
    let with_rules = cerco.json(&["history"])["changes"][2].clone();
    let both = ended(
        std::process::Command::new("sh")
            .args(["-c", "cat \"$1\" \"$2\" | sha256sum", "sh"])
            .arg(cerco.config_path())
            .arg(cerco.state().join("runtime.json")),
    );
    assert_eq!(
        with_rules["policy_sha256"],
        both.stdout.split(' ').next().unwrap()
    );
    poll::until("see the rule end", LIMIT, || {
        let ended = changes(&cerco.json(&["history"]));
        (ended.len() == 3).then_some(())
    })
    .unwrap();
    cerco.cli(&["deny", "PT", "--confirm", "1m"]).unwrap();
    cerco.cli(&["confirm"]).unwrap();
    cerco.cli(&["deny", "JP", "--confirm", "1s"]).unwrap();
    poll::until("see the trial end", LIMIT, || {
        let ended = changes(&cerco.json(&["history"]));
        (ended.len() == 7).then_some(())
    })
    .unwrap();
    cerco.signal(libc::SIGHUP).unwrap();
    poll::until("see the reload", LIMIT, || {
        (changes(&cerco.json(&["history"])).len() == 8).then_some(())
    })
    .unwrap();
    // What is refused changes nothing.
    let refused = ended(&mut cerco.cli_command(&["rules", "remove", "FR"]));
    assert_ne!(refused.code, 0);
    let history = cerco.json(&["history"]);
    let found = changes(&history);
    let found: Vec<[&str; 3]> = found
        .iter()
        .map(|(kind, who, what)| [kind.as_str(), who.as_str(), what.as_str()])
        .collect();
    let database = site.path("database.csv");
    let reloaded = format!("reloaded: {}, mode observe", database.display());
    // The words before the time of the rule's end.
    let allowed = found[1][2].split(" until").next().unwrap().to_owned();
    let expected = [
        [
            "mode",
            "root",
            "observing: nothing is dropped, what would be is counted",
        ],
        ["policy", "root", found[1][2]],
        ["policy", "the daemon", "allow PT: ended, its time is over"],
        ["trial", "root", "on trial for 1m: deny PT: in force"],
        ["trial", "root", "confirmed: deny PT"],
        ["trial", "root", "on trial for 1s: deny JP: in force"],
        [
            "trial",
            "the daemon",
            "nobody confirmed it, so it was undone: deny JP",
        ],
        ["policy", "a signal", reloaded.as_str()],
    ];
    assert!(allowed.starts_with("allow PT: in force"), "{allowed}");
    assert_eq!(found, expected);
    let last = history["changes"].as_array().unwrap().last().unwrap();
    assert_eq!(last["mode"], "observe");
    assert_eq!(last["database"], database.to_str().unwrap());
    let sum = ended(std::process::Command::new("sha256sum").arg(&database));
    assert_eq!(
        last["database_sha256"],
        sum.stdout.split(' ').next().unwrap()
    );
}

#[test]
fn sources_ports_and_protocols_come_from_events() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    site.send(ABROAD[0], 20).unwrap();
    site.send_to(443, ABROAD[1], 10).unwrap();
    // No more in all than a window lets through of one reason on one of two CPUs.
    for host in 10..30 {
        site.send(&format!("203.0.113.{host}"), 1).unwrap();
    }
    let history = poll::until("see all events told", LIMIT, || {
        let history = cerco.json(&["history"]);
        (history["sampled"]["frames"] == 50).then_some(history)
    })
    .unwrap();
    let sampled = &history["sampled"];
    assert_eq!(sampled["protocols"][0]["name"], "6");
    assert_eq!(sampled["protocols"][0]["dropped_packets"], 50);
    assert_eq!(
        sampled["sources"][0],
        serde_json::json!({"source": ABROAD[0], "class": "US", "at_least": 20, "at_most": 20})
    );
    assert_eq!(sampled["sources"][1]["source"], "2001:db8:2::/64");
    assert_eq!(sampled["sources"][1]["at_least"], 10);
    assert_eq!(
        sampled["ports"][0],
        serde_json::json!({"port": "80/tcp", "at_least": 40, "at_most": 40})
    );
    let distinct = sampled["distinct_sources"].as_u64().unwrap();
    assert!(distinct.abs_diff(22) <= 2, "{distinct}");
}

/// Most frames of a burst are no events; they are not those of who comes next.
#[test]
fn burst_is_not_counted_for_the_next_source() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let burst = 10_000;
    site.send(ABROAD[0], burst).unwrap();
    poll::until("count the burst", LIMIT, || {
        (cerco.packets("country_denied", "drop") == burst as u64).then_some(())
    })
    .unwrap();
    // On whichever CPU the burst came, the next frame there tells of its end.
    let next = "203.0.113.99";
    let sampled = poll::until("hear of the end of the burst", LIMIT, || {
        site.send_to(443, next, 1).unwrap();
        let sampled = cerco.json(&["history"])["sampled"].take();
        let all = sampled["frames"].as_u64().unwrap();
        (all > burst as u64).then_some(sampled)
    })
    .unwrap();
    let bounds = |source: &str| {
        let mut lines = sampled["sources"].as_array().unwrap().iter();
        let line = lines.find(|it| it["source"] == source).unwrap();
        let number = |key: &str| line[key].as_u64().unwrap();
        (number("at_least"), number("at_most"))
    };
    let (of_burst, of_next) = (bounds(ABROAD[0]), bounds(next));
    // The first of the others may have come unseen as well, right behind the burst.
    assert!(of_burst.1 >= burst as u64, "{sampled:#}");
    assert!(of_burst.0 < of_burst.1, "{sampled:#}");
    // All of its frames were seen, and no other is counted for it.
    assert_eq!(of_next.0, of_next.1, "{sampled:#}");
    assert_eq!(
        of_burst.0 + of_next.0,
        sampled["events"].as_u64().unwrap(),
        "{sampled:#}"
    );
    assert_eq!(sampled["ports"][0]["port"], "80/tcp");
}

/// Nothing is counted where no gate stands, and a report must not call that quiet.
#[test]
fn gate_that_was_detached_beside_the_daemon_is_told() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let detached = "the gate was detached: every packet passes, until a restart puts it up again";
    assert_eq!(
        cerco.json(&["report"])["warnings"],
        serde_json::json!([]),
        "all is well"
    );
    cerco.cli(&["detach", "--force"]).unwrap();
    let warnings = |cerco: &Cerco| -> Vec<String> {
        let warnings = cerco.json(&["report"])["warnings"].take();
        serde_json::from_value(warnings).unwrap()
    };
    poll::until("see it told", LIMIT, || {
        let history = cerco.json(&["history"]);
        let last = history["changes"].as_array().unwrap().last().unwrap();
        (last["kind"] == "daemon" && last["what"] == detached).then_some(())
    })
    .unwrap();
    let told = warnings(&cerco);
    assert!(
        told.len() == 1
            && told[0].starts_with("no gate stood from ")
            && told[0].ends_with(" UTC on: every packet passed, and none was counted"),
        "{told:?}"
    );
    cerco.stop().unwrap();
    cerco.run().unwrap();
    let told = warnings(&cerco);
    assert!(
        told.len() == 1
            && told[0].starts_with("no gate stood from ")
            && told[0].ends_with(" UTC: every packet passed, and none was counted"),
        "{told:?}"
    );
    assert_eq!(
        cerco.json(&["report"])["has_gaps"],
        true,
        "the period had it"
    );
}

/// Without a word of a daemon: the one that comes finds another gate.
#[test]
fn counts_that_went_with_a_gate_are_told() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    site.send(ABROAD[0], 3).unwrap();
    cerco.stop().unwrap();
    site.send(ABROAD[0], 5).unwrap();
    cerco.cli(&["detach", "--force"]).unwrap();
    cerco.run().unwrap();
    let report = cerco.json(&["report"]);
    assert_eq!(report["total"]["dropped_packets"], 3);
    let told = report["warnings"].as_array().unwrap();
    let words = "is lost, as is whether a gate stood all that time: another one was put up then";
    assert!(
        told.len() == 1 && told[0].as_str().unwrap().ends_with(words),
        "{told:?}"
    );
}

#[test]
fn daemon_that_is_killed_at_any_moment_loses_nothing() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    // The file is there.
    cerco.json(&["history"]);
    let mut random = fastrand::Rng::with_seed(5);
    let mut sent = 0;
    for round in 0..12 {
        // Each question makes it write, so that it is killed while it does.
        let mut asking: Vec<Child> = (0..3)
            .map(|_| {
                cerco
                    .cli_command(&["history", "--json"])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        site.send(ABROAD[0], 25).unwrap();
        sent += 25;
        thread::sleep(Duration::from_micros(random.u64(0..40_000)));
        cerco.kill().unwrap();
        for child in &mut asking {
            child.wait().unwrap();
        }
        let read = parse(&without_daemon(&cerco, &["history"]));
        assert!(
            packets(&read, "country_denied", "dropped_packets") <= sent,
            "round {round}"
        );
        cerco.run().unwrap();
    }
    let history = poll::until("see all told", LIMIT, || {
        let history = cerco.json(&["history"]);
        (packets(&history, "country_denied", "dropped_packets") >= sent).then_some(history)
    })
    .unwrap();
    assert_eq!(packets(&history, "country_denied", "dropped_packets"), sent);
    let words = "the daemon before this one ended without a word after ";
    let killed = changes(&history)
        .iter()
        .filter(|(_, _, what)| what.starts_with(words))
        .count();
    // One that was killed before it could say that it was there is not missed.
    assert!((1..=12).contains(&killed), "{history:#}");
    assert!(!cerco.state().join("history/history.db.broken").exists());
}

#[test]
fn full_disk_stops_the_history_and_not_the_gate() {
    let site = Site::new().unwrap();
    // A small disk that only the daemon sees; it goes with it.
    let script = "d=$(dirname \"$4\")/state/history; mkdir -p \"$d\" && \
                  mount -t tmpfs -o size=512k cerco-history \"$d\" && exec \"$@\"";
    let wrapper = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "sh",
    ];
    let cerco = Cerco::start_under(&site.host, &site.config(), &wrapper).unwrap();
    site.send(ABROAD[0], 10).unwrap();
    let denied = |count: u64| {
        poll::until("see frames told", LIMIT, || {
            let history = cerco.json(&["history"]);
            let dropped = packets(&history, "country_denied", "dropped_packets");
            (dropped == count).then_some(history)
        })
        .unwrap()
    };
    denied(10);
    let inside = |path: PathBuf| {
        let pid = cerco.pid().unwrap();
        PathBuf::from(format!("/proc/{pid}/root{}", path.display()))
    };
    let filler = inside(cerco.state().join("history/filler"));
    // At the turn of a minute the daemon writes, and what it takes back then would leave room.
    poll::until("be well within a minute", LIMIT, || {
        let second = UNIX_EPOCH.elapsed().unwrap().as_secs() % 60;
        (1..50).contains(&second).then_some(())
    })
    .unwrap();
    let mut file = fs::File::create(&filler).unwrap();
    for size in [65_536, 4_096, 1] {
        let block = vec![0; size];
        while file.write_all(&block).is_ok() {}
    }
    site.send(ABROAD[0], 7).unwrap();
    poll::until("see the gate drop", LIMIT, || {
        (cerco.packets("country_denied", "drop") == 17).then_some(())
    })
    .unwrap();
    // The question makes it write; what lies in the file can still be read.
    let history = denied(10);
    let fault = history["store"]["fault"].as_str().unwrap().to_owned();
    assert!(fault.contains("full"), "{fault}");
    let status = cerco.json(&["status"]);
    let warnings = status["warnings"].to_string();
    assert!(
        warnings.contains("the history is not written: "),
        "{warnings}"
    );
    let fault_metric = || {
        metrics(&site)
            .lines()
            .find_map(|line| line.strip_prefix("cerco_history_fault "))
            .unwrap()
            .to_owned()
    };
    assert_eq!(fault_metric(), "1");
    poll::until("read of the fault", LIMIT, || {
        let log = cerco.log();
        log.contains("the history is not written").then_some(())
    })
    .unwrap();
    // An open file keeps its room.
    drop(file);
    fs::remove_file(&filler).unwrap();
    let history = denied(17);
    assert_eq!(history["store"]["fault"], Value::Null);
    assert_eq!(fault_metric(), "0");
    assert_eq!(cerco.json(&["status"])["warnings"], serde_json::json!([]));
    // What the daemon has logged is read by a thread of its own.
    poll::until("read of the end of the fault", LIMIT, || {
        let log = cerco.log();
        log.contains("the history is written again").then_some(())
    })
    .unwrap();
}

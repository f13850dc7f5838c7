//! The oldest kernel that is promised, Linux 6.1 of Debian 12: all other tests run on the kernel of this host, whose
//! verifier follows more, and which has TCX.

use integration_tests::guest::{Recording, run_on_linux_6_1};
use serde_json::{Value, json};

const SCRIPT: &str = include_str!("guest.sh");

#[test]
fn gate_filters_counts_and_outlives_its_daemon_on_linux_6_1() {
    let guest = run_on_linux_6_1(SCRIPT).unwrap_or_else(|error| panic!("{error}"));
    // Shown when something below fails.
    println!("{}", guest.console());
    let kernel = &guest.of("kernel").stdout;
    assert!(kernel.starts_with("6.1."), "{kernel}");
    stands_native_and_observes(&guest);
    counts_what_it_would_drop_and_drops_it(&guest);
    shows_each_drop(&guest);
    lives_on_without_its_daemon(&guest);
    leaves_nothing(&guest);
    drops_on_a_bond(&guest);
}

fn stands_native_and_observes(guest: &Recording) {
    let status = guest.json("stands");
    assert_eq!(status["mode"], "observe");
    assert_eq!(
        status["interfaces"],
        json!([{"interface": "gate0", "attach_mode": "native"}])
    );
    assert_eq!(status["replies"]["enabled"], true);
    assert_eq!(status["replies"]["faults"], json!([]));
    // TCX came with Linux 6.6, so these are filters of the clsact qdisc.
    assert_eq!(filters(guest, "tracker_in"), ["cerco_in"]);
    assert_eq!(filters(guest, "tracker_out"), ["cerco_out"]);
    let doctor = guest.json("doctor");
    let bad: Vec<&Value> = findings(&doctor, &["fault", "unknown"]);
    assert_eq!(bad, Vec::<&Value>::new());
}

fn counts_what_it_would_drop_and_drops_it(guest: &Recording) {
    assert_ends(
        guest,
        &[("observe_us", 0), ("observe_us6", 0), ("observe_mo", 0)],
    );
    let observed = [
        ("allowed", "pass", 1, 98),
        // Two frames of 98 bytes and one of 118.
        ("country_denied", "would_drop", 3, 314),
    ];
    assert_counts(guest, "observed", &observed);
    assert_ends(
        guest,
        &[
            ("enforce", 0),
            ("enforce_us", 1),
            ("enforce_us6", 1),
            ("enforce_mo", 0),
        ],
    );
    assert_ends(guest, &[("own_to_us", 0)]);
    let would = ("country_denied", "would_drop", 3, 314);
    let passed = [
        ("allowed", "pass", 2, 196),
        ("reply", "pass", 2, 196),
        would,
    ];
    let drops = |packets, bytes| ("country_denied", "drop", packets, bytes);
    assert_counts(guest, "enforced", &[&passed[..], &[drops(3, 314)]].concat());
    assert_ends(guest, &[("vlan_us", 1)]);
    assert_counts(guest, "vlan", &[&passed[..], &[drops(6, 608)]].concat());
}

fn shows_each_drop(guest: &Recording) {
    let events = guest.json("events");
    let shown: Vec<Value> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            json!([
                it["verdict"],
                it["reason"],
                it["class"],
                it["source"],
                it["interface"]
            ])
        })
        .collect();
    let event = |verdict, source| json!([verdict, "country_denied", "US", source, "gate0"]);
    let (v4, v6) = ("8.8.8.8", "2600:1f18::1");
    let observed = [v4, v4, v6].map(|source| event("would_drop", source));
    let enforced = [v4, v4, v6, v4, v4, v4].map(|source| event("drop", source));
    assert_eq!(shown, [&observed[..], &enforced].concat());
}

fn lives_on_without_its_daemon(guest: &Recording) {
    // Exit status 3: no daemon answers, and this was read from the kernel.
    assert_ends(
        guest,
        &[("trial", 0), ("trial_mo", 1), ("dead", 3), ("dead_us", 1)],
    );
    let dead = guest.json("dead");
    assert_eq!(
        (&dead["daemon"], &dead["mode"]),
        (&json!(false), &json!("enforce"))
    );
    assert!(dead["trial"].is_object(), "{}", dead["trial"]);
    assert_ends(guest, &[("over", 0), ("undone_mo", 0), ("undone_us", 1)]);
    let passed = [
        ("allowed", "pass", 3, 294),
        ("reply", "pass", 2, 196),
        ("country_denied", "would_drop", 3, 314),
    ];
    // Macau's on trial, and two of the US without a daemon.
    let before = [&passed[..], &[("country_denied", "drop", 9, 902)]].concat();
    assert_counts(guest, "before", &before);
    assert_ends(guest, &[("restarted_us", 1), ("restarted", 0)]);
    let restarted = [&passed[..], &[("country_denied", "drop", 10, 1000)]].concat();
    assert_counts(guest, "restarted", &restarted);
}

fn leaves_nothing(guest: &Recording) {
    assert_ends(guest, &[("detach", 0), ("detached_us", 0), ("detached", 3)]);
    let link = guest.json("link");
    assert_eq!(link[0]["ifname"], "gate0");
    assert_eq!(link[0].get("xdp"), None, "{link}");
    assert_eq!(filters(guest, "filters_in"), [""; 0]);
    assert_eq!(filters(guest, "filters_out"), [""; 0]);
    assert_eq!(guest.of("pins").stdout, "");
}

fn drops_on_a_bond(guest: &Recording) {
    let modes = |name: &str| {
        let interfaces = guest.json(name)["interfaces"].clone();
        let all = interfaces.as_array().unwrap().iter();
        all.map(|it| json!([it["interface"], it["attach_mode"]]))
            .collect::<Vec<_>>()
    };
    let expected = |bond| [json!(["trunk0", bond]), json!(["dummy0", "generic"])];
    assert_eq!(modes("bond_auto"), expected("native"));
    assert_ends(guest, &[("bond_us_auto", 1), ("bond_mo_auto", 0)]);
    assert_eq!(bond_mode(&guest.json("doctor_auto")), "ok");
    assert_eq!(modes("bond_generic"), expected("generic"));
    assert_eq!(bond_mode(&guest.json("doctor_generic")), "ok");
    assert_ends(guest, &[("bond_us_generic", 1), ("bond_mo_generic", 0)]);
    // In native mode the frames come by the members.
    let counts = [
        ("allowed", "pass", 2, 196),
        ("country_denied", "drop", 4, 392),
    ];
    assert_counts(guest, "bond_auto", &counts);
    assert_counts(guest, "bond_generic", &counts);
    let events = guest.json("bond_events_auto");
    let interfaces: Vec<&Value> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["interface"])
        .collect();
    assert_eq!(interfaces, ["trunk0"; 4]);
}

/// How commands ended: 0 of a ping is an answer, 1 none.
fn assert_ends(guest: &Recording, expected: &[(&str, i32)]) {
    let seen: Vec<(&str, i32)> = expected
        .iter()
        .map(|(name, _)| (*name, guest.of(name).code))
        .collect();
    assert_eq!(seen, expected);
}

/// Reason, verdict, packets, bytes. ARP and neighbour discovery are left out: the kernels send them when they like.
fn assert_counts(guest: &Recording, name: &str, expected: &[(&str, &str, u64, u64)]) {
    let status = guest.json(name);
    let totals = status["totals"].as_array().unwrap();
    let mut seen: Vec<(&str, &str, u64, u64)> = totals
        .iter()
        .map(|it| {
            let text = |key: &str| it[key].as_str().unwrap();
            let count = |key: &str| it[key].as_u64().unwrap();
            (
                text("reason"),
                text("verdict"),
                count("packets"),
                count("bytes"),
            )
        })
        .filter(|(reason, _, packets, _)| *packets > 0 && !["not_ip", "essential"].contains(reason))
        .collect();
    let mut expected = expected.to_vec();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected, "{name}");
}

/// The names of the BPF programs among the filters that tc lists.
fn filters(guest: &Recording, name: &str) -> Vec<String> {
    let listed = guest.json(name);
    let programs = listed.as_array().unwrap().iter();
    programs
        .filter_map(|it| it["options"]["bpf_name"].as_str().map(str::to_owned))
        .collect()
}

fn findings<'a>(doctor: &'a Value, severities: &[&str]) -> Vec<&'a Value> {
    let all = doctor["findings"].as_array().unwrap().iter();
    all.filter(|it| severities.contains(&it["severity"].as_str().unwrap()))
        .collect()
}

/// How bad the way is in which the gate stands on the bond.
fn bond_mode(doctor: &Value) -> &str {
    let mut all = doctor["findings"].as_array().unwrap().iter();
    let finding = all
        .find(|it| it["check"] == "xdp_mode" && it["interface"] == "trunk0")
        .unwrap();
    finding["severity"].as_str().unwrap()
}

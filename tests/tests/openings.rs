//! Rules that end, or are about one port: the kernel keeps both, also without a daemon.

use integration_tests::{
    daemon::Cerco,
    decided::{assert_decided, wait_until_decided},
    poll,
    site::{ABROAD, MACAU, Site},
};
use std::{
    thread,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn opening_for_a_port_ends_in_the_kernel_though_the_daemon_is_killed() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let began = Instant::now();
    let said = cerco
        .cli(&[
            "allow",
            "US",
            "--port",
            "80/tcp",
            "--for",
            "8s",
            "--comment",
            "ACME",
        ])
        .unwrap();
    assert!(
        said.starts_with("allow US on 80/tcp: in force until 20"),
        "{said}"
    );
    assert!(
        said.contains("(the kernel ends it, with a daemon or without)"),
        "{said}"
    );
    cerco.kill().unwrap();
    for source in ABROAD {
        assert_decided(&site, &cerco, source, 80, "allowed");
        assert_decided(&site, &cerco, source, 81, "country_denied");
    }
    wait_until_decided(&site, &cerco, ABROAD[0], 80, "country_denied");
    let lasted = began.elapsed();
    assert!(lasted >= Duration::from_secs(8), "{lasted:?}");
    assert_decided(&site, &cerco, ABROAD[1], 80, "country_denied");
    // The next daemon has forgotten it.
    cerco.run().unwrap();
    assert_decided(&site, &cerco, ABROAD[0], 80, "country_denied");
    let rules = cerco.json(&["rules"]);
    assert!(!rules.to_string().contains("ACME"), "{rules}");
}

#[test]
fn rules_of_every_kind_end_in_the_kernel() {
    let changes: [(&[&str], &str, &str, &str); 5] = [
        (&["deny", "MO"], MACAU[0], "country_denied", "allowed"),
        (&["allow", "US"], ABROAD[0], "allowed", "country_denied"),
        (
            &["allow", "203.0.113.0/24"],
            ABROAD[0],
            "rule_allowed",
            "country_denied",
        ),
        (
            &["deny", "198.51.100.0/24"],
            MACAU[0],
            "rule_denied",
            "allowed",
        ),
        (
            &["trust", "2001:db8:2::/48"],
            ABROAD[1],
            "trusted",
            "banned",
        ),
    ];
    let ends = |(change, source, during, after): (&[&str], &str, &str, &str)| {
        let site = Site::new().unwrap();
        let mut cerco = site.start().unwrap();
        cerco.cli(&["ban", ABROAD[1], "--for", "1h"]).unwrap();
        let change = [change, &["--for", "8s"]].concat();
        cerco.cli(&change).unwrap();
        assert_decided(&site, &cerco, source, 80, during);
        cerco.kill().unwrap();
        wait_until_decided(&site, &cerco, source, 80, after);
    };
    // Side by side, since each takes its time.
    thread::scope(|scope| {
        for change in changes {
            scope.spawn(move || ends(change));
        }
    });
}

#[test]
fn longer_rule_of_the_config_stays_within_an_opening() {
    let site = Site::new().unwrap();
    let config = site.config_with("", "[rules]\ndeny = [\"203.0.113.7/32\"]\n");
    let cerco = Cerco::start(&site.host, &config).unwrap();
    cerco
        .cli(&[
            "allow",
            "203.0.113.0/24",
            "--port",
            "443/tcp",
            "--for",
            "1h",
        ])
        .unwrap();
    assert_decided(&site, &cerco, "203.0.113.8", 443, "rule_allowed");
    assert_decided(&site, &cerco, "203.0.113.8", 80, "country_denied");
    assert_decided(&site, &cerco, "203.0.113.7", 443, "rule_denied");
}

#[test]
fn rules_for_ports_are_listed_explained_kept_and_removed() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let said = cerco
        .cli(&["allow", "US", "--port", "80/tcp", "--port", "443"])
        .unwrap();
    assert_eq!(said, "allow US on 80/tcp, 443/tcp: in force\n");
    let said = cerco.cli(&["deny", "MO", "--port", "22"]).unwrap();
    assert_eq!(said, "deny MO on 22/tcp: in force\n");
    let check = |cerco: &Cerco| {
        assert_decided(&site, cerco, ABROAD[0], 443, "allowed");
        assert_decided(&site, cerco, ABROAD[0], 22, "country_denied");
        assert_decided(&site, cerco, MACAU[0], 22, "country_denied");
        assert_decided(&site, cerco, MACAU[0], 443, "allowed");
    };
    check(&cerco);
    // A rule without a port goes beneath those with one.
    cerco.cli(&["deny", "US"]).unwrap();
    check(&cerco);
    // So does a change that is a byte in the kernel.
    cerco.cli(&["allow", "CN"]).unwrap();
    check(&cerco);
    cerco.kill().unwrap();
    check(&cerco);
    cerco.run().unwrap();
    check(&cerco);
    let rules = cerco.cli(&["rules"]).unwrap();
    let listed = "over the config; reloads and restarts keep it:\n  rule   target  note\n  \
                  allow  CN\n  deny   MO      on 22/tcp\n  deny   US\n  \
                  allow  US      on 80/tcp\n  allow  US      on 443/tcp\n\n\
                  To make it permanent:\n  cerco allow CN --permanent\n  \
                  cerco deny US --permanent\n";
    assert!(rules.contains(listed), "{rules}");
    let explained = cerco
        .cli(&["explain", ABROAD[0], "--port", "443/tcp"])
        .unwrap();
    assert!(
        explained.contains("allow US on 443/tcp, by the runtime rule"),
        "{explained}"
    );
    let explained = cerco.cli(&["explain", ABROAD[0], "--port", "22"]).unwrap();
    assert!(
        explained.contains("deny, by a runtime rule for US"),
        "{explained}"
    );
    let said = cerco
        .cli(&["rules", "remove", "US", "--port", "80"])
        .unwrap();
    assert_eq!(said, "allow US on 80/tcp: removed\n");
    assert_decided(&site, &cerco, ABROAD[0], 80, "country_denied");
    let late = cerco.try_cli(&["rules", "remove", "US", "--port", "80"]);
    assert_eq!(late.code, 2, "{}", late.stderr);
    assert!(
        late.stderr
            .contains("there is no runtime rule for US on 80/tcp"),
        "{}",
        late.stderr
    );
    let said = cerco.cli(&["rules", "remove", "US"]).unwrap();
    assert_eq!(said, "deny US; allow US on 443/tcp: removed\n");
    assert_decided(&site, &cerco, ABROAD[0], 443, "country_denied");
}

#[test]
fn opening_gives_back_the_rule_that_it_stands_over() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    cerco.cli(&["deny", MACAU[0]]).unwrap();
    cerco.cli(&["allow", "US", "--port", "80/tcp"]).unwrap();
    cerco.cli(&["allow", MACAU[0], "--for", "4s"]).unwrap();
    assert_decided(&site, &cerco, MACAU[0], 80, "rule_allowed");
    let opened = ["allow", "US", "--port", "80/tcp", "--for", "1h"];
    cerco.cli(&opened).unwrap();
    assert_decided(&site, &cerco, ABROAD[0], 80, "allowed");
    // Which ends one early, as the hook does.
    let said = cerco
        .cli(&["rules", "remove", "US", "--port", "80/tcp"])
        .unwrap();
    assert_eq!(said, "allow US on 80/tcp: removed\n");
    assert_decided(&site, &cerco, ABROAD[0], 80, "allowed");
    wait_until_decided(&site, &cerco, MACAU[0], 80, "rule_denied");
    // Trust goes over all rules, but for one that was said of it for a while.
    let guest = MACAU[1];
    let on_ssh = ["--port", "22/tcp"];
    cerco
        .cli(&[&["trust", guest][..], &on_ssh].concat())
        .unwrap();
    cerco
        .cli(&[&["deny", guest, "--for", "1h"][..], &on_ssh].concat())
        .unwrap();
    assert_decided(&site, &cerco, guest, 22, "rule_denied");
    let end = [&["rules", "remove", guest][..], &on_ssh].concat();
    assert_eq!(
        cerco.cli(&end).unwrap(),
        format!("deny {guest}/128 on 22/tcp: removed\n")
    );
    assert_decided(&site, &cerco, guest, 22, "trusted");
    cerco.cli(&end).unwrap();
    poll::until("see the rule off the list", LIMIT, || {
        let rules = cerco.json(&["rules"]);
        let runtime = rules["rules"].as_array().unwrap().iter();
        let runtime: Vec<&str> = runtime
            .filter(|it| it["origin"] == "runtime")
            .map(|it| it["target"].as_str().unwrap())
            .collect();
        (runtime == ["US", "198.51.100.7/32"]).then_some(())
    })
    .unwrap();
}

#[test]
fn opening_on_trial_goes_with_the_trial() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    cerco
        .cli(&[
            "allow",
            "US",
            "--port",
            "80",
            "--for",
            "1h",
            "--confirm",
            "1h",
        ])
        .unwrap();
    assert_decided(&site, &cerco, ABROAD[0], 80, "allowed");
    cerco.cli(&["rollback"]).unwrap();
    assert_decided(&site, &cerco, ABROAD[0], 80, "country_denied");
}

#[test]
fn more_rules_than_the_kernel_has_room_for_are_refused_and_change_nothing() {
    let site = Site::new().unwrap();
    let inside: Vec<String> = (0..64)
        .map(|last| format!("\"203.0.113.{last}\""))
        .collect();
    let rules = format!(
        "[rules]\ndeny = [\"203.0.0.0/16\", {}]\n",
        inside.join(", ")
    );
    let config = site.config_with("", &rules);
    let cerco = Cerco::start(&site.host, &config).unwrap();
    let refused = cerco.try_cli(&["allow", "203.0.113.0/24", "--for", "1h"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("need 65 entries with the rules inside"),
        "{}",
        refused.stderr
    );
    assert_decided(&site, &cerco, "203.0.113.200", 80, "rule_denied");
    // Without an end it goes into the table, where there is room.
    cerco.cli(&["allow", "203.0.113.0/24"]).unwrap();
    assert_decided(&site, &cerco, "203.0.113.200", 80, "rule_allowed");
}

/// The commands of the docs, without their comments.
fn commands_of_the_hook(name: &str) -> Vec<Vec<&'static str>> {
    let docs = include_str!("../../docs/openings.md");
    let (_, after) = docs
        .split_once(&format!("renewal-hooks/{name}/cerco`:"))
        .unwrap();
    let script = after.split("```").nth(1).unwrap();
    let lines = script
        .lines()
        .filter_map(|line| line.strip_prefix("cerco "));
    lines.map(|line| line.split(' ').collect()).collect()
}

#[test]
fn hooks_of_the_docs_open_the_port_and_close_it() {
    let site = Site::new().unwrap();
    let config = site.config_with("", "[rules]\ndeny = [\"203.0.113.9/32\"]\n");
    let cerco = Cerco::start(&site.host, &config).unwrap();
    cerco.cli(&["ban", "203.0.113.10", "--for", "1h"]).unwrap();
    let run = |hook| {
        let commands = commands_of_the_hook(hook);
        assert_eq!(commands.len(), 2, "{hook}");
        for command in commands {
            cerco.cli(&command).unwrap();
        }
    };
    run("pre");
    for source in ABROAD {
        assert_decided(&site, &cerco, source, 80, "rule_allowed");
        assert_decided(&site, &cerco, source, 443, "country_denied");
    }
    assert_decided(&site, &cerco, "203.0.113.9", 80, "rule_denied");
    assert_decided(&site, &cerco, "203.0.113.10", 80, "banned");
    run("post");
    for source in ABROAD {
        assert_decided(&site, &cerco, source, 80, "country_denied");
    }
}

//! A change that nobody confirms is undone, by the kernel itself.

use integration_tests::{
    daemon::Cerco,
    decided::{assert_decided, wait_until_decided},
    poll,
    site::{ABROAD, MACAU, Site},
};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(10);

fn start(site: &Site, mode: &str) -> Cerco {
    let config = site.config_with(&format!("mode = \"{mode}\""), "");
    Cerco::start(&site.host, &config).unwrap()
}

#[test]
fn kernel_undoes_it_though_the_daemon_is_killed() {
    let site = Site::new().unwrap();
    let mut cerco = start(&site, "observe");
    let began = Instant::now();
    let said = cerco.cli(&["enforce", "--yes", "--confirm", "8s"]).unwrap();
    assert!(said.contains("on trial until"), "{said}");
    cerco.kill().unwrap();
    assert_decided(&site, &cerco, ABROAD[0], 80, "country_denied");
    let status = cerco.try_cli(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let left = status["trial"]["remaining_seconds"].as_u64();
    assert!(left.is_some_and(|left| left <= 8), "{status}");
    wait_until_decided(&site, &cerco, ABROAD[0], 80, "would country_denied");
    let lasted = began.elapsed();
    assert!(lasted >= Duration::from_secs(8), "{lasted:?}");
    // Another daemon starts with what was confirmed.
    cerco.run().unwrap();
    assert_decided(&site, &cerco, ABROAD[0], 80, "would country_denied");
}

#[test]
fn daemon_that_lives_forgets_the_change_too() {
    let site = Site::new().unwrap();
    let cerco = start(&site, "enforce");
    cerco.cli(&["deny", "MO", "--confirm", "1s"]).unwrap();
    wait_until_decided(&site, &cerco, MACAU[0], 80, "allowed");
    poll::until("see the rule gone", LIMIT, || {
        let rules = cerco.json(&["rules"])["rules"].clone();
        let denials = rules
            .as_array()
            .unwrap()
            .iter()
            .filter(|rule| rule["target"] == "MO");
        let verbs: Vec<&str> = denials.filter_map(|rule| rule["rule"].as_str()).collect();
        (!verbs.contains(&"deny")).then_some(())
    })
    .unwrap();
    cerco.assert_logs("nobody confirmed it, so it was undone: deny MO");
    let late = cerco.try_cli(&["confirm"]);
    assert_eq!(
        (late.code, late.stderr.trim()),
        (1, "error: no change is on trial")
    );
    assert_eq!(cerco.json(&["explain", MACAU[0]])["verdict"], "pass");
}

#[test]
fn confirmed_change_stays_also_over_a_restart() {
    let site = Site::new().unwrap();
    let mut cerco = start(&site, "enforce");
    cerco.cli(&["deny", "MO", "--confirm", "8s"]).unwrap();
    assert_decided(&site, &cerco, MACAU[0], 80, "country_denied");
    let said = cerco.cli(&["confirm"]).unwrap();
    assert!(said.starts_with("confirmed: deny MO"), "{said}");
    // Nothing is to happen at the time when it would have been undone.
    let end = Instant::now() + Duration::from_millis(8_500);
    poll::until("let the time of the trial pass", LIMIT, || {
        (Instant::now() >= end).then_some(())
    })
    .unwrap();
    assert_decided(&site, &cerco, MACAU[0], 80, "country_denied");
    cerco.kill().unwrap();
    cerco.run().unwrap();
    assert_decided(&site, &cerco, MACAU[0], 80, "country_denied");
}

#[test]
fn rollback_undoes_it_at_once_and_one_trial_is_enough_at_a_time() {
    let site = Site::new().unwrap();
    let cerco = start(&site, "enforce");
    cerco.cli(&["allow", "US", "--confirm", "1h"]).unwrap();
    assert_decided(&site, &cerco, ABROAD[0], 80, "allowed");
    for refused in [
        &["deny", "MO"][..],
        &["observe"],
        &["reload"],
        &["rules", "remove", "US"],
    ] {
        let ended = cerco.try_cli(refused);
        assert_eq!(ended.code, 1, "{refused:?}: {ended:?}");
        assert!(
            ended.stderr.contains("is on trial for another"),
            "{ended:?}"
        );
    }
    // A ban is no policy, and does not wait.
    cerco.cli(&["ban", "198.51.100.7", "--for", "1h"]).unwrap();
    assert_decided(&site, &cerco, MACAU[0], 80, "banned");
    cerco.cli(&["unban", "198.51.100.7"]).unwrap();
    let status = cerco.json(&["status"]);
    assert_eq!(status["trial"]["change"], "allow US", "{status}");
    let text = cerco.cli(&["status"]).unwrap();
    assert!(
        text.contains("\non trial    allow US; undone in "),
        "{text}"
    );
    let said = cerco.cli(&["rollback"]).unwrap();
    assert!(said.starts_with("undone: allow US"), "{said}");
    let status = cerco.json(&["status"]);
    assert_eq!(status["trial"], serde_json::Value::Null);
    assert_eq!(status["allowed_countries"], serde_json::json!(["MO"]));
    assert_decided(&site, &cerco, ABROAD[0], 80, "country_denied");
    cerco.cli(&["deny", "MO"]).unwrap();
    assert_decided(&site, &cerco, MACAU[0], 80, "country_denied");
}

/// Puts a config on trial that lets Macau in no more.
fn try_another_config(site: &Site, cerco: &Cerco) {
    let tried = site.config().replace("MO = \"allow\"", "US = \"allow\"");
    cerco.write_config(&tried).unwrap();
    cerco.cli(&["apply", "--confirm", "1h"]).unwrap();
}

/// As before the trial of [`try_another_config`], and said aloud.
fn assert_starts_as_before(site: &Site, cerco: &mut Cerco) {
    cerco.kill().unwrap();
    cerco.run().unwrap();
    assert_decided(site, cerco, MACAU[0], 80, "allowed");
    let status = cerco.cli(&["status"]).unwrap();
    assert!(
        status.contains("on trial and nobody confirmed them"),
        "{status}"
    );
}

#[test]
fn config_that_was_not_confirmed_is_not_believed_at_the_next_start() {
    let site = Site::new().unwrap();
    let mut cerco = start(&site, "enforce");
    try_another_config(&site, &cerco);
    assert_decided(&site, &cerco, MACAU[0], 80, "country_denied");
    assert_starts_as_before(&site, &mut cerco);
    // Whoever says so without a trial means it.
    cerco.cli(&["reload", "--force"]).unwrap();
    assert_decided(&site, &cerco, MACAU[0], 80, "country_denied");
    cerco.kill().unwrap();
    cerco.run().unwrap();
    assert_decided(&site, &cerco, MACAU[0], 80, "country_denied");
}

#[test]
fn whoever_confirms_another_change_has_not_confirmed_the_config() {
    let site = Site::new().unwrap();
    let mut cerco = start(&site, "enforce");
    try_another_config(&site, &cerco);
    cerco.cli(&["rollback"]).unwrap();
    cerco.cli(&["deny", ABROAD[0], "--confirm", "1h"]).unwrap();
    cerco.cli(&["confirm"]).unwrap();
    assert_starts_as_before(&site, &mut cerco);
    // Until it is tried again, and confirmed.
    cerco.cli(&["apply", "--force", "--confirm", "1h"]).unwrap();
    cerco.cli(&["confirm"]).unwrap();
    cerco.kill().unwrap();
    cerco.run().unwrap();
    assert_decided(&site, &cerco, MACAU[0], 80, "country_denied");
    assert_eq!(cerco.json(&["status"])["warnings"], serde_json::json!([]));
}

#[test]
fn trial_of_a_config_is_undone_with_its_database() {
    let site = Site::new().unwrap();
    let cerco = start(&site, "enforce");
    let database = std::fs::read_to_string(site.path("database.csv")).unwrap();
    let other = format!("{database}203.0.114.0,203.0.114.255,PT\n");
    let other = site
        .write("other.csv", other)
        .unwrap()
        .display()
        .to_string();
    let config = site
        .config()
        .replace(&site.path("database.csv").display().to_string(), &other)
        .replace("MO = \"allow\"", "MO = \"allow\"\nPT = \"allow\"");
    cerco.write_config(&config).unwrap();
    cerco.cli(&["apply", "--confirm", "1h"]).unwrap();
    assert_decided(&site, &cerco, "203.0.114.5", 80, "allowed");
    assert_eq!(cerco.json(&["explain", "203.0.114.5"])["country"], "PT");
    cerco.cli(&["rollback"]).unwrap();
    assert_decided(&site, &cerco, "203.0.114.5", 80, "unknown_denied");
    let explained = cerco.json(&["explain", "203.0.114.5"]);
    assert_eq!(explained["country"], serde_json::Value::Null, "{explained}");
}

#[test]
fn times_that_are_no_trial_are_refused() {
    let site = Site::new().unwrap();
    let cerco = start(&site, "enforce");
    let ended = cerco.try_cli(&["deny", "MO", "--confirm", "25h"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("1s to 24h"), "{ended:?}");
    assert_decided(&site, &cerco, MACAU[0], 80, "allowed");
}

#[test]
fn trial_that_outgrows_the_table_is_refused() {
    let site = Site::new().unwrap();
    let cerco = start(&site, "enforce");
    // Two networks in each /16, another pair each time: more blocks than a small policy's table has to spare.
    let prefixes: Vec<String> = (0..6_000)
        .flat_map(|it| {
            let block = format!("{}.{}", 20 + it / 250, it % 250);
            [it % 127, 128 + it / 127].map(|third| format!("\"{block}.{third}.0/24\""))
        })
        .collect();
    let rules = format!(
        "[rules]\ndeny = [\"198.51.100.0/24\", {}]\n",
        prefixes.join(", ")
    );
    cerco
        .write_config(&site.config_with("mode = \"enforce\"", &rules))
        .unwrap();
    let refused = cerco.try_cli(&["apply", "--confirm", "1m"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(
        refused.stderr.contains("the gate has to be loaded anew"),
        "{refused:?}"
    );
    assert_decided(&site, &cerco, MACAU[0], 80, "allowed");
    assert_eq!(cerco.json(&["status"])["trial"], serde_json::Value::Null);
    // Without a trial it is what everybody gets.
    cerco.cli(&["reload"]).unwrap();
    assert_decided(&site, &cerco, MACAU[0], 80, "rule_denied");
}

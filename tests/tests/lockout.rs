//! No change cuts off whoever is connected, unless it is forced; and then it says whom.

use integration_tests::{
    daemon::Cerco,
    poll,
    site::{ABROAD, Ended, LINK, MACAU, Site, ended, parse},
    talk::Conversation,
    veth::{End, Veth},
    visits::{Visit, connect_to, settle, settle_at, start_hidden, visit},
};
use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, UNIX_EPOCH},
};

const LIMIT: Duration = Duration::from_secs(20);
const SSH: u16 = 22;

/// On a host where nothing tells who of those at port 22 is logged in.
fn start(site: &Site, config: &str) -> Cerco {
    start_hidden(site, config, None)
}

/// On a host with logind.
fn start_with_logind(site: &Site, config: &str) -> Cerco {
    let logins = [("bob", MACAU[0]), ("anna", MACAU[1])];
    start_hidden(site, config, Some(&logins))
}

/// Somebody over SSH, and anna over another port.
fn residents(site: &Site) -> [Visit; 2] {
    [visit(site, MACAU[0], SSH), visit(site, MACAU[1], 9090)]
}

/// Of Macau, as the residents are.
const GUESSER: &str = "198.51.100.66";

/// Somebody who has a connection to the SSH server, and no login.
fn guess_passwords(site: &Site) -> Conversation {
    settle_at(site, GUESSER);
    connect_to(site, GUESSER, SSH)
}

/// A refusal, whole.
#[track_caller]
fn assert_refused(ended: &Ended, what: &str, sessions: &[&str], peers: &[&str]) {
    let trust = peers.iter().enumerate().map(|(index, peer)| match index {
        0 => format!("let in:   cerco trust {peer}\n"),
        _ => format!("          cerco trust {peer}\n"),
    });
    let sessions: String = sessions.iter().map(|line| format!("  {line}\n")).collect();
    let expected = format!(
        "error: {what}:\n{sessions}{}or repeat it with --force; the way out, from the console:\n          \
         cerco detach --force\n",
        trust.collect::<String>()
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (1, expected.as_str()));
    assert_eq!(ended.stdout, "");
    for line in ended.stderr.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// Done, with these warnings and no others.
#[track_caller]
fn assert_done(ended: &Ended, warnings: &[&str]) {
    let expected: String = warnings
        .iter()
        .map(|line| format!("warning: {line}\n"))
        .collect();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, expected.as_str()));
}

#[test]
fn denials_are_refused_for_all_who_are_logged_in() {
    let site = Site::new().unwrap();
    settle(&site);
    let cerco = start_with_logind(&site, &site.config());
    let _residents = residents(&site);
    // They are not logged in, whatever they try at port 22.
    let _guesser = guess_passwords(&site);
    let _customer = visit(&site, GUESSER, 443);
    let both = [
        "198.51.100.7 to port 22 (MO), bob",
        "2001:db8:1::7 to port 9090 (MO), anna",
    ];
    let peers = ["198.51.100.7", "2001:db8:1::7"];
    for args in [&["deny", "MO"][..], &["deny", "MO", "--confirm", "1h"]] {
        let refused = cerco.try_cli(args);
        assert_refused(
            &refused,
            "`deny MO` would lock out 2 sessions",
            &both,
            &peers,
        );
    }
    let refused = cerco.try_cli(&["deny", "198.51.100.0/24"]);
    assert_refused(
        &refused,
        "`deny 198.51.100.0/24` would lock out a session",
        &["198.51.100.7 to port 22 (rule_deny), bob"],
        &peers[..1],
    );
    let refused = cerco.try_cli(&["ban", "2001:db8:1::/48", "--for", "1h"]);
    assert_refused(
        &refused,
        "the ban would lock out a session",
        &["2001:db8:1::7 to port 9090 (banned), anna"],
        &peers[1..],
    );
    let list = site
        .write("list", "203.0.113.0/24\n198.51.100.7\n")
        .unwrap();
    let list = ["ban", "--for", "1h", "--file", list.to_str().unwrap()];
    let refused = cerco.try_cli(&list);
    assert_refused(
        &refused,
        "the ban would lock out a session",
        &["198.51.100.7 to port 22 (banned), bob"],
        &peers[..1],
    );
    for source in MACAU {
        assert_eq!(cerco.json(&["explain", source])["reason"], "allowed");
    }
    assert_eq!(cerco.json(&["status"])["bans"], 0);
    // What reaches nobody is done without a word.
    assert_done(&cerco.try_cli(&["deny", "198.51.100.128/25"]), &[]);
    assert_done(
        &cerco.try_cli(&["ban", "203.0.113.0/24", "--for", "1h"]),
        &[],
    );

    let forced = cerco.try_cli(&["deny", "MO", "--force"]);
    let cut_off = both.map(|session| format!("cuts off {session}"));
    assert_done(&forced, &cut_off.each_ref().map(String::as_str));
    assert_eq!(cerco.json(&["explain", MACAU[0]])["verdict"], "drop");
    // The kernel goes on to list them; they stand in the way of nothing.
    assert_done(&cerco.try_cli(&["deny", "PT"]), &[]);
    assert_done(&cerco.try_cli(&["rules", "remove", "MO"]), &[]);
    let forced = cerco.try_cli(&["ban", "198.51.100.7", "--for", "1h", "--force"]);
    assert_done(&forced, &["cuts off 198.51.100.7 to port 22 (banned), bob"]);
}

#[test]
fn end_of_trust_is_refused_while_somebody_is_connected() {
    let site = Site::new().unwrap();
    settle(&site);
    let trusting = site.config_with("", "[trusted]\nprefixes = [\"203.0.113.0/24\"]\n");
    let mut cerco = start(&site, &trusting);
    let _database = visit(&site, ABROAD[0], 5432);
    // Whom the country lets in all the same is not cut off.
    cerco.cli(&["trust", MACAU[0]]).unwrap();
    let _resident = visit(&site, MACAU[0], 5433);
    assert_done(&cerco.try_cli(&["rules", "remove", MACAU[0]]), &[]);
    cerco.write_config(&site.config()).unwrap();
    let session = "203.0.113.7 to port 5432 (US), trusted until now";
    let what = "the new config would lock out a session";
    for args in [&["reload"][..], &["apply", "--confirm", "1h"]] {
        let refused = cerco.try_cli(args);
        assert_refused(&refused, what, &[session], &["203.0.113.7"]);
    }
    // Nobody can force a signal.
    cerco.signal(libc::SIGHUP).unwrap();
    poll::until("see the signal refused", LIMIT, || {
        (cerco.log().matches(what).count() >= 3).then_some(())
    })
    .unwrap();
    assert_eq!(cerco.json(&["explain", ABROAD[0]])["reason"], "trusted");
    let forced = cerco.try_cli(&["reload", "--force"]);
    assert_done(&forced, &[&format!("cuts off {session}")]);
    assert_eq!(
        cerco.json(&["explain", ABROAD[0]])["reason"],
        "country_denied"
    );

    // Rules at runtime: what they let in ends with them.
    for (trust, end, what) in [
        (
            &["trust", "2001:db8:2::/48"][..],
            &["rules", "remove", "2001:db8:2::/48"][..],
            "removing `trust 2001:db8:2::/48` would lock out a session",
        ),
        (
            &["trust", "2001:db8:2::/48"],
            &["allow", "2001:db8:2::/48"],
            "`allow 2001:db8:2::/48` would lock out a session",
        ),
    ] {
        cerco.cli(trust).unwrap();
        let _session = visit(&site, ABROAD[1], SSH);
        let is_allow = end[0] == "allow";
        if is_allow {
            // An allowed address can be banned, a trusted one cannot.
            cerco.cli(&["ban", ABROAD[1], "--for", "1h"]).unwrap();
        }
        let class = if is_allow { "banned" } else { "US" };
        let session = format!("2001:db8:2::7 to port 22 ({class})");
        let refused = cerco.try_cli(end);
        assert_refused(&refused, what, &[&session], &["2001:db8:2::7"]);
        let forced = cerco.try_cli(&[end, &["--force"]].concat());
        assert_done(&forced, &[&format!("cuts off {session}")]);
    }
}

#[test]
fn enforcing_is_refused_while_a_session_would_die_and_warned_of_before() {
    let site = Site::new().unwrap();
    settle(&site);
    let logins = [("anna", MACAU[1]), ("root", ABROAD[1])];
    let config = site.config_with("mode = \"observe\"\n", "");
    let cerco = start_hidden(&site, &config, Some(&logins));
    let _residents = residents(&site);
    let _abroad = visit(&site, ABROAD[1], SSH);
    // The host's own connection: answers pass.
    let _own = site.own_connection(ABROAD[0], SSH);
    // While it observes nothing is cut off.
    assert_done(
        &cerco.try_cli(&["deny", "MO"]),
        &["`cerco enforce` would cut off 2001:db8:1::7 to port 9090 (MO), anna"],
    );
    assert_done(&cerco.try_cli(&["rules", "remove", "MO"]), &[]);
    let session = "2001:db8:2::7 to port 22 (US), root";
    let what = "enforcing would lock out a session";
    for args in [
        &["enforce", "--yes"][..],
        &["enforce", "--yes", "--confirm", "1h"],
    ] {
        let refused = cerco.try_cli(args);
        assert_refused(&refused, what, &[session], &["2001:db8:2::7"]);
    }
    assert_eq!(cerco.json(&["status"])["mode"], "observe");
    // A config that enforces is no other thing.
    cerco.write_config(&site.config()).unwrap();
    let refused = cerco.try_cli(&["reload"]);
    let what = "the new config would lock out a session";
    assert_refused(&refused, what, &[session], &["2001:db8:2::7"]);
    assert_eq!(cerco.json(&["status"])["mode"], "observe");
    let forced = cerco.try_cli(&["reload", "--force"]);
    assert_done(&forced, &[&format!("cuts off {session}")]);
    assert_eq!(cerco.json(&["status"])["mode"], "enforce");
    cerco.cli(&["observe"]).unwrap();
    let forced = cerco.try_cli(&["enforce", "--yes", "--force", "--confirm", "1h"]);
    assert_done(&forced, &[&format!("cuts off {session}")]);
    assert_eq!(cerco.json(&["status"])["mode"], "enforce");
}

#[test]
fn rules_for_a_port_are_judged_for_that_port() {
    let site = Site::new().unwrap();
    settle(&site);
    let cerco = start(&site, &site.config());
    let _resident = visit(&site, MACAU[1], SSH);
    assert_done(&cerco.try_cli(&["deny", "MO", "--port", "80/tcp"]), &[]);
    let refused = cerco.try_cli(&["deny", "MO", "--port", "22/tcp"]);
    assert_refused(
        &refused,
        "`deny MO on 22/tcp` would lock out a session",
        &["2001:db8:1::7 to port 22 (MO)"],
        &["2001:db8:1::7"],
    );
    // Whom an opening has let in.
    cerco.cli(&["allow", "US", "--port", "22/tcp"]).unwrap();
    let _guest = visit(&site, ABROAD[0], SSH);
    let refused = cerco.try_cli(&["rules", "remove", "US"]);
    let session = "203.0.113.7 to port 22 (US)";
    assert_refused(
        &refused,
        "removing `allow US on 22/tcp` would lock out a session",
        &[session],
        &["203.0.113.7"],
    );
    let forced = cerco.try_cli(&["rules", "remove", "US", "--force"]);
    assert_done(&forced, &[&format!("cuts off {session}")]);
}

/// A start asks nobody, so whoever edits is told before.
#[test]
fn check_warns_of_sessions_that_the_config_would_lock_out() {
    let site = Site::new().unwrap();
    settle(&site);
    let mut cerco = start(&site, &site.config());
    let _resident = visit(&site, MACAU[0], SSH);
    let warnings = |cerco: &Cerco| {
        let mut command = cerco.cli_command(&["check", "--json"]);
        let checked = ended(command.env("SSH_CONNECTION", "198.51.100.7 50000 192.0.2.1 22"));
        assert_eq!(checked.code, 0, "{checked:?}");
        parse(&checked.stdout)["warnings"].clone()
    };
    assert_eq!(warnings(&cerco), serde_json::json!([]));
    let closing = site.config().replace("MO = \"allow\"", "US = \"allow\"");
    cerco.write_config(&closing).unwrap();
    let file = cerco.config_path().display().to_string();
    assert_eq!(
        warnings(&cerco),
        serde_json::json!([format!(
            "`cerco reload` would lock out the SSH session from 198.51.100.7 (MO), which passes now. `cerco \
             trust 198.51.100.7 -c {file}` keeps it"
        )])
    );
    cerco.kill().unwrap();
    cerco.cli(&["detach", "--force"]).unwrap();
    assert_eq!(
        warnings(&cerco),
        serde_json::json!([format!(
            "`systemctl start cerco` would lock out the SSH session from 198.51.100.7 (MO). `sensible-editor \
             {file} && systemctl restart cerco    # [trusted] prefixes = [\"198.51.100.7\"]` keeps it"
        )])
    );
}

#[test]
fn sessions_beside_the_gate_stand_in_the_way_of_nothing() {
    let site = Site::new().unwrap();
    let end = |netns, addresses| End {
        netns,
        name: "eth1",
        addresses,
    };
    let _management = Veth::new(
        &end(&site.world, &["10.9.0.2/24"]),
        &end(&site.host, &["10.9.0.1/24"]),
        1500,
    )
    .unwrap();
    let cerco = start(&site, &site.config_with("mode = \"observe\"\n", ""));
    let connect = |host: &str| {
        let address: SocketAddr = format!("{host}:22").parse().unwrap();
        let listener = site
            .host
            .run(|| TcpListener::bind(address))
            .unwrap()
            .unwrap();
        let far = site
            .world
            .run(|| TcpStream::connect_timeout(&address, LIMIT))
            .unwrap()
            .unwrap();
        let near = listener.accept().unwrap();
        (listener, far, near)
    };
    let _session = connect("10.9.0.1");
    assert_eq!(cerco.json(&["explain", "10.9.0.2"])["verdict"], "drop");
    assert_eq!(
        cerco.json(&["enforce", "--dry-run"])["sessions"],
        serde_json::json!([])
    );
    cerco.cli(&["enforce", "--yes"]).unwrap();
    cerco.cli(&["observe"]).unwrap();
    let _other = connect("192.0.2.1");
    let refused = cerco.try_cli(&["enforce", "--yes"]);
    assert_refused(
        &refused,
        "enforcing would lock out a session",
        &["192.0.2.2 to port 22 (unknown)"],
        &["192.0.2.2"],
    );
}

/// The gate stays on an interface that is renamed, and so does what it would cut off.
#[test]
fn sessions_over_a_renamed_interface_are_guarded_too() {
    let site = Site::new().unwrap();
    settle(&site);
    let cerco = start(&site, &site.config());
    let [_resident, _] = residents(&site);
    site.host.ip(&format!("link set {LINK} name wan0")).unwrap();
    poll::until("see the name followed", LIMIT, || {
        let log = cerco.log();
        log.contains("eth0 is called wan0 now").then_some(())
    })
    .unwrap();
    assert_refused(
        &cerco.try_cli(&["deny", "MO"]),
        "`deny MO` would lock out a session",
        &["198.51.100.7 to port 22 (MO)"],
        &["198.51.100.7"],
    );
}

#[test]
fn other_databases_are_judged_for_sessions_too() {
    let site = Site::new().unwrap();
    settle(&site);
    let cerco = start(&site, &site.config());
    let resident = visit(&site, MACAU[0], SSH);
    let swapped = "198.51.100.0,198.51.100.255,US\n203.0.113.0,203.0.113.255,MO\n\
                   2001:db8:1::,2001:db8:1:ffff:ffff:ffff:ffff:ffff,MO\n\
                   2001:db8:2::,2001:db8:2:ffff:ffff:ffff:ffff:ffff,US\n";
    site.write("database.csv", swapped).unwrap();
    let session = "198.51.100.7 to port 22 (US)";
    let refused = cerco.try_cli(&["geo", "accept", "--yes"]);
    assert_refused(
        &refused,
        "the config and its database would lock out a session",
        &[session],
        &["198.51.100.7"],
    );
    assert_eq!(cerco.json(&["explain", MACAU[0]])["verdict"], "pass");
    let forced = cerco.try_cli(&["geo", "accept", "--yes", "--force"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    let warning = format!("warning: cuts off {session}\n");
    assert!(forced.stderr.contains(&warning), "{forced:?}");
    drop(resident);
    let _newcomer = visit(&site, ABROAD[0], SSH);
    let session = "203.0.113.7 to port 22 (US)";
    let refused = cerco.try_cli(&["geo", "rollback", "1"]);
    assert_refused(
        &refused,
        "generation 1 would lock out a session",
        &[session],
        &["203.0.113.7"],
    );
    let forced = cerco.try_cli(&["geo", "rollback", "1", "--force"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    let warning = format!("warning: cuts off {session}\n");
    assert!(forced.stderr.contains(&warning), "{forced:?}");
}

/// Or he could keep the edition out that puts his range where it belongs.
#[test]
fn who_only_tries_passwords_keeps_no_database_out() {
    let site = Site::new().unwrap();
    settle(&site);
    let cerco = start_with_logind(&site, &site.config());
    let _residents = residents(&site);
    let _guesser = guess_passwords(&site);
    let without = |from: u8, to: u8| {
        format!(
            "198.51.100.0,198.51.100.{},MO\n198.51.100.{from},198.51.100.{to},US\n\
             198.51.100.{},198.51.100.255,MO\n203.0.113.0,203.0.113.255,US\n\
             2001:db8:1::,2001:db8:1:ffff:ffff:ffff:ffff:ffff,MO\n\
             2001:db8:2::,2001:db8:2:ffff:ffff:ffff:ffff:ffff,US\n",
            from - 1,
            to + 1
        )
    };
    site.write("database.csv", without(4, 7)).unwrap();
    let refused = cerco.try_cli(&["reload"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let bob = "it would cut off the SSH session from 198.51.100.7 (MO until now, then US)";
    assert!(refused.stderr.contains(bob), "{refused:?}");
    site.write("database.csv", without(64, 127)).unwrap();
    assert_eq!(cerco.try_cli(&["reload"]).code, 0);
    assert_eq!(cerco.json(&["explain", GUESSER])["verdict"], "drop");
    assert_eq!(cerco.json(&["explain", MACAU[0]])["verdict"], "pass");
}

#[test]
fn rollback_is_refused_for_whom_only_the_trial_lets_in() {
    let site = Site::new().unwrap();
    settle(&site);
    let cerco = start(&site, &site.config());
    let refused = |cerco: &Cerco, peer: &str| {
        let session = format!("{peer} to port 22 (US)");
        let refused = cerco.try_cli(&["rollback"]);
        let what = "the rollback would lock out a session";
        assert_refused(&refused, what, &[&session], &[peer]);
        let trial = &cerco.json(&["status"])["trial"];
        assert_ne!(*trial, serde_json::Value::Null);
    };
    cerco.cli(&["allow", "US", "--confirm", "1h"]).unwrap();
    let guest = visit(&site, ABROAD[0], SSH);
    refused(&cerco, ABROAD[0]);
    let forced = cerco.try_cli(&["rollback", "--force"]);
    assert_done(&forced, &["cuts off 203.0.113.7 to port 22 (US)"]);
    drop(guest);
    // Back to a mode that drops is no other thing.
    let observing = site.config_with("mode = \"observe\"\n", "");
    cerco.write_config(&observing).unwrap();
    cerco.cli(&["reload", "--confirm", "1h"]).unwrap();
    let guest = visit(&site, ABROAD[1], SSH);
    refused(&cerco, ABROAD[1]);
    drop(guest);
    poll::until("roll back when the guest is gone", LIMIT, || {
        (cerco.try_cli(&["rollback"]).code == 0).then_some(())
    })
    .unwrap();
    assert_eq!(cerco.json(&["status"])["mode"], "enforce");
}

/// They come in force at once, also while a change is on trial.
#[test]
fn bans_are_judged_by_what_stands_after_a_trial() {
    let site = Site::new().unwrap();
    settle(&site);
    let cerco = start(&site, &site.config());
    let _residents = residents(&site);
    let peer = MACAU[0];
    let ban = |more: &[&str]| cerco.try_cli(&[&["ban", peer, "--for", "2h"], more].concat());
    let session = "198.51.100.7 to port 22 (banned)";
    cerco.cli(&["trust", peer, "--confirm", "1h"]).unwrap();
    assert_refused(
        &ban(&[]),
        "the ban, once the trial is over, would lock out a session",
        &[session],
        &[peer],
    );
    cerco.cli(&["rollback"]).unwrap();
    let observing = site.config_with("mode = \"observe\"\n", "");
    cerco.write_config(&observing).unwrap();
    cerco.cli(&["apply", "--confirm", "1h"]).unwrap();
    assert_eq!(cerco.json(&["status"])["mode"], "observe");
    assert_refused(
        &ban(&[]),
        "the ban, once the trial is over, would lock out a session",
        &[session],
        &[peer],
    );
    cerco.cli(&["rollback"]).unwrap();
    // And after a rule that ends.
    cerco.cli(&["trust", peer, "--for", "1h"]).unwrap();
    let rules = cerco.json(&["rules"]);
    let rules = rules["rules"].as_array().unwrap().iter();
    let end = rules.filter_map(|rule| rule["expires"].as_u64()).next();
    let end = UNIX_EPOCH + Duration::from_secs(end.unwrap());
    let end = humantime::format_rfc3339_seconds(end);
    let until = format!("let in until {end} only: {peer} to port 22 (`cerco trust {peer}`)");
    assert_done(&ban(&[]), &[&until]);
}

#[test]
fn sessions_that_a_rule_lets_in_for_a_time_are_told() {
    let site = Site::new().unwrap();
    settle(&site);
    let config = site.config_with("mode = \"observe\"\n", "");
    let cerco = start(&site, &config);
    let _resident = visit(&site, MACAU[1], SSH);
    let _guest = visit(&site, ABROAD[0], SSH);
    cerco.cli(&["allow", "US", "--for", "1h"]).unwrap();
    // A shorter one beside it is not what lets the guest in.
    cerco
        .cli(&["allow", "US", "--port", "80/tcp", "--for", "2m"])
        .unwrap();
    let rules = cerco.json(&["rules"]);
    let rules = rules["rules"].as_array().unwrap().iter();
    let mut ends = rules.filter_map(|rule| rule["expires"].as_u64());
    let end = UNIX_EPOCH + Duration::from_secs(ends.next().unwrap());
    let end = humantime::format_rfc3339_seconds(end);
    let config = "the config still says mode = \"observe\"; this change holds, also over restarts, until that line \
                  changes";
    let before = cerco.cli(&["enforce", "--dry-run"]).unwrap();
    let session = format!("  203.0.113.7 to port 22 (US): PASSES UNTIL {end} ONLY\n");
    assert!(before.contains(&session), "{before}");
    assert_done(
        &cerco.try_cli(&["enforce", "--yes"]),
        &[
            &format!("let in until {end} only: 203.0.113.7 to port 22 (`cerco trust 203.0.113.7`)"),
            config,
        ],
    );
    assert_done(&cerco.try_cli(&["trust", "203.0.113.7"]), &[]);
    assert_done(&cerco.try_cli(&["enforce", "--yes"]), &[config]);
}

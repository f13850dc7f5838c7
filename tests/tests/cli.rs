//! Every verb of the command line against a running daemon.

use integration_tests::{
    daemon::cerco_binary,
    poll,
    site::{ABROAD, MACAU, Site, ended, packets, parse},
};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::{Command, Stdio},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn every_verb_prints_json_of_schema_1() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let cases: [&[&str]; 31] = [
        &["check"],
        &["diff"],
        &["trust", "192.0.2.9", "--permanent"],
        &["rules", "remove", "192.0.2.9", "--permanent"],
        &["status"],
        &["explain", MACAU[0]],
        &["explain", ABROAD[1], "--port", "53/udp"],
        &["countries"],
        &["countries", "--list"],
        &["top", "--once"],
        &["allow", "PT"],
        &["deny", "203.0.113.0/25"],
        &["trust", "2001:db8:9::/48"],
        &["rules"],
        &["rules", "remove", "PT"],
        &["ban", "198.51.100.9", "--for", "1h"],
        &["bans"],
        &["unban", "198.51.100.9"],
        &["observe"],
        &["enforce", "--dry-run"],
        &["enforce", "--yes"],
        &["reload"],
        &["geo", "lookup", MACAU[0], MACAU[1]],
        &["geo", "status"],
        &["geo", "diff", "1"],
        &["geo", "rollback", "1"],
        &["geo", "accept", "--yes"],
        &["report"],
        &["bench", "--quick"],
        &["doctor"],
        &["detach", "--force"],
    ];
    for args in cases {
        cerco.json(args);
    }
}

#[test]
fn changes_take_effect_and_are_taken_back() {
    let site = Site::new().unwrap();
    let more = "[limits.residents]\npackets_per_second = 5\n";
    let cerco =
        integration_tests::daemon::Cerco::start(&site.host, &site.config_with("", more)).unwrap();
    let reason = |address: &str| {
        let explained = cerco.json(&["explain", address]);
        explained["reason"].as_str().unwrap().to_owned()
    };
    let [good, bad] = [MACAU[0], ABROAD[0]];
    // Each step: the command, and what both addresses get then.
    let steps: [(&[&str], &str, &str); 12] = [
        (&["status"], "allowed", "country_denied"),
        (&["allow", "us"], "allowed", "allowed"),
        (&["rules", "remove", "US"], "allowed", "country_denied"),
        (&["deny", "MO"], "country_denied", "country_denied"),
        (&["rules", "remove", "MO"], "allowed", "country_denied"),
        (
            &["deny", "198.51.100.0/24"],
            "rule_denied",
            "country_denied",
        ),
        (&["allow", "198.51.100.7"], "rule_allowed", "country_denied"),
        (&["trust", "203.0.113.0/24"], "rule_allowed", "trusted"),
        (
            &["rules", "remove", "203.0.113.0/24"],
            "rule_allowed",
            "country_denied",
        ),
        (
            &["ban", "198.51.100.0/24", "--for", "1h"],
            "banned",
            "country_denied",
        ),
        (
            &["unban", "198.51.100.0/24"],
            "rule_allowed",
            "country_denied",
        ),
        (
            &["allow", "US", "--limit", "residents"],
            "rule_allowed",
            "allowed",
        ),
    ];
    for (args, for_good, for_bad) in steps {
        let done = cerco.try_cli(args);
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        assert_eq!(
            (reason(good).as_str(), reason(bad).as_str()),
            (for_good, for_bad),
            "{args:?}"
        );
        // The kernel says the same as `explain`.
        let verdict = match for_good {
            "rule_denied" | "country_denied" | "banned" => "drop",
            _ => "pass",
        };
        let before = cerco.packets(for_good, verdict);
        site.send(good, 3).unwrap();
        assert_eq!(cerco.packets(for_good, verdict) - before, 3, "{args:?}");
    }
    let rules = cerco.json(&["rules"]);
    let limited = rules["rules"]
        .as_array()
        .unwrap()
        .iter()
        .find(|rule| rule["target"] == "US");
    assert_eq!(limited.unwrap()["limit"], "residents");
}

#[test]
fn replies_are_shown_by_status_and_explain() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let opened = site.open_connections().unwrap();
    let expected = serde_json::json!({
        "enabled": true,
        "open": { "tcp": 1, "udp": 1, "icmp": 0 },
        "faults": [],
    });
    assert_eq!(cerco.json(&["status"])["replies"], expected);
    let line = |status: &str| {
        let line = status.lines().find(|line| line.starts_with("replies"));
        line.map(str::to_owned)
    };
    let shown =
        Some("replies     let in; connections opened here: 1 TCP, 1 UDP, 0 ping".to_owned());
    assert_eq!(line(&cerco.cli(&["status"]).unwrap()), shown);
    // Of those that are denied and not banned.
    let words = "Answers to this host's own connections pass all the same.";
    let pass = |cerco: &integration_tests::daemon::Cerco, address: &str| {
        let explained = cerco.json(&["explain", address]);
        let text = cerco.cli(&["explain", address]).unwrap();
        let pass = explained["replies_pass"].as_bool().unwrap();
        assert_eq!(text.contains(words), pass, "{text}");
        pass
    };
    assert!(pass(&cerco, ABROAD[0]));
    assert!(pass(&cerco, "192.0.2.2"), "unknown to the database");
    assert!(!pass(&cerco, MACAU[0]));
    cerco.cli(&["ban", ABROAD[0], "--for", "1h"]).unwrap();
    assert!(!pass(&cerco, ABROAD[0]));

    cerco.kill().unwrap();
    let dead = cerco.try_cli(&["status", "--json"]);
    assert_eq!(dead.code, 3, "{dead:?}");
    assert_eq!(parse(&dead.stdout)["replies"], expected);
    assert_eq!(line(&cerco.try_cli(&["status"]).stdout), shown);
    drop(opened);

    let off = "[replies]\nenabled = false\n";
    cerco.write_config(&site.config_with("", off)).unwrap();
    cerco.run().unwrap();
    assert_eq!(
        cerco.json(&["status"])["replies"],
        serde_json::json!({ "enabled": false, "open": null, "faults": [] })
    );
    assert_eq!(
        line(&cerco.cli(&["status"]).unwrap()),
        Some("replies     off ([replies] enabled = false)".to_owned())
    );
    assert!(!pass(&cerco, "192.0.2.2"));
    cerco.kill().unwrap();
    let dead = cerco.try_cli(&["status", "--json"]);
    assert_eq!(parse(&dead.stdout)["replies"], serde_json::Value::Null);
}

#[test]
fn rules_with_an_end_end_by_themselves() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    cerco
        .cli(&["allow", "US", "--for", "10s", "--comment", "renewal"])
        .unwrap();
    cerco
        .cli(&["deny", "198.51.100.0/24", "--for", "10s"])
        .unwrap();
    cerco
        .cli(&["trust", "203.0.113.9", "--for", "10s"])
        .unwrap();
    cerco
        .cli(&["ban", "198.51.100.99", "--for", "10s"])
        .unwrap();
    assert_eq!(cerco.json(&["explain", ABROAD[0]])["verdict"], "pass");
    assert_eq!(cerco.json(&["explain", MACAU[0]])["verdict"], "drop");
    assert_eq!(cerco.json(&["status"])["runtime_rules"], 3);
    poll::until("see the rules end", LIMIT, || {
        (cerco.json(&["status"])["runtime_rules"] == 0).then_some(())
    })
    .unwrap();
    assert_eq!(cerco.json(&["explain", ABROAD[0]])["verdict"], "drop");
    assert_eq!(cerco.json(&["explain", MACAU[0]])["verdict"], "pass");
    poll::until("see the ban end", LIMIT, || {
        cerco.json(&["bans"])["bans"]
            .as_array()
            .unwrap()
            .is_empty()
            .then_some(())
    })
    .unwrap();
}

#[test]
fn observe_counts_what_enforce_would_drop() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    cerco.cli(&["observe"]).unwrap();
    site.send(ABROAD[0], 5).unwrap();
    let status = cerco.json(&["status"]);
    assert_eq!(packets(&status, "country_denied", "would_drop"), 5);
    assert_eq!(packets(&status, "country_denied", "drop"), 0);
    // Without a terminal there is nobody to ask.
    let mut command = cerco.cli_command(&["enforce"]);
    let asked = ended(command.env("SSH_CONNECTION", "").stdin(Stdio::null()));
    assert_eq!(asked.code, 2, "{asked:?}");
    assert!(asked.stderr.contains("--yes"), "{asked:?}");
    assert_eq!(cerco.json(&["status"])["mode"], "observe");
    // On one it asks, and takes no for an answer.
    for (answer, mode) in [("n", "observe"), ("y", "enforce")] {
        let text = cerco.on_a_terminal(&site.host, "enforce", answer);
        assert!(text.contains("Drop them from now on? [y/N]"), "{text}");
        assert!(text.contains("United States"), "{text}");
        assert_eq!(cerco.json(&["status"])["mode"], mode, "{answer}: {text}");
    }
    site.send(ABROAD[0], 5).unwrap();
    assert_eq!(cerco.packets("country_denied", "drop"), 5);
}

#[test]
fn ssh_session_is_not_locked_out_without_force() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let from = |peer: &str, args: &[&str]| {
        let mut command = cerco.cli_command(args);
        ended(command.env("SSH_CONNECTION", format!("{peer} 50000 192.0.2.1 22")))
    };
    let peer = MACAU[0];
    let refusal = |what: &str, class: &str| {
        format!(
            "error: {what} would lock out your SSH session:\n  \
             198.51.100.7 to port 22 ({class}), your own\n\
             let in:   cerco trust 198.51.100.7\n\
             or repeat it with --force; the way out, from the console:\n          \
             cerco detach --force\n"
        )
    };
    let cases: [(&[&str], &str, &str); 3] = [
        (&["deny", "MO"], "`deny MO`", "MO"),
        (
            &["deny", "198.51.100.0/24"],
            "`deny 198.51.100.0/24`",
            "rule_deny",
        ),
        (&["ban", peer, "--for", "1h"], "the ban", "banned"),
    ];
    for (args, what, class) in cases {
        let refused = from(peer, args);
        assert_eq!(refused.code, 1, "{args:?}: {refused:?}");
        assert_eq!(refused.stderr, refusal(what, class), "{args:?}");
    }
    // A new config that denies the peer, and one that does not look at its port.
    let denies = site.config().replace("MO = \"allow\"", "US = \"allow\"");
    cerco.write_config(&denies).unwrap();
    let refused = from(peer, &["reload"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(refused.stderr, refusal("the new config", "MO"));
    let status = cerco.cli(&["status"]).unwrap();
    assert!(
        status.contains("the new config would lock out your SSH session\n"),
        "{status}"
    );
    assert_eq!(cerco.json(&["explain", peer])["verdict"], "pass");
    assert_eq!(from(ABROAD[0], &["reload"]).code, 0);
    assert_eq!(cerco.json(&["explain", peer])["verdict"], "drop");
    cerco.write_config(&site.config()).unwrap();
    assert_eq!(from(peer, &["reload"]).code, 0);
    cerco
        .write_config(&(denies.clone() + "[protect]\ntcp = [80]\n"))
        .unwrap();
    assert_eq!(from(peer, &["reload"]).code, 0, "port 22 is out of scope");
    cerco.write_config(&denies).unwrap();
    assert_eq!(from(peer, &["reload"]).code, 1);
    assert_eq!(from(peer, &["reload", "--force"]).code, 0);
}

#[test]
fn exit_codes_tell_what_kind_of_failure_it_was() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let cases: [(&[&str], i32, &str); 11] = [
        (&["status"], 0, ""),
        (
            &["unban", "192.0.2.77"],
            1,
            "there is no ban of exactly 192.0.2.77/32",
        ),
        (&["rules", "remove", "FR"], 2, "no runtime rule for FR"),
        (
            &["allow", "MOO"],
            2,
            "unknown country \"MOO\"; did you mean MO (Macao)?",
        ),
        (
            &["allow", "UK"],
            2,
            "unknown country \"UK\"; did you mean GB (United Kingdom)?",
        ),
        (&["allow", "MO", "--limit", "gone"], 2, "no limit `gone`"),
        (&["trust", "MO"], 2, "is no address or prefix"),
        (&["nonsense"], 2, "unrecognized subcommand"),
        (&["geo", "lookup", "here"], 2, "here"),
        (
            &["history", "--since", "2100-01-01", "--until", "2100-01-02"],
            2,
            "--since: 2100-01-01 lies in the future",
        ),
        (
            &["history", "--since", "1h", "--until", "2h"],
            2,
            "--until: 2h is not after --since 1h",
        ),
    ];
    for (args, code, words) in cases {
        let done = cerco.try_cli(args);
        assert_eq!(done.code, code, "{args:?}: {done:?}");
        assert!(done.stderr.contains(words), "{args:?}: {done:?}");
        assert_eq!(done.stdout.is_empty(), code != 0, "{args:?}: {done:?}");
    }
    cerco.stop().unwrap();
    for args in [
        &["explain", "192.0.2.1"][..],
        &["allow", "PT"],
        &["reload"],
        &["rules"],
        &["diff"],
    ] {
        let done = cerco.try_cli(args);
        assert_eq!(done.code, 3, "{args:?}: {done:?}");
        assert!(
            done.stderr.contains("no daemon answers"),
            "{args:?}: {done:?}"
        );
    }
}

#[test]
fn explain_and_lookup_name_range_database_and_rule() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let text = cerco
        .cli(&["explain", ABROAD[1], "--port", "443/tcp"])
        .unwrap();
    for words in [
        "2001:db8:2::",
        "US",
        "database.csv",
        "[policy] default",
        "drop",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let looked_up = cerco.json(&["geo", "lookup", MACAU[0], "192.0.2.1"]);
    let text = looked_up.to_string();
    for words in ["MO", "198.51.100.0", "198.51.100.255"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let status = cerco.json(&["geo", "status"]).to_string();
    assert!(status.contains("database.csv"), "{status}");
}

#[test]
fn socket_is_closed_to_others_and_other_users_may_only_read() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let socket = cerco.socket();
    let mode = fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
    let has_group = fs::read_to_string("/etc/group")
        .unwrap()
        .contains("\ncerco:");
    assert_eq!(mode, if has_group { 0o660 } else { 0o600 });

    // A member of the group is let through to the socket by its mode; here the test opens the way.
    fs::set_permissions(
        cerco.config_path().parent().unwrap(),
        PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    let binary = site.binary_for_all().unwrap();
    let as_nobody = |args: &[&str]| {
        let mut command = site.host.command("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&binary)
            .args(args)
            .arg("-c")
            .arg(cerco.config_path())
            .env("SSH_CONNECTION", "");
        ended(&mut command)
    };
    for args in [
        &["status"][..],
        &["rules"],
        &["bans"],
        &["countries"],
        &["explain", MACAU[0]],
        &["diff"],
    ] {
        let read = as_nobody(args);
        assert_eq!(read.code, 0, "{args:?}: {read:?}");
    }
    for args in [
        &["allow", "PT"][..],
        &["deny", "MO"],
        &["trust", "192.0.2.0/24"],
        &["ban", "192.0.2.1", "--for", "1h"],
        &["unban", "192.0.2.1"],
        &["rules", "remove", "MO"],
        &["observe"],
        &["reload"],
    ] {
        let refused = as_nobody(args);
        assert_eq!(refused.code, 1, "{args:?}: {refused:?}");
        assert!(
            refused.stderr.contains("user 65534 may only read"),
            "{args:?}: {refused:?}"
        );
    }
    let status = cerco.json(&["status"]);
    assert_eq!(status["mode"], "enforce");
    assert_eq!(status["runtime_rules"], 0);
    fs::set_permissions(&socket, PermissionsExt::from_mode(0o660)).unwrap();
    let kept_out = as_nobody(&["status"]);
    assert_eq!(kept_out.code, 1, "{kept_out:?}");
    assert!(
        kept_out.stderr.contains("run as root, or join the group"),
        "{kept_out:?}"
    );
    // A daemon cannot be run by them either.
    let run = as_nobody(&["run", "--socket", "/tmp/cerco-nobody.sock"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("ermission denied"), "{run:?}");
}

#[test]
fn broken_questions_get_an_answer_and_do_no_harm() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    for (question, words) in [
        ("{}\n", "cannot read the question"),
        ("{\"schema\":9,\"verb\":\"status\"}\n", "schema 9"),
        ("{\"schema\":1,\"verb\":\"dance\"}\n", "dance"),
        ("\n", "cannot read the question"),
    ] {
        let mut stream = UnixStream::connect(cerco.socket()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(question.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert!(
            parse(&answer)["error"].to_string().contains(words),
            "{question}: {answer}"
        );
    }
    cerco.json(&["status"]);
}

#[test]
fn man_pages_and_completions_are_clean() {
    let site = Site::new().unwrap();
    let binary = cerco_binary().unwrap();
    let pages = site.path("man");
    let written = ended(Command::new(&binary).arg("man").arg(&pages));
    assert_eq!(written.code, 0, "{written:?}");
    let mut count = 0;
    for page in fs::read_dir(&pages).unwrap() {
        let page = page.unwrap().path();
        let rendered = ended(
            Command::new("man")
                .args(["--warnings", "-E", "UTF-8", "-l"])
                .arg(&page)
                .env("MANWIDTH", "80")
                .env("MANPAGER", "cat")
                .env("LC_ALL", "C.UTF-8"),
        );
        assert_eq!(
            (rendered.code, rendered.stderr.as_str()),
            (0, ""),
            "{page:?}"
        );
        assert!(
            rendered.stdout.contains("SYNOPSIS"),
            "{page:?}: {}",
            rendered.stdout
        );
        for line in rendered.stdout.lines() {
            assert!(line.chars().count() <= 80, "{page:?}: {line}");
        }
        count += 1;
    }
    assert_eq!(count, 30);
    for (shell, check) in [("bash", true), ("zsh", false), ("fish", false)] {
        let script = ended(Command::new(&binary).args(["completions", shell]));
        assert_eq!(script.code, 0, "{shell}: {script:?}");
        assert!(script.stdout.contains("enforce"), "{shell}");
        if check {
            let path = site.write("completions", &script.stdout).unwrap();
            let parsed = ended(Command::new(shell).arg("-n").arg(path));
            assert_eq!((parsed.code, parsed.stderr.as_str()), (0, ""), "{shell}");
        }
    }
}

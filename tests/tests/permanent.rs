//! Changes that are written into the config, and what `cerco diff` says about running and configured.

use integration_tests::{
    daemon::Cerco,
    site::{ABROAD, Ended, MACAU, Site, ended, parse},
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    process::Stdio,
};

/// With what a person leaves in a config.
const MORE: &str = "CN = \"allow:residents\"   # ask Ana
[limits.residents]
packets_per_second = 200
[rules]
# from the hospital in Lyon
allow = [
  \"192.0.2.128/25\",  # X-ray
]
deny = []
";

fn start(site: &Site) -> Cerco {
    Cerco::start(&site.host, &site.config_with("", MORE)).unwrap()
}

fn text(cerco: &Cerco) -> String {
    fs::read_to_string(cerco.config_path()).unwrap()
}

fn from_peer(cerco: &Cerco, peer: &str, args: &[&str]) -> Ended {
    let mut command = cerco.cli_command(args);
    ended(command.env("SSH_CONNECTION", format!("{peer} 50000 192.0.2.1 22")))
}

fn reason(cerco: &Cerco, address: &str) -> String {
    let explained = cerco.json(&["explain", address]);
    explained["reason"].as_str().unwrap().to_owned()
}

/// Targets of the rules that were made at runtime.
fn at_runtime(cerco: &Cerco) -> Vec<String> {
    cerco.json(&["rules"])["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["origin"] == "runtime")
        .map(|rule| rule["target"].as_str().unwrap().to_owned())
        .collect()
}

/// What `diff` says: its exit code and its lines.
fn diff(cerco: &Cerco) -> (i32, String) {
    let diff = cerco.try_cli(&["diff"]);
    assert_eq!(diff.stderr, "", "{diff:?}");
    (diff.code, diff.stdout)
}

const EQUAL: &str = "what runs is what the config says\n";

#[test]
fn permanent_change_is_written_in_force_and_survives_a_restart() {
    let site = Site::new().unwrap();
    let mut cerco = start(&site);
    let path = cerco.config_path().display().to_string();
    let mut expected = text(&cerco);
    // The command, what becomes of the text, what is said, and what both addresses get then.
    type Step<'a> = (&'a [&'a str], (&'a str, &'a str), &'a str, &'a str, &'a str);
    let steps: [Step<'_>; 8] = [
        (
            &["allow", "us", "--permanent", "--comment", "until May"],
            (
                "CN = \"allow:residents\"   # ask Ana\n",
                "CN = \"allow:residents\"   # ask Ana\nUS = \"allow\"  # until May\n",
            ),
            "allow US: written to {path}:9; in force\n",
            "allowed",
            "allowed",
        ),
        (
            &["allow", "CN", "--permanent"],
            ("CN = \"allow:residents\"", "CN = \"allow\""),
            "allow CN: written to {path}:8; in force\n",
            "allowed",
            "allowed",
        ),
        (
            &["deny", "198.51.100.0/24", "--permanent"],
            ("deny = []", "deny = [\"198.51.100.0/24\"]"),
            "deny 198.51.100.0/24: written to {path}:17; in force\n",
            "rule_denied",
            "allowed",
        ),
        (
            &["trust", "192.0.2.128/25", "--permanent"],
            (
                "allow = [\n  \"192.0.2.128/25\",  # X-ray\n]\n",
                "allow = []\n",
            ),
            "trust 192.0.2.128/25: written to {path}:27, taken out of [rules] allow; in force\n",
            "rule_denied",
            "allowed",
        ),
        (
            &["trust", "192.0.2.128/25", "--permanent"],
            ("", ""),
            "trust 192.0.2.128/25: {path}:27 says so already; in force\n",
            "rule_denied",
            "allowed",
        ),
        (
            &["rules", "remove", "198.51.100.0/24", "--permanent"],
            ("deny = [\"198.51.100.0/24\"]", "deny = []"),
            "198.51.100.0/24: removed from [rules] deny; in force\n",
            "allowed",
            "allowed",
        ),
        (
            &["rules", "remove", "US", "--permanent"],
            ("US = \"allow\"  # until May\n", ""),
            "US: removed from [policy.countries]; in force\n",
            "allowed",
            "country_denied",
        ),
        (
            &["observe", "--permanent"],
            ("mode = \"enforce\"", "mode = \"observe\""),
            "observe: written to {path}:2; in force\n",
            "allowed",
            "country_denied",
        ),
    ];
    for (args, (old, new), said, for_good, for_bad) in steps {
        let done = cerco.try_cli(args);
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        expected = expected.replacen(old, new, 1);
        if args[0] == "trust" && !expected.contains("[trusted]") {
            expected += "\n[trusted]\nprefixes = [\n    \"192.0.2.128/25\",  # X-ray\n]\n";
        }
        assert_eq!(text(&cerco), expected, "{args:?}");
        assert_eq!(done.stdout, said.replace("{path}", &path), "{args:?}");
        let reasons = (reason(&cerco, MACAU[0]), reason(&cerco, ABROAD[0]));
        assert_eq!(
            (reasons.0.as_str(), reasons.1.as_str()),
            (for_good, for_bad),
            "{args:?}"
        );
        assert_eq!(at_runtime(&cerco), Vec::<String>::new(), "{args:?}");
        assert_eq!(diff(&cerco), (0, EQUAL.to_owned()), "{args:?}");
    }
    assert_eq!(cerco.json(&["status"])["mode"], "observe");
    cerco.kill().unwrap();
    cerco.run().unwrap();
    assert_eq!(cerco.json(&["status"])["mode"], "observe");
    assert_eq!(reason(&cerco, "192.0.2.129"), "trusted");
    assert_eq!(diff(&cerco), (0, EQUAL.to_owned()));
}

#[test]
fn runtime_change_ends_when_the_config_says_it() {
    let site = Site::new().unwrap();
    let cerco = start(&site);
    cerco
        .cli(&["allow", "US", "--for", "1h", "--comment", "renewal"])
        .unwrap();
    cerco.cli(&["deny", "CN", "--comment", "flood"]).unwrap();
    cerco.cli(&["deny", "192.0.2.0/24"]).unwrap();
    cerco.cli(&["observe"]).unwrap();
    let shown = cerco.cli(&["rules"]).unwrap();
    for words in [
        "\nMade at runtime, over the config; reloads and restarts keep it:\n",
        "\n  mode   observe       the config says enforce\n",
        "\n  cerco observe --permanent\n",
        "\n  cerco deny CN --permanent\n",
        "\n  cerco allow US --permanent\n",
        "\nBans are apart from these: `cerco bans`.\n",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let (code, differs) = diff(&cerco);
    assert_eq!(code, 1);
    let title = "@@ made at runtime: a reload keeps it (see `cerco rules`) @@\n";
    let (_, lines) = differs.split_once(title).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[0], "-mode = \"observe\"");
    assert_eq!(lines[1], "+mode = \"enforce\"");
    assert_eq!(lines[2], "-deny CN  # flood");
    assert_eq!(lines[3], "+allow CN (limit residents)");
    assert!(lines[4].starts_with("-allow US  # until 20"), "{lines:?}");
    assert!(lines[4].ends_with(", renewal"), "{lines:?}");
    assert_eq!(lines[5..], ["-deny 192.0.2.0/24"]);

    // The comment comes along where the config says nothing yet, and costs none that stands there.
    let done = cerco.cli(&["allow", "US", "--permanent"]).unwrap();
    assert!(
        done.ends_with("; in force\nthe runtime rule `allow US` has ended\n"),
        "{done}"
    );
    cerco.cli(&["deny", "CN", "--permanent"]).unwrap();
    let written = text(&cerco);
    for line in ["US = \"allow\"  # renewal\n", "CN = \"deny\"   # ask Ana\n"] {
        assert!(written.contains(line), "{written}");
    }
    let done = cerco.cli(&["enforce", "--permanent", "--yes"]).unwrap();
    assert!(
        done.ends_with("the mode `observe` that was set at runtime has ended\n"),
        "{done}"
    );
    // What only the runtime says goes with --permanent too.
    let done = cerco
        .cli(&["rules", "remove", "192.0.2.0/24", "--permanent"])
        .unwrap();
    assert_eq!(
        done,
        "192.0.2.0/24: the config says nothing about it\n\
         the runtime rule `deny 192.0.2.0/24` has ended\n"
    );
    assert_eq!(at_runtime(&cerco), Vec::<String>::new());
    assert_eq!(diff(&cerco), (0, EQUAL.to_owned()));
    let nothing = cerco.try_cli(&["rules", "remove", "192.0.2.0/24", "--permanent"]);
    assert_eq!(
        (nothing.code, nothing.stderr.as_str()),
        (
            2,
            "error: neither the config nor a runtime rule says anything about 192.0.2.0/24\n"
        )
    );
}

#[test]
fn refused_change_leaves_the_config_as_it_was() {
    let site = Site::new().unwrap();
    let cerco = start(&site);
    let before = text(&cerco);
    let as_before = |refused: &Ended, code: i32, words: &[&str]| {
        assert_eq!(refused.code, code, "{refused:?}");
        for words in words {
            assert!(refused.stderr.contains(words), "{words}: {refused:?}");
        }
        assert_eq!(text(&cerco), before, "{refused:?}");
        assert_eq!(reason(&cerco, MACAU[0]), "allowed");
        let status = cerco.json(&["status"]);
        assert_eq!(
            status["last_reload_error"],
            serde_json::Value::Null,
            "the config is no longer what was refused: {status}"
        );
    };
    for args in [
        &["deny", "MO", "--permanent"][..],
        &["rules", "remove", "MO", "--permanent"],
    ] {
        let refused = from_peer(&cerco, MACAU[0], args);
        let words = [
            "the new config would lock out your SSH session:\n  198.51.100.7 to port 22 (MO)",
            "--force",
            "nothing was changed: the config is as it was before",
        ];
        as_before(&refused, 1, &words);
    }
    for (args, words) in [
        (
            &["allow", "PT", "--permanent", "--for", "1h"][..],
            "a config has no end dates",
        ),
        (
            &["allow", "PT", "--permanent", "--confirm", "1m"],
            "try it first",
        ),
        (
            &["enforce", "--yes", "--permanent", "--confirm", "1m"],
            "try it first",
        ),
        (
            &["allow", "PT", "--permanent", "--limit", "gone"],
            "there is no limit \"gone\"",
        ),
        (
            &["allow", "192.0.2.1", "--permanent", "--limit", "residents"],
            "a limit goes only with allow and a country",
        ),
    ] {
        as_before(&cerco.try_cli(args), 2, &[words]);
    }
    // A change on trial would be in the way of the reload.
    cerco.cli(&["allow", "US", "--confirm", "1h"]).unwrap();
    let refused = cerco.try_cli(&["allow", "PT", "--permanent"]);
    as_before(&refused, 1, &["is on trial for another"]);
    cerco.cli(&["rollback"]).unwrap();
    // And after all this it goes.
    let forced = from_peer(
        &cerco,
        MACAU[0],
        &["rules", "remove", "MO", "--permanent", "--force"],
    );
    assert_eq!(forced.code, 0, "{forced:?}");
    assert_eq!(reason(&cerco, MACAU[0]), "country_denied");
    // What a reload would say of the database does not matter: one thing is changed.
    site.write("database.csv", "<html>").unwrap();
    let done = cerco.try_cli(&["allow", "MO", "--permanent"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(reason(&cerco, MACAU[0]), "allowed");
}

#[test]
fn config_that_waits_for_a_reload_or_is_wrong_is_not_touched() {
    let site = Site::new().unwrap();
    let cerco = start(&site);
    let good = text(&cerco);
    let waiting = good.replace("MO = \"allow\"", "MO = \"allow\"\nUS = \"allow\"");
    fs::write(cerco.config_path(), &waiting).unwrap();
    let refused = cerco.try_cli(&["allow", "PT", "--permanent"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("`cerco diff` shows them"),
        "{refused:?}"
    );
    assert_eq!(text(&cerco), waiting);
    assert_eq!(reason(&cerco, ABROAD[0]), "country_denied");
    // What needs a restart comes with none of them.
    let restart = good.replace("mode =", "attach = \"generic\"\nmode =");
    fs::write(cerco.config_path(), &restart).unwrap();
    cerco.cli(&["allow", "PT", "--permanent"]).unwrap();
    assert_eq!(
        text(&cerco),
        restart.replace("# ask Ana\n", "# ask Ana\nPT = \"allow\"\n")
    );
    let wrong = good.replace("MO = \"allow\"", "MO = \"allowed\"");
    fs::write(cerco.config_path(), &wrong).unwrap();
    let refused = cerco.try_cli(&["deny", "PT", "--permanent"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    for words in ["the config is wrong already", "unknown action \"allowed\""] {
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    assert_eq!(text(&cerco), wrong);
    // Another file than the daemon's.
    let other = site.write("other.toml", &good).unwrap();
    let mut command = cerco.cli_command(&["allow", "ES", "--permanent"]);
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let at = args.iter().position(|arg| arg == "-c").unwrap();
    command = site
        .host
        .command(integration_tests::daemon::cerco_binary().unwrap());
    command
        .args(&args[..=at])
        .arg(&other)
        .env("SSH_CONNECTION", "");
    fs::write(cerco.config_path(), good.replace("MO =", "# \nMO =")).unwrap();
    let refused = ended(&mut command);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("the daemon reads another config"),
        "{refused:?}"
    );
    assert_eq!(fs::read_to_string(&other).unwrap(), good);
}

#[test]
fn without_a_daemon_it_takes_effect_at_the_next_start() {
    let site = Site::new().unwrap();
    let mut cerco = start(&site);
    cerco.cli(&["deny", "US", "--comment", "flood"]).unwrap();
    cerco.cli(&["observe"]).unwrap();
    cerco.kill().unwrap();
    let at_start = "no daemon runs: it takes effect at the next start\n";
    let done = cerco.try_cli(&["allow", "US", "--permanent"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stdout
            .ends_with(&format!("{at_start}the runtime rule `deny US` has ended\n")),
        "{done:?}"
    );
    let json = cerco.json(&["trust", "192.0.2.9", "--permanent"]);
    assert_eq!(json["in_force"], false, "{json}");
    assert_eq!(
        json["file"].as_str().unwrap(),
        cerco.config_path().to_str().unwrap()
    );
    // The config says so already; the mode of the runtime would go over it at the start.
    let done = cerco.cli(&["enforce", "--permanent", "--yes"]).unwrap();
    assert!(
        done.ends_with("\nthe mode `observe` that was set at runtime has ended\n"),
        "{done}"
    );
    // Nobody but the command can look whether the next start locks out.
    let before = text(&cerco);
    let refused = from_peer(&cerco, MACAU[0], &["deny", "MO", "--permanent"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("the next start would lock out your SSH session from 198.51.100.7 (MO)"),
        "{refused:?}"
    );
    assert_eq!(text(&cerco), before);
    cerco.run().unwrap();
    assert_eq!(reason(&cerco, ABROAD[0]), "allowed");
    assert_eq!(reason(&cerco, "192.0.2.9"), "trusted");
    assert_eq!(cerco.json(&["status"])["mode"], "enforce");
    assert_eq!(diff(&cerco), (0, EQUAL.to_owned()));
}

#[test]
fn changes_at_the_same_time_all_arrive() {
    let site = Site::new().unwrap();
    let cerco = start(&site);
    let codes = ["PT", "ES", "FR", "DE", "IT", "BR", "AO", "MZ"];
    let children: Vec<_> = codes
        .iter()
        .map(|code| {
            let mut command = cerco.cli_command(&["allow", code, "--permanent"]);
            command
                .env("SSH_CONNECTION", "")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let mut allowed: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
    allowed.extend(["MO".to_owned(), "CN (limit residents)".to_owned()]);
    allowed.sort();
    assert_eq!(
        cerco.json(&["status"])["allowed_countries"],
        serde_json::json!(allowed)
    );
    assert_eq!(diff(&cerco), (0, EQUAL.to_owned()));
}

#[test]
fn file_keeps_its_owner_its_mode_and_its_link() {
    let site = Site::new().unwrap();
    let cerco = start(&site);
    let path = cerco.config_path();
    let real = site.path("kept-elsewhere.toml");
    fs::rename(&path, &real).unwrap();
    symlink(&real, &path).unwrap();
    fs::set_permissions(&real, PermissionsExt::from_mode(0o640)).unwrap();
    chown(&real, Some(12), Some(34)).unwrap();
    cerco.cli(&["allow", "PT", "--permanent"]).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    let metadata = fs::metadata(&real).unwrap();
    assert_eq!(
        (metadata.mode() & 0o777, metadata.uid(), metadata.gid()),
        (0o640, 12, 34)
    );
    assert!(text(&cerco).contains("PT = \"allow\"\n"));
    let beside = fs::read_dir(site.directory()).unwrap().count();
    assert_eq!(beside, 2, "the database and the config");
}

#[test]
fn who_may_not_write_the_file_changes_nothing() {
    let site = Site::new().unwrap();
    let cerco = start(&site);
    let before = text(&cerco);
    let directory = cerco.config_path().parent().unwrap().to_owned();
    fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(cerco.socket(), PermissionsExt::from_mode(0o666)).unwrap();
    let binary = site.binary_for_all().unwrap();
    let mut command = site.host.command("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .args(["allow", "PT", "--permanent", "-c"])
        .arg(cerco.config_path())
        .env("SSH_CONNECTION", "");
    let refused = ended(&mut command);
    assert_eq!(refused.code, 1, "{refused:?}");
    for words in ["Permission denied", "run this as root"] {
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    assert_eq!(text(&cerco), before);
}

#[test]
fn diff_tells_what_brings_running_and_configured_together() {
    let site = Site::new().unwrap();
    let mut cerco = start(&site);
    assert_eq!(diff(&cerco), (0, EQUAL.to_owned()));
    let good = text(&cerco);
    let changed = good
        .replace("MO = \"allow\"", "MO = \"allow\"\nPT = \"allow\"")
        .replace("CN = \"allow:residents\"", "CN = \"deny\"")
        .replace("packets_per_second = 200", "packets_per_second = 300")
        .replace(
            "deny = []",
            "deny = [\"203.0.113.0/24\"]\n[protect]\ntcp = [80]",
        )
        .replace(
            "interfaces = [\"eth0\"]",
            "interfaces = [\"eth0\", \"eth7\"]",
        )
        + "[replies]\nudp_seconds = 31\nenabled = false\n";
    fs::write(cerco.config_path(), &changed).unwrap();
    cerco.cli(&["deny", "198.51.100.9"]).unwrap();
    let database = fs::read_to_string(site.path("database.csv")).unwrap();
    site.write(
        "database.csv",
        format!("{database}192.0.2.0,192.0.2.255,PT\n"),
    )
    .unwrap();
    let (code, shown) = diff(&cerco);
    assert_eq!(code, 1);
    let digest = |line: &str| line.starts_with("-geo") || line.starts_with("+geo");
    let lines: Vec<&str> = shown.lines().filter(|line| !digest(line)).collect();
    let file = format!("+++ {}", cerco.config_path().display());
    let expected = [
        "--- running",
        &file,
        "@@ in the files: comes with `cerco reload` @@",
        "-limits.residents.burst_packets = 400",
        "+limits.residents.burst_packets = 600",
        "-limits.residents.packets_per_second = 200",
        "+limits.residents.packets_per_second = 300",
        "-policy.countries.CN = \"allow:residents\"",
        "+policy.countries.CN = \"deny\"",
        "+policy.countries.PT = \"allow\"",
        "+protect.tcp: 80",
        "-replies.udp_seconds = 30",
        "+replies.udp_seconds = 31",
        "+rules.deny: \"203.0.113.0/24\"",
        "@@ in the files: comes with a restart of the daemon @@",
        "+interfaces: \"eth7\"",
        "-replies.enabled = true",
        "+replies.enabled = false",
        "@@ made at runtime: a reload keeps it (see `cerco rules`) @@",
        "-deny 198.51.100.9/32",
    ];
    assert_eq!(lines, expected);
    let digests: Vec<&str> = shown.lines().filter(|line| digest(line)).collect();
    assert_eq!(digests.len(), 2, "{shown}");
    assert_ne!(digests[0][1..], digests[1][1..]);
    for line in shown.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let json = cerco.try_cli(&["diff", "--json"]);
    assert_eq!(json.code, 1, "{json:?}");
    let json = parse(&json.stdout);
    assert_eq!(json["equal"], false);
    assert_eq!(
        json["differences"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["key"] == "policy.countries.CN"),
        Some(&serde_json::json!({
            "kind": "reload", "form": "setting", "key": "policy.countries.CN",
            "running": "allow:residents", "configured": "deny", "note": null,
        }))
    );
    // Each goes in its way.
    cerco.cli(&["reload"]).unwrap();
    let (_, shown) = diff(&cerco);
    assert!(!shown.contains("cerco reload"), "{shown}");
    cerco.cli(&["rules", "remove", "198.51.100.9"]).unwrap();
    let (_, shown) = diff(&cerco);
    assert!(!shown.contains("made at runtime"), "{shown}");
    cerco.stop().unwrap();
    cerco.run().unwrap();
    assert_eq!(diff(&cerco), (0, EQUAL.to_owned()));
    // A mode that the files have overtaken comes with the reload.
    cerco.cli(&["observe"]).unwrap();
    let title = |shown: &str| shown.lines().nth(2).unwrap_or_default().to_owned();
    assert!(title(&diff(&cerco).1).contains("made at runtime"));
    // An error, not a difference.
    fs::write(cerco.config_path(), format!("{changed}mod = 1\n")).unwrap();
    let wrong = cerco.try_cli(&["diff"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""), "{wrong:?}");
    assert!(wrong.stderr.contains("unknown key `mod`"), "{wrong:?}");
    cerco.stop().unwrap();
    let dead = cerco.try_cli(&["diff"]);
    assert_eq!((dead.code, dead.stdout.as_str()), (3, ""), "{dead:?}");
}

#[test]
fn diff_shows_a_trial_and_a_held_database() {
    let site = Site::new().unwrap();
    let cerco = start(&site);
    cerco.cli(&["geo", "rollback", "1"]).unwrap();
    let (code, shown) = diff(&cerco);
    assert_eq!(code, 1);
    let path = site.path("database.csv").display().to_string();
    let expected = format!(
        "-geo.database = \"generation 1\"  # held until `cerco geo accept`\n\
         +geo.database = \"{path}\"\n"
    );
    assert!(shown.ends_with(&expected), "{shown}");
    cerco.cli(&["geo", "accept", "--yes"]).unwrap();
    assert_eq!(diff(&cerco), (0, EQUAL.to_owned()));
    cerco.cli(&["deny", "US", "--confirm", "1h"]).unwrap();
    let (code, shown) = diff(&cerco);
    assert_eq!(code, 1);
    assert!(
        shown.starts_with("on trial: deny US; undone in "),
        "{shown}"
    );
    assert!(shown.ends_with("\n-deny US\n"), "{shown}");
}

#[test]
fn socket_of_the_command_line_is_no_difference() {
    let site = Site::new().unwrap();
    let socket = site.path("own.sock");
    let socket = format!("CERCO_SOCKET={}", socket.display());
    let config = site.config_with("", MORE);
    let cerco = Cerco::start_under(&site.host, &config, &["env", &socket]).unwrap();
    let own = |args: &[&str]| {
        let mut command = cerco.cli_command(args);
        command.arg("--socket").arg(site.path("own.sock"));
        ended(command.env("SSH_CONNECTION", ""))
    };
    let equal = own(&["diff"]);
    assert_eq!((equal.code, equal.stdout.as_str()), (0, EQUAL), "{equal:?}");
    let reloaded = own(&["reload"]);
    assert_eq!((reloaded.code, reloaded.stderr.as_str()), (0, ""));
}

#[test]
fn file_of_conf_d_that_speaks_of_the_target_is_changed() {
    let site = Site::new().unwrap();
    let state = site.path("state");
    let main = format!(
        "interfaces = [\"eth0\"]\nmode = \"observe\"\n[paths]\nstate = \"{0}\"\nsocket = \"{0}/s\"\n",
        state.display()
    );
    // Shows what is left of /etc/cerco, which this script has for itself alone.
    let script = "
        set -e
        binary=$1 main=$2
        mount -t tmpfs cerco /etc
        mkdir -p /etc/cerco/conf.d
        cd /etc/cerco
        printf %s \"$main\" > cerco.toml
        printf '[policy.countries]\\nMO = \"allow\"  # home\\n' > conf.d/10-countries.toml
        printf '[rules]\\ndeny = [\"203.0.113.0/24\"]\\n' > conf.d/20-rules.toml
        $binary allow PT --permanent
        $binary trust 203.0.113.0/24 --permanent
        $binary trust 192.0.2.1 --permanent
        $binary enforce --permanent --yes
        for file in cerco.toml conf.d/*; do echo \"== $file\"; cat $file; done
    ";
    let mut command = std::process::Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(integration_tests::daemon::cerco_binary().unwrap())
        .arg(&main)
        .env("SSH_CONNECTION", "");
    let done = ended(&mut command);
    assert_eq!(done.code, 0, "{done:?}");
    let at_start = "no daemon runs: it takes effect at the next start";
    let expected = format!(
        "allow PT: written to /etc/cerco/conf.d/10-countries.toml:3\n{at_start}\n\
         trust 203.0.113.0/24: written to /etc/cerco/conf.d/20-rules.toml:5, taken out of [rules] deny\n\
         {at_start}\n\
         trust 192.0.2.1/32: written to /etc/cerco/conf.d/20-rules.toml:5\n{at_start}\n\
         enforce: written to /etc/cerco/cerco.toml:2\n{at_start}\n\
         == cerco.toml\n{}\
         == conf.d/10-countries.toml\n[policy.countries]\nMO = \"allow\"  # home\nPT = \"allow\"\n\
         == conf.d/20-rules.toml\n[rules]\ndeny = []\n\n[trusted]\n\
         prefixes = [\"203.0.113.0/24\", \"192.0.2.1\"]\n",
        main.replace("observe", "enforce")
    );
    assert_eq!(done.stdout, expected);
}

#[test]
fn rules_for_single_ports_stay_beside_the_config_and_go_with_what_it_says() {
    let site = Site::new().unwrap();
    let cerco = start(&site);
    let before = text(&cerco);
    let refused = cerco.try_cli(&["allow", "US", "--port", "80", "--permanent"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    let says = "a config has no rules for single ports: --port does not go with --permanent";
    assert!(refused.stderr.contains(says), "{refused:?}");
    assert_eq!(text(&cerco), before);
    cerco
        .cli(&["allow", "US", "--port", "80", "--for", "1h"])
        .unwrap();
    cerco.cli(&["allow", "US", "--for", "1h"]).unwrap();
    let said = cerco.cli(&["deny", "US", "--permanent"]).unwrap();
    assert!(
        said.contains("the runtime rule `allow US` has ended"),
        "{said}"
    );
    let (code, lines) = diff(&cerco);
    assert_eq!(code, 1, "{lines}");
    assert!(lines.contains("allow US on 80/tcp"), "{lines}");
    let passes = |port| {
        let explained = cerco.json(&["explain", ABROAD[0], "--port", port]);
        explained["verdict"] == "pass"
    };
    assert_eq!((passes("80/tcp"), passes("81/tcp")), (true, false));
    cerco
        .cli(&["rules", "remove", "US", "--permanent"])
        .unwrap();
    assert_eq!(at_runtime(&cerco), Vec::<String>::new());
    assert!(!passes("80/tcp"));
    assert_eq!(diff(&cerco).0, 0);
}

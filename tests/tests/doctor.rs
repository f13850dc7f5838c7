//! `cerco doctor` on hosts that are well, and on hosts of which one thing is wrong.

use aya::programs::XdpMode;
use integration_tests::{
    bench::{
        drops::{Drops, Program},
        trace::Prefixes,
    },
    daemon::{Cerco, cerco_binary},
    poll,
    site::{ABROAD, Ended, LINK, MACAU, Site, ended, parse},
};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(20);

/// What is said of the machine that the tests run on, not of the site that they make.
const OF_THE_MACHINE: [&str; 5] = ["btf", "bpf_stats", "clock_sync", "jit", "queues"];

/// One finding: check, severity, sentence, command.
type Said = (String, String, String, String);

/// How the doctor ended, and all that it found.
struct Doctor {
    code: i32,
    findings: Vec<Said>,
}

impl Doctor {
    fn of(ended: &Ended) -> Self {
        assert_eq!(ended.stderr, "", "{ended:?}");
        let report = parse(&ended.stdout);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let findings: Vec<Said> = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| {
                (
                    text(&it["check"]),
                    text(&it["severity"]),
                    text(&it["sentence"]),
                    text(&it["command"]),
                )
            })
            .collect();
        let verdict = match ended.code {
            0 => "ok",
            1 => "warning",
            2 => "fault",
            code => panic!("exit code {code}"),
        };
        assert_eq!(report["verdict"], verdict, "{}", ended.stdout);
        Self {
            code: ended.code,
            findings,
        }
    }

    fn ask(cerco: &Cerco) -> Self {
        Self::of(&cerco.try_cli(&["doctor", "--json"]))
    }

    /// What is not fine about the site, in the order of the listing.
    fn complaints(&self) -> Vec<&Said> {
        self.findings
            .iter()
            .filter(|(check, severity, ..)| {
                severity != "ok" && !OF_THE_MACHINE.contains(&check.as_str())
            })
            .collect()
    }

    /// Checks and severities of the complaints.
    fn kinds(&self) -> Vec<(&str, &str)> {
        self.complaints()
            .into_iter()
            .map(|(check, severity, ..)| (check.as_str(), severity.as_str()))
            .collect()
    }

    fn sentence_and_command(&self, check: &str) -> (&str, &str) {
        let found = self.findings.iter().find(|(name, ..)| name == check);
        let (_, _, sentence, command) = found.unwrap_or_else(|| panic!("no {check}"));
        (sentence, command)
    }
}

/// `cerco ARGUMENTS`, for the config of `cerco`.
fn typed(cerco: &Cerco, arguments: &str) -> String {
    format!("cerco {arguments} -c {}", cerco.config_path().display())
}

fn edit(cerco: &Cerco, what: &str) -> String {
    format!(
        "sensible-editor {} && {}    # {what}",
        cerco.config_path().display(),
        typed(cerco, "reload")
    )
}

#[test]
fn healthy_gate_has_nothing_to_complain_of() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), [("", ""); 0], "{:?}", doctor.complaints());
    assert_eq!(doctor.code, 0);
    // What is fine was looked at, once.
    for (check, sentence) in [
        ("gate", "The gate stands on eth0 (native)."),
        ("daemon", "The daemon answers."),
        ("config_in_force", "What is in the config is in force."),
        (
            "replies",
            "Answers to this host's own connections are let in on eth0.",
        ),
        (
            "xdp_mode",
            "The driver of eth0, veth, runs the gate itself (native).",
        ),
        ("membership", ""),
        ("database", ""),
        ("lockout", ""),
    ] {
        let said: Vec<&Said> = doctor
            .findings
            .iter()
            .filter(|(name, ..)| name == check)
            .collect();
        match check {
            "membership" => assert_eq!(said.len(), 0, "eth0 is a member of nothing"),
            _ => assert_eq!(said.len(), 1, "{check}: {said:?}"),
        }
        assert!(
            said.iter().all(|(_, _, it, _)| it.contains(sentence)),
            "{said:?}"
        );
    }
}

#[test]
fn text_fits_80_columns_and_shows_what_is_fine_when_asked() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    cerco.cli(&["observe"]).unwrap();
    let short = cerco.try_cli(&["doctor"]);
    let long = cerco.try_cli(&["doctor", "-v"]);
    assert_eq!((short.code, long.code), (0, 0), "{short:?}");
    let note = format!(
        "note    The gate only observes: nothing is dropped.\n        → {}\n",
        typed(&cerco, "enforce")
    );
    assert!(short.stdout.contains(&note), "{}", short.stdout);
    assert!(!short.stdout.contains("\nok "), "{}", short.stdout);
    assert!(
        long.stdout.contains("\nok      The daemon answers.\n"),
        "{}",
        long.stdout
    );
    for line in long.stdout.lines().filter(|line| !line.contains('→')) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let last = short.stdout.lines().last().unwrap();
    assert!(last.ends_with(" fine"), "{last}");
    assert_eq!(long.stdout.lines().last().unwrap(), last);
    let usage = cerco.try_cli(&["doctor", "eth0"]);
    assert_eq!(usage.code, 2, "{usage:?}");
}

#[test]
fn other_program_on_the_interface_is_named_with_its_number() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    cerco.stop().unwrap();
    cerco.cli(&["detach", "--force"]).unwrap();
    let shown = || site.host.ip("link show eth0").unwrap();
    for (mode, word) in [(XdpMode::Driver, "native"), (XdpMode::Skb, "generic")] {
        // The kernel takes a link away some time after its descriptor is closed.
        poll::until("see no program", LIMIT, || {
            (!shown().contains("xdp")).then_some(())
        })
        .unwrap();
        let mut other = Drops::load(Program::DropAll, &Prefixes::default()).unwrap();
        site.host.run(|| other.attach(mode)).unwrap().unwrap();
        let shown = shown();
        let number = shown.split("prog/xdp id ").nth(1).unwrap();
        let number = number.split_whitespace().next().unwrap();
        let expected = format!(
            "The program `drop_all` (number {number}) stands on eth0 in {word} mode, held by \
             process {} ({}), where the gate should: every packet passes the gate by.",
            std::process::id(),
            fs::read_to_string("/proc/self/comm").unwrap().trim(),
        );
        // A child of another test holds all descriptors of this process for the moment before its exec.
        let doctor = poll::until("see the program held by this process alone", LIMIT, || {
            let doctor = Doctor::ask(&cerco);
            (doctor.sentence_and_command("other_xdp_program").0 == expected).then_some(doctor)
        })
        .unwrap();
        assert_eq!(doctor.code, 2);
        let (_, command) = doctor.sentence_and_command("other_xdp_program");
        let (link, then) = command.split_once(" && ").unwrap();
        let link = link.strip_prefix("bpftool link detach id ").unwrap();
        assert!(link.parse::<u32>().is_ok(), "{command}");
        assert_eq!(then, "systemctl restart cerco");
        assert_eq!(
            doctor.kinds(),
            [("other_xdp_program", "fault"), ("daemon", "warning")]
        );
    }
}

#[test]
fn tracker_that_is_gone_is_a_warning_and_a_restart_mends_it() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    for (pin, program) in [("in-eth0", "cerco_in"), ("out-eth0", "cerco_out")] {
        fs::remove_file(cerco.pins().join("v1/tracking").join(pin)).unwrap();
        // The kernel takes a link away some time after its last pin; until then it is one of nobody's.
        let doctor = poll::until("see the tracker gone", LIMIT, || {
            let doctor = Doctor::ask(&cerco);
            (doctor.kinds() == [("replies", "warning")]).then_some(doctor)
        })
        .unwrap();
        assert_eq!(
            doctor.sentence_and_command("replies"),
            (
                format!(
                    "Answers to this host's own connections may be denied on eth0: \
                     `{program}` is missing there."
                )
                .as_str(),
                "systemctl restart cerco"
            )
        );
        assert_eq!(doctor.code, 1);
        let status = cerco.json(&["status"]);
        let reason =
            "a program that watches them was taken off; restart the daemon to attach it again";
        assert_eq!(
            status["replies"]["faults"],
            serde_json::json!([{ "interface": "eth0", "reason": reason }])
        );
        assert_eq!(
            status["warnings"],
            serde_json::json!([format!(
                "answers to this host's own connections may be denied on eth0: {reason}"
            )])
        );
        // What the command does, without a service manager.
        cerco.stop().unwrap();
        cerco.run().unwrap();
        assert_eq!(Doctor::ask(&cerco).kinds(), [("", ""); 0]);
    }
}

#[test]
fn replies_that_are_switched_off_are_noted() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let off = "[replies]\nenabled = false\n";
    cerco.write_config(&site.config_with("", off)).unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), [("config_in_force", "warning")]);
    assert_eq!(
        doctor
            .complaints()
            .iter()
            .map(|(_, _, sentence, command)| (sentence.as_str(), command.as_str()))
            .collect::<Vec<_>>(),
        [(
            "The config says [replies] enabled = false, the daemon was started with true.",
            "systemctl restart cerco"
        )]
    );
    cerco.stop().unwrap();
    cerco.run().unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), [("replies", "note")]);
    let (sentence, command) = doctor.sentence_and_command("replies");
    assert_eq!(
        sentence,
        "Answers to this host's own connections are denied like everything else: [replies] enabled \
         = false."
    );
    assert!(
        command.ends_with("# [replies] enabled = true, if it is not meant"),
        "{command}"
    );
    assert_eq!(doctor.code, 0);
}

/// A program's name on the BPF file system, gone with the guard.
struct Pin(PathBuf);

impl Drop for Pin {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn command_takes_off_what_ip_link_attached() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    cerco.stop().unwrap();
    cerco.cli(&["detach", "--force"]).unwrap();
    let pin = Pin(format!("/sys/fs/bpf/cerco-other-{}", std::process::id()).into());
    let mut other = Drops::load(Program::DropAll, &Prefixes::default()).unwrap();
    other.pin(&pin.0).unwrap();
    for mode in ["xdpdrv", "xdpgeneric"] {
        site.host
            .ip(&format!(
                "link set dev eth0 {mode} pinned {}",
                pin.0.display()
            ))
            .unwrap();
        let doctor = Doctor::ask(&cerco);
        let (_, command) = doctor.sentence_and_command("other_xdp_program");
        let off = format!("link set dev eth0 {mode} off");
        assert_eq!(command, format!("ip {off} && systemctl restart cerco"));
        site.host.ip(&off).unwrap();
        let doctor = Doctor::ask(&cerco);
        assert_eq!(doctor.kinds(), [("gate", "fault"), ("daemon", "warning")]);
    }
    // What the second half of it does, without a service manager.
    cerco.run().unwrap();
    assert_eq!(Doctor::ask(&cerco).kinds(), [("", ""); 0]);
}

#[test]
fn gate_that_does_not_stand_where_the_config_says_is_a_fault() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let interfaces = |names: &str| site.config_with(&format!("interfaces = [{names}]\n"), "");
    cerco
        .write_config(&interfaces("\"eth0\", \"lo\", \"gone0\""))
        .unwrap();
    let doctor = Doctor::ask(&cerco);
    let faults: Vec<&str> = doctor
        .complaints()
        .iter()
        .filter(|(_, severity, ..)| severity == "fault")
        .map(|(_, _, sentence, _)| sentence.as_str())
        .collect();
    assert_eq!(
        faults,
        [
            "No gate stands on lo: every packet passes there.",
            "gone0 is in the config, and no interface has that name.",
        ]
    );
    assert_eq!(doctor.code, 2);

    cerco.write_config(&interfaces("\"lo\"")).unwrap();
    let doctor = Doctor::ask(&cerco);
    assert!(
        doctor.kinds().contains(&("gate", "warning")),
        "{:?}",
        doctor.complaints()
    );

    // Back to what stands; then it is taken away under the daemon.
    cerco.write_config(&site.config()).unwrap();
    cerco.cli(&["detach", "--force"]).unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), [("gate", "fault")]);
    assert_eq!(
        doctor.sentence_and_command("gate"),
        (
            "No gate stands on eth0: every packet passes there.",
            "systemctl restart cerco"
        )
    );

    // And without the daemon, with a gate that stands.
    cerco.stop().unwrap();
    cerco.run().unwrap();
    cerco.kill().unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), [("daemon", "warning")]);
    assert_eq!(doctor.code, 1);
}

#[test]
fn interfaces_are_known_by_other_names_too() {
    let site = Site::new().unwrap();
    let change = |command: &str| site.host.ip(command).unwrap();
    change(&format!("link property add dev {LINK} altname enp0s3"));
    let config = site.config_with("interfaces = [\"enp0s3\"]\n", "");
    let cerco = Cerco::start(&site.host, &config).unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), []);

    change(&format!("link property del dev {LINK} altname enp0s3"));
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), [("name", "warning")]);
    let edit_and_restart = format!(
        "sensible-editor {} && systemctl restart cerco    # interfaces = eth0 in the place of enp0s3",
        cerco.config_path().display()
    );
    assert_eq!(
        doctor.sentence_and_command("name"),
        (
            "enp0s3 is called eth0 now, and the gate went along: it leaves eth0 when another interface is \
             called enp0s3.",
            edit_and_restart.as_str()
        )
    );
}

#[test]
fn interface_that_is_named_twice_is_looked_at_once() {
    let site = Site::new().unwrap();
    let name_it = format!("link property add dev {LINK} altname enp0s3");
    site.host.ip(&name_it).unwrap();
    let config = site.config_with("interfaces = [\"eth0\", \"enp0s3\"]\n", "");
    let cerco = Cerco::start(&site.host, &config).unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), [("interfaces", "warning")]);
    let words = "eth0 and enp0s3 of `interfaces` are one interface: one gate stands there and counts as eth0";
    let edit_and_restart = format!(
        "sensible-editor {} && systemctl restart cerco    # interfaces without enp0s3",
        cerco.config_path().display()
    );
    assert_eq!(
        doctor.sentence_and_command("interfaces"),
        (format!("{words}.").as_str(), edit_and_restart.as_str())
    );
    let mut names: Vec<_> = doctor.findings.iter().map(|it| &it.0).collect();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "{names:?}");
    let check = cerco.try_cli(&["check"]);
    assert_eq!(check.code, 0, "{check:?}");
    assert_eq!(check.stderr, format!("warning: {words}\n"));
    let check = cerco.json(&["check"]);
    assert_eq!(check["warnings"], serde_json::json!([words]));
}

#[test]
fn broken_config_is_told_with_its_place_and_the_rest_is_looked_at() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    cerco
        .write_config(&site.config().replace("\"enforce\"", "\"sideways\""))
        .unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.code, 2);
    assert_eq!(doctor.kinds(), [("config", "fault")]);
    let (sentence, command) = doctor.sentence_and_command("config");
    let start = format!(
        "The config cannot be used: {}:2:8: ",
        cerco.config_path().display()
    );
    assert!(sentence.starts_with(&start), "{sentence}");
    assert!(sentence.contains("sideways"), "{sentence}");
    assert_eq!(command, typed(&cerco, "check"));
    assert_eq!(
        doctor.sentence_and_command("gate").0,
        "The gate stands on eth0 (native)."
    );

    fs::remove_file(cerco.config_path()).unwrap();
    let doctor = Doctor::ask(&cerco);
    let path = cerco.config_path();
    let path = path.display();
    assert_eq!(
        doctor.sentence_and_command("config"),
        (
            format!("There is no config {path}.").as_str(),
            format!("cerco check --example > {path} && sensible-editor {path}").as_str()
        )
    );
    assert_eq!(doctor.code, 2);
}

#[test]
fn config_that_is_not_in_force_or_that_others_may_change_is_found() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let more = "CN = \"allow\"\n[limits.few]\npackets_per_second = 5\n[rules]\ndeny = [\"192.0.2.9/32\"]\n";
    cerco.write_config(&site.config_with("", more)).unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), [("config_in_force", "warning")]);
    let reload = format!("{} && {}", typed(&cerco, "check"), typed(&cerco, "reload"));
    assert_eq!(
        doctor.sentence_and_command("config_in_force"),
        (
            "What runs is not what config and database say now; different are: the actions of \
             countries, limits, the networks of database and rules.",
            reload.as_str()
        )
    );
    cerco.cli(&["reload"]).unwrap();
    assert_eq!(Doctor::ask(&cerco).kinds(), [("", ""); 0]);
    // What was changed at runtime is in force as well, and no difference.
    cerco.cli(&["allow", "US"]).unwrap();
    cerco.cli(&["trust", "192.0.2.128/25"]).unwrap();
    assert_eq!(Doctor::ask(&cerco).kinds(), [("", ""); 0]);
    cerco.cli(&["observe"]).unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(
        doctor.kinds(),
        [("mode", "note"), ("config_in_force", "note")]
    );

    fs::set_permissions(cerco.config_path(), PermissionsExt::from_mode(0o666)).unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds()[0], ("config_files", "fault"));
    let path = cerco.config_path();
    assert_eq!(
        doctor.sentence_and_command("config_files"),
        (
            format!(
                "Every user may change {}, and with it whom the gate lets in.",
                path.display()
            )
            .as_str(),
            format!("chmod go-w {}", path.display()).as_str()
        )
    );
}

#[test]
fn generic_mode_is_warned_of_unless_it_was_asked_for() {
    let site = Site::new().unwrap();
    let generic = site.config_with("attach = \"generic\"\n", "");
    let cerco = Cerco::start(&site.host, &generic).unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), [("", ""); 0]);
    assert_eq!(
        doctor.sentence_and_command("gate").0,
        "The gate stands on eth0 (generic)."
    );
    cerco.write_config(&site.config()).unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), [("xdp_mode", "warning")]);
    let detach = typed(&cerco, "detach --force");
    assert_eq!(
        doctor.sentence_and_command("xdp_mode"),
        (
            "The gate runs on eth0 in generic mode, where a packet costs more than twice as much, \
             though its driver veth has native XDP.",
            format!("{detach} && systemctl restart cerco").as_str()
        )
    );
}

#[test]
fn interface_is_described_as_it_is() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    for line in ["link add br0 type bridge", "link set eth0 master br0"] {
        site.host.ip(line).unwrap();
    }
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), [("membership", "note")]);
    assert_eq!(
        doctor.sentence_and_command("membership"),
        (
            "eth0 is a port of the bridge br0: the gate filters also what goes through to the \
             guests behind it.",
            edit(&cerco, "[protect] destinations = those of this host").as_str()
        )
    );
    site.host.ip("link set eth0 nomaster").unwrap();

    let tc = |arguments: &str| {
        let mut command = site.host.command("tc");
        let done = ended(command.args(arguments.split(' ')));
        assert_eq!(done.code, 0, "tc {arguments}: {done:?}");
    };
    tc("qdisc add dev eth0 clsact");
    // A program of one instruction, which finds no match.
    let mut filter = site.host.command("tc");
    filter.args("filter add dev eth0 ingress bpf bytecode".split(' '));
    let done = ended(filter.arg("1,6 0 0 0,"));
    assert_eq!(done.code, 0, "{done:?}");
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), [("tc_programs", "note")]);
    assert_eq!(
        doctor.sentence_and_command("tc_programs"),
        (
            "A program of traffic control is on eth0, ingress: it sees only what the gate lets in.",
            "tc filter show dev eth0 ingress"
        )
    );
    tc("qdisc del dev eth0 clsact");

    site.host.ip("link set eth0 down").unwrap();
    let doctor = Doctor::ask(&cerco);
    assert_eq!(doctor.kinds(), [("link", "note")]);
    assert_eq!(doctor.code, 0);
}

#[test]
fn tunnel_and_bridge_are_no_places_for_the_gate() {
    let site = Site::new().unwrap();
    for line in ["link add br0 type bridge", "tuntap add dev tun9 mode tun"] {
        site.host.ip(line).unwrap();
    }
    let top = "interfaces = [\"br0\", \"tun9\"]\n";
    let paths = format!("[paths]\nstate = \"{}\"\n", site.path("state").display());
    let config = site
        .write("cerco.toml", site.config_with(top, &paths))
        .unwrap();
    let doctor = Doctor::of(&without_daemon(&site, &config, &[]));
    let severity = |check: &str, start: &str| {
        let said = doctor
            .findings
            .iter()
            .find(|(name, _, sentence, _)| name == check && sentence.starts_with(start));
        said.map(|(_, severity, ..)| severity.as_str())
    };
    assert_eq!(
        severity("link_layer", "Packets on tun9 have no Ethernet header"),
        Some("fault")
    );
    assert_eq!(
        severity("link_layer", "br0 carries Ethernet frames"),
        Some("ok")
    );
    assert_eq!(severity("membership", "br0 is a bridge"), Some("note"));
    assert_eq!(
        severity("xdp_mode", "The driver of tun9, tun, has no native XDP"),
        Some("note")
    );
}

/// The doctor over a config of whose daemon nothing is known, in a mount namespace of its own after
/// `mounts`.
fn without_daemon(site: &Site, config: &Path, mounts: &[&str]) -> Ended {
    let script = format!("{}\nexec \"$@\"", mounts.join("\n"));
    let mut command = site.host.command("unshare");
    command
        .args(["--mount", "sh", "-ec", &script, "sh"])
        .arg(cerco_binary().unwrap())
        .args(["doctor", "--json", "--socket"])
        .arg(site.path("no.sock"))
        .arg("-c")
        .arg(config)
        .env("SSH_CONNECTION", "");
    ended(&mut command)
}

#[test]
fn read_only_or_missing_bpf_file_system_is_a_fault() {
    let site = Site::new().unwrap();
    let paths = format!("[paths]\nstate = \"{}\"\n", site.path("state").display());
    let config = site
        .write("cerco.toml", site.config_with("", &paths))
        .unwrap();
    let read_only = "mount -o remount,bind,ro /sys/fs/bpf";
    let doctor = Doctor::of(&without_daemon(&site, &config, &[read_only]));
    assert_eq!(
        doctor.sentence_and_command("bpffs"),
        (
            "The BPF file system of /sys/fs/bpf/cerco is mounted read-only: no gate can be pinned.",
            "mount -o remount,rw /sys/fs/bpf"
        )
    );
    assert_eq!(doctor.code, 2);
    // Another file system upon it.
    let missing = "mount -t tmpfs none /sys/fs/bpf";
    let doctor = Doctor::of(&without_daemon(&site, &config, &[missing]));
    assert_eq!(
        doctor.sentence_and_command("bpffs"),
        (
            "No BPF file system is mounted on /sys/fs/bpf, so that a gate would have no place to \
             outlive the daemon.",
            "mount -t bpf bpf /sys/fs/bpf"
        )
    );
}

#[test]
fn old_future_and_unreadable_databases_are_found() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let path = site.path("database.csv");
    let networks = fs::read_to_string(&path).unwrap();
    let of = |year: u32| {
        // RFC 2822, without the day of the week, which would have to be right.
        let dated = format!("# Generated: 25 Jun {year} 04:33:59 GMT\n{networks}");
        site.write("database.csv", dated).unwrap();
        cerco.cli(&["reload"]).unwrap();
        Doctor::ask(&cerco)
    };
    let old = of(2020);
    assert_eq!(old.kinds(), [("database", "warning")]);
    let (sentence, command) = old.sentence_and_command("database");
    assert!(
        sentence.starts_with("The database is too old to trust (built 2020-06-25, "),
        "{sentence}"
    );
    let replace = format!(
        "install -m 644 NEWER-FILE {} && {}",
        path.display(),
        typed(&cerco, "reload")
    );
    assert_eq!(command, replace);
    let future = of(2120);
    assert_eq!(future.kinds(), [("clock", "warning")]);
    let (sentence, _) = future.sentence_and_command("clock");
    assert!(sentence.contains("2120-06-25"), "{sentence}");

    fs::remove_file(&path).unwrap();
    let doctor = Doctor::ask(&cerco);
    assert!(
        doctor.kinds().contains(&("database", "fault")),
        "{:?}",
        doctor.complaints()
    );
    assert_eq!(doctor.code, 2);
}

#[test]
fn ssh_sessions_that_the_policy_denies_are_found_before_they_are_lost() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let from = |cerco: &Cerco, peer: &str| {
        let mut command = cerco.cli_command(&["doctor", "--json"]);
        Doctor::of(&ended(
            command.env("SSH_CONNECTION", format!("{peer} 50000 192.0.2.1 22")),
        ))
    };
    assert_eq!(from(&cerco, MACAU[0]).kinds(), [("", ""); 0]);
    let trust = typed(&cerco, &format!("trust {}", ABROAD[1]));
    let abroad = from(&cerco, ABROAD[1]);
    assert_eq!(abroad.kinds(), [("lockout", "fault")]);
    assert_eq!(
        abroad.sentence_and_command("lockout"),
        (
            "The gate drops the SSH session from 2001:db8:2::7 (US) to port 22: no new one will \
             stand.",
            trust.as_str()
        )
    );
    cerco.cli(&["trust", ABROAD[1]]).unwrap();
    assert_eq!(from(&cerco, ABROAD[1]).kinds(), [("", ""); 0]);
    // A config that would lock out whom the running one lets in.
    cerco
        .write_config(&site.config().replace("MO = \"allow\"", "US = \"allow\""))
        .unwrap();
    let doctor = from(&cerco, MACAU[0]);
    let (sentence, _) = doctor.sentence_and_command("lockout");
    assert!(
        sentence.starts_with("`cerco reload` would lock out"),
        "{sentence}"
    );
    // Without a daemon the gate goes on to do what was written.
    cerco.write_config(&site.config()).unwrap();
    cerco.stop().unwrap();
    let doctor = from(&cerco, ABROAD[0]);
    assert_eq!(
        doctor.kinds(),
        [("lockout", "fault"), ("daemon", "warning")]
    );
    let (sentence, _) = doctor.sentence_and_command("lockout");
    assert!(
        sentence.starts_with("The gate drops the SSH session from 203.0.113.7 (US)"),
        "{sentence}"
    );
}

#[test]
fn sessions_of_others_are_found_in_the_table_of_connections() {
    let site = Site::new().unwrap();
    let config = site.config_with("mode = \"observe\"\n", "");
    let cerco = Cerco::start(&site.host, &config).unwrap();
    let listener = site
        .host
        .run(|| TcpListener::bind("192.0.2.1:22").unwrap())
        .unwrap();
    let session = site
        .world
        .run(|| TcpStream::connect_timeout(&"192.0.2.1:22".parse().unwrap(), LIMIT).unwrap())
        .unwrap();
    let (other_end, _) = listener.accept().unwrap();
    // The machine's own sshd may have another port in its config, and its logind knows nothing of this one.
    let hide = "if [ -d /etc/ssh ]; then mount -t tmpfs none /etc/ssh; fi\n\
                mount -t tmpfs none /run\nexec \"$@\"";
    let ask = || {
        let mut command = site.host.command("unshare");
        command
            .args(["--mount", "sh", "-ec", hide, "sh"])
            .arg(cerco_binary().unwrap())
            .args(["doctor", "--json", "-c"])
            .arg(cerco.config_path())
            .env("SSH_CONNECTION", "");
        Doctor::of(&ended(&mut command))
    };
    let doctor = ask();
    assert_eq!(doctor.kinds(), [("lockout", "warning"), ("mode", "note")]);
    assert_eq!(
        doctor.sentence_and_command("lockout"),
        (
            "`cerco enforce` would lock out the SSH session from 192.0.2.2 (unknown).",
            typed(&cerco, "trust 192.0.2.2").as_str()
        )
    );
    drop((session, other_end));
    poll::until("see the session end", LIMIT, || {
        (ask().kinds() == [("mode", "note")]).then_some(())
    })
    .unwrap();
}

#[test]
fn other_users_learn_what_they_cannot_see() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let config = cerco.config_path();
    let binary = site.binary_for_all().unwrap();
    for open in [config.parent().unwrap(), &cerco.state()] {
        fs::set_permissions(open, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let as_nobody = |more: &[&str]| {
        let mut command: Command = site.host.command("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&binary)
            .args(["doctor", "--json", "-c"])
            .arg(cerco.config_path())
            .args(more)
            .env("SSH_CONNECTION", "");
        Doctor::of(&ended(&mut command))
    };
    let closed = as_nobody(&[]);
    assert_eq!(closed.code, 0);
    assert_eq!(
        closed.kinds(),
        [
            ("capabilities", "unknown"),
            ("state", "unknown"),
            ("gate", "unknown"),
            ("pins", "unknown"),
            ("daemon", "unknown"),
            ("tc_programs", "unknown"),
        ]
    );
    let (sentence, command) = closed.sentence_and_command("pins");
    assert_eq!(
        sentence,
        "What stands in the kernel was not looked at: only root may see the pins."
    );
    assert_eq!(command, format!("sudo {}", typed(&cerco, "doctor")));
    // Of a config that is not theirs they learn that alone.
    fs::set_permissions(cerco.config_path(), PermissionsExt::from_mode(0o600)).unwrap();
    let blind = as_nobody(&["--socket", &cerco.socket().display().to_string()]);
    assert_eq!(blind.code, 0);
    assert!(
        blind.kinds().contains(&("config", "unknown")),
        "{:?}",
        blind.complaints()
    );
    fs::set_permissions(cerco.config_path(), PermissionsExt::from_mode(0o644)).unwrap();
    fs::set_permissions(site.path("database.csv"), PermissionsExt::from_mode(0o600)).unwrap();
    let kinds = as_nobody(&[]);
    assert!(
        kinds.kinds().contains(&("database", "unknown")),
        "{:?}",
        kinds.complaints()
    );
    fs::set_permissions(site.path("database.csv"), PermissionsExt::from_mode(0o644)).unwrap();
    // Who may ask the daemon knows more.
    fs::set_permissions(cerco.socket(), PermissionsExt::from_mode(0o666)).unwrap();
    let member = as_nobody(&[]);
    assert_eq!(
        member.kinds(),
        [
            ("capabilities", "unknown"),
            ("state", "unknown"),
            ("pins", "unknown"),
            ("config_in_force", "unknown"),
            ("tc_programs", "unknown"),
        ]
    );
    assert_eq!(
        member.sentence_and_command("gate").0,
        "The gate stands on eth0 (native)."
    );
}

#[test]
fn doctor_changes_nothing() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    site.send(ABROAD[0], 5).unwrap();
    let seen = || {
        let mut status = cerco.json(&["status"]);
        // Only the time goes on, and the history, which a thread of its own writes.
        status["uptime_seconds"] = 0.into();
        status["history"] = 0.into();
        status["totals"] = 0.into();
        let link = site.host.ip("-details link show").unwrap();
        let state = fs::read_to_string(cerco.state().join("runtime.json")).ok();
        (status, cerco.packets("country_denied", "drop"), link, state)
    };
    // The kernel sees a moment later than the daemon is ready that the cable is plugged in.
    poll::until("see the cable", LIMIT, || {
        let link = site.host.ip("link show eth0").unwrap();
        link.contains("state UP").then_some(())
    })
    .unwrap();
    let before = seen();
    Doctor::ask(&cerco);
    assert_eq!(seen(), before);
    // Nor does it make what is missing.
    let config = site.write("cerco.toml", site.config()).unwrap();
    let state = site.path("state");
    let paths = format!(
        "[paths]\nstate = \"{}\"\npins = \"/sys/fs/bpf/cerco-none\"\n",
        state.display()
    );
    fs::write(&config, site.config_with("", &paths)).unwrap();
    without_daemon(&site, &config, &[]);
    assert!(!state.exists());
    assert!(!Path::new("/sys/fs/bpf/cerco-none").exists());
    assert!(site.host.ip("link show eth0").unwrap().contains(LINK));
}

//! The gate outlives its daemon: starts, ends, restarts, and everything that can stand in the way.

use aya::{
    maps::MapData,
    programs::{ProgramInfo, SchedClassifier, TcAttachType},
};
use filter_common::abi::{ABI_VERSION, Control};
use filter_userspace::kernel::{MappedArray, TableMap};
use integration_tests::{
    daemon::Cerco,
    poll,
    raw::RawSocket,
    site::{ABROAD, LINK, MACAU, Site, ended, packets, parse},
    tap::{Count, Tap},
};
use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(20);

fn addresses(texts: &[&str]) -> BTreeSet<std::net::IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn restarts_under_load_let_nothing_in_and_lose_nothing() {
    const RESTARTS: usize = 10;
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let mut good = Tap::open(&site.host, LINK, &Count::From(&addresses(&MACAU))).unwrap();
    let mut bad = Tap::open(&site.host, LINK, &Count::From(&addresses(&ABROAD))).unwrap();
    let stop = AtomicBool::new(false);
    let (sent_good, sent_bad) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let socket = RawSocket::open_sender(&site.world, LINK).unwrap();
            let frames = |sources: [&str; 2]| sources.map(|source| site.syn_from(source));
            let (good, bad) = (frames(MACAU), frames(ABROAD));
            let (mut sent_good, mut sent_bad) = (0, 0);
            // Bounded in any case, should a restart hang.
            while !stop.load(Ordering::Relaxed) && sent_good < 2_000_000 {
                for frame in &good {
                    socket.send(frame).unwrap();
                    sent_good += 1;
                }
                for frame in bad.iter().cycle().take(8) {
                    socket.send(frame).unwrap();
                    sent_bad += 1;
                }
                thread::sleep(Duration::from_micros(200));
            }
            (sent_good, sent_bad)
        });
        let restarted = (0..RESTARTS).try_for_each(|turn| {
            match turn % 2 {
                0 => cerco.kill()?,
                _ => drop(cerco.stop()?),
            }
            cerco.run()
        });
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join().unwrap();
        restarted.unwrap();
        sent
    });
    assert!(sent_good > 1_000, "the load was real: {sent_good}");
    assert_eq!(bad.total().unwrap(), 0, "denied frames that came in");
    assert_eq!(good.total().unwrap(), sent_good, "allowed frames");
    let status = cerco.json(&["status"]);
    // The counters go on over all restarts, exactly.
    assert_eq!(packets(&status, "allowed", "pass"), sent_good);
    assert_eq!(packets(&status, "country_denied", "drop"), sent_bad);
}

/// The verifier gives up when a signal comes, and has to be asked again.
#[test]
fn signals_while_the_programs_are_verified_do_not_end_a_start() {
    let site = Site::new().unwrap();
    let mut cerco = Cerco::prepare(&site.host, &site.config()).unwrap();
    cerco.spawn(&[]).unwrap();
    let wait = || thread::sleep(Duration::from_millis(15));
    for _ in 0..12 {
        // No process has a handler for it, so that it may come at any moment of the start.
        cerco.signal(libc::SIGSTOP).unwrap();
        wait();
        cerco.signal(libc::SIGCONT).unwrap();
        wait();
    }
    poll::until("see the gate stand", LIMIT, || {
        (cerco.try_cli(&["status"]).code == 0).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {}", cerco.log()));
}

#[test]
fn gate_stands_after_sigterm_and_after_sigkill() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let mut bad = Tap::open(&site.host, LINK, &Count::From(&addresses(&ABROAD))).unwrap();
    cerco.cli(&["ban", "198.51.100.99", "--for", "1h"]).unwrap();
    for (name, end) in [("SIGTERM", libc::SIGTERM), ("SIGKILL", libc::SIGKILL)] {
        match end {
            libc::SIGTERM => {
                let log = cerco.stop().unwrap();
                assert!(log.contains("the daemon stops, the gate stands"), "{log}");
                assert!(log.contains("cerco detach --force"), "{log}");
            }
            _ => cerco.kill().unwrap(),
        }
        let before = parse(&cerco.try_cli(&["status", "--json"]).stdout);
        site.send(ABROAD[0], 100).unwrap();
        site.send(MACAU[1], 50).unwrap();
        assert_eq!(bad.total().unwrap(), 0, "{name}");

        let read = cerco.try_cli(&["status", "--json"]);
        assert_eq!(read.code, 3, "{name}: {read:?}");
        let status = parse(&read.stdout);
        assert_eq!(status["daemon"], false);
        assert_eq!(status["mode"], "enforce");
        assert_eq!(status["interfaces"][0]["interface"], LINK);
        assert_eq!(status["bans"], 1);
        let rose =
            |reason, verdict| packets(&status, reason, verdict) - packets(&before, reason, verdict);
        assert_eq!(rose("country_denied", "drop"), 100, "{name}");
        assert_eq!(rose("allowed", "pass"), 50, "{name}");

        let bans = cerco.try_cli(&["bans", "--json"]);
        assert_eq!(bans.code, 3, "{bans:?}");
        assert_eq!(parse(&bans.stdout)["bans"][0]["prefix"], "198.51.100.99/32");
        let countries = cerco.try_cli(&["countries", "--json"]);
        assert_eq!(countries.code, 3, "{countries:?}");
        let first = &parse(&countries.stdout)["countries"][0];
        assert_eq!(first["class"], "US");
        assert_eq!(first["name"], "United States");
        assert!(
            countries.stderr.contains("no daemon answers"),
            "{countries:?}"
        );
        // What needs the daemon says so, and what to do.
        let rules = cerco.try_cli(&["rules"]);
        assert_eq!((rules.code, rules.stdout.as_str()), (3, ""));
        assert!(rules.stderr.contains("systemctl start cerco"), "{rules:?}");
        cerco.run().unwrap();
        assert_eq!(
            cerco.json(&["bans"])["bans"][0]["prefix"],
            "198.51.100.99/32"
        );
    }
}

/// Writes a database that has no room in the table of the one before.
fn outgrow_the_table(site: &Site) {
    // Some of each /16 from 20.0.0.0 on: thousands of blocks that differ.
    let mut database = fs::read_to_string(site.path("database.csv")).unwrap();
    for block in 0..60_000_u32 {
        let first = 0x1400_0000 + block * 20_000 + block % 199;
        let country = ["US", "DE", "FR"][block as usize % 3];
        let ip = std::net::Ipv4Addr::from;
        database += &format!(
            "{},{},{country}\n",
            ip(first),
            ip(first + 5_000 + block % 53 * 100)
        );
    }
    site.write("database.csv", database).unwrap();
}

#[test]
fn policy_that_outgrows_the_tables_is_loaded_anew_without_a_gap() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let mut bad = Tap::open(&site.host, LINK, &Count::From(&addresses(&ABROAD))).unwrap();
    cerco.cli(&["ban", "198.51.100.99", "--for", "1h"]).unwrap();
    site.send(ABROAD[0], 100).unwrap();
    let small = cerco.json(&["status"]);
    outgrow_the_table(&site);
    // Sixty thousand networks where four were are no next edition.
    cerco.cli(&["geo", "accept", "--yes"]).unwrap();
    cerco.assert_logs("loaded anew");
    let large = cerco.json(&["status"]);
    assert!(
        large["kernel_bytes"].as_u64() > small["kernel_bytes"].as_u64(),
        "{large}"
    );
    assert_eq!(
        packets(&large, "country_denied", "drop"),
        100,
        "carried over"
    );
    assert_eq!(large["bans"], 1);
    assert_eq!(large["mode"], "enforce");
    site.send("20.0.0.1", 10).unwrap();
    site.send(ABROAD[0], 10).unwrap();
    // 20.0.0.1 has a country now.
    assert_eq!(cerco.packets("country_denied", "drop"), 120);
    assert_eq!(bad.total().unwrap(), 0);
}

#[test]
fn policy_that_outgrows_the_tables_puts_no_detached_gate_up_again() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let mut bad = Tap::open(&site.host, LINK, &Count::From(&addresses(&ABROAD))).unwrap();
    cerco.cli(&["detach", "--force"]).unwrap();
    outgrow_the_table(&site);
    let refused = cerco.try_cli(&["geo", "accept", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("the gate was detached, every"),
        "{refused:?}"
    );
    let shown = site.host.ip("link show eth0").unwrap();
    assert!(!shown.contains("xdp"), "{shown}");
    for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
        let (_, programs) = site.host.run(move || tcx(direction)).unwrap();
        assert_eq!(programs.len(), 0, "{direction:?}");
    }
    assert!(!cerco.pins().exists());
    site.send(ABROAD[0], 10).unwrap();
    assert_eq!(bad.total().unwrap(), 10);
    cerco.kill().unwrap();
    cerco.run().unwrap();
    site.send(ABROAD[0], 10).unwrap();
    assert_eq!(bad.total().unwrap(), 10, "a start puts it up");
}

#[test]
fn table_that_a_killed_start_left_is_taken_away_by_the_next() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    cerco.kill().unwrap();
    let loading = cerco.pins().join("v1/loading");
    assert!(!loading.exists(), "a start takes its own away");
    // As SIGKILL between the map and the program leaves it.
    std::mem::forget(TableMap::create(&loading, 8_192).unwrap());
    assert!(loading.join("TABLE").exists());
    cerco.run().unwrap();
    assert!(!loading.exists());
}

#[test]
fn program_of_another_build_is_replaced_and_what_its_maps_say_is_not_read() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let mut bad = Tap::open(&site.host, LINK, &Count::From(&addresses(&ABROAD))).unwrap();
    cerco.cli(&["ban", "198.51.100.99", "--for", "1h"]).unwrap();
    site.send(ABROAD[0], 100).unwrap();
    cerco.kill().unwrap();
    let pin = cerco.pins().join("v1/maps/CONTROL");
    let map = MapData::from_pin(pin).unwrap();
    let control: MappedArray<Control> = MappedArray::new(&map, "CONTROL").unwrap();
    let mut block = control.read(0);
    assert_eq!(block.abi_version, ABI_VERSION);
    block.abi_version -= 1;
    control.write(0, &[block]);

    let status = cerco.try_cli(&["status"]);
    for words in ["of ABI version", "`cerco run` replaces them"] {
        assert!(status.stderr.contains(words), "{status:?}");
    }
    site.send(ABROAD[0], 10).unwrap();
    cerco.run().unwrap();
    site.send(ABROAD[0], 7).unwrap();
    assert_eq!(cerco.packets("country_denied", "drop"), 7);
    assert_eq!(cerco.json(&["status"])["bans"], 1);
    assert_eq!(bad.total().unwrap(), 0);
}

#[test]
fn second_daemon_is_refused_and_learns_the_pid_of_the_first() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let refused = cerco.try_cli(&["run"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let pid = cerco.pid().unwrap();
    let expected = format!("another daemon runs already (process {pid}");
    assert!(refused.stderr.contains(&expected), "{refused:?}");
    assert_eq!(cerco.json(&["status"])["pid"], pid, "the first goes on");
}

#[test]
fn detach_frees_the_interface_beside_a_daemon_that_took_the_gate_over() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    cerco.stop().unwrap();
    cerco.run().unwrap();
    assert!(site.host.ip("link show eth0").unwrap().contains("xdp"));
    cerco.cli(&["detach", "--force"]).unwrap();
    poll::until("see the gate and its trackers gone", LIMIT, || {
        let is_open = !site.host.ip("link show eth0").unwrap().contains("xdp");
        let (_, ingress) = site.host.run(|| tcx(TcAttachType::Ingress)).unwrap();
        let (_, egress) = site.host.run(|| tcx(TcAttachType::Egress)).unwrap();
        (is_open && ingress.is_empty() && egress.is_empty()).then_some(())
    })
    .unwrap();
}

/// The programs of TCX on the host's interface.
fn tcx(direction: TcAttachType) -> (u64, Vec<ProgramInfo>) {
    SchedClassifier::query_tcx(LINK, direction).unwrap()
}

#[test]
fn detach_frees_the_interface_without_a_daemon_and_twice_is_fine() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let mut bad = Tap::open(&site.host, LINK, &Count::From(&addresses(&ABROAD))).unwrap();
    cerco.kill().unwrap();
    let unsure = cerco.try_cli(&["detach"]);
    assert_eq!(unsure.code, 2, "{unsure:?}");
    assert!(unsure.stderr.contains("--force"), "{unsure:?}");
    site.send(ABROAD[0], 5).unwrap();
    assert_eq!(bad.total().unwrap(), 0);

    let freed = cerco.try_cli(&["detach", "--force"]);
    assert_eq!(freed.code, 0, "{freed:?}");
    assert_eq!(
        freed.stdout,
        "the gate is gone from eth0: every packet passes\n"
    );
    let link = site.host.ip("link show eth0").unwrap();
    assert!(!link.contains("xdp"), "{link}");
    assert!(!cerco.pins().exists());
    site.send(ABROAD[0], 5).unwrap();
    assert_eq!(bad.total().unwrap(), 5, "the gate is open");

    let again = cerco.try_cli(&["detach", "--force"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(
        again.stdout.starts_with("no gate stands under"),
        "{again:?}"
    );
    let status = cerco.try_cli(&["status"]);
    assert_eq!(status.code, 3);
    assert!(status.stderr.contains("every packet passes"), "{status:?}");
    cerco.run().unwrap();
    site.send(ABROAD[0], 5).unwrap();
    assert_eq!(bad.total().unwrap(), 5, "and closed again");
}

#[test]
fn starts_that_cannot_be_say_why_and_what_to_do() {
    let site = Site::new().unwrap();
    let _standing = site.start().unwrap();
    let cases = [
        (
            "another XDP program is there",
            site.config(),
            vec![
                "another XDP program is there: number ",
                " `cerco`, native, held by process ",
                "`cerco detach --force` with its config takes it off",
                "to take eth0 out of `interfaces`",
            ],
        ),
        (
            "interface missing",
            site.config_with("interfaces = [\"eth9\"]", ""),
            vec!["`eth9`", "does not exist", "ip -brief link"],
        ),
        (
            "native where the driver cannot",
            site.config_with("interfaces = [\"lo\"]\nattach = \"native\"", ""),
            vec![
                "lo",
                "native",
                "attach = \"generic\" works with every driver",
            ],
        ),
    ];
    for (name, config, expected) in cases {
        let error = Cerco::start(&site.host, &config).unwrap_err().to_string();
        for words in expected {
            assert!(error.contains(words), "{name}: no {words:?} in {error}");
        }
    }
}

#[test]
fn auto_falls_back_to_generic_and_says_why_also_after_a_restart() {
    let site = Site::new().unwrap();
    let config = site.config_with("interfaces = [\"lo\"]", "");
    let mut cerco = Cerco::start(&site.host, &config).unwrap();
    for turn in ["first start", "restart"] {
        let at = cerco.json(&["status"])["interfaces"][0].clone();
        assert_eq!(at["attach_mode"], "generic", "{turn}");
        let reason = at["fallback_reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(!reason.is_empty(), "{turn}: {at}");
        let text = cerco.cli(&["status"]).unwrap();
        let unwrapped = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            unwrapped.contains(&format!("lo (generic, because {reason})")),
            "{turn}: {text}"
        );
        cerco.kill().unwrap();
        cerco.run().unwrap();
    }
}

#[test]
fn standing_gate_stays_where_the_wanted_mode_cannot_be() {
    let site = Site::new().unwrap();
    let config = |attach: &str| {
        let top = format!("interfaces = [\"lo\"]\nattach = \"{attach}\"");
        site.config_with(&top, "")
    };
    let mut cerco = Cerco::start(&site.host, &config("auto")).unwrap();
    cerco.write_config(&config("native")).unwrap();
    for turn in ["first restart", "second restart"] {
        cerco.kill().unwrap();
        cerco.run().unwrap();
        let shown = site.host.ip("link show lo").unwrap();
        assert!(shown.contains("xdpgeneric"), "{turn}: {shown}");
        let at = cerco.json(&["status"])["interfaces"][0].clone();
        assert_eq!(at["attach_mode"], "generic", "{turn}");
        let reason = at["fallback_reason"].as_str().unwrap_or_default();
        for words in [
            "failed to attach to `lo` in native mode: ",
            "attach = \"generic\" works with every driver",
        ] {
            assert!(reason.contains(words), "{turn}: {at}");
        }
        cerco.assert_logs("the gate stands there in generic mode, as before");
    }
    // Where the mode can be had, a standing gate is moved to it.
    drop(cerco);
    let config = |attach: &str| site.config_with(&format!("attach = \"{attach}\""), "");
    let mut cerco = Cerco::start(&site.host, &config("generic")).unwrap();
    for mode in ["native", "generic"] {
        cerco.write_config(&config(mode)).unwrap();
        cerco.kill().unwrap();
        cerco.run().unwrap();
        let at = &cerco.json(&["status"])["interfaces"][0];
        let expected = serde_json::json!({ "interface": LINK, "attach_mode": mode });
        assert_eq!(*at, expected);
    }
}

#[test]
fn runtime_rules_survive_a_restart_and_a_broken_file_is_moved_aside() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    cerco.cli(&["allow", "US", "--comment", "fair"]).unwrap();
    cerco.cli(&["observe"]).unwrap();
    cerco.kill().unwrap();
    cerco.run().unwrap();
    assert_eq!(cerco.json(&["explain", ABROAD[0]])["verdict"], "pass");
    assert_eq!(cerco.json(&["status"])["mode"], "observe");

    cerco.kill().unwrap();
    let file = cerco.state().join("runtime.json");
    fs::write(&file, "{\"schema\":1,\n\"rul").unwrap();
    cerco.run().unwrap();
    assert_eq!(cerco.json(&["explain", ABROAD[0]])["verdict"], "drop");
    assert_eq!(cerco.json(&["status"])["mode"], "enforce");
    let warnings = cerco.json(&["status"])["warnings"].to_string();
    for words in ["runtime.json", "line 2", "runtime.json.broken"] {
        assert!(warnings.contains(words), "{words}: {warnings}");
    }
    let aside = fs::read_to_string(cerco.state().join("runtime.json.broken")).unwrap();
    assert_eq!(aside, "{\"schema\":1,\n\"rul");
}

#[test]
fn three_capabilities_are_enough_and_without_them_the_message_names_them() {
    let site = Site::new().unwrap();
    let caps = "-all,+bpf,+net_admin,+perfmon";
    let three = format!("--bounding-set={caps}");
    let cerco = Cerco::start_under(&site.host, &site.config(), &["setpriv", &three]).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", cerco.pid().unwrap())).unwrap();
    // CAP_NET_ADMIN 12, CAP_PERFMON 38, CAP_BPF 39.
    let expected = format!("CapEff:\t{:016x}", 1_u64 << 12 | 1 << 38 | 1 << 39);
    assert!(status.contains(&expected), "{status}");
    let mut bad = Tap::open(&site.host, LINK, &Count::From(&addresses(&ABROAD))).unwrap();
    site.send(ABROAD[1], 10).unwrap();
    assert_eq!(bad.total().unwrap(), 0);
    cerco.cli(&["allow", "US"]).unwrap();
    cerco.cli(&["deny", "198.51.100.0/24"]).unwrap();
    cerco.cli(&["reload"]).unwrap();
    drop(cerco);

    let none = ["setpriv", "--bounding-set=-all"];
    let error = Cerco::start_under(&site.host, &site.config(), &none).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"),
        "{error}"
    );
}

#[test]
fn changed_interfaces_wait_for_a_restart_and_say_so() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let both = format!("interfaces = [\"{LINK}\", \"lo\"]");
    cerco.write_config(&site.config_with(&both, "")).unwrap();
    let done = cerco.json(&["reload"]);
    let warnings = done["warnings"].to_string();
    assert!(
        warnings.contains("interfaces changed: restart the daemon"),
        "{done}"
    );
    assert_eq!(
        cerco.json(&["status"])["interfaces"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    site.send(ABROAD[0], 7).unwrap();
    cerco.kill().unwrap();
    cerco.run().unwrap();
    let status = cerco.json(&["status"]);
    assert_eq!(status["interfaces"].as_array().unwrap().len(), 2);
    assert_eq!(packets(&status, "country_denied", "drop"), 7);
    // And back: the interface that is not named any more is free.
    cerco.write_config(&site.config()).unwrap();
    cerco.kill().unwrap();
    cerco.run().unwrap();
    let link = site.host.ip("link show lo").unwrap();
    assert!(!link.contains("xdp"), "{link}");
}

#[test]
fn sighup_reloads() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let config = site.config_with("", "US = \"allow\"\n");
    cerco.write_config(&config).unwrap();
    cerco.signal(libc::SIGHUP).unwrap();
    poll::until("see US allowed", LIMIT, || {
        (cerco.json(&["explain", ABROAD[0]])["verdict"] == "pass").then_some(())
    })
    .unwrap();
    cerco.write_config("interfaces = 7").unwrap();
    cerco.signal(libc::SIGHUP).unwrap();
    poll::until("see the refusal", LIMIT, || {
        let error = cerco.json(&["status"])["last_reload_error"].clone();
        error.as_str()?.contains("interfaces").then_some(())
    })
    .unwrap();
    assert_eq!(cerco.json(&["explain", ABROAD[0]])["verdict"], "pass");
}

/// What stands beside the config.
fn unit(name: &str) -> String {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../filter-userspace/config");
    format!("{config}/{name}")
}

fn assert_lines(unit: &str, lines: &[&str]) -> String {
    let text = fs::read_to_string(unit).unwrap();
    for line in lines {
        assert!(text.lines().any(|own| own == *line), "{unit}: {line}");
    }
    text
}

#[test]
fn unit_files_are_what_systemd_expects() {
    let service = unit("cerco.service");
    let text = assert_lines(
        &service,
        &[
            "Type=notify",
            "ExecStart=/usr/local/bin/cerco run",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "CapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN CAP_PERFMON CAP_CHOWN",
            "RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6",
        ],
    );
    // The gate outlives the daemon.
    assert!(!text.contains("ExecStop"), "{text}");
    let update = unit("cerco-update.service");
    assert_lines(
        &update,
        &[
            "Type=oneshot",
            "ExecStart=/usr/local/bin/cerco geo update",
            "ProtectSystem=strict",
            "ReadWritePaths=-/var/lib/cerco -/var/lib/GeoIP",
        ],
    );
    let timer = unit("cerco-update.timer");
    assert_lines(
        &timer,
        &[
            "OnCalendar=daily",
            "RandomizedDelaySec=12h",
            "Persistent=true",
        ],
    );
    if !Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_ok_and(|out| out.status.success())
    {
        eprintln!("not verified further: systemd-analyze of the package systemd is not installed");
        return;
    }
    let verified =
        ended(Command::new("systemd-analyze").args(["verify", &service, &update, &timer]));
    let complaints: Vec<&str> = verified
        .stderr
        .lines()
        .filter(|line| line.contains("cerco"))
        // Where cerco is not installed, neither are its binary and its man pages.
        .filter(|line| !line.contains("is not executable") && !line.contains("'man cerco"))
        .collect();
    assert_eq!(complaints, Vec::<&str>::new(), "{verified:?}");
}

#[test]
fn status_warns_when_nothing_stands_on_an_interface_any_more() {
    let lost = |cerco: &Cerco| {
        cerco.json(&["status"])["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|warning| {
                warning
                    .as_str()
                    .unwrap()
                    .starts_with("no gate stands on eth0 any more")
            })
            .count()
    };
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    assert_eq!(lost(&cerco), 0);
    cerco.cli(&["detach", "--force"]).unwrap();
    assert_eq!(lost(&cerco), 1, "detached beside the daemon");
    drop(cerco);

    let cerco = site.start().unwrap();
    assert_eq!(lost(&cerco), 0);
    site.host.ip(&format!("link delete {LINK}")).unwrap();
    assert_eq!(lost(&cerco), 1, "the interface went away");
}

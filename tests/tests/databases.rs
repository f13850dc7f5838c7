//! A bad GeoIP file never opens or closes the gate: whatever stands where the database should be, the
//! last good one stays in force, and `status`, log and metrics say why.

use filter_userspace::{
    control::{client, protocol::Request},
    geo::Digest,
};
use integration_tests::{
    daemon::Cerco,
    editions::{BUILT, MONTH, changed, code, csv, mmdb, networks},
    poll,
    site::{ABROAD, MACAU, Site},
    visits::start_hidden,
};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(20);

/// A gate whose database is the file `geo.db` of the site.
fn start(site: &Site, database: impl AsRef<[u8]>, more: &str) -> Cerco {
    site.write("geo.db", database).unwrap();
    Cerco::start(&site.host, &config(site, more)).unwrap()
}

fn config(site: &Site, more: &str) -> String {
    let config = site.config_with("", "");
    let config = config.replace("database.csv", "geo.db");
    // Before the section of the countries.
    config.replace("[policy.countries]", &format!("{more}\n[policy.countries]"))
}

/// The value of one series of the metrics.
fn metric(site: &Site, series: &str) -> u64 {
    let mut stream = site
        .host
        .run(|| TcpStream::connect(Cerco::METRICS))
        .unwrap()
        .unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no {series} in\n{text}"))
        .parse()
        .unwrap()
}

fn failures(site: &Site, reason: &str) -> u64 {
    let series = format!("cerco_database_update_failures_total{{reason=\"{reason}\"}}");
    metric(site, &series)
}

/// Macau passes and the world does not.
fn assert_gate_stands(cerco: &Cerco, what: &str) {
    for address in MACAU {
        assert_eq!(
            cerco.json(&["explain", address])["verdict"],
            "pass",
            "{what}"
        );
    }
    for address in ABROAD {
        assert_eq!(
            cerco.json(&["explain", address])["verdict"],
            "drop",
            "{what}"
        );
    }
}

fn refused(status: &Value) -> &Value {
    &status["database"]["refused"]
}

/// The number of the generation in force.
fn generation(cerco: &Cerco) -> u64 {
    let status = cerco.json(&["geo", "status"]);
    status["generation"]
        .as_u64()
        .unwrap_or_else(|| panic!("{status}"))
}

#[test]
fn files_that_look_fine_and_are_not_never_come_into_force() {
    let site = Site::new().unwrap();
    let good = networks(30_000);
    let first = mmdb(&good, BUILT);
    let cerco = start(&site, &first, "");
    let sha256 = cerco.json(&["geo", "status"])["sha256"].clone();
    assert_eq!(sha256, Digest::of(&first).to_string());
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = first.clone();
        change(&mut bytes);
        bytes
    };
    let tree = first.len() / 2;
    let next = BUILT + MONTH;
    let half = changed(&good, |index, _, country| {
        (index % 2 == 0).then_some(country)
    });
    let without_macau = changed(&good, |_, _, country| {
        Some(if country == code("MO") {
            code("DE")
        } else {
            country
        })
    });
    let macau_takes_half_of_germany = changed(&good, |index, _, country| {
        let taken = country == code("DE") && index % 16 > 8;
        Some(if taken { code("MO") } else { country })
    });
    let turned = changed(&good, |_, _, country| {
        Some(match country.as_str() {
            "DE" => code("FR"),
            "FR" => code("DE"),
            _ => country,
        })
    });
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("truncated", first[..tree].to_vec(), "invalid"),
        ("empty", Vec::new(), "invalid"),
        (
            "an HTML error page",
            b"<!DOCTYPE html><html><body>429 Too Many Requests</body></html>".to_vec(),
            "invalid",
        ),
        (
            "4 KiB zeroed in the tree",
            with(&|bytes| bytes[tree..tree + 4096].fill(0)),
            "invalid",
        ),
        (
            "data scribbled",
            with(&|bytes| {
                let data = bytes.len() - 350;
                bytes[data..data + 60].fill(0xff);
            }),
            "invalid",
        ),
        ("one bit flipped in the tree", flipped(&first), "same_date"),
        ("one network", mmdb(&good[1..2], next), "networks"),
        ("half of the networks", mmdb(&half, next), "networks"),
        ("an older edition", mmdb(&good, BUILT - MONTH), "older"),
        ("no Macau in it", mmdb(&without_macau, next), "reassigned"),
        (
            "Macau takes half of Germany",
            mmdb(&macau_takes_half_of_germany, next),
            "country_space",
        ),
        (
            "two countries turned round",
            mmdb(&turned, next),
            "reassigned",
        ),
    ];
    for (name, bytes, reason) in rows {
        site.write("geo.db", bytes).unwrap();
        let before = cerco.json(&["status"]);
        let counted = failures(&site, reason);
        let reload = cerco.try_cli(&["reload"]);
        assert_eq!(reload.code, 1, "{name}: {reload:?}");
        let check = cerco.try_cli(&["check"]);
        assert_eq!(check.code, 2, "{name}: {check:?}");
        let after = cerco.json(&["status"]);
        assert_eq!(after["published"], before["published"], "{name}");
        assert_eq!(refused(&after)["reason"], reason, "{name}: {after}");
        let warnings = after["warnings"].to_string();
        assert!(warnings.contains("was refused"), "{name}: {warnings}");
        assert_eq!(failures(&site, reason), counted + 1, "{name}");
        assert_eq!(metric(&site, "cerco_database_refused"), 1, "{name}");
        let status = cerco.json(&["geo", "status"]);
        assert_eq!(status["sha256"], sha256, "{name}");
        let why = status["refused"]["message"].as_str().unwrap().to_owned();
        cerco.assert_logs(&why);
        assert_gate_stands(&cerco, name);
    }
    site.write("geo.db", mmdb(&good, next)).unwrap();
    cerco.cli(&["reload"]).unwrap();
    let after = cerco.json(&["status"]);
    assert!(refused(&after).is_null(), "{after}");
    assert_eq!(metric(&site, "cerco_database_refused"), 0);
    assert_ne!(cerco.json(&["geo", "status"])["sha256"], sha256);
}

/// `file` with the first bit of its tree turned over that verify() lets through.
fn flipped(file: &[u8]) -> Vec<u8> {
    use filter_userspace::geo::{ReadOptions, Source, read_bytes};
    let read = |bytes: Vec<u8>| {
        let source = Source::File("flipped".into());
        read_bytes(bytes, source, &ReadOptions::default()).ok()
    };
    let good = read(file.to_vec()).unwrap();
    (0..)
        .step_by(11)
        .map(|bit: usize| {
            let mut bytes = file.to_vec();
            bytes[100_000 + bit / 8] ^= 1 << (bit % 8);
            bytes
        })
        .find(|bytes| {
            read(bytes.clone()).is_some_and(|it| (&it.v4, &it.v6) != (&good.v4, &good.v6))
        })
        .unwrap()
}

#[test]
fn file_cut_at_a_thousand_places_never_comes_into_force() {
    let site = Site::new().unwrap();
    let good = networks(1_000);
    let mut random = fastrand::Rng::with_seed(0x6e0);
    for (name, whole) in [
        ("MaxMind DB", mmdb(&good, BUILT)),
        ("CSV", csv(&good).into_bytes()),
    ] {
        let cerco = start(&site, &whole, "");
        let published = cerco.json(&["status"])["published"].clone();
        let socket = cerco.socket();
        // The last line's end alone, too.
        let last = std::iter::once(whole.len() - 1);
        let offsets = last.chain((1..1_000).map(|_| random.usize(..whole.len())));
        for offset in offsets {
            site.write("geo.db", &whole[..offset]).unwrap();
            let reload = Request::Reload;
            client::ask(&socket, reload, None).expect_err(&format!("{name} cut at {offset}"));
        }
        assert_eq!(cerco.json(&["status"])["published"], published, "{name}");
        assert_gate_stands(&cerco, name);
        let counted = failures(&site, "invalid")
            + failures(&site, "cut_off")
            + failures(&site, "networks")
            + failures(&site, "country_gone");
        assert_eq!(counted, 1_000, "{name}");
    }
}

#[test]
fn file_that_is_swapped_while_it_is_read_is_one_of_both_or_refused() {
    let site = Site::new().unwrap();
    let good = networks(4_000);
    let other = changed(&good, |index, _, country| {
        (index != 1_000).then_some(country)
    });
    let editions = [csv(&good), csv(&other)];
    let cerco = start(&site, &editions[0], "");
    let known = editions
        .each_ref()
        .map(|it| Digest::of(it.as_bytes()).to_string());
    let stop = AtomicBool::new(false);
    let taken = AtomicU32::new(0);
    let mut refused = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0.. {
                let edition = &editions[turn % 2];
                // By a rename, as it should be done, and into the file itself, as it is done.
                if turn % 3 == 0 {
                    site.write("geo.db.new", edition).unwrap();
                    fs::rename(site.path("geo.db.new"), site.path("geo.db")).unwrap();
                } else {
                    site.write("geo.db", edition).unwrap();
                }
                // Now and then it rests until a reload has found a whole file.
                let seen = taken.load(Ordering::Relaxed);
                while turn % 20 == 0
                    && taken.load(Ordering::Relaxed) == seen
                    && !stop.load(Ordering::Relaxed)
                {
                    thread::yield_now();
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let socket = cerco.socket();
        let outcome = poll::until("see enough reloads", LIMIT, || {
            match client::ask(&socket, Request::Reload, None) {
                Ok(_) => drop(taken.fetch_add(1, Ordering::Relaxed)),
                Err(_) => refused += 1,
            }
            let status = client::ask(&socket, Request::GeoStatus, None).unwrap();
            let sha256 = status["sha256"].as_str().unwrap().to_owned();
            // How many reloads find the file half written is the scheduler's choice; that such a one is
            // refused has a test of its own.
            let enough = taken.load(Ordering::Relaxed) >= 20;
            (!known.contains(&sha256) || enough).then_some((sha256, status))
        });
        stop.store(true, Ordering::Relaxed);
        let (sha256, status) = outcome.unwrap();
        assert!(
            known.contains(&sha256),
            "neither of both is in force: {status}"
        );
    });
    let taken = taken.into_inner();
    println!("{taken} reloads took one of both, {refused} took none");
    assert_gate_stands(&cerco, "swapped");
}

#[test]
fn file_that_is_not_what_its_checksum_says_is_refused() {
    let site = Site::new().unwrap();
    let good = networks(200);
    let cerco = start(&site, mmdb(&good, BUILT), "");
    let next = mmdb(&good, BUILT + MONTH);
    site.write("geo.db", &next).unwrap();
    let sum = |bytes: &[u8]| format!("{}  geo.db\n", Digest::of(bytes));
    for (text, words) in [
        (sum(b"another file"), "download both again"),
        (
            "404 not found\n".to_owned(),
            "does not begin with a SHA-256",
        ),
    ] {
        site.write("geo.db.sha256", text).unwrap();
        let reload = cerco.try_cli(&["reload"]);
        assert_eq!(reload.code, 1, "{reload:?}");
        assert!(reload.stderr.contains(words), "{reload:?}");
    }
    assert_eq!(failures(&site, "checksum"), 2);
    site.write("geo.db.sha256", sum(&next)).unwrap();
    cerco.cli(&["reload"]).unwrap();
    assert_eq!(generation(&cerco), 2);
}

/// The daemon with a state directory of one MiB that nobody else sees; the directory.
fn start_on_a_small_disk(site: &Site) -> (Cerco, PathBuf) {
    let script = "d=$(dirname \"$4\")/state; mkdir -p \"$d\" && \
                  mount -t tmpfs -o size=1m none \"$d\" && exec \"$@\"";
    let wrapper = ["unshare", "--mount", "sh", "-c", script, "sh"];
    // What it writes meanwhile would free room again when it is rolled back.
    let config = format!("{}[history]\nenabled = false\n", config(site, ""));
    let cerco = Cerco::start_under(&site.host, &config, &wrapper).unwrap();
    let state = format!(
        "/proc/{}/root{}",
        cerco.pid().unwrap(),
        cerco.state().display()
    );
    (cerco, state.into())
}

#[test]
fn full_disk_leaves_the_gate_and_says_what_the_next_start_would_use() {
    let site = Site::new().unwrap();
    let good = networks(500);
    site.write("geo.db", mmdb(&good, BUILT)).unwrap();
    let (cerco, state) = start_on_a_small_disk(&site);
    assert_eq!(generation(&cerco), 1);
    // Less than a page is left.
    let filler = state.join("filler");
    let full = fs::write(&filler, vec![0; 2 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);

    let other = changed(&good, |index, _, country| (index != 100).then_some(country));
    site.write("geo.db", mmdb(&other, BUILT + MONTH)).unwrap();
    let done = cerco.json(&["reload"]);
    let warnings = done["warnings"].to_string();
    for words in ["is not kept for the next start", "No space left"] {
        assert!(warnings.contains(words), "{words}: {done}");
    }
    let status = cerco.json(&["geo", "status"]);
    assert!(
        status["not_kept"]
            .as_str()
            .unwrap()
            .contains("No space left")
    );
    assert_eq!(status["generation"], Value::Null);
    assert_eq!(
        status["networks_v6"],
        502 - 1,
        "it is in force all the same"
    );
    assert_eq!(failures(&site, "not_kept"), 1);
    cerco.assert_logs("is not kept for the next start");
    assert_gate_stands(&cerco, "full disk");
    let names = || -> Vec<String> {
        let entries = fs::read_dir(state.join("databases")).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["1.geo", "current.json"], "nothing half written");

    fs::remove_file(&filler).unwrap();
    cerco.cli(&["reload"]).unwrap();
    assert_eq!(generation(&cerco), 2);
    assert_eq!(names(), ["1.geo", "2.geo", "current.json"]);
}

#[test]
fn last_good_database_stands_in_at_a_start() {
    let site = Site::new().unwrap();
    let good = networks(2_000);
    let first = mmdb(&good, BUILT);
    let mut cerco = start(&site, &first, "");
    // It answers once the database is kept, which comes after the gate.
    assert_eq!(generation(&cerco), 1);
    let half = changed(&good, |index, _, country| {
        (index % 2 == 0).then_some(country)
    });
    let rows: Vec<(&str, Option<Vec<u8>>, &str)> = vec![
        ("missing", None, "unreadable"),
        ("cut off", Some(first[..5_000].to_vec()), "invalid"),
        ("half", Some(mmdb(&half, BUILT + MONTH)), "networks"),
        ("older", Some(mmdb(&good, BUILT - MONTH)), "older"),
    ];
    for (name, bytes, reason) in rows {
        cerco.kill().unwrap();
        match bytes {
            Some(bytes) => drop(site.write("geo.db", bytes).unwrap()),
            None => fs::remove_file(site.path("geo.db")).unwrap(),
        }
        cerco.run().unwrap();
        let status = cerco.json(&["status"]);
        assert_eq!(refused(&status)["reason"], reason, "{name}: {status}");
        let source = status["database"]["source"].as_str().unwrap();
        assert!(
            source.ends_with("geo.db (kept as generation 1)"),
            "{name}: {source}"
        );
        assert_eq!(failures(&site, reason), 1, "{name}");
        for words in ["the last good one stays", "was refused"] {
            cerco.assert_logs(words);
        }
        assert_gate_stands(&cerco, name);
        site.send(ABROAD[0], 1).unwrap();
    }
    cerco.kill().unwrap();
    site.write("geo.db", &first).unwrap();
    cerco.run().unwrap();
    let status = cerco.json(&["status"]);
    assert!(refused(&status).is_null(), "{status}");
    assert_eq!(status["database"]["generation"], 1);
    assert_eq!(
        status["database"]["source"],
        site.path("geo.db").display().to_string()
    );
}

#[test]
fn database_that_was_not_confirmed_is_not_believed_at_the_next_start() {
    const MOVED: &str = "203.0.113.5";
    let site = Site::new().unwrap();
    let good = networks(200);
    let mut cerco = start(&site, mmdb(&good, BUILT), "");
    let next = changed(&good, |_, network, country| {
        let moved = network.to_string() == "203.0.113.0/24";
        Some(if moved { code("MO") } else { country })
    });
    site.write("geo.db", mmdb(&next, BUILT + MONTH)).unwrap();
    let reason = |cerco: &Cerco| {
        cerco.json(&["explain", MOVED])["reason"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let restart = |cerco: &mut Cerco| {
        cerco.kill().unwrap();
        cerco.run().unwrap();
    };
    assert_eq!(reason(&cerco), "country_denied");
    cerco.cli(&["reload", "--confirm", "1h"]).unwrap();
    assert_eq!(reason(&cerco), "allowed");
    let assert_as_before = |cerco: &Cerco, when: &str| {
        assert_eq!(reason(cerco), "country_denied", "{when}");
        let status = cerco.json(&["status"]);
        assert_eq!(
            refused(&status)["reason"],
            "unconfirmed",
            "{when}: {status}"
        );
        assert_eq!(generation(cerco), 1, "{when}");
    };
    restart(&mut cerco);
    assert_as_before(&cerco, "killed in the trial");
    assert_eq!(failures(&site, "unconfirmed"), 1);
    // What is changed by command, and confirmed, is another thing.
    cerco.cli(&["deny", "FR", "--permanent"]).unwrap();
    assert_as_before(&cerco, "permanent");
    cerco.cli(&["deny", "PT", "--confirm", "1h"]).unwrap();
    cerco.cli(&["confirm"]).unwrap();
    restart(&mut cerco);
    assert_as_before(&cerco, "confirmed");

    cerco.cli(&["reload", "--confirm", "1h"]).unwrap();
    cerco.cli(&["confirm"]).unwrap();
    let status = cerco.json(&["status"]);
    assert!(refused(&status).is_null(), "{status}");
    restart(&mut cerco);
    assert_eq!(reason(&cerco), "allowed");
    let status = cerco.json(&["status"]);
    assert!(refused(&status).is_null(), "{status}");
    assert_eq!(generation(&cerco), 2);
}

#[test]
fn damaged_last_good_database_is_not_used_and_the_one_before_is() {
    let site = Site::new().unwrap();
    let good = networks(200);
    let mut cerco = start(&site, mmdb(&good, BUILT), "");
    site.write("geo.db", mmdb(&good, BUILT + MONTH)).unwrap();
    cerco.cli(&["reload"]).unwrap();
    assert_eq!(generation(&cerco), 2);
    cerco.kill().unwrap();
    let kept = cerco.state().join("databases/2.geo");
    let mut bytes = fs::read(&kept).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&kept, bytes).unwrap();
    fs::remove_file(site.path("geo.db")).unwrap();
    cerco.run().unwrap();
    assert_eq!(generation(&cerco), 1);
    cerco.assert_logs("its checksum is wrong");
    assert_gate_stands(&cerco, "damaged");
}

#[test]
fn first_start_needs_a_whole_file_and_warns_of_missing_countries() {
    let site = Site::new().unwrap();
    let whole = mmdb(&networks(200), BUILT);
    site.write("geo.db", &whole[..3_000]).unwrap();
    let error = Cerco::start(&site.host, &config(&site, "")).unwrap_err();
    assert!(error.to_string().contains("is cut off"), "{error}");
    let config = format!("{}PT = \"allow\"\n", config(&site, ""));
    site.write("geo.db", whole).unwrap();
    let cerco = Cerco::start(&site.host, &config).unwrap();
    let warnings = cerco.json(&["status"])["warnings"].to_string();
    let words = "is in force, but no network is in PT, which the policy names";
    assert!(warnings.contains(words), "{warnings}");
}

#[test]
fn rollback_holds_over_reloads_and_restarts_until_accept() {
    let site = Site::new().unwrap();
    let good = networks(200);
    let mut cerco = start(&site, mmdb(&good, BUILT), "");
    let nothing = cerco.try_cli(&["geo", "rollback"]);
    assert_eq!(nothing.code, 2, "{nothing:?}");
    // 203.0.113.0/24 comes to Macau.
    let next = changed(&good, |_, network, country| {
        let moved = network.to_string() == "203.0.113.0/24";
        Some(if moved { code("MO") } else { country })
    });
    site.write("geo.db", mmdb(&next, BUILT + MONTH)).unwrap();
    cerco.cli(&["reload"]).unwrap();
    let verdict = |cerco: &Cerco| cerco.json(&["explain", ABROAD[0]])["verdict"].clone();
    assert_eq!((generation(&cerco), verdict(&cerco)), (2, "pass".into()));

    let done = cerco.json(&["geo", "rollback"])["message"].to_string();
    assert!(
        done.contains("generation 1 is in force again (built 2026-05-28"),
        "{done}"
    );
    assert_eq!((generation(&cerco), verdict(&cerco)), (1, "drop".into()));
    assert_eq!(metric(&site, "cerco_database_held"), 1);
    let reload = cerco.json(&["reload"])["warnings"].to_string();
    assert!(
        reload.contains("the database is held (generation 1)"),
        "{reload}"
    );
    assert!(reload.contains("`cerco geo accept` ends"), "{reload}");
    assert_eq!((generation(&cerco), verdict(&cerco)), (1, "drop".into()));
    cerco.kill().unwrap();
    cerco.run().unwrap();
    assert_eq!((generation(&cerco), verdict(&cerco)), (1, "drop".into()));
    let warnings = cerco.json(&["status"])["warnings"].to_string();
    assert!(warnings.contains("the database is held"), "{warnings}");
    // What holds is not thrown away, however much comes after it.
    let text = cerco.cli(&["geo", "status"]).unwrap();
    assert!(text.contains("held         since "), "{text}");

    let unsure = cerco.try_cli(&["geo", "accept"]);
    assert_eq!(unsure.code, 2, "{unsure:?}");
    assert!(
        unsure.stderr.contains("let in      256 IPv4 addresses"),
        "{unsure:?}"
    );
    assert_eq!(generation(&cerco), 1);
    cerco.cli(&["geo", "accept", "--yes"]).unwrap();
    assert_eq!((generation(&cerco), verdict(&cerco)), (2, "pass".into()));
    assert_eq!(metric(&site, "cerco_database_held"), 0);
    cerco.cli(&["geo", "rollback", "1"]).unwrap();
    assert_eq!(generation(&cerco), 1);
    let missing = cerco.try_cli(&["geo", "rollback", "9"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(
        missing.stderr.contains("no generation 9 is kept"),
        "{missing:?}"
    );
}

#[test]
fn policy_can_change_beside_a_bad_database_while_the_good_one_is_held() {
    let site = Site::new().unwrap();
    let whole = mmdb(&networks(200), BUILT);
    let cerco = start(&site, &whole, "");
    assert_eq!(generation(&cerco), 1);
    site.write("geo.db", &whole[..4_000]).unwrap();
    let opened = format!("{}US = \"allow\"\n", config(&site, ""));
    cerco.write_config(&opened).unwrap();
    let refused = cerco.try_cli(&["reload"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let words = "`cerco geo rollback 1` holds the one in force, for a reload of the rest";
    assert!(refused.stderr.contains(words), "{refused:?}");
    assert_gate_stands(&cerco, "refused");
    cerco.cli(&["geo", "rollback", "1"]).unwrap();
    cerco.cli(&["reload"]).unwrap();
    assert_eq!(cerco.json(&["explain", ABROAD[0]])["verdict"], "pass");
    assert_eq!(generation(&cerco), 1);
}

#[test]
fn refused_database_can_be_accepted_as_long_as_it_is_the_one_that_was_shown() {
    let site = Site::new().unwrap();
    let good = networks(500);
    let cerco = start(&site, mmdb(&good, BUILT), "");
    let half = changed(&good, |index, _, country| (index < 500).then_some(country));
    let half = mmdb(&half, BUILT + MONTH);
    site.write("geo.db", &half).unwrap();
    assert_eq!(cerco.try_cli(&["reload"]).code, 1);
    let accept = |digest| {
        let request = Request::AcceptDatabase {
            sha256: Some(digest),
        };
        client::ask(&cerco.socket(), request, None)
    };
    let error = accept(Digest::of(b"another")).unwrap_err().to_string();
    assert!(error.contains("has changed since it was shown"), "{error}");
    assert_eq!(generation(&cerco), 1);
    accept(Digest::of(&half)).unwrap();
    assert_eq!(generation(&cerco), 2);
    cerco.assert_logs("accepted all the same");
    // It is the last good one now.
    cerco.cli(&["reload"]).unwrap();
    assert!(refused(&cerco.json(&["status"])).is_null());
    // Accepting is a reload, and says what else it takes.
    let waiting = config(&site, "").replace("MO = \"allow\"", "MO = \"allow\"\nPT = \"allow\"");
    cerco.write_config(&waiting).unwrap();
    let accepted = cerco.try_cli(&["geo", "accept", "--yes"]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    assert!(
        accepted
            .stderr
            .contains("changes of the config that waited came along"),
        "{accepted:?}"
    );
    // What is broken cannot be accepted.
    site.write("geo.db", &half[..1_000]).unwrap();
    assert_ne!(cerco.try_cli(&["geo", "accept", "--yes"]).code, 0);
    assert_eq!(generation(&cerco), 2);
}

#[test]
fn database_that_would_cut_off_an_ssh_session_is_refused() {
    let site = Site::new().unwrap();
    let good = networks(200);
    site.write("geo.db", mmdb(&good, BUILT)).unwrap();
    // Where no logind tells who is logged in.
    let cerco = start_hidden(&site, &config(&site, ""), None);
    let listener = site
        .host
        .run(|| TcpListener::bind("192.0.2.1:22"))
        .unwrap()
        .unwrap();
    let session = site
        .world
        .run(|| TcpStream::connect("192.0.2.1:22"))
        .unwrap()
        .unwrap();
    let (_accepted, _) = listener.accept().unwrap();
    let moved = changed(&good, |_, network, country| {
        let is_peer = network.to_string() == "192.0.2.0/24";
        Some(if is_peer { code("US") } else { country })
    });
    site.write("geo.db", mmdb(&moved, BUILT + MONTH)).unwrap();
    let reload = cerco.try_cli(&["reload"]);
    assert_eq!(reload.code, 1, "{reload:?}");
    let words = "it would cut off the SSH session from 192.0.2.2 (MO until now, then US)";
    assert!(reload.stderr.contains(words), "{reload:?}");
    assert_eq!(failures(&site, "lockout"), 1);
    let diff = cerco.json(&["geo", "diff"]);
    assert_eq!(diff["sessions"][0]["what"], "192.0.2.2");
    assert_eq!(diff["sessions"][0]["passes_after"], false);
    drop(session);
    // A trusted address passes whatever its country is.
    let trusting = config(&site, "[trusted]\nprefixes = [\"192.0.2.0/24\"]");
    cerco.write_config(&trusting).unwrap();
    cerco.cli(&["reload"]).unwrap();
    let diff = cerco.json(&["geo", "diff", "1"]);
    assert_eq!(diff["trusted"][0]["what"], "192.0.2.0/24");
}

#[test]
fn canaries_of_the_config_must_keep_their_country() {
    let site = Site::new().unwrap();
    let good = networks(200);
    let canaries = "[geo.canaries]\n\"198.51.100.7\" = \"MO\"\n\"2001:db8:2::9\" = \"US\"";
    let cerco = start(&site, mmdb(&good, BUILT), canaries);
    let moved = changed(&good, |_, network, country| {
        let is_canary = network.to_string() == "2001:db8:2::/48";
        Some(if is_canary { code("FR") } else { country })
    });
    site.write("geo.db", mmdb(&moved, BUILT + MONTH)).unwrap();
    let reload = cerco.try_cli(&["reload"]);
    let words = "2001:db8:2::9 is FR, but [geo.canaries] says US";
    assert!(reload.stderr.contains(words), "{reload:?}");
    assert_eq!(failures(&site, "canary"), 1);
    assert_eq!(generation(&cerco), 1);
}

#[test]
fn as_many_generations_are_kept_as_the_config_says() {
    let site = Site::new().unwrap();
    let good = networks(200);
    let keep = |site: &Site| config(site, "").replace("[geo]\n", "[geo]\nkeep = 2\n");
    site.write("geo.db", mmdb(&good, BUILT)).unwrap();
    let cerco = Cerco::start(&site.host, &keep(&site)).unwrap();
    for month in 1..=4 {
        site.write("geo.db", mmdb(&good, BUILT + month * MONTH))
            .unwrap();
        cerco.cli(&["reload"]).unwrap();
    }
    let status = cerco.json(&["geo", "status"]);
    let kept: Vec<(u64, bool)> = status["generations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let number = line["generation"].as_u64().unwrap();
            (number, line["in_force"].as_bool().unwrap())
        })
        .collect();
    assert_eq!(kept, [(4, false), (5, true)]);
    // The same file again is no new generation.
    cerco.cli(&["reload"]).unwrap();
    assert_eq!(generation(&cerco), 5);
}

#[test]
fn diff_shows_what_a_file_or_a_generation_would_change() {
    let site = Site::new().unwrap();
    let good = networks(200);
    let mut cerco = start(&site, mmdb(&good, BUILT), "");
    let next = changed(&good, |_, network, country| {
        match network.to_string().as_str() {
            "203.0.113.0/24" => Some(code("MO")),
            "2001:db8:1::/48" => None,
            _ => Some(country),
        }
    });
    let file = site.write("next.mmdb", mmdb(&next, BUILT + MONTH)).unwrap();
    let file = file.to_str().unwrap();
    let text = cerco.cli(&["geo", "diff", file, "--prefixes"]).unwrap();
    for words in [
        "let in      256 IPv4 addresses, 0 IPv6 networks of /48",
        "shut out    0 IPv4 addresses, 1 IPv6 networks of /48",
        "a reload    would take it",
        "203.0.113.0/24      US -> MO",
        "2001:db8:1::/48     MO -> unknown",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let json = cerco.json(&["geo", "diff", file, "--prefixes=MO"]);
    assert_eq!(json["prefixes"].as_array().unwrap().len(), 2);
    assert_eq!(json["countries"][0]["country"], "MO");
    assert_eq!(json["countries"][0]["gained_v4"], 256);
    assert_eq!(json["doubts"].as_array().unwrap().len(), 0);
    // It needs no daemon.
    cerco.kill().unwrap();
    let same = cerco.json(&["geo", "diff", "1"]);
    assert_eq!(same["countries"].as_array().unwrap().len(), 0);
    let status = cerco.json(&["geo", "status"]);
    assert_eq!(status["daemon"], false);
    assert_eq!(status["generation"], 1);
    cerco.run().unwrap();
    let bad = cerco.try_cli(&["geo", "diff", file, "--prefixes=Macau"]);
    assert_eq!(bad.code, 2, "{bad:?}");
    assert!(bad.stderr.contains("did you mean MO"), "{bad:?}");
}

#[test]
fn builtin_database_is_kept_too_and_comes_back_by_a_rollback() {
    let site = Site::new().unwrap();
    let builtin = site
        .config()
        .replace(&site.path("database.csv").display().to_string(), "builtin");
    let cerco = Cerco::start(&site.host, &builtin).unwrap();
    assert_eq!(generation(&cerco), 1);
    let status = cerco.json(&["geo", "status"]);
    assert_eq!(status["generations"][0]["source"], "builtin");
    cerco.write_config(&site.config()).unwrap();
    let reload = cerco.try_cli(&["reload"]);
    assert_eq!(reload.code, 1, "{reload:?}");
    cerco.cli(&["geo", "accept", "--yes"]).unwrap();
    assert_eq!(generation(&cerco), 2);
    cerco.cli(&["geo", "rollback"]).unwrap();
    let status = cerco.json(&["geo", "status"]);
    assert_eq!(status["source"], "builtin (kept as generation 1)");
    assert!(status["attribution"].as_str().unwrap().contains("DB-IP"));
    assert!(status["networks_v4"].as_u64().unwrap() > 500_000);
}

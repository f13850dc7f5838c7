//! `cerco geo update` against a server that misbehaves in each way: only a whole, good, next edition
//! gets into the place of the file, and everything else is said and changes nothing.

use filter_userspace::geo::Digest;
use flate2::{Compression, write::GzEncoder};
use integration_tests::{
    daemon::Cerco,
    editions::{BUILT, MONTH, Network, changed, code, mmdb, networks},
    https::{Asked, HttpsServer, Reply},
    site::{Ended, MACAU, Site, ended},
};
use std::{
    fs,
    io::Write,
    sync::atomic::{AtomicU32, Ordering},
};

/// From the manual of minisign-verify: it signs "test".
const MINISIGN_KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
const SIGNATURE_OF_TEST: &str = "untrusted comment: signature from minisign secret key
RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=
trusted comment: timestamp:1556193335\tfile:test
y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==
";

/// A gate over the first edition, and a server.
struct Place {
    site: Site,
    cerco: Cerco,
    server: HttpsServer,
    networks: Vec<Network>,
    first: Vec<u8>,
}

impl Place {
    /// `update`: what stands under `[geo.update]`.
    fn new(update: &str, reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let site = Site::new().unwrap();
        let networks = networks(500);
        let first = mmdb(&networks, BUILT);
        site.write("geo.db", &first).unwrap();
        let config = site.config().replace("database.csv", "geo.db").replace(
            "[policy.countries]",
            &format!("[geo.update]\n{update}\n[policy.countries]"),
        );
        let cerco = Cerco::start(&site.host, &config).unwrap();
        let server = HttpsServer::start(&site.host, reply).unwrap();
        site.write("server.pem", server.certificate()).unwrap();
        Self {
            site,
            cerco,
            server,
            networks,
            first,
        }
    }

    fn update(&self, args: &[&str]) -> Ended {
        let args = [&["geo", "update"], args].concat();
        let mut command = self.cerco.cli_command(&args);
        for proxy in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        ended(
            command
                .env("SSH_CONNECTION", "")
                .env("SSL_CERT_FILE", self.site.path("server.pem")),
        )
    }

    fn from(&self, path: &str) -> Ended {
        // Short where the whole of it will pass, and long enough for a busy machine else.
        let timeout = if path.starts_with("/hangs") {
            "2s"
        } else {
            "30s"
        };
        let url = self.server.url(path);
        self.update(&["--from", &url, "--retries", "0", "--timeout", timeout])
    }

    fn file(&self) -> Vec<u8> {
        fs::read(self.site.path("geo.db")).unwrap()
    }

    fn generation(&self) -> u64 {
        let status = self.cerco.json(&["geo", "status"]);
        status["generation"].as_u64().unwrap()
    }
}

/// The next edition, as a function of the server that knows no [`Place`].
fn next() -> Vec<u8> {
    mmdb(&networks(500), BUILT + MONTH)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn next_edition_comes_into_force_and_is_not_fetched_twice() {
    let place = Place::new("", |asked| match asked.header("If-None-Match") {
        Some("\"edition-2\"") => Reply::Whole(304, Vec::new(), Vec::new()),
        _ => Reply::Whole(
            200,
            vec![("ETag", "\"edition-2\"".to_owned())],
            gzip(&next()),
        ),
    });
    let updated = place.from("/db.mmdb.gz");
    assert_eq!(updated.code, 0, "{updated:?}");
    assert!(
        updated.stdout.contains("is a new edition from https://"),
        "{updated:?}"
    );
    assert_eq!(place.file(), next());
    assert_eq!(place.generation(), 2);
    let sum = fs::read_to_string(place.site.path("geo.db.sha256")).unwrap();
    assert_eq!(sum, format!("{}  geo.db\n", Digest::of(&next())));
    assert_eq!(place.server.asked()[0].header("If-None-Match"), None);

    let again = place.from("/db.mmdb.gz");
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stdout.contains("has no newer edition"), "{again:?}");
    let asked = place.server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("If-None-Match"), Some("\"edition-2\""));
    assert_eq!(place.generation(), 2);
    // Of another file nothing is known, and when somebody has changed ours, neither.
    place.from("/other.mmdb.gz");
    assert_eq!(place.server.asked()[0].header("If-None-Match"), None);
    place.from("/db.mmdb.gz");
    assert_eq!(place.server.asked().len(), 1);
    fs::remove_file(place.site.path("geo.db.sha256")).unwrap();
    place.site.write("geo.db", &place.first).unwrap();
    place.from("/db.mmdb.gz");
    assert_eq!(place.server.asked()[0].header("If-None-Match"), None);
    assert_eq!(place.file(), next());
}

/// It comes by night, and nobody is there who would mean it.
#[test]
fn update_puts_no_config_in_force() {
    let place = Place::new("", |asked| {
        let months = match asked.path.as_str() {
            "/second" => 1,
            "/third" => 2,
            _ => 3,
        };
        Reply::ok(mmdb(&networks(500), BUILT + months * MONTH))
    });
    let cerco = &place.cerco;
    let decided = || cerco.json(&["explain", MACAU[0]])["reason"].clone();
    let config = place.site.config().replace("database.csv", "geo.db");
    let waiting = config.replace("MO = \"allow\"", "US = \"allow\"");
    cerco.write_config(&waiting).unwrap();
    for accept in [&[][..], &["--accept"]] {
        let path = if accept.is_empty() {
            "/second"
        } else {
            "/third"
        };
        let url = place.server.url(path);
        let updated = place.update(&[&["--from", &url], accept].concat());
        assert_eq!(updated.code, 0, "{updated:?}");
        assert_eq!(decided(), "allowed", "{path}");
    }
    assert_eq!(place.generation(), 3);

    let elsewhere = config.replace("geo.db", "other.db");
    cerco.write_config(&elsewhere).unwrap();
    let updated = place.from("/fourth");
    assert_eq!(updated.code, 0, "{updated:?}");
    assert!(
        updated
            .stdout
            .contains("not in force: the running config names another database"),
        "{updated:?}"
    );
    let fourth = mmdb(&networks(500), BUILT + 3 * MONTH);
    assert_eq!(fs::read(place.site.path("other.db")).unwrap(), fourth);
    assert_eq!(place.generation(), 3);
    cerco.cli(&["reload"]).unwrap();
    assert_eq!(place.generation(), 4);
}

#[test]
fn server_that_misbehaves_changes_nothing_and_is_told() {
    let place = Place::new("max_megabytes = 1", |asked| {
        let good = networks(500);
        let half = changed(&good, |index, _, country| (index < 500).then_some(country));
        match asked.path.as_str() {
            "/truncated" => Reply::CutOff(next()),
            "/404" => Reply::status(404),
            "/403" => Reply::status(403),
            "/500" => Reply::status(500),
            "/endless" => Reply::Endless,
            "/loop" => Reply::redirect("/loop"),
            "/unencrypted" => Reply::redirect("http://127.0.0.1/db.mmdb"),
            "/page" => Reply::ok("<!DOCTYPE html><html>Too Many Requests</html>"),
            "/hangs" => Reply::Silence,
            "/hangs-within" => Reply::SilenceWithin(next()),
            "/cut.gz" => Reply::ok(&gzip(&next())[..2_000]),
            "/bomb.gz" => Reply::ok(gzip(&vec![0; 2_000_000])),
            "/cut" => Reply::ok(&next()[..5_000]),
            "/half" => Reply::ok(mmdb(&half, BUILT + MONTH)),
            "/older" => Reply::ok(mmdb(&good, BUILT - MONTH)),
            other => panic!("{other}"),
        }
    });
    let rows = [
        ("/truncated", "download", "failed to fetch"),
        ("/404", "download", "answered 404"),
        ("/403", "download", "are account and key right"),
        ("/500", "download", "answered 500"),
        ("/endless", "download", "sends more than 1000000 bytes"),
        ("/loop", "download", "too many redirects"),
        ("/unencrypted", "download", "https only"),
        ("/page", "invalid", "this looks like a web page"),
        ("/hangs", "download", "timeout"),
        ("/hangs-within", "download", "timeout"),
        ("/cut.gz", "invalid", "cannot unpack"),
        ("/bomb.gz", "invalid", "more than 1000000 bytes come out"),
        ("/cut", "invalid", "is cut off"),
        ("/half", "networks", "IPv4 networks instead of"),
        ("/older", "older", "it is older"),
    ];
    for (path, reason, words) in rows {
        let ended = place.from(path);
        assert_eq!(ended.code, 1, "{path}: {ended:?}");
        assert!(
            ended.stderr.contains(words),
            "{path}: no {words:?} in {ended:?}"
        );
        assert!(
            ended.stderr.contains("nothing was changed"),
            "{path}: {ended:?}"
        );
        assert_eq!(place.file(), place.first, "{path}");
        let status = place.cerco.json(&["geo", "status"]);
        assert_eq!(status["generation"], 1, "{path}");
        assert_eq!(
            status["update_failed"]["reason"], reason,
            "{path}: {status}"
        );
        let text = place.cerco.cli(&["geo", "status"]).unwrap();
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let warnings = place.cerco.json(&["status"])["warnings"].to_string();
        let expected = format!("the last update of the database failed ({reason})");
        assert!(warnings.contains(&expected), "{path}: {warnings}");
    }
    let names: Vec<_> = fs::read_dir(place.site.directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("geo.db"))
        .collect();
    assert_eq!(names, ["geo.db"], "nothing is left beside it");
}

#[test]
fn passing_failure_is_tried_again() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let place = Place::new("", |_| match ASKED.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::status(503),
        _ => Reply::ok(next()),
    });
    let url = place.server.url("/db");
    let updated = place.update(&["--from", &url, "--retries", "1"]);
    assert_eq!(updated.code, 0, "{updated:?}");
    assert_eq!(place.server.asked().len(), 2);
    assert_eq!(place.generation(), 2);
    assert!(place.cerco.json(&["geo", "status"])["update_failed"].is_null());
}

#[test]
fn server_that_nobody_vouches_for_is_not_asked() {
    let place = Place::new("", |_| Reply::ok(next()));
    let other = HttpsServer::start(&place.site.host, |_| Reply::ok("x")).unwrap();
    place.site.write("server.pem", other.certificate()).unwrap();
    let ended = place.from("/db");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("certificate"), "{ended:?}");
    assert_eq!(place.server.asked(), []);
    let ended = place.update(&["--from", "http://127.0.0.1/db"]);
    assert!(ended.stderr.contains("is not encrypted"), "{ended:?}");
}

#[test]
fn maxmind_gets_account_and_key_and_its_archive_is_checked() {
    // 42:key in Base64.
    const LOGIN: &str = "Basic NDI6a2V5";
    let archive = || {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(next().len() as u64);
        header.set_cksum();
        let path = "GeoLite2-Country_20260601/GeoLite2-Country.mmdb";
        archive.append_data(&mut header, path, &next()[..]).unwrap();
        gzip(&archive.into_inner().unwrap())
    };
    static BROKEN: AtomicU32 = AtomicU32::new(1);
    let place = Place::new("", move |asked| {
        if asked.header("Authorization") != Some(LOGIN) {
            return Reply::status(401);
        }
        let path = "/geoip/databases/GeoLite2-Country/download?suffix=tar.gz";
        match asked.path.strip_prefix(path) {
            Some("") => Reply::ok(archive()),
            Some(".sha256") if BROKEN.load(Ordering::Relaxed) == 1 => {
                Reply::ok(format!("{}  x\n", Digest::of(b"x")))
            }
            Some(".sha256") => Reply::ok(format!("{}  x\n", Digest::of(&archive()))),
            _ => Reply::status(404),
        }
    });
    let conf = |key: &str| {
        let host = place.server.host();
        let text = format!("AccountID 42\nLicenseKey {key}\nHost {host}\n");
        place.site.write("GeoIP.conf", text).unwrap();
        let path = place.site.path("GeoIP.conf").display().to_string();
        place.update(&["--from", "maxmind", "--geoip-conf", &path, "--retries", "0"])
    };
    let wrong_key = conf("wrong");
    assert!(wrong_key.stderr.contains("answered 401"), "{wrong_key:?}");
    assert!(
        !wrong_key.stderr.contains("wrong"),
        "no secrets: {wrong_key:?}"
    );
    let wrong_sum = conf("key");
    assert_eq!(wrong_sum.code, 1, "{wrong_sum:?}");
    assert!(
        wrong_sum
            .stderr
            .contains("the SHA-256 of what was fetched is"),
        "{wrong_sum:?}"
    );
    assert_eq!(place.file(), place.first);
    BROKEN.store(0, Ordering::Relaxed);
    let updated = conf("key");
    assert_eq!(updated.code, 0, "{updated:?}");
    assert_eq!(place.file(), next());
    assert_eq!(place.generation(), 2);
}

#[test]
fn edition_of_last_month_is_taken_until_there_is_one_of_this() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let place = Place::new("", |_| match ASKED.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::status(404),
        _ => Reply::ok(next()),
    });
    let updated = place.from("/country-{year}-{month}.mmdb");
    assert_eq!(updated.code, 0, "{updated:?}");
    let asked = place.server.asked();
    assert_eq!(asked.len(), 2);
    let month = |asked: &Asked| {
        let text = asked.path.strip_prefix("/country-").unwrap();
        let (year, month) = text.strip_suffix(".mmdb").unwrap().split_once('-').unwrap();
        year.parse::<u32>().unwrap() * 12 + month.parse::<u32>().unwrap()
    };
    assert_eq!(month(&asked[0]), month(&asked[1]) + 1);
}

#[test]
fn checksum_and_signature_are_looked_at_before_the_file() {
    let place = Place::new(
        &format!("minisign_key = \"{MINISIGN_KEY}\""),
        |asked| match asked.path.as_str() {
            "/signed" => Reply::ok("test"),
            "/other" => Reply::ok(next()),
            "/unsigned" => Reply::ok("test"),
            "/signed.minisig" | "/other.minisig" => Reply::ok(SIGNATURE_OF_TEST),
            _ => Reply::status(404),
        },
    );
    for (path, reason, words) in [
        ("/other", "signature", "does not sign what was fetched"),
        ("/unsigned", "download", "/unsigned.minisig answered 404"),
        // What is signed is looked into, and is no database.
        ("/signed", "invalid", "unknown format: \"test\""),
    ] {
        let ended = place.from(path);
        assert_eq!(ended.code, 1, "{path}: {ended:?}");
        assert!(ended.stderr.contains(words), "{path}: {ended:?}");
        let status = place.cerco.json(&["geo", "status"]);
        assert_eq!(status["update_failed"]["reason"], reason, "{path}");
    }
    assert_eq!(place.file(), place.first);
}

#[test]
fn newest_file_of_a_directory_is_taken_without_any_network() {
    let place = Place::new("", |_| Reply::status(500));
    let directory = place.site.path("incoming");
    fs::create_dir(&directory).unwrap();
    let from = ["--from", directory.to_str().unwrap()];
    let empty = place.update(&from);
    assert!(empty.stderr.contains("it holds no database"), "{empty:?}");
    fs::write(directory.join("README"), "hello").unwrap();
    fs::write(directory.join("2026-07.mmdb.gz"), gzip(&next())).unwrap();
    let wrong = format!("{}  x\n", Digest::of(b"x"));
    fs::write(directory.join("2026-07.mmdb.gz.sha256"), wrong).unwrap();
    let refused = place.update(&from);
    assert!(
        refused.stderr.contains("the SHA-256 of what was fetched"),
        "{refused:?}"
    );
    let right = format!("{}  x\n", Digest::of(&gzip(&next())));
    fs::write(directory.join("2026-07.mmdb.gz.sha256"), right).unwrap();
    let updated = place.update(&from);
    assert_eq!(updated.code, 0, "{updated:?}");
    assert_eq!(place.file(), next());
    assert_eq!(place.generation(), 2);
    let again = place.update(&from);
    assert!(again.stdout.contains("has no newer edition"), "{again:?}");
    assert_eq!(place.server.asked(), []);
}

#[test]
fn refused_edition_can_be_accepted_and_an_edition_that_the_daemon_refuses_is_taken_back() {
    let place = Place::new("", |asked| {
        let good = networks(500);
        let moved = changed(&good, |_, network, country| {
            let is_peer = network.to_string() == "192.0.2.0/24";
            Some(if is_peer { code("US") } else { country })
        });
        let half = changed(&good, |index, _, country| (index < 500).then_some(country));
        Reply::ok(match asked.path.as_str() {
            "/broken" => next()[..5_000].to_vec(),
            "/half" => mmdb(&half, BUILT + MONTH),
            _ => mmdb(&moved, BUILT + MONTH),
        })
    });
    let url = place.server.url("/moved");
    let mut command = place.cerco.cli_command(&["geo", "update", "--from", &url]);
    let locked_out = ended(
        command
            .env("SSH_CONNECTION", "192.0.2.2 50000 192.0.2.1 22")
            .env("SSL_CERT_FILE", place.site.path("server.pem")),
    );
    assert_eq!(locked_out.code, 1, "{locked_out:?}");
    assert!(
        locked_out
            .stderr
            .contains("cut off the SSH session from 192.0.2.2"),
        "{locked_out:?}"
    );
    assert_eq!(place.file(), place.first);
    assert!(!place.site.path("geo.db.sha256").exists());
    assert_eq!(place.generation(), 1);

    let refused = place.from("/half");
    assert!(
        refused
            .stderr
            .contains("`cerco geo update --accept` takes it"),
        "{refused:?}"
    );
    let url = place.server.url("/broken");
    let broken = place.update(&["--from", &url, "--accept"]);
    assert!(broken.stderr.contains("is cut off"), "{broken:?}");
    assert_eq!(place.file(), place.first);
    let url = place.server.url("/half");
    let accepted = place.update(&["--from", &url, "--accept"]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    assert_eq!(place.generation(), 2);
    assert_eq!(place.networks.len(), 1_005);
}

#[test]
fn update_works_without_a_daemon_and_ends_no_hold() {
    let mut place = Place::new("", |asked| match asked.path.as_str() {
        "/third" => Reply::ok(mmdb(&networks(500), BUILT + 2 * MONTH)),
        _ => Reply::ok(next()),
    });
    place.from("/second");
    assert_eq!(place.generation(), 2);
    place.cerco.cli(&["geo", "rollback"]).unwrap();
    let held = place.from("/third");
    assert_eq!(held.code, 0, "{held:?}");
    assert!(
        held.stderr.contains("the database is held (generation 1)"),
        "{held:?}"
    );
    assert_eq!(place.generation(), 1);
    place.cerco.cli(&["geo", "accept", "--yes"]).unwrap();
    assert_eq!(place.generation(), 3);

    place.cerco.kill().unwrap();
    let alone = place.from("/second");
    assert_eq!(alone.code, 1, "it is older: {alone:?}");
    let url = place.server.url("/second");
    let alone = place.update(&["--from", &url, "--accept"]);
    assert_eq!(alone.code, 0, "{alone:?}");
    assert!(alone.stdout.contains("the next start uses it"), "{alone:?}");
    assert_eq!(place.file(), next());
    // The start judges as ever: it is older than the last good one.
    place.cerco.run().unwrap();
    assert_eq!(place.generation(), 3);
}

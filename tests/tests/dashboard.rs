//! The dashboard over real sockets: who is answered, who is let in, and that it changes nothing.

use integration_tests::{
    daemon::Cerco,
    error::{Error, Result},
    poll,
    site::{ABROAD, MACAU, Site, packets, parse},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(20);
const PLACE: &str = "127.0.0.1:9843";
const TOKEN: &str = "5f0c1d2e3b4a59687786a5b4c3d2e1f05f0c1d2e3b4a59687786a5b4c3d2e1f0";
const ON: &str = "[dashboard]\nenabled = true\n";

/// Status, headers in lower case, body.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn json(&self) -> Value {
        parse(&self.body)
    }
}

fn read_reply(stream: &mut (impl Read + Write), request: &str) -> io::Result<Reply> {
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        // A server that closes TCP without the farewell of TLS has answered all the same.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::InvalidData)?;
    let status = head.get(9..12).and_then(|it| it.parse().ok());
    let (line, rest) = head.split_once("\r\n").unwrap_or((head, ""));
    let lower = |line: &str| match line.split_once(':') {
        Some((name, value)) => format!("{}:{value}\n", name.to_lowercase()),
        None => String::new(),
    };
    Ok(Reply {
        status: status.ok_or_else(|| io::Error::other(line.to_owned()))?,
        head: rest.lines().map(lower).collect(),
        body: body.to_owned(),
    })
}

fn connect(site: &Site, place: &str) -> Result<TcpStream> {
    let stream = site.host.run(|| TcpStream::connect(place))?;
    stream
        .and_then(|stream| stream.set_read_timeout(Some(LIMIT)).map(|()| stream))
        .map_err(|source| Error::os(format!("connect to {place}"), source))
}

/// `line` as in `GET /`; `headers` each with its line end. The server is told to close.
fn ask(site: &Site, line: &str, headers: &str, body: &str) -> Result<Reply> {
    let mut stream = connect(site, PLACE)?;
    let request = format!("{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n{body}");
    read_reply(&mut stream, &request).map_err(|source| Error::os(line.to_owned(), source))
}

const HOST: &str = "Host: localhost:9843\r\n";

fn get(site: &Site, path: &str, headers: &str) -> Reply {
    ask(
        site,
        &format!("GET {path}"),
        &format!("{HOST}{headers}"),
        "",
    )
    .unwrap()
}

/// A daemon whose dashboard answers.
fn start(site: &Site, more: &str) -> Cerco {
    let config = site.config_with("", &format!("{ON}{more}"));
    let cerco = Cerco::start(&site.host, &config).unwrap();
    poll::until("see the dashboard", LIMIT, || connect(site, PLACE).ok()).unwrap();
    cerco
}

fn write_token(site: &Site, token: &str, mode: u32) -> String {
    let path = site.write("token", token).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
}

#[test]
fn what_no_page_of_ours_asks_is_refused() {
    let site = Site::new().unwrap();
    let cerco = start(&site, "host_names = [\"gate.example.org\"]\n");
    let own = "Origin: http://localhost:9843\r\n";
    let cases: &[(&str, &str, u16)] = &[
        ("GET /", HOST, 200),
        ("HEAD /", HOST, 200),
        ("GET /api/v1/state", HOST, 200),
        ("GET /api/v1/about", "Host: gate.example.org\r\n", 200),
        ("GET /api/v1/state", "Host: [::1]:8080\r\n", 200),
        ("GET /", "", 400),
        ("GET /", "Host: localhost\r\nHost: localhost\r\n", 400),
        ("GET /", "Host: evil.example:9843\r\n", 421),
        ("GET /api/v1/state", "Host: evil.example\r\n", 421),
        ("GET /assets/none.js", "Host: evil.example\r\n", 421),
        ("GET http://evil.example/", HOST, 400),
        (
            "GET /api/v1/state",
            "Host: localhost:9843\r\nOrigin: http://evil.example\r\n",
            403,
        ),
        (
            "GET /api/v1/state",
            "Host: localhost:9843\r\nOrigin: null\r\n",
            403,
        ),
        (
            "GET /api/v1/state",
            "Host: localhost:9843\r\nSec-Fetch-Site: cross-site\r\n",
            403,
        ),
        (
            "GET /api/v1/state",
            "Host: localhost:9843\r\nSec-Fetch-Site: same-site\r\n",
            403,
        ),
        ("POST /", HOST, 405),
        ("POST /api/v1/state", &format!("{HOST}{own}"), 405),
        ("PUT /api/v1/state", HOST, 405),
        ("DELETE /api/v1/state", HOST, 405),
        ("OPTIONS /api/v1/state", HOST, 405),
        ("GET /../etc/passwd", HOST, 404),
        ("GET /assets/../../etc/passwd", HOST, 404),
        ("GET /%2e%2e/%2e%2e/etc/passwd", HOST, 404),
        ("GET /assets/", HOST, 404),
        ("GET /api/v1/reload", HOST, 404),
        ("GET /api/v1/ban", HOST, 404),
        ("GET /api/v1/../v1/state", HOST, 404),
        ("GET /api/v1/history", HOST, 400),
        ("GET /api/v1/history?since=1&by=week", HOST, 400),
        (
            "GET /api/v1/history?since=1&by=minute&reason=a&country=US",
            HOST,
            400,
        ),
        ("GET /login", HOST, 303),
    ];
    for (line, headers, expected) in cases {
        let reply = ask(&site, line, headers, "").unwrap();
        assert_eq!(reply.status, *expected, "{line} {headers}: {reply:?}");
        let policy = reply.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{line}");
        }
        assert_eq!(reply.header("access-control-allow-origin"), None, "{line}");
    }
    let long = format!("{HOST}X: {}\r\n", "a".repeat(20_000));
    assert_eq!(ask(&site, "GET /", &long, "").unwrap().status, 431);
    // The page, and all that it names, come from here.
    let page = get(&site, "/", "");
    let named: Vec<&str> = page
        .body
        .split('"')
        .filter(|it| it.starts_with('/'))
        .collect();
    assert_eq!(named.len(), 3, "{named:?}");
    for path in named {
        let asset = get(&site, path, "");
        assert_eq!(asset.status, 200, "{path}");
        let kept = asset.header("cache-control").unwrap();
        assert_eq!(kept, "public, max-age=31536000, immutable");
        let etag = format!("If-None-Match: {}\r\n", asset.header("etag").unwrap());
        assert_eq!(get(&site, path, &etag).status, 304);
    }
    // Nothing of this has changed anything.
    let status = cerco.json(&["status"]);
    assert_eq!(
        (&status["mode"], &status["bans"]),
        (&"enforce".into(), &0.into())
    );
}

#[test]
fn state_is_what_status_and_countries_say_at_one_moment() {
    let site = Site::new().unwrap();
    let cerco = start(&site, "");
    site.send(ABROAD[0], 30).unwrap();
    site.send(ABROAD[1], 12).unwrap();
    site.send(MACAU[0], 9).unwrap();
    let state = poll::until("see all frames", LIMIT, || {
        let state = get(&site, "/api/v1/state", "").json();
        (packets(&state["status"], "country_denied", "drop") == 42).then_some(state)
    })
    .unwrap();
    assert_eq!(packets(&state["status"], "allowed", "pass"), 9);
    let lines = state["countries"].as_array().unwrap();
    let line = |class: &str| lines.iter().find(|it| it["class"] == class).unwrap();
    assert_eq!(line("US")["dropped_packets"], 42);
    assert_eq!(line("US")["action"], "deny");
    assert_eq!(line("MO")["passed_packets"], 9);
    let digest = &state["standing"]["policy_sha256"];
    assert_eq!(digest.as_str().map(str::len), Some(64));
    // However often it is asked for, the daemon is asked once a second.
    let (began, mut asked, mut states) = (Instant::now(), 0, BTreeSet::new());
    while began.elapsed() < Duration::from_secs(2) {
        asked += 1;
        states.insert(get(&site, "/api/v1/state", "").json()["boot_ms"].to_string());
    }
    assert!(asked > 20 && states.len() <= 4, "{asked}: {states:?}");
    let since = state["unix_ms"].as_u64().unwrap() / 1000 - 600;
    let history = poll::until("see it in the history", LIMIT, || {
        let path = format!("/api/v1/history?since={since}&by=minute&country=US");
        let history = get(&site, &path, "").json();
        (history["total"]["dropped_packets"] == 42).then_some(history)
    })
    .unwrap();
    assert_eq!(history["country"], "US");
    // Events: what was kept comes first.
    let mut stream = connect(&site, PLACE).unwrap();
    write!(stream, "GET /api/v1/events HTTP/1.1\r\n{HOST}\r\n").unwrap();
    let mut seen = String::new();
    let mut chunk = [0; 65_536];
    poll::until("see events", LIMIT, || {
        let count = stream.read(&mut chunk).unwrap();
        seen += &String::from_utf8_lossy(&chunk[..count]);
        seen.contains("\n\n\r\n").then_some(())
    })
    .unwrap();
    assert!(seen.contains("content-type: text/event-stream"), "{seen}");
    assert_eq!(seen.matches("\"source\":").count(), 42, "{seen}");
    drop(cerco);
}

#[test]
fn followers_of_events_are_bounded_and_leave_room() {
    let site = Site::new().unwrap();
    let _cerco = start(&site, "");
    let follow = || {
        let mut stream = connect(&site, PLACE).unwrap();
        write!(stream, "GET /api/v1/events HTTP/1.1\r\n{HOST}\r\n").unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        (String::from_utf8_lossy(&start).into_owned(), stream)
    };
    let followers: Vec<_> = (0..24).map(|_| follow()).collect();
    assert!(followers.iter().all(|(start, _)| start == "HTTP/1.1 200"));
    assert_eq!(follow().0, "HTTP/1.1 503");
    assert_eq!(get(&site, "/api/v1/state", "").status, 200);
    drop(followers);
    poll::until("follow again", LIMIT, || {
        (follow().0 == "HTTP/1.1 200").then_some(())
    })
    .unwrap();
}

#[test]
fn token_lets_in_and_a_wrong_one_waits() {
    let site = Site::new().unwrap();
    let token_file = write_token(&site, &format!("{TOKEN}\n"), 0o600);
    let _cerco = start(&site, &format!("token_file = \"{token_file}\"\n"));
    let page = get(&site, "/", "");
    assert_eq!(
        (page.status, page.header("location")),
        (303, Some("/login"))
    );
    for path in ["state", "about", "events", "history?since=1&by=day", "none"] {
        let reply = get(&site, &format!("/api/v1/{path}"), "");
        assert_eq!(reply.status, 401, "{path}: {reply:?}");
        assert!(!reply.body.contains("schema"), "{reply:?}");
    }
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    assert_eq!(get(&site, "/api/v1/state", &bearer(TOKEN)).status, 200);
    let began = Instant::now();
    let wrong = TOKEN.replace("5f", "5e");
    assert_eq!(get(&site, "/api/v1/state", &bearer(&wrong)).status, 401);
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    let sign_in = |token: &str, headers: &str| {
        let body = format!("token={token}");
        let headers = format!("{HOST}{headers}Content-Length: {}\r\n", body.len());
        ask(&site, "POST /login", &headers, &body).unwrap()
    };
    let own = "Origin: http://localhost:9843\r\n";
    assert_eq!(sign_in(TOKEN, "").status, 403);
    assert_eq!(
        sign_in(TOKEN, "Origin: http://evil.example\r\n").status,
        403
    );
    let began = Instant::now();
    let failed = sign_in(&wrong, own);
    assert_eq!(
        (failed.status, failed.header("location")),
        (303, Some("/login?failed"))
    );
    assert_eq!(failed.header("set-cookie"), None);
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(
        get(&site, "/login?failed", "")
            .body
            .contains("That was not the token.")
    );
    let done = sign_in(TOKEN, own);
    assert_eq!((done.status, done.header("location")), (303, Some("/")));
    let cookie = done.header("set-cookie").unwrap().to_owned();
    let (id, rest) = cookie.split_once("; ").unwrap();
    assert_eq!(rest, "Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict");
    assert!(id.starts_with("cerco=") && id.len() == 70, "{id}");
    assert!(!id.contains(TOKEN), "the cookie is not the token");
    let session = format!("Cookie: {id}\r\n");
    assert_eq!(get(&site, "/", &session).status, 200);
    assert_eq!(get(&site, "/api/v1/state", &session).status, 200);
    // A session does not stand above the guard.
    let foreign = format!("{session}Sec-Fetch-Site: cross-site\r\n");
    assert_eq!(get(&site, "/api/v1/state", &foreign).status, 403);
    let out = ask(&site, "POST /logout", &format!("{HOST}{own}{session}"), "").unwrap();
    assert_eq!(out.status, 303);
    assert_eq!(get(&site, "/api/v1/state", &session).status, 401);
}

#[test]
fn other_hosts_come_by_tls_and_token_or_not_at_all() {
    let site = Site::new().unwrap();
    let listen = "listen = \"192.0.2.1:9843\"\n";
    let config = |more: &str| site.config_with("", &format!("{ON}{listen}{more}"));
    let mut cerco = Cerco::prepare(&site.host, &config("")).unwrap();
    let refused = cerco.try_cli(&["check"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    for words in [
        "dashboard.listen: 192.0.2.1:9843 can be reached from other hosts; missing: tls_certificate, tls_key, token_file",
        "cerco.toml:10:10",
        "openssl rand -hex 32",
    ] {
        assert!(
            refused.stderr.contains(words),
            "{words}: {}",
            refused.stderr
        );
    }
    assert!(cerco.run().is_err(), "nor does the daemon start");

    let made = rcgen::generate_simple_self_signed(["192.0.2.1".to_owned()]).unwrap();
    let certificate = site.write("cert.pem", made.cert.pem()).unwrap();
    let key = site
        .write("key.pem", made.signing_key.serialize_pem())
        .unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let token_file = write_token(&site, TOKEN, 0o644);
    let all = config(&format!(
        "tls_certificate = \"{}\"\ntls_key = \"{}\"\ntoken_file = \"{token_file}\"\n",
        certificate.display(),
        key.display(),
    ));
    cerco.write_config(&all).unwrap();
    let open = cerco.try_cli(&["check"]);
    assert_eq!(open.code, 2, "{open:?}");
    let words =
        format!("[dashboard] token_file: {token_file} can be read by others (its mode is 0644)");
    assert!(open.stderr.contains(&words), "{}", open.stderr);
    // The gate stands all the same, and says why nobody sees it.
    cerco.run().unwrap();
    poll::until("read why", LIMIT, || {
        let warnings = cerco.json(&["status"])["warnings"].to_string();
        warnings.contains(&words).then_some(())
    })
    .unwrap();
    write_token(&site, TOKEN, 0o600);
    assert_eq!(cerco.try_cli(&["check"]).code, 0);
    let place = "192.0.2.1:9843";
    poll::until("see the dashboard come", LIMIT, || {
        connect(&site, place).ok()
    })
    .unwrap();
    let warnings = cerco.json(&["status"])["warnings"].to_string();
    assert!(!warnings.contains("dashboard"), "{warnings}");

    let mut roots = RootCertStore::empty();
    let pem = made.cert.pem();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    let secure = |line: &str, headers: &str, body: &str| {
        let name = ServerName::try_from("192.0.2.1").unwrap();
        let session = ClientConnection::new(client.clone(), name).unwrap();
        let mut stream = StreamOwned::new(session, connect(&site, place).unwrap());
        let request =
            format!("{line} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n{headers}\r\n{body}");
        read_reply(&mut stream, &request).unwrap()
    };
    assert_eq!(secure("GET /api/v1/state", "", "").status, 401);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(
        secure("GET /api/v1/state", &bearer, "").json()["status"]["mode"],
        "enforce"
    );
    let body = format!("token={TOKEN}");
    let origin = format!(
        "Origin: https://{place}\r\nContent-Length: {}\r\n",
        body.len()
    );
    let done = secure("POST /login", &origin, &body);
    let cookie = done.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-cerco="), "{cookie}");
    assert!(
        cookie.ends_with("HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );
    let session = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(secure("GET /", &session, "").status, 200);
    // Who speaks without TLS gets no word of HTTP.
    let mut plain = connect(&site, place).unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {place}\r\n\r\n");
    assert!(read_reply(&mut plain, &request).is_err());
    // One host that says nothing holds a share of the connections and not all of them.
    drop(plain);
    let held: Vec<TcpStream> = (0..25).map(|_| connect(&site, place).unwrap()).collect();
    let closed = poll::until("see one connection refused", LIMIT, || {
        let is_closed = |stream: &&TcpStream| {
            let mut stream: &TcpStream = stream;
            stream.set_nonblocking(true).unwrap();
            !matches!(stream.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        };
        let closed = held.iter().filter(is_closed).count();
        (closed > 0).then_some(closed)
    });
    assert!((1..5).contains(&closed.unwrap()));
    drop(held);
    poll::until("see the host served again", LIMIT, || {
        let stream = connect(&site, place).unwrap();
        let name = ServerName::try_from("192.0.2.1").unwrap();
        let session = ClientConnection::new(client.clone(), name).unwrap();
        let request = format!("GET /login HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n");
        let reply = read_reply(&mut StreamOwned::new(session, stream), &request).ok()?;
        (reply.status == 200).then_some(())
    })
    .unwrap();
}

#[test]
fn dashboard_is_off_unless_it_is_enabled() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    cerco.json(&["status"]);
    assert!(connect(&site, PLACE).is_err());
}

#[test]
fn taken_port_of_the_dashboard_does_not_keep_the_gate_from_standing() {
    let site = Site::new().unwrap();
    let taken = site.host.run(|| TcpListener::bind(PLACE)).unwrap().unwrap();
    let cerco = Cerco::start(&site.host, &site.config_with("", ON)).unwrap();
    site.send(ABROAD[0], 3).unwrap();
    let fault = "no dashboard: cannot listen at 127.0.0.1:9843";
    let warnings = || cerco.json(&["status"])["warnings"].to_string();
    poll::until("read why", LIMIT, || {
        warnings().contains(fault).then_some(())
    })
    .unwrap();
    assert_eq!(cerco.packets("country_denied", "drop"), 3);
    drop(taken);
    poll::until("see the dashboard come", LIMIT, || {
        let reply = ask(&site, "GET /api/v1/state", HOST, "").ok()?;
        (reply.status == 200).then_some(())
    })
    .unwrap();
    assert!(!warnings().contains(fault), "{}", warnings());
}

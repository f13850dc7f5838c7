//! Who is let in: by token, and from other hosts by TLS.

use std::{
    fs,
    io::{self, Read},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
    time::{Duration, Instant},
};

use integration_tests::{daemon::Cerco, poll, site::Site};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use crate::requests::*;

const TOKEN: &str = "5f0c1d2e3b4a59687786a5b4c3d2e1f05f0c1d2e3b4a59687786a5b4c3d2e1f0";

fn write_token(site: &Site, token: &str, mode: u32) -> String {
    let path = site.write("token", token).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
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
    poll::until("see the warning end", LIMIT, || {
        let warnings = cerco.json(&["status"])["warnings"].to_string();
        (!warnings.contains("dashboard")).then_some(())
    })
    .unwrap();

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

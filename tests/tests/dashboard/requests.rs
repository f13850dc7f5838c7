//! Questions to the dashboard, as a browser or a script asks them.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use integration_tests::{
    daemon::Cerco,
    error::{Error, Result},
    poll,
    site::{Site, parse},
};
use serde_json::Value;

pub const LIMIT: Duration = Duration::from_secs(20);
pub const PLACE: &str = "127.0.0.1:9843";
pub const ON: &str = "[dashboard]\nenabled = true\n";

/// Status, headers in lower case, body.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn json(&self) -> Value {
        parse(&self.body)
    }
}

pub fn read_reply(stream: &mut (impl Read + Write), request: &str) -> io::Result<Reply> {
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

pub fn connect(site: &Site, place: &str) -> Result<TcpStream> {
    let stream = site.host.run(|| TcpStream::connect(place))?;
    stream
        .and_then(|stream| stream.set_read_timeout(Some(LIMIT)).map(|()| stream))
        .map_err(|source| Error::os(format!("connect to {place}"), source))
}

/// `line` as in `GET /`; `headers` each with its line end. The server is told to close.
pub fn ask(site: &Site, line: &str, headers: &str, body: &str) -> Result<Reply> {
    let mut stream = connect(site, PLACE)?;
    let request = format!("{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n{body}");
    read_reply(&mut stream, &request).map_err(|source| Error::os(line.to_owned(), source))
}

pub const HOST: &str = "Host: localhost:9843\r\n";

pub fn get(site: &Site, path: &str, headers: &str) -> Reply {
    ask(
        site,
        &format!("GET {path}"),
        &format!("{HOST}{headers}"),
        "",
    )
    .unwrap()
}

/// A daemon whose dashboard answers.
pub fn start(site: &Site, more: &str) -> Cerco {
    let config = site.config_with("", &format!("{ON}{more}"));
    let cerco = Cerco::start(&site.host, &config).unwrap();
    poll::until("see the dashboard", LIMIT, || connect(site, PLACE).ok()).unwrap();
    cerco
}

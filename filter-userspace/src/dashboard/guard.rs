//! Which requests are answered at all: those that a browser makes for a page of this very site, and those of
//! programs that say plainly whom they ask.
//!
//! A dashboard on loopback is reached by every page that the same browser shows. The name in `Host` keeps out
//! pages whose name was made to point here (DNS rebinding); `Origin` and `Sec-Fetch-Site` keep out the others.

use std::net::IpAddr;

use hyper::{
    HeaderMap, Method, Request, StatusCode,
    header::{HOST, ORIGIN},
    http::uri::Authority,
};

use super::DashboardConfig;

const SEC_FETCH_SITE: &str = "sec-fetch-site";
const SEC_FETCH_MODE: &str = "sec-fetch-mode";
const SEC_FETCH_DEST: &str = "sec-fetch-dest";

/// Why a request is not answered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    #[error("a request names one host")]
    NoHost,
    #[error(
        "this dashboard is not called \"{0}\"; names that it is called by stand in \
         [dashboard] host_names of the config"
    )]
    UnknownHost(String),
    #[error("asked by a page of another site")]
    ForeignPage,
    #[error("only {0}")]
    Method(&'static str),
}

impl Refused {
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::UnknownHost(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::ForeignPage => StatusCode::FORBIDDEN,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

/// What this site is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    /// In lower case.
    host_names: Vec<String>,
    scheme: &'static str,
}

impl Names {
    pub fn new(config: &DashboardConfig, scheme: &'static str) -> Self {
        Self {
            host_names: config.host_names.clone(),
            scheme,
        }
    }

    /// `local`: the address of this host to which the connection was made. An address in place of a name cannot
    /// be made to point elsewhere. Any port: a tunnel may begin at another.
    fn knows(&self, host: &str, local: IpAddr) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            let address = address.to_canonical();
            let written = self.host_names.iter().any(|it| it.parse() == Ok(address));
            return address.is_loopback() || address == local.to_canonical() || written;
        }
        host == "localhost" || self.host_names.contains(&host)
    }

    /// Judges a request for `path`, which is allowed to be asked by `allowed` alone.
    pub fn judge<B>(
        &self,
        request: &Request<B>,
        local: IpAddr,
        allowed: Allowed,
    ) -> Result<(), Refused> {
        let host = named_host(request)?;
        if !self.knows(host.host(), local) {
            return Err(Refused::UnknownHost(host.host().to_owned()));
        }
        let is_change = match (allowed, request.method()) {
            (Allowed::Read | Allowed::Page, &Method::GET | &Method::HEAD) => false,
            (Allowed::Read | Allowed::Page, _) => return Err(Refused::Method("GET")),
            (Allowed::Write, &Method::POST) => true,
            (Allowed::Write, _) => return Err(Refused::Method("POST")),
        };
        let headers = request.headers();
        let origin = single(headers, ORIGIN.as_str())?;
        let own = format!("{}://{host}", self.scheme);
        if origin.is_some_and(|origin| !origin.eq_ignore_ascii_case(&own)) {
            return Err(Refused::ForeignPage);
        }
        match single(headers, SEC_FETCH_SITE)? {
            Some("same-origin" | "none") => Ok(()),
            // A link in a page of another site may lead here: what it shows it asks for itself.
            Some(_) if allowed == Allowed::Page && is_navigation(headers)? => Ok(()),
            Some(_) => Err(Refused::ForeignPage),
            // No browser: programs send neither, and the browsers that send no Sec-Fetch-Site send Origin with
            // what changes something.
            None if is_change && origin.is_none() => Err(Refused::ForeignPage),
            None => Ok(()),
        }
    }
}

/// How a path may be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowed {
    Read,
    /// Read, and pages of others may have links to it.
    Page,
    /// Signing in and out, which changes nothing of the gate.
    Write,
}

fn is_navigation(headers: &HeaderMap) -> Result<bool, Refused> {
    let mode = single(headers, SEC_FETCH_MODE)?;
    let dest = single(headers, SEC_FETCH_DEST)?;
    Ok(mode == Some("navigate") && dest == Some("document"))
}

/// The host that is asked; the one in the request line, if there is one, must be that of the header.
fn named_host<B>(request: &Request<B>) -> Result<Authority, Refused> {
    let host = single(request.headers(), HOST.as_str())?.ok_or(Refused::NoHost)?;
    let host: Authority = host.parse().map_err(|_| Refused::NoHost)?;
    let in_line = request.uri().authority();
    if host.as_str().contains('@') || in_line.is_some_and(|line| *line != host) {
        return Err(Refused::NoHost);
    }
    Ok(host)
}

/// A header that must not stand there twice: two readers could go by two of them.
fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Refused> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Refused::NoHost);
    }
    first
        .map(|value| value.to_str().map_err(|_| Refused::NoHost))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(scheme: &'static str) -> Names {
        let config = DashboardConfig {
            host_names: vec!["gate.example.org".to_owned(), "192.0.2.9".to_owned()],
            ..DashboardConfig::default()
        };
        Names::new(&config, scheme)
    }

    fn judged(method: &str, line: &str, headers: &str, allowed: Allowed) -> Result<(), Refused> {
        let mut request = Request::builder().method(method).uri(line);
        for header in headers.split('|').filter(|it| !it.is_empty()) {
            let (name, value) = header.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let local = "192.0.2.1".parse().unwrap();
        let scheme = if headers.contains("https://") {
            "https"
        } else {
            "http"
        };
        names(scheme).judge(&request.body(()).unwrap(), local, allowed)
    }

    #[test]
    fn only_names_of_this_host_are_answered() {
        let unknown = |name: &str| Err(Refused::UnknownHost(name.to_owned()));
        let cases = [
            ("Host: localhost:9843", Ok(())),
            ("Host: LOCALHOST:1", Ok(())),
            ("Host: localhost.", Ok(())),
            ("Host: 127.0.0.1:9843", Ok(())),
            ("Host: 127.8.8.8", Ok(())),
            ("Host: [::1]:9843", Ok(())),
            ("Host: 192.0.2.1:9843", Ok(())),
            ("Host: [::ffff:192.0.2.1]", Ok(())),
            ("Host: 192.0.2.9", Ok(())),
            ("Host: gate.example.org:443", Ok(())),
            ("Host: Gate.Example.ORG", Ok(())),
            ("Host: 192.0.2.2:9843", unknown("192.0.2.2")),
            ("Host: 0.0.0.0:9843", unknown("0.0.0.0")),
            ("Host: evil.example:9843", unknown("evil.example")),
            (
                "Host: localhost.evil.example",
                unknown("localhost.evil.example"),
            ),
            ("Host: example.org", unknown("example.org")),
            ("Host: user@localhost", Err(Refused::NoHost)),
            ("Host: local host", Err(Refused::NoHost)),
            ("Host: localhost|Host: localhost", Err(Refused::NoHost)),
            ("", Err(Refused::NoHost)),
        ];
        for (headers, expected) in cases {
            assert_eq!(
                judged("GET", "/", headers, Allowed::Page),
                expected,
                "{headers}"
            );
        }
        let host = "Host: localhost:9843";
        let line = |uri| judged("GET", uri, host, Allowed::Page);
        assert_eq!(line("http://localhost:9843/"), Ok(()));
        assert_eq!(line("http://evil.example/"), Err(Refused::NoHost));
    }

    #[test]
    fn only_pages_of_this_site_and_programs_ask() {
        let (read, page, write) = (Allowed::Read, Allowed::Page, Allowed::Write);
        let foreign = || Err(Refused::ForeignPage);
        let own = "|Origin: http://localhost:9843";
        let navigation = "|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document";
        let cases = [
            ("GET", read, "", Ok(())),
            ("HEAD", read, "", Ok(())),
            ("GET", read, own, Ok(())),
            ("GET", read, "|Sec-Fetch-Site: same-origin", Ok(())),
            ("GET", read, "|Sec-Fetch-Site: none", Ok(())),
            // Other ports of localhost are the same site, and none of ours.
            ("GET", read, "|Sec-Fetch-Site: same-site", foreign()),
            ("GET", read, "|Sec-Fetch-Site: cross-site", foreign()),
            ("GET", read, "|Sec-Fetch-Site: odd", foreign()),
            ("GET", read, "|Origin: http://localhost:3000", foreign()),
            (
                "GET",
                read,
                "|Origin: http://localhost:9843.evil.example",
                foreign(),
            ),
            ("GET", read, "|Origin: http://evil.example", foreign()),
            ("GET", read, "|Origin: null", foreign()),
            ("GET", read, "|Origin: https://localhost:9843", Ok(())),
            ("GET", page, "|Sec-Fetch-Site: cross-site", foreign()),
            (
                "GET",
                read,
                "|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document",
                foreign(),
            ),
            (
                "GET",
                page,
                "|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document",
                Ok(()),
            ),
            (
                "GET",
                page,
                "|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: iframe",
                foreign(),
            ),
            ("POST", read, own, Err(Refused::Method("GET"))),
            ("PUT", page, "", Err(Refused::Method("GET"))),
            ("OPTIONS", read, "", Err(Refused::Method("GET"))),
            ("GET", write, "", Err(Refused::Method("POST"))),
            ("POST", write, own, Ok(())),
            ("POST", write, "", foreign()),
            ("POST", write, "|Sec-Fetch-Site: same-origin", Ok(())),
            ("POST", write, "|Sec-Fetch-Site: cross-site", foreign()),
            ("POST", write, "|Origin: http://evil.example", foreign()),
            (
                "POST",
                write,
                "|Origin: null|Sec-Fetch-Site: same-origin",
                foreign(),
            ),
        ];
        for (method, allowed, headers, expected) in cases {
            let all = format!("Host: localhost:9843{headers}");
            assert_eq!(
                judged(method, "/", &all, allowed),
                expected,
                "{method} {headers}"
            );
        }
        let link = format!("Host: localhost:9843|Sec-Fetch-Site: same-site{navigation}");
        assert_eq!(judged("GET", "/", &link, page), Ok(()));
    }
}

//! What stands where, and who gets it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
};
use tokio::sync::{broadcast, mpsc};
use tokio_rustls::TlsAcceptor;

use super::{
    DashboardConfig, Question,
    access::{Access, Tls, Token},
    api::Api,
    assets::{self, Assets, Embedded},
    body::Content,
    connection::{Ends, Life},
    guard::{Allowed, Names, Refused},
    session::{Attempts, LIFETIME, Sessions},
};
use crate::events::Seen;

pub type Reply = Response<Content>;

const LOGIN_PAGE: &str = include_str!("login.html");
const LOGIN_STYLE: &str = include_str!("login.css");
/// Of a form with one field.
const MAX_FORM_BYTES: usize = 8 * 1024;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// Of every answer.
const HEADERS: [(&str, &str); 8] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), geolocation=(), microphone=()",
    ),
    ("cache-control", "no-store"),
];

pub struct Site {
    names: Names,
    token: Option<Token>,
    tls: Option<Tls>,
    assets: Assets,
    sessions: Mutex<Sessions>,
    attempts: Mutex<Attempts>,
    api: Api,
}

/// What a path is about.
enum Place<'p> {
    Page,
    Asset(&'static Embedded),
    Login,
    LoginStyle,
    Logout,
    Api(&'p str),
}

impl Site {
    pub fn new(
        config: &DashboardConfig,
        access: Access,
        assets: Assets,
        daemon: mpsc::Sender<Question>,
        events: broadcast::Sender<Arc<Seen>>,
    ) -> Self {
        let names = Names::new(config, access.scheme());
        let Access { token, tls } = access;
        Self {
            names,
            api: Api::new(daemon, events, token.is_some()),
            token,
            tls,
            assets,
            sessions: Mutex::new(Sessions::new()),
            attempts: Mutex::default(),
        }
    }

    pub fn has_no_page(&self) -> bool {
        self.assets.is_empty()
    }

    pub fn tls_acceptor(&self) -> Option<TlsAcceptor> {
        self.tls.as_ref().map(Tls::acceptor)
    }

    pub async fn answer(&self, request: Request<Incoming>, ends: Ends, life: Life) -> Reply {
        let mut reply = self.answer_bare(request, ends, life).await;
        for (name, value) in HEADERS {
            let headers = reply.headers_mut();
            if !headers.contains_key(name) {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        reply
    }

    async fn answer_bare(&self, request: Request<Incoming>, ends: Ends, life: Life) -> Reply {
        let path = request.uri().path().to_owned();
        let place = self.place(&path);
        let allowed = match &place {
            Some(Place::Page) => Allowed::Page,
            Some(Place::Login) if request.method() != hyper::Method::POST => Allowed::Page,
            Some(Place::Login | Place::Logout) => Allowed::Write,
            _ => Allowed::Read,
        };
        if let Err(refused) = self.names.judge(&request, ends.local.ip(), allowed) {
            return self.refusal(&refused);
        }
        let Some(place) = place else {
            return plain(StatusCode::NOT_FOUND, "there is nothing here");
        };
        let name = match (place, allowed) {
            (Place::Login, Allowed::Write) => return self.log_in(request, ends).await,
            (Place::Login, _) if self.token.is_none() => return see_other("/"),
            (Place::Login, _) => return login_page(request.uri().query() == Some("failed")),
            (Place::LoginStyle, _) => return text("text/css; charset=utf-8", LOGIN_STYLE),
            (Place::Asset(asset), _) => return serve(asset, request.headers()),
            (Place::Page, _) if self.assets.is_empty() => {
                return plain(StatusCode::NOT_IMPLEMENTED, assets::MISSING);
            }
            (Place::Page, _) if !self.is_let_in(&request, ends).await => {
                return see_other("/login");
            }
            (Place::Page, _) => {
                life.renew();
                let page = self.assets.find("/");
                return page.map_or_else(
                    || plain(StatusCode::NOT_IMPLEMENTED, assets::MISSING),
                    |page| serve(page, request.headers()),
                );
            }
            (Place::Logout, _) => return self.log_out(&request),
            (Place::Api(name), _) => name,
        };
        if !self.is_let_in(&request, ends).await {
            let mut reply = plain(StatusCode::UNAUTHORIZED, "sign in, or send the token");
            let scheme = HeaderValue::from_static("Bearer");
            reply.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            return reply;
        }
        life.renew();
        self.api.answer(name, &request, life).await
    }

    fn place<'p>(&self, path: &'p str) -> Option<Place<'p>> {
        match path {
            "/" => Some(Place::Page),
            "/login" => Some(Place::Login),
            "/login.css" => Some(Place::LoginStyle),
            "/logout" => Some(Place::Logout),
            _ => match path.strip_prefix("/api/v1/") {
                Some(name) => Some(Place::Api(name)),
                None => self.assets.find(path).map(Place::Asset),
            },
        }
    }

    fn refusal(&self, refused: &Refused) -> Reply {
        let mut reply = plain(refused.status(), &refused.to_string());
        if let Refused::Method(method) = refused {
            let allow = match *method {
                "GET" => "GET, HEAD",
                other => other,
            };
            let allow = HeaderValue::from_static(allow);
            reply.headers_mut().insert(header::ALLOW, allow);
        }
        reply
    }

    /// Whether the request comes with a session or with the token, if one is demanded.
    async fn is_let_in<B>(&self, request: &Request<B>, ends: Ends) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        if let Some(given) = bearer(request.headers()) {
            return self.is_right(token, given, ends).await;
        }
        let now = Instant::now();
        session_ids(request.headers(), self.cookie())
            .any(|id| lock(&self.sessions).is_open(id, now))
    }

    /// Compares; a wrong token is answered late.
    async fn is_right(&self, token: &Token, given: &str, ends: Ends) -> bool {
        let peer = ends.peer.ip();
        if token.is(given) {
            lock(&self.attempts).succeeded(peer);
            return true;
        }
        let delay = lock(&self.attempts).failed(peer, Instant::now());
        tokio::time::sleep(delay).await;
        false
    }

    async fn log_in(&self, request: Request<Incoming>, ends: Ends) -> Reply {
        let Some(token) = &self.token else {
            return see_other("/");
        };
        let body = Limited::new(request.into_body(), MAX_FORM_BYTES);
        let Ok(form) = body.collect().await else {
            return plain(StatusCode::BAD_REQUEST, "that is no token");
        };
        let form = form.to_bytes();
        let given = form.strip_prefix(b"token=").unwrap_or_default();
        // Hexadecimal digits are never encoded; other characters may be.
        let given = percent_decoded(given);
        if !self.is_right(token, given.trim(), ends).await {
            return see_other("/login?failed");
        }
        let Ok(id) = lock(&self.sessions).open(Instant::now()) else {
            return plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the system has no random numbers",
            );
        };
        let mut reply = see_other("/");
        self.set_cookie(&mut reply, &id, LIFETIME.as_secs());
        reply
    }

    fn log_out<B>(&self, request: &Request<B>) -> Reply {
        for id in session_ids(request.headers(), self.cookie()) {
            lock(&self.sessions).close(id);
        }
        let mut reply = see_other("/login");
        self.set_cookie(&mut reply, "", 0);
        reply
    }

    /// Browsers take a cookie of the first name only over TLS, for this very host and for no other path.
    fn cookie(&self) -> &'static str {
        match self.tls {
            Some(_) => "__Host-cerco",
            None => "cerco",
        }
    }

    fn set_cookie(&self, reply: &mut Reply, id: &str, seconds: u64) {
        let secure = match self.tls {
            Some(_) => "; Secure",
            None => "",
        };
        let name = self.cookie();
        let cookie =
            format!("{name}={id}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            reply.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn session_ids<'h>(headers: &'h HeaderMap, name: &'static str) -> impl Iterator<Item = &'h str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    pairs.filter_map(move |pair| {
        let (key, id) = pair.trim().split_once('=')?;
        (key == name).then_some(id)
    })
}

/// A value of a form as it was typed.
fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        let code = hex.and_then(|it| u8::from_str_radix(it, 16).ok());
        rest = tail;
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn plain(status: StatusCode, words: &str) -> Reply {
    let mut reply = text("text/plain; charset=utf-8", &format!("{words}\n"));
    *reply.status_mut() = status;
    reply
}

fn text(kind: &'static str, text: &str) -> Reply {
    whole(kind, Bytes::copy_from_slice(text.as_bytes()))
}

pub fn whole(kind: &'static str, bytes: Bytes) -> Reply {
    let mut reply = Response::new(bytes.into());
    let kind = HeaderValue::from_static(kind);
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
}

fn see_other(path: &'static str) -> Reply {
    let mut reply = plain(StatusCode::SEE_OTHER, "see there");
    let path = HeaderValue::from_static(path);
    reply.headers_mut().insert(header::LOCATION, path);
    reply
}

fn login_page(failed: bool) -> Reply {
    let message = match failed {
        true => "<p role=\"alert\">That was not the token.</p>",
        false => "",
    };
    let page = LOGIN_PAGE.replace("<!--message-->", message);
    let mut reply = text("text/html; charset=utf-8", &page);
    // With "no-referrer" the form would be sent with `Origin: null`.
    let policy = HeaderValue::from_static("same-origin");
    reply.headers_mut().insert(header::REFERRER_POLICY, policy);
    reply
}

/// Whether the reader takes compressed content.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    accepted
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(','))
        .any(|it| {
            let mut parts = it.split(';').map(str::trim);
            parts.next() == Some("gzip") && parts.all(|it| it != "q=0")
        })
}

fn serve(asset: &Embedded, headers: &HeaderMap) -> Reply {
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .any(|value| value.as_bytes() == asset.etag.as_bytes());
    let mut reply = if known {
        let mut reply = Response::new(Content::Whole(None));
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
        reply
    } else if takes_gzip(headers) {
        let mut reply = whole(asset.kind, Bytes::from_static(asset.gzip));
        let gzip = HeaderValue::from_static("gzip");
        reply.headers_mut().insert(header::CONTENT_ENCODING, gzip);
        reply
    } else {
        whole(asset.kind, asset.plain())
    };
    let keep = match asset.is_named_by_content() {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let headers = reply.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(header::ETAG, HeaderValue::from_static(asset.etag));
    let vary = HeaderValue::from_static("accept-encoding");
    headers.insert(header::VARY, vary);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_of_a_form_is_read_as_it_was_typed() {
        for (sent, typed) in [
            ("abc123", "abc123"),
            ("a%2Bb+c%25", "a+b c%"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("", ""),
        ] {
            assert_eq!(percent_decoded(sent.as_bytes()), typed);
        }
    }

    #[test]
    fn compressed_content_is_for_those_who_take_it() {
        for (header, takes) in [
            ("gzip, deflate, br, zstd", true),
            ("gzip;q=0.5", true),
            ("gzip;q=0", false),
            ("br", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(header));
            assert_eq!(takes_gzip(&headers), takes, "{header}");
        }
    }

    #[test]
    fn session_ids_are_those_of_our_cookie() {
        let mut headers = HeaderMap::new();
        for cookies in ["a=1; cerco=one", "cerco=two;xcerco=three; cerco"] {
            headers.append(header::COOKIE, HeaderValue::from_static(cookies));
        }
        let ids: Vec<&str> = session_ids(&headers, "cerco").collect();
        assert_eq!(ids, ["one", "two"]);
    }
}

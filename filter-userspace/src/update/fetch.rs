//! HTTPS with an end: every answer is bounded in time and in bytes.

use std::{
    io::Read,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use ureq::{
    Agent,
    http::{HeaderMap, StatusCode, header},
    tls::{Certificate, RootCerts, TlsConfig},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_REDIRECTS: u32 = 5;
/// Checksums and signatures.
const MAX_TEXT_BYTES: u64 = 16 * 1024;
/// Before the first repetition; each further one waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What an earlier answer said about itself, sent back with the next question.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Conditions {
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

#[derive(Debug)]
pub struct Fetched {
    pub bytes: Vec<u8>,
    pub conditions: Conditions,
}

#[derive(Debug)]
pub enum Answer {
    NotModified,
    Found(Fetched),
}

/// User and password.
pub type Login = (String, String);

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{url} answered {status}{}", remedy(*status))]
    Status { url: String, status: StatusCode },
    #[error("failed to fetch {url}: {source}")]
    Transport {
        url: String,
        source: Box<ureq::Error>,
    },
    #[error("{url} sends more than {limit} bytes; `max_megabytes` under [geo.update] allows more")]
    TooLarge { url: String, limit: u64 },
    #[error("{url} is no text")]
    NotText { url: String },
}

fn remedy(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => ": are account and key right, and is this edition theirs?",
        429 => ": too many downloads; try again tomorrow",
        _ => "",
    }
}

impl FetchError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// Whether the same question may get another answer in a moment.
    fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => status.is_server_error(),
            Self::Transport { source, .. } => match &**source {
                // Who is not trusted now is not trusted in a second either.
                ureq::Error::Io(error) => {
                    let cause = error.get_ref();
                    cause.is_none_or(|cause| !cause.is::<rustls::Error>())
                }
                ureq::Error::Timeout(_)
                | ureq::Error::HostNotFound
                | ureq::Error::ConnectionFailed
                | ureq::Error::Protocol(_) => true,
                _ => false,
            },
            Self::TooLarge { .. } | Self::NotText { .. } => false,
        }
    }
}

#[derive(Debug)]
pub struct Fetcher {
    agent: Agent,
    max_bytes: u64,
    retries: u32,
    /// For all attempts of one question together.
    limit: Duration,
}

impl Fetcher {
    /// `limit`: how long one question may take, its repetitions included.
    pub fn new(max_bytes: u64, retries: u32, limit: Duration) -> Self {
        let provider = rustls::crypto::ring::default_provider();
        // What the host trusts, so also the sysadmin's own authority. What cannot be read of it is left
        // out: without any, no server is trusted.
        let trusted: Vec<Certificate<'static>> = rustls_native_certs::load_native_certs()
            .certs
            .iter()
            .map(|der| Certificate::from_der(der).to_owned())
            .collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(trusted)))
            .unversioned_rustls_crypto_provider(Arc::new(provider))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(MAX_REDIRECTS)
            .timeout_connect(Some(CONNECT_TIMEOUT.min(limit)))
            .timeout_global(Some(limit))
            .user_agent(concat!("cerco/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Self {
            agent,
            max_bytes,
            retries,
            limit,
        }
    }

    pub fn get(
        &self,
        url: &str,
        login: Option<&Login>,
        conditions: &Conditions,
    ) -> Result<Answer, FetchError> {
        let until = Instant::now() + self.limit;
        let mut pause = FIRST_PAUSE;
        let mut retries = self.retries;
        loop {
            match self.get_once(url, login, conditions, self.max_bytes) {
                Err(error)
                    if error.is_passing() && retries > 0 && Instant::now() + pause < until =>
                {
                    tracing::debug!("{error}; again in {pause:?}");
                    thread::sleep(pause);
                    pause *= 2;
                    retries -= 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// A checksum or a signature.
    pub fn get_text(&self, url: &str, login: Option<&Login>) -> Result<String, FetchError> {
        let answer = self.get_once(url, login, &Conditions::default(), MAX_TEXT_BYTES)?;
        let not_text = || FetchError::NotText {
            url: url.to_owned(),
        };
        match answer {
            Answer::Found(fetched) => String::from_utf8(fetched.bytes).map_err(|_| not_text()),
            Answer::NotModified => Err(not_text()),
        }
    }

    fn get_once(
        &self,
        url: &str,
        login: Option<&Login>,
        conditions: &Conditions,
        max_bytes: u64,
    ) -> Result<Answer, FetchError> {
        let transport = |source: ureq::Error| FetchError::Transport {
            url: url.to_owned(),
            source: Box::new(source),
        };
        let mut request = self.agent.get(url);
        if let Some(login) = login {
            // ureq sends it to the host that was asked, and to no other that this one names.
            request = request.header(header::AUTHORIZATION, basic(login));
        }
        if let Some(etag) = &conditions.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if let Some(time) = &conditions.last_modified {
            request = request.header(header::IF_MODIFIED_SINCE, time);
        }
        let mut response = request.call().map_err(transport)?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED {
            return Ok(Answer::NotModified);
        }
        if status != StatusCode::OK {
            return Err(FetchError::Status {
                url: url.to_owned(),
                status,
            });
        }
        let text = |name| text_of(response.headers(), name);
        let conditions = Conditions {
            etag: text(header::ETAG),
            last_modified: text(header::LAST_MODIFIED),
        };
        let mut bytes = Vec::new();
        // ureq knows how long the answer should be, and calls a shorter one an error.
        response
            .body_mut()
            .as_reader()
            .take(max_bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| transport(error.into()))?;
        if bytes.len() as u64 > max_bytes {
            return Err(FetchError::TooLarge {
                url: url.to_owned(),
                limit: max_bytes,
            });
        }
        Ok(Answer::Found(Fetched { bytes, conditions }))
    }
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// RFC 7617 §2.
fn basic((user, password): &Login) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{password}"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_is_written_as_the_rfc_says() {
        let login = ("Aladdin".to_owned(), "open sesame".to_owned());
        assert_eq!(basic(&login), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}

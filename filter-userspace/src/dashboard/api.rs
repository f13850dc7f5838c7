//! `/api/v1/…`: what the page asks for, and what programs may ask for as well.

use std::sync::Arc;

use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    header::{self, HeaderMap, HeaderValue},
};
use serde::Serialize;
use tokio::sync::{broadcast, mpsc};

use super::{
    Question,
    body::{Content, Document},
    connection::Life,
    events::Followers,
    history::{Histories, parse},
    site::{Reply, plain, takes_gzip, whole},
    state::States,
};
use crate::{
    control::protocol::{Refusal, RefusalKind},
    countries,
    events::Seen,
};

const JSON: &str = "application/json";

pub struct Api {
    states: States,
    histories: Histories,
    followers: Followers,
    /// What does not change while the daemon runs.
    site: Result<Document, String>,
}

#[derive(Serialize)]
struct About {
    version: &'static str,
    /// Whether one can sign out.
    token: bool,
    countries: Vec<CountryName>,
}

#[derive(Serialize)]
struct CountryName {
    code: String,
    name: &'static str,
}

impl Api {
    pub fn new(
        daemon: mpsc::Sender<Question>,
        events: broadcast::Sender<Arc<Seen>>,
        token: bool,
    ) -> Self {
        let names = countries::all().into_iter().map(|country| CountryName {
            code: country.code.to_string(),
            name: country.name,
        });
        let about = About {
            version: env!("CARGO_PKG_VERSION"),
            token,
            countries: names.collect(),
        };
        Self {
            states: States::new(daemon.clone()),
            histories: Histories::new(daemon.clone()),
            followers: Followers::new(daemon, events),
            site: Document::of(&about),
        }
    }

    /// Answers a request for `name`, of somebody who may ask.
    pub async fn answer<B>(&self, name: &str, request: &Request<B>, life: Life) -> Reply {
        let headers = request.headers();
        match name {
            "about" => match &self.site {
                Ok(document) => json(document, headers),
                Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, error),
            },
            "state" => outcome(self.states.get().await, headers),
            "history" => match parse(request.uri().query().unwrap_or_default()) {
                Ok(query) => match self.histories.get(query).await {
                    Some(history) => outcome(history, headers),
                    None => failed(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "too many wait for the history",
                    ),
                },
                Err(fault) => failed(StatusCode::BAD_REQUEST, &fault),
            },
            "events" if request.method() == Method::HEAD => stream(Content::Whole(None)),
            "events" => match self.followers.follow(life) {
                Some(events) => stream(events),
                None => failed(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many follow the events",
                ),
            },
            _ => plain(
                StatusCode::NOT_FOUND,
                "known here: about, state, history, events",
            ),
        }
    }
}

fn outcome(outcome: Result<Document, Refusal>, headers: &HeaderMap) -> Reply {
    match outcome {
        Ok(document) => json(&document, headers),
        Err(refusal) => {
            let status = match refusal.kind {
                RefusalKind::BadRequest => StatusCode::BAD_REQUEST,
                RefusalKind::Forbidden => StatusCode::FORBIDDEN,
                RefusalKind::Failed => StatusCode::SERVICE_UNAVAILABLE,
            };
            failed(status, &refusal.message)
        }
    }
}

fn json(document: &Document, headers: &HeaderMap) -> Reply {
    if !takes_gzip(headers) {
        return whole(JSON, document.plain.clone());
    }
    let mut reply = whole(JSON, document.gzip.clone());
    let gzip = HeaderValue::from_static("gzip");
    reply.headers_mut().insert(header::CONTENT_ENCODING, gzip);
    reply
}

/// An error that the page shows.
fn failed(status: StatusCode, message: &str) -> Reply {
    let body = serde_json::json!({ "error": message }).to_string();
    let mut reply = whole(JSON, Bytes::from(body));
    *reply.status_mut() = status;
    reply
}

fn stream(content: Content) -> Reply {
    let mut reply = Reply::new(content);
    let kind = HeaderValue::from_static("text/event-stream");
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
}

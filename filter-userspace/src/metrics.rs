//! Metrics over HTTP: `GET /metrics`, nothing else, never an address as a label.

mod families;
mod format;
mod process;

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use filter_common::country::CountryCode;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tracing::debug;

pub use self::{
    format::{Format, render},
    process::Process,
};
use crate::{
    http::{Endpoint, Limits, MAX_HEADER_BYTES},
    kernel::{AttachMode, FlowCount, InterfaceCounters, Mode},
};

/// Connections at once; a scraper needs one.
const MAX_CONNECTIONS: usize = 16;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole connection, so that a reader that reads nothing holds its slot only so long.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Everything that a scrape shows, taken at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub interfaces: Vec<InterfaceCounters>,
    /// How the gate stands, for each interface where it should; `None` where it does not.
    pub attached: Vec<(String, Option<AttachMode>)>,
    /// Packets passed, dropped and would-be dropped of every country, summed over the interfaces.
    pub countries: Vec<(CountryCode, [u64; 3])>,
    /// Seconds since 1970.
    pub database_built: Option<u64>,
    pub networks_v4: u64,
    pub networks_v6: u64,
    pub mode: Mode,
    pub trial_pending: bool,
    /// Seconds since 1970.
    pub published: Option<u64>,
    pub runtime_rules: u64,
    pub bans: u64,
    pub table_bytes: u64,
    pub reload_failures: u64,
    /// Whether answers to this host's own connections are let in.
    pub replies_enabled: bool,
    pub flows: FlowCount,
    /// Interfaces on which such answers are not known.
    pub tracker_faults: u64,
    /// By reason, every reason there is.
    pub database_failures: Vec<(&'static str, u64)>,
    pub database_held: bool,
    pub database_refused: bool,
    /// Bytes of the history, and whether it cannot be written; `None`: there is none.
    pub history: Option<(u64, bool)>,
    pub process: Process,
}

/// A scrape on its way to the daemon's task.
pub type Scrape = oneshot::Sender<Result<Snapshot, String>>;

/// Where the metrics are served.
pub fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        what: "metrics",
        address,
        url: format!("http://{address}/metrics"),
        key: "[metrics] listen",
    }
}

/// Serves at `endpoint` until the daemon's task is gone; without a `listener` it tries to get one.
pub async fn serve_at(
    endpoint: Endpoint,
    listener: Option<TcpListener>,
    daemon: mpsc::Sender<Scrape>,
    fault: watch::Sender<Option<String>>,
) {
    let listener = endpoint.bind(listener, &fault).await;
    let converse = |stream, _| {
        let daemon = daemon.clone();
        async move {
            let service = service_fn(move |request| answer(request, daemon.clone()));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(MAX_HEADER_BYTES)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            match timeout(CONNECTION_TIMEOUT, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!("metrics connection: {error}"),
                Err(_) => debug!("metrics connection: timed out"),
            }
        }
    };
    let limits = Limits {
        connections: MAX_CONNECTIONS,
        of_one_peer: MAX_CONNECTIONS,
    };
    endpoint.accept(listener, limits, converse).await;
}

async fn answer(
    request: Request<Incoming>,
    daemon: mpsc::Sender<Scrape>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let plain = |status, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return Ok(plain(
            StatusCode::NOT_FOUND,
            "only /metrics is here\n".into(),
        ));
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
        let allow = header::HeaderValue::from_static("GET");
        response.headers_mut().insert(header::ALLOW, allow);
        return Ok(response);
    }
    let format = Format::wanted(request.headers().get_all(header::ACCEPT));
    let (sender, receiver) = oneshot::channel();
    let snapshot = match daemon.send(sender).await {
        Ok(()) => receiver.await.unwrap_or_else(|_| Err("stopping".into())),
        Err(_) => Err("stopping".into()),
    };
    let body = snapshot.and_then(|snapshot| render(snapshot, format).map_err(|e| e.to_string()));
    Ok(match body {
        Ok(body) => {
            let mut response = plain(StatusCode::OK, body);
            let kind = header::HeaderValue::from_static(format.content_type());
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    })
}

#[cfg(test)]
mod tests;

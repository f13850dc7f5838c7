//! OpenMetrics over HTTP: `GET /metrics`, nothing else, never an address as a label.

use std::{convert::Infallible, fmt, net::SocketAddr, sync::Arc, time::Duration};

use filter_common::{
    country::CountryCode,
    verdict::{Reason, Verdict},
};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use tracing::{debug, info, warn};

use crate::kernel::{Count, FlowCount, InterfaceCounters, Mode};

/// Connections at once; a scraper needs one.
const MAX_CONNECTIONS: usize = 16;
/// Request line and headers; hyper takes no less than 8 KiB.
const MAX_HEADER_BYTES: usize = 8 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole connection, so that a reader that reads nothing holds its slot only so long.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two attempts to listen.
const BIND_RETRY: Duration = Duration::from_secs(5);
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that a scrape shows, taken at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub interfaces: Vec<InterfaceCounters>,
    /// Whether the gate stands, for each interface where it should.
    pub attached: Vec<(String, bool)>,
    /// Packets passed, dropped and would-be dropped, summed over the interfaces.
    pub countries: Vec<(CountryCode, [u64; 3])>,
    /// Seconds since 1970.
    pub database_built: Option<u64>,
    pub networks_v4: u64,
    pub networks_v6: u64,
    pub mode: Mode,
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
}

/// The label of what happened to the packets of one counter.
const VERDICTS: [&str; 3] = ["pass", "drop", "would_drop"];

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let packets = Unit::Other("packets".to_owned());
        counters(
            &mut encoder,
            "cerco",
            "Frames by interface, verdict and reason",
            Some(&packets),
            self.by_reason(|count| count.packets),
        )?;
        counters(
            &mut encoder,
            "cerco",
            "Bytes of frames by interface, verdict and reason",
            Some(&Unit::Bytes),
            self.by_reason(|count| count.bytes),
        )?;
        gauges(
            &mut encoder,
            "cerco_interface_attached",
            "1 where the gate stands, 0 where it should and does not",
            None,
            self.attached.iter().map(|(interface, stands)| {
                ([("interface", interface.as_str())], u64::from(*stands))
            }),
        )?;
        let countries = self.countries.iter().flat_map(|(code, totals)| {
            VERDICTS.iter().zip(totals).map(move |(verdict, total)| {
                ([("country", code.as_str()), ("verdict", *verdict)], *total)
            })
        });
        counters(
            &mut encoder,
            "cerco_country",
            "Frames by country of the source and verdict, for countries seen so far",
            Some(&packets),
            countries,
        )?;
        if let Some(built) = self.database_built {
            let help = "When the database in force was built, seconds since 1970";
            let unit = Some(&Unit::Seconds);
            let name = "cerco_database_build_timestamp";
            gauge(&mut encoder, name, help, unit, built)?;
        }
        gauges(
            &mut encoder,
            "cerco_database_networks",
            "Networks in the database in force",
            None,
            [
                ([("family", "ipv4")], self.networks_v4),
                ([("family", "ipv6")], self.networks_v6),
            ],
        )?;
        let failures = self.database_failures.iter();
        counters(
            &mut encoder,
            "cerco_database_update_failures",
            "Databases that did not come into force or could not be kept, by reason",
            None,
            failures.map(|(reason, count)| ([("reason", *reason)], *count)),
        )?;
        gauge(
            &mut encoder,
            "cerco_database_refused",
            "1 while the last good database stands in for one that was refused",
            None,
            u64::from(self.database_refused),
        )?;
        gauge(
            &mut encoder,
            "cerco_database_held",
            "1 while a rollback holds the database, whatever the config names",
            None,
            u64::from(self.database_held),
        )?;
        gauges(
            &mut encoder,
            "cerco_mode",
            "1 for the mode in force, 0 for the other",
            None,
            [
                ([("mode", "observe")], u64::from(self.mode == Mode::Observe)),
                ([("mode", "enforce")], u64::from(self.mode == Mode::Enforce)),
            ],
        )?;
        gauge(&mut encoder, "cerco_bans", "Bans in force", None, self.bans)?;
        gauge(
            &mut encoder,
            "cerco_table",
            "Size of the address tables in force",
            Some(&Unit::Bytes),
            self.table_bytes,
        )?;
        gauge(
            &mut encoder,
            "cerco_replies_enabled",
            "1 when answers to connections of this host are let in",
            None,
            self.replies_enabled.into(),
        )?;
        gauges(
            &mut encoder,
            "cerco_flows",
            "Connections of this host that have not ended, counted once a minute",
            None,
            [
                ([("protocol", "tcp")], self.flows.tcp),
                ([("protocol", "udp")], self.flows.udp),
                ([("protocol", "icmp")], self.flows.echo),
            ],
        )?;
        gauge(
            &mut encoder,
            "cerco_tracker_faults",
            "Interfaces on which answers to connections of this host may be denied",
            None,
            self.tracker_faults,
        )?;
        let failures = ConstCounter::new(self.reload_failures);
        failures.encode(encoder.encode_descriptor(
            "cerco_reload_failures",
            "Reloads that were refused, the running policy staying in force",
            None,
            MetricType::Counter,
        )?)?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        encoder
            .encode_descriptor("cerco_build", "The running version", None, MetricType::Info)?
            .encode_info(&version)
    }
}

impl Snapshot {
    /// Every reason of every interface, also those at zero: a rate needs the zero before the first.
    fn by_reason(
        &self,
        of: impl Fn(&Count) -> u64 + Copy,
    ) -> impl Iterator<Item = ([(&str, &str); 3], u64)> {
        self.interfaces.iter().flat_map(move |counters| {
            Reason::ALL.iter().flat_map(move |reason| {
                let value = |counts: &[Count]| counts.get(*reason as usize).map_or(0, of);
                let (done, would) = match reason.verdict() {
                    Verdict::Pass => ("pass", None),
                    Verdict::Drop => ("drop", Some(value(&counters.would_drop))),
                };
                let labels = move |verdict| {
                    [
                        ("interface", counters.interface.as_str()),
                        ("verdict", verdict),
                        ("reason", reason.label()),
                    ]
                };
                let would = would.map(|value| (labels("would_drop"), value));
                [(labels(done), value(&counters.enforced))]
                    .into_iter()
                    .chain(would)
            })
        })
    }
}

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// One gauge without labels; an empty label set would be written as `{}`.
fn gauge(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    ConstGauge::new(value).encode(encoder)
}

/// The exposition of `snapshot`.
pub fn render(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut body = String::new();
    text::encode(&mut body, &registry)?;
    Ok(body)
}

/// A scrape on its way to the daemon's task.
pub type Scrape = oneshot::Sender<Result<Snapshot, String>>;

/// Serves until the daemon's task is gone.
async fn serve(listener: TcpListener, daemon: mpsc::Sender<Scrape>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("metrics: accept failed: {error}");
                tokio::time::sleep(HEADER_TIMEOUT).await;
                continue;
            }
        };
        let daemon = daemon.clone();
        tokio::spawn(async move {
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
            drop(slot);
        });
    }
}

/// Binds the listener, or says in `fault` why that cannot be done.
pub async fn try_bind(
    address: SocketAddr,
    fault: &watch::Sender<Option<String>>,
) -> Option<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => {
            fault.send_replace(None);
            info!("metrics at http://{address}/metrics");
            Some(listener)
        }
        Err(error) => {
            let text = format!(
                "no metrics: cannot listen at {address}: {error}; it is tried again every {} \
                 seconds, `[metrics] listen` in the config moves it",
                BIND_RETRY.as_secs()
            );
            // Once is enough for the log; `status` goes on showing it.
            if fault.send_replace(Some(text.clone())).is_none() {
                warn!("{text}");
            }
            None
        }
    }
}

/// Serves at `address` until the daemon's task is gone; without a `listener` it tries to get one.
///
/// The gate matters more than its metrics, so a port that is taken does not keep it from standing.
pub async fn serve_at(
    address: SocketAddr,
    mut listener: Option<TcpListener>,
    daemon: mpsc::Sender<Scrape>,
    fault: watch::Sender<Option<String>>,
) {
    loop {
        match listener {
            Some(listener) => return serve(listener, daemon).await,
            None => tokio::time::sleep(BIND_RETRY).await,
        }
        listener = try_bind(address, &fault).await;
    }
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
    let (sender, receiver) = oneshot::channel();
    let snapshot = match daemon.send(sender).await {
        Ok(()) => receiver.await.unwrap_or_else(|_| Err("stopping".into())),
        Err(_) => Err("stopping".into()),
    };
    let body = snapshot.and_then(|snapshot| render(snapshot).map_err(|e| e.to_string()));
    Ok(match body {
        Ok(body) => {
            let mut response = plain(StatusCode::OK, body);
            let kind = header::HeaderValue::from_static(CONTENT_TYPE);
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    })
}

#[cfg(test)]
mod tests;

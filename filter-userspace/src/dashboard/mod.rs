//! The dashboard: what the gate does, for browsers.
//!
//! It can ask and never change: [`Question`] is all that goes from here to the daemon's task. It lives on a
//! thread of its own, so that neither TLS nor a thousand lines of JSON keep the daemon from its work.

mod access;
mod api;
mod assets;
mod body;
mod connection;
mod events;
mod guard;
mod history;
mod session;
mod site;
mod state;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, thread};

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tracing::warn;

pub use self::{
    access::{Access, AccessError},
    state::State,
};
use self::{assets::Assets, site::Site};
use crate::{
    control::protocol::Refusal,
    events::{Event, Seen},
    history::{Query, reply::History},
    http::Endpoint,
};

/// A browser opens six connections at most; one viewer mostly needs two.
const MAX_CONNECTIONS: usize = 96;
const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 9843);

/// `[dashboard]` of the config.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DashboardConfig {
    pub enabled: bool,
    pub listen: SocketAddr,
    /// Further names by which a browser may call this host, in lower case.
    pub host_names: Vec<String>,
    pub tls: Option<TlsFiles>,
    pub token_file: Option<PathBuf>,
}

/// Two files in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// With the certificates between it and the root.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Default for DashboardConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: DEFAULT_LISTEN.into(),
            host_names: Vec::new(),
            tls: None,
            token_file: None,
        }
    }
}

/// Where an answer goes.
pub type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// All that the dashboard can ask of the daemon's task. None of it changes anything, and nothing else gets there
/// from a browser.
#[derive(Debug)]
pub enum Question {
    State(Answer<State>),
    /// The last events that are kept, the oldest first.
    RecentEvents(Answer<Vec<Event>>),
    History(Query, Answer<History>),
}

/// Serves `config` on a thread of its own until the process ends. `fault` says why it is not served.
pub fn start(
    config: DashboardConfig,
    daemon: mpsc::Sender<Question>,
    events: broadcast::Sender<Arc<Seen>>,
    fault: watch::Sender<Option<String>>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("dashboard".to_owned())
        .spawn(move || runtime.block_on(serve(config, daemon, events, fault)))?;
    Ok(())
}

async fn serve(
    config: DashboardConfig,
    daemon: mpsc::Sender<Question>,
    events: broadcast::Sender<Arc<Seen>>,
    fault: watch::Sender<Option<String>>,
) {
    let access = loop {
        match Access::load(&config) {
            Ok(access) => break access,
            Err(error) => {
                let text = format!("no dashboard: {error}");
                if fault.send_replace(Some(text.clone())).is_none() {
                    warn!("{text}");
                }
                tokio::time::sleep(access::RETRY).await;
            }
        }
    };
    let endpoint = Endpoint {
        what: "dashboard",
        address: config.listen,
        url: format!("{}://{}/", access.scheme(), config.listen),
        key: "[dashboard] listen",
    };
    let first = endpoint.try_bind(&fault).await;
    let listener = endpoint.bind(first, &fault).await;
    let assets = Assets::embedded();
    if assets.is_empty() {
        let text = assets::MISSING.to_owned();
        warn!("{text}");
        fault.send_replace(Some(text));
    }
    let site = Arc::new(Site::new(&config, access, assets, daemon, events));
    let converse = |stream, peer: SocketAddr| connection::converse(site.clone(), stream, peer);
    endpoint.accept(listener, MAX_CONNECTIONS, converse).await;
}

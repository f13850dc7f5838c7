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

use tokio::{
    net::TcpListener,
    sync::{broadcast, mpsc, oneshot, watch},
};
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
    http::{Endpoint, Limits},
};

/// A browser opens six connections at most; one viewer mostly needs two.
const LIMITS: Limits = Limits {
    connections: 96,
    of_one_peer: 24,
};
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
    serve_on(
        listener,
        endpoint,
        Site::new(&config, access, Assets::embedded(), daemon, events),
        fault,
    )
    .await;
}

async fn serve_on(
    listener: TcpListener,
    endpoint: Endpoint,
    site: Site,
    fault: watch::Sender<Option<String>>,
) {
    if site.has_no_page() {
        warn!("{}", assets::MISSING);
        fault.send_replace(Some(assets::MISSING.to_owned()));
    }
    let site = Arc::new(site);
    let converse = |stream, peer: SocketAddr| connection::converse(site.clone(), stream, peer);
    endpoint.accept(listener, LIMITS, converse).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn build_without_the_bundle_says_so_and_answers_programs() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let endpoint = Endpoint {
                what: "dashboard",
                address,
                url: String::new(),
                key: "",
            };
            let (daemon, _questions) = mpsc::channel(1);
            let (events, _) = broadcast::channel(1);
            let (fault, faults) = watch::channel(None);
            let access = Access {
                token: None,
                tls: None,
            };
            let config = DashboardConfig::default();
            let site = Site::new(&config, access, Assets::none(), daemon, events);
            tokio::spawn(serve_on(listener, endpoint, site, fault));
            let ask = async |path: &str| {
                let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                let request =
                    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                answer
            };
            let page = ask("/").await;
            assert!(page.starts_with("HTTP/1.1 501 Not Implemented"), "{page}");
            let words = "this build has no dashboard: it was built without Node.js; install Node.js 18 or newer \
                         and npm (Debian: `apt-get install nodejs npm`), then `cargo xtask dashboard` and build again";
            assert!(page.ends_with(&format!("{words}\n")), "{page}");
            assert_eq!(faults.borrow().as_deref(), Some(words));
            let about = ask("/api/v1/about").await;
            assert!(about.starts_with("HTTP/1.1 200 OK"), "{about}");
        });
    }
}

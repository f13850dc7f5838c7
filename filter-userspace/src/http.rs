//! What the servers over HTTP share: a place to listen at, which may be taken for a while, and a bounded
//! number of connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tracing::{info, warn};

/// Between two attempts to listen.
const BIND_RETRY: Duration = Duration::from_secs(5);
/// Until others have closed their descriptors, when there was none left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(5);
/// Request line and headers; hyper takes no less than 8 KiB.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;

/// Where something is served, and the words for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// `metrics`, as it stands in the log.
    pub what: &'static str,
    pub address: SocketAddr,
    /// Where a reader finds it.
    pub url: String,
    /// The key of the config that moves it.
    pub key: &'static str,
}

impl Endpoint {
    /// Binds the listener, or says in `fault` why that cannot be done.
    pub async fn try_bind(&self, fault: &watch::Sender<Option<String>>) -> Option<TcpListener> {
        let Self {
            what,
            address,
            url,
            key,
        } = self;
        match TcpListener::bind(address).await {
            Ok(listener) => {
                fault.send_replace(None);
                info!("{what} at {url}");
                Some(listener)
            }
            Err(error) => {
                let text = format!(
                    "no {what}: cannot listen at {address}: {error}; it is tried again every {} \
                     seconds, `{key}` in the config moves it",
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

    /// The `listener`, or the one that there is as soon as the address can be had.
    ///
    /// The gate matters more than what is told of it, so a port that is taken keeps nothing else waiting.
    pub async fn bind(
        &self,
        mut listener: Option<TcpListener>,
        fault: &watch::Sender<Option<String>>,
    ) -> TcpListener {
        loop {
            if let Some(listener) = listener {
                return listener;
            }
            tokio::time::sleep(BIND_RETRY).await;
            listener = self.try_bind(fault).await;
        }
    }

    /// Accepts, `connections` at a time; further ones wait in the kernel's backlog.
    pub async fn accept<F>(
        &self,
        listener: TcpListener,
        connections: usize,
        converse: impl Fn(TcpStream, SocketAddr) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(connections));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let conversation = converse(stream, peer);
                    tokio::spawn(async move {
                        conversation.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    warn!("{}: accept failed: {error}", self.what);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

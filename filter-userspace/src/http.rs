//! What the servers over HTTP share: a place to listen at, which may be taken for a while, and a bounded
//! number of connections.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tracing::{debug, info, warn};

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

    /// Accepts, as many at a time as `limits` says; further ones wait in the kernel's backlog.
    pub async fn accept<F>(
        &self,
        listener: TcpListener,
        limits: Limits,
        converse: impl Fn(TcpStream, SocketAddr) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(limits.connections));
        let peers = Peers::default();
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let Some(place) = peers.take(peer.ip(), limits.of_one_peer) else {
                        debug!("{}: {} has too many connections", self.what, peer.ip());
                        continue;
                    };
                    let conversation = converse(stream, peer);
                    tokio::spawn(async move {
                        conversation.await;
                        drop((slot, place));
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

/// Connections at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections: usize,
    /// Of them those of one address of another host, which could hold all of them otherwise.
    pub of_one_peer: usize,
}

/// How many connections each address of another host has.
#[derive(Clone, Default)]
struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// The place of one connection, until it ends.
struct Place {
    peers: Peers,
    peer: IpAddr,
}

impl Peers {
    /// `None`: `peer` has `most` already. This host itself is not counted: tunnels and proxies come from it.
    fn take(&self, peer: IpAddr, most: usize) -> Option<Place> {
        let peer = network(peer);
        if !peer.is_loopback() {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(peer).or_default();
            if *count >= most {
                return None;
            }
            *count += 1;
        }
        let peers = self.clone();
        Some(Place { peers, peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// A host of IPv6 has a whole /64 of addresses to come from.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(it) if !it.is_loopback() => IpAddr::V6((it.to_bits() >> 64 << 64).into()),
        canonical => canonical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_has_its_share_and_leaves_the_others_theirs() {
        let peers = Peers::default();
        let take = |peer: &str| peers.take(peer.parse().unwrap(), 2);
        for (first, second, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::2:3:4:5", "2001:db8:0:1::1"),
        ] {
            let (one, two) = (take(first), take(second));
            assert!(one.is_some() && two.is_some(), "{first}");
            assert!(take(first).is_none() && take(second).is_none(), "{first}");
            assert!(take(other).is_some());
            drop(one);
            assert!(take(second).is_some());
        }
        assert!(peers.0.lock().unwrap().is_empty());
        for own in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            let places: Vec<_> = (0..3).map(|_| take(own)).collect();
            assert!(places.iter().all(Option::is_some), "{own}");
        }
    }
}

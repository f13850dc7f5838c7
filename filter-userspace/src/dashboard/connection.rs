//! One connection of a browser, from its first byte to its last.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tracing::debug;

use super::site::Site;
use crate::http::MAX_HEADER_BYTES;

const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// A browser that asks each second keeps its connection; one that sleeps opens another.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// What a connection lives on after the last request of somebody who may ask, or the last piece that was taken.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection lives; who is let in, and reads what it asked for, lives on.
#[derive(Clone)]
pub struct Life(Arc<Mutex<Instant>>);

impl Life {
    fn begin() -> Self {
        Self(Arc::new(Mutex::new(Instant::now() + IDLE_TIMEOUT)))
    }

    pub fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + IDLE_TIMEOUT;
    }

    async fn end(&self) {
        loop {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// The two ends of a connection.
#[derive(Clone, Copy)]
pub struct Ends {
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

pub async fn converse(site: Arc<Site>, stream: TcpStream, peer: SocketAddr) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let ends = Ends { peer, local };
    match site.tls_acceptor() {
        None => serve(site, stream, ends).await,
        Some(acceptor) => match timeout(TLS_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => serve(site, stream, ends).await,
            Ok(Err(error)) => debug!("dashboard connection: {error}"),
            Err(_) => debug!("dashboard connection: no TLS in time"),
        },
    }
}

async fn serve(site: Arc<Site>, stream: impl AsyncRead + AsyncWrite + Unpin, ends: Ends) {
    let life = Life::begin();
    let answering = life.clone();
    let service = service_fn(move |request| {
        let (site, life) = (site.clone(), answering.clone());
        async move { Ok::<_, Infallible>(site.answer(request, ends, life).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES * 2)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            debug!("dashboard connection: {error}");
        },
        () = life.end() => debug!("dashboard connection: nothing comes any more"),
    }
}

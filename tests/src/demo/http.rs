//! One small HTTP/1.1 exchange, as the client and the bots do it.

use super::server::{BODY, PATH};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// The request, whole. The server closes the connection behind its answer.
pub fn request() -> String {
    format!("GET {PATH} HTTP/1.1\r\nHost: health.example\r\nConnection: close\r\n\r\n")
}

/// Whether `response` is the server's full answer, status 200.
pub fn is_served(response: &[u8]) -> bool {
    response.starts_with(b"HTTP/1.1 200 ") && response.ends_with(BODY.as_bytes())
}

/// Fetches the page over a new connection; how long that took, from the SYN to the last byte.
///
/// `limit` is for all of it. An answer that is not the page is an error, too.
pub fn fetch(server: SocketAddr, limit: Duration) -> io::Result<Duration> {
    let start = Instant::now();
    let left = || {
        limit
            .checked_sub(start.elapsed())
            .filter(|left| !left.is_zero())
            .ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut))
    };
    let mut stream = TcpStream::connect_timeout(&server, limit)?;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(request().as_bytes())?;
    let mut response = Vec::with_capacity(512);
    let mut chunk = [0; 512];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut chunk)? {
            0 => break,
            count => response.extend_from_slice(&chunk[..count]),
        }
    }
    if is_served(&response) {
        Ok(start.elapsed())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

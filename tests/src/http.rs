//! One question over HTTP, asked inside a namespace.

use crate::{
    error::{Error, Result},
    netns::NetNs,
};
use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Status line and headers, without the line end of the last one.
    pub head: String,
    pub body: String,
}

/// Asks `address` by `request`, as in `GET /metrics HTTP/1.1`, with `headers`, each with its line end.
///
/// The body is what comes until the server closes, and chunks are not put together: a server that would
/// send some has to be asked in HTTP/1.0.
pub fn ask(netns: &NetNs, address: &str, request: &str, headers: &str) -> Result<Answer> {
    let failed = |source| Error::os(format!("ask {address} for {request}"), source);
    let mut stream = netns.run(|| TcpStream::connect(address))?.map_err(failed)?;
    stream.set_read_timeout(Some(LIMIT)).map_err(failed)?;
    write!(stream, "{request}\r\nHost: {address}\r\n{headers}\r\n").map_err(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(failed)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
    Ok(Answer {
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

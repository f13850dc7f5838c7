//! What an answer carries: bytes that are there, or pieces as they come.

use std::{
    convert::Infallible,
    io::Write as _,
    pin::Pin,
    task::{Context, Poll},
};

use flate2::{Compression, write::GzEncoder};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::mpsc;

use super::connection::Life;
use crate::control::protocol::SCHEMA;

pub enum Content {
    Whole(Option<Bytes>),
    /// Until the sender is gone.
    Pieces(mpsc::Receiver<Bytes>, Life),
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Pieces(pieces, life) => {
                // Who takes the pieces is alive; one that does not is not asked for more.
                life.renew();
                pieces.poll_recv(context)
            }
        };
        piece.map(|it| it.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Pieces(..) => SizeHint::default(),
        }
    }
}

/// JSON, written once for all who ask for it.
#[derive(Clone)]
pub struct Document {
    pub plain: Bytes,
    /// The same, compressed: through a tunnel over a slow line a tenth is welcome.
    pub gzip: Bytes,
}

#[derive(Serialize)]
struct WithSchema<'a, T: Serialize> {
    schema: u32,
    #[serde(flatten)]
    body: &'a T,
}

impl Document {
    pub fn of(body: &impl Serialize) -> Result<Self, String> {
        let schema = SCHEMA;
        let plain =
            serde_json::to_vec(&WithSchema { schema, body }).map_err(|it| it.to_string())?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let gzip = encoder
            .write_all(&plain)
            .and_then(|()| encoder.finish())
            .map_err(|it| it.to_string())?;
        Ok(Self {
            plain: plain.into(),
            gzip: gzip.into(),
        })
    }
}

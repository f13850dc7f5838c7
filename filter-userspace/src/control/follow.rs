//! Events as they come, to everybody who follows them.

use std::{io, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::AsyncReadExt as _,
    net::UnixStream,
    sync::{
        Semaphore,
        broadcast::{self, error::RecvError, error::TryRecvError},
    },
};

use super::{
    protocol::Refusal,
    server::{answer, write_in_time, write_line},
};
use crate::events::{Event, Filter, Line, Seen};

/// Followers at a time.
pub const MAX_FOLLOWERS: usize = 16;

/// What can be followed, and by how many more.
pub struct Followed {
    pub events: broadcast::Sender<Arc<Seen>>,
    pub slots: Arc<Semaphore>,
}

impl Followed {
    /// Writes events to `stream` until its other end hangs up or the daemon stops.
    pub async fn stream_to(
        self,
        mut stream: UnixStream,
        filter: &Filter,
        heads: bool,
    ) -> io::Result<()> {
        let Ok(_slot) = self.slots.try_acquire() else {
            let message = format!("{MAX_FOLLOWERS} others follow the events already");
            return write_line(&mut stream, &answer(Err(Refusal::failed(message)))).await;
        };
        // First the place in the stream: what happens from the answer on is not missed.
        let mut events = self.events.subscribe();
        // The daemon's end of the stream shall close when the daemon stops.
        drop(self.events);
        write_line(&mut stream, &answer(Ok(serde_json::Value::Null))).await?;
        loop {
            let mut byte = [0];
            let first = tokio::select! {
                first = events.recv() => first,
                // Followers say nothing, so this is the end.
                _ = stream.read(&mut byte) => return Ok(()),
            };
            let mut batch = Vec::new();
            let mut next = match first {
                Ok(seen) => Ok(seen),
                Err(RecvError::Lagged(count)) => Err(TryRecvError::Lagged(count)),
                Err(RecvError::Closed) => return Ok(()),
            };
            loop {
                match next {
                    Ok(seen) if filter.wants(&seen.event) => push(&mut batch, &line(&seen, heads))?,
                    Ok(_) => {}
                    Err(TryRecvError::Lagged(count)) => push(&mut batch, &Line::Missed(count))?,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
                next = events.try_recv();
            }
            write_in_time(&mut stream, &batch).await?;
        }
    }
}

fn line(seen: &Seen, heads: bool) -> Line {
    Line::Event(Event {
        head: heads.then(|| STANDARD.encode(&seen.head)),
        ..seen.event.clone()
    })
}

fn push(batch: &mut Vec<u8>, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *batch, line)?;
    batch.push(b'\n');
    Ok(())
}

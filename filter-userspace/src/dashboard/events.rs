//! Events as they come, as server-sent events, to a bounded number of viewers.

use std::{sync::Arc, time::Duration};

use hyper::body::Bytes;
use serde::Serialize;
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        broadcast::{self, error::TryRecvError},
        mpsc,
    },
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Question, body::Content, connection::Life, state::ask};
use crate::events::{Event, Seen};

pub const MAX_FOLLOWERS: usize = 24;
/// Events go out together: nobody reads faster.
const PERIOD: Duration = Duration::from_millis(500);
/// The most in one batch; of more, the last ones are shown and the others counted.
const MAX_BATCH: usize = 50;
/// Something is sent at least this often, so that a line that is dead is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Then the viewer asks anew, and shows again that it may.
const MAX_STREAM: Duration = Duration::from_secs(60 * 60);
/// Batches that may wait for a viewer.
const AHEAD: usize = 2;

pub struct Followers {
    daemon: mpsc::Sender<Question>,
    events: broadcast::Sender<Arc<Seen>>,
    slots: Arc<Semaphore>,
}

#[derive(Serialize)]
struct Batch<'a> {
    events: &'a [Event],
    /// Events that came as well and are left out, since no eye follows so many.
    omitted: u64,
    /// Events that came while this viewer did not take what was there.
    missed: u64,
}

impl Followers {
    pub fn new(daemon: mpsc::Sender<Question>, events: broadcast::Sender<Arc<Seen>>) -> Self {
        Self {
            daemon,
            events,
            slots: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
        }
    }

    /// `None`: as many as may follow do already.
    pub fn follow(&self, life: Life) -> Option<Content> {
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        // First the place in the stream: what happens from now on is not missed.
        let events = self.events.subscribe();
        tokio::spawn(send(sender, events, self.daemon.clone(), slot));
        Some(Content::Pieces(receiver, life))
    }
}

/// Ends when the viewer is gone, or after an hour.
async fn send(
    viewer: mpsc::Sender<Bytes>,
    mut events: broadcast::Receiver<Arc<Seen>>,
    daemon: mpsc::Sender<Question>,
    _slot: OwnedSemaphorePermit,
) {
    let mut recent = ask(&daemon, Question::RecentEvents)
        .await
        .unwrap_or_default();
    // Those that came in between stand in both.
    while let Ok(seen) = events.try_recv() {
        if !recent.contains(&seen.event) {
            recent.push(seen.event.clone());
        }
    }
    let keep = recent.len().saturating_sub(MAX_BATCH);
    let first = batch(&recent.split_off(keep), 0, 0);
    if viewer.send(first).await.is_err() {
        return;
    }
    let end = Instant::now() + MAX_STREAM;
    let mut last = Instant::now();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        tokio::select! {
            _ = ticks.tick() => {}
            () = viewer.closed() => return,
        }
        let mut fresh: Vec<Event> = Vec::new();
        let (mut omitted, mut missed) = (0, 0);
        loop {
            match events.try_recv() {
                Ok(seen) => fresh.push(seen.event.clone()),
                Err(TryRecvError::Lagged(count)) => missed += count,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => return,
            }
        }
        let left_out = fresh.len().saturating_sub(MAX_BATCH);
        omitted += left_out as u64;
        let piece = match (
            fresh.is_empty() && missed == 0,
            last.elapsed() >= KEEP_ALIVE,
        ) {
            (true, false) => continue,
            (true, true) => Bytes::from_static(b": still here\n\n"),
            (false, _) => batch(&fresh.split_off(left_out), omitted, missed),
        };
        last = Instant::now();
        if viewer.send(piece).await.is_err() {
            return;
        }
    }
}

fn batch(events: &[Event], omitted: u64, missed: u64) -> Bytes {
    let batch = Batch {
        events,
        omitted,
        missed,
    };
    // Strings and numbers: there is nothing in it that could not be written.
    let json = serde_json::to_string(&batch).unwrap_or_default();
    format!("data: {json}\n\n").into()
}

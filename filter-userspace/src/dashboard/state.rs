//! What the gate is and has counted at one moment, and the one copy of it that all viewers share.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{Question, body::Document};
use crate::{
    control::{
        protocol::Refusal,
        reply::{CountryTotal, Status},
    },
    history::changes::Standing,
};

/// The daemon is asked no more often than this, however many look.
const FRESH: Duration = Duration::from_millis(950);

/// Everything that is counted is of one moment, so sums by reason and by country agree.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct State {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// Milliseconds since the host was started, which no setting of the clock changes: rates go by it.
    pub boot_ms: u64,
    /// Which gate's counters these are; another one counts from zero.
    pub gate: String,
    pub status: Status,
    /// Most drops first.
    pub countries: Vec<CountryTotal>,
    /// SHA-256 of policy and database, as in the history.
    pub standing: Standing,
}

pub struct States {
    daemon: mpsc::Sender<Question>,
    last: Mutex<Option<(Instant, Document)>>,
}

impl States {
    pub fn new(daemon: mpsc::Sender<Question>) -> Self {
        Self {
            daemon,
            last: Mutex::new(None),
        }
    }

    /// The state of now, or of less than a second ago. Who comes meanwhile waits for the same one.
    pub async fn get(&self) -> Result<Document, Refusal> {
        let mut last = self.last.lock().await;
        if let Some((taken, document)) = &*last
            && taken.elapsed() < FRESH
        {
            return Ok(document.clone());
        }
        let taken = Instant::now();
        let state = ask(&self.daemon, Question::State).await?;
        let document = Document::of(&state).map_err(Refusal::failed)?;
        *last = Some((taken, document.clone()));
        Ok(document)
    }
}

/// Asks the daemon's task.
pub async fn ask<T>(
    daemon: &mpsc::Sender<Question>,
    question: impl FnOnce(super::Answer<T>) -> Question,
) -> Result<T, Refusal> {
    let (sender, receiver) = oneshot::channel();
    let stopping = || Refusal::failed("the daemon is stopping, or too busy to answer");
    let sent = daemon.send(question(sender)).await;
    sent.map_err(|_| stopping())?;
    receiver.await.map_err(|_| stopping())?
}

//! What the gate is and has counted at one moment, and the one copy of it that all viewers share.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

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
    last: Arc<Mutex<Option<(Instant, Document)>>>,
}

impl States {
    pub fn new(daemon: mpsc::Sender<Question>) -> Self {
        Self {
            daemon,
            last: Arc::default(),
        }
    }

    /// The state of now, or of less than a second ago. Who comes meanwhile waits for the same one.
    pub async fn get(&self) -> Result<Document, Refusal> {
        let mut last = self.last.clone().lock_owned().await;
        if let Some((taken, document)) = &*last
            && taken.elapsed() < FRESH
        {
            return Ok(document.clone());
        }
        let daemon = self.daemon.clone();
        // A task of its own, since who asked may go away, and the daemon answers all the same.
        let asking = tokio::spawn(async move {
            let taken = Instant::now();
            let state = ask(&daemon, Question::State).await?;
            let document = Document::of(&state).map_err(Refusal::failed)?;
            *last = Some((taken, document.clone()));
            Ok(document)
        });
        asking.await.unwrap_or_else(|_| Err(unanswered()))
    }
}

pub fn unanswered() -> Refusal {
    Refusal::failed("the daemon is stopping, or too busy to answer")
}

/// Asks the daemon's task.
pub async fn ask<T>(
    daemon: &mpsc::Sender<Question>,
    question: impl FnOnce(super::Answer<T>) -> Question,
) -> Result<T, Refusal> {
    let (sender, receiver) = oneshot::channel();
    let sent = daemon.send(question(sender)).await;
    sent.map_err(|_| unanswered())?;
    receiver.await.map_err(|_| unanswered())?
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn daemon_is_asked_once_by_those_who_do_not_wait() {
        let (daemon, mut questions) = mpsc::channel(8);
        let states = States::new(daemon);
        for _ in 0..5 {
            let left = timeout(Duration::from_millis(20), states.get()).await;
            assert!(left.is_err());
        }
        let Some(Question::State(answer)) = questions.recv().await else {
            panic!("nothing was asked");
        };
        assert!(questions.try_recv().is_err(), "asked again");
        // Once that is answered the next one may ask.
        answer.send(Err(Refusal::failed("no"))).unwrap();
        let next = timeout(Duration::from_millis(20), states.get()).await;
        assert!(next.is_err());
        let asked = timeout(Duration::from_secs(10), questions.recv()).await;
        assert!(asked.is_ok_and(|it| it.is_some()));
    }
}

//! The thread that owns the file. The daemon's task hands it what there is to write and never waits for it.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::warn;

use self::writer::Writer;
use super::{
    HistoryConfig, Query,
    changes::{Actor, Kind, Standing},
    query::QueryError,
    reply::{History, HistoryStatus},
    sketch::Sighting,
    tally::Sample,
    who,
};

mod said;
mod writer;

/// Jobs that wait; events come ten times a second at most, looks once a minute.
const QUEUE: usize = 64;
/// Events that wait, in one job.
const MAX_SIGHTINGS: usize = 20_000;
/// Changes that wait for room in the queue.
const MAX_CHANGES: usize = 1_000;
/// How long the end of the daemon waits for the last write.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// The first word of the change that tells of a start.
pub const STARTED: &str = "started";

/// Where an answer goes.
pub type Answer = Box<dyn FnOnce(Result<History, QueryError>) + Send>;

/// A look at the counters.
#[derive(Debug)]
pub struct Look {
    pub sample: Sample,
    pub at: Instant,
    /// The gate came up within this run, so its counters began at nothing.
    pub gate_is_new: bool,
}

/// A change, before its actor has a name.
#[derive(Clone, Debug)]
pub struct Noted {
    pub unix: u64,
    pub kind: Kind,
    pub actor: Actor,
    pub login: Option<u32>,
    pub what: String,
    pub after: Standing,
}

enum Job {
    Look(Look),
    Sightings(Vec<Sighting>),
    Change(Box<Noted>),
    Ask(Box<(Query, Answer)>),
    Stop(SyncSender<()>),
}

/// The daemon's end.
pub struct Worker {
    jobs: SyncSender<Job>,
    status: Arc<Mutex<HistoryStatus>>,
    seen: Vec<Sighting>,
    missed: u64,
    /// Changes for which there was no room yet.
    noted: VecDeque<Noted>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread; the file is opened there.
    pub fn start(path: PathBuf, config: HistoryConfig) -> std::io::Result<Self> {
        let status = Arc::new(Mutex::new(HistoryStatus {
            file: path.display().to_string(),
            max_bytes: config.max_bytes,
            ..HistoryStatus::default()
        }));
        let (jobs, queue) = sync_channel(QUEUE);
        let mut writer = Writer::new(path, config, status.clone());
        let thread = thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || writer.serve(&queue))?;
        Ok(Self {
            jobs,
            status,
            seen: Vec::new(),
            missed: 0,
            noted: VecDeque::new(),
            thread,
        })
    }

    /// False: there is no room for it, and the next look will tell as much.
    pub fn look(&self, look: Look) -> bool {
        self.jobs.try_send(Job::Look(look)).is_ok()
    }

    pub fn see(&mut self, sighting: Sighting) {
        match self.seen.len() < MAX_SIGHTINGS {
            true => self.seen.push(sighting),
            false => self.missed += 1,
        }
    }

    /// Hands over what was seen.
    pub fn hand_over(&mut self) {
        self.hand_over_changes();
        if self.seen.is_empty() {
            return;
        }
        let seen = std::mem::take(&mut self.seen);
        if let Err(TrySendError::Full(Job::Sightings(seen))) =
            self.jobs.try_send(Job::Sightings(seen))
        {
            // The disk is slow: they go with the next ones.
            self.seen = seen;
        }
    }

    fn hand_over_changes(&mut self) {
        while let Some(noted) = self.noted.pop_front() {
            if let Err(TrySendError::Full(Job::Change(noted))) =
                self.jobs.try_send(Job::Change(Box::new(noted)))
            {
                self.noted.push_front(*noted);
                return;
            }
        }
    }

    pub fn note(&mut self, noted: Noted) {
        if self.noted.len() == MAX_CHANGES {
            warn!("the history has no room for a change");
            return;
        }
        self.noted.push_back(noted);
        self.hand_over_changes();
    }

    /// False: it is busy, and `answer` will not be called.
    pub fn ask(&self, query: Query, answer: Answer) -> bool {
        self.jobs
            .try_send(Job::Ask(Box::new((query, answer))))
            .is_ok()
    }

    pub fn status(&self) -> HistoryStatus {
        let mut status = locked(&self.status).clone();
        status.missed_events = self.missed;
        // A panic of it was logged, and takes nothing else along.
        if self.thread.is_finished() {
            let words = "its thread has ended; a restart of the daemon begins another";
            status.fault = Some(words.to_owned());
        }
        status
    }

    /// Waits for the last write, but not for ever.
    pub fn stop(mut self) {
        self.hand_over();
        let (done, wait) = sync_channel(1);
        if self.jobs.try_send(Job::Stop(done)).is_err() || wait.recv_timeout(STOP_LIMIT).is_err() {
            warn!("the history's last minute may not be written; the next start counts it");
        }
    }
}

fn locked(status: &Mutex<HistoryStatus>) -> std::sync::MutexGuard<'_, HistoryStatus> {
    // A panic of the other side leaves nothing half-done here.
    status
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Who logged in at the other end, asked while that process is still there.
pub fn login_of(actor: Actor) -> Option<u32> {
    who::login_of(actor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_that_has_ended_is_a_fault() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.db");
        let worker = Worker::start(path, HistoryConfig::default()).unwrap();
        let (done, wait) = sync_channel(1);
        assert!(worker.jobs.try_send(Job::Stop(done)).is_ok());
        wait.recv_timeout(Duration::from_secs(10)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !worker.thread.is_finished() {
            assert!(Instant::now() < deadline, "it goes on");
            thread::yield_now();
        }
        let fault = worker.status().fault.unwrap();
        assert!(fault.starts_with("its thread has ended"), "{fault}");
    }
}

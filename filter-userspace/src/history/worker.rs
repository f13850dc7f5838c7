//! The thread that owns the file. The daemon's task hands it what there is to write and never waits for it.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tracing::{info, warn};

use super::{
    HOUR, HistoryConfig, MINUTE, Query, Store, StoreError,
    changes::{Actor, Change, Kind, Standing},
    query::QueryError,
    reply::{History, HistoryStatus},
    sketch::{Salt, Sighting, Sketch},
    store::Batch,
    tally::{Counts, Fate, Kind as RowKind, Row, Sample, Since, booking, differences},
    who,
};
use crate::{cause, kernel::Count};

/// Jobs that wait; events come ten times a second at most, looks once a minute.
const QUEUE: usize = 64;
/// Events that wait, in one job.
const MAX_SIGHTINGS: usize = 20_000;
/// Changes that wait for room in the queue.
const MAX_CHANGES: usize = 1_000;
/// After a failure it is tried again so often, and with each new minute.
const RETRY: Duration = Duration::from_secs(10);
/// Rows that wait while nothing can be written. Above it minutes of one hour become one.
const MAX_WAITING: usize = 50_000;
/// Hours that are forgotten after one write, so that questions need not wait long.
const FORGET_STEPS: usize = 50;
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
        thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || writer.serve(&queue))?;
        Ok(Self {
            jobs,
            status,
            seen: Vec::new(),
            missed: 0,
            noted: VecDeque::new(),
        })
    }

    /// Returns the look when there is no room for it: the next one will tell as much.
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

/// What the file is ready for.
struct Open {
    store: Store,
    run: u64,
    salt: Salt,
}

struct Writer {
    path: PathBuf,
    config: HistoryConfig,
    status: Arc<Mutex<HistoryStatus>>,
    open: Option<Open>,
    /// The counters up to which everything is booked, and when they were read in this run.
    before: Option<(Sample, Option<Instant>)>,
    batch: Batch,
    sketch: Option<Sketch>,
    /// The hour before, until it is written.
    ended: Vec<Sketch>,
    /// Until the file is open there is no salt, so they wait.
    early: Vec<Sighting>,
    forgotten_at: u64,
    /// There is something to write.
    is_dirty: bool,
}

impl Writer {
    fn new(path: PathBuf, config: HistoryConfig, status: Arc<Mutex<HistoryStatus>>) -> Self {
        Self {
            path,
            config,
            status,
            open: None,
            before: None,
            batch: Batch::default(),
            sketch: None,
            ended: Vec::new(),
            early: Vec::new(),
            forgotten_at: 0,
            is_dirty: false,
        }
    }

    fn serve(&mut self, jobs: &Receiver<Job>) {
        self.open_or_say(unix_now());
        loop {
            match jobs.recv_timeout(RETRY) {
                Ok(Job::Look(look)) => {
                    let unix = look.sample.unix;
                    self.book(look);
                    self.flush(unix);
                }
                Ok(Job::Sightings(seen)) => self.see(seen, unix_now()),
                Ok(Job::Change(noted)) => {
                    self.batch.changes.push(named(*noted));
                    self.is_dirty = true;
                    self.flush(unix_now());
                }
                Ok(Job::Ask(asked)) => {
                    let (query, answer) = *asked;
                    answer(self.answer(&query, unix_now()));
                }
                Ok(Job::Stop(done)) => {
                    self.flush(unix_now());
                    self.open = None;
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {
                    if locked(&self.status).fault.is_some() {
                        self.flush(unix_now());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn answer(&mut self, query: &Query, now: u64) -> Result<History, QueryError> {
        self.flush(now);
        let status = locked(&self.status).clone();
        match &self.open {
            Some(open) => open.store.query(query, now, status),
            // Why it is not open is in `status`; reading may work where writing does not.
            None => Store::open_to_read(&self.path)?.query(query, now, status),
        }
    }

    /// Books what was counted since the look before.
    fn book(
        &mut self,
        Look {
            sample,
            at,
            gate_is_new,
        }: Look,
    ) {
        // Without the earlier counters nobody knows what is new; they lie in the file.
        if self.open.is_none() && self.before.is_none() {
            self.open_or_say(sample.unix);
            if self.open.is_none() {
                return;
            }
        }
        let same_gate = self
            .before
            .as_ref()
            .filter(|(it, _)| it.gate == sample.gate);
        let booked = match same_gate {
            Some((before, seen_at)) => {
                let elapsed = seen_at.map(|then| at.saturating_duration_since(then).as_secs());
                let since = match seen_at {
                    Some(_) => Since::SameRun,
                    None => Since::EarlierRun,
                };
                let counted = differences(&before.interfaces, &sample.interfaces, since);
                Some((booking(before.unix, sample.unix, elapsed), counted))
            }
            None if gate_is_new => {
                let counted = differences(&[], &sample.interfaces, Since::GateUp);
                Some((booking(sample.unix, sample.unix, None), counted))
            }
            // A gate of which nobody knows since when it counts.
            None => None,
        };
        if let Some((booking, counted)) = booked {
            if let Some(seconds) = booking
                .clock_set
                .filter(|seconds| seconds.unsigned_abs() >= MINUTE)
            {
                self.batch.changes.push(clock_change(sample.unix, seconds));
            }
            if let Some(since) = booking.since.filter(|_| !counted.is_empty()) {
                self.batch.spans.push((booking.minute, since));
            }
            for (interface, counts) in counted {
                self.batch.add(booking.minute, interface, counts);
            }
        }
        self.batch.last_seen = Some(sample.clone());
        self.is_dirty = true;
        self.before = Some((sample, Some(at)));
        if self.batch.len() > MAX_WAITING {
            self.batch.thin_out();
        }
        self.end_hour(self.before.as_ref().map_or(0, |(sample, _)| sample.unix));
    }

    fn see(&mut self, seen: Vec<Sighting>, now: u64) {
        let Some(open) = &self.open else {
            if self.early.len() + seen.len() <= MAX_SIGHTINGS {
                self.early.extend(seen);
            }
            return;
        };
        let salt = open.salt;
        self.end_hour(now);
        let sketch = self
            .sketch
            .get_or_insert_with(|| Sketch::new(now - now % HOUR));
        let minute = now - now % MINUTE;
        self.is_dirty = true;
        for sighting in &seen {
            sketch.see(sighting, &salt);
            let Some(packet) = sighting.packet else {
                continue;
            };
            let row = Row {
                kind: RowKind::Protocol,
                name: packet.protocol.to_string(),
                fate: match sighting.would_drop {
                    true => Fate::WouldDrop,
                    false => Fate::Drop,
                },
            };
            let count = Count {
                packets: sighting.stands_for,
                bytes: 0,
            };
            let counts = Counts::from([(row, count)]);
            self.batch.add(minute, sighting.interface.clone(), counts);
        }
    }

    /// Puts the sketch aside when its hour is over.
    fn end_hour(&mut self, now: u64) {
        let hour = now - now % HOUR;
        if let Some(sketch) = self.sketch.take_if(|sketch| sketch.hour != hour) {
            self.ended.push(sketch);
            // Hours that could not be written go, the oldest first.
            if self.ended.len() > 24 {
                self.ended.remove(0);
            }
        }
    }

    /// Writes all that waits. What cannot be written goes on waiting.
    fn flush(&mut self, now: u64) {
        if self.open.is_none() {
            self.open_or_say(now);
        }
        let Some(open) = &mut self.open else {
            return;
        };
        if !self.is_dirty {
            return;
        }
        let sketches: Vec<&Sketch> = self.ended.iter().chain(&self.sketch).collect();
        let mut written = open.store.write(&self.batch, open.run, &sketches);
        for _ in 0..FORGET_STEPS {
            let Err(error) = &written else {
                break;
            };
            match open.store.make_room(error, now, &self.config) {
                Ok(true) => written = open.store.write(&self.batch, open.run, &sketches),
                Ok(false) => break,
                Err(error) => {
                    written = Err(error);
                    break;
                }
            }
        }
        if let Err(error) = written {
            self.failed(&error);
            return;
        }
        self.batch = Batch::default();
        self.ended.clear();
        self.is_dirty = false;
        if let Err(error) = self.tidy(now) {
            self.failed(&error);
            return;
        }
        let mut status = locked(&self.status);
        if status.fault.take().is_some() {
            info!("the history is written again");
        }
    }

    /// Forgets what is too old, and notes how large the file is.
    fn tidy(&mut self, now: u64) -> Result<(), StoreError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        // Not after each question: once a minute is enough.
        if now.abs_diff(self.forgotten_at) >= MINUTE {
            for _ in 0..FORGET_STEPS {
                if !open.store.forget(now, &self.config)? {
                    break;
                }
            }
            self.forgotten_at = now;
        }
        let bytes = open.store.bytes()?;
        let (minutes_since, hours_since) = open.store.oldest()?;
        let mut status = locked(&self.status);
        status.bytes = bytes;
        status.minutes_since = minutes_since;
        status.hours_since = hours_since;
        Ok(())
    }

    fn open_or_say(&mut self, now: u64) {
        if let Err(error) = self.try_open(now) {
            self.failed(&error);
        }
    }

    fn try_open(&mut self, now: u64) -> Result<(), StoreError> {
        let store = match Store::open(&self.path, self.config.max_bytes) {
            Err(error) if error.is_broken() => {
                move_aside(&self.path, &error)?;
                Store::open(&self.path, self.config.max_bytes)?
            }
            opened => opened?,
        };
        let (run, salt) = (store.begin_run()?, store.salt()?);
        if self.before.is_none() {
            let before = store.last_seen()?;
            let last_words = store.last_words()?;
            if let (Some(before), Some(words)) = (&before, last_words)
                && words.starts_with(STARTED)
            {
                self.batch.changes.push(killed_change(now, before.unix));
                self.is_dirty = true;
            }
            self.before = before.map(|sample| (sample, None));
        }
        self.open = Some(Open { store, run, salt });
        let early = std::mem::take(&mut self.early);
        if !early.is_empty() {
            self.see(early, now);
        }
        Ok(())
    }

    fn failed(&mut self, error: &StoreError) {
        // The next attempt moves it aside, or makes a new one.
        if error.is_broken() || !self.path.exists() {
            self.open = None;
        }
        let words = cause::chain(error);
        let mut status = locked(&self.status);
        if status.fault.as_ref() != Some(&words) {
            warn!("the history is not written: {words}");
        }
        status.fault = Some(words);
    }
}

impl Batch {
    /// Makes the minutes of each hour one, its last: after hours without a disk, sums matter more.
    fn thin_out(&mut self) {
        let mut ends: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (minute, _) in self.minutes.keys() {
            let (first, last) = ends.entry(minute / HOUR).or_insert((*minute, *minute));
            *first = (*first).min(*minute);
            *last = (*last).max(*minute);
        }
        for ((minute, interface), counts) in std::mem::take(&mut self.minutes) {
            let last = ends.get(&(minute / HOUR)).map_or(minute, |(_, last)| *last);
            self.add(last, interface, counts);
        }
        for (first, last) in ends.into_values().filter(|(first, last)| first < last) {
            self.spans
                .retain(|(minute, _)| !(first..last).contains(minute));
            self.spans.push((last, first));
        }
    }
}

fn named(noted: Noted) -> Change {
    Change {
        unix: noted.unix,
        kind: noted.kind,
        who: who::words(noted.actor, noted.login),
        what: noted.what,
        after: noted.after,
    }
}

fn clock_change(unix: u64, seconds: i64) -> Change {
    let direction = match seconds > 0 {
        true => "forward",
        false => "back",
    };
    let by = humantime::format_duration(Duration::from_secs(seconds.unsigned_abs()));
    Change {
        unix,
        kind: Kind::History,
        who: "the daemon".to_owned(),
        what: format!("the clock of this host was set {direction} by {by}"),
        after: Standing::default(),
    }
}

fn killed_change(now: u64, last_look: u64) -> Change {
    let last_look = UNIX_EPOCH + Duration::from_secs(last_look);
    Change {
        unix: now,
        kind: Kind::History,
        who: "the daemon".to_owned(),
        what: format!(
            "the daemon before this one ended without a word after {}",
            humantime::format_rfc3339_seconds(last_look)
        ),
        after: Standing::default(),
    }
}

fn move_aside(path: &Path, error: &StoreError) -> Result<(), StoreError> {
    let aside = path.with_extension("db.broken");
    warn!(
        "{error}: the history begins anew, the earlier one was moved to {}",
        aside.display()
    );
    std::fs::rename(path, &aside).map_err(|source| StoreError::Io {
        attempt: "move aside",
        path: path.to_owned(),
        source,
    })
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Who logged in at the other end, asked while that process is still there.
pub fn login_of(actor: Actor) -> Option<u32> {
    who::login_of(actor)
}

#[cfg(test)]
mod tests;

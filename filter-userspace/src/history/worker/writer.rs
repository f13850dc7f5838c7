//! What the thread does: books, writes, forgets and answers.

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{
    super::{
        HOUR, HistoryConfig, MINUTE, Query, Store, StoreError,
        query::QueryError,
        reply::{History, HistoryStatus},
        sketch::{Salt, Sighting, Sketch},
        store::Batch,
        tally::{Counts, Fate, Kind as RowKind, Row, Sample, Since, booking, differences},
        unix_now,
        unseen::Unseen,
    },
    Job, Look, MAX_SIGHTINGS, STARTED, locked,
    said::{another_gate_change, clock_change, killed_change, moved_change, named},
};
use crate::{cause, kernel::Count};

/// After a failure it is tried again so often, and with each new minute.
const RETRY: Duration = Duration::from_secs(10);
/// Rows that wait while nothing can be written. Above it minutes of one hour become one.
const MAX_WAITING: usize = 50_000;
/// Hours that are forgotten after one write, so that questions need not wait long.
const FORGET_STEPS: usize = 50;
/// 2025-01-01: a host whose clock says less has not been told the time yet.
const CLOCK_IS_SET: u64 = 1_735_689_600;

/// What the file is ready for.
struct Open {
    store: Store,
    /// Of the sketches that begin now.
    run: u64,
    salt: Salt,
}

pub(super) struct Writer {
    path: PathBuf,
    config: HistoryConfig,
    status: Arc<Mutex<HistoryStatus>>,
    open: Option<Open>,
    /// The counters up to which everything is booked, and when they were read in this run.
    before: Option<(Sample, Option<Instant>)>,
    batch: Batch,
    sketch: Option<Sketch>,
    /// The newest hour of this run that has a sketch.
    sketched: Option<u64>,
    unseen: Unseen,
    /// Earlier hours, until they are written.
    ended: Vec<Sketch>,
    /// Until the file is open there is no salt, and until the clock is set no hour, so they wait.
    early: Vec<Sighting>,
    forgotten_at: u64,
    /// There is something to write.
    is_dirty: bool,
}

impl Writer {
    pub fn new(path: PathBuf, config: HistoryConfig, status: Arc<Mutex<HistoryStatus>>) -> Self {
        Self {
            path,
            config,
            status,
            open: None,
            before: None,
            batch: Batch::default(),
            sketch: None,
            sketched: None,
            unseen: Unseen::default(),
            ended: Vec::new(),
            early: Vec::new(),
            forgotten_at: 0,
            is_dirty: false,
        }
    }

    pub fn serve(&mut self, jobs: &Receiver<Job>) {
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
        let Some(open) = &self.open else {
            // Why it is not open is in `status`; reading may work where writing does not.
            return Store::open_to_read(&self.path)?.query(query, now, status);
        };
        let answer = open.store.query(query, now, status);
        if let Err(QueryError::Store(error)) = &answer {
            self.failed(error, now);
        }
        answer
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
        // The first look after the clock is set tells as much, of a time that is known.
        if sample.unix < CLOCK_IS_SET {
            return;
        }
        // Without the earlier counters nobody knows what is new; they lie in the file.
        if self.open.is_none() && self.before.is_none() {
            self.open_or_say(sample.unix);
            if self.open.is_none() {
                return;
            }
        }
        if let Some((before, _)) = &self.before
            && before.gate != sample.gate
        {
            let change = another_gate_change(sample.unix, before.unix);
            self.batch.changes.push(change);
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
        if self.open.is_none() || now < CLOCK_IS_SET {
            if self.early.len() + seen.len() <= MAX_SIGHTINGS {
                self.early.extend(seen);
            }
            return;
        }
        self.end_hour(now);
        let Some(open) = &mut self.open else {
            return;
        };
        let seen = [std::mem::take(&mut self.early), seen].concat();
        if seen.is_empty() {
            return;
        }
        let hour = now - now % HOUR;
        let sketch = self.sketch.get_or_insert_with(|| {
            // The clock went back: what is written of the hour stays, beside what comes now.
            if self.sketched.is_some_and(|newest| hour <= newest) {
                open.run += 1;
            }
            self.sketched = Some(hour);
            Sketch::new(hour, open.run)
        });
        let salt = open.salt;
        let minute = now - now % MINUTE;
        self.is_dirty = true;
        let batch = &mut self.batch;
        self.unseen.share(&seen, |sighting, seen, frames| {
            sketch.see(sighting, seen, frames, &salt);
            let Some(packet) = sighting.packet else {
                return;
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
                packets: frames,
                bytes: 0,
            };
            let counts = Counts::from([(row, count)]);
            batch.add(minute, sighting.interface.clone(), counts);
        });
    }

    /// Puts the sketch aside when its hour is over, or to come again.
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
        if now < CLOCK_IS_SET {
            self.say("the clock of this host is not set yet".to_owned());
            return;
        }
        if self.open.is_none() {
            self.open_or_say(now);
        }
        let Some(open) = &mut self.open else {
            return;
        };
        if !self.is_dirty {
            return;
        }
        for change in &mut self.batch.changes {
            if change.unix < CLOCK_IS_SET {
                change.unix = now;
                change.what += "; before the clock of this host was set";
            }
        }
        let sketches: Vec<&Sketch> = self.ended.iter().chain(&self.sketch).collect();
        let mut written = open.store.write(&self.batch, &sketches);
        for _ in 0..FORGET_STEPS {
            let Err(error) = &written else {
                break;
            };
            match open.store.make_room(error, now, &self.config) {
                Ok(true) => written = open.store.write(&self.batch, &sketches),
                Ok(false) => break,
                Err(error) => {
                    written = Err(error);
                    break;
                }
            }
        }
        if let Err(error) = written {
            self.failed(&error, now);
            return;
        }
        self.batch = Batch::default();
        self.ended.clear();
        self.is_dirty = false;
        if let Err(error) = self.tidy(now) {
            self.failed(&error, now);
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
        let mut opened = self.try_open(now);
        if let Err(error) = &opened
            && error.is_broken()
        {
            opened = self
                .move_aside(error, now)
                .and_then(|()| self.try_open(now));
        }
        if let Err(error) = opened {
            self.failed(&error, now);
        }
    }

    fn try_open(&mut self, now: u64) -> Result<(), StoreError> {
        let store = Store::open(&self.path, self.config.max_bytes)?;
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
        self.see(Vec::new(), now);
        Ok(())
    }

    fn failed(&mut self, error: &StoreError, now: u64) {
        if error.is_broken() {
            // Most of a file may be whole, and it would open again.
            if let Err(error) = self.move_aside(error, now) {
                warn!("{}", cause::chain(&error));
            }
        } else if matches!(self.path.try_exists(), Ok(false)) {
            // The next attempt makes a new one.
            self.open = None;
        }
        self.say(cause::chain(error));
    }

    /// Notes why nothing is written.
    fn say(&self, words: String) {
        let mut status = locked(&self.status);
        if status.fault.as_ref() != Some(&words) {
            warn!("the history is not written: {words}");
        }
        status.fault = Some(words);
    }

    /// Makes room for a new file, which shall know up to which counters everything is booked.
    fn move_aside(&mut self, error: &StoreError, now: u64) -> Result<(), StoreError> {
        self.open = None;
        let broken = self.path.with_extension("db.broken");
        let io = |source| StoreError::Io {
            attempt: "move aside",
            path: self.path.clone(),
            source,
        };
        fs::rename(&self.path, &broken).map_err(io)?;
        // A half-done transaction of the one file must not be undone in the other.
        let moved = fs::rename(
            self.path.with_extension("db-journal"),
            self.path.with_extension("db.broken-journal"),
        );
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        warn!(
            "{error}: the history begins anew, the earlier one was moved to {}",
            broken.display()
        );
        self.batch.changes.push(moved_change(now, &broken));
        if self.batch.last_seen.is_none() {
            self.batch.last_seen = self.before.as_ref().map(|(sample, _)| sample.clone());
        }
        self.is_dirty = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;

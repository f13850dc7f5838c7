//! Where the numbers come from: the daemon, or without one the pins.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant, UNIX_EPOCH},
};

use super::{
    super::{Failure, read_pins},
    model::{MINUTE, Sample},
};
use crate::{
    config::Paths,
    control::{
        client::{self, ClientError, Follower},
        protocol::Request,
        reply::{Countries, Events, Status, TrialStatus},
    },
    countries,
    daemon::{
        rates::Totals,
        view::{attached, class_totals, reason_totals},
    },
    events::{Event, Filter, Line},
    kernel::{KernelError, Pinned},
};
use filter_common::country::CountryCode;

/// As many as the daemon keeps; with fewer it has forgotten none.
const KEPT_BY_DAEMON: usize = 1_000;
/// Between two tries to follow the events.
const RETRY: Duration = Duration::from_secs(1);
/// Messages that wait. When as many do, the daemon is told no more, and tells how many events were missed.
const QUEUE: usize = 4_096;
/// The longest wait for an event, after which it is seen whether somebody listens still.
const LISTEN: Duration = Duration::from_secs(1);

pub enum Message {
    Sample(Box<Sample>),
    /// Why there is none, and when one was asked for: microseconds since 1970.
    Failed(u64, Box<Failure>),
    /// Those of the last minute that the daemon has kept, and whether these are all.
    Began(Vec<Event>, bool),
    Event(Box<Event>),
    Missed(u64),
    NotFollowing(String),
}

/// Between the threads that ask and the one that shows.
pub fn channel() -> (SyncSender<Message>, Receiver<Message>) {
    sync_channel(QUEUE)
}

/// The counters now. Fails when neither a daemon nor the pins tell.
pub fn sample(paths: &Paths) -> Result<Sample, Failure> {
    match of_daemon(paths) {
        Err(ClientError::NoDaemon { .. } | ClientError::Gone { .. } | ClientError::Io { .. }) => {
            of_pins(paths)
        }
        asked => Ok(asked?),
    }
}

fn of_daemon(paths: &Paths) -> Result<Sample, ClientError> {
    let parse = |source| ClientError::Parse { source };
    let (at, unix_us) = (Instant::now(), now_us());
    let countries = client::ask(&paths.socket, Request::Countries, None)?;
    let status = client::ask(&paths.socket, Request::Status, None)?;
    let countries: Countries = serde_json::from_value(countries).map_err(parse)?;
    let status: Status = serde_json::from_value(status).map_err(parse)?;
    Ok(Sample {
        at,
        unix_us,
        daemon: true,
        mode: status.mode,
        trial: status.trial,
        interfaces: status.interfaces,
        totals: status.totals,
        countries: countries.countries,
        warnings: status.warnings,
    })
}

fn of_pins(paths: &Paths) -> Result<Sample, Failure> {
    read_pins(paths, "no daemon answers", read)
}

fn read(pinned: &Pinned) -> Result<Sample, KernelError> {
    let (at, unix_us) = (Instant::now(), now_us());
    let counters = pinned.counters()?;
    let names = pinned.class_names();
    let mut countries: Vec<_> =
        class_totals(&counters, |class| names[usize::from(class.0)].clone())
            .into_iter()
            .map(|(_, line)| line)
            .collect();
    for line in &mut countries {
        let code = CountryCode::parse(&line.class);
        line.name = code.and_then(countries::name).map(str::to_owned);
    }
    Ok(Sample {
        at,
        unix_us,
        daemon: false,
        mode: pinned.mode().into(),
        trial: pinned.trial().map(|trial| TrialStatus {
            change: None,
            remaining_seconds: trial.left.as_secs(),
        }),
        interfaces: attached(pinned.attachments()),
        totals: reason_totals(&Totals::of(&counters), None),
        countries,
        warnings: Vec::new(),
    })
}

/// When samples are due.
pub struct Pace {
    interval: Duration,
    last: Instant,
}

impl Pace {
    pub fn new(interval: Duration) -> Self {
        let last = Instant::now();
        Self { interval, last }
    }

    /// The next one. After a pause, as by Ctrl-Z, nothing is caught up on, and no interval is cut short by much.
    pub fn next(&mut self) -> Instant {
        let now = Instant::now();
        if now > self.last + self.interval / 2 {
            self.last = now;
        }
        self.last += self.interval;
        self.last
    }
}

/// Samples every `interval`, until nobody listens. The first one comes after one, so that no rate is that of a moment.
pub fn sample_into(sender: SyncSender<Message>, paths: Paths, interval: Duration) {
    thread::spawn(move || {
        let mut pace = Pace::new(interval);
        loop {
            thread::sleep(pace.next().saturating_duration_since(Instant::now()));
            let asked_at = now_us();
            let message = match sample(&paths) {
                Ok(sample) => Message::Sample(Box::new(sample)),
                Err(failure) => Message::Failed(asked_at, Box::new(failure)),
            };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
}

/// Events as they come, until nobody listens. When the daemon goes it tries again.
pub fn follow_into(sender: SyncSender<Message>, paths: Paths) {
    thread::spawn(move || {
        loop {
            let Err(error) = follow(&sender, &paths) else {
                return;
            };
            let message = Message::NotFollowing(error.to_string());
            if sender.send(message).is_err() {
                return;
            }
            thread::sleep(RETRY);
        }
    });
}

/// `Ok`: nobody listens any more.
fn follow(sender: &SyncSender<Message>, paths: &Paths) -> Result<(), ClientError> {
    let mut follower = Follower::begin(
        &paths.socket,
        Request::FollowEvents {
            filter: Filter::default(),
            heads: false,
        },
    )?;
    let filter = Filter::default();
    let listing = client::ask(&paths.socket, Request::Events { filter }, None)?;
    let listing: Events =
        serde_json::from_value(listing).map_err(|source| ClientError::Parse { source })?;
    let is_whole = listing.events.len() < KEPT_BY_DAEMON;
    // The stream has begun before the listing was made: what both have is taken once.
    let mut repeated = Repeated::new(&listing.events);
    if sender
        .send(Message::Began(listing.events, is_whole))
        .is_err()
    {
        return Ok(());
    }
    loop {
        let message = match follower.next(LISTEN)? {
            None => continue,
            Some(Line::Event(event)) if repeated.is_next(&event) => continue,
            Some(Line::Event(event)) => Message::Event(Box::new(event)),
            Some(Line::Missed(count)) => Message::Missed(count),
        };
        if sender.send(message).is_err() {
            return Ok(());
        }
    }
}

/// The end of a listing, with which a stream that began before it begins.
struct Repeated {
    listed: Vec<Event>,
    /// The one that comes next; `None` before the first.
    next: Option<usize>,
}

impl Repeated {
    fn new(listed: &[Event]) -> Self {
        let listed = listed.to_vec();
        Self { listed, next: None }
    }

    /// Whether `event`, the next one of the stream, was listed.
    fn is_next(&mut self, event: &Event) -> bool {
        let place = match self.next {
            None => self.listed.iter().position(|it| it == event),
            Some(next) => (self.listed.get(next) == Some(event)).then_some(next),
        };
        if place.is_none() {
            self.listed.clear();
        }
        self.next = Some(place.map_or(0, |it| it + 1));
        place.is_some()
    }
}

/// Microseconds since 1970.
pub fn now_us() -> u64 {
    let since = UNIX_EPOCH.elapsed().unwrap_or(MINUTE);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl super::model::Model {
    /// Takes what came.
    pub fn take(&mut self, message: Message) {
        match message {
            // Events that came after the counters were read wait, or more would be told of than were counted.
            Message::Sample(sample) => {
                self.events.go_to(sample.unix_us);
                self.observe(*sample);
            }
            Message::Failed(asked_at, failure) => {
                self.events.go_to(asked_at);
                self.fault = Some(failure.message);
            }
            Message::Began(listing, is_whole) => {
                let until = self.last.as_ref().map_or_else(now_us, |it| it.unix_us);
                self.events.begin(listing, is_whole, until);
                self.following = Some(Ok(()));
            }
            Message::Event(event) => self.events.push(*event),
            Message::Missed(count) => self.events.missed += count,
            Message::NotFollowing(why) => self.following = Some(Err(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{fixture, model::Model},
        *,
    };

    #[test]
    fn no_more_is_told_by_events_than_was_counted() {
        let mut model = Model::default();
        let mut sample = fixture::sample(Instant::now(), 35);
        let read_at = sample.unix_us;
        let event = |age| fixture::event(read_at + 1_000 - age, "203.0.113.7", 80, 5);
        model.observe(sample.clone());
        model.take(Message::Began(vec![event(1_000), event(0)], true));
        assert_eq!(model.events.packets(), 5);
        model.take(Message::Event(Box::new(event(500))));
        model.take(Message::Sample(Box::new(sample.clone())));
        assert_eq!(model.events.packets(), 5);
        sample.unix_us += 1_000;
        model.take(Message::Sample(Box::new(sample)));
        assert_eq!(model.events.packets(), 15);
    }

    #[test]
    fn first_rate_is_over_a_whole_interval() {
        let nowhere = tempfile::tempdir().unwrap();
        let paths = Paths {
            socket: nowhere.path().join("sock"),
            state: nowhere.path().to_owned(),
            pins: nowhere.path().join("pins"),
        };
        let began = Instant::now();
        let interval = Duration::from_millis(200);
        let (sender, messages) = channel();
        sample_into(sender, paths, interval);
        messages.recv().unwrap();
        assert!(began.elapsed() >= interval);
    }

    #[test]
    fn what_a_stream_repeats_of_a_listing_is_taken_once() {
        let event = |at| fixture::event(at, "203.0.113.7", 80, 1);
        let is_listed = |listed: &[u64], stream: &[u64]| -> Vec<bool> {
            let listed: Vec<_> = listed.iter().map(|at| event(*at)).collect();
            let mut repeated = Repeated::new(&listed);
            let stream = stream.iter();
            stream.map(|at| repeated.is_next(&event(*at))).collect()
        };
        assert_eq!(
            is_listed(&[1, 5, 4, 9], &[5, 4, 9, 10]),
            [true, true, true, false]
        );
        // The clock was set back: they are new all the same.
        assert_eq!(is_listed(&[1, 5, 9], &[2, 3, 9]), [false, false, false]);
        assert_eq!(is_listed(&[], &[1]), [false]);
    }

    #[test]
    fn pause_of_the_process_makes_no_short_interval() {
        let interval = Duration::from_secs(10);
        let mut pace = Pace::new(interval);
        let began = pace.last;
        pace.last = began - Duration::from_secs(17);
        let next = pace.next();
        assert!(next >= began + interval, "{:?}", next - began);
        assert_eq!(pace.next() - next, interval);
    }

    #[test]
    fn slow_screen_lets_a_bounded_number_of_messages_wait() {
        let (sender, messages) = channel();
        let came = (0..QUEUE).filter(|_| sender.try_send(Message::Missed(1)).is_ok());
        assert_eq!(came.count(), 4_096);
        assert!(sender.try_send(Message::Missed(1)).is_err());
        messages.recv().unwrap();
        assert!(sender.try_send(Message::Missed(1)).is_ok());
    }
}

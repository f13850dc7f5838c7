//! The daemon's reading of events: the last ones are kept, all are passed on to those who follow.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use filter_common::abi::{self, EVENT_WINDOW_NS};
use tokio::sync::broadcast;
use tracing::warn;

use super::{moment::Moment, state::Daemon};
use crate::{
    control::reply::Events as Reply,
    events::{Filter, Seen, decode},
    kernel::EventReader,
};

/// How often events are read, and each reason gets a new budget.
pub const WINDOW: Duration = Duration::from_nanos(EVENT_WINDOW_NS);
/// Events that are kept for whoever asks what happened a moment ago.
const KEPT: usize = 1_000;
/// Events that a follower may be behind before it misses some: those of all reasons in some seconds.
const BEHIND: usize = 8_192;

pub struct Events {
    reader: Option<EventReader>,
    recent: VecDeque<Arc<Seen>>,
    followers: broadcast::Sender<Arc<Seen>>,
}

impl Events {
    pub fn new() -> Self {
        Self {
            reader: None,
            recent: VecDeque::new(),
            followers: broadcast::Sender::new(BEHIND),
        }
    }
}

impl Daemon {
    /// Where followers get events from.
    pub fn event_stream(&self) -> broadcast::Sender<Arc<Seen>> {
        self.events.followers.clone()
    }

    /// Reads the events that are there, and begins a new window.
    pub fn begin_event_window(&mut self) {
        self.read_events();
        self.gate.begin_event_window();
    }

    pub(super) fn read_events(&mut self) {
        match self.gate.take_events() {
            // The gate was loaded, at the start or anew.
            Ok(Some(reader)) => self.events.reader = Some(reader),
            Ok(None) => {}
            Err(error) => warn!("the program's events cannot be read: {error}"),
        }
        let Some(mut reader) = self.events.reader.take() else {
            return;
        };
        let clock = Moment::now();
        let mut names = HashMap::new();
        while let Some(raw) = reader.read() {
            let interface = names
                .entry(raw.ifindex)
                .or_insert_with(|| self.gate.interface_name(raw.ifindex));
            let class_name = |class| self.compiled.class_name(class);
            let seen = decode(&raw, since_1970(clock, &raw), interface.clone(), class_name);
            if let Some(history) = self.history.worker_mut() {
                history.see((&seen.event).into());
            }
            self.events.keep(Arc::new(seen));
        }
        if let Some(history) = self.history.worker_mut() {
            history.hand_over();
        }
        self.events.reader = Some(reader);
    }

    pub(super) fn recent_events(&mut self, filter: &Filter) -> Reply {
        // What was dropped a moment ago shall be there, too.
        self.read_events();
        let recent = self.events.recent.iter();
        Reply {
            events: recent
                .filter(|seen| filter.wants(&seen.event))
                .map(|seen| seen.event.clone())
                .collect(),
        }
    }
}

impl Events {
    fn keep(&mut self, seen: Arc<Seen>) {
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(seen.clone());
        // Nobody follows, most of the time.
        let _ = self.followers.send(seen);
    }
}

fn since_1970(clock: Moment, raw: &abi::Event) -> Duration {
    let at = clock.wall_at(raw.time_ns);
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

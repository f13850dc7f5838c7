//! The time that a report is about, and how much of it is known.

use serde::Serialize;

use crate::history::{HOUR, MINUTE, changes::Change, reply::History};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Period {
    pub since: u64,
    pub until: u64,
    pub asked_since: u64,
    pub minutes: u64,
    /// Set when the history began within the time asked for; the end: it is known of none of it.
    pub begins: Option<u64>,
    /// Before this only hours are known; `None`: the minutes of all of it are.
    pub minutes_from: Option<u64>,
    /// Set when it is not over yet.
    pub goes_on: bool,
}

impl Period {
    /// `log`: the oldest first. `asked_since`, `now`: seconds since 1970.
    pub fn of(history: &History, log: &[Change], asked_since: u64, now: u64) -> Self {
        let end_of_now = now - now % MINUTE + MINUTE;
        let until = history.until.min(end_of_now).max(history.since + MINUTE);
        let asked = (asked_since - asked_since % MINUTE).min(until - MINUTE);
        let begins = begin(history, log, asked).map(|unix| unix.min(until));
        let since = match begins {
            None => history.since,
            Some(begins) if begins < until => begins.max(history.since),
            Some(_) => asked,
        };
        let minutes_from = minutes_begin(history)
            .map_or(Some(until), |from| (from > since).then(|| from.min(until)));
        Self {
            since,
            until,
            asked_since,
            minutes: (until - since).div_ceil(MINUTE),
            begins,
            minutes_from,
            goes_on: until == end_of_now,
        }
    }

    /// Whether the history knows anything of it.
    pub fn is_known(&self) -> bool {
        self.begins != Some(self.until)
    }
}

/// When the history begins, if that is after `asked`.
fn begin(history: &History, log: &[Change], asked: u64) -> Option<u64> {
    // It says its beginning by the hour only; its first line and its first frames know the minute.
    if history.begins.is_some_and(|it| it + HOUR <= asked) {
        return None;
    }
    let first_line = log.first().map(|it| it.unix);
    let first_point = history.points.first();
    let first_point = first_point.map(|it| it.counted_since.unwrap_or(it.unix).min(it.unix));
    let first = [first_line, first_point].into_iter().flatten().min();
    let first = first.map_or(u64::MAX, |unix| unix - unix % MINUTE);
    (first > asked).then_some(first)
}

/// From when on minutes are known; before, only hours.
pub fn minutes_begin(history: &History) -> Option<u64> {
    let kept = history.store.minutes_since?;
    Some(kept - kept % HOUR)
}

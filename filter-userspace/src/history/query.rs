//! Questions to the history.

use serde::{Deserialize, Serialize};

use self::reading::Reading;
use super::{
    DAY, HOUR, MINUTE, Store, StoreError,
    reply::{History, HistoryStatus},
};

mod reading;
mod sampled;

/// More steps than this no terminal shows and no answer holds.
pub const MAX_POINTS: u64 = 11_000;

/// The length of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Minute,
    Hour,
    Day,
}

impl Step {
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Minute => MINUTE,
            Self::Hour => HOUR,
            Self::Day => DAY,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// Which part of an answer is wanted; the rest of it is empty then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    #[default]
    Whole,
    /// What is counted exactly: steps, totals and lines, without the sample and the changes.
    Counted,
    /// Who changed what.
    Changes,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Query {
    /// Seconds since 1970; the minute of it is the first one.
    pub since: u64,
    /// Seconds since 1970; the minute of it is the last one. `None`: now.
    pub until: Option<u64>,
    pub by: Step,
    /// Two letters, or another class.
    pub country: Option<String>,
    pub reason: Option<String>,
    #[serde(default)]
    pub part: Part,
}

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("the end is before the beginning")]
    Backwards,
    #[error(
        "{points} steps are too many for one answer, at most {MAX_POINTS}: ask by hour or by day"
    )]
    TooMany { points: u64 },
    #[error(
        "the counters know reasons and countries, but not the one by the other: ask for one of them"
    )]
    Both,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl QueryError {
    /// Whether the question is at fault.
    pub const fn is_bad_question(&self) -> bool {
        !matches!(self, Self::Store(_))
    }
}

/// A time, and the table that knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Segment {
    table: &'static str,
    from: u64,
    to: u64,
}

/// Which table tells what of the time from `since` to `until`, both at the beginning of a minute. Minutes
/// are whole from `minutes_from` on, a whole hour; before that only hours are known.
fn segments(since: u64, until: u64, step: Step, minutes_from: u64) -> Vec<Segment> {
    let floor = |unix: u64| unix - unix % HOUR;
    let ceiling = |unix: u64| floor(unix.saturating_add(HOUR - 1));
    let segment = |table, from, to| Segment { table, from, to };
    let mut segments = Vec::new();
    let mut from = since;
    if from < minutes_from {
        let to = ceiling(until).min(minutes_from);
        segments.push(segment("hours", floor(from), to));
        from = to;
    }
    let (first_hour, last_hour) = (ceiling(from), floor(until));
    if step != Step::Minute && first_hour < last_hour {
        segments.push(segment("minutes", from, first_hour));
        segments.push(segment("hours", first_hour, last_hour));
        segments.push(segment("minutes", last_hour, until));
    } else {
        segments.push(segment("minutes", from, until));
    }
    segments.retain(|it| it.from < it.to);
    segments
}

impl Store {
    /// `now`: seconds since 1970. `status`: how the history fares, for the answer.
    pub fn query(
        &self,
        query: &Query,
        now: u64,
        status: HistoryStatus,
    ) -> Result<History, QueryError> {
        if query.country.is_some() && query.reason.is_some() {
            return Err(QueryError::Both);
        }
        let until = query.until.unwrap_or(now);
        let until = until - until % MINUTE + MINUTE;
        let asked = query.since - query.since % MINUTE;
        if asked >= until {
            return Err(QueryError::Backwards);
        }
        let begins = self.oldest()?.1;
        // What nobody has written takes no room in the answer.
        let since = asked
            .max(begins.map_or(0, |unix| unix - unix % query.by.seconds()))
            .min(until - MINUTE);
        let points = (until - since) / query.by.seconds();
        if points > MAX_POINTS {
            return Err(QueryError::TooMany { points });
        }
        let minutes_from = self.meta::<i64>("minutes_from")?.unwrap_or_default();
        let segments = segments(since, until, query.by, minutes_from.max(0) as u64);
        let since = segments.first().map_or(since, |it| it.from);
        let until = segments.last().map_or(until, |it| it.to);
        // One transaction: all of the answer tells of one moment.
        let read = self
            .connection
            .unchecked_transaction()
            .map_err(self.sql())?;
        let history = Reading {
            connection: &read,
            query,
            segments: &segments,
            since,
            until,
            now,
        }
        .history(begins, status);
        history.map_err(|source| self.sql()(source).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_is_told_by_one_table() {
        let segment = |table, from, to| Segment { table, from, to };
        const H: u64 = HOUR;
        let cases = [
            // Minutes are all there.
            (
                H + 60,
                3 * H + 120,
                Step::Minute,
                0,
                vec![segment("minutes", H + 60, 3 * H + 120)],
            ),
            (
                H + 60,
                4 * H + 120,
                Step::Hour,
                0,
                vec![
                    segment("minutes", H + 60, 2 * H),
                    segment("hours", 2 * H, 4 * H),
                    segment("minutes", 4 * H, 4 * H + 120),
                ],
            ),
            (
                2 * H,
                4 * H,
                Step::Day,
                0,
                vec![segment("hours", 2 * H, 4 * H)],
            ),
            (
                H + 60,
                H + 120,
                Step::Day,
                0,
                vec![segment("minutes", H + 60, H + 120)],
            ),
            // Before the fifth hour only hours are kept.
            (
                H + 60,
                7 * H + 60,
                Step::Minute,
                5 * H,
                vec![
                    segment("hours", H, 5 * H),
                    segment("minutes", 5 * H, 7 * H + 60),
                ],
            ),
            (
                H + 60,
                7 * H + 60,
                Step::Hour,
                5 * H,
                vec![
                    segment("hours", H, 5 * H),
                    segment("hours", 5 * H, 7 * H),
                    segment("minutes", 7 * H, 7 * H + 60),
                ],
            ),
            (
                H + 60,
                2 * H + 60,
                Step::Minute,
                5 * H,
                vec![segment("hours", H, 3 * H)],
            ),
        ];
        for (since, until, step, minutes_from, expected) in cases {
            let found = segments(since, until, step, minutes_from);
            assert_eq!(found, expected, "{since} {until} {step:?} {minutes_from}");
        }
    }
}

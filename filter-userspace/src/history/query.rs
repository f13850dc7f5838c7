//! Questions to the history.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::{
    DAY, HOUR, MINUTE, Store, StoreError,
    changes::{Change, Kind as ChangeKind, Standing},
    distinct::{Distinct, STANDARD_ERROR},
    reply::{Fates, History, HistoryStatus, Line, Point, PortLine, Sampled, SourceLine},
    store::{fate_of, kind_of, signed},
    tally::{Fate, Kind, Row},
    top::{Entry, Merged},
};

/// More steps than this no terminal shows and no answer holds.
pub const MAX_POINTS: u64 = 11_000;
/// Sources and ports in an answer.
const TOP: usize = 50;

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
        }
        .history(begins, status);
        history.map_err(|source| self.sql()(source).into())
    }
}

/// One question on its way through the tables.
struct Reading<'a> {
    connection: &'a Connection,
    query: &'a Query,
    segments: &'a [Segment],
    since: u64,
    until: u64,
}

impl Reading<'_> {
    fn history(&self, begins: Option<u64>, store: HistoryStatus) -> rusqlite::Result<History> {
        let names = self.names()?;
        let mut points: BTreeMap<u64, Fates> = BTreeMap::new();
        let mut total = Fates::default();
        let mut lines: BTreeMap<(LineKind, String), Fates> = BTreeMap::new();
        for (unix, id, count) in self.counts()? {
            let Some((interface, row)) = names.get(&id) else {
                continue;
            };
            if self.is_counted(row) {
                add(points.entry(unix).or_default(), row.fate, count);
                add(&mut total, row.fate, count);
                let key = (LineKind::Interface, interface.clone());
                add(lines.entry(key).or_default(), row.fate, count);
            }
            if self.is_shown(row) {
                let kind = match row.kind {
                    Kind::Reason => LineKind::Reason,
                    Kind::Class => LineKind::Country,
                    Kind::Protocol => LineKind::Protocol,
                };
                let key = (kind, row.name.clone());
                add(lines.entry(key).or_default(), row.fate, count);
            }
        }
        let spans = self.spans()?;
        let lines_of = |kind: LineKind| {
            let mut found: Vec<Line> = lines
                .iter()
                .filter(|((of, _), _)| *of == kind)
                .map(|((_, name), fates)| Line {
                    name: name.clone(),
                    fates: *fates,
                })
                .collect();
            found.sort_by_key(|line| {
                std::cmp::Reverse((line.fates.denied_packets(), line.fates.packets()))
            });
            found
        };
        Ok(History {
            daemon: true,
            since: self.since,
            until: self.until,
            by: self.query.by.word().to_owned(),
            country: self.query.country.clone(),
            reason: self.query.reason.clone(),
            begins,
            total,
            points: points
                .into_iter()
                .map(|(unix, fates)| Point {
                    unix,
                    counted_since: spans.get(&unix).copied(),
                    fates,
                })
                .collect(),
            reasons: lines_of(LineKind::Reason),
            countries: lines_of(LineKind::Country),
            interfaces: lines_of(LineKind::Interface),
            sampled: self.sampled(lines_of(LineKind::Protocol))?,
            changes: self.changes()?,
            store,
        })
    }

    /// Whether a row makes up the totals: all reasons together are all frames, and each frame has one.
    fn is_counted(&self, row: &Row) -> bool {
        match (&self.query.country, &self.query.reason) {
            (Some(country), _) => row.kind == Kind::Class && row.name == *country,
            (None, Some(reason)) => row.kind == Kind::Reason && row.name == *reason,
            (None, None) => row.kind == Kind::Reason,
        }
    }

    /// Whether a row is a line of its own; one kind of them is not known by another.
    fn is_shown(&self, row: &Row) -> bool {
        match (&self.query.country, &self.query.reason) {
            (None, None) => true,
            _ => self.is_counted(row),
        }
    }

    /// All rows there may be.
    fn names(&self) -> rusqlite::Result<HashMap<i64, (String, Row)>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, interface, kind, name, verdict FROM names")?;
        let rows = statement.query_map([], |row| {
            let (kind, fate): (String, String) = (row.get(2)?, row.get(4)?);
            let found = kind_of(&kind).zip(fate_of(&fate));
            let (id, interface, name) = (row.get(0)?, row.get(1)?, row.get(3)?);
            Ok(found.map(|(kind, fate)| (id, (interface, Row { kind, name, fate }))))
        })?;
        rows.filter_map(Result::transpose).collect()
    }

    /// The step, the row and what it counts.
    fn counts(&self) -> rusqlite::Result<Vec<(u64, i64, [u64; 2])>> {
        let mut counts = Vec::new();
        for segment in self.segments {
            let sql = format!(
                "SELECT unix / ?3 * ?3, name, sum(packets), sum(bytes) FROM {}
                 WHERE unix >= ?1 AND unix < ?2 GROUP BY 1, 2",
                segment.table
            );
            let mut statement = self.connection.prepare_cached(&sql)?;
            let step = signed(self.query.by.seconds());
            let rows =
                statement.query_map([signed(segment.from), signed(segment.to), step], |row| {
                    let count = [unsigned(row.get(2)?), unsigned(row.get(3)?)];
                    Ok((unsigned(row.get(0)?), row.get(1)?, count))
                })?;
            for row in rows {
                counts.push(row?);
            }
        }
        Ok(counts)
    }

    /// Steps that tell more than themselves, and since when.
    fn spans(&self) -> rusqlite::Result<HashMap<u64, u64>> {
        let mut spans = HashMap::new();
        let mut statement = self.connection.prepare_cached(
            "SELECT unix / ?3 * ?3, min(since) FROM spans WHERE unix >= ?1 AND unix < ?2 GROUP BY 1",
        )?;
        for segment in self.segments {
            let least = match segment.table {
                "hours" => HOUR,
                _ => MINUTE,
            };
            let step = signed(self.query.by.seconds().max(least));
            let range = [signed(segment.from), signed(segment.to), step];
            let rows = statement.query_map(range, |row| {
                Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
            })?;
            for row in rows {
                let (unix, since) = row?;
                if since < unix {
                    spans.insert(unix, since);
                }
            }
        }
        Ok(spans)
    }

    fn sampled(&self, protocols: Vec<Line>) -> rusqlite::Result<Sampled> {
        if self.query.reason.is_some() {
            return Ok(Sampled::default());
        }
        let range = [signed(self.since - self.since % HOUR), signed(self.until)];
        let mut sampled = Sampled {
            protocols,
            distinct_error: STANDARD_ERROR,
            ..Sampled::default()
        };
        let mut distinct = Distinct::default();
        let mut sources: Merged<String, String> = Merged::default();
        let mut ports: Merged<(u8, u16), ()> = Merged::default();
        let mut floors = HashMap::new();
        let mut statement = self.connection.prepare_cached(
            "SELECT hour, run, events, frames, sources_floor, ports_floor, distinct_sources
             FROM sketches WHERE hour >= ?1 AND hour < ?2",
        )?;
        let mut rows = statement.query(range)?;
        while let Some(row) = rows.next()? {
            sampled.events += unsigned(row.get(2)?);
            sampled.frames += unsigned(row.get(3)?);
            let of_part = (unsigned(row.get(4)?), unsigned(row.get(5)?));
            sources.add_floor(of_part.0);
            ports.add_floor(of_part.1);
            floors.insert(part(row)?, of_part);
            distinct.merge(&Distinct::from_bytes(
                row.get_ref(6)?.as_blob().unwrap_or_default(),
            ));
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT hour, run, packets, error, source, class FROM sources
             WHERE hour >= ?1 AND hour < ?2",
        )?;
        let mut rows = statement.query(range)?;
        while let Some(row) = rows.next()? {
            let (floor, _) = floors.get(&part(row)?).copied().unwrap_or_default();
            sources.add(row.get(4)?, entry(row, row.get(5)?)?, floor);
        }
        let country = self.query.country.as_ref();
        let (first, floor) = sources.first(TOP, |class| country.is_none_or(|it| it == class));
        sampled.other_sources_at_most = floor;
        sampled.sources = first
            .into_iter()
            .map(|it| SourceLine {
                source: it.key,
                class: it.tag,
                at_least: it.at_least,
                at_most: it.at_most,
            })
            .collect();
        if country.is_some() {
            // Ports and the number of sources are not known by country.
            return Ok(sampled);
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT hour, run, packets, error, protocol, port FROM ports
             WHERE hour >= ?1 AND hour < ?2",
        )?;
        let mut rows = statement.query(range)?;
        while let Some(row) = rows.next()? {
            let (_, floor) = floors.get(&part(row)?).copied().unwrap_or_default();
            ports.add((row.get(4)?, row.get(5)?), entry(row, ())?, floor);
        }
        let (first, floor) = ports.first(TOP, |()| true);
        sampled.other_ports_at_most = floor;
        sampled.ports = first
            .into_iter()
            .map(|it| PortLine {
                port: port_words(it.key),
                at_least: it.at_least,
                at_most: it.at_most,
            })
            .collect();
        sampled.distinct_sources = Some(distinct.estimate());
        Ok(sampled)
    }

    fn changes(&self) -> rusqlite::Result<Vec<Change>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT unix, kind, who, what, mode, policy_sha256, database, database_sha256
             FROM changes WHERE unix >= ?1 AND unix < ?2 ORDER BY id",
        )?;
        let rows = statement.query_map(params![signed(self.since), signed(self.until)], |row| {
            let kind: String = row.get(1)?;
            Ok(Change {
                unix: unsigned(row.get(0)?),
                kind: ChangeKind::of_word(&kind),
                who: row.get(2)?,
                what: row.get(3)?,
                after: Standing {
                    mode: row.get(4)?,
                    policy_sha256: row.get(5)?,
                    database: row.get(6)?,
                    database_sha256: row.get(7)?,
                },
            })
        })?;
        rows.collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LineKind {
    Reason,
    Country,
    Interface,
    Protocol,
}

fn unsigned(number: i64) -> u64 {
    number.max(0) as u64
}

fn add(fates: &mut Fates, fate: Fate, [packets, bytes]: [u64; 2]) {
    let (packet_sum, byte_sum) = match fate {
        Fate::Pass => (&mut fates.passed_packets, &mut fates.passed_bytes),
        Fate::Drop => (&mut fates.dropped_packets, &mut fates.dropped_bytes),
        Fate::WouldDrop => (&mut fates.would_drop_packets, &mut fates.would_drop_bytes),
    };
    *packet_sum = packet_sum.saturating_add(packets);
    *byte_sum = byte_sum.saturating_add(bytes);
}

fn port_words((protocol, port): (u8, u16)) -> String {
    match protocol {
        6 => format!("{port}/tcp"),
        17 => format!("{port}/udp"),
        other => format!("{port}/{other}"),
    }
}

/// The hour and the run of the daemon that a row of samples is of: its first two columns.
fn part(row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, i64)> {
    Ok((row.get(0)?, row.get(1)?))
}

/// The two columns behind them.
fn entry<T>(row: &rusqlite::Row<'_>, tag: T) -> rusqlite::Result<Entry<T>> {
    Ok(Entry {
        count: unsigned(row.get(2)?),
        error: unsigned(row.get(3)?),
        tag,
    })
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

    #[test]
    fn ports_have_the_names_of_their_protocols() {
        assert_eq!(port_words((6, 443)), "443/tcp");
        assert_eq!(port_words((17, 53)), "53/udp");
        assert_eq!(port_words((132, 9)), "9/132");
    }
}

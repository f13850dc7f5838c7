//! One question on its way through the tables.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::{
    super::{
        HOUR, MINUTE,
        changes::{Change, Kind as ChangeKind, Standing},
        reply::{Fates, History, HistoryStatus, Line, Point, Sampled},
        store::{fate_of, kind_of, signed},
        tally::{Fate, Kind, Row},
    },
    Part, Query, Segment,
};

/// Changes in an answer.
const MAX_CHANGES: u64 = 10_000;

pub(super) struct Reading<'a> {
    pub connection: &'a Connection,
    pub query: &'a Query,
    pub segments: &'a [Segment],
    pub since: u64,
    pub until: u64,
    pub now: u64,
}

impl Reading<'_> {
    pub fn history(&self, begins: Option<u64>, store: HistoryStatus) -> rusqlite::Result<History> {
        let names = self.names()?;
        let mut points: BTreeMap<u64, Fates> = BTreeMap::new();
        let mut sums: HashMap<i64, [u64; 2]> = HashMap::new();
        let step = self.query.by.seconds();
        // Row by row: what is held is as large as the answer, however long the time.
        let take = |unix: u64, id, count: [u64; 2]| {
            let Some((_, row)) = names.get(&id) else {
                return;
            };
            if self.is_counted(row) {
                add(
                    points.entry(unix - unix % step).or_default(),
                    row.fate,
                    count,
                );
            }
            let sum = sums.entry(id).or_default();
            *sum = [0, 1].map(|it| sum[it].saturating_add(count[it]));
        };
        let part = self.query.part;
        if part != Part::Changes {
            self.each_count(take)?;
        }
        let mut total = Fates::default();
        let mut lines: BTreeMap<(LineKind, &str), Fates> = BTreeMap::new();
        for (id, count) in sums {
            let Some((interface, row)) = names.get(&id) else {
                continue;
            };
            if self.is_counted(row) {
                add(&mut total, row.fate, count);
                let key = (LineKind::Interface, interface.as_str());
                add(lines.entry(key).or_default(), row.fate, count);
            }
            if self.is_shown(row) {
                let kind = match row.kind {
                    Kind::Reason => LineKind::Reason,
                    Kind::Class => LineKind::Country,
                    Kind::Protocol => LineKind::Protocol,
                };
                let key = (kind, row.name.as_str());
                add(lines.entry(key).or_default(), row.fate, count);
            }
        }
        let spans = self.spans()?;
        let lines_of = |kind: LineKind| {
            let mut found: Vec<Line> = lines
                .iter()
                .filter(|((of, _), _)| *of == kind)
                .map(|((_, name), fates)| Line {
                    name: (*name).to_owned(),
                    fates: *fates,
                })
                .collect();
            found.sort_by_key(|line| {
                std::cmp::Reverse((line.fates.denied_packets(), line.fates.packets()))
            });
            found
        };
        let (changes, earlier_changes) = match part {
            Part::Counted => Default::default(),
            Part::Whole | Part::Changes => self.changes()?,
        };
        let sampled = match part {
            Part::Whole => self.sampled(lines_of(LineKind::Protocol))?,
            Part::Counted | Part::Changes => Sampled::default(),
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
            sampled,
            changes,
            earlier_changes,
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

    /// Calls `take` with the minute or hour, the row and what it counts.
    fn each_count(&self, mut take: impl FnMut(u64, i64, [u64; 2])) -> rusqlite::Result<()> {
        for segment in self.segments {
            let sql = format!(
                "SELECT unix, name, packets, bytes FROM {} WHERE unix >= ?1 AND unix < ?2",
                segment.table
            );
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query([signed(segment.from), signed(segment.to)])?;
            while let Some(row) = rows.next()? {
                let count = [unsigned(row.get(2)?), unsigned(row.get(3)?)];
                take(unsigned(row.get(0)?), row.get(1)?, count);
            }
        }
        Ok(())
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

    /// The newest changes of the time, in their order, and how many are older.
    fn changes(&self) -> rusqlite::Result<(Vec<Change>, u64)> {
        let range = [signed(self.since), signed(self.until)];
        let mut statement = self
            .connection
            .prepare_cached("SELECT count(*) FROM changes WHERE unix >= ?1 AND unix < ?2")?;
        let count = unsigned(statement.query_row(range, |row| row.get(0))?);
        let mut statement = self.connection.prepare_cached(
            "SELECT unix, kind, who, what, mode, policy_sha256, database, database_sha256
             FROM changes WHERE unix >= ?1 AND unix < ?2 ORDER BY id DESC LIMIT ?3",
        )?;
        let limit = signed(MAX_CHANGES);
        let rows = statement.query_map([range[0], range[1], limit], |row| {
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
        let mut changes = rows.collect::<rusqlite::Result<Vec<Change>>>()?;
        changes.reverse();
        Ok((changes, count.saturating_sub(MAX_CHANGES)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LineKind {
    Reason,
    Country,
    Interface,
    Protocol,
}

pub(super) fn unsigned(number: i64) -> u64 {
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

//! The part of an answer that events tell.

use std::collections::HashMap;

use super::{
    super::{
        HOUR, MINUTE,
        distinct::{Distinct, STANDARD_ERROR},
        reply::{Line, PortLine, Sampled, SourceLine},
        store::signed,
        top::{Entry, Merged},
    },
    reading::{Reading, unsigned},
};

/// Sources and ports in an answer.
const TOP: usize = 50;

impl Reading<'_> {
    pub(super) fn sampled(&self, protocols: Vec<Line>) -> rusqlite::Result<Sampled> {
        let (since, until) = whole_hours(self.since, self.until, self.now);
        let mut sampled = Sampled {
            since,
            until,
            protocols,
            distinct_error: STANDARD_ERROR,
            ..Sampled::default()
        };
        if self.query.reason.is_some() {
            // The sample is not known by reason.
            return Ok(sampled);
        }
        let country = self.query.country.as_deref();
        (sampled.events, sampled.frames) = self.events(since, until, country)?;
        (sampled.sources, sampled.other_sources_at_most) = self.sources(since, until, country)?;
        // Ports and the number of sources are not known by country.
        if country.is_none() {
            (sampled.ports, sampled.other_ports_at_most) = self.ports(since, until)?;
            sampled.distinct_sources = Some(self.distinct(since, until)?.estimate());
        }
        Ok(sampled)
    }

    fn events(
        &self,
        since: u64,
        until: u64,
        country: Option<&str>,
    ) -> rusqlite::Result<(u64, u64)> {
        let table = match country {
            Some(_) => "classes WHERE class = ?3 AND",
            None => "sketches WHERE ?3 IS NULL AND",
        };
        let sql = format!(
            "SELECT ifnull(sum(events), 0), ifnull(sum(frames), 0) FROM {table}
             hour >= ?1 AND hour < ?2"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let asked = rusqlite::params![signed(since), signed(until), country];
        statement.query_row(asked, |row| {
            Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
        })
    }

    /// The sources that sent most by the estimate, and how much any other sent at most.
    fn sources(
        &self,
        since: u64,
        until: u64,
        country: Option<&str>,
    ) -> rusqlite::Result<(Vec<SourceLine>, u64)> {
        let mut sum: Merged<String, String> = Merged::default();
        let floors = self.floors("sources_floor", since, until)?;
        sum.add_floor(floors.sum);
        let mut statement = self.connection.prepare_cached(
            "SELECT hour, run, packets, error, source, class FROM sources
             WHERE hour >= ?1 AND hour < ?2 AND (?3 IS NULL OR class = ?3)",
        )?;
        let asked = rusqlite::params![signed(since), signed(until), country];
        let mut rows = statement.query(asked)?;
        while let Some(row) = rows.next()? {
            if let Some(floor) = floors.of(row)? {
                sum.add(row.get(4)?, entry(row, row.get(5)?)?, floor);
            }
        }
        let (first, others_at_most) = sum.first(TOP);
        let lines = first.into_iter().map(|it| SourceLine {
            source: it.key,
            class: it.tag,
            at_least: it.at_least,
            at_most: it.at_most,
        });
        Ok((lines.collect(), others_at_most))
    }

    /// The ports that got most by the estimate, and how much any other got at most.
    fn ports(&self, since: u64, until: u64) -> rusqlite::Result<(Vec<PortLine>, u64)> {
        let mut sum: Merged<(u8, u16), ()> = Merged::default();
        let floors = self.floors("ports_floor", since, until)?;
        sum.add_floor(floors.sum);
        let mut statement = self.connection.prepare_cached(
            "SELECT hour, run, packets, error, protocol, port FROM ports
             WHERE hour >= ?1 AND hour < ?2",
        )?;
        let mut rows = statement.query([signed(since), signed(until)])?;
        while let Some(row) = rows.next()? {
            if let Some(floor) = floors.of(row)? {
                sum.add((row.get(4)?, row.get(5)?), entry(row, ())?, floor);
            }
        }
        let (first, others_at_most) = sum.first(TOP);
        let lines = first.into_iter().map(|it| PortLine {
            port: port_words(it.key),
            at_least: it.at_least,
            at_most: it.at_most,
        });
        Ok((lines.collect(), others_at_most))
    }

    /// Read apart from the entries: a join would read the whole sketch, of 16 KB, for each of them.
    fn floors(&self, column: &str, since: u64, until: u64) -> rusqlite::Result<Floors> {
        let sql =
            format!("SELECT hour, run, {column} FROM sketches WHERE hour >= ?1 AND hour < ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([signed(since), signed(until)])?;
        let mut floors = Floors::default();
        while let Some(row) = rows.next()? {
            let floor = unsigned(row.get(2)?);
            floors.sum = floors.sum.saturating_add(floor);
            floors
                .by_hour_and_run
                .insert((row.get(0)?, row.get(1)?), floor);
        }
        Ok(floors)
    }

    fn distinct(&self, since: u64, until: u64) -> rusqlite::Result<Distinct> {
        let mut distinct = Distinct::default();
        let mut statement = self.connection.prepare_cached(
            "SELECT distinct_sources FROM sketches WHERE hour >= ?1 AND hour < ?2",
        )?;
        let mut rows = statement.query([signed(since), signed(until)])?;
        while let Some(row) = rows.next()? {
            let bytes = row.get_ref(0)?.as_blob().unwrap_or_default();
            distinct.merge(&Distinct::from_bytes(bytes));
        }
        Ok(distinct)
    }
}

/// The hours that the time lies in; nothing is told of the time after the minute of `now`.
fn whole_hours(since: u64, until: u64, now: u64) -> (u64, u64) {
    let this_minute = now - now % MINUTE + MINUTE;
    let until = match until % HOUR {
        0 => until,
        into => (until - into + HOUR).min(until.max(this_minute)),
    };
    (since - since % HOUR, until)
}

/// What was counted at most of that which is not among the entries, for each sketch.
#[derive(Default)]
struct Floors {
    sum: u64,
    by_hour_and_run: HashMap<(i64, i64), u64>,
}

impl Floors {
    /// That of the sketch that an entry belongs to, whose hour and run are the first columns of `row`.
    fn of(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<u64>> {
        let key = (row.get(0)?, row.get(1)?);
        Ok(self.by_hour_and_run.get(&key).copied())
    }
}

/// The third and the fourth column of a row.
fn entry<T>(row: &rusqlite::Row<'_>, tag: T) -> rusqlite::Result<Entry<T>> {
    let (count, error) = (unsigned(row.get(2)?), unsigned(row.get(3)?));
    Ok(Entry {
        count,
        certain: count.saturating_sub(error),
        tag,
    })
}

fn port_words((protocol, port): (u8, u16)) -> String {
    match protocol {
        6 => format!("{port}/tcp"),
        17 => format!("{port}/udp"),
        other => format!("{port}/{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_is_of_whole_hours_that_have_been() {
        const H: u64 = HOUR;
        let cases = [
            ((H, 2 * H, 9 * H), (H, 2 * H)),
            ((H + 60, 2 * H + 60, 9 * H), (H, 3 * H)),
            // Until now, and to a moment before it in this hour.
            ((H, 2 * H + 120, 2 * H + 60), (H, 2 * H + 120)),
            ((H, 2 * H + 120, 2 * H + 1_805), (H, 2 * H + 1_860)),
            // A time that is still to come.
            ((H, 2 * H + 120, H + 5), (H, 2 * H + 120)),
        ];
        for ((since, until, now), expected) in cases {
            assert_eq!(
                whole_hours(since, until, now),
                expected,
                "{since} {until} {now}"
            );
        }
    }

    #[test]
    fn ports_have_the_names_of_their_protocols() {
        assert_eq!(port_words((6, 443)), "443/tcp");
        assert_eq!(port_words((17, 53)), "53/udp");
        assert_eq!(port_words((132, 9)), "9/132");
    }
}

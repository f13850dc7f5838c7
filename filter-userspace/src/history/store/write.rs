//! What is written, all of it in one transaction.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction, params};

use super::{
    super::{
        HOUR,
        changes::Change,
        sketch::{Sketch, WRITTEN, source_words},
        tally::{Counts, Row, Sample},
    },
    Store, StoreError, put_meta, signed,
};
use crate::kernel::Count;

/// What waits to be written, all of it in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// By minute and interface.
    pub minutes: BTreeMap<(u64, String), Counts>,
    /// The minute, and since when it was counted.
    pub spans: Vec<(u64, u64)>,
    pub changes: Vec<Change>,
    pub last_seen: Option<Sample>,
}

impl Batch {
    pub fn add(&mut self, minute: u64, interface: String, counts: Counts) {
        let sums = self.minutes.entry((minute, interface)).or_default();
        for (row, count) in counts {
            let sum: &mut Count = sums.entry(row).or_default();
            sum.packets = sum.packets.saturating_add(count.packets);
            sum.bytes = sum.bytes.saturating_add(count.bytes);
        }
    }

    /// Makes the minutes of each hour one, its last: after hours without a disk, sums matter more.
    pub fn thin_out(&mut self) {
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
        for (first, last) in ends.into_values() {
            let mut since = first;
            // A minute may tell of more than itself, as one does that was thinned out before.
            self.spans.retain(|(minute, counted_since)| {
                let is_within = (first..=last).contains(minute);
                if is_within {
                    since = since.min(*counted_since);
                }
                !is_within
            });
            if since < last {
                self.spans.push((last, since));
            }
        }
    }

    /// Rows that wait, and changes.
    pub fn len(&self) -> usize {
        self.minutes.values().map(Counts::len).sum::<usize>() + self.changes.len()
    }
}

impl Store {
    /// Writes `batch` and the sketches of hours, or nothing of them.
    pub fn write(&mut self, batch: &Batch, sketches: &[&Sketch]) -> Result<(), StoreError> {
        self.write_all(batch, sketches).map_err(self.sql())
    }

    fn write_all(&mut self, batch: &Batch, sketches: &[&Sketch]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        for ((minute, interface), counts) in &batch.minutes {
            for (row, count) in counts {
                let name = name_id(&transaction, interface, row)?;
                add(&transaction, "minutes", *minute, name, count)?;
                add(&transaction, "hours", minute - minute % HOUR, name, count)?;
            }
        }
        for (minute, since) in &batch.spans {
            transaction
                .prepare_cached(
                    "INSERT INTO spans VALUES(?1, ?2)
                     ON CONFLICT DO UPDATE SET since = min(since, excluded.since)",
                )?
                .execute([signed(*minute), signed(*since)])?;
        }
        for change in &batch.changes {
            put_change(&transaction, change)?;
        }
        for sketch in sketches {
            put_sketch(&transaction, sketch)?;
        }
        if let Some(sample) = &batch.last_seen {
            put_last_seen(&transaction, sample)?;
        }
        transaction.commit()
    }
}

fn name_id(transaction: &Transaction<'_>, interface: &str, row: &Row) -> rusqlite::Result<i64> {
    let key = params![interface, row.kind.word(), row.name, row.fate.word()];
    let known = transaction
        .prepare_cached(
            "SELECT id FROM names WHERE interface = ?1 AND kind = ?2 AND name = ?3 AND verdict = ?4",
        )?
        .query_row(key, |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    transaction
        .prepare_cached("INSERT INTO names(interface, kind, name, verdict) VALUES(?1, ?2, ?3, ?4)")?
        .execute(key)?;
    Ok(transaction.last_insert_rowid())
}

fn add(
    transaction: &Transaction<'_>,
    table: &str,
    unix: u64,
    name: i64,
    count: &Count,
) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO {table} VALUES(?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET packets = packets + excluded.packets, bytes = bytes + excluded.bytes"
    );
    let values = [
        signed(unix),
        name,
        signed(count.packets),
        signed(count.bytes),
    ];
    transaction
        .prepare_cached(&sql)?
        .execute(values)
        .map(|_| ())
}

fn put_change(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO changes(unix, kind, who, what, mode, policy_sha256, database, database_sha256)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            signed(change.unix),
            change.kind.word(),
            change.who,
            change.what,
            change.after.mode,
            change.after.policy_sha256,
            change.after.database,
            change.after.database_sha256,
        ])
        .map(|_| ())
}

/// Puts what is known of the hour now in the place of what was known before.
fn put_sketch(transaction: &Transaction<'_>, sketch: &Sketch) -> rusqlite::Result<()> {
    if sketch.events == 0 {
        return Ok(());
    }
    let (hour, run) = (signed(sketch.hour), signed(sketch.run));
    // The next run of the daemon takes another number.
    transaction
        .prepare_cached("UPDATE meta SET value = max(value, ?1) WHERE key = 'run'")?
        .execute([run])?;
    let (sources, sources_floor) = sketch.sources.first(WRITTEN);
    let (ports, ports_floor) = sketch.ports.first(WRITTEN);
    transaction
        .prepare_cached("INSERT OR REPLACE INTO sketches VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            hour,
            run,
            signed(sketch.events),
            signed(sketch.frames),
            signed(sources_floor),
            signed(ports_floor),
            sketch.distinct.to_bytes(),
        ])?;
    for table in ["classes", "sources", "ports"] {
        let delete = format!("DELETE FROM {table} WHERE hour = ?1 AND run = ?2");
        transaction.prepare_cached(&delete)?.execute([hour, run])?;
    }
    for (class, (events, frames)) in &sketch.classes {
        transaction
            .prepare_cached("INSERT INTO classes VALUES(?1, ?2, ?3, ?4, ?5)")?
            .execute(params![hour, run, class, signed(*events), signed(*frames)])?;
    }
    for (source, entry) in sources {
        transaction
            .prepare_cached("INSERT INTO sources VALUES(?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                hour,
                run,
                source_words(*source),
                entry.tag,
                signed(entry.count),
                signed(entry.count - entry.certain),
            ])?;
    }
    for ((protocol, port), entry) in ports {
        transaction
            .prepare_cached("INSERT INTO ports VALUES(?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                hour,
                run,
                protocol,
                port,
                signed(entry.count),
                signed(entry.count - entry.certain),
            ])?;
    }
    Ok(())
}

fn put_last_seen(transaction: &Transaction<'_>, sample: &Sample) -> rusqlite::Result<()> {
    put_meta(transaction, "gate", &sample.gate)?;
    put_meta(transaction, "unix", signed(sample.unix))?;
    transaction.execute("DELETE FROM last_seen", [])?;
    for interface in &sample.interfaces {
        for (row, count) in &interface.counts {
            let name = name_id(transaction, &interface.interface, row)?;
            transaction
                .prepare_cached("INSERT OR REPLACE INTO last_seen VALUES(?1, ?2, ?3, ?4, ?5)")?
                .execute(params![
                    interface.interface,
                    interface.ifindex,
                    name,
                    signed(count.packets),
                    signed(count.bytes),
                ])?;
        }
    }
    Ok(())
}

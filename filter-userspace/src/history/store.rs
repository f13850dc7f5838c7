//! The file: SQLite, whose transactions survive a crash at any moment, and which any auditor can read.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, params};

use super::{
    HOUR, HistoryConfig,
    changes::{Change, Kind as ChangeKind},
    sketch::{Salt, Sketch, WRITTEN, source_words},
    tally::{Counts, Fate, InterfaceSample, Kind, Row, Sample},
};
use crate::kernel::Count;

/// `PRAGMA user_version` of files that this version understands.
const SCHEMA: i64 = 1;
/// Another process may be reading.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The file is cut back when it is fuller than this, in hundredths of its largest size.
const FULL: u64 = 90;
/// Hours that one transaction forgets at most, so that none takes long.
const FORGOTTEN_AT_ONCE: u64 = 24;
/// Minutes of this time are never given up for room.
const LAST_TO_GO: u64 = HOUR;
/// A file cannot be smaller than what one hour may need.
const MIN_PAGES: u64 = 64;

const TABLES: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE names(
    id INTEGER PRIMARY KEY,
    interface TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    verdict TEXT NOT NULL,
    UNIQUE(interface, kind, name, verdict));
CREATE TABLE minutes(
    unix INTEGER, name INTEGER, packets INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY(unix, name)) WITHOUT ROWID;
CREATE TABLE hours(
    unix INTEGER, name INTEGER, packets INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY(unix, name)) WITHOUT ROWID;
CREATE TABLE spans(unix INTEGER PRIMARY KEY, since INTEGER NOT NULL);
CREATE TABLE sketches(
    hour INTEGER, run INTEGER, events INTEGER NOT NULL, frames INTEGER NOT NULL,
    sources_floor INTEGER NOT NULL, ports_floor INTEGER NOT NULL, distinct_sources BLOB NOT NULL,
    PRIMARY KEY(hour, run)) WITHOUT ROWID;
CREATE TABLE sources(
    hour INTEGER, run INTEGER, source TEXT, class TEXT NOT NULL,
    packets INTEGER NOT NULL, error INTEGER NOT NULL,
    PRIMARY KEY(hour, run, source)) WITHOUT ROWID;
CREATE TABLE ports(
    hour INTEGER, run INTEGER, protocol INTEGER, port INTEGER,
    packets INTEGER NOT NULL, error INTEGER NOT NULL,
    PRIMARY KEY(hour, run, protocol, port)) WITHOUT ROWID;
CREATE TABLE changes(
    id INTEGER PRIMARY KEY, unix INTEGER NOT NULL, kind TEXT NOT NULL, who TEXT NOT NULL,
    what TEXT NOT NULL, mode TEXT NOT NULL, policy_sha256 TEXT NOT NULL,
    database TEXT NOT NULL, database_sha256 TEXT NOT NULL);
CREATE INDEX changes_unix ON changes(unix);
CREATE TABLE last_seen(
    interface TEXT, ifindex INTEGER NOT NULL, name INTEGER,
    packets INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY(interface, name)) WITHOUT ROWID;
";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("failed to {attempt} {}: {source}", path.display())]
    Io {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{}: {source}", path.display())]
    Sql {
        path: PathBuf,
        source: rusqlite::Error,
    },
    #[error("{} has schema {found}, this version knows {SCHEMA}: use the `cerco` that wrote it", path.display())]
    Schema { path: PathBuf, found: i64 },
    #[error("{} holds nothing yet", path.display())]
    Missing { path: PathBuf },
}

impl StoreError {
    /// The file is no history, or not any more.
    pub fn is_broken(&self) -> bool {
        matches!(
            self.code(),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
        )
    }

    fn is_full(&self) -> bool {
        self.code() == Some(ErrorCode::DiskFull)
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sql { source, .. } => source.sqlite_error_code(),
            _ => None,
        }
    }
}

/// What waits to be written, all of it in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// By minute and interface.
    pub minutes: std::collections::BTreeMap<(u64, String), Counts>,
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

    /// Rows that wait, and changes.
    pub fn len(&self) -> usize {
        self.minutes.values().map(Counts::len).sum::<usize>() + self.changes.len()
    }
}

/// An open history.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    pub(super) connection: Connection,
}

impl Store {
    /// Opens the file to write it, and makes it where there is none.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Self, StoreError> {
        if let Some(directory) = path.parent() {
            let io = |attempt| {
                move |source| StoreError::Io {
                    attempt,
                    path: directory.to_owned(),
                    source,
                }
            };
            fs::create_dir_all(directory).map_err(io("create"))?;
            // Who came to this host is nobody else's business.
            let permissions = fs::Permissions::from_mode(0o700);
            fs::set_permissions(directory, permissions).map_err(io("set the permissions of"))?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let store = Self::connect(path, flags)?;
        store.prepare(max_bytes)?;
        Ok(store)
    }

    /// Opens the file to read it, beside a daemon or without one.
    pub fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing {
                path: path.to_owned(),
            });
        }
        // To write as well: after a crash the half-done transaction must be undone before anybody reads.
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let query_only = store.connection.pragma_update(None, "query_only", true);
        query_only.map_err(store.sql())?;
        match store.schema()? {
            SCHEMA => Ok(store),
            // A daemon was killed before it had made its tables.
            0 => Err(StoreError::Missing {
                path: path.to_owned(),
            }),
            found => Err(store.other_schema(found)),
        }
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, StoreError> {
        let sql = |source| StoreError::Sql {
            path: path.to_owned(),
            source,
        };
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(sql)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(sql)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
        })
    }

    fn prepare(&self, max_bytes: u64) -> Result<(), StoreError> {
        let sql = self.sql();
        let connection = &self.connection;
        // First of all: even a setting may be written into the file.
        let schema = self.schema()?;
        if schema != 0 && schema != SCHEMA {
            return Err(self.other_schema(schema));
        }
        // No write-ahead log: its index is mapped memory, and a file that is cut short under a mapping
        // kills the process that maps it.
        let settings = "
            PRAGMA auto_vacuum = INCREMENTAL;
            PRAGMA synchronous = FULL;
            PRAGMA temp_store = MEMORY;
            PRAGMA mmap_size = 0;
            PRAGMA trusted_schema = OFF;";
        connection.execute_batch(settings).map_err(&sql)?;
        connection
            .pragma_update_and_check(None, "journal_mode", "TRUNCATE", |_| Ok(()))
            .map_err(&sql)?;
        if schema == 0 {
            let transaction = connection.unchecked_transaction().map_err(&sql)?;
            transaction.execute_batch(TABLES).map_err(&sql)?;
            let mut salt: Salt = [0; 16];
            // SAFETY: the pointer is to as many bytes as are asked for.
            let got = unsafe { libc::getrandom(salt.as_mut_ptr().cast(), salt.len(), 0) };
            if got != salt.len() as isize {
                return Err(StoreError::Io {
                    attempt: "get random bytes for",
                    path: self.path.clone(),
                    source: io::Error::last_os_error(),
                });
            }
            put_meta(&transaction, "salt", &salt[..]).map_err(&sql)?;
            let version = transaction.pragma_update(None, "user_version", SCHEMA);
            version.map_err(&sql)?;
            transaction.commit().map_err(&sql)?;
        }
        self.limit(max_bytes)
    }

    /// SQLite itself sees to it that the file never gets larger.
    fn limit(&self, max_bytes: u64) -> Result<(), StoreError> {
        let pages = (max_bytes / self.page_size()?).max(MIN_PAGES);
        self.connection
            .pragma_update_and_check(None, "max_page_count", pages as i64, |_| Ok(()))
            .map_err(self.sql())
    }

    fn other_schema(&self, found: i64) -> StoreError {
        StoreError::Schema {
            path: self.path.clone(),
            found,
        }
    }

    fn schema(&self) -> Result<i64, StoreError> {
        self.pragma("user_version").map(|it| it as i64)
    }

    fn page_size(&self) -> Result<u64, StoreError> {
        self.pragma("page_size")
    }

    fn pragma(&self, name: &str) -> Result<u64, StoreError> {
        self.connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map(|value| value.max(0) as u64)
            .map_err(self.sql())
    }

    pub(super) fn sql(&self) -> impl Fn(rusqlite::Error) -> StoreError + '_ {
        |source| StoreError::Sql {
            path: self.path.clone(),
            source,
        }
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        Ok(self.pragma("page_count")? * self.page_size()?)
    }

    /// Bytes of the file that hold something.
    fn used_bytes(&self) -> Result<u64, StoreError> {
        let used = self.pragma("page_count")? - self.pragma("freelist_count")?;
        Ok(used * self.page_size()?)
    }

    pub fn salt(&self) -> Result<Salt, StoreError> {
        let salt: Vec<u8> = self.meta("salt")?.unwrap_or_default();
        Ok(salt.try_into().unwrap_or_default())
    }

    /// The number of a new run of the daemon.
    pub fn begin_run(&self) -> Result<u64, StoreError> {
        let run = self.meta::<i64>("run")?.unwrap_or_default() + 1;
        put_meta(&self.connection, "run", run).map_err(self.sql())?;
        Ok(run as u64)
    }

    pub(super) fn meta<T: rusqlite::types::FromSql>(
        &self,
        key: &str,
    ) -> Result<Option<T>, StoreError> {
        self.connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                row.get(0)
            })
            .optional()
            .map_err(self.sql())
    }

    /// The counters that the last transaction went up to.
    pub fn last_seen(&self) -> Result<Option<Sample>, StoreError> {
        let sql = self.sql();
        let (Some(gate), Some(unix)) = (self.meta::<String>("gate")?, self.meta::<i64>("unix")?)
        else {
            return Ok(None);
        };
        let mut statement = self
            .connection
            .prepare(
                "SELECT l.interface, l.ifindex, n.kind, n.name, n.verdict, l.packets, l.bytes
                 FROM last_seen l JOIN names n ON n.id = l.name ORDER BY l.interface",
            )
            .map_err(&sql)?;
        let mut rows = statement.query([]).map_err(&sql)?;
        let mut interfaces: Vec<InterfaceSample> = Vec::new();
        while let Some(row) = rows.next().map_err(&sql)? {
            let read = read_last_seen(row).map_err(&sql)?;
            let Some((interface, ifindex, row, count)) = read else {
                continue;
            };
            if interfaces
                .last()
                .is_none_or(|last| last.interface != interface)
            {
                interfaces.push(InterfaceSample {
                    interface,
                    ifindex,
                    counts: Counts::new(),
                });
            }
            if let Some(last) = interfaces.last_mut() {
                last.counts.insert(row, count);
            }
        }
        Ok(Some(Sample {
            unix: unix.max(0) as u64,
            gate,
            interfaces,
        }))
    }

    /// The last thing that a daemon said of itself.
    pub fn last_words(&self) -> Result<Option<String>, StoreError> {
        self.connection
            .query_row(
                "SELECT what FROM changes WHERE kind = ?1 ORDER BY id DESC LIMIT 1",
                [ChangeKind::Daemon.word()],
                |row| row.get(0),
            )
            .optional()
            .map_err(self.sql())
    }

    /// Writes `batch` and the sketch of the hour, or nothing of them.
    pub fn write(
        &mut self,
        batch: &Batch,
        run: u64,
        sketches: &[&Sketch],
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        let sql = |source| StoreError::Sql { path, source };
        self.write_all(batch, run, sketches).map_err(sql)
    }

    fn write_all(&mut self, batch: &Batch, run: u64, sketches: &[&Sketch]) -> rusqlite::Result<()> {
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
            put_sketch(&transaction, run, sketch)?;
        }
        if let Some(sample) = &batch.last_seen {
            put_last_seen(&transaction, sample)?;
        }
        transaction.commit()
    }

    /// Forgets what is too old and, when the file is too full, the oldest of what is left. Works in small
    /// steps; true: there is more to forget.
    pub fn forget(&mut self, now: u64, config: &HistoryConfig) -> Result<bool, StoreError> {
        let is_full = self.used_bytes()? * 100 > config.max_bytes * FULL;
        let path = self.path.clone();
        let sql = |source| StoreError::Sql { path, source };
        let more = self.forget_some(now, config, is_full).map_err(sql)?;
        if self.bytes()? > config.max_bytes {
            let vacuum = self.connection.execute_batch("PRAGMA incremental_vacuum");
            vacuum.map_err(self.sql())?;
            self.limit(config.max_bytes)?;
        }
        Ok(more)
    }

    fn forget_some(
        &mut self,
        now: u64,
        config: &HistoryConfig,
        is_full: bool,
    ) -> rusqlite::Result<bool> {
        let hour = |unix: u64| unix - unix % HOUR;
        let transaction = self.connection.transaction()?;
        let mut more = false;
        let oldest_minute = oldest(&transaction, "minutes")?.map(hour);
        let mut minutes_from = hour(now.saturating_sub(config.keep_minutes));
        if let Some(oldest) = oldest_minute {
            let last_to_go = hour(now.saturating_sub(LAST_TO_GO));
            if is_full && oldest >= minutes_from && oldest < last_to_go {
                minutes_from = oldest + HOUR;
                more = true;
            }
            if oldest < minutes_from {
                // A clock that is wrong for a while, as before the first NTP answer, costs no more than this.
                let next = (oldest + FORGOTTEN_AT_ONCE * HOUR).min(minutes_from);
                transaction.execute("DELETE FROM minutes WHERE unix < ?1", [signed(next)])?;
                put_meta(&transaction, "minutes_from", signed(next))?;
            }
        }
        let only_hours_left = !more;
        let mut hours_from = hour(now.saturating_sub(config.keep_hours));
        if let Some(oldest) = oldest(&transaction, "hours")? {
            if is_full && only_hours_left && oldest >= hours_from && oldest < hour(now) {
                hours_from = oldest + HOUR;
                more = true;
            }
            if oldest < hours_from {
                let next = (oldest + FORGOTTEN_AT_ONCE * HOUR).min(hours_from);
                for table in ["hours", "spans", "changes"] {
                    let delete = format!("DELETE FROM {table} WHERE unix < ?1");
                    transaction.execute(&delete, [signed(next)])?;
                }
                for table in ["sketches", "sources", "ports"] {
                    let delete = format!("DELETE FROM {table} WHERE hour < ?1");
                    transaction.execute(&delete, [signed(next)])?;
                }
            }
        }
        transaction.commit()?;
        Ok(more)
    }

    /// Makes room after a write that found none, if it was the largest size that was in the way.
    pub fn make_room(
        &mut self,
        error: &StoreError,
        now: u64,
        config: &HistoryConfig,
    ) -> Result<bool, StoreError> {
        Ok(error.is_full()
            && self.used_bytes()? * 100 > config.max_bytes * FULL
            && self.forget(now, config)?)
    }

    /// The oldest minute and the oldest hour.
    pub fn oldest(&self) -> Result<(Option<u64>, Option<u64>), StoreError> {
        let oldest = |table| oldest(&self.connection, table).map_err(self.sql());
        Ok((oldest("minutes")?, oldest("hours")?))
    }
}

fn read_last_seen(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<(String, u32, Row, Count)>> {
    let (kind, fate): (String, String) = (row.get(2)?, row.get(4)?);
    let (Some(kind), Some(fate)) = (kind_of(&kind), fate_of(&fate)) else {
        return Ok(None);
    };
    let name = row.get(3)?;
    let count = Count {
        packets: row.get::<_, i64>(5)?.max(0) as u64,
        bytes: row.get::<_, i64>(6)?.max(0) as u64,
    };
    Ok(Some((
        row.get(0)?,
        row.get(1)?,
        Row { kind, name, fate },
        count,
    )))
}

pub(super) fn kind_of(word: &str) -> Option<Kind> {
    let kinds = [Kind::Reason, Kind::Class, Kind::Protocol];
    kinds.into_iter().find(|kind| kind.word() == word)
}

pub(super) fn fate_of(word: &str) -> Option<Fate> {
    let fates = [Fate::Pass, Fate::Drop, Fate::WouldDrop];
    fates.into_iter().find(|fate| fate.word() == word)
}

/// SQLite knows no larger numbers; nobody counts so far.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn oldest(connection: &Connection, table: &str) -> rusqlite::Result<Option<u64>> {
    let sql = format!("SELECT min(unix) FROM {table}");
    let oldest: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(oldest.map(|unix| unix.max(0) as u64))
}

fn put_meta(
    connection: &Connection,
    key: &str,
    value: impl rusqlite::ToSql,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta VALUES(?1, ?2)")?
        .execute(params![key, value])
        .map(|_| ())
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
fn put_sketch(transaction: &Transaction<'_>, run: u64, sketch: &Sketch) -> rusqlite::Result<()> {
    if sketch.events == 0 {
        return Ok(());
    }
    let (hour, run) = (signed(sketch.hour), signed(run));
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
    for table in ["sources", "ports"] {
        let delete = format!("DELETE FROM {table} WHERE hour = ?1 AND run = ?2");
        transaction.prepare_cached(&delete)?.execute([hour, run])?;
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
                signed(entry.error),
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
                signed(entry.error),
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

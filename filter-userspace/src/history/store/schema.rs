//! What lies in the file, and how it is set up.

use std::io;

use super::{super::sketch::Salt, Store, StoreError, put_meta};

/// `PRAGMA user_version` of files that this version understands.
pub(super) const SCHEMA: i64 = 1;
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
CREATE TABLE classes(
    hour INTEGER, run INTEGER, class TEXT, events INTEGER NOT NULL, frames INTEGER NOT NULL,
    PRIMARY KEY(hour, run, class)) WITHOUT ROWID;
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

impl Store {
    pub(super) fn prepare(&self, max_bytes: u64) -> Result<(), StoreError> {
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
    pub(super) fn limit(&self, max_bytes: u64) -> Result<(), StoreError> {
        let pages = (max_bytes / self.page_size()?).max(MIN_PAGES);
        self.connection
            .pragma_update_and_check(None, "max_page_count", pages as i64, |_| Ok(()))
            .map_err(self.sql())
    }
}

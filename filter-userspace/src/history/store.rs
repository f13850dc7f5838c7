//! The file: SQLite, whose transactions survive a crash at any moment, and which any auditor can read.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use self::schema::SCHEMA;
pub use self::write::Batch;
use super::{
    changes::Kind as ChangeKind,
    sketch::Salt,
    tally::{Counts, Fate, InterfaceSample, Kind, Row, Sample},
};
use crate::kernel::Count;

mod retention;
mod schema;
mod write;

/// Another process may be reading.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

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
        // Who may not enter the directory cannot tell whether it is there.
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => {
                return Err(StoreError::Missing {
                    path: path.to_owned(),
                });
            }
            Err(source) => {
                return Err(StoreError::Io {
                    attempt: "look for",
                    path: path.to_owned(),
                    source,
                });
            }
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
        meta(&self.connection, key).map_err(self.sql())
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

fn meta<T: rusqlite::types::FromSql>(
    connection: &Connection,
    key: &str,
) -> rusqlite::Result<Option<T>> {
    connection
        .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
            row.get(0)
        })
        .optional()
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

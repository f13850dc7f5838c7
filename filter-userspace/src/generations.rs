//! The databases that were in force, kept as files, so that there is always a last good one.
//!
//! `databases/N.geo` in the state directory is generation N: a line with a checksum, a line of JSON
//! about it, and a snapshot (`geo::snapshot`). `databases/current.json` says which one is in force.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use filter_common::country::CountryCode;
use serde::{Deserialize, Serialize};

use crate::{
    control::reply::unix_seconds,
    durable,
    geo::{self, BUILTIN_ATTRIBUTION, Database, Digest, Format, Source, snapshot},
};

const SCHEMA: u32 = 1;
/// Begins every generation; the CRC-32 of everything behind the line follows.
const MAGIC: &str = "cerco database 1 ";
/// About a database, in one line; it holds a path, and paths end at 4 KiB.
const MAX_ABOUT_BYTES: u64 = 64 * 1024;

/// What is known about a kept database without reading it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct About {
    /// `builtin`, or the path of the file.
    pub source: String,
    pub format: String,
    /// `[geo] country` when it was read.
    pub country: Option<String>,
    #[serde(with = "unix_seconds")]
    pub built: Option<SystemTime>,
    /// When it came into force first.
    #[serde(with = "unix_seconds")]
    pub published: Option<SystemTime>,
    /// Of the file that it was made from.
    pub sha256: Digest,
    pub networks_v4: u64,
    pub networks_v6: u64,
    /// Addresses with a country.
    pub addresses_v4: u64,
    /// Networks of /48 with a country, rounded down.
    pub sites_v6: u64,
    pub unterminated: bool,
}

impl About {
    pub fn of(
        database: &Database,
        country: Option<CountryCode>,
        published: Option<SystemTime>,
    ) -> Self {
        let info = &database.info;
        Self {
            source: match &info.source {
                Source::Kept { of, .. } => of.clone(),
                source => source.to_string(),
            },
            format: info.format.to_string(),
            country: country.map(|country| country.to_string()),
            built: info.build_time,
            published,
            sha256: info.digest.unwrap_or_else(geo::builtin_digest),
            networks_v4: info.networks_v4,
            networks_v6: info.networks_v6,
            addresses_v4: database.covered_v4(),
            sites_v6: sites(database.covered_v6()),
            unterminated: info.unterminated,
        }
    }

    /// Whether a file of this content, read for `country`, gives this database.
    pub fn is_of(&self, digest: Digest, country: Option<CountryCode>) -> bool {
        self.sha256 == digest
            && self.country.as_deref() == country.as_ref().map(CountryCode::as_str)
    }
}

/// IPv6 addresses in networks of /48, as sites get them.
pub const fn sites(addresses: u128) -> u64 {
    (addresses >> 80) as u64
}

/// A database that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Generation {
    /// Counts from 1; a later one has come into force later.
    pub number: u64,
    pub about: About,
}

/// What was in force when the daemon ended.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Current {
    pub in_force: Option<u64>,
    /// Since when it stays in force whatever the config names; set by a rollback.
    #[serde(with = "unix_seconds")]
    pub held_since: Option<SystemTime>,
}

#[derive(Serialize, Deserialize)]
struct CurrentFile {
    schema: u32,
    #[serde(flatten)]
    current: Current,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("failed to {attempt} {}: {source}", path.display())]
    Io {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} is no kept database: {what}", path.display())]
    Broken { path: PathBuf, what: String },
    #[error("the database cannot be kept: {0}")]
    Encode(String),
    #[error("no generation {number} is kept; `cerco geo status` lists them")]
    Missing { number: u64 },
}

/// The directory of the generations.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// The store below the state directory `state`; nothing is created before something is kept.
    pub fn at(state: &Path) -> Self {
        Self {
            directory: state.join("databases"),
        }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is kept, the oldest first. What cannot be read is left out.
    pub fn list(&self) -> Vec<Generation> {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return Vec::new();
        };
        let mut generations: Vec<Generation> = entries
            .filter_map(|entry| number_of(&entry.ok()?.path()))
            .filter_map(|number| {
                let about = self.about(number).ok()?;
                Some(Generation { number, about })
            })
            .collect();
        generations.sort_by_key(|generation| generation.number);
        generations
    }

    fn about(&self, number: u64) -> Result<About, StoreError> {
        let path = self.path(number);
        let file = File::open(&path).map_err(|source| self.no_file(number, source))?;
        let mut lines = BufReader::new(file.take(MAX_ABOUT_BYTES)).lines();
        let mut line = || {
            let line = lines.next().and_then(Result::ok);
            line.ok_or_else(|| broken(&path, "it ends within the header"))
        };
        if !line()?.starts_with(MAGIC) {
            return Err(broken(&path, "it does not begin as one"));
        }
        serde_json::from_str(&line()?).map_err(|error| broken(&path, error))
    }

    /// Reads generation `number`. A file that was damaged is an error.
    pub fn read(&self, number: u64) -> Result<(Database, About), StoreError> {
        let path = self.path(number);
        let bytes = fs::read(&path).map_err(|source| self.no_file(number, source))?;
        let (head, rest) = split_line(&bytes).ok_or_else(|| broken(&path, "it has no lines"))?;
        let checksum = head
            .strip_prefix(MAGIC)
            .ok_or_else(|| broken(&path, "it does not begin as one"))?;
        if checksum != checksum_of(&[rest]) {
            return Err(broken(&path, "its checksum is wrong"));
        }
        let (about, body) = split_line(rest).ok_or_else(|| broken(&path, "it is cut off"))?;
        let about: About = serde_json::from_str(about).map_err(|error| broken(&path, error))?;
        let source = Source::Kept {
            generation: number,
            of: about.source.clone(),
        };
        let mut database = snapshot::read(body, source).map_err(|error| broken(&path, error))?;
        let info = &mut database.info;
        info.format = Format::named(&about.format).unwrap_or(Format::Snapshot);
        info.digest = Some(about.sha256);
        info.unterminated = about.unterminated;
        info.attribution =
            (about.source == Source::Builtin.to_string()).then_some(BUILTIN_ATTRIBUTION);
        Ok((database, about))
    }

    /// Keeps `database` as a new generation; its number.
    pub fn keep(&self, database: &Database, about: &About) -> Result<u64, StoreError> {
        let body = snapshot::encode_stored(database)
            .map_err(|error| StoreError::Encode(error.to_string()))?;
        let mut line =
            serde_json::to_vec(about).map_err(|error| StoreError::Encode(error.to_string()))?;
        line.push(b'\n');
        let number = self.highest_number() + 1;
        let path = self.path(number);
        let head = format!("{MAGIC}{}\n", checksum_of(&[&line, &body]));
        fs::create_dir_all(&self.directory)
            .map_err(|source| io_error("create", &self.directory, source))?;
        durable::replace(&path, &[head.as_bytes(), &line, &body])
            .map_err(|source| io_error("write", &path, source))?;
        Ok(number)
    }

    /// Removes the oldest beyond `keep`, but none of `wanted`.
    pub fn prune(&self, keep: usize, wanted: Option<u64>) -> Result<(), StoreError> {
        let generations = self.list();
        let surplus = generations.len().saturating_sub(keep);
        let removable = generations
            .iter()
            .filter(|generation| Some(generation.number) != wanted);
        for generation in removable.take(surplus) {
            let path = self.path(generation.number);
            fs::remove_file(&path).map_err(|source| io_error("remove", &path, source))?;
        }
        Ok(())
    }

    /// What is in force. Without a file that says so it is the newest of what is kept.
    pub fn current(&self) -> Current {
        let path = self.current_path();
        let said = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<CurrentFile>(&bytes).ok())
            .filter(|file| file.schema == SCHEMA);
        match said {
            Some(file) => file.current,
            None => Current {
                in_force: self.list().last().map(|generation| generation.number),
                held_since: None,
            },
        }
    }

    pub fn set_current(&self, current: &Current) -> Result<(), StoreError> {
        let path = self.current_path();
        let file = CurrentFile {
            schema: SCHEMA,
            current: current.clone(),
        };
        let mut bytes = serde_json::to_vec_pretty(&file)
            .map_err(|error| StoreError::Encode(error.to_string()))?;
        bytes.push(b'\n');
        fs::create_dir_all(&self.directory)
            .and_then(|()| durable::replace(&path, &[&bytes]))
            .map_err(|source| io_error("write", &path, source))
    }

    /// Also of files that cannot be read: their numbers are not used again.
    fn highest_number(&self) -> u64 {
        fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .filter_map(|entry| number_of(&entry.ok()?.path()))
            .max()
            .unwrap_or(0)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number}.geo"))
    }

    fn current_path(&self) -> PathBuf {
        self.directory.join("current.json")
    }

    fn no_file(&self, number: u64, source: io::Error) -> StoreError {
        match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { number },
            _ => io_error("read", &self.path(number), source),
        }
    }
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?
        .to_str()?
        .strip_suffix(".geo")?
        .parse()
        .ok()
}

fn split_line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

fn checksum_of(parts: &[&[u8]]) -> String {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    format!("{:08x}", hasher.finalize())
}

fn io_error(attempt: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        attempt,
        path: path.to_owned(),
        source,
    }
}

fn broken(path: &Path, what: impl ToString) -> StoreError {
    StoreError::Broken {
        path: path.to_owned(),
        what: what.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::geo::{ReadOptions, read_bytes};

    fn database(text: &str) -> Database {
        let source = Source::File("/var/lib/GeoIP/db.csv".into());
        read_bytes(text.as_bytes().to_vec(), source, &ReadOptions::default()).unwrap()
    }

    fn about(database: &Database) -> About {
        let published = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        About::of(database, None, Some(published))
    }

    #[test]
    fn database_comes_back_as_it_was_kept() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::at(directory.path());
        assert_eq!(store.list(), []);
        assert_eq!(store.current(), Current::default());
        let database = database("1.0.0.0/24,MO\n2001:db8::/32,CN\n2.0.0.0/8,US");
        let about = about(&database);
        assert_eq!(about.addresses_v4, 256 + (1 << 24));
        assert_eq!(about.sites_v6, 1 << 16);
        assert_eq!(store.keep(&database, &about).unwrap(), 1);
        let (read, read_about) = store.read(1).unwrap();
        assert_eq!((&read.v4, &read.v6), (&database.v4, &database.v6));
        assert_eq!(read_about, about);
        assert_eq!(read.info.digest, database.info.digest);
        assert_eq!(read.info.format, Format::Csv);
        assert!(read.info.unterminated);
        assert_eq!(
            read.info.source.to_string(),
            "/var/lib/GeoIP/db.csv (kept as generation 1)"
        );
        // Kept again it is still that of the file.
        assert_eq!(About::of(&read, None, about.published), about);
        assert_eq!(store.list(), [Generation { number: 1, about }]);
        assert_eq!(store.current().in_force, Some(1));
        let error = store.read(2).unwrap_err().to_string();
        assert!(error.starts_with("no generation 2 is kept"), "{error}");
    }

    #[test]
    fn oldest_go_and_what_is_in_force_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::at(directory.path());
        let database = database("1.0.0.0/24,MO\n");
        for _ in 0..5 {
            store.keep(&database, &about(&database)).unwrap();
        }
        let numbers = || -> Vec<u64> { store.list().iter().map(|it| it.number).collect() };
        store.prune(3, Some(1)).unwrap();
        assert_eq!(numbers(), [1, 4, 5]);
        store.prune(3, Some(5)).unwrap();
        assert_eq!(numbers(), [1, 4, 5]);
        assert_eq!(store.keep(&database, &about(&database)).unwrap(), 6);
        store.prune(1, Some(6)).unwrap();
        assert_eq!(numbers(), [6]);
        let current = Current {
            in_force: Some(4),
            held_since: Some(UNIX_EPOCH + Duration::from_secs(1_790_000_001)),
        };
        store.set_current(&current).unwrap();
        assert_eq!(store.current(), current);
    }

    #[test]
    fn damaged_files_are_errors_and_never_a_database() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::at(directory.path());
        let database = database("1.0.0.0/24,MO\n2001:db8::/32,CN\n");
        store.keep(&database, &about(&database)).unwrap();
        let path = store.path(1);
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            store.read(1).unwrap_err();
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            fs::write(&path, &damaged).unwrap();
            store.read(1).unwrap_err();
        }
        fs::write(&path, "").unwrap();
        assert_eq!(store.list(), []);
        // Its number is not given to another database.
        assert_eq!(store.keep(&database, &about(&database)).unwrap(), 2);
        fs::write(store.directory().join("current.json"), "{\"schema\":9}").unwrap();
        assert_eq!(store.current().in_force, Some(2));
    }
}

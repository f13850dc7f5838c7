//! GeoIP databases in, sorted ranges out.
//!
//! One format per file, and all of them pure: bytes in, [`Database`] out. Files are read whole, never
//! mapped, because truncating a mapped file kills the process that reads it (SIGBUS). Nothing here
//! opens a socket.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use filter_common::country::CountryCode;

mod builtin;
mod cidr;
pub mod compare;
mod csv;
mod detect;
mod digest;
mod error;
mod failure;
mod field;
pub mod judge;
mod merge;
mod mmdb;
mod range;
mod rir;
pub mod snapshot;

pub use builtin::{ATTRIBUTION as BUILTIN_ATTRIBUTION, builtin, builtin_digest};
pub use digest::Digest;
pub use error::{GeoError, Position, Problem};
pub use failure::UpdateFailure;
pub use mmdb::sound_mmdb;
pub use range::{Address, Found, Range, Range4, Range6, covering_prefixes};

use error::Fault;

/// Larger files are refused. The largest country databases in use have some 50 MB.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// The world as one database sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Database {
    /// Sorted and disjoint; adjacent ranges belong to different countries.
    pub v4: Vec<Range4>,
    /// Sorted and disjoint; adjacent ranges belong to different countries.
    pub v6: Vec<Range6>,
    pub info: DatabaseInfo,
}

/// Where a database comes from, for `geo status` and the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseInfo {
    pub source: Source,
    pub format: Format,
    /// When the data was built, if the file says so.
    pub build_time: Option<SystemTime>,
    /// IPv4 networks, ranges or records with a country in the file, before they were merged.
    pub networks_v4: u64,
    /// The same for IPv6.
    pub networks_v6: u64,
    /// What the licence of the data asks to be shown wherever results are.
    pub attribution: Option<&'static str>,
    /// Of the bytes that were read; `None` for the embedded one, see [`builtin_digest`].
    pub digest: Option<Digest>,
    /// A text whose last line has no end, as one that was cut off.
    pub unterminated: bool,
}

/// The embedded database, a file, or one that was kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    Builtin,
    File(PathBuf),
    /// A generation of the state directory, which was made from `of`.
    Kept {
        generation: u64,
        of: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin => f.write_str("builtin"),
            Self::File(path) => path.display().fmt(f),
            Self::Kept { generation, of } => write!(f, "{of} (kept as generation {generation})"),
        }
    }
}

/// The formats that are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Delta-coded ranges, embedded in the binary.
    Snapshot,
    Mmdb,
    Csv,
    Rir,
    Cidr,
}

impl Format {
    /// For errors about unknown formats.
    pub const LIST: &'static str =
        "MaxMind DB, CSV of ranges or networks, RIR delegated statistics, list of prefixes";

    /// The format that [`Self`] writes as `name`.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Snapshot, Self::Mmdb, Self::Csv, Self::Rir, Self::Cidr]
            .into_iter()
            .find(|format| format.to_string() == name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snapshot => "snapshot",
            Self::Mmdb => "MaxMind DB",
            Self::Csv => "CSV",
            Self::Rir => "RIR delegated statistics",
            Self::Cidr => "list of prefixes",
        })
    }
}

/// What the config says about a database file.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ReadOptions {
    /// The country of a list of prefixes. Files that name countries themselves refuse it.
    pub country: Option<CountryCode>,
}

/// Reads a database file of any format.
///
/// Fails if the file cannot be read whole or if anything in it is wrong; see [`Problem`].
pub fn read_file(path: &Path, options: &ReadOptions) -> Result<Database, GeoError> {
    let (bytes, _) = read_file_bytes(path)?;
    read_bytes(bytes, Source::File(path.to_path_buf()), options)
}

/// Reads a database of any format from memory; `source` is what errors and [`DatabaseInfo`] name.
pub fn read_bytes(
    bytes: Vec<u8>,
    source: Source,
    options: &ReadOptions,
) -> Result<Database, GeoError> {
    let digest = Digest::of(&bytes);
    let ends_in_a_line = bytes.last() == Some(&b'\n');
    let mut database = parse(bytes, options)
        .map(|parsed| parsed.into_database(source.clone()))
        .map_err(|fault| fault.in_source(source))?;
    let info = &mut database.info;
    info.digest = Some(digest);
    info.unterminated = info.format != Format::Mmdb && !ends_in_a_line;
    Ok(database)
}

/// The whole file at `path`, for [`read_bytes`], and its digest.
///
/// Where a file `PATH.sha256` stands beside it, as `sha256sum` writes them, the two must agree.
pub fn read_file_bytes(path: &Path) -> Result<(Vec<u8>, Digest), GeoError> {
    let in_source = |problem| Fault::from(problem).in_source(Source::File(path.to_path_buf()));
    let bytes = read_whole(path).map_err(in_source)?;
    let found = Digest::of(&bytes);
    match checksum_beside(path).map_err(in_source)? {
        Some(expected) if expected != found => Err(in_source(Problem::Checksum {
            beside: checksum_path(path),
            expected,
            found,
        })),
        _ => Ok((bytes, found)),
    }
}

/// Where the checksum of the file at `path` stands, if it has one.
pub fn checksum_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

fn checksum_beside(path: &Path) -> Result<Option<Digest>, Problem> {
    /// The digest and the name of the file.
    const MAX_CHECKSUM_BYTES: u64 = 8 * 1024;
    let beside = checksum_path(path);
    let file = match File::open(&beside) {
        Ok(file) if file.metadata()?.is_file() => file,
        Ok(_) => return Err(Problem::NoChecksum { beside }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut text = Vec::new();
    file.take(MAX_CHECKSUM_BYTES).read_to_end(&mut text)?;
    let digest = str::from_utf8(&text)
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok());
    digest.map(Some).ok_or(Problem::NoChecksum { beside })
}

/// Reads from one descriptor: a file that is put in the place of this one meanwhile is not seen.
fn read_whole(path: &Path) -> Result<Vec<u8>, Problem> {
    read_open(File::open(path)?, || {})
}

/// `meanwhile` stands for what others do to the file, in tests.
fn read_open(mut file: File, meanwhile: impl FnOnce()) -> Result<Vec<u8>, Problem> {
    let metadata = file.metadata()?;
    // A FIFO or a terminal would block the daemon for ever.
    if !metadata.is_file() {
        return Err(Problem::NotAFile);
    }
    let too_large = |bytes| Problem::TooLarge { bytes };
    if metadata.len() > MAX_FILE_BYTES {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // The file may grow while it is read, so its length alone is no limit.
    (&mut file)
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    let read = bytes.len() as u64;
    if read > MAX_FILE_BYTES {
        return Err(too_large(read));
    }
    meanwhile();
    // Part of one edition and part of the next can look like a database.
    let after = file.metadata()?;
    let stamp = |it: &Metadata| (it.len(), it.mtime(), it.mtime_nsec());
    if read != metadata.len() || stamp(&after) != stamp(&metadata) {
        return Err(Problem::WrittenMeanwhile);
    }
    Ok(bytes)
}

fn parse(bytes: Vec<u8>, options: &ReadOptions) -> Result<Parsed, Fault> {
    let format = detect::format(&bytes)?;
    match (format, options.country) {
        (Format::Cidr, None) => return Err(Problem::CountryNeeded.into()),
        (Format::Cidr, Some(country)) => return cidr::parse(&bytes, country),
        (format, Some(country)) => {
            return Err(Problem::CountryNotWanted { country, format }.into());
        }
        (_, None) => {}
    }
    match format {
        Format::Mmdb => mmdb::parse(bytes),
        Format::Rir => rir::parse(&bytes),
        _ => csv::parse(&bytes),
    }
}

/// What a parser makes of a file.
struct Parsed {
    v4: Vec<Range4>,
    v6: Vec<Range6>,
    format: Format,
    build_time: Option<SystemTime>,
    networks_v4: u64,
    networks_v6: u64,
}

impl Parsed {
    fn into_database(self, source: Source) -> Database {
        Database {
            v4: self.v4,
            v6: self.v6,
            info: DatabaseInfo {
                source,
                format: self.format,
                build_time: self.build_time,
                networks_v4: self.networks_v4,
                networks_v6: self.networks_v6,
                attribution: None,
                digest: None,
                unterminated: false,
            },
        }
    }
}

impl Database {
    /// The range that holds `address`, or the gap around it.
    ///
    /// An IPv4-mapped IPv6 address is looked up as IPv6, as the kernel would.
    pub fn lookup(&self, address: IpAddr) -> Found {
        match address {
            IpAddr::V4(v4) => found(address, range::find(&self.v4, u32::from(v4))),
            IpAddr::V6(v6) => found(address, range::find(&self.v6, u128::from(v6))),
        }
    }

    /// Every country with at least one range, in the order of the codes.
    pub fn countries(&self) -> Vec<CountryCode> {
        // One bit per possible code: collecting a code per range would take megabytes.
        let mut seen = [false; 26 * 26];
        let codes = self.v4.iter().map(|range| range.country);
        for code in codes.chain(self.v6.iter().map(|range| range.country)) {
            let [a, b] = code.letters().map(|letter| usize::from(letter - b'A'));
            seen[a * 26 + b] = true;
        }
        (b'A'..=b'Z')
            .flat_map(|a| (b'A'..=b'Z').map(move |b| [a, b]))
            .zip(seen)
            .filter(|(_, seen)| *seen)
            .filter_map(|(letters, _)| CountryCode::new(letters))
            .collect()
    }

    /// How many IPv4 addresses have a country.
    pub fn covered_v4(&self) -> u64 {
        let sizes = self.v4.iter().map(|range| range.last - range.first);
        sizes.map(|size| u64::from(size) + 1).sum()
    }

    /// How many IPv6 addresses have a country; saturates if all of them have.
    pub fn covered_v6(&self) -> u128 {
        let sizes = self.v6.iter().map(|range| range.last - range.first);
        sizes.fold(0, |sum: u128, size| {
            sum.saturating_add(size).saturating_add(1)
        })
    }
}

fn found<A: Address>(
    address: IpAddr,
    (first, last, country): (A, A, Option<CountryCode>),
) -> Found {
    Found {
        address,
        first: first.to_ip(),
        last: last.to_ip(),
        country,
    }
}

#[cfg(test)]
mod bad_databases;
#[cfg(test)]
mod mmdb_tests;
#[cfg(test)]
pub(crate) mod mmdb_writer;

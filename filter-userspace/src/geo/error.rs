//! What can be wrong with a database, where, and what to do about it.

use std::fmt;

use filter_common::country::CountryCode;
use thiserror::Error;

use super::{Format, Source};

/// A database that was refused. Nothing of it has been used.
#[derive(Debug, Error)]
#[error("failed to read geoip database {source_name}{}: {problem}", at_text(.at))]
pub struct GeoError {
    pub source_name: Source,
    /// Where in the file, if the problem has a place.
    pub at: Option<Position>,
    pub problem: Box<Problem>,
}

/// A place in a database file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// Counts from 1.
    Line(u64),
    /// Bytes from the start of the file.
    Offset(u64),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, ":{line}"),
            Self::Offset(offset) => write!(f, " at offset {offset}"),
        }
    }
}

fn at_text(at: &Option<Position>) -> String {
    at.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// A problem before the name of the file is known: the parsers see only bytes.
#[derive(Debug)]
pub(super) struct Fault {
    pub at: Option<Position>,
    pub problem: Problem,
}

impl Fault {
    pub(super) fn at_line(line: u64, problem: Problem) -> Self {
        Self {
            at: Some(Position::Line(line)),
            problem,
        }
    }

    pub(super) fn in_source(self, source_name: Source) -> GeoError {
        GeoError {
            source_name,
            at: self.at,
            problem: Box::new(self.problem),
        }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self { at: None, problem }
    }
}

/// Everything that can be wrong with a database.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("not a regular file; name the database file itself")]
    NotAFile,
    #[error(
        "{bytes} bytes, more than the {} that are read; is it the right file?",
        super::MAX_FILE_BYTES
    )]
    TooLarge { bytes: u64 },
    #[error(
        "somebody wrote to the file while it was read; write a new one beside it and rename that"
    )]
    WrittenMeanwhile,
    #[error(
        "its SHA-256 is {found}, but {} says {expected}; download both again", beside.display()
    )]
    Checksum {
        beside: std::path::PathBuf,
        expected: super::Digest,
        found: super::Digest,
    },
    #[error("{} does not begin with a SHA-256; remove it, or write one", beside.display())]
    NoChecksum { beside: std::path::PathBuf },
    #[error("the file is empty; was the download cut off?")]
    Empty,
    #[error("this looks like a web page; was the download refused?")]
    WebPage,
    #[error("compressed with {0}: unpack it first")]
    Compressed(&'static str),
    #[error(
        "binary, but without the metadata at the end of a MaxMind DB; the file is cut off or of an \
         unknown format (formats that are read: {})",
        Format::LIST
    )]
    NoMetadata,
    #[error(
        "unknown format: {excerpt:?} (formats that are read: {})",
        Format::LIST
    )]
    UnknownFormat { excerpt: String },
    #[error("a list of prefixes does not say whose they are; set `country` beside `database`")]
    CountryNeeded,
    #[error("`country = \"{country}\"` is for lists of prefixes, but this is {format}; remove it")]
    CountryNotWanted {
        country: CountryCode,
        format: Format,
    },
    #[error(
        "no network with a country in it{}; is it a country database?", detail_text(.detail)
    )]
    NoNetworks { detail: Option<String> },

    #[error("cannot open the MaxMind DB: {0}; download it again")]
    MmdbOpen(#[source] maxminddb::MaxMindDbError),
    #[error("verify() of the MaxMind DB failed: {0}; download it again")]
    MmdbVerify(#[source] maxminddb::MaxMindDbError),
    #[error("cannot walk the MaxMind DB: {0}; download it again")]
    MmdbWalk(#[source] maxminddb::MaxMindDbError),
    #[error("cannot decode the record of {network}: {source}")]
    MmdbRecord {
        network: String,
        source: maxminddb::MaxMindDbError,
    },
    #[error("the record of {network}: {problem}")]
    MmdbCountry {
        network: String,
        problem: Box<Problem>,
    },

    #[error(
        "{text:?} is not a country code; two letters are expected (for addresses without a \
         country: EU, AP, ZZ, ??, A1, A2, - or nothing)"
    )]
    BadCountry { text: String },
    #[error("{text:?} is not an address; expected 192.0.2.0, 2001:db8:: or a decimal number")]
    BadAddress { text: String },
    #[error("{text:?} is not a prefix; expected one like 192.0.2.0/24 or 2001:db8::/32")]
    BadPrefix { text: String },
    #[error("{text} has bits set behind its length; write {network}")]
    HostBits { text: String, network: String },
    #[error("the range {first} to {last} ends before it starts")]
    Reversed { first: String, last: String },
    #[error("{first:?} and {last:?} are not of one kind (IPv4, IPv6 or numeric)")]
    MixedFamilies { first: String, last: String },
    #[error("{found} columns, expected at least {expected}; is the file cut off?")]
    MissingColumns { found: usize, expected: usize },
    #[error("cannot split the line into columns: {0}")]
    Csv(#[from] ::csv::Error),
    #[error(
        "the columns are {columns:?}, which name no {missing}; expected a header like \
         first,last,country_code or network,country_code"
    )]
    BadHeader {
        columns: String,
        missing: &'static str,
    },
    #[error(
        "this file names places by geoname_id, whose countries stand in a second file that is not \
         read; use the .mmdb edition of the database"
    )]
    NeedsLocations,
    #[error(
        "{range} is {country} here, but line {other_line} says {other_country} for {other_range}; \
         remove one of them"
    )]
    Conflict {
        range: String,
        country: CountryCode,
        other_line: u32,
        other_range: String,
        other_country: CountryCode,
    },
    #[error(
        "a line of RIR statistics has 7 columns or more between `|`, this one has {found}; is the file cut off?"
    )]
    RirColumns { found: usize },
    #[error("{text:?} is not a {what} of RIR statistics")]
    RirField { text: String, what: &'static str },
    #[error(
        "the summary promises {declared} {family} records, but only {found} are there; the file is \
         cut off, download it again"
    )]
    RirCutOff {
        family: &'static str,
        declared: u64,
        found: u64,
    },
    #[error("the embedded snapshot is broken: {0}; build cerco again")]
    Snapshot(#[from] super::snapshot::SnapshotError),
}

fn detail_text(detail: &Option<String>) -> String {
    detail
        .as_ref()
        .map(|detail| format!(" ({detail})"))
        .unwrap_or_default()
}

//! The snapshot format: the world in half a megabyte.
//!
//! All numbers are little-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 8 | magic `CERCOGEO` |
//! | 4 | CRC-32 of everything behind it |
//! | 2 | version of the format: [`VERSION`], or [`STORED`] |
//! | 8 | build time of the data, seconds since 1970; 0 in [`STORED`]: not known |
//! | 2 × 16 | per family: networks of the source, ranges, entries, bytes of mantissas (u32 each) |
//! | 1 + 2n | n, and the n country codes in ascending order |
//! | rest | the entries, compressed with Brotli in [`VERSION`], as they are in [`STORED`] |
//!
//! The daemon keeps databases as [`STORED`]: two megabytes for the world, written in the time that
//! compressing them would take a hundred times of.
//!
//! A family is a walk from the first address on: each entry is a country (0: unknown, else the index
//! in the table + 1) and a count of addresses, `(2m + 1) << shift`. Nearly all counts are powers of
//! two, so m is 0 and the entry takes two bytes. The columns are stored one after the other, since
//! each compresses best among its kind: countries, then shifts (with [`HAS_MANTISSA`] where m > 0),
//! then m - 1 of those, in LEB128. Addresses behind the last entry are unknown.

use std::borrow::Cow;
use std::io::Read;
use std::time::{Duration, UNIX_EPOCH};

use filter_common::country::CountryCode;
use thiserror::Error;

use super::merge::Merger;
use super::range::{Address, Range};
use super::{Database, Format, Parsed, Source};

mod encode;
#[cfg(any(test, feature = "snapshot"))]
pub use encode::encode;
pub use encode::encode_stored;

/// Changes with every change of the format.
pub const VERSION: u16 = 1;
/// The same without compression.
pub const STORED: u16 = 2;

const MAGIC: &[u8; 8] = b"CERCOGEO";
/// Set in a shift when a mantissa belongs to it. Shifts are below 128, so the bit is free.
const HAS_MANTISSA: u8 = 0x80;
/// Bounds what a header can make the decoder allocate; real databases have a tenth of it.
const MAX_ENTRIES: usize = 8_000_000;
/// Mantissas are rare; ten bytes for each entry would already be absurd.
const MAX_MANTISSA_BYTES: usize = 10 * MAX_ENTRIES;

/// Why a snapshot is refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SnapshotError {
    #[error("it does not start with the magic of a snapshot")]
    Magic,
    #[error("it ends within the header")]
    CutOff,
    #[error("checksum {found:08x} instead of {expected:08x}")]
    Checksum { expected: u32, found: u32 },
    #[error("version {0}, but only {VERSION} and {STORED} are read")]
    Version(u16),
    #[error("a field of the header is out of its bounds: {0}")]
    Header(&'static str),
    #[error("cannot decompress: {0}")]
    Compression(String),
    #[error("entry {index} of {family} is invalid: {what}")]
    Entry {
        family: &'static str,
        index: usize,
        what: &'static str,
    },
    #[error("{found} ranges of {family}, but the header says {expected}")]
    Ranges {
        family: &'static str,
        expected: usize,
        found: usize,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FamilyHeader {
    networks: u32,
    ranges: usize,
    entries: usize,
    mantissa_bytes: usize,
}

/// The database of a snapshot.
pub fn read(bytes: &[u8], source: Source) -> Result<Database, SnapshotError> {
    Ok(decode(bytes)?.into_database(source))
}

/// Reads a snapshot. Any bytes are safe to pass; what is not a snapshot is an error.
pub(super) fn decode(bytes: &[u8]) -> Result<Parsed, SnapshotError> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::Magic)?;
    let expected = u32::from_le_bytes(take(&mut rest)?);
    let found = crc32fast::hash(rest);
    if expected != found {
        return Err(SnapshotError::Checksum { expected, found });
    }
    let version = u16::from_le_bytes(take(&mut rest)?);
    if version != VERSION && version != STORED {
        return Err(SnapshotError::Version(version));
    }
    let build_seconds = u64::from_le_bytes(take(&mut rest)?);
    let build_time = UNIX_EPOCH
        .checked_add(Duration::from_secs(build_seconds))
        .ok_or(SnapshotError::Header("build time"))?;
    let v4 = family_header(&mut rest)?;
    let v6 = family_header(&mut rest)?;
    let [countries_len] = take(&mut rest)?;
    let countries: Vec<CountryCode> = (0..countries_len)
        .map(|_| CountryCode::new(take(&mut rest)?).ok_or(SnapshotError::Header("country code")))
        .collect::<Result<_, _>>()?;

    let columns_len = column_bytes(v4) + column_bytes(v6);
    let columns = match version {
        STORED if rest.len() == columns_len => Cow::Borrowed(rest),
        STORED => return Err(SnapshotError::Header("number of entries")),
        _ => Cow::Owned(decompress(rest, columns_len)?),
    };
    let (columns_v4, columns_v6) = columns.split_at(column_bytes(v4));
    Ok(Parsed {
        v4: decode_family("IPv4", columns_v4, v4, &countries)?,
        v6: decode_family("IPv6", columns_v6, v6, &countries)?,
        format: Format::Snapshot,
        build_time: (version == VERSION || build_seconds > 0).then_some(build_time),
        networks_v4: v4.networks.into(),
        networks_v6: v6.networks.into(),
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], SnapshotError> {
    let (head, tail) = rest.split_first_chunk().ok_or(SnapshotError::CutOff)?;
    *rest = tail;
    Ok(*head)
}

fn family_header(rest: &mut &[u8]) -> Result<FamilyHeader, SnapshotError> {
    let mut number = || Ok(u32::from_le_bytes(take(rest)?));
    let networks = number()?;
    let mut bounded = |max: usize, name| {
        let value = usize::try_from(number()?).unwrap_or(usize::MAX);
        if value > max {
            return Err(SnapshotError::Header(name));
        }
        Ok(value)
    };
    Ok(FamilyHeader {
        networks,
        ranges: bounded(MAX_ENTRIES, "number of ranges")?,
        entries: bounded(MAX_ENTRIES, "number of entries")?,
        mantissa_bytes: bounded(MAX_MANTISSA_BYTES, "bytes of mantissas")?,
    })
}

/// Two columns of one byte an entry, and the mantissas.
fn column_bytes(header: FamilyHeader) -> usize {
    2 * header.entries + header.mantissa_bytes
}

fn decompress(compressed: &[u8], len: usize) -> Result<Vec<u8>, SnapshotError> {
    const BUFFER_LEN: usize = 64 * 1024;
    let mut columns = Vec::with_capacity(len);
    // One byte more than expected is enough to see that there is too much.
    brotli_decompressor::Decompressor::new(compressed, BUFFER_LEN)
        .take(len as u64 + 1)
        .read_to_end(&mut columns)
        .map_err(|error| SnapshotError::Compression(error.to_string()))?;
    if columns.len() != len {
        let found = columns.len();
        return Err(SnapshotError::Compression(format!(
            "{found} bytes or more, but the header says {len}"
        )));
    }
    Ok(columns)
}

fn decode_family<A: Address>(
    family: &'static str,
    columns: &[u8],
    header: FamilyHeader,
    countries: &[CountryCode],
) -> Result<Vec<Range<A>>, SnapshotError> {
    let (indices, rest) = columns.split_at(header.entries);
    let (shifts, mut mantissas) = rest.split_at(header.entries);
    let mut merger = Merger::with_capacity(header.ranges);
    // `None` behind the last address of the family.
    let mut next = Some(A::MIN);
    for (index, (&country, &shift)) in indices.iter().zip(shifts).enumerate() {
        let bad = |what| SnapshotError::Entry {
            family,
            index,
            what,
        };
        let mantissa = if shift & HAS_MANTISSA == 0 {
            0
        } else {
            read_leb128(&mut mantissas)
                .and_then(|coded| coded.checked_add(1))
                .ok_or_else(|| bad("mantissa"))?
        };
        let first = next.ok_or_else(|| bad("behind the last address"))?;
        let last = last_of_run(first, mantissa, u32::from(shift & !HAS_MANTISSA))
            .ok_or_else(|| bad("passes the last address"))?;
        if let Some(country) = usize::from(country).checked_sub(1) {
            let country = countries.get(country).ok_or_else(|| bad("country"))?;
            merger.push(first, last, *country);
        }
        next = last.successor();
    }
    let ranges = merger.finish();
    if ranges.len() != header.ranges || !mantissas.is_empty() {
        return Err(SnapshotError::Ranges {
            family,
            expected: header.ranges,
            found: ranges.len(),
        });
    }
    Ok(ranges)
}

/// The last of `(2 * mantissa + 1) << shift` addresses from `first` on, if they exist.
fn last_of_run<A: Address>(first: A, mantissa: u128, shift: u32) -> Option<A> {
    let odd = mantissa.checked_mul(2)?.checked_add(1)?;
    let count = odd
        .checked_shl(shift)
        .filter(|count| count >> shift == odd)?;
    first.checked_add(count - 1)
}

fn read_leb128(bytes: &mut &[u8]) -> Option<u128> {
    let mut value = 0u128;
    for shift in (0..u128::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u128::from(byte & 0x7f);
        value |= bits.checked_shl(shift).filter(|v| v >> shift == bits)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Seconds since 1970 for the header.
fn unix_seconds(time: std::time::SystemTime) -> Option<u64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests;

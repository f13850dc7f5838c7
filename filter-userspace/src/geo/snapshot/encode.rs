//! Writes snapshots: compressed for `cargo xtask geo-snapshot`, stored for the daemon to keep.

use anyhow::{Context as _, ensure};
use filter_common::country::CountryCode;

use super::super::Database;
use super::super::range::{Address, Range};
use super::{HAS_MANTISSA, MAGIC, STORED, decode, unix_seconds};

/// Encodes a database. The same database always gives the same bytes.
///
/// Fails if the database has no build time or more than 255 countries, or if decoding does not give
/// back every range.
#[cfg(any(test, feature = "snapshot"))]
pub fn encode(database: &Database) -> anyhow::Result<Vec<u8>> {
    let build_time = database.info.build_time.and_then(unix_seconds);
    let build_time = build_time.context("the database does not say when it was built")?;
    sealed(database, super::VERSION, build_time, |columns, body| {
        compress(&columns, body).context("failed to compress")
    })
}

/// Encodes a database without compression; see [`encode`]. It need not have a build time.
pub fn encode_stored(database: &Database) -> anyhow::Result<Vec<u8>> {
    let build_time = database.info.build_time.and_then(unix_seconds);
    sealed(
        database,
        STORED,
        build_time.unwrap_or(0),
        |columns, body| {
            body.extend_from_slice(&columns);
            Ok(())
        },
    )
}

fn sealed(
    database: &Database,
    version: u16,
    build_time: u64,
    pack: impl FnOnce(Vec<u8>, &mut Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<u8>> {
    let info = &database.info;
    let countries = database.countries();
    let countries_len =
        u8::try_from(countries.len()).context("more countries than an index byte can number")?;
    let v4 = Columns::new(&database.v4, &countries);
    let v6 = Columns::new(&database.v6, &countries);

    let mut body = Vec::new();
    body.extend_from_slice(&version.to_le_bytes());
    body.extend_from_slice(&build_time.to_le_bytes());
    let families = [
        (info.networks_v4, database.v4.len(), &v4),
        (info.networks_v6, database.v6.len(), &v6),
    ];
    for (networks, ranges, columns) in families {
        let fields = [
            usize::try_from(networks)?,
            ranges,
            columns.countries.len(),
            columns.mantissas.len(),
        ];
        for field in fields {
            body.extend_from_slice(&u32::try_from(field)?.to_le_bytes());
        }
    }
    body.push(countries_len);
    body.extend(countries.iter().flat_map(|country| country.letters()));
    pack([v4.joined(), v6.joined()].concat(), &mut body)?;

    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    // A wrong snapshot would be found when it is needed; here it costs milliseconds.
    let decoded = decode(&bytes).context("failed to decode what was encoded")?;
    ensure!(
        decoded.v4 == database.v4 && decoded.v6 == database.v6,
        "decoding gives other ranges than were encoded"
    );
    Ok(bytes)
}

#[derive(Default)]
struct Columns {
    countries: Vec<u8>,
    shifts: Vec<u8>,
    mantissas: Vec<u8>,
}

impl Columns {
    fn new<A: Address + Into<u128>>(ranges: &[Range<A>], countries: &[CountryCode]) -> Self {
        let mut columns = Self::default();
        let mut next = Some(A::MIN);
        for range in ranges {
            if let Some((gap, last)) = next.zip(range.first.predecessor())
                && gap <= last
            {
                columns.push(0, gap, last);
            }
            // Found, because `countries` was collected from these ranges; at most 255 of them.
            let index = countries.partition_point(|country| *country < range.country) as u8;
            columns.push(index + 1, range.first, range.last);
            next = range.last.successor();
        }
        columns
    }

    fn push<A: Address + Into<u128>>(&mut self, country: u8, first: A, last: A) {
        let Some(count) = (last.into() - first.into()).checked_add(1) else {
            // 2^128 addresses do not fit a count; the decoder joins the halves again.
            self.push(country, first, first.broadcast(1));
            return self.push(country, last.network(1), last);
        };
        let shift = count.trailing_zeros() as u8;
        let mantissa = count >> shift >> 1;
        self.countries.push(country);
        if mantissa == 0 {
            self.shifts.push(shift);
        } else {
            self.shifts.push(shift | HAS_MANTISSA);
            write_leb128(&mut self.mantissas, mantissa - 1);
        }
    }

    fn joined(self) -> Vec<u8> {
        [self.countries, self.shifts, self.mantissas].concat()
    }
}

fn write_leb128(bytes: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(any(test, feature = "snapshot"))]
fn compress(mut columns: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: 11,
        // A window of 16 MiB holds all of it.
        lgwin: 24,
        size_hint: columns.len(),
        ..Default::default()
    };
    brotli::BrotliCompress(&mut columns, out, &params)?;
    Ok(())
}

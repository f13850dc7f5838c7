//! CSV: ranges (`first,last,CC`) and networks (`network,CC`), with and without a header.
//!
//! Addresses are textual or decimal numbers. A file of numbers is IPv6 as soon as one of them does
//! not fit 32 bits: the low lines of an IPv6 table would pass for IPv4 on their own.

use std::time::SystemTime;

use ::csv::{ByteRecord, ReaderBuilder};
use filter_common::country::CountryCode;

use super::error::{Fault, Problem};
use super::field::{self, Bounds, Claims, Ends, is_address, is_prefix, quote, without_bom};
use super::merge::Nesting;
use super::{Format, Parsed};

/// Header names, in lower case and without `_`, `-` and blanks; the first that is there counts.
/// `country` comes last because IPinfo's free files keep the country's *name* in it.
const FIRST: &[&str] = &[
    "first",
    "firstip",
    "start",
    "startip",
    "ipstart",
    "ipfrom",
    "from",
    "iprangestart",
    "networkstart",
    "networkstartip",
];
const LAST: &[&str] = &[
    "last",
    "lastip",
    "end",
    "endip",
    "ipend",
    "ipto",
    "to",
    "iprangeend",
    "networkend",
    "networklastip",
];
const NETWORK: &[&str] = &["network", "cidr", "prefix"];
const COUNTRY: &[&str] = &[
    "countrycode",
    "countryisocode",
    "isocode",
    "alpha2",
    "cc",
    "country",
];

/// Which columns to read.
#[derive(Clone, Copy)]
enum Columns {
    Range {
        first: usize,
        last: usize,
        country: usize,
    },
    Network {
        network: usize,
        country: usize,
    },
}

impl Columns {
    fn needed(self) -> usize {
        1 + match self {
            Self::Range {
                first,
                last,
                country,
            } => first.max(last).max(country),
            Self::Network { network, country } => network.max(country),
        }
    }
}

pub(super) fn parse(text: &[u8]) -> Result<Parsed, Fault> {
    let text = without_bom(text);
    // Blanks around a field are cut off where it is read: the reader would copy each record for it.
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .from_reader(text);
    let mut record = ByteRecord::new();
    let mut columns = None;
    let mut claims = Claims::default();
    let mut numeric = Numeric::default();
    let mut cursor = LineCursor::default();
    while reader
        .read_byte_record(&mut record)
        .map_err(|error| Fault::from(Problem::Csv(error)))?
    {
        let start = record.position().map_or(0, ::csv::Position::byte);
        let line = cursor.advance(text, start);
        if record.iter().all(|field| field.trim_ascii().is_empty()) {
            continue;
        }
        let at_line = |problem| Fault::at_line(line, problem);
        let columns = match columns {
            Some(columns) => columns,
            None => {
                let (found, is_header) = find_columns(&record).map_err(at_line)?;
                columns = Some(found);
                if is_header {
                    continue;
                }
                found
            }
        };
        read_row(&record, columns, line, &mut claims, &mut numeric).map_err(at_line)?;
    }
    let nesting = match columns {
        Some(Columns::Network { .. }) => Nesting::NarrowerWins,
        _ => Nesting::Refused,
    };
    numeric.add_to(&mut claims);
    let parsed = claims.finish(Format::Csv, nesting)?;
    Ok(Parsed {
        build_time: generated(text),
        ..parsed
    })
}

/// Chooses the columns from the first record, and says whether that record is a header.
fn find_columns(record: &ByteRecord) -> Result<(Columns, bool), Problem> {
    let field = |index| record.get(index).unwrap_or_default().trim_ascii();
    if field(0).contains(&b'/') && is_prefix(field(0)) {
        return Ok((
            Columns::Network {
                network: 0,
                country: 1,
            },
            false,
        ));
    }
    if is_address(field(0)) {
        return Ok((
            Columns::Range {
                first: 0,
                last: 1,
                country: 2,
            },
            false,
        ));
    }
    let names: Vec<String> = record.iter().map(plain_name).collect();
    let find = |wanted: &[&str]| {
        wanted
            .iter()
            .find_map(|wanted| names.iter().position(|name| name == wanted))
    };
    let bad_header = |missing| Problem::BadHeader {
        columns: quote(&record.iter().collect::<Vec<_>>().join(&b","[..])),
        missing,
    };
    let range = find(FIRST).zip(find(LAST));
    let network = find(NETWORK);
    if range.is_none() && network.is_none() {
        return Err(bad_header("range or network"));
    }
    let Some(country) = find(COUNTRY) else {
        return Err(if find(&["geonameid"]).is_some() {
            Problem::NeedsLocations
        } else {
            bad_header("country code")
        });
    };
    let columns = match (range, network) {
        (Some((first, last)), _) => Columns::Range {
            first,
            last,
            country,
        },
        (None, network) => Columns::Network {
            network: network.unwrap_or_default(),
            country,
        },
    };
    Ok((columns, true))
}

fn plain_name(name: &[u8]) -> String {
    name.iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(|byte| char::from(byte.to_ascii_lowercase()))
        .collect()
}

fn read_row(
    record: &ByteRecord,
    columns: Columns,
    line: u64,
    claims: &mut Claims,
    numeric: &mut Numeric,
) -> Result<(), Problem> {
    let expected = columns.needed();
    if record.len() < expected {
        return Err(Problem::MissingColumns {
            found: record.len(),
            expected,
        });
    }
    match columns {
        Columns::Network { network, country } => {
            let bounds = field::prefix(record[network].trim_ascii())?;
            if let Some(country) = field::country(&record[country])? {
                claims.push(bounds, line, country);
            }
        }
        Columns::Range {
            first,
            last,
            country,
        } => {
            let ends = field::ends(record[first].trim_ascii(), record[last].trim_ascii())?;
            let country = field::country(&record[country])?;
            match (ends, country) {
                (Ends::Textual(bounds), Some(country)) => claims.push(bounds, line, country),
                (Ends::Textual(_), None) => {}
                (Ends::Numeric(first, last), country) => numeric.push(first, last, line, country),
            }
        }
    }
    Ok(())
}

/// Ranges of numbers, IPv4 until one of them is too large for that.
#[derive(Default)]
struct Numeric {
    narrow: Vec<(u32, u32, u64, CountryCode)>,
    wide: Vec<(u128, u128, u64, CountryCode)>,
    is_v6: bool,
}

impl Numeric {
    fn push(&mut self, first: u128, last: u128, line: u64, country: Option<CountryCode>) {
        let narrow = u32::try_from(first).ok().zip(u32::try_from(last).ok());
        // Ranges without a country are not kept, but they too tell the family.
        self.is_v6 |= narrow.is_none();
        match (narrow, country) {
            (_, None) => {}
            (Some((first, last)), Some(country)) => self.narrow.push((first, last, line, country)),
            (None, Some(country)) => self.wide.push((first, last, line, country)),
        }
    }

    fn add_to(self, claims: &mut Claims) {
        for (first, last, line, country) in self.narrow {
            let bounds = if self.is_v6 {
                Bounds::V6(first.into(), last.into())
            } else {
                Bounds::V4(first, last)
            };
            claims.push(bounds, line, country);
        }
        for (first, last, line, country) in self.wide {
            claims.push(Bounds::from_v6(first, last), line, country);
        }
    }
}

/// Numbers the lines of the records.
///
/// The reader's own count takes a record for one line later than it is after CRLF, and for one
/// earlier after a comment.
#[derive(Default)]
struct LineCursor {
    byte: usize,
    newlines: u64,
}

impl LineCursor {
    /// The line of the record that the reader started to look for at `start`, from 1.
    fn advance(&mut self, text: &[u8], start: u64) -> u64 {
        let start = usize::try_from(start).unwrap_or(text.len());
        self.skip_to(text, start.clamp(self.byte, text.len()));
        // Between there and the record stand line ends, empty lines and comments.
        loop {
            let rest = &text[self.byte..];
            let skipped = match rest.first() {
                Some(b'\r' | b'\n') => 1,
                Some(b'#') => rest
                    .iter()
                    .position(|&byte| byte == b'\n')
                    .unwrap_or(rest.len()),
                _ => break,
            };
            self.skip_to(text, self.byte + skipped);
        }
        self.newlines + 1
    }

    fn skip_to(&mut self, text: &[u8], end: usize) {
        let newlines = text[self.byte..end].iter().filter(|&&byte| byte == b'\n');
        self.newlines += newlines.count() as u64;
        self.byte = end;
    }
}

/// The date of a leading comment `# Generated: Thu, 25 Jun 2026 04:33:59 GMT`, as IPFire's location
/// database (and with it Debian's tor-geoipdb) writes it.
fn generated(text: &[u8]) -> Option<SystemTime> {
    let comments = field::lines(text).map_while(|(_, line)| line.strip_prefix(b"#"));
    for comment in comments {
        if let Some(date) = comment.trim_ascii().strip_prefix(b"Generated:") {
            let date = std::str::from_utf8(date).ok()?;
            let built = jiff::fmt::rfc2822::parse(date.trim()).ok()?;
            return built.timestamp().try_into().ok();
        }
    }
    None
}

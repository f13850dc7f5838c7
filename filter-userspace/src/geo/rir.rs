//! Delegated statistics of the regional internet registries, plain and extended.
//!
//! Format: <https://www.apnic.net/about-apnic/corporate-documents/documents/resource-guidelines/rir-statistics-exchange-format/>.
//! The files of several registries may be joined into one.

use std::time::SystemTime;

use super::error::{Fault, Problem};
use super::field::{self, Bounds, Claims, is_comment, lines, number, quote};
use super::merge::Nesting;
use super::range::Address;
use super::{Format, Parsed};

pub(super) fn parse(text: &[u8]) -> Result<Parsed, Fault> {
    let mut claims = Claims::default();
    let mut build_time: Option<SystemTime> = None;
    let mut v4 = Count::default();
    let mut v6 = Count::default();
    for (line_number, line) in lines(text).filter(|(_, line)| !is_comment(line)) {
        let at_line = |problem| Fault::at_line(line_number, problem);
        let columns: Vec<&[u8]> = line.split(|&byte| byte == b'|').collect();
        if is_version_line(&columns) {
            // Of several files the oldest date counts: the whole is as old as its oldest part.
            build_time = [build_time, end_date(&columns)].into_iter().flatten().min();
            continue;
        }
        if let [_, b"*", family, _, declared, b"summary", ..] = columns[..] {
            let declared = number(declared)
                .and_then(|declared| u64::try_from(declared).ok())
                .ok_or_else(|| at_line(bad(declared, "summary count")))?;
            match family {
                b"ipv4" => v4.declared += declared,
                b"ipv6" => v6.declared += declared,
                _ => {}
            }
            continue;
        }
        let [_, country, family, start, value, _, status, ..] = columns[..] else {
            return Err(at_line(Problem::RirColumns {
                found: columns.len(),
            }));
        };
        let bounds = match family {
            b"asn" => continue,
            b"ipv4" => {
                v4.found += 1;
                v4_bounds(start, value)
            }
            b"ipv6" => {
                v6.found += 1;
                v6_bounds(start, value)
            }
            _ => Err(bad(family, "type (asn, ipv4 or ipv6)")),
        }
        .map_err(at_line)?;
        match status {
            b"allocated" | b"assigned" => {}
            b"available" | b"reserved" => continue,
            _ => {
                let what = "status (allocated, assigned, available or reserved)";
                return Err(at_line(bad(status, what)));
            }
        }
        if let Some(country) = field::country(country).map_err(at_line)? {
            claims.push(bounds, line_number, country);
        }
    }
    v4.check("ipv4")?;
    v6.check("ipv6")?;
    let parsed = claims.finish(Format::Rir, Nesting::NarrowerWins)?;
    Ok(Parsed {
        build_time,
        ..parsed
    })
}

/// Records of one family, as the summary lines promise them and as they are.
#[derive(Default)]
struct Count {
    declared: u64,
    found: u64,
}

impl Count {
    /// A file that was cut at the end of a line looks whole, but for its summary.
    fn check(&self, family: &'static str) -> Result<(), Fault> {
        let Self { declared, found } = *self;
        if found < declared {
            return Err(Problem::RirCutOff {
                family,
                declared,
                found,
            }
            .into());
        }
        Ok(())
    }
}

/// `version|registry|serial|records|startdate|enddate|UTCoffset`; versions are 2 and 2.3.
fn is_version_line(columns: &[&[u8]]) -> bool {
    columns[0].first().is_some_and(u8::is_ascii_digit)
}

/// Midnight UTC of the enddate, `yyyymmdd`, if it is one.
fn end_date(columns: &[&[u8]]) -> Option<SystemTime> {
    let text = std::str::from_utf8(columns.get(5)?).ok()?;
    let date = jiff::civil::Date::strptime("%Y%m%d", text).ok()?;
    let midnight = date.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok()?;
    midnight.timestamp().try_into().ok()
}

/// `value` is a number of addresses, and not always a power of two.
fn v4_bounds(start: &[u8], value: &[u8]) -> Result<Bounds, Problem> {
    let Bounds::V4(first, _) = field::prefix(start)? else {
        return Err(bad(start, "IPv4 start"));
    };
    let count = number(value).filter(|&count| count > 0);
    count
        .and_then(|count| u32::try_from(count - 1).ok())
        .and_then(|count| first.checked_add(count))
        .map(|last| Bounds::V4(first, last))
        .ok_or_else(|| bad(value, "number of IPv4 addresses"))
}

/// `value` is a prefix length.
fn v6_bounds(start: &[u8], value: &[u8]) -> Result<Bounds, Problem> {
    let Bounds::V6(first, _) = field::prefix(start)? else {
        return Err(bad(start, "IPv6 start"));
    };
    let len = number(value).and_then(|len| u32::try_from(len).ok());
    len.filter(|&len| len <= u128::BITS && first.network(len) == first)
        .map(|len| Bounds::V6(first, first.broadcast(len)))
        .ok_or_else(|| bad(value, "prefix length of that start"))
}

fn bad(text: &[u8], what: &'static str) -> Problem {
    Problem::RirField {
        text: quote(text),
        what,
    }
}

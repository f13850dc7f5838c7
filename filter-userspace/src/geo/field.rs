//! Fields that several text formats share: countries, addresses and prefixes.

use std::net::{IpAddr, Ipv6Addr};

use filter_common::country::CountryCode;

use super::error::{Fault, Problem};
use super::merge::{Claim, Nesting, overlay};
use super::range::Address;
use super::{Format, Parsed};

/// Codes that stand for no country: regions (`EU`, `AP`), reserved space (`ZZ`), MaxMind's old
/// `A1` (anonymous proxy), `A2` (satellite) and `O1` (other), and the marks for "unknown".
const NO_COUNTRY: [&[u8]; 10] = [
    b"", b"-", b"??", b"EU", b"AP", b"ZZ", b"XX", b"A1", b"A2", b"O1",
];

/// `Ok(None)`: the file says that it does not know the country.
pub(super) fn country(text: &[u8]) -> Result<Option<CountryCode>, Problem> {
    let text = text.trim_ascii();
    if NO_COUNTRY
        .iter()
        .any(|mark| mark.eq_ignore_ascii_case(text))
    {
        return Ok(None);
    }
    match *text {
        [a, b] => CountryCode::new([a, b]),
        _ => None,
    }
    .map(Some)
    .ok_or_else(|| Problem::BadCountry { text: quote(text) })
}

/// A field as it stands in an error: readable, and short even if the file is one endless line.
pub(super) fn quote(text: &[u8]) -> String {
    const MAX_CHARS: usize = 40;
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * MAX_CHARS)]);
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

/// The first and the last address of a range, in the family that the file wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bounds {
    V4(u32, u32),
    V6(u128, u128),
}

impl Bounds {
    /// Takes `first..=last` of IPv6, which may be IPv4 in disguise.
    ///
    /// `::ffff:0:0/96` is how some databases write IPv4 into a table of IPv6 (RFC 4291 §2.5.5.2).
    pub(super) fn from_v6(first: u128, last: u128) -> Self {
        let mapped = |address: u128| Ipv6Addr::from(address).to_ipv4_mapped().map(u32::from);
        match (mapped(first), mapped(last)) {
            (Some(first), Some(last)) => Self::V4(first, last),
            _ => Self::V6(first, last),
        }
    }
}

/// `192.0.2.0/24`, `2001:db8::/32`, or a single address.
pub(super) fn prefix(text: &[u8]) -> Result<Bounds, Problem> {
    let bad = || Problem::BadPrefix { text: quote(text) };
    let (address, len) = match text.iter().position(|&byte| byte == b'/') {
        Some(slash) => (&text[..slash], Some(&text[slash + 1..])),
        None => (text, None),
    };
    let ip = ip(address).ok_or_else(bad)?;
    let width = if ip.is_ipv4() { 32 } else { 128 };
    let len = match len {
        None => width,
        Some(digits) => number(digits)
            .and_then(|len| u32::try_from(len).ok())
            .filter(|&len| len <= width)
            .ok_or_else(bad)?,
    };
    match ip {
        IpAddr::V4(v4) => {
            let (first, last) = network_bounds(text, u32::from(v4), len)?;
            Ok(Bounds::V4(first, last))
        }
        IpAddr::V6(v6) => {
            let (first, last) = network_bounds(text, u128::from(v6), len)?;
            Ok(Bounds::from_v6(first, last))
        }
    }
}

fn network_bounds<A: Address>(text: &[u8], address: A, len: u32) -> Result<(A, A), Problem> {
    let first = address.network(len);
    if first != address {
        // Masking silently would guess at a typo; the guess belongs into the hands of its author.
        return Err(Problem::HostBits {
            text: quote(text),
            network: format!("{}/{len}", first.to_ip()),
        });
    }
    Ok((first, address.broadcast(len)))
}

/// The two ends of a range. `Numeric` leaves the family open: it shows only from the whole file.
pub(super) enum Ends {
    Textual(Bounds),
    Numeric(u128, u128),
}

pub(super) fn ends(first: &[u8], last: &[u8]) -> Result<Ends, Problem> {
    let mixed = || Problem::MixedFamilies {
        first: quote(first),
        last: quote(last),
    };
    let ends = match (address(first)?, address(last)?) {
        (Written::Number(a), Written::Number(b)) => (Ends::Numeric(a, b), a <= b),
        (Written::Ip(IpAddr::V4(a)), Written::Ip(IpAddr::V4(b))) => {
            (Ends::Textual(Bounds::V4(a.into(), b.into())), a <= b)
        }
        (Written::Ip(IpAddr::V6(a)), Written::Ip(IpAddr::V6(b))) => {
            (Ends::Textual(Bounds::from_v6(a.into(), b.into())), a <= b)
        }
        _ => return Err(mixed()),
    };
    match ends {
        (ends, true) => Ok(ends),
        (_, false) => Err(Problem::Reversed {
            first: quote(first),
            last: quote(last),
        }),
    }
}

enum Written {
    Ip(IpAddr),
    Number(u128),
}

fn address(text: &[u8]) -> Result<Written, Problem> {
    number(text)
        .map(Written::Number)
        .or_else(|| ip(text).map(Written::Ip))
        .ok_or_else(|| Problem::BadAddress { text: quote(text) })
}

/// Whether a range may start or end with this text.
pub(super) fn is_address(text: &[u8]) -> bool {
    address(text).is_ok()
}

/// Whether the text is a prefix or an address, so that a header can be told from a row.
pub(super) fn is_prefix(text: &[u8]) -> bool {
    matches!(prefix(text), Ok(_) | Err(Problem::HostBits { .. }))
}

fn ip(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Digits only: `u128::from_str` would also take a plus sign.
pub(super) fn number(text: &[u8]) -> Option<u128> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    // 128-bit arithmetic is several times slower, and IPv4 does not need it.
    match text.parse::<u64>() {
        Ok(number) => Some(number.into()),
        Err(_) => text.parse().ok(),
    }
}

/// Collects the claims of both families.
#[derive(Default)]
pub(super) struct Claims {
    v4: Vec<Claim<u32>>,
    v6: Vec<Claim<u128>>,
}

impl Claims {
    pub(super) fn push(&mut self, bounds: Bounds, line: u64, country: CountryCode) {
        // A file of at most 1 GiB has fewer than 2^32 lines, so this never saturates.
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        match bounds {
            Bounds::V4(first, last) => self.v4.push(Claim {
                first,
                last,
                line,
                country,
            }),
            Bounds::V6(first, last) => self.v6.push(Claim {
                first,
                last,
                line,
                country,
            }),
        }
    }

    /// Sorts, resolves overlaps, and refuses a file that says nothing.
    pub(super) fn finish(self, format: Format, nesting: Nesting) -> Result<Parsed, Fault> {
        let (networks_v4, networks_v6) = (self.v4.len() as u64, self.v6.len() as u64);
        if networks_v4 + networks_v6 == 0 {
            return Err(Problem::NoNetworks { detail: None }.into());
        }
        Ok(Parsed {
            v4: overlay(self.v4, nesting)?,
            v6: overlay(self.v6, nesting)?,
            format,
            build_time: None,
            networks_v4,
            networks_v6,
        })
    }
}

/// The lines of a text without their ends and outer blanks, numbered from 1.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    (1..).zip(
        without_bom(text)
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::trim_ascii),
    )
}

/// The text behind the byte order mark that some editors put first.
pub(super) fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Whether the line says nothing: blank, or a comment in one of the two ways that are in use.
pub(super) fn is_comment(line: &[u8]) -> bool {
    matches!(line.first(), None | Some(b'#' | b';'))
}

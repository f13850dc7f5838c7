//! Lists of prefixes: one a line, all of one country.

use filter_common::country::CountryCode;

use super::error::Fault;
use super::field::{Claims, is_comment, lines, prefix};
use super::merge::Nesting;
use super::{Format, Parsed};

/// `#` and `;` start a comment, on a line of its own or behind a prefix.
pub(super) fn parse(text: &[u8], country: CountryCode) -> Result<Parsed, Fault> {
    let mut claims = Claims::default();
    for (line_number, line) in lines(text).filter(|(_, line)| !is_comment(line)) {
        let bounds = prefix(without_comment(line))
            .map_err(|problem| Fault::at_line(line_number, problem))?;
        claims.push(bounds, line_number, country);
    }
    claims.finish(Format::Cidr, Nesting::NarrowerWins)
}

pub(super) fn without_comment(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|byte| matches!(byte, b'#' | b';'));
    line[..end.unwrap_or(line.len())].trim_ascii_end()
}

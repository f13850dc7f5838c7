//! Tells the format of a file from its content: names lie, and a refused download keeps its name.

use super::error::{Fault, Position, Problem};
use super::field::{is_comment, is_prefix, lines, quote, without_bom};
use super::{Format, mmdb};

/// First bytes of files that a sysadmin may have forgotten to unpack.
const COMPRESSED: [(&[u8], &str); 6] = [
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
];

/// Bytes that decide whether a file is text.
const PROBE_LEN: usize = 4096;

pub(super) fn format(bytes: &[u8]) -> Result<Format, Fault> {
    if without_bom(bytes).trim_ascii().is_empty() {
        return Err(Problem::Empty.into());
    }
    if let Some((_, name)) = COMPRESSED
        .iter()
        .find(|(magic, _)| bytes.starts_with(magic))
    {
        return Err(Problem::Compressed(name).into());
    }
    if mmdb::is_mmdb(bytes) {
        return Ok(Format::Mmdb);
    }
    let probe = &bytes[..bytes.len().min(PROBE_LEN)];
    if probe.contains(&0) {
        return Err(Problem::NoMetadata.into());
    }
    let (line_number, line) =
        lines(bytes)
            .find(|(_, line)| !is_comment(line))
            .ok_or(Problem::NoNetworks {
                detail: Some("only comments".to_owned()),
            })?;
    if line.starts_with(b"<") {
        return Err(Problem::WebPage.into());
    }
    if line.contains(&b'|') {
        Ok(Format::Rir)
    } else if line.contains(&b',') {
        Ok(Format::Csv)
    } else if is_prefix(super::cidr::without_comment(line)) {
        Ok(Format::Cidr)
    } else {
        Err(Fault {
            at: Some(Position::Line(line_number)),
            problem: Problem::UnknownFormat {
                excerpt: quote(line),
            },
        })
    }
}

//! Files of prefixes, as blocklists are published: one a line, with comments.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use ipnetwork::IpNetwork;

use super::Failure;
use crate::{config::parse_prefix, control::MAX_CHANGE_BYTES};

/// What the daemon takes at a time; longer lists could not be sent.
const MAX_BYTES: u64 = MAX_CHANGE_BYTES as u64;

/// The prefixes in `file`, or on standard input when it is `-`.
pub fn read(file: &Path) -> Result<Vec<IpNetwork>, Failure> {
    let (name, text) = match file.to_str() {
        Some("-") => ("standard input".to_owned(), text(io::stdin().lock())),
        _ => {
            let name = file.display().to_string();
            (name, File::open(file).and_then(text))
        }
    };
    let text = text.map_err(|error| Failure::failed(format!("failed to read {name}: {error}")))?;
    parse(&name, &text)
}

fn text(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("more than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

fn parse(name: &str, text: &str) -> Result<Vec<IpNetwork>, Failure> {
    let mut prefixes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let item = line.split(['#', ';']).next().unwrap_or_default().trim();
        if item.is_empty() {
            continue;
        }
        let prefix = parse_prefix(item)
            .map_err(|fault| Failure::bad_usage(format!("{name}:{number}: {fault}")))?;
        prefixes.push(prefix);
    }
    if prefixes.is_empty() {
        return Err(Failure::bad_usage(format!("{name} holds no prefix")));
    }
    Ok(prefixes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_are_published() {
        let text = "# DROP list\r\n1.10.16.0/20 ; SBL256894\n\n  2001:db8::/32\t# why\n192.0.2.7\n";
        let prefixes: Vec<String> = parse("list", text)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(prefixes, ["1.10.16.0/20", "2001:db8::/32", "192.0.2.7/32"]);
    }

    #[test]
    fn bad_lists_say_where() {
        let cases = [
            (
                "192.0.2.0/24\n\n192.0.2.1/24\n",
                "list:3: \"192.0.2.1/24\" has bits behind its prefix length",
            ),
            ("<html>\n", "list:1: \"<html>\" is no address or prefix"),
            ("# only this\n", "list holds no prefix"),
            ("", "list holds no prefix"),
        ];
        for (text, expected) in cases {
            let failure = parse("list", text).unwrap_err();
            assert!(failure.message.starts_with(expected), "{failure:?}");
            assert_eq!(failure.code, 2, "{text:?}");
        }
    }
}

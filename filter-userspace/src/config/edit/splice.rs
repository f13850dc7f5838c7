//! Small changes to a TOML text that leave every other byte as it is.
//!
//! The parser says where things stand, and the text itself is cut there: line ends, order, alignment and
//! comments stay, whatever they are. (`toml_edit` writes the whole document anew: it makes CRLF to LF, drops a byte
//! order mark, and puts dotted keys of one table together.)
//!
//! Nothing here knows the config; whoever calls it reads the outcome again. All functions return `None` for a text
//! that is no TOML, and for a path that leads through something that is no table.

use super::{
    add::{add, beside},
    lines::{line_end, line_start},
    tree::{inline_brackets, innermost_inline, leaf, levels, list, parse, value_at},
};

/// Sets `path` to `literal`, with `comment` beside it; without one, a comment that stands there stays.
///
/// A key that is missing goes behind the last one of its table, and a table that is missing gets a header.
pub fn set(text: &str, path: &[&str], literal: &str, comment: Option<&str>) -> Option<String> {
    let root = parse(text)?;
    let levels = levels(text, root.get_ref(), path)?;
    let Some(value) = leaf(&levels, path) else {
        return Some(add(text, &levels, path, literal, comment));
    };
    let end = value.start + literal.len();
    let text = format!("{}{literal}{}", &text[..value.start], &text[value.end..]);
    Some(beside(
        &text,
        &levels,
        end,
        literal.len() as isize - value.len() as isize,
        path,
        comment,
    ))
}

/// Takes the key `path` away, with the comment beside it.
pub fn remove(text: &str, path: &[&str]) -> Option<String> {
    let root = parse(text)?;
    let levels = levels(text, root.get_ref(), path)?;
    let value = leaf(&levels, path)?;
    if let Some(inline) = innermost_inline(&levels) {
        let brackets = inline_brackets(text, &levels[inline]);
        let index = brackets
            .entries
            .iter()
            .position(|entry| entry.end == value.end)?;
        return Some(brackets.without(text, index));
    }
    let (key, _) = levels
        .last()?
        .table
        .iter()
        .find(|(_, it)| it.span() == value)?;
    let from = line_start(text, key.span().start);
    let to = line_end(text, value.end);
    let to = to + text[to..].find('\n').map_or(text.len() - to, |at| at + 1);
    Some(format!("{}{}", &text[..from], &text[to..]))
}

/// Adds `literal` to the list `path`, which is made if it is missing.
pub fn push(text: &str, path: &[&str], literal: &str, comment: Option<&str>) -> Option<String> {
    let with_list = match list(text, path) {
        Some(_) => text.to_owned(),
        None => set(text, path, "[]", None)?,
    };
    let brackets = list(&with_list, path)?;
    let root = parse(&with_list)?;
    let levels = levels(&with_list, root.get_ref(), path)?;
    if innermost_inline(&levels).is_none() {
        return Some(brackets.with(&with_list, literal, comment));
    }
    let pushed = brackets.with(&with_list, literal, None);
    let grown = pushed.len() as isize - with_list.len() as isize;
    let name = literal.trim_matches('"');
    Some(beside(
        &pushed,
        &levels,
        brackets.outer.end,
        grown,
        &[name],
        comment,
    ))
}

/// The texts in the list `path`, with the number of each.
pub fn items(text: &str, path: &[&str]) -> Vec<String> {
    let Some(root) = parse(text) else {
        return Vec::new();
    };
    let array = value_at(root.get_ref(), path).and_then(|value| value.get_ref().as_array());
    array.map_or(Vec::new(), |array| {
        array
            .iter()
            .map(|item| item.get_ref().as_str().unwrap_or_default().to_owned())
            .collect()
    })
}

/// Takes an item of the list `path` away, with the comment beside it, which is returned.
pub fn take(text: &str, path: &[&str], index: usize) -> Option<(String, Option<String>)> {
    let brackets = list(text, path)?;
    let comment = brackets.comment_beside(text, index);
    Some((brackets.without(text, index), comment))
}

/// The keys of the table `path`.
pub fn keys(text: &str, path: &[&str]) -> Vec<String> {
    let Some(root) = parse(text) else {
        return Vec::new();
    };
    let table = value_at(root.get_ref(), path).and_then(|value| value.get_ref().as_table());
    table.map_or(Vec::new(), |table| {
        table
            .iter()
            .map(|(key, _)| key.get_ref().to_string())
            .collect()
    })
}

/// Whether there is something at `path`.
pub fn has(text: &str, path: &[&str]) -> bool {
    parse(text).is_some_and(|root| value_at(root.get_ref(), path).is_some())
}

/// The line, from 1, on which the value of `path`, or an item of that list, begins.
pub fn line_of(text: &str, path: &[&str], item: Option<usize>) -> Option<usize> {
    let root = parse(text)?;
    let value = value_at(root.get_ref(), path)?;
    let start = match item {
        None => value.span().start,
        Some(index) => value.get_ref().as_array()?.get(index)?.span().start,
    };
    Some(text[..start].matches('\n').count() + 1)
}

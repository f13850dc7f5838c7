//! Small changes to a TOML text that leave every other byte as it is.
//!
//! The parser says where things stand, and the text itself is cut there: line ends, order, alignment and
//! comments stay, whatever they are. (`toml_edit` writes the whole document anew: it makes CRLF to LF, drops a byte
//! order mark, and puts dotted keys of one table together.)
//!
//! Nothing here knows the config; whoever calls it reads the outcome again. All functions return `None` for a text
//! that is no TOML, and for a path that leads through something that is no table.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    brackets::Brackets,
    lines::{eol, indent, insert, line_end, line_start, with_end_comment},
};

/// How a table came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Root,
    /// `[a]`
    Header,
    /// Only the `a` of a `[a.b]`.
    Implied,
    /// `a.b = …`
    Dotted,
    /// `a = { … }`
    Inline,
}

/// A table on the way to a key.
struct Level<'p, 't> {
    table: &'p DeTable<'t>,
    kind: Kind,
    span: Range<usize>,
}

/// A key with its value; bytes of the text.
struct Leaf {
    key: Range<usize>,
    value: Range<usize>,
}

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

fn parse(text: &str) -> Option<Spanned<DeTable<'_>>> {
    DeTable::parse(text).ok()
}

fn value_at<'p, 't>(root: &'p DeTable<'t>, path: &[&str]) -> Option<&'p Spanned<DeValue<'t>>> {
    let (last, tables) = path.split_last()?;
    let mut table = root;
    for key in tables {
        table = find(table, key)?.get_ref().as_table()?;
    }
    find(table, last)
}

fn find<'p, 't>(table: &'p DeTable<'t>, key: &str) -> Option<&'p Spanned<DeValue<'t>>> {
    table
        .iter()
        .find(|(name, _)| name.get_ref() == key)
        .map(|(_, value)| value)
}

fn list(text: &str, path: &[&str]) -> Option<Brackets> {
    let root = parse(text)?;
    let value = value_at(root.get_ref(), path)?;
    Some(Brackets {
        outer: value.span(),
        entries: value
            .get_ref()
            .as_array()?
            .iter()
            .map(Spanned::span)
            .collect(),
    })
}

/// The tables on the way to `path` that exist, the root first.
fn levels<'p, 't>(text: &str, root: &'p DeTable<'t>, path: &[&str]) -> Option<Vec<Level<'p, 't>>> {
    let mut levels = vec![Level {
        table: root,
        kind: Kind::Root,
        span: 0..0,
    }];
    for key in &path[..path.len().saturating_sub(1)] {
        let Some(value) = find(levels.last()?.table, key) else {
            break;
        };
        levels.push(Level {
            table: value.get_ref().as_table()?,
            kind: kind(text, value.span()),
            span: value.span(),
        });
    }
    Some(levels)
}

fn kind(text: &str, span: Range<usize>) -> Kind {
    let line = text[line_start(text, span.start)..].trim_start_matches([' ', '\t', '\u{feff}']);
    match text[span.start..].chars().next() {
        Some('{') => Kind::Inline,
        Some('[') => Kind::Header,
        _ if line.starts_with('[') => Kind::Implied,
        _ => Kind::Dotted,
    }
}

fn leaf(levels: &[Level<'_, '_>], path: &[&str]) -> Option<Range<usize>> {
    if levels.len() != path.len() {
        return None;
    }
    find(levels.last()?.table, path.last()?).map(Spanned::span)
}

fn innermost_inline(levels: &[Level<'_, '_>]) -> Option<usize> {
    levels.iter().rposition(|level| level.kind == Kind::Inline)
}

/// The comment of a change that ends at `end`. `grown`: bytes by which the text has grown since `levels` were
/// read. Within braces there is no room for one, so it goes behind them, and says what it is about.
fn beside(
    text: &str,
    levels: &[Level<'_, '_>],
    end: usize,
    grown: isize,
    path: &[&str],
    comment: Option<&str>,
) -> String {
    let (Some(comment), Some(key)) = (comment, path.last()) else {
        return text.to_owned();
    };
    let inline = levels.iter().find(|level| level.kind == Kind::Inline);
    match inline {
        None => with_end_comment(text, end, comment, false),
        Some(inline) => {
            let end = inline.span.end.saturating_add_signed(grown);
            with_end_comment(text, end, &format!("{key}: {comment}"), true)
        }
    }
}

/// The last key that is written in `table` itself, not under a header of its own.
fn last_leaf(text: &str, table: &DeTable<'_>) -> Option<Leaf> {
    leaves(text, table)
        .into_iter()
        .max_by_key(|leaf| leaf.value.end)
}

fn leaves(text: &str, table: &DeTable<'_>) -> Vec<Leaf> {
    let mut found = Vec::new();
    for (key, value) in table.iter() {
        match (value.get_ref(), kind(text, value.span())) {
            (DeValue::Table(_), Kind::Header | Kind::Implied) => {}
            (DeValue::Table(table), Kind::Dotted) => found.extend(leaves(text, table)),
            _ => found.push(Leaf {
                key: key.span(),
                value: value.span(),
            }),
        }
    }
    found
}

fn inline_brackets(text: &str, level: &Level<'_, '_>) -> Brackets {
    let mut leaves = leaves(text, level.table);
    leaves.sort_by_key(|leaf| leaf.value.end);
    let mut before = level.span.start + 1;
    let mut entries = Vec::new();
    for leaf in leaves {
        // A dotted key begins with the name of its table, whose place is known only once.
        entries.push(super::brackets::first_word(text, before, leaf.key.start)..leaf.value.end);
        before = leaf.value.end;
    }
    Brackets {
        outer: level.span.clone(),
        entries,
    }
}

/// What stands between key and value in `table`, for the next one.
fn separator<'t>(text: &'t str, table: &DeTable<'_>) -> &'t str {
    last_leaf(text, table)
        .and_then(|leaf| text.get(leaf.key.end..leaf.value.start))
        .filter(|between| between.trim_matches([' ', '\t']) == "=")
        .unwrap_or(" = ")
}

/// Adds a key that is missing below the last of `levels`.
fn add(
    text: &str,
    levels: &[Level<'_, '_>],
    path: &[&str],
    literal: &str,
    comment: Option<&str>,
) -> String {
    let depth = levels.len() - 1;
    let level = &levels[depth];
    let rest = &path[depth..];
    let between = separator(text, level.table);
    if let Some(inline) = innermost_inline(levels) {
        let entry = match (inline == depth, rest) {
            (true, [table, key]) => format!("{table} = {{ {key} = {literal} }}"),
            _ => format!("{}{between}{literal}", path[inline..].join(".")),
        };
        let added = inline_brackets(text, &levels[inline]).with(text, &entry, None);
        let grown = added.len() as isize - text.len() as isize;
        return beside(&added, levels, 0, grown, path, comment);
    }
    let tail = comment.map_or(String::new(), |comment| format!("  # {comment}"));
    if level.kind == Kind::Dotted {
        let from = levels
            .iter()
            .rposition(|level| level.kind != Kind::Dotted)
            .unwrap_or(0);
        let line = format!("{}{between}{literal}{tail}", path[from..].join("."));
        return after_leaf(text, level.table, &line).unwrap_or_else(|| text.to_owned());
    }
    let key = path.last().copied().unwrap_or_default();
    let line = format!("{key}{between}{literal}{tail}");
    if rest.len() > 1 {
        let header = path[..path.len() - 1].join(".");
        return add_section(text, level, &header, &format!("{key} = {literal}{tail}"));
    }
    match level.kind {
        Kind::Root => add_at_top(text, level.table, &line),
        _ => after_leaf(text, level.table, &line).unwrap_or_else(|| {
            let end = line_end(text, level.span.end);
            insert(text, end, &format!("{}{line}", eol(text)))
        }),
    }
}

fn after_leaf(text: &str, table: &DeTable<'_>, line: &str) -> Option<String> {
    let leaf = last_leaf(text, table)?;
    let end = line_end(text, leaf.value.end);
    let indent = indent(text, leaf.key.start);
    Some(insert(text, end, &format!("{}{indent}{line}", eol(text))))
}

/// Before all headers: beside `interfaces`, with which a config begins.
fn add_at_top(text: &str, root: &DeTable<'_>, line: &str) -> String {
    if let Some(value) = find(root, "interfaces") {
        let end = line_end(text, value.span().end);
        return insert(text, end, &format!("{}{line}", eol(text)));
    }
    if let Some(added) = after_leaf(text, root, line) {
        return added;
    }
    let eol = eol(text);
    let start = text.len() - text.trim_start_matches('\u{feff}').len();
    // A comment at the top is about the file when an empty line follows.
    let comments = comment_block_end(text, start);
    let is_head = comments > start && text[comments..].trim_start_matches('\r').starts_with('\n');
    match is_head {
        true => insert(text, comments, &format!("{eol}{line}{eol}")),
        false => insert(text, start, &format!("{line}{eol}{eol}")),
    }
}

/// `[header]` with its first line, behind the table `level` or at the end of the file.
fn add_section(text: &str, level: &Level<'_, '_>, header: &str, line: &str) -> String {
    let eol = eol(text);
    let last = last_leaf(text, level.table).map(|leaf| leaf.value.end);
    let behind = match level.kind {
        Kind::Header => Some(last.unwrap_or(level.span.end)),
        _ => None,
    };
    let Some(behind) = behind else {
        let body = text.trim_end_matches([' ', '\t', '\r', '\n']);
        let gap = if body.is_empty() {
            String::new()
        } else {
            eol.repeat(2)
        };
        return format!("{body}{gap}[{header}]{eol}{line}{eol}");
    };
    let end = line_end(text, behind);
    // Comments right below belong to the table above, unless they introduce the next one.
    let block = next_line(text, end).map_or(end, |next| comment_block_end(text, next));
    let introduces = next_line(text, block).is_some_and(|next| {
        text[next..]
            .trim_start_matches([' ', '\t'])
            .starts_with('[')
    });
    let end = if introduces { end } else { block.max(end) };
    let follows = next_line(text, end).is_some_and(|next| {
        let line = &text[next..line_end(text, next)];
        !line.trim().is_empty()
    });
    let gap = if follows { eol } else { "" };
    insert(text, end, &format!("{eol}{eol}[{header}]{eol}{line}{gap}"))
}

/// Where the line after the one that holds `at` begins, if there is one.
fn next_line(text: &str, at: usize) -> Option<usize> {
    let start = at + text.get(at..)?.find('\n')? + 1;
    (start < text.len()).then_some(start)
}

/// The end of the last of the comment lines that begin at `start`; `start` itself when there are none.
fn comment_block_end(text: &str, start: usize) -> usize {
    let mut end = start;
    let mut next = Some(start);
    while let Some(at) = next
        && text[at..].trim_start_matches([' ', '\t']).starts_with('#')
    {
        end = line_end(text, at);
        next = next_line(text, end);
    }
    end
}

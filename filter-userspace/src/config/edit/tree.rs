//! Where the tables and keys of a TOML text stand.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    brackets::{Brackets, first_word},
    lines::line_start,
};

/// How a table came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
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
pub struct Level<'p, 't> {
    pub table: &'p DeTable<'t>,
    pub kind: Kind,
    pub span: Range<usize>,
}

/// A key with its value; bytes of the text.
pub struct Leaf {
    pub key: Range<usize>,
    pub value: Range<usize>,
}

pub fn parse(text: &str) -> Option<Spanned<DeTable<'_>>> {
    DeTable::parse(text).ok()
}

pub fn value_at<'p, 't>(root: &'p DeTable<'t>, path: &[&str]) -> Option<&'p Spanned<DeValue<'t>>> {
    let (last, tables) = path.split_last()?;
    let mut table = root;
    for key in tables {
        table = find(table, key)?.get_ref().as_table()?;
    }
    find(table, last)
}

pub fn find<'p, 't>(table: &'p DeTable<'t>, key: &str) -> Option<&'p Spanned<DeValue<'t>>> {
    table
        .iter()
        .find(|(name, _)| name.get_ref() == key)
        .map(|(_, value)| value)
}

pub fn list(text: &str, path: &[&str]) -> Option<Brackets> {
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
pub fn levels<'p, 't>(
    text: &str,
    root: &'p DeTable<'t>,
    path: &[&str],
) -> Option<Vec<Level<'p, 't>>> {
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

pub fn kind(text: &str, span: Range<usize>) -> Kind {
    let line = text[line_start(text, span.start)..].trim_start_matches([' ', '\t', '\u{feff}']);
    match text[span.start..].chars().next() {
        Some('{') => Kind::Inline,
        Some('[') => Kind::Header,
        _ if line.starts_with('[') => Kind::Implied,
        _ => Kind::Dotted,
    }
}

pub fn leaf(levels: &[Level<'_, '_>], path: &[&str]) -> Option<Range<usize>> {
    if levels.len() != path.len() {
        return None;
    }
    find(levels.last()?.table, path.last()?).map(Spanned::span)
}

pub fn innermost_inline(levels: &[Level<'_, '_>]) -> Option<usize> {
    levels.iter().rposition(|level| level.kind == Kind::Inline)
}

/// The last key that is written in `table` itself, not under a header of its own.
pub fn last_leaf(text: &str, table: &DeTable<'_>) -> Option<Leaf> {
    leaves(text, table)
        .into_iter()
        .max_by_key(|leaf| leaf.value.end)
}

pub fn leaves(text: &str, table: &DeTable<'_>) -> Vec<Leaf> {
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

pub fn inline_brackets(text: &str, level: &Level<'_, '_>) -> Brackets {
    let mut leaves = leaves(text, level.table);
    leaves.sort_by_key(|leaf| leaf.value.end);
    let mut before = level.span.start + 1;
    let mut entries = Vec::new();
    for leaf in leaves {
        // A dotted key begins with the name of its table, whose place is known only once.
        entries.push(first_word(text, before, leaf.key.start)..leaf.value.end);
        before = leaf.value.end;
    }
    Brackets {
        outer: level.span.clone(),
        entries,
    }
}

/// What stands between key and value in `table`, for the next one.
pub fn separator<'t>(text: &'t str, table: &DeTable<'_>) -> &'t str {
    last_leaf(text, table)
        .and_then(|leaf| text.get(leaf.key.end..leaf.value.start))
        .filter(|between| between.trim_matches([' ', '\t']) == "=")
        .unwrap_or(" = ")
}

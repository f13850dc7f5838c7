//! Adding what is missing, in the way in which its neighbours are written.

use toml::de::DeTable;

use super::{
    lines::{eol, indent, insert, line_end, with_end_comment},
    tree::{Kind, Level, find, inline_brackets, innermost_inline, last_leaf, separator},
};

/// The comment of a change that ends at `end`. `grown`: bytes by which the text has grown since `levels` were
/// read. Within braces there is no room for one, so it goes behind them, and says what it is about.
pub fn beside(
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

/// Adds a key that is missing below the last of `levels`.
pub fn add(
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

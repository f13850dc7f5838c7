//! A list or an inline table as it is written: what is put into it and taken out follows its layout.

use std::ops::Range;

use super::lines::{eol, indent, insert, line_end, line_start};

/// Steps by which a list that was on one line is indented.
const STEP: &str = "    ";

/// `[a, b]` or `{ a = 1, b = 2 }`; bytes of the text.
pub struct Brackets {
    /// With the brackets.
    pub outer: Range<usize>,
    /// In the order in which they stand.
    pub entries: Vec<Range<usize>>,
}

impl Brackets {
    /// `text` with `entry` behind the last one, and `comment` beside it.
    ///
    /// A list on one line stays so, unless a comment has to have a line of its entry's own. Within braces there is
    /// no comment.
    pub fn with(&self, text: &str, entry: &str, comment: Option<&str>) -> String {
        let is_on_one_line = !text[self.outer.clone()].contains('\n');
        match (is_on_one_line, self.entries.last()) {
            (true, _) if comment.is_some() => self.one_a_line(text, entry, comment),
            (true, None) => {
                let pad = if text[self.outer.clone()].starts_with('{') {
                    " "
                } else {
                    ""
                };
                let inner = self.outer.start + 1..self.outer.end - 1;
                format!(
                    "{}{pad}{entry}{pad}{}",
                    &text[..inner.start],
                    &text[inner.end..]
                )
            }
            (true, Some(last)) => insert(text, last.end, &format!(", {entry}")),
            (false, None) => self.first_of_lines(text, entry, comment),
            (false, Some(last)) => self.next_line(text, last, entry, comment),
        }
    }

    fn one_a_line(&self, text: &str, entry: &str, comment: Option<&str>) -> String {
        let (eol, outer_indent) = (eol(text), indent(text, self.outer.start));
        let mut inner = String::new();
        for old in &self.entries {
            inner += &format!("{outer_indent}{STEP}{},{eol}", &text[old.clone()]);
        }
        inner += &format!("{outer_indent}{STEP}{entry},{}{eol}", tail(comment));
        format!(
            "{}{eol}{inner}{outer_indent}{}",
            &text[..=self.outer.start],
            &text[self.outer.end - 1..]
        )
    }

    fn first_of_lines(&self, text: &str, entry: &str, comment: Option<&str>) -> String {
        let closing = line_start(text, self.outer.end - 1);
        let above = text[..closing].trim_end_matches(['\r', '\n']);
        let own = indent(text, self.outer.start);
        let step = match line_start(text, above.len()) > self.outer.start {
            true => indent(text, above.len()).to_owned(),
            false => format!("{own}{STEP}"),
        };
        let line = format!("{step}{entry},{}{}", tail(comment), eol(text));
        insert(text, closing, &line)
    }

    fn next_line(
        &self,
        text: &str,
        last: &Range<usize>,
        entry: &str,
        comment: Option<&str>,
    ) -> String {
        let eol = eol(text);
        let closing = self.outer.end - 1;
        let comma = comma(text, last.end, closing);
        let step = self.step(text, last);
        // Whoever writes a comma behind the last entry wants one behind the new one.
        let own_comma = if comma.is_some() { "," } else { "" };
        let line = format!("{eol}{step}{entry}{own_comma}{}", tail(comment));
        let end = line_end(text, comma.unwrap_or(last.end));
        if end >= closing {
            // The bracket is on the last entry's line; a comment would swallow it.
            let at = comma.map_or(last.end, |comma| comma + 1);
            let first_comma = if comma.is_some() { "" } else { "," };
            let break_after = match comment {
                Some(_) => format!("{eol}{}", indent(text, self.outer.start)),
                None => String::new(),
            };
            return insert(text, at, &format!("{first_comma}{line}{break_after}"));
        }
        let with_line = insert(text, end, &line);
        match comma {
            Some(_) => with_line,
            None => insert(&with_line, last.end, ","),
        }
    }

    /// The blanks before an entry that gets a line of its own.
    fn step(&self, text: &str, last: &Range<usize>) -> String {
        let start = line_start(text, last.start);
        if start > self.outer.start {
            return indent(text, last.start).to_owned();
        }
        format!("{}{STEP}", indent(text, self.outer.start))
    }

    /// `text` without an entry, its comma, and its line when it has one of its own.
    pub fn without(&self, text: &str, index: usize) -> String {
        let Some(entry) = self.entries.get(index) else {
            return text.to_owned();
        };
        let mut left = text.to_owned();
        let mut closing = self.outer.end - 1;
        let (cut, comma) = self.cuts(text, index, entry);
        // From behind, so that the places before stay right.
        for cut in comma.into_iter().chain([cut]) {
            closing -= cut.len();
            left.replace_range(cut, "");
        }
        // Nothing is left to have lines for.
        let inner = self.outer.start + 1..closing;
        if left[inner.clone()].trim().is_empty() {
            left.replace_range(inner, "");
        }
        left
    }

    /// What goes with an entry, and its comma, if that stands somewhere behind it.
    fn cuts(
        &self,
        text: &str,
        index: usize,
        entry: &Range<usize>,
    ) -> (Range<usize>, Option<Range<usize>>) {
        let closing = self.outer.end - 1;
        let next = self.entries.get(index + 1).map(|next| next.start);
        let before = match index.checked_sub(1).and_then(|at| self.entries.get(at)) {
            Some(before) => before.end,
            None => self.outer.start + 1,
        };
        let comma = comma(text, entry.end, next.unwrap_or(closing));
        let end = line_end(text, entry.end);
        // It may stand on a line further down, behind comments that are not the entry's.
        let far_comma = comma.filter(|comma| *comma > end).map(|at| at..at + 1);
        if self.has_own_line(text, index, entry) {
            let start = line_start(text, entry.start);
            let newline = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
            return (start..newline, far_comma);
        }
        let plain = |range: Range<usize>| !text[range].contains(['\n', '#']);
        match (next, comma) {
            (Some(next), _) if plain(entry.end..next) => (entry.start..next, None),
            (None, _) if index > 0 && !text[before..entry.start].contains('#') => {
                (before..entry.end, None)
            }
            (_, Some(comma)) if plain(entry.end..comma) => (entry.start..comma + 1, None),
            (_, comma) => (entry.clone(), comma.map(|at| at..at + 1)),
        }
    }

    /// Whether the line of an entry holds nothing else but its comma and a comment.
    fn has_own_line(&self, text: &str, index: usize, entry: &Range<usize>) -> bool {
        let before = match index.checked_sub(1).and_then(|at| self.entries.get(at)) {
            Some(before) => before.end,
            None => self.outer.start + 1,
        };
        let next = self.entries.get(index + 1).map(|next| next.start);
        let start = line_start(text, entry.start);
        start >= before
            && line_end(text, entry.end) < next.unwrap_or(self.outer.end - 1)
            && text[start..entry.start].trim().is_empty()
    }

    /// The comment on the own line of an entry.
    pub fn comment_beside(&self, text: &str, index: usize) -> Option<String> {
        let entry = self.entries.get(index)?;
        if !self.has_own_line(text, index, entry) {
            return None;
        }
        let (_, comment) = text[entry.end..line_end(text, entry.end)].split_once('#')?;
        Some(comment.trim().to_owned())
    }
}

fn tail(comment: Option<&str>) -> String {
    comment.map_or(String::new(), |comment| format!("  # {comment}"))
}

/// The comma between `from` and `to`, where nothing but blanks, line ends and comments stands besides.
fn comma(text: &str, from: usize, to: usize) -> Option<usize> {
    let mut in_comment = false;
    for (at, byte) in text.as_bytes()[from..to].iter().enumerate() {
        match byte {
            b'#' => in_comment = true,
            b'\n' => in_comment = false,
            b',' if !in_comment => return Some(from + at),
            _ => {}
        }
    }
    None
}

/// The first byte between `from` and `to` that is no comma, no blank, no line end and no comment; else `to`.
pub fn first_word(text: &str, from: usize, to: usize) -> usize {
    let mut in_comment = false;
    for (at, byte) in text.as_bytes()[from..to].iter().enumerate() {
        match byte {
            b'#' => in_comment = true,
            b'\n' => in_comment = false,
            b',' | b' ' | b'\t' | b'\r' => {}
            _ if in_comment => {}
            _ => return from + at,
        }
    }
    to
}

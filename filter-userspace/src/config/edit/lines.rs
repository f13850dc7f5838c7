//! Lines of a text, by the bytes where they begin and end.

/// Where the line that holds `at` begins.
pub fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Where the line that holds `at` ends, before its line end.
pub fn line_end(text: &str, at: usize) -> usize {
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    match text[..end].ends_with('\r') && end > at {
        true => end - 1,
        false => end,
    }
}

/// The line end of the text: that of its first line.
pub fn eol(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// The blanks with which the line that holds `at` begins.
pub fn indent(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

pub fn insert(text: &str, at: usize, added: &str) -> String {
    format!("{}{added}{}", &text[..at], &text[at..])
}

/// `text` with `comment` at the end of the line that holds `at`, behind which nothing but a comment may follow on
/// that line. It takes the place of that comment, or is added to it.
pub fn with_end_comment(text: &str, at: usize, comment: &str, keep_other: bool) -> String {
    let end = line_end(text, at);
    let rest = &text[at..end];
    let (kept, new) = match rest.find('#') {
        Some(hash) if keep_other => (
            at + hash + rest[hash..].trim_end().len(),
            format!("; {comment}"),
        ),
        Some(hash) => (at + hash, format!("# {comment}")),
        None => (at + rest.trim_end().len(), format!("  # {comment}")),
    };
    format!("{}{new}{}", &text[..kept], &text[end..])
}

//! Columns that line up, and numbers that a person can read.

/// Rows under a header. Columns named in `right` are numbers; the last column may be long.
pub fn render(header: &[&str], right: &[usize], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            if right.contains(&column) {
                line += &format!("{padding}{cell}  ");
            } else {
                line += &format!("{cell}{padding}  ");
            }
        }
        format!("{}\n", line.trim_end())
    };
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let mut text = line(&header);
    for row in rows {
        text += &line(row);
    }
    text
}

/// `3142377` as `3,142,377`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `3.14M`: three or four digits that tell the size; exact below 10,000.
pub fn scaled(number: u64) -> String {
    const UNITS: [&str; 4] = ["k", "M", "G", "T"];
    if number < 10_000 {
        return grouped(number);
    }
    let mut size = number as f64 / 1000.0;
    let mut unit = 0;
    // What would be rounded to 1000 belongs to the next unit.
    while size >= 999.5 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    let decimals = match size {
        _ if size < 9.995 => 2,
        _ if size < 99.95 => 1,
        _ => 0,
    };
    format!("{size:.decimals$}{}", UNITS[unit])
}

/// `5.5 MiB`; below 10 KiB in bytes.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 10 * 1024 {
        return format!("{} B", grouped(count));
    }
    let mut size = count as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// `text`, broken at blanks so that no line is longer than `width`, with `indent` before all lines
/// but the first.
pub fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let mut wrapped = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column > indent && column + 1 + len > width {
            wrapped += &format!("\n{}", " ".repeat(indent));
            column = indent;
        } else if column > indent {
            wrapped.push(' ');
            column += 1;
        }
        wrapped += word;
        column += len;
    }
    wrapped
}

/// `text`, cut to `width` characters.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["MO".to_owned(), "1,000".to_owned(), "a b".to_owned()],
            vec!["unknown".to_owned(), "3".to_owned(), String::new()],
        ];
        assert_eq!(
            render(&["class", "packets", "note"], &[1], &rows),
            "class    packets  note\nMO         1,000  a b\nunknown        3\n"
        );
    }

    #[test]
    fn numbers_are_grouped_and_scaled() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(3_142_377), "3,142,377");
        for (number, expected) in [
            (9_999, "9,999"),
            (10_000, "10.0k"),
            (99_949, "99.9k"),
            (99_950, "100k"),
            (999_499, "999k"),
            (999_500, "1.00M"),
            (343_327_597, "343M"),
            (9_486_356_864, "9.49G"),
            (2_199_096_545_568, "2.20T"),
        ] {
            assert_eq!(scaled(number), expected);
        }
        assert_eq!(bytes(10_239), "10,239 B");
        assert_eq!(bytes(10_240), "10.0 KiB");
        assert_eq!(bytes(5_767_168), "5.5 MiB");
    }

    #[test]
    fn text_is_wrapped_and_cut() {
        assert_eq!(wrapped("one two three", 9, 2), "one two\n  three");
        assert_eq!(cut("Bosnia and Herzegovina", 8), "Bosnia …");
        assert_eq!(cut("Macao", 5), "Macao");
    }
}

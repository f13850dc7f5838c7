//! For terminals that show ASCII alone.

use ratatui::buffer::Buffer;

/// Puts a character of ASCII in place of every other.
pub fn reduce(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if let Some(letter) = cell.symbol().chars().next().filter(|it| !it.is_ascii()) {
            cell.set_char(in_place_of(letter));
        }
    }
}

const fn in_place_of(letter: char) -> char {
    match letter {
        '\u{2800}' => ' ',
        // Braille patterns, of which the map is made.
        '\u{2801}'..='\u{28ff}' => '.',
        // Bars from one to eight eighths.
        '▁' | '▂' => '_',
        '▃' | '▄' | '▅' => '=',
        '▆' | '▇' | '█' => '#',
        '…' => '~',
        _ => '?',
    }
}

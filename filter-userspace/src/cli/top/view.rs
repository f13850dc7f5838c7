//! The screen, drawn from what is shown; nothing is asked and nothing is changed here.

mod ascii;
mod lists;
mod map;
mod over;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
    widgets::{RenderDirection, Sparkline, Widget as _},
};

use super::{
    super::table::scaled,
    document::rate,
    model::{SPARKS, VERDICTS},
    screen::{Over, Screen},
};
use crate::control::protocol::ModeWord;

/// Below this only rates and countries are shown.
const FULL: (u16, u16) = (60, 16);
/// Below this nothing is.
const LEAST: (u16, u16) = (40, 8);
const KEYS: &str = "q quit  ? help  s sort  / filter  space freeze  tab list  enter explain  b ban";

/// What the terminal can show.
#[derive(Clone, Copy)]
pub struct Look {
    pub color: bool,
    /// No other characters.
    pub ascii: bool,
}

impl Look {
    pub fn of_environment(color: bool) -> Self {
        let set = |name| std::env::var(name).ok().filter(|it| !it.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let locale = locale.unwrap_or_default().to_lowercase();
        Self {
            color,
            ascii: !locale.contains("utf-8") && !locale.contains("utf8"),
        }
    }

    fn paint(self, color: Color) -> Style {
        match self.color {
            true => Style::new().fg(color),
            false => Style::new(),
        }
    }

    fn heading(self) -> Style {
        self.paint(Color::Cyan).add_modifier(Modifier::BOLD)
    }
}

pub fn draw(frame: &mut Frame<'_>, screen: &mut Screen, look: Look) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let words = format!("too small: needs {}x{}", LEAST.0, LEAST.1);
        line(buffer, area, 0, &words, Style::new());
        line(buffer, area, 1, "q quits", Style::new());
        return;
    }
    header(buffer, row(area, 0), screen, look);
    notice(buffer, row(area, 1), screen, look);
    rates(buffer, rows(area, 2, 4), screen, look);
    let rest = area.height - 7;
    if area.width < FULL.0 || area.height < FULL.1 {
        lists::countries(buffer, rows(area, 6, rest), screen, look);
    } else if screen.large_map {
        map::draw(buffer, rows(area, 6, rest), screen, look);
    } else {
        body(buffer, rows(area, 6, rest), screen, look);
    }
    match &screen.over {
        Over::Filter(_) => {
            let words = format!(
                "filter: {}_  (enter keeps it, esc gives it up)",
                screen.filter
            );
            line(
                buffer,
                row(area, area.height - 1),
                0,
                &words,
                look.heading(),
            );
        }
        _ => line(buffer, row(area, area.height - 1), 0, KEYS, Style::new()),
    }
    over::draw(buffer, rows(area, 2, area.height - 3), screen, look);
    if look.ascii {
        ascii::reduce(buffer);
    }
}

fn body(buffer: &mut Buffer, area: Rect, screen: &mut Screen, look: Look) {
    let upper = area.height * 7 / 17;
    let middle = area.height * 6 / 17;
    let (left, right) = columns(rows(area, 0, upper), (area.width / 2 - 6).max(42));
    lists::countries(buffer, left, screen, look);
    map::draw(buffer, right, screen, look);
    screen.page = usize::from(middle.saturating_sub(1));
    let (left, right) = columns(rows(area, upper, middle), area.width - 24);
    lists::sources(buffer, left, screen, look);
    lists::services(buffer, right, screen, look);
    let lower = rows(area, upper + middle, area.height - upper - middle);
    lists::events(buffer, lower, screen, look);
}

/// `y` and `height` within `area`.
fn rows(area: Rect, y: u16, height: u16) -> Rect {
    Rect::new(area.x, area.y + y, area.width, height).intersection(area)
}

fn row(area: Rect, y: u16) -> Rect {
    rows(area, y, 1)
}

/// The first `left` columns, and the others behind a gap of one.
fn columns(area: Rect, left: u16) -> (Rect, Rect) {
    let left = left.min(area.width.saturating_sub(1));
    let right = area.width - left - 1;
    (
        Rect::new(area.x, area.y, left, area.height),
        Rect::new(area.x + left + 1, area.y, right, area.height),
    )
}

/// Writes into row `y` of `area`, and cuts what is too long.
fn line(buffer: &mut Buffer, area: Rect, y: u16, text: &str, style: Style) {
    if y < area.height {
        let text = super::super::table::cut(text, usize::from(area.width));
        buffer.set_stringn(area.x, area.y + y, text, usize::from(area.width), style);
    }
}

fn header(buffer: &mut Buffer, area: Rect, screen: &Screen, look: Look) {
    let model = screen.shown();
    let Some(last) = &model.last else {
        return line(buffer, area, 0, "cerco", Style::new());
    };
    let (mode, color) = match last.mode {
        ModeWord::Enforce => ("enforcing", Color::Green),
        ModeWord::Observe => ("observing", Color::Yellow),
    };
    let mut words = format!("cerco {mode}");
    if let Some(trial) = &last.trial {
        words += &match trial.remaining_seconds {
            0 => ", undone".to_owned(),
            seconds => format!(", undone in {seconds} s unless confirmed"),
        };
    }
    let names: Vec<_> = last
        .interfaces
        .iter()
        .map(|it| it.interface.as_str())
        .collect();
    words += &match names.is_empty() {
        true => " on no interface".to_owned(),
        false => format!(" on {}", names.join(", ")),
    };
    let mut right = format!("sort: {}", screen.sort.word());
    if !screen.filter.is_empty() {
        right = format!("filter: {}  {right}", screen.filter);
    }
    if screen.frozen.is_some() {
        right = format!("FROZEN  {right}");
    }
    let style = look
        .paint(color)
        .add_modifier(Modifier::BOLD | Modifier::REVERSED);
    buffer.set_style(area, style);
    line(buffer, area, 0, &words, style);
    let width = (right.chars().count() as u16 + 1).min(area.width);
    let end = Rect::new(area.right() - width, area.y, width, 1);
    line(buffer, end, 0, &format!(" {right}"), style);
}

fn notice(buffer: &mut Buffer, area: Rect, screen: &Screen, look: Look) {
    let model = screen.shown();
    let Some(last) = &model.last else {
        return;
    };
    let bad = look.paint(Color::Red).add_modifier(Modifier::BOLD);
    let caution = look.paint(Color::Yellow);
    let (words, style) = if let Some(fault) = &model.fault {
        (format!("no counters now: {fault}"), bad)
    } else if !last.daemon {
        let words = "no daemon answers: the kernel counts and filters on; events need the daemon";
        (words.to_owned(), bad)
    } else if let Some(Err(why)) = &model.following {
        (format!("no events: {why}"), caution)
    } else if let Some(change) = last.trial.as_ref().and_then(|it| it.change.as_ref()) {
        (
            format!("on trial: {change}; `cerco confirm` keeps it"),
            caution,
        )
    } else if let Some(warning) = last.warnings.first() {
        let more = match last.warnings.len() {
            1 => String::new(),
            count => format!("({count}, see cerco status) "),
        };
        (format!("warning: {more}{warning}"), caution)
    } else if last.mode == ModeWord::Observe {
        let words = "nothing is dropped: `would drop` passes, too, until `cerco enforce`";
        (words.to_owned(), caution)
    } else {
        return;
    };
    line(buffer, area, 0, &words, style);
}

fn rates(buffer: &mut Buffer, area: Rect, screen: &Screen, look: Look) {
    let model = screen.shown();
    let heading = format!(
        "{:<10}{:>10}{:>10}{:>10}  over time",
        "packets", "per second", "bit/s", "total"
    );
    line(buffer, area, 0, &heading, look.heading());
    let colors = [Color::Red, Color::Yellow, Color::Green];
    for (index, (_, name)) in VERDICTS.iter().enumerate() {
        let growth = model.verdicts[index];
        let words = format!(
            "{name:<10}{:>10}{:>10}{:>10}",
            rate(growth.packets_per_second),
            scaled(growth.bits_per_second.round() as u64),
            scaled(growth.total_packets),
        );
        let y = index as u16 + 1;
        line(buffer, area, y, &words, Style::new());
        let width = area.width.saturating_sub(42).min(SPARKS as u16);
        if width == 0 || y >= area.height {
            continue;
        }
        Sparkline::default()
            .data(
                model.history[index]
                    .iter()
                    .rev()
                    .copied()
                    .collect::<Vec<u64>>(),
            )
            .direction(RenderDirection::RightToLeft)
            .style(look.paint(colors[index]))
            .render(Rect::new(area.x + 42, area.y + y, width, 1), buffer);
    }
}

#[cfg(test)]
mod tests;

//! Countries, sources, services and events, line by line.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};

use super::{
    super::{
        super::{
            events::words,
            table::{cut, grouped, scaled},
        },
        document::rate,
        model::Model,
        screen::{Focus, Screen, Sort},
    },
    Look, line,
};

/// The first of the lines that are shown, so that the selected one is among them.
fn first_shown(selected: usize, height: usize) -> usize {
    (selected + 1).saturating_sub(height)
}

/// Where a list stands, and which of its lines is selected.
struct List {
    area: Rect,
    selected: usize,
    is_focused: bool,
}

impl List {
    /// Draws the lines under the heading.
    fn draw(&self, buffer: &mut Buffer, count: usize, text: impl Fn(usize) -> String) {
        let height = usize::from(self.area.height.saturating_sub(1));
        let first = first_shown(self.selected, height);
        for (y, index) in (first..count).take(height).enumerate() {
            let is_selected = self.is_focused && index == self.selected;
            let (mark, style) = match is_selected {
                true => ('>', Style::new().add_modifier(Modifier::REVERSED)),
                false => (' ', Style::new()),
            };
            let words = format!("{mark}{}", text(index));
            line(buffer, self.area, y as u16 + 1, &words, style);
        }
    }
}

pub fn countries(buffer: &mut Buffer, area: Rect, screen: &Screen, look: Look) {
    let lines = screen.countries();
    let name_width = usize::from(area.width).saturating_sub(28);
    let heading = format!(
        " {:<name_width$}{:>9}{:>9}{:>9}",
        "from", "dropped/s", "passed/s", "dropped"
    );
    line(buffer, area, 0, &heading, look.heading());
    let list = List {
        area,
        selected: screen.selected_country_in(&lines),
        is_focused: screen.focus == Focus::Countries,
    };
    list.draw(buffer, lines.len(), |index| {
        let country = lines[index];
        let name = match &country.name {
            Some(name) => format!("{} {name}", country.class),
            None => country.class.clone(),
        };
        format!(
            "{:<name_width$}{:>9}{:>9}{:>9}",
            cut(&name, name_width.saturating_sub(1)),
            rate(country.dropped.packets_per_second),
            rate(country.passed.packets_per_second),
            scaled(country.dropped.total_packets),
        )
    });
}

pub fn sources(buffer: &mut Buffer, area: Rect, screen: &Screen, look: Look) {
    let lines = screen.sources();
    let address_width = usize::from(area.width).saturating_sub(34);
    let number = match screen.sort {
        Sort::Packets => "packets",
        Sort::Rate | Sort::Name => "/s",
    };
    let title = match has_events(screen.shown()) {
        true => "dropped source",
        false => "no sources",
    };
    let heading = format!(
        " {title:<address_width$}{:<8}{:<17}{number:>8}",
        "from", "reason"
    );
    line(buffer, area, 0, &heading, look.heading());
    let list = List {
        area,
        selected: screen.selected_source_in(&lines),
        is_focused: screen.focus == Focus::Sources,
    };
    list.draw(buffer, lines.len(), |index| {
        let source = &lines[index];
        let number = match screen.sort {
            Sort::Packets => scaled(source.packets),
            Sort::Rate | Sort::Name => rate(source.packets_per_second),
        };
        format!(
            "{:<address_width$}{:<8}{:<17}{number:>8}",
            cut(&source.source.to_string(), address_width.saturating_sub(1)),
            cut(source.class.as_deref().unwrap_or(""), 7),
            cut(&source.reason, 16),
        )
    });
}

pub fn services(buffer: &mut Buffer, area: Rect, screen: &Screen, look: Look) {
    let width = usize::from(area.width).saturating_sub(8);
    let heading = format!("{:<width$}{:>8}", "to", "share");
    line(buffer, area, 0, &heading, look.heading());
    let lines = screen.services();
    let all: u64 = lines.iter().map(|it| it.packets).sum();
    let height = usize::from(area.height.saturating_sub(1));
    for (y, service) in lines.iter().take(height).enumerate() {
        let share = service.packets as f64 * 100.0 / all.max(1) as f64;
        let words = format!("{:<width$}{share:>7.1}%", cut(&service.words(), width));
        line(buffer, area, y as u16 + 1, &words, Style::new());
    }
}

pub fn events(buffer: &mut Buffer, area: Rect, screen: &Screen, look: Look) {
    let model = screen.shown();
    let heading = match has_events(model) {
        true => format!(
            "events, a sample: {} in {:.0} s stand for {} packets",
            grouped(model.events.count() as u64),
            model.events.window_seconds(),
            grouped(model.events.packets()),
        ),
        false => "events need the daemon".to_owned(),
    };
    line(buffer, area, 0, &heading, look.heading());
    let height = usize::from(area.height.saturating_sub(1));
    for (y, event) in screen.events().into_iter().take(height).enumerate() {
        line(buffer, area, y as u16 + 1, &words(event), Style::new());
    }
}

/// What is left of the last minute is shown also when no more comes.
fn has_events(model: &Model) -> bool {
    model.following == Some(Ok(())) || model.events.count() > 0
}

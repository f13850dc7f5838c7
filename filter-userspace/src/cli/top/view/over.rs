//! What lies over the lists: help, an explanation, a question and its answer.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
    widgets::{Clear, Widget as _},
};

use super::{
    super::{
        super::{explain, output::Output, table::wrapped},
        screen::{BAN_DURATIONS, Over, Screen},
    },
    Look, line, rows,
};

const HELP: &str = "\
up, down      select a line (also k and j, page up and down, home, end)
tab           go to the other list: sources or countries
enter         explain the source; of a country, show its sources alone
b             ban the source; asks first
s             sort by rate, packets, name
/             filter by country (code or name) or reason; esc ends it
m             large world map and back
space         freeze the screen and go on
ctrl-l        draw anew
q, ctrl-c     quit

Rates and countries are counted. Sources, ports and events come from a sample
of the dropped frames; each stands for so many that were dropped.
On the map: @ a quarter of the drops, O a twentieth, o a hundredth, + less.";

/// Draws from the bottom of `area`.
pub fn draw(buffer: &mut Buffer, area: Rect, screen: &Screen, look: Look) {
    let (title, text) = match &screen.over {
        Over::Nothing | Over::Filter(_) => return,
        Over::Help => ("keys (any key closes this)".to_owned(), HELP.to_owned()),
        Over::Explanation(explanation) => (
            "explanation (b bans, any other key closes this)".to_owned(),
            explain::render(explanation, &Output::plain()),
        ),
        Over::Ban(source, chosen) => {
            let mark = |(index, duration): (usize, &&str)| match index == *chosen {
                true => format!("[{duration}]"),
                false => format!(" {duration} "),
            };
            let durations: Vec<_> = BAN_DURATIONS.iter().enumerate().map(mark).collect();
            (
                format!("ban {source}?"),
                format!(
                    "for {}\ny bans it, n does not; left and right: for how long",
                    durations.join(" ")
                ),
            )
        }
        Over::Answer(text) => {
            let lines = text
                .lines()
                .map(|it| wrapped(it, usize::from(area.width), 0));
            let lines: Vec<_> = lines.collect();
            ("(any key closes this)".to_owned(), lines.join("\n"))
        }
    };
    let lines: Vec<_> = text.lines().collect();
    let height = (lines.len() as u16 + 1).min(area.height);
    let area = rows(area, area.height - height, height);
    Clear.render(area, buffer);
    let style = look.heading().add_modifier(Modifier::REVERSED);
    buffer.set_style(rows(area, 0, 1), style);
    line(buffer, area, 0, &title, style);
    for (y, text) in lines.iter().enumerate() {
        line(buffer, area, y as u16 + 1, text, Style::new());
    }
}

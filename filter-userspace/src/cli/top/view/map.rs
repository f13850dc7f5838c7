//! The world, and where what is dropped comes from.

use std::cmp::Reverse;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier},
    symbols::Marker,
    text::Span,
    widgets::{
        Widget as _,
        canvas::{Canvas, Map, MapResolution},
    },
};

use super::{
    super::{places, screen::Screen},
    Look, line, rows,
};

/// Degrees of latitude; further south nobody sends.
const SOUTH_NORTH: [f64; 2] = [-58.0, 84.0];
const WEST_EAST: [f64; 2] = [-180.0, 180.0];
/// So many countries, those with the most drops, bear their letters.
const LETTERED: usize = 3;

pub fn draw(buffer: &mut Buffer, area: Rect, screen: &Screen, look: Look) {
    let heading = "drops of the last minute";
    line(buffer, area, 0, heading, look.heading());
    let area = rows(area, 1, area.height.saturating_sub(1));
    if area.height < 2 || area.width < 10 {
        return;
    }
    let countries = screen.countries();
    let mut placed: Vec<_> = countries
        .iter()
        .filter(|it| it.dropped_last_minute > 0)
        .filter_map(|it| {
            let place = places::of(&it.class)?;
            Some((it.dropped_last_minute, it.class.clone(), place))
        })
        .collect();
    placed.sort_by_key(|it| Reverse(it.0));
    let all: u64 = placed.iter().map(|it| it.0).sum();
    let land = match look.color {
        true => Color::DarkGray,
        false => Color::Reset,
    };
    let style = look
        .paint(Color::Red)
        .add_modifier(Modifier::BOLD | Modifier::REVERSED);
    Canvas::default()
        .marker(Marker::Braille)
        .x_bounds(WEST_EAST)
        .y_bounds(SOUTH_NORTH)
        .paint(|context| {
            context.draw(&Map {
                resolution: match area.width {
                    0..100 => MapResolution::Low,
                    _ => MapResolution::High,
                },
                color: land,
            });
            // The largest are drawn last, over the others.
            for (index, (dropped, class, (x, y))) in placed.iter().enumerate().rev() {
                let mut mark = size(*dropped, all).to_owned();
                if index < LETTERED {
                    mark += class;
                }
                context.print(*x, *y, Span::styled(mark, style));
            }
        })
        .render(area, buffer);
}

/// A mark by the share of all drops: a quarter, a twentieth, a hundredth.
fn size(dropped: u64, all: u64) -> &'static str {
    let share = dropped as f64 / all.max(1) as f64;
    match share {
        _ if share >= 0.25 => "@",
        _ if share >= 0.05 => "O",
        _ if share >= 0.01 => "o",
        _ => "+",
    }
}

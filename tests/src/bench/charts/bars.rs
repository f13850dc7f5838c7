//! Drawing: names on the left, bars from there, numbers at their ends.

use anyhow::{Result, anyhow};
use plotters::{
    backend::SVGBackend,
    drawing::IntoDrawingArea as _,
    element::{Rectangle, Text},
    style::{
        IntoFont as _, RGBColor, ShapeStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::bench::report::number;

/// All lengths are pixels.
const WIDTH: i32 = 820;
const NAMES: i32 = 220;
/// Room for a number behind the longest bar.
const NUMBERS: i32 = 80;
const HEAD: i32 = 84;
const BAR: i32 = 16;
const GAP: i32 = 14;

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const FAINT: RGBColor = RGBColor(0x66, 0x66, 0x66);
/// From light to dark, so that they differ without colours too; ours, and those of all others.
const OURS: [RGBColor; 4] = [
    RGBColor(0x9a, 0xd8, 0xbd),
    RGBColor(0x5b, 0xb9, 0x90),
    RGBColor(0x1d, 0x8a, 0x5e),
    RGBColor(0x0b, 0x5c, 0x3c),
];
const OTHERS: [RGBColor; 4] = [
    RGBColor(0xc9, 0xd0, 0xda),
    RGBColor(0x9f, 0xab, 0xbb),
    RGBColor(0x6b, 0x7a, 0x90),
    RGBColor(0x3f, 0x4c, 0x60),
];

pub enum Scale {
    Linear,
    /// The axis begins a little below the smallest value.
    Logarithmic,
}

pub struct Group {
    pub name: String,
    /// One for each series.
    pub values: Vec<Option<f64>>,
    pub is_ours: bool,
}

pub struct Bars {
    pub title: String,
    pub unit: &'static str,
    pub series: Vec<&'static str>,
    pub groups: Vec<Group>,
    pub scale: Scale,
}

impl Bars {
    /// A picture with a white background, so that it can be read on any.
    pub fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        self.draw(&mut svg)
            .map_err(|error| anyhow!("failed to draw {}: {error}", self.title))?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let bars: usize = self
            .groups
            .iter()
            .map(|group| group.values.iter().flatten().count())
            .sum();
        let height = HEAD + BAR * bars as i32 + GAP * (self.groups.len() as i32 + 1);
        let root = SVGBackend::with_string(svg, (WIDTH as u32, height as u32)).into_drawing_area();
        root.fill(&plotters::style::WHITE)?;
        let text = |words: &str, size: i32, colour: RGBColor, at: (i32, i32), side: HPos| {
            let style = ("sans-serif", size)
                .into_font()
                .color(&colour)
                .pos(Pos::new(side, VPos::Center));
            root.draw(&Text::new(words.to_owned(), at, style))
        };
        text(&self.title, 18, INK, (16, 22), HPos::Left)?;
        text(self.unit, 13, FAINT, (16, 44), HPos::Left)?;

        let shades = |is_ours: bool, series: usize| {
            let palette = if is_ours { &OURS } else { &OTHERS };
            // Few series take the darker shades, which stand out more.
            palette[(palette.len() - self.series.len().min(palette.len()) + series) % palette.len()]
        };
        let mut x = 16;
        for (series, name) in self.series.iter().enumerate() {
            for (half, is_ours) in [(0, true), (10, false)] {
                let place = [(x + half, 60), (x + half + 9, 72)];
                root.draw(&Rectangle::new(
                    place,
                    ShapeStyle::from(&shades(is_ours, series)).filled(),
                ))?;
            }
            text(name, 13, INK, (x + 26, 66), HPos::Left)?;
            x += 150;
        }

        let mut y = HEAD + GAP;
        for group in &self.groups {
            let lines = group.values.iter().flatten().count() as i32;
            text(
                &group.name,
                14,
                INK,
                (NAMES - 10, y + BAR * lines / 2),
                HPos::Right,
            )?;
            for (series, value) in group.values.iter().enumerate() {
                let Some(value) = value else { continue };
                let end = NAMES + self.length(*value);
                let place = [(NAMES, y + 1), (end, y + BAR - 1)];
                let style = ShapeStyle::from(&shades(group.is_ours, series)).filled();
                root.draw(&Rectangle::new(place, style))?;
                text(&number(*value), 12, INK, (end + 6, y + BAR / 2), HPos::Left)?;
                y += BAR;
            }
            y += GAP;
        }
        root.present()?;
        Ok(())
    }

    /// Of the bar of a value.
    fn length(&self, value: f64) -> i32 {
        let values = || {
            self.groups
                .iter()
                .flat_map(|group| group.values.iter().flatten().copied())
        };
        let room = f64::from(WIDTH - NAMES - NUMBERS);
        let most = values().fold(f64::MIN_POSITIVE, f64::max);
        let share = match self.scale {
            Scale::Linear => value / most,
            Scale::Logarithmic => {
                // Noise can make a net number zero or less, which has no logarithm.
                let least = values().fold(most, f64::min).max(0.1) / 2.0;
                (value.max(least) / least).ln() / (most / least).ln().max(f64::MIN_POSITIVE)
            }
        };
        (share.clamp(0.0, 1.0) * room).round().max(1.0) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(scale: Scale) -> Bars {
        let group = |name: &str, values, is_ours| Group {
            name: name.to_owned(),
            values,
            is_ours,
        };
        Bars {
            title: "<title>".to_owned(),
            unit: "ns",
            series: vec!["few", "many"],
            groups: vec![
                group("cerco", vec![Some(10.0), Some(20.0)], true),
                group("LPM trie", vec![None, Some(1_000.0)], false),
            ],
            scale,
        }
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let room = WIDTH - NAMES - NUMBERS;
        let linear = bars(Scale::Linear);
        let lengths = [10.0, 20.0, 500.0, 1_000.0].map(|value| linear.length(value));
        assert_eq!(lengths, [5, 10, room / 2, room]);
        let logarithmic = bars(Scale::Logarithmic);
        assert_eq!(logarithmic.length(1_000.0), room);
        assert_eq!(logarithmic.length(-3.0), 1);
        // From 5 to 1,000 are 5.3 natural logarithms, from 5 to 10 are 0.69 of them.
        assert_eq!(logarithmic.length(10.0), 68);
    }

    #[test]
    fn picture_names_everybody_and_draws_a_bar_for_each_value() {
        let svg = bars(Scale::Linear).svg().unwrap();
        for words in ["&lt;title&gt;", "cerco", "LPM trie", "many", "1000"] {
            assert!(svg.contains(words), "{words}: {svg}");
        }
        // The background, two colours for each series, and the bars.
        assert_eq!(svg.matches("<rect").count(), 1 + 4 + 3);
    }
}

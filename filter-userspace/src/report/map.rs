//! The world map that is built in: a path for each country; see `data/map/README.md`.

use std::collections::BTreeMap;

use serde::Deserialize;

const MAP: &str = include_str!("../../data/map/map.json");

/// Upper ends of the classes are powers of ten; so many at most, and the last one is open.
const MAX_CLASSES: u32 = 6;

/// How far from the rim a dot is whole.
const RIM: f64 = 8.0;

#[derive(Debug, Deserialize)]
pub struct WorldMap {
    pub width: u32,
    pub height: u32,
    /// By two letters.
    pub countries: BTreeMap<String, Shape>,
}

#[derive(Debug, Deserialize)]
pub struct Shape {
    /// SVG path data; may be empty.
    pub path: String,
    /// The middle of its main land.
    pub x: f64,
    pub y: f64,
    /// So small that it needs a dot to be seen.
    #[serde(default)]
    pub dot: bool,
}

impl WorldMap {
    pub fn builtin() -> serde_json::Result<Self> {
        let mut map: Self = serde_json::from_str(MAP)?;
        // Antarctica is cut off; what comes from there has its dot at the rim.
        let bottom = f64::from(map.height) - RIM;
        for shape in map.countries.values_mut() {
            shape.y = shape.y.min(bottom);
        }
        Ok(map)
    }
}

/// Powers of ten as classes, from the least to the most packets of a country.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    /// The exponent of the fewest packets that a country has.
    least: u32,
    /// The exponent of the first class.
    first: u32,
    classes: u32,
}

impl Scale {
    /// `None`: no country has any.
    pub fn of(packets: impl Iterator<Item = u64>) -> Option<Self> {
        let exponents = packets.filter_map(u64::checked_ilog10);
        let (least, most) = exponents.fold((u32::MAX, 0), |(least, most), it| {
            (least.min(it), most.max(it))
        });
        let first = least.min(most).max(most.saturating_sub(MAX_CLASSES - 1));
        (least <= most).then(|| Self {
            least,
            first,
            classes: most - first + 1,
        })
    }

    /// 0 is the lightest class; `None` for no packets.
    pub fn class(self, packets: u64) -> Option<u32> {
        let exponent = packets.checked_ilog10()?;
        Some(exponent.saturating_sub(self.first).min(self.classes - 1))
    }

    /// The shade of a class from 1, the lightest, to 6.
    pub fn shade(self, class: u32) -> u32 {
        match self.classes {
            1 => MAX_CLASSES - 1,
            classes => 1 + class * (MAX_CLASSES - 1) / (classes - 1),
        }
    }

    /// First and last number of each class, the lightest first. The first one also holds what is less, if
    /// anything is.
    pub fn classes(self) -> impl Iterator<Item = (u32, u64, u64)> {
        (0..self.classes).map(move |class| {
            let exponent = self.first + class;
            let first = match class {
                0 => 10_u64.pow(self.least),
                _ => 10_u64.pow(exponent),
            };
            let last = 10_u64
                .checked_pow(exponent + 1)
                .map_or(u64::MAX, |next| next - 1);
            (class, first, last)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::countries;

    #[test]
    fn map_has_every_country_inside_its_frame() {
        let map = WorldMap::builtin().unwrap();
        for country in countries::all() {
            let shape = &map.countries[country.code.as_str()];
            assert!(
                (0.0..f64::from(map.width)).contains(&shape.x)
                    && (0.0..f64::from(map.height)).contains(&shape.y),
                "{country}: {shape:?}"
            );
            assert!(shape.dot || !shape.path.is_empty(), "{country}");
            // Nothing but path data goes into the page.
            assert!(
                shape
                    .path
                    .chars()
                    .all(|c| c.is_ascii_digit() || "MLZ,.- ".contains(c)),
                "{country}: {}",
                shape.path
            );
        }
        assert!(map.countries["MO"].dot && !map.countries["US"].dot);
    }

    #[test]
    fn classes_are_powers_of_ten() {
        let scale = |packets: &[u64]| Scale::of(packets.iter().copied());
        assert_eq!(scale(&[0, 0]), None);
        let one = scale(&[5]).unwrap();
        assert_eq!(one.classes().collect::<Vec<_>>(), [(0, 1, 9)]);
        let alike = scale(&[12_000, 98_000]).unwrap();
        assert_eq!(alike.classes().collect::<Vec<_>>(), [(0, 10_000, 99_999)]);
        assert_eq!((one.class(5), one.shade(0)), (Some(0), 5));
        let three = scale(&[0, 7, 950, 10]).unwrap();
        assert_eq!(
            three.classes().collect::<Vec<_>>(),
            [(0, 1, 9), (1, 10, 99), (2, 100, 999)]
        );
        assert_eq!([0, 1, 2].map(|class| three.shade(class)), [1, 3, 6]);
        assert_eq!(three.class(0), None);
        assert_eq!(three.class(99), Some(1));
        // Nine decades: the small ones share the first class.
        let wide = scale(&[1, 123_456_789]).unwrap();
        let classes: Vec<_> = wide.classes().collect();
        assert_eq!(classes.len(), 6);
        assert_eq!(classes[0], (0, 1, 9_999));
        assert_eq!(classes[5], (5, 100_000_000, 999_999_999));
        assert_eq!((wide.class(1), wide.class(10_000)), (Some(0), Some(1)));
        assert_eq!(
            scale(&[u64::MAX]).unwrap().classes().last().unwrap().2,
            u64::MAX
        );
    }
}

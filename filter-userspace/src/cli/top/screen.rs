//! What the screen shows of the model: order, filter, selection, and what lies over it.

use std::{cmp::Reverse, net::IpAddr};

use super::{
    model::{CountryGrowth, Model},
    recent::{ServiceLine, SourceLine},
};
use crate::{control::reply::Explanation, events::Event};

/// How long a ban may last, in words that `cerco ban --for` takes, too.
pub const BAN_DURATIONS: [&str; 5] = ["10m", "1h", "6h", "1day", "7days"];
pub const DEFAULT_BAN: usize = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sort {
    #[default]
    Rate,
    Packets,
    Name,
}

impl Sort {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Packets => "packets",
            Self::Name => "name",
        }
    }

    pub const fn next(self) -> Self {
        match self {
            Self::Rate => Self::Packets,
            Self::Packets => Self::Name,
            Self::Name => Self::Rate,
        }
    }
}

/// The list that the arrows move in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Focus {
    #[default]
    Sources,
    Countries,
}

/// What lies over the screen and takes the keys.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Over {
    #[default]
    Nothing,
    Help,
    /// The filter is being typed; what it was before.
    Filter(String),
    Explanation(Box<Explanation>),
    /// The question whether to ban, and the place in [`BAN_DURATIONS`].
    Ban(IpAddr, usize),
    /// What came of a question, with its lines.
    Answer(String),
}

#[derive(Default)]
pub struct Screen {
    pub model: Model,
    /// What is shown in place of `model`.
    pub frozen: Option<Box<Model>>,
    pub sort: Sort,
    pub focus: Focus,
    pub filter: String,
    pub large_map: bool,
    pub over: Over,
    /// What is selected stays so when the order changes.
    pub selected_source: Option<IpAddr>,
    pub selected_country: Option<String>,
    /// Rows that the lists had when they were drawn last: how far a page goes.
    pub page: usize,
}

impl Screen {
    pub fn shown(&self) -> &Model {
        self.frozen.as_deref().unwrap_or(&self.model)
    }

    /// Whether the filter takes a frame of this class and reason.
    fn takes(&self, class: Option<&str>, reason: &str) -> bool {
        let wanted = self.filter.to_lowercase();
        if wanted.is_empty() || reason.contains(&wanted) {
            return true;
        }
        class.is_some_and(|class| class.to_lowercase() == wanted || class_name(class, &wanted))
    }

    pub fn countries(&self) -> Vec<&CountryGrowth> {
        let wanted = self.filter.to_lowercase();
        let is_wanted = |it: &&CountryGrowth| {
            let name = it.name.as_deref().unwrap_or_default().to_lowercase();
            it.class.to_lowercase() == wanted || name.contains(&wanted)
        };
        let all = &self.shown().countries;
        let mut lines: Vec<_> = all.iter().filter(is_wanted).collect();
        // A filter that names a reason takes no country away.
        if lines.is_empty() {
            lines = all.iter().collect();
        }
        lines.sort_by_key(|it| it.class.clone());
        match self.sort {
            Sort::Name => {}
            Sort::Rate => lines.sort_by_key(|it| {
                Reverse((
                    it.dropped.packets,
                    it.passed.packets,
                    it.dropped.total_packets,
                ))
            }),
            Sort::Packets => {
                lines.sort_by_key(|it| Reverse((it.dropped.total_packets, it.passed.total_packets)))
            }
        }
        lines
    }

    pub fn sources(&self) -> Vec<SourceLine> {
        let events = &self.shown().events;
        let mut lines = events.sources(|class, reason| self.takes(class, reason));
        match self.sort {
            Sort::Packets => {}
            Sort::Rate => {
                lines.sort_by(|a, b| b.packets_per_second.total_cmp(&a.packets_per_second));
            }
            Sort::Name => lines.sort_by_key(|it| it.source),
        }
        lines
    }

    pub fn services(&self) -> Vec<ServiceLine> {
        let events = &self.shown().events;
        events.services(|class, reason| self.takes(class, reason))
    }

    pub fn events(&self) -> Vec<&Event> {
        let events = &self.shown().events;
        events.lines(|class, reason| self.takes(class, reason))
    }

    /// The place of the selected line in `lines`, or the first.
    pub fn selected(&self, count: usize, is_selected: impl Fn(usize) -> bool) -> usize {
        (0..count).find(|index| is_selected(*index)).unwrap_or(0)
    }

    pub fn selected_source_in(&self, lines: &[SourceLine]) -> usize {
        self.selected(lines.len(), |it| {
            Some(lines[it].source) == self.selected_source
        })
    }

    pub fn selected_country_in(&self, lines: &[&CountryGrowth]) -> usize {
        self.selected(lines.len(), |it| {
            Some(&lines[it].class) == self.selected_country.as_ref()
        })
    }

    /// The source that Enter and `b` are about.
    pub fn source_line(&self) -> Option<SourceLine> {
        let mut lines = self.sources();
        let index = self.selected_source_in(&lines);
        (index < lines.len()).then(|| lines.swap_remove(index))
    }

    pub fn source(&self) -> Option<IpAddr> {
        self.source_line().map(|it| it.source)
    }

    /// Moves the selection by `lines`, down when positive.
    pub fn move_by(&mut self, by: isize) {
        let to =
            |from: usize, count: usize| from.saturating_add_signed(by).min(count.saturating_sub(1));
        match self.focus {
            Focus::Sources => {
                let lines = self.sources();
                let index = to(self.selected_source_in(&lines), lines.len());
                self.selected_source = lines.get(index).map(|it| it.source);
            }
            Focus::Countries => {
                let lines = self.countries();
                let index = to(self.selected_country_in(&lines), lines.len());
                self.selected_country = lines.get(index).map(|it| it.class.clone());
            }
        }
    }
}

/// Whether the name of the country `class` contains `wanted`, which is in lower case.
fn class_name(class: &str, wanted: &str) -> bool {
    let code = filter_common::country::CountryCode::parse(class);
    let name = code.and_then(crate::countries::name);
    name.is_some_and(|name| name.to_lowercase().contains(wanted))
}

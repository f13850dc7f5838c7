//! The live view for scripts: a JSON document for each interval, or one screen of plain text.

use std::cmp::Reverse;

use serde::Serialize;

use super::{
    super::table::{self, cut, grouped, scaled, wrapped},
    model::{CountryGrowth, Growth, Model, ReasonGrowth, VERDICTS},
    recent::{ServiceLine, SourceLine},
};
use crate::control::{
    protocol::ModeWord,
    reply::{AttachedInterface, TrialStatus},
};

/// Sources and services that a document has at most.
const MOST: usize = 100;

#[derive(Serialize)]
pub struct Document {
    /// False: read from the pins, and there are no events.
    pub daemon: bool,
    pub mode: ModeWord,
    pub trial: Option<TrialStatus>,
    pub interfaces: Vec<AttachedInterface>,
    pub interval_seconds: f64,
    pub verdicts: Vec<VerdictGrowth>,
    /// Those that were ever seen.
    pub reasons: Vec<ReasonGrowth>,
    pub countries: Vec<CountryGrowth>,
    /// Absent without a daemon.
    pub events: Option<Sampled>,
    pub warnings: Vec<String>,
}

#[derive(Serialize)]
pub struct VerdictGrowth {
    pub verdict: &'static str,
    #[serde(flatten)]
    pub growth: Growth,
}

/// What the sample of dropped frames tells.
#[derive(Serialize)]
pub struct Sampled {
    /// Up to a minute; a flood shortens it.
    pub window_seconds: f64,
    pub events: usize,
    /// What these stand for.
    pub packets: u64,
    /// Events that this was too slow for.
    pub missed: u64,
    /// Most packets first, 100 at most.
    pub sources: Vec<SourceLine>,
    pub services: Vec<ServiceLine>,
}

impl Document {
    /// `None` before the second sample.
    pub fn of(model: &Model) -> Option<Self> {
        let last = model.last.as_ref()?;
        let all = |_: Option<&str>, _: &str| true;
        let followed = last.daemon && model.following == Some(Ok(()));
        let verdicts = VERDICTS.iter().zip(model.verdicts);
        let mut reasons = model.reasons.clone();
        reasons.retain(|it| it.growth.total_packets > 0);
        Some(Self {
            daemon: last.daemon,
            mode: last.mode,
            trial: last.trial.clone(),
            interfaces: last.interfaces.clone(),
            interval_seconds: model.interval?.as_secs_f64(),
            verdicts: verdicts
                .map(|((verdict, _), growth)| VerdictGrowth { verdict, growth })
                .collect(),
            reasons,
            countries: model.countries.clone(),
            events: followed.then(|| Sampled {
                window_seconds: model.events.window_seconds(),
                events: model.events.count(),
                packets: model.events.packets(),
                missed: model.events.missed,
                sources: first(model.events.sources(all)),
                services: first(model.events.services(all)),
            }),
            warnings: last.warnings.clone(),
        })
    }
}

fn first<T>(mut lines: Vec<T>) -> Vec<T> {
    lines.truncate(MOST);
    lines
}

/// A screen of 80 columns and, with what is busiest, about 40 lines.
pub fn text(document: &Document) -> String {
    let mode = match document.mode {
        ModeWord::Enforce => "enforcing",
        ModeWord::Observe => "observing",
    };
    let names: Vec<_> = document
        .interfaces
        .iter()
        .map(|it| it.interface.as_str())
        .collect();
    let mut text = format!(
        "{mode} on {}; rates over {:.1} s\n",
        names.join(", "),
        document.interval_seconds
    );
    if let Some(trial) = &document.trial {
        text += &format!(
            "on trial: undone in {} s unless confirmed\n",
            trial.remaining_seconds
        );
    }
    for warning in &document.warnings {
        text += &format!("warning: {}\n", wrapped(warning, 80, 9));
    }
    let mut rows = Vec::new();
    for (line, (verdict, name)) in document.verdicts.iter().zip(VERDICTS) {
        rows.push(growth_row(name.to_owned(), &line.growth));
        let reasons = document.reasons.iter().filter(|it| it.verdict == verdict);
        let seen = reasons.filter(|it| it.growth.packets > 0);
        rows.extend(seen.map(|it| growth_row(format!("  {}", it.reason), &it.growth)));
    }
    text += "\n";
    text += &table::render(
        &["packets", "per second", "bit/s", "total"],
        &[1, 2, 3],
        &rows,
    );
    let mut countries: Vec<_> = document.countries.iter().collect();
    countries.sort_by_key(|it| Reverse((it.dropped.packets, it.dropped.total_packets)));
    let rows: Vec<_> = countries
        .iter()
        .take(8)
        .map(|it| {
            vec![
                it.class.clone(),
                cut(it.name.as_deref().unwrap_or(""), 24),
                rate(it.dropped.packets_per_second),
                rate(it.passed.packets_per_second),
                scaled(it.dropped.total_packets),
            ]
        })
        .collect();
    let header = ["source", "name", "dropped/s", "passed/s", "dropped"];
    text += "\n";
    text += &table::render(&header, &[2, 3, 4], &rows);
    let Some(events) = &document.events else {
        return text + "\nsources and ports need the daemon\n";
    };
    text += &format!(
        "\ndropped in the last {:.0} s, from a sample of {} events for {} packets\n",
        events.window_seconds,
        grouped(events.events as u64),
        grouped(events.packets)
    );
    let share = |packets: u64| {
        format!(
            "{:.1}%",
            packets as f64 * 100.0 / events.packets.max(1) as f64
        )
    };
    let rows: Vec<_> = events
        .sources
        .iter()
        .take(8)
        .map(|it| {
            vec![
                it.source.to_string(),
                it.class.clone().unwrap_or_default(),
                it.reason.clone(),
                scaled(it.packets),
                share(it.packets),
            ]
        })
        .collect();
    text += &table::render(
        &["address", "from", "reason", "packets", "share"],
        &[3, 4],
        &rows,
    );
    let services = events.services.iter().take(6);
    let services: Vec<_> = services
        .map(|it| format!("{} {}", it.words(), share(it.packets)))
        .collect();
    if !services.is_empty() {
        text += &format!("to {}\n", wrapped(&services.join(", "), 80, 3));
    }
    text
}

fn growth_row(name: String, growth: &Growth) -> Vec<String> {
    vec![
        name,
        rate(growth.packets_per_second),
        scaled(growth.bits_per_second.round() as u64),
        scaled(growth.total_packets),
    ]
}

/// Exact to a tenth below ten.
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate > 0.0 && rate < 9.95 => format!("{rate:.1}"),
        rate => scaled(rate.round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{super::fixture, *};

    #[test]
    fn screen_is_plain_text_of_80_columns() {
        let start = Instant::now();
        let mut model = Model::default();
        model.observe(fixture::sample(start, 1_000));
        assert!(
            Document::of(&model).is_none(),
            "no rate before the second sample"
        );
        model.observe(fixture::sample(start + Duration::from_secs(1), 21_000));
        let now = 1_800_000_000_000_000;
        model.events.begin(Vec::new(), true, now);
        model
            .events
            .push(fixture::event(now, "203.0.113.7", 80, 15_000));
        model
            .events
            .push(fixture::event(now + 1_000_000, "2001:db8::7", 53, 5_000));
        model.events.go_to(now + 1_000_000);
        model.following = Some(Ok(()));
        let shown = text(&Document::of(&model).unwrap());
        assert_eq!(
            shown,
            "enforcing on eth0; rates over 1.0 s\n\
             \n\
             packets           per second  bit/s  total\n\
             dropped                20.0k  9.60M  21.0k\n  \
             country_denied       20.0k  9.60M  21.0k\n\
             would drop                 0      0      0\n\
             passed                 2,000   960k  2,100\n  \
             allowed              2,000   960k  2,100\n\
             \n\
             source  name           dropped/s  passed/s  dropped\n\
             US      United States      20.0k         0    21.0k\n\
             MO      Macao                  0     2,000        0\n\
             \n\
             dropped in the last 60 s, from a sample of 2 events for 20,000 packets\n\
             address      from  reason          packets  share\n\
             203.0.113.7  US    country_denied    15.0k  75.0%\n\
             2001:db8::7  US    country_denied    5,000  25.0%\n\
             to 80/tcp 75.0%, 53/tcp 25.0%\n"
        );
        model.following = Some(Err("gone".to_owned()));
        let shown = text(&Document::of(&model).unwrap());
        assert!(
            shown.ends_with("\n\nsources and ports need the daemon\n"),
            "{shown}"
        );
    }
}

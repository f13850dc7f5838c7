//! All that a report says, from what history and gate answer. Pure: no file, no clock.

use serde::Serialize;

use super::{
    allowed::Allowed,
    gaps,
    methods::{self, Method},
    networks::{About, Networks, NetworksError},
    period::{self, Period},
    policy::{Actions, InForce, Standings},
    sentences,
    sources::{self, Source},
    time::{self, Peak, Steps, Timeline},
    words,
};
use crate::{
    control::reply::{GeoStatus, Rules},
    geo::BUILTIN_ATTRIBUTION,
    history::{
        DAY, HOUR,
        changes::Change,
        reply::{Fates, History, Line, Point, PortLine},
    },
};

/// Where the world map comes from.
pub const MAP_ATTRIBUTION: &str =
    "World map: Natural Earth (naturalearthdata.com), public domain; Equal Earth projection";

/// What a report is made of.
#[derive(Debug)]
pub struct Material {
    /// Of the whole period, by the finest step that one answer holds.
    pub history: History,
    /// The minutes of the period, where `history` has longer steps.
    pub minutes: Vec<Point>,
    /// Changes from before the period until now, the oldest first.
    pub log: Vec<Change>,
    /// Why the rules are not known, if they are not.
    pub rules: Result<Rules, String>,
    pub database: Option<GeoStatus>,
    /// `None`: the config names no database of networks.
    pub networks: Option<Result<Networks, NetworksError>>,
    pub host: String,
    /// Seconds since 1970.
    pub now: u64,
    /// What was asked for, in seconds since 1970.
    pub asked_since: u64,
}

/// A report; `cerco report --format json` prints it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The summary, for people.
    pub sentences: Vec<String>,
    /// The name of the host.
    pub host: String,
    pub version: String,
    /// Seconds since 1970, as all times here.
    pub generated: u64,
    /// False: no daemon answered; this was read from its file.
    pub daemon: bool,
    pub period: Period,
    /// Two letters or another class, when the report is about one alone.
    pub country: Option<String>,
    pub total: Fates,
    /// Denied packets (dropped, or would have been) a minute, on average over the period.
    pub packets_per_minute: f64,
    pub peak: Option<Peak>,
    /// Countries with denied packets; other classes do not count.
    pub denied_countries: u64,
    pub distinct_sources: Option<DistinctSources>,
    pub allowed: Allowed,
    pub timeline: Timeline,
    pub countries: Vec<CountryLine>,
    /// Packets for which no address was looked up, so that all countries and these are the total.
    pub without_country: Fates,
    pub reasons: Vec<ReasonLine>,
    pub interfaces: Vec<Line>,
    pub sample: Sample,
    pub in_force: InForce,
    /// Within the period.
    pub changes: Vec<Change>,
    pub networks: NetworksUsed,
    /// How each number was obtained, and how exact it is.
    pub methods: Vec<Method>,
    /// What is not known, or must be known to read the rest.
    pub warnings: Vec<String>,
    /// Whether a part of the period had no gate, or the counts of one are lost: `warnings` tell which.
    pub has_gaps: bool,
    /// What the licences of the data ask to be shown.
    pub attributions: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct DistinctSources {
    pub at_least: u64,
    /// The standard error, as a share of it.
    pub error: f64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CountryLine {
    /// Two letters, or another class.
    pub class: String,
    pub name: String,
    /// `allow`, `deny` or `allow:NAME`, if it is known.
    pub action: Option<String>,
    #[serde(flatten)]
    pub fates: Fates,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ReasonLine {
    pub reason: String,
    pub meaning: String,
    #[serde(flatten)]
    pub fates: Fates,
}

/// What events tell of denied packets; see [`crate::history::reply::Sampled`].
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Sample {
    /// All but `protocols` is kept by whole hours, so it may begin earlier and end later than the period.
    pub since: u64,
    pub until: u64,
    pub events: u64,
    pub frames: u64,
    /// By name, as in `tcp`; of the period itself.
    pub protocols: Vec<Line>,
    pub ports: Vec<PortLine>,
    pub other_ports_at_most: u64,
    /// The first by `at_most`, as the ports.
    pub sources: Vec<Source>,
    pub other_sources_at_most: u64,
}

/// The database that names networks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NetworksUsed {
    pub database: Option<About>,
    pub fault: Option<String>,
}

impl Report {
    pub fn new(material: Material) -> Self {
        let Material {
            history,
            minutes,
            log,
            rules,
            database,
            networks,
            host,
            now,
            asked_since,
        } = material;
        let period = Period::of(&history, &log, asked_since, now);
        let steps = steps(&history);
        let timeline = time::timeline(&history.points, period.since, period.until, steps);
        let peak = peak(&history, minutes);
        let gaps = gaps::warnings(&log, period.since, period.until);
        let has_gaps = !gaps.is_empty();
        let standings = Standings::of(&log, period.since, period.until);
        let (rules, rules_fault) = match rules {
            Ok(rules) => (Some(rules), None),
            Err(fault) => (None, Some(fault)),
        };
        let actions = rules.as_ref().map(Actions::of);
        let (networks, networks_used) = sources::used(networks);
        let countries = countries(&history, actions.as_ref());
        let attributions = attributions(&standings, database.as_ref(), &networks_used);
        let is_denied =
            |line: &&CountryLine| words::is_country(&line.class) && line.fates.denied_packets() > 0;
        let mut report = Self {
            sentences: Vec::new(),
            methods: Vec::new(),
            host,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generated: now,
            daemon: history.daemon,
            packets_per_minute: history.total.denied_packets() as f64 / period.minutes as f64,
            peak,
            denied_countries: countries.iter().filter(is_denied).count() as u64,
            distinct_sources: history
                .sampled
                .distinct_sources
                .map(|at_least| DistinctSources {
                    at_least,
                    error: history.sampled.distinct_error,
                }),
            allowed: Allowed::of(
                &history,
                &countries,
                actions.as_ref(),
                standings.is_of_now(),
            ),
            without_country: rest(&history.total, &history.countries),
            reasons: reasons(&history.reasons),
            sample: sources::sample(&history.sampled, networks.as_ref()),
            warnings: warnings(&history, gaps),
            in_force: in_force(standings, rules, rules_fault, database),
            country: history.country,
            total: history.total,
            interfaces: history.interfaces,
            changes: history.changes,
            networks: networks_used,
            attributions,
            has_gaps,
            timeline,
            countries,
            period,
        };
        report.sentences = sentences::summary(&report);
        report.methods = methods::methods(&report);
        report
    }

    pub fn denied_packets(&self) -> u64 {
        self.total.denied_packets()
    }
}

/// What the points of the answer tell.
fn steps(history: &History) -> Steps {
    match history.by.as_str() {
        "minute" => Steps {
            minutes_from: period::minutes_begin(history),
            longer: HOUR,
        },
        "day" => Steps {
            minutes_from: None,
            longer: DAY,
        },
        _ => Steps {
            minutes_from: None,
            longer: HOUR,
        },
    }
}

/// The busiest of the minutes, and of the longer steps before them, of which no minutes are kept.
fn peak(history: &History, minutes: Vec<Point>) -> Option<Peak> {
    let period = history.since..history.until;
    let steps = steps(history);
    if history.by == "minute" {
        return time::peak(&history.points, steps, &period);
    }
    let kept = period::minutes_begin(history);
    // A day at the beginning of the period may have begun before the minutes, and be told by them all the same.
    let is_before = |point: &&Point| kept.is_none_or(|kept| point.unix.max(period.start) < kept);
    let before = history.points.iter().filter(is_before).cloned();
    let points: Vec<Point> = before.chain(minutes).collect();
    let steps = Steps {
        minutes_from: kept,
        ..steps
    };
    time::peak(&points, steps, &period)
}

fn countries(history: &History, actions: Option<&Actions>) -> Vec<CountryLine> {
    // The country that was asked for has a line also where nothing came from it.
    let quiet = match &history.country {
        Some(class) if history.countries.is_empty() => Some(Line {
            name: class.clone(),
            fates: Fates::default(),
        }),
        _ => None,
    };
    let lines = history
        .countries
        .iter()
        .chain(&quiet)
        .map(|line| CountryLine {
            class: line.name.clone(),
            name: words::class(&line.name),
            action: actions.map(|actions| actions.of_class(&line.name).to_owned()),
            fates: line.fates,
        });
    lines.collect()
}

fn reasons(lines: &[Line]) -> Vec<ReasonLine> {
    let lines = lines.iter().map(|line| ReasonLine {
        reason: line.name.clone(),
        meaning: words::reason(&line.name).unwrap_or_default().to_owned(),
        fates: line.fates,
    });
    lines.collect()
}

/// `total` without `lines`.
fn rest(total: &Fates, lines: &[Line]) -> Fates {
    let sum = |of: fn(&Fates) -> u64| lines.iter().map(|it| of(&it.fates)).sum::<u64>();
    let left = |of: fn(&Fates) -> u64| of(total).saturating_sub(sum(of));
    Fates {
        passed_packets: left(|it| it.passed_packets),
        passed_bytes: left(|it| it.passed_bytes),
        dropped_packets: left(|it| it.dropped_packets),
        dropped_bytes: left(|it| it.dropped_bytes),
        would_drop_packets: left(|it| it.would_drop_packets),
        would_drop_bytes: left(|it| it.would_drop_bytes),
    }
}

fn in_force(
    standings: Standings,
    rules: Option<Rules>,
    fault: Option<String>,
    database: Option<GeoStatus>,
) -> InForce {
    let rules_are_of_the_end = standings.now_is_the_end();
    let (default, unknown, private, rules) = match rules {
        Some(it) => (
            Some(it.default),
            Some(it.unknown),
            Some(it.private),
            it.rules,
        ),
        None => (None, None, None, Vec::new()),
    };
    InForce {
        at_begin: standings.at_begin,
        at_end: standings.at_end,
        changed: standings.changed,
        rules_are_of_the_end,
        fault,
        default,
        unknown,
        private,
        rules,
        database: database.map(Into::into),
    }
}

/// `gaps`: see [`gaps::warnings`].
fn warnings(history: &History, gaps: Vec<String>) -> Vec<String> {
    let mut warnings = gaps;
    if !history.daemon {
        warnings.push(
            "no daemon answered: this was read from its file, which may lack the last minute"
                .to_owned(),
        );
    }
    if let Some(fault) = &history.store.fault {
        warnings.push(format!(
            "the history is not written at the moment ({fault}), so the last minutes may be missing"
        ));
    }
    if history.store.missed_events > 0 {
        warnings.push(format!(
            "{} since the start of the daemon could not be taken into the sample",
            words::counted(history.store.missed_events, "event")
        ));
    }
    if history.earlier_changes > 0 {
        warnings.push(format!(
            "the changes are the newest ones of the period; {} before them are not listed",
            words::counted(history.earlier_changes, "change")
        ));
    }
    warnings
}

fn attributions(
    standings: &Standings,
    database: Option<&GeoStatus>,
    networks: &NetworksUsed,
) -> Vec<String> {
    let mut attributions = Vec::new();
    let all = [&standings.at_begin, &standings.at_end, &standings.now];
    let builtin = all
        .into_iter()
        .flatten()
        .any(|it| it.database.starts_with("builtin"));
    if builtin {
        attributions.push(BUILTIN_ATTRIBUTION.to_owned());
    }
    let of_now = database.and_then(|it| it.attribution.clone());
    attributions.extend(of_now.filter(|it| it != BUILTIN_ATTRIBUTION));
    if !builtin && let Some(database) = database.filter(|it| it.attribution.is_none()) {
        attributions.push(format!("Countries of addresses: {}", database.source));
    }
    if let Some(about) = &networks.database {
        attributions.push(format!("Names of networks: {}", about.words()));
    }
    attributions.push(MAP_ATTRIBUTION.to_owned());
    attributions
}

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod peak_tests;
#[cfg(test)]
mod tests;

//! The summary in plain sentences, each from numbers of the report alone.

use super::{
    allowed::Allowed,
    numbers::Report,
    words::{self, counted, grouped},
};
use crate::{
    cli::table::bytes,
    history::{MINUTE, reply::Fates},
};

/// Countries that the summary names.
const NAMED: usize = 5;
/// More allowed countries than these are counted, not named.
const ALLOWED_NAMED: usize = 20;
/// What no report of one country can tell.
const MALFORMED_OF_NO_COUNTRY: &str = " Malformed packets are turned away before their address is looked at, and \
                                       are not known by country.";

pub fn summary(report: &Report) -> Vec<String> {
    if !report.period.is_known() {
        return vec![format!(
            "Nothing is known of the time from {} to {} UTC: nobody counted at {} then.",
            words::time(report.period.since),
            words::time(report.period.until),
            report.host
        )];
    }
    let mut sentences = vec![turned_away(report)];
    sentences.extend(rates(report));
    sentences.extend(origins(report));
    sentences.extend(sources(report));
    sentences.push(match report.country {
        Some(_) => one_country(report),
        None => allowed_turned_away(report),
    });
    sentences.extend(limited(report));
    sentences.push(let_in(report));
    sentences.extend(unknown_time(report));
    sentences
}

/// `turned away`, or what observe mode makes of it.
pub(super) fn verb(fates: &Fates) -> &'static str {
    match (fates.dropped_packets, fates.would_drop_packets) {
        (0, 1..) => "would have been turned away",
        (_, 0) => "were turned away",
        _ => "were turned away or would have been",
    }
}

/// The same of nobody.
fn was_turned_away(fates: &Fates) -> &'static str {
    match (fates.dropped_packets, fates.would_drop_packets) {
        (0, 1..) => "would have been turned away",
        (_, 0) => "was turned away",
        _ => "was turned away, or would have been",
    }
}

fn turned_away(report: &Report) -> String {
    let Fates {
        dropped_packets,
        dropped_bytes,
        would_drop_packets,
        would_drop_bytes,
        ..
    } = report.total;
    let dropped = format!(
        "{} ({})",
        counted(dropped_packets, "packet"),
        bytes(dropped_bytes)
    );
    let would = format!(
        "{} ({})",
        counted(would_drop_packets, "packet"),
        bytes(would_drop_bytes)
    );
    let what = match (dropped_packets, would_drop_packets) {
        (0, 0) => "turned nothing away".to_owned(),
        (_, 0) => format!("turned away {dropped}"),
        (0, _) => {
            let passed = match would_drop_packets {
                1 => "it",
                _ => "all of them",
            };
            format!("would have turned away {would}; it only observed, so {passed} passed")
        }
        _ => format!(
            "turned away {dropped}, and while it only observed would have turned away {would} more, \
             which passed"
        ),
    };
    let from = match &report.country {
        Some(class) => format!(" of {}", words::sources_of(class)),
        None => String::new(),
    };
    format!(
        "From {} to {} UTC ({}) the gate of {} {what}{from}.",
        words::time(report.period.since),
        words::time(report.period.until),
        words::length(report.period.until - report.period.since),
        report.host,
    )
}

fn rates(report: &Report) -> Option<String> {
    let peak = report.peak?;
    let average = words::rate(report.packets_per_minute);
    let busiest = match peak.seconds {
        MINUTE => format!(
            "{} in the minute from {}",
            words::rate(peak.packets_per_minute),
            words::short_time(peak.unix)
        ),
        seconds => format!(
            "at least {} a minute in the {} from {}, of which the single minutes are not known",
            words::rate(peak.packets_per_minute),
            words::length(seconds),
            words::short_time(peak.unix)
        ),
    };
    let doubt = match peak.certain || peak.seconds != MINUTE {
        true => "",
        false => " (the busiest of those minutes that are known; elsewhere only longer times are)",
    };
    Some(format!(
        "That is {average} a minute on average, and at the peak {busiest}{doubt}."
    ))
}

fn origins(report: &Report) -> Option<String> {
    if report.country.is_some() || report.denied_packets() == 0 {
        return None;
    }
    let named: Vec<String> = report
        .countries
        .iter()
        .filter(|it| words::is_country(&it.class) && it.fates.denied_packets() > 0)
        .take(NAMED)
        .map(|it| {
            let share = words::share(it.fates.denied_packets(), report.denied_packets());
            format!("{} ({share})", it.name)
        })
        .collect();
    let others = other_origins(report);
    if named.is_empty() {
        return Some(match others.is_empty() {
            true => "No country is known for any of their addresses.".to_owned(),
            false => format!(
                "No country was counted for any of them: they were {}.",
                words::list(&others)
            ),
        });
    }
    let most = match named.len() as u64 == report.denied_countries {
        true => words::list(&named),
        false => format!("most from {}", words::list(&named)),
    };
    let rest = match others.is_empty() {
        true => String::new(),
        false => format!("; the others were {}", words::list(&others)),
    };
    Some(format!(
        "They came from {}: {most}{rest}.",
        counted(report.denied_countries, "country")
    ))
}

/// Denied packets of no country, with their share.
fn other_origins(report: &Report) -> Vec<String> {
    let others = report
        .countries
        .iter()
        .filter(|it| !words::is_country(&it.class))
        .map(|it| (format!("of {}", words::sources_of(&it.class)), it.fates));
    let unread = (
        "without a look at their address".to_owned(),
        report.without_country,
    );
    let all = others.chain([unread]);
    all.filter(|(_, fates)| fates.denied_packets() > 0)
        .map(|(what, fates)| {
            let share = words::share(fates.denied_packets(), report.denied_packets());
            format!("{what} ({share})")
        })
        .collect()
}

fn sources(report: &Report) -> Option<String> {
    let distinct = report.distinct_sources?;
    if report.denied_packets() == 0 || distinct.at_least == 0 {
        return None;
    }
    Some(format!(
        "They came from at least {}: so many were seen in the sample, whose error is {:.1} %.",
        counted(distinct.at_least, "different source"),
        distinct.error * 100.0
    ))
}

fn one_country(report: &Report) -> String {
    let class = report.country.as_deref().unwrap_or_default();
    let (who, is, they, none) = match words::is_country(class) {
        true => (
            format!("{} ({class})", words::class(class)),
            "is",
            "its sources",
            "nobody from there",
        ),
        false => (
            words::capitalized(&words::sources_of(class)),
            "are",
            "they",
            "none of their packets",
        ),
    };
    let action = report.countries.first().and_then(|it| it.action.as_deref());
    let told = match (action, report.denied_packets()) {
        (None, _) => return "The counters do not know reasons by country.".to_owned(),
        (Some("deny"), _) => format!("{who} {is} not allowed by the policy of now."),
        (Some(_), 0) => format!(
            "{who} {is} allowed by the policy of now, and {none} {}, as far as addresses were looked at.",
            was_turned_away(&report.total)
        ),
        (Some(_), _) if !is_policy_of_now(report) => format!(
            "{who} {is} allowed by the policy of now. Why packets were turned away the counters do not \
             know by country."
        ),
        (Some(_), _) if report.allowed.some_ports_denied => format!(
            "{who} {is} allowed by the policy of now: {they} are turned away when they are banned, send \
             more than their limit or come to a port that a rule denies to them. Which of these it was \
             the counters do not know by country."
        ),
        (Some(_), _) => format!(
            "{who} {is} allowed by the policy of now: {they} are turned away when they are banned \
             or send more than their limit. Which of the two it was the counters do not know by country."
        ),
    };
    told + MALFORMED_OF_NO_COUNTRY + about_policy_of_now(report)
}

/// Whether the policy was that of now all the time.
fn is_policy_of_now(report: &Report) -> bool {
    !report.in_force.changed && report.in_force.rules_are_of_the_end == Some(true)
}

/// Beside what goes by the policy of now: that it was another one, where it was.
fn about_policy_of_now(report: &Report) -> &'static str {
    match report.in_force.rules_are_of_the_end {
        _ if report.in_force.changed => {
            " The policy or the database changed in this time; this goes by the policy of now."
        }
        Some(false) => " This goes by the policy of now, which is not the one of that time.",
        _ => "",
    }
}

fn allowed_turned_away(report: &Report) -> String {
    let Allowed {
        denied,
        denied_packets,
        limited,
        banned,
        only_limited,
        some_ports_denied,
        countries,
    } = &report.allowed;
    let (Some(denied), Some(packets)) = (denied, denied_packets) else {
        return "Whether somebody who is allowed was turned away cannot be said: the policy could not \
                be read."
            .to_owned();
    };
    let whom = match countries {
        None => "the countries that are allowed".to_owned(),
        Some(codes) if codes.is_empty() => "those who are allowed (no country is)".to_owned(),
        Some(codes) if codes.len() <= ALLOWED_NAMED => {
            let names: Vec<String> = codes.iter().map(|code| words::class(code)).collect();
            format!("the allowed countries ({})", words::list(&names))
        }
        Some(codes) => format!("the {} allowed countries", codes.len()),
    };
    let list_of_now = about_policy_of_now(report);
    let unread = report.without_country;
    if *packets == 0 {
        let as_far = match unread.denied_packets() {
            0 => String::new(),
            _ => format!(
                ", as far as addresses were looked at: {} before that (malformed) and may be anybody's",
                refused(&unread)
            ),
        };
        return format!(
            "Nobody from {whom} {}{as_far}.{list_of_now}",
            was_turned_away(&report.total)
        );
    }
    let besides = match unread.denied_packets() {
        0 => String::new(),
        _ => format!(
            " Besides, {} before their address was looked at (malformed); they may be anybody's.",
            refused(&unread)
        ),
    };
    let named: Vec<String> = denied
        .iter()
        .take(NAMED)
        .map(|it| {
            format!(
                "{} {}",
                words::class(&it.name),
                grouped(it.fates.denied_packets())
            )
        })
        .collect();
    let more = match denied.len() > NAMED {
        true => ", and others",
        false => "",
    };
    let mut sum = Fates::default();
    for line in denied {
        sum.dropped_packets += line.fates.dropped_packets;
        sum.would_drop_packets += line.fates.would_drop_packets;
    }
    // Classes such as `private` are no countries.
    let others = match countries {
        Some(codes) if codes.is_empty() => "",
        _ if denied.iter().all(|it| words::is_country(&it.name)) => "",
        _ => " and other allowed sources",
    };
    let why = match only_limited {
        true => "All of them because their source sent more than its limit.".to_owned(),
        false => format!(
            "Of all countries together {} of sources that sent more than their limit, and {} of banned \
             sources; {}the counters do not know reasons by country.",
            refused(limited),
            refused(banned),
            match some_ports_denied {
                true => "others may have come to a port that a rule denies; ",
                false => "",
            }
        ),
    };
    format!(
        "From {whom}{others} {} ({}{more}). {why}{besides}{list_of_now}",
        refused(&sum),
        words::list(&named),
    )
}

/// `12 packets were turned away`.
fn refused(fates: &Fates) -> String {
    let packets = fates.denied_packets();
    let verb = match (packets, verb(fates)) {
        (1, "were turned away") => "was turned away",
        (_, verb) => verb,
    };
    format!("{} {verb}", counted(packets, "packet"))
}

fn limited(report: &Report) -> Option<String> {
    let limited = report.allowed.limited;
    if report.country.is_some() {
        return None;
    }
    Some(match limited.denied_packets() {
        0 => "No source reached a limit.".to_owned(),
        _ => format!(
            "In all {} because an allowed source sent more than its limit.",
            refused(&limited)
        ),
    })
}

fn let_in(report: &Report) -> String {
    let passed = report.total.passed_packets;
    let verb = match passed {
        1 => "was let in",
        _ => "were let in",
    };
    // Those that were only observed passed as well, and are no part of this number.
    let besides = match report.total.would_drop_packets {
        0 => "",
        _ => ", besides those that would have been turned away",
    };
    format!(
        "{} ({}) {verb}{besides}.",
        counted(passed, "packet"),
        bytes(report.total.passed_bytes)
    )
}

fn unknown_time(report: &Report) -> Vec<String> {
    let mut sentences = Vec::new();
    if let Some(begins) = report.period.begins {
        sentences.push(format!(
            "Nothing is known of the time from {} to {} UTC: nobody counted then.",
            words::time(report.period.asked_since),
            words::time(begins)
        ));
    }
    if report.period.goes_on {
        sentences.push(format!(
            "The period was not over when this was written, at {} UTC.",
            words::time(report.generated)
        ));
    }
    sentences
}

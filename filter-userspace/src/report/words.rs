//! What labels, times and shares are called in a text that no sysadmin reads.

use std::time::{Duration, UNIX_EPOCH};

use filter_common::{country::CountryCode, verdict::Reason};
use jiff::Timestamp;

use crate::countries;

/// Of a time before the history; that it was quiet cannot be said.
pub const NOTHING_KNOWN: &str = "Nothing is known of this time.";

/// A reason in words; `None` for a label that this version does not know.
pub fn reason(label: &str) -> Option<&'static str> {
    let reason = Reason::ALL.iter().find(|it| it.label() == label)?;
    Some(match reason {
        Reason::NotIp => "not IPv4 or IPv6, such as ARP",
        Reason::Essential => "what a network needs to work: neighbour discovery, DHCP replies",
        Reason::OutOfScope => "a port or protocol that the gate does not guard",
        Reason::Trusted => "from a trusted network",
        Reason::RuleAllowed => "from a network that a rule allows",
        Reason::Allowed => "from an allowed country, within its limits",
        Reason::Reply => "an answer to what this host itself asked for",
        Reason::TableEmpty => "no policy was loaded yet",
        Reason::Banned => "the source was banned",
        Reason::RuleDenied => "a rule denies the network of the source",
        Reason::CountryDenied => "the country of the source is not allowed",
        Reason::UnknownDenied => "no country is known for the source, and such are not allowed",
        Reason::PrivateDenied => "a private address, and such are not allowed",
        Reason::PacketLimit => "the source sent more packets than its limit allows",
        Reason::ConnectionLimit => "the source opened more connections than its limit allows",
        Reason::TruncatedEthernet
        | Reason::TruncatedIpv4
        | Reason::TruncatedIpv6
        | Reason::TruncatedIpv6Ext
        | Reason::TruncatedTransport => "malformed: the packet ends too early",
        Reason::BadIpv4Version
        | Reason::BadIpv4HeaderLen
        | Reason::BadIpv4TotalLen
        | Reason::BadIpv6Version
        | Reason::BadIpv6PayloadLen
        | Reason::BadIpv6ExtChain
        | Reason::BadTcpHeaderLen
        | Reason::BadUdpLen => "malformed: a header contradicts itself",
        Reason::BadFragment => "malformed: a fragment outside its packet",
        Reason::TooManyVlanTags => "more than two VLAN tags: the address cannot be read",
    })
}

/// Whether the source is allowed and sent too much.
pub fn is_limit(label: &str) -> bool {
    label == Reason::PacketLimit.label() || label == Reason::ConnectionLimit.label()
}

/// Two letters: a country, and not another class.
pub fn is_country(class: &str) -> bool {
    CountryCode::parse(class).is_some()
}

/// `United States`, or what another class is called.
pub fn class(class: &str) -> String {
    let name = match class {
        "unknown" => Some("Unknown to the database"),
        "private" => Some("Private addresses"),
        "trusted" => Some("Trusted networks"),
        "rule_allow" => Some("Networks that a rule allows"),
        "rule_deny" => Some("Networks that a rule denies"),
        code => CountryCode::parse(code).and_then(countries::name),
    };
    name.unwrap_or(class).to_owned()
}

/// `sources in Macao (MO)`, or what those of another class are called.
pub fn sources_of(code: &str) -> String {
    let other = match code {
        "unknown" => "sources that are unknown to the database",
        "private" => "sources with private addresses",
        "trusted" => "sources in trusted networks",
        "rule_allow" => "sources in networks that a rule allows",
        "rule_deny" => "sources in networks that a rule denies",
        code => return format!("sources in {} ({code})", class(code)),
    };
    other.to_owned()
}

/// As at the beginning of a sentence.
pub fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|it| it.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// `24 Nov 2026 18:30`, in UTC.
pub fn time(unix: u64) -> String {
    formatted(unix, "%-d %b %Y %H:%M")
}

/// `24 Nov 18:30`, in UTC.
pub fn short_time(unix: u64) -> String {
    formatted(unix, "%-d %b %H:%M")
}

/// `2026-11-24T18:30:00Z`.
pub fn rfc3339(unix: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix)).to_string()
}

pub fn formatted(unix: u64, format: &str) -> String {
    let time = i64::try_from(unix).ok().map(Timestamp::from_second);
    match time {
        Some(Ok(time)) => time.strftime(format).to_string(),
        // Beyond the year 9999.
        _ => format!("second {unix}"),
    }
}

/// `48 hours`, `2 days 3 hours`, `25 minutes`.
pub fn length(seconds: u64) -> String {
    let minutes = seconds.div_ceil(60);
    let (days, hours, rest) = (minutes / 1440, minutes % 1440 / 60, minutes % 60);
    // What people call 48 hours they do not call two days.
    let parts = match days {
        0..3 => [(minutes / 60, "hour"), (rest, "minute"), (0, "")],
        _ => [(days, "day"), (hours, "hour"), (rest, "minute")],
    };
    let said: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| counted(count, unit))
        .collect();
    match said.is_empty() {
        true => "0 minutes".to_owned(),
        false => said.join(" "),
    }
}

/// `1 packet`, `1,200 packets`.
pub fn counted(count: u64, unit: &str) -> String {
    let (unit, ending) = match (count, unit.strip_suffix('y')) {
        (1, _) => (unit, ""),
        (_, Some(stem)) if unit.ends_with("ry") => (stem, "ies"),
        _ => (unit, "s"),
    };
    format!("{} {unit}{ending}", grouped(count))
}

pub use crate::cli::table::grouped;

/// `12.3 %`; what is there and rounds to nothing is `< 0.1 %`.
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    match part {
        0 => "0 %".to_owned(),
        _ if percent < 0.05 => "< 0.1 %".to_owned(),
        _ if part < whole && percent > 99.95 => "> 99.9 %".to_owned(),
        _ => format!("{percent:.1} %"),
    }
}

/// A rate in whole packets, or below ten with one decimal.
pub fn rate(per_minute: f64) -> String {
    match per_minute < 9.95 && per_minute.fract() != 0.0 {
        true => format!("{per_minute:.1}"),
        false => grouped(per_minute.round() as u64),
    }
}

/// `1,150`, or `1,150 to 1,200`.
pub fn between(at_least: u64, at_most: u64) -> String {
    match at_least == at_most {
        true => grouped(at_least),
        false => format!("{} to {}", grouped(at_least), grouped(at_most)),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_and_class_has_words() {
        for known in Reason::ALL {
            assert!(reason(known.label()).is_some(), "{known:?}");
        }
        assert_eq!(reason("of_a_later_version"), None);
        assert_eq!(class("US"), "United States");
        assert_eq!(class("ZZ"), "ZZ");
        assert_eq!(class("rule_deny"), "Networks that a rule denies");
        assert_eq!(sources_of("MO"), "sources in Macao (MO)");
        assert_eq!(
            capitalized(&sources_of("rule_deny")),
            "Sources in networks that a rule denies"
        );
        assert!(is_country("XK") && !is_country("unknown"));
    }

    #[test]
    fn times_and_lengths_are_said_as_people_say_them() {
        assert_eq!(time(1_790_000_000), "21 Sep 2026 14:13");
        assert_eq!(short_time(1_790_000_000), "21 Sep 14:13");
        assert_eq!(rfc3339(1_790_000_000), "2026-09-21T14:13:20Z");
        for (seconds, expected) in [
            (0, "0 minutes"),
            (60, "1 minute"),
            (61, "2 minutes"),
            (3600, "1 hour"),
            (172_800, "48 hours"),
            (172_860, "48 hours 1 minute"),
            (7 * 86_400 + 3600, "7 days 1 hour"),
        ] {
            assert_eq!(length(seconds), expected);
        }
    }

    #[test]
    fn numbers_are_said_as_they_are() {
        assert_eq!(counted(1, "country"), "1 country");
        assert_eq!(counted(71, "country"), "71 countries");
        assert_eq!(counted(2, "day"), "2 days");
        assert_eq!(counted(3_142_377, "packet"), "3,142,377 packets");
        assert_eq!(share(0, 10), "0 %");
        assert_eq!(share(1, 1_000_000), "< 0.1 %");
        assert_eq!(share(999_999, 1_000_000), "> 99.9 %");
        assert_eq!(share(1, 3), "33.3 %");
        assert_eq!(share(0, 0), "");
        assert_eq!(rate(1091.1), "1,091");
        assert_eq!(rate(2.25), "2.2");
        assert_eq!(rate(3.0), "3");
        assert_eq!(between(5, 5), "5");
        assert_eq!(between(900, 1100), "900 to 1,100");
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(list(&items), "a, b and c");
        assert_eq!(list(&items[..2]), "a and b");
    }
}

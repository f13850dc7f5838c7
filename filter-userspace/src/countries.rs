//! The countries that a sysadmin may name, and what they are called.
//!
//! Codes are those of ISO 3166-1 and `XK`, which ISO leaves to its users and every GeoIP database
//! uses for Kosovo.

use std::fmt;

use filter_common::country::CountryCode;
use thiserror::Error;

/// Names in everyday use, where ISO's official ones are long or turned around
/// ("Korea (Republic of)"), and `XK`, which ISO does not list. Both names are understood.
const EVERYDAY: &[(&str, &str)] = &[
    ("BN", "Brunei"),
    ("BO", "Bolivia"),
    ("CD", "Congo (Kinshasa)"),
    ("CG", "Congo (Brazzaville)"),
    ("FK", "Falkland Islands"),
    ("FM", "Micronesia"),
    ("GB", "United Kingdom"),
    ("IR", "Iran"),
    ("KP", "North Korea"),
    ("KR", "South Korea"),
    ("LA", "Laos"),
    ("MD", "Moldova"),
    ("NL", "Netherlands"),
    ("PS", "Palestine"),
    ("RU", "Russia"),
    ("SY", "Syria"),
    ("TW", "Taiwan"),
    ("TZ", "Tanzania"),
    ("US", "United States"),
    ("VA", "Vatican City"),
    ("VE", "Venezuela"),
    ("VG", "British Virgin Islands"),
    ("VI", "U.S. Virgin Islands"),
    ("VN", "Vietnam"),
    ("XK", "Kosovo"),
];

/// What people also write, all in upper case. Only for suggestions: a firewall must not guess.
const ALSO_CALLED: &[(&str, &str)] = &[
    ("AMERICA", "US"),
    ("BURMA", "MM"),
    ("CAPE VERDE", "CV"),
    ("CZECH REPUBLIC", "CZ"),
    ("EAST TIMOR", "TL"),
    ("EL", "GR"),
    ("EN", "GB"),
    ("ENGLAND", "GB"),
    ("GREAT BRITAIN", "GB"),
    ("HOLLAND", "NL"),
    ("IVORY COAST", "CI"),
    ("MACAU", "MO"),
    ("MACEDONIA", "MK"),
    ("SWAZILAND", "SZ"),
    ("TP", "TL"),
    ("TURKEY", "TR"),
    ("UAE", "AE"),
    ("UK", "GB"),
    ("USA", "US"),
];

/// A code and its English name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Country {
    pub code: CountryCode,
    pub name: &'static str,
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code, self.name)
    }
}

/// A text that names no country.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("unknown country {text:?}{}", .suggestion.map_or_else(String::new, |country| format!("; did you mean {country}?")))]
pub struct UnknownCountry {
    pub text: String,
    /// What was probably meant.
    pub suggestion: Option<Country>,
}

/// Every country in the order of the codes.
pub fn all() -> Vec<Country> {
    let mut countries: Vec<Country> = rust_iso3166::ALL
        .iter()
        .map(|country| country.alpha2)
        .chain(["XK"])
        .filter_map(CountryCode::parse)
        .filter_map(|code| {
            Some(Country {
                code,
                name: name(code)?,
            })
        })
        .collect();
    countries.sort_by_key(|country| country.code);
    countries
}

/// The English name, or `None` if the code belongs to no country.
pub fn name(code: CountryCode) -> Option<&'static str> {
    EVERYDAY
        .iter()
        .find(|(known, _)| *known == code.as_str())
        .map(|(_, name)| *name)
        .or_else(|| rust_iso3166::from_alpha2(code.as_str()).map(|country| country.name))
}

/// Reads a two-letter code in any case. Nothing but a code is taken; for names, three-letter codes
/// and typing errors the error suggests the code.
pub fn parse(text: &str) -> Result<CountryCode, UnknownCountry> {
    CountryCode::parse(text.trim())
        .filter(|code| name(*code).is_some())
        .ok_or_else(|| UnknownCountry {
            text: text.to_owned(),
            suggestion: suggest(text.trim()),
        })
}

/// The country that the text most likely means. `None` only for an empty text, and for `EU`: its
/// nearest code is Ecuador's, and whoever writes it means no single country.
fn suggest(text: &str) -> Option<Country> {
    let text = text.to_uppercase();
    if let Some((_, code)) = ALSO_CALLED.iter().find(|(called, _)| *called == text) {
        return by_code(code);
    }
    if let Some(country) = rust_iso3166::from_alpha3(&text) {
        return by_code(country.alpha2);
    }
    if text.is_empty() || text == "EU" {
        return None;
    }
    let chars = text.chars().count();
    if chars <= 2 {
        return suggest_for_code(&text).or_else(|| suggest_by_name(&text));
    }
    // A letter too many: `MOO`.
    if chars == 3
        && let Some(country) = text.get(..2).and_then(by_code)
    {
        return Some(country);
    }
    suggest_by_name(&text)
}

fn by_code(code: &str) -> Option<Country> {
    let code = CountryCode::parse(code)?;
    Some(Country {
        code,
        name: name(code)?,
    })
}

/// The country with the name that is most like `text`, which is in upper case.
fn suggest_by_name(text: &str) -> Option<Country> {
    let also_called = ALSO_CALLED
        .iter()
        .filter_map(|(called, code)| Some((by_code(code)?, *called)));
    let countries = all();
    let official = rust_iso3166::ALL
        .iter()
        .filter_map(|country| Some((by_code(country.alpha2)?, country.name)));
    countries
        .iter()
        .map(|country| (*country, country.name))
        .chain(official)
        .chain(also_called)
        .map(|(country, name)| {
            let likeness = strsim::normalized_damerau_levenshtein(text, &name.to_uppercase());
            (country, likeness)
        })
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(country, _)| country)
}

/// For two letters: those the other way round, else the first code with one of them in its place.
///
/// Two letters resemble dozens of codes, so one that keeps the first letter is preferred.
fn suggest_for_code(text: &str) -> Option<Country> {
    let countries = all();
    let reversed: String = text.chars().rev().collect();
    let find = |is_match: &dyn Fn(&str) -> bool| {
        countries
            .iter()
            .find(|country| is_match(country.code.as_str()))
            .copied()
    };
    find(&|code| code == reversed)
        .or_else(|| find(&|code| code.chars().next() == text.chars().next()))
        .or_else(|| find(&|code| code.chars().nth(1) == text.chars().nth(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_iso_country_and_kosovo_is_listed_once_and_parses_in_any_case() {
        let all = all();
        assert_eq!(all.len(), 250);
        assert!(all.windows(2).all(|pair| pair[0].code < pair[1].code));
        for country in all {
            assert_eq!(
                parse(&country.code.as_str().to_lowercase()),
                Ok(country.code)
            );
            assert!(!country.name.is_empty());
        }
    }

    #[test]
    fn everyday_names_belong_to_listed_codes() {
        for (code, _) in EVERYDAY {
            assert!(
                *code == "XK" || rust_iso3166::from_alpha2(code).is_some(),
                "{code}"
            );
        }
        for (called, code) in ALSO_CALLED {
            assert!(parse(code).is_ok(), "{code}");
            assert!(parse(called).is_err(), "{called}");
        }
    }

    #[test]
    fn unknown_countries_suggest_what_was_meant() {
        let cases = [
            (
                "UK",
                "unknown country \"UK\"; did you mean GB (United Kingdom)?",
            ),
            (
                "uk",
                "unknown country \"uk\"; did you mean GB (United Kingdom)?",
            ),
            ("EL", "unknown country \"EL\"; did you mean GR (Greece)?"),
            (
                "Macau",
                "unknown country \"Macau\"; did you mean MO (Macao)?",
            ),
            (
                "MACAO",
                "unknown country \"MACAO\"; did you mean MO (Macao)?",
            ),
            ("MAC", "unknown country \"MAC\"; did you mean MO (Macao)?"),
            ("OM ", "OM"),
            (
                "United Kingdon",
                "unknown country \"United Kingdon\"; did you mean GB (United Kingdom)?",
            ),
            (
                "Gernamy",
                "unknown country \"Gernamy\"; did you mean DE (Germany)?",
            ),
            (
                "Viet Nam",
                "unknown country \"Viet Nam\"; did you mean VN (Vietnam)?",
            ),
            ("ZC", "unknown country \"ZC\"; did you mean CZ (Czechia)?"),
            ("EU", "unknown country \"EU\""),
            ("MOO", "unknown country \"MOO\"; did you mean MO (Macao)?"),
            (
                "Ostrya",
                "unknown country \"Ostrya\"; did you mean AT (Austria)?",
            ),
            ("", "unknown country \"\""),
        ];
        for (text, expected) in cases {
            let got = match parse(text) {
                Ok(code) => code.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(got, expected, "{text:?}");
        }
    }
}

//! ISO 3166-1 country codes and names. (Placeholder list: the real one comes with the databases.)
use filter_common::country::CountryCode;

#[derive(Debug, thiserror::Error)]
#[error("unknown country `{text}`{}", suggestion.map(|(code, name)| format!("; did you mean {code} ({name})?")).unwrap_or_default())]
pub struct UnknownCountry {
    pub text: String,
    pub suggestion: Option<(CountryCode, &'static str)>,
}

const LIST: [(&str, &str); 6] = [
    ("CN", "China"),
    ("DE", "Germany"),
    ("HK", "Hong Kong"),
    ("MO", "Macao"),
    ("PT", "Portugal"),
    ("US", "United States"),
];

pub fn all() -> impl Iterator<Item = (CountryCode, &'static str)> {
    LIST.iter()
        .filter_map(|(code, name)| Some((CountryCode::parse(code)?, *name)))
}

pub fn name(code: CountryCode) -> Option<&'static str> {
    all()
        .find(|(other, _)| *other == code)
        .map(|(_, name)| name)
}

pub fn parse(text: &str) -> Result<CountryCode, UnknownCountry> {
    if let Some(code) = CountryCode::parse(text)
        && name(code).is_some()
    {
        return Ok(code);
    }
    let upper = text.to_ascii_uppercase();
    Err(UnknownCountry {
        text: text.to_owned(),
        suggestion: all().find(|(code, name)| {
            strsim::levenshtein(code.as_str(), &upper) <= 1 || name.eq_ignore_ascii_case(text)
        }),
    })
}

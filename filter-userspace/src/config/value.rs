//! Typed reading of single TOML values; each refusal names key, value and what is allowed.

use std::{net::IpAddr, ops::RangeInclusive};

use ipnetwork::IpNetwork;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::report::{Place, Report, Severity};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct At<T> {
    pub value: T,
    pub place: Place,
}

/// Reads the values of one file and collects what is wrong with them.
pub struct Reader<'r> {
    pub file: usize,
    pub report: &'r mut Report,
}

pub type Value<'i> = Spanned<DeValue<'i>>;

impl Reader<'_> {
    pub fn place<T>(&self, spanned: &Spanned<T>) -> Place {
        Place {
            file: self.file,
            span: spanned.span(),
        }
    }

    pub fn at<T, S>(&self, value: T, spanned: &Spanned<S>) -> At<T> {
        At {
            value,
            place: self.place(spanned),
        }
    }

    pub fn wrong_type(&mut self, key: &str, value: &Value<'_>, expected: &str) {
        let title = format!("{key}: expected {expected}, found {}", described(value));
        let place = self.place(value);
        self.report
            .error(place, title, format!("must be {expected}"));
    }

    pub fn unknown_key<S>(&mut self, section: &str, key: &str, at: &Spanned<S>, known: &[&str]) {
        let within = match section {
            "" => "at the top level".to_owned(),
            section => format!("in [{section}]"),
        };
        let place = self.place(at);
        self.report.push(
            Severity::Error,
            Some(place),
            format!("unknown key `{key}` {within}"),
            format!("known here: {}", known.join(", ")),
            nearest(key, known.iter().copied()).map(|name| format!("did you mean `{name}`?")),
        );
    }

    pub fn table<'v, 'i>(&mut self, key: &str, value: &'v Value<'i>) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(key, value, "a table");
        }
        table
    }

    pub fn string<'v>(
        &mut self,
        key: &str,
        value: &'v Value<'_>,
        expected: &str,
    ) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(key, value, expected);
        }
        text
    }

    /// One of the words of `choices`.
    pub fn choice<T: Copy>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        choices: &[(&str, T)],
    ) -> Option<At<T>> {
        let words: Vec<String> = choices
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        let expected = format!("one of {}", words.join(", "));
        let text = self.string(key, value, &expected)?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(self.at(*choice, value));
        }
        let place = self.place(value);
        self.report.push(
            Severity::Error,
            Some(place),
            format!("{key}: unknown value \"{text}\""),
            format!("must be {expected}"),
            nearest(text, choices.iter().map(|(word, _)| *word))
                .map(|word| format!("did you mean \"{word}\"?")),
        );
        None
    }

    pub fn boolean(&mut self, key: &str, value: &Value<'_>) -> Option<At<bool>> {
        let Some(flag) = value.get_ref().as_bool() else {
            self.wrong_type(key, value, "true or false");
            return None;
        };
        Some(self.at(flag, value))
    }

    pub fn integer(
        &mut self,
        key: &str,
        value: &Value<'_>,
        range: RangeInclusive<u32>,
    ) -> Option<At<u32>> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(number) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, &expected);
            return None;
        };
        // A number beyond i128 fails here like any other that is out of range.
        let parsed = i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number));
        if let Some(number) = parsed {
            return Some(self.at(number, value));
        }
        let title = format!("{key}: {} is out of range", number.as_str());
        let place = self.place(value);
        self.report
            .error(place, title, format!("must be {expected}"));
        None
    }

    /// The items of a list; a single value is refused, so that every list looks alike.
    pub fn list<'v, 'i>(
        &mut self,
        key: &str,
        value: &'v Value<'i>,
        of: &str,
    ) -> Vec<&'v Value<'i>> {
        match value.get_ref().as_array() {
            Some(array) => array.iter().collect(),
            None => {
                self.wrong_type(key, value, &format!("a list of {of}"));
                Vec::new()
            }
        }
    }

    pub fn prefixes(&mut self, key: &str, value: &Value<'_>) -> Vec<At<IpNetwork>> {
        let what = "prefixes like \"192.0.2.0/24\" or \"2001:db8::/32\"";
        let items = self.list(key, value, what);
        items
            .into_iter()
            .filter_map(|item| {
                let text = self.string(key, item, "a prefix like \"192.0.2.0/24\"")?;
                match parse_prefix(text) {
                    Ok(prefix) => Some(self.at(prefix, item)),
                    Err(fault) => {
                        let place = self.place(item);
                        self.report
                            .error(place, format!("{key}: {}", fault.title), fault.label);
                        None
                    }
                }
            })
            .collect()
    }

    /// Ports as numbers or as inclusive ranges in text.
    pub fn ports(&mut self, key: &str, value: &Value<'_>) -> Vec<(u16, u16)> {
        let what = "ports like 443 or \"8000-8100\"";
        let items = self.list(key, value, what);
        let mut ports = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::Integer(_) => {
                    if let Some(port) = self.integer(key, item, 1..=65_535) {
                        let port = port.value as u16;
                        ports.push((port, port));
                    }
                }
                DeValue::String(text) => match parse_port_range(text) {
                    Some(range) => ports.push(range),
                    None => {
                        let title = format!("{key}: \"{text}\" is no port range");
                        let place = self.place(item);
                        self.report.error(
                            place,
                            title,
                            "must be FIRST-LAST, each from 1 to 65535, as in \"8000-8100\"",
                        );
                    }
                },
                _ => self.wrong_type(key, item, "a port like 443 or \"8000-8100\""),
            }
        }
        ports
    }
}

/// Why a text is no prefix, and what would be one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{title}: {label}")]
pub struct PrefixFault {
    pub title: String,
    pub label: String,
}

/// Parses an address or a prefix without host bits; a single address is its /32 or /128.
pub fn parse_prefix(text: &str) -> Result<IpNetwork, PrefixFault> {
    let prefix: IpNetwork = text.parse().map_err(|_| PrefixFault {
        title: format!("\"{text}\" is no address or prefix"),
        label: "must be like 192.0.2.0/24, 192.0.2.7 or 2001:db8::/32".to_owned(),
    })?;
    if let IpAddr::V6(address) = prefix.ip()
        && let Some(v4) = address.to_ipv4_mapped()
    {
        // Packets never carry the mapped form of an IPv4 address, so the rule would match nothing.
        return Err(PrefixFault {
            title: format!("\"{text}\" is an IPv4 address in IPv6 clothes"),
            label: format!(
                "write it as IPv4: {v4}/{}",
                prefix.prefix().saturating_sub(96)
            ),
        });
    }
    if prefix.network() != prefix.ip() {
        return Err(PrefixFault {
            title: format!("\"{text}\" has bits behind its prefix length"),
            label: format!(
                "write \"{}/{}\" for the network, or \"{}\" for the one address",
                prefix.network(),
                prefix.prefix(),
                prefix.ip()
            ),
        });
    }
    Ok(prefix)
}

fn parse_port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (1 <= first && first <= last).then_some((first, last))
}

/// The word of `known` that `text` most likely meant, if one is near.
pub fn nearest<'k>(text: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|word| (strsim::damerau_levenshtein(text, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4)
        .min_by_key(|(distance, word)| {
            (
                *distance,
                word.len().abs_diff(text.len()),
                usize::MAX - word.len(),
            )
        })
        .map(|(_, word)| word)
}

fn described(value: &Value<'_>) -> String {
    match value.get_ref() {
        DeValue::String(text) => format!("the text \"{text}\""),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(flag) => format!("{flag}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

//! Policies for tests, over the builtin database.

use std::collections::BTreeMap;

use filter_common::country::CountryCode;
use filter_userspace::policy::{Action, Policy, Scope};
use ipnetwork::IpNetwork;

/// Everything is denied; tests allow what they need.
pub fn deny_all() -> Policy {
    Policy {
        default: Action::Deny,
        unknown: Action::Deny,
        private: Action::Deny,
        countries: BTreeMap::new(),
        limits: Vec::new(),
        scope: Scope::default(),
        trusted: Vec::new(),
        allow: Vec::new(),
        deny: Vec::new(),
        exceptions: Vec::new(),
    }
}

/// # Panics
/// When one of the texts is no prefix.
pub fn prefixes(texts: &[&str]) -> Vec<IpNetwork> {
    texts
        .iter()
        .map(|text| text.parse().expect("a prefix"))
        .collect()
}

/// # Panics
/// When the text is not two letters.
pub fn country(code: &str) -> CountryCode {
    CountryCode::parse(code).expect("two letters")
}

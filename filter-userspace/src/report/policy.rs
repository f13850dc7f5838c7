//! Whom the policy lets in, and what was in force when.

use std::collections::BTreeMap;

use serde::Serialize;

use super::words;
use crate::{
    control::reply::{GeoStatus, RuleLine, Rules},
    history::changes::{Change, Standing},
};

const DENY: &str = "deny";

/// The policy and the database of the time of the report.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct InForce {
    /// What was in force when the period began, if the history goes back so far.
    pub at_begin: Option<Standing>,
    pub at_end: Option<Standing>,
    /// Whether policy or database changed within the period, as far as is known.
    pub changed: bool,
    /// Whether the rules below are those of the end of the period; `None`: not known.
    pub rules_are_of_the_end: Option<bool>,
    /// Why the rules below are not known.
    pub fault: Option<String>,
    /// `allow`, `deny` or `allow:NAME`, of countries that no rule names.
    pub default: Option<String>,
    pub unknown: Option<String>,
    pub private: Option<String>,
    pub rules: Vec<RuleLine>,
    pub database: Option<DatabaseNow>,
}

/// The country database that is in force now, or was last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DatabaseNow {
    pub source: String,
    /// A date, as in 2026-06-01.
    pub built: Option<String>,
    pub sha256: String,
    pub networks_v4: u64,
    pub networks_v6: u64,
    pub attribution: Option<String>,
}

impl From<GeoStatus> for DatabaseNow {
    fn from(status: GeoStatus) -> Self {
        Self {
            source: status.source,
            built: status.built,
            sha256: status.sha256.to_string(),
            networks_v4: status.networks_v4,
            networks_v6: status.networks_v6,
            attribution: status.attribution,
        }
    }
}

/// What happens to sources, by class.
pub struct Actions {
    default: String,
    unknown: String,
    private: String,
    countries: BTreeMap<String, String>,
    /// Whether a rule denies single ports: a country that is allowed may be denied there.
    pub some_ports_denied: bool,
}

impl Actions {
    /// A later line goes over an earlier one, as the runtime goes over the config.
    pub fn of(rules: &Rules) -> Self {
        let mut countries = BTreeMap::new();
        let (of_ports, of_all): (Vec<&RuleLine>, _) = rules
            .rules
            .iter()
            .filter(|it| it.suspended.is_none())
            .partition(|it| it.port.is_some());
        let countries_of_all = of_all.iter().filter(|it| words::is_country(&it.target));
        for line in countries_of_all {
            let action = match (line.rule.as_str(), &line.limit) {
                (DENY, _) => DENY.to_owned(),
                (_, Some(limit)) => format!("allow:{limit}"),
                (_, None) => "allow".to_owned(),
            };
            countries.insert(line.target.clone(), action);
        }
        Self {
            default: rules.default.clone(),
            unknown: rules.unknown.clone(),
            private: rules.private.clone(),
            some_ports_denied: of_ports.iter().any(|it| it.rule == DENY),
            countries,
        }
    }

    /// `allow`, `deny` or `allow:NAME`.
    pub fn of_class(&self, class: &str) -> &str {
        match class {
            "unknown" => &self.unknown,
            "private" => &self.private,
            "trusted" | "rule_allow" => "allow",
            "rule_deny" => DENY,
            code => self.countries.get(code).unwrap_or(&self.default),
        }
    }

    pub fn is_allowed(&self, class: &str) -> bool {
        self.of_class(class) != DENY
    }

    /// The countries that are allowed by name; `None` when all others are allowed, too.
    pub fn allowlist(&self) -> Option<Vec<String>> {
        (self.default == DENY).then(|| {
            let allowed = self.countries.iter().filter(|(_, action)| *action != DENY);
            allowed.map(|(code, _)| code.clone()).collect()
        })
    }
}

/// What the log of changes says about a period.
pub struct Standings {
    pub at_begin: Option<Standing>,
    pub at_end: Option<Standing>,
    pub now: Option<Standing>,
    pub changed: bool,
}

impl Standings {
    /// `log`: the oldest first; may begin before `since` and go on after `until`.
    pub fn of(log: &[Change], since: u64, until: u64) -> Self {
        // Lines about the history itself do not say what is in force.
        let told: Vec<&Change> = log
            .iter()
            .filter(|it| !it.after.policy_sha256.is_empty())
            .collect();
        let last_before = |end: u64| {
            let before = told.iter().rev().find(|it| it.unix < end);
            before.map(|it| it.after.clone())
        };
        let at_begin = last_before(since);
        let within = told.iter().filter(|it| (since..until).contains(&it.unix));
        let mut sums = at_begin
            .iter()
            .chain(within.map(|it| &it.after))
            .map(|it| (&it.policy_sha256, &it.database_sha256));
        let first = sums.next();
        let changed = sums.any(|it| Some(it) != first);
        Self {
            at_end: last_before(until),
            now: told.last().map(|it| it.after.clone()),
            changed,
            at_begin,
        }
    }

    /// Whether the policy of now was that of the whole period, as far as is known.
    pub fn is_of_now(&self) -> bool {
        !self.changed && self.now_is_the_end() == Some(true)
    }

    /// Whether the policy of now was that of the end, too.
    pub fn now_is_the_end(&self) -> Option<bool> {
        let (end, now) = (self.at_end.as_ref()?, self.now.as_ref()?);
        Some(end.policy_sha256 == now.policy_sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{history::changes::Kind, report::numbers::fixture::rule};

    #[test]
    fn later_rules_go_over_earlier_ones_and_classes_have_their_own() {
        let on_a_port = RuleLine {
            port: Some("80/tcp".parse().unwrap()),
            ..rule("allow", "FR", None)
        };
        let rules = Rules {
            mode: None,
            default: "deny".into(),
            unknown: "allow:some".into(),
            private: "allow".into(),
            rules: vec![
                rule("allow", "MO", None),
                rule("allow", "CN", Some("residents")),
                rule("allow", "PT", None),
                rule("trust", "192.0.2.0/24", None),
                rule("deny", "PT", None),
                RuleLine {
                    suspended: Some("no such limit".to_owned()),
                    ..rule("deny", "MO", None)
                },
                on_a_port,
            ],
        };
        let actions = Actions::of(&rules);
        let cases = [
            ("MO", "allow"),
            ("CN", "allow:residents"),
            ("PT", "deny"),
            ("FR", "deny"),
            ("unknown", "allow:some"),
            ("private", "allow"),
            ("trusted", "allow"),
            ("rule_allow", "allow"),
            ("rule_deny", "deny"),
        ];
        for (class, expected) in cases {
            assert_eq!(actions.of_class(class), expected, "{class}");
        }
        assert_eq!(
            actions.allowlist(),
            Some(vec!["CN".to_owned(), "MO".to_owned()])
        );
        assert!(!actions.some_ports_denied);
        let open = Rules {
            default: "allow".into(),
            ..rules
        };
        assert_eq!(Actions::of(&open).allowlist(), None);
    }

    fn change(unix: u64, policy: &str, database: &str) -> Change {
        Change {
            unix,
            kind: Kind::Policy,
            who: "root".into(),
            what: "something".into(),
            after: Standing {
                mode: "enforce".into(),
                policy_sha256: policy.into(),
                database: "builtin".into(),
                database_sha256: database.into(),
            },
        }
    }

    #[test]
    fn what_was_in_force_is_found_before_within_and_after() {
        let set_clock = Change {
            after: Standing::default(),
            ..change(130, "", "")
        };
        let log = [
            change(50, "a", "x"),
            change(120, "a", "x"),
            set_clock,
            change(150, "b", "x"),
            change(250, "c", "x"),
        ];
        let policy = |standing: &Option<Standing>| {
            let sum = standing.as_ref().map(|it| it.policy_sha256.clone());
            sum.unwrap_or_default()
        };
        // (from, to) → at the beginning, at the end, changed, whether now is as the end was.
        let cases = [
            ((100, 140), ("a", "a", false, Some(false))),
            ((100, 200), ("a", "b", true, Some(false))),
            ((0, 140), ("", "a", false, Some(false))),
            ((200, 300), ("b", "c", true, Some(true))),
            ((300, 400), ("c", "c", false, Some(true))),
            ((0, 50), ("", "", false, None)),
        ];
        for ((since, until), expected) in cases {
            let found = Standings::of(&log, since, until);
            let told = (
                policy(&found.at_begin),
                policy(&found.at_end),
                found.changed,
                found.now_is_the_end(),
            );
            let (begin, end, changed, now) = expected;
            let expected = (begin.to_owned(), end.to_owned(), changed, now);
            assert_eq!(told, expected, "{since} to {until}");
        }
        let database = [change(0, "a", "x"), change(1, "a", "y")];
        assert!(Standings::of(&database, 0, 2).changed);
        assert!(!Standings::of(&[], 0, 2).changed);
    }
}

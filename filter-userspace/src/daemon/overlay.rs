//! Runtime changes: rules and the mode that were set through the CLI, over what the config says.
//!
//! They are kept in `runtime.json`, so that a restart keeps them too. Those that carry an expiry are
//! ended by the kernel; the daemon takes them off the list afterwards.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use crate::{
    compile::trusted_around,
    control::{
        protocol::{ModeWord, RuleVerb, Target},
        reply::{rule_word, unix_seconds},
    },
    durable,
    kernel::Mode,
    policy::{Action, Exception, Gets, Policy, Port, Subject},
};

/// 2: rules may name a port. A version that did not know that would open a country where one port was meant.
const SCHEMA: u32 = 2;
/// What an older version wrote reads as it was meant.
const OLDEST_SCHEMA: u32 = 1;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rule {
    pub rule: RuleVerb,
    pub target: Target,
    /// The only destination port that it is about.
    #[serde(default)]
    pub port: Option<Port>,
    pub limit: Option<String>,
    #[serde(with = "unix_seconds")]
    pub expires: Option<SystemTime>,
    pub comment: Option<String>,
}

/// A mode set at runtime, and what the config said at that time.
///
/// The runtime mode holds until the config's own value changes: whoever edits `mode` in the file
/// means it, and a reload for another reason must not end enforcement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModeOverride {
    pub mode: ModeWord,
    pub config_mode: ModeWord,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    schema: u32,
    pub mode: Option<ModeOverride>,
    pub rules: Vec<Rule>,
}

impl Default for Overlay {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            mode: None,
            rules: Vec::new(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    #[error("failed to {attempt} {}: {source}", path.display())]
    Io {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("failed to parse {}: {source}", path.display())]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{} has schema {found}, this version reads {SCHEMA}", path.display())]
    Schema { path: PathBuf, found: u32 },
}

impl Overlay {
    /// Reads `path`; a file that does not exist is an empty overlay.
    pub fn load(path: &Path) -> Result<Self, OverlayError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(OverlayError::Io {
                    attempt: "read",
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let mut overlay: Self =
            serde_json::from_str(&text).map_err(|source| OverlayError::Parse {
                path: path.to_owned(),
                source,
            })?;
        if !(OLDEST_SCHEMA..=SCHEMA).contains(&overlay.schema) {
            return Err(OverlayError::Schema {
                path: path.to_owned(),
                found: overlay.schema,
            });
        }
        overlay.schema = SCHEMA;
        Ok(overlay)
    }

    /// What the file holds; `None` when it says nothing.
    pub fn text(&self) -> Option<Vec<u8>> {
        if *self == Self::default() {
            return None;
        }
        self.to_bytes().ok()
    }

    fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Writes `path` so that a crash leaves either the old file or the new one, never a part.
    pub fn save(&self, path: &Path) -> Result<(), OverlayError> {
        let text = self.to_bytes().map_err(|source| OverlayError::Parse {
            path: path.to_owned(),
            source,
        })?;
        durable::replace(path, &[&text]).map_err(|source| OverlayError::Io {
            attempt: "write",
            path: path.to_owned(),
            source,
        })
    }

    /// Adds `rule` in place of earlier ones for the same target and port. One that ends leaves one that does not,
    /// which stands again afterwards.
    pub fn add(&mut self, rule: Rule) {
        let is_replaced = |other: &Rule| {
            (other.target, other.port) == (rule.target, rule.port)
                && (rule.expires.is_none() || other.expires.is_some())
        };
        self.rules.retain(|other| !is_replaced(other));
        self.rules.push(rule);
        // What ends goes over what does not: of equal rules the first one decides.
        self.rules
            .sort_by_key(|rule| (rule.target, rule.port, rule.expires.is_none()));
    }

    /// Removes and returns the rule for `target` and `port`: the one that ends, if there is one, so that whoever has
    /// opened a port for a while closes nothing else. Without a port all rules for `target`.
    pub fn remove(&mut self, target: Target, port: Option<Port>) -> Vec<Rule> {
        let of_port = |rule: &Rule| rule.target == target && rule.port == port;
        let ends = |rule: &Rule| rule.expires.is_some();
        let one_ends = self.rules.iter().any(|rule| of_port(rule) && ends(rule));
        let is_meant = |rule: &mut Rule| match port {
            None => rule.target == target,
            Some(_) => of_port(rule) && (!one_ends || ends(rule)),
        };
        self.rules.extract_if(.., is_meant).collect()
    }

    /// As [`Self::remove`], but for rules that are about one port.
    pub fn remove_whole(&mut self, target: Target) -> Vec<Rule> {
        let is_meant = |rule: &mut Rule| rule.target == target && rule.port.is_none();
        self.rules.extract_if(.., is_meant).collect()
    }

    /// Removes and returns the rules whose time is over.
    pub fn expire(&mut self, now: SystemTime) -> Vec<Rule> {
        let over = |rule: &mut Rule| rule.expires.is_some_and(|expires| expires <= now);
        self.rules.extract_if(.., over).collect()
    }

    /// When the next rule ends.
    pub fn next_expiry(&self) -> Option<SystemTime> {
        self.rules.iter().filter_map(|rule| rule.expires).min()
    }

    /// The mode in force over a config that says `config_mode`. Forgets an override that the
    /// config has overtaken.
    pub fn settle_mode(&mut self, config_mode: Mode) -> Mode {
        match self.mode {
            Some(own) if Mode::from(own.config_mode) == config_mode => own.mode.into(),
            _ => {
                self.mode = None;
                config_mode
            }
        }
    }

    /// `policy` with the rules of this overlay over it. Runtime wins over the config for the same
    /// target. Also returns what could not be applied, for the sysadmin.
    pub fn apply(&self, policy: &Policy, now: Moment) -> (Policy, Vec<String>) {
        let mut merged = policy.clone();
        let mut suspended = Vec::new();
        for rule in &self.rules {
            if let Some(why) = rule.suspended_by(policy) {
                suspended.push(format!(
                    "runtime rule `{}` is not in force: {why}; `cerco rules remove {}` ends it",
                    rule.word(),
                    rule.target
                ));
                continue;
            }
            match rule.is_exception() {
                true => merged.exceptions.push(rule.exception(policy, now)),
                false => rule.apply(&mut merged),
            }
        }
        (merged, suspended)
    }
}

impl Rule {
    /// `allow US on 80/tcp (limit residents)`.
    pub fn word(&self) -> String {
        rule_word(self.rule, &self.target, self.port, self.limit.as_deref())
    }

    /// Why the rule cannot be in force over `policy`: the config may have lost the limit it names, or trusts
    /// more than its prefix.
    pub fn suspended_by(&self, policy: &Policy) -> Option<String> {
        match (&self.limit, self.target) {
            (Some(name), _) if policy.limit_index(name).is_none() => {
                Some(format!("the config has no limit `{name}`"))
            }
            (_, Target::Prefix(prefix)) if self.rule != RuleVerb::Trust => {
                let trusted = trusted_around(policy, prefix)?;
                Some(format!("it lies in the trusted {trusted}"))
            }
            _ => None,
        }
    }

    /// Whether the rule ends or is about one port, so that it goes over the table and not into it.
    pub fn is_exception(&self) -> bool {
        self.expires.is_some() || self.port.is_some()
    }

    /// The rule as an exception over `policy`.
    pub fn exception(&self, policy: &Policy, now: Moment) -> Exception {
        Exception {
            subject: match self.target {
                Target::Country(code) => Subject::Country(code),
                Target::Prefix(prefix) => Subject::Prefix(prefix),
            },
            service: self.port,
            gets: match self.rule {
                RuleVerb::Trust => Gets::Trust,
                RuleVerb::Allow | RuleVerb::Deny => Gets::Action(self.action(policy)),
            },
            until_ns: self.expires.map(|expires| now.boot_ns_at(expires)),
        }
    }

    fn action(&self, policy: &Policy) -> Action {
        let limit = self.limit.as_deref().and_then(|n| policy.limit_index(n));
        match (self.rule, limit) {
            (RuleVerb::Deny, _) => Action::Deny,
            (_, Some(index)) => Action::Limit(index),
            (_, None) => Action::Allow,
        }
    }

    fn apply(&self, policy: &mut Policy) {
        match self.target {
            Target::Country(code) => {
                policy.countries.insert(code, self.action(policy));
            }
            Target::Prefix(prefix) => {
                let lists = [&mut policy.trusted, &mut policy.allow, &mut policy.deny];
                for list in lists {
                    list.retain(|other| *other != prefix);
                }
                match self.rule {
                    RuleVerb::Allow => policy.allow.push(prefix),
                    RuleVerb::Deny => policy.deny.push(prefix),
                    RuleVerb::Trust => policy.trusted.push(prefix),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use filter_common::country::CountryCode;

    use super::*;
    use crate::config;

    const NOW: Moment = Moment {
        wall: UNIX_EPOCH,
        boot_ns: 7,
    };

    fn policy() -> Policy {
        let text = "interfaces = [\"eth0\"]\n[policy.countries]\nMO = \"allow\"\nCN = \"deny\"\n\
                    [limits.residents]\npackets_per_second = 5\n\
                    [rules]\ndeny = [\"192.0.2.0/24\"]\n";
        let (config, _) = config::parse(Path::new("cerco.toml"), text).unwrap();
        config.policy
    }

    fn rule(rule: RuleVerb, target: &str) -> Rule {
        Rule {
            rule,
            target: target.parse().unwrap(),
            port: None,
            limit: None,
            expires: None,
            comment: None,
        }
    }

    #[test]
    fn runtime_rules_win_over_the_config() {
        let mut overlay = Overlay::default();
        overlay.add(Rule {
            limit: Some("residents".into()),
            ..rule(RuleVerb::Allow, "CN")
        });
        overlay.add(rule(RuleVerb::Deny, "MO"));
        overlay.add(rule(RuleVerb::Trust, "192.0.2.0/24"));
        overlay.add(rule(RuleVerb::Deny, "2001:db8::/32"));
        let (merged, suspended) = overlay.apply(&policy(), NOW);
        let code = |text| filter_common::country::CountryCode::parse(text).unwrap();
        assert_eq!(suspended, Vec::<String>::new());
        assert_eq!(merged.action_for(code("CN")), Action::Limit(0));
        assert_eq!(merged.action_for(code("MO")), Action::Deny);
        assert_eq!(merged.trusted, ["192.0.2.0/24".parse().unwrap()]);
        assert_eq!(merged.deny, ["2001:db8::/32".parse().unwrap()]);
        assert_eq!(merged.allow, []);
    }

    #[test]
    fn later_rule_for_the_same_target_replaces_the_earlier() {
        let mut overlay = Overlay::default();
        overlay.add(rule(RuleVerb::Deny, "MO"));
        overlay.add(rule(RuleVerb::Allow, "MO"));
        assert_eq!(overlay.rules, [rule(RuleVerb::Allow, "MO")]);
        let target = "MO".parse().unwrap();
        assert_eq!(overlay.remove(target, None), [rule(RuleVerb::Allow, "MO")]);
        assert_eq!(overlay.remove(target, None), []);
    }

    #[test]
    fn rule_that_ends_leaves_the_one_below_it() {
        let ending = |verb, seconds| Rule {
            expires: Some(UNIX_EPOCH + Duration::from_secs(seconds)),
            ..rule(verb, "MO")
        };
        let on_port = |rule: Rule| Rule {
            port: Some(Port::Tcp(80)),
            ..rule
        };
        let (endless, first, second) = (
            rule(RuleVerb::Deny, "MO"),
            ending(RuleVerb::Allow, 5),
            ending(RuleVerb::Allow, 9),
        );
        let mut overlay = Overlay::default();
        for rule in [&endless, &first, &second] {
            overlay.add(rule.clone());
            overlay.add(on_port(rule.clone()));
        }
        let on_80 = [on_port(second.clone()), on_port(endless.clone())];
        assert_eq!(overlay.rules[..2], [second.clone(), endless.clone()]);
        assert_eq!(overlay.rules[2..], on_80);
        let (target, port) = ("MO".parse().unwrap(), Some(Port::Tcp(80)));
        for rule in on_80 {
            assert_eq!(overlay.remove(target, port), [rule]);
        }
        assert_eq!(
            overlay.expire(UNIX_EPOCH + Duration::from_secs(9)),
            std::slice::from_ref(&second)
        );
        assert_eq!(overlay.rules, [endless]);
        // What has no end is meant from now on.
        overlay.add(second);
        overlay.add(rule(RuleVerb::Allow, "MO"));
        assert_eq!(overlay.rules, [rule(RuleVerb::Allow, "MO")]);
    }

    #[test]
    fn rule_with_an_end_or_a_port_goes_over_the_policy_and_changes_nothing_in_it() {
        let mut overlay = Overlay::default();
        overlay.add(Rule {
            port: Some(Port::Tcp(80)),
            limit: Some("residents".into()),
            ..rule(RuleVerb::Allow, "CN")
        });
        overlay.add(Rule {
            expires: Some(UNIX_EPOCH + Duration::from_secs(2)),
            ..rule(RuleVerb::Trust, "192.0.2.0/24")
        });
        let exceptions = vec![
            Exception {
                subject: Subject::Country(CountryCode::parse("CN").unwrap()),
                service: Some(Port::Tcp(80)),
                gets: Gets::Action(Action::Limit(0)),
                until_ns: None,
            },
            Exception {
                subject: Subject::Prefix("192.0.2.0/24".parse().unwrap()),
                service: None,
                gets: Gets::Trust,
                until_ns: Some(2_000_000_007),
            },
        ];
        let merged = Policy {
            exceptions,
            ..policy()
        };
        assert_eq!(overlay.apply(&policy(), NOW), (merged, Vec::new()));
    }

    #[test]
    fn rules_for_ports_stand_beside_each_other_and_go_together() {
        let on = |port| Rule {
            port,
            ..rule(RuleVerb::Allow, "MO")
        };
        let [all, http, dns] = [None, Some(Port::Tcp(80)), Some(Port::Udp(53))].map(on);
        let mut overlay = Overlay::default();
        for rule in [&http, &all, &dns, &http] {
            overlay.add(rule.clone());
        }
        assert_eq!(overlay.rules, [all.clone(), http.clone(), dns.clone()]);
        let target = "MO".parse().unwrap();
        assert_eq!(overlay.remove(target, Some(Port::Tcp(443))), []);
        assert_eq!(overlay.remove(target, Some(Port::Tcp(80))), [http]);
        assert_eq!(overlay.remove(target, None), [all, dns]);
        assert_eq!(overlay.rules, []);
    }

    #[test]
    fn rule_inside_a_trusted_prefix_is_suspended_and_named() {
        let policy = Policy {
            trusted: vec!["192.0.2.0/24".parse().unwrap()],
            ..policy()
        };
        let why = |verb, target| rule(verb, target).suspended_by(&policy);
        assert_eq!(
            why(RuleVerb::Deny, "192.0.2.7/32"),
            Some("it lies in the trusted 192.0.2.0/24".to_owned())
        );
        assert_eq!(why(RuleVerb::Deny, "192.0.2.0/24"), None);
        assert_eq!(why(RuleVerb::Deny, "192.0.0.0/16"), None);
        assert_eq!(why(RuleVerb::Trust, "192.0.2.7/32"), None);
    }

    #[test]
    fn file_of_an_older_version_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runtime.json");
        let text = "{\"schema\":1,\"mode\":null,\"rules\":[{\"rule\":\"allow\",\
                    \"target\":\"MO\",\"limit\":null,\"expires\":null,\"comment\":null}]}";
        fs::write(&path, text).unwrap();
        let mut expected = Overlay::default();
        expected.add(rule(RuleVerb::Allow, "MO"));
        assert_eq!(Overlay::load(&path).unwrap(), expected);
    }

    #[test]
    fn rule_with_a_lost_limit_is_suspended_and_named() {
        let mut overlay = Overlay::default();
        overlay.add(Rule {
            limit: Some("gone".into()),
            ..rule(RuleVerb::Allow, "CN")
        });
        let (merged, suspended) = overlay.apply(&policy(), NOW);
        assert_eq!(merged, policy());
        assert_eq!(
            suspended,
            [
                "runtime rule `allow CN (limit gone)` is not in force: the config has no limit \
                 `gone`; `cerco rules remove CN` ends it"
            ]
        );
    }

    #[test]
    fn rules_end_at_their_time_and_not_before() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let mut overlay = Overlay::default();
        overlay.add(Rule {
            expires: Some(at(100)),
            ..rule(RuleVerb::Allow, "CN")
        });
        overlay.add(rule(RuleVerb::Allow, "MO"));
        assert_eq!(overlay.next_expiry(), Some(at(100)));
        assert_eq!(overlay.expire(at(99)), []);
        assert_eq!(overlay.expire(at(100)).len(), 1);
        assert_eq!(overlay.rules, [rule(RuleVerb::Allow, "MO")]);
        assert_eq!(overlay.next_expiry(), None);
    }

    #[test]
    fn runtime_mode_holds_until_the_config_changes_its_own() {
        let mut overlay = Overlay {
            mode: Some(ModeOverride {
                mode: ModeWord::Enforce,
                config_mode: ModeWord::Observe,
            }),
            ..Overlay::default()
        };
        assert_eq!(overlay.settle_mode(Mode::Observe), Mode::Enforce);
        assert_eq!(overlay.settle_mode(Mode::Enforce), Mode::Enforce);
        assert_eq!(overlay.mode, None);
        assert_eq!(overlay.settle_mode(Mode::Observe), Mode::Observe);
    }

    #[test]
    fn file_comes_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runtime.json");
        assert_eq!(Overlay::load(&path).unwrap(), Overlay::default());
        let mut overlay = Overlay::default();
        overlay.add(Rule {
            limit: Some("residents".into()),
            expires: Some(UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
            comment: Some("fair in \"Porto\"".into()),
            ..rule(RuleVerb::Allow, "CN")
        });
        overlay.save(&path).unwrap();
        assert_eq!(Overlay::load(&path).unwrap(), overlay);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn broken_files_say_what_is_wrong_and_where() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runtime.json");
        let cases = [
            ("empty", "", "EOF while parsing a value at line 1 column 0"),
            ("cut", "{\"schema\":1,\n\"rul", "line 2"),
            (
                "other schema",
                "{\"schema\":7,\"mode\":null,\"rules\":[]}",
                "has schema 7",
            ),
            (
                "unknown country",
                "{\"schema\":1,\"mode\":null,\"rules\":[{\"rule\":\"allow\",\"target\":\"Q1\"}]}",
                "unknown country \"Q1\"; did you mean",
            ),
        ];
        for (name, text, expected) in cases {
            fs::write(&path, text).unwrap();
            let error = Overlay::load(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
            assert!(error.contains("runtime.json"), "{name}: {error}");
        }
    }
}

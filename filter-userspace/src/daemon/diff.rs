//! What runs against what the config files say.

mod lines;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::lines::{Line, lines, source};
use super::{overlay::Rule, state::Daemon};
use crate::{
    cause,
    config::{Config, DatabaseSource},
    control::{
        configured::{ConfigDiff, ConfigFile, DATABASE_FILE, Difference, Form, Kind},
        protocol::{ModeWord, Refusal, RuleVerb, Target},
        reply::rule_word,
    },
    geo,
    policy::{Action, Policy},
};

impl Daemon {
    /// Reads the config as a reload would, and changes nothing.
    pub(super) fn diff(&self) -> Result<ConfigDiff, Refusal> {
        let (config, report) = self.read_config()?;
        let mut differences = of_configs(&self.config, &config);
        differences.extend(self.database_difference(&config));
        differences.extend(self.mode_difference(&config));
        let rules = &self.overlay.rules;
        differences.extend(rules.iter().filter_map(|rule| of_rule(rule, &config)));
        differences.sort_by_key(|difference| difference.kind);
        Ok(ConfigDiff {
            equal: differences.is_empty(),
            files: report.files.iter().map(ConfigFile::from).collect(),
            trial: self.trial_status(),
            differences,
        })
    }

    fn mode_difference(&self, config: &Config) -> Option<Difference> {
        let running = self.gate.mode();
        if running == config.mode {
            return None;
        }
        let mut overlay = self.overlay.clone();
        let kind = match overlay.settle_mode(config.mode) == running {
            true => Kind::Runtime,
            false => Kind::Reload,
        };
        Some(Difference {
            kind,
            ..setting(
                "mode",
                json!(ModeWord::from(running).word()),
                json!(ModeWord::from(config.mode).word()),
            )
        })
    }

    /// The database that is in force, and the one that a reload would read.
    fn database_difference(&self, config: &Config) -> Option<Difference> {
        if self.databases.held_since().is_some() {
            let held = match self.databases.generation() {
                Some(number) => format!("generation {number}"),
                None => self.database.info.source.to_string(),
            };
            return Some(Difference {
                kind: Kind::Runtime,
                note: Some("held until `cerco geo accept`".to_owned()),
                ..setting("geo.database", json!(held), source(config))
            });
        }
        // Another source is a difference of the config already.
        let DatabaseSource::File(path) = &config.database else {
            return None;
        };
        if self.config.database != config.database {
            return None;
        }
        let running = self.database.info.digest.map(|digest| digest.to_string());
        let configured = match geo::read_file_bytes(path) {
            Ok((_, digest)) => digest.to_string(),
            Err(error) => format!("cannot be read: {}", cause::chain(&error)),
        };
        (running.as_deref() != Some(configured.as_str())).then(|| Difference {
            note: Some("see `cerco geo diff`".to_owned()),
            ..setting(DATABASE_FILE, json!(running), json!(configured))
        })
    }
}

fn setting(key: &str, running: Value, configured: Value) -> Difference {
    Difference {
        kind: Kind::Reload,
        form: Form::Setting,
        key: key.to_owned(),
        running: Some(running),
        configured: Some(configured),
        note: None,
    }
}

/// A runtime rule, unless the config says the same.
fn of_rule(rule: &Rule, config: &Config) -> Option<Difference> {
    let policy = &config.policy;
    let running = rule.word();
    // A config says nothing about single ports.
    let configured = match rule.port {
        Some(_) => None,
        None => configured_rule(policy, rule.target),
    };
    if configured.as_ref() == Some(&running) {
        return None;
    }
    let until = rule
        .expires
        .map(|expires| format!("until {}", humantime::format_rfc3339_seconds(expires)));
    let why_not = rule
        .suspended_by(policy)
        .map(|why| format!("NOT IN FORCE: {why}"));
    let notes: Vec<String> = [until, why_not, rule.comment.clone()]
        .into_iter()
        .flatten()
        .collect();
    Some(Difference {
        kind: Kind::Runtime,
        form: Form::Rule,
        key: rule.target.to_string(),
        running: Some(json!(running)),
        configured: configured.map(|words| json!(words)),
        note: (!notes.is_empty()).then(|| notes.join(", ")),
    })
}

/// What `policy` says about `target`, in the words of a rule.
fn configured_rule(policy: &Policy, target: Target) -> Option<String> {
    let (verb, limit) = match target {
        Target::Country(code) => match policy.countries.get(&code)? {
            Action::Deny => (RuleVerb::Deny, None),
            Action::Allow => (RuleVerb::Allow, None),
            Action::Limit(index) => {
                let limit = policy.limits.get(*index);
                (RuleVerb::Allow, limit.map(|limit| limit.name.as_str()))
            }
        },
        Target::Prefix(prefix) => {
            // In the order in which they win.
            let lists = [
                (RuleVerb::Trust, &policy.trusted),
                (RuleVerb::Deny, &policy.deny),
                (RuleVerb::Allow, &policy.allow),
            ];
            let named = lists.into_iter().find(|(_, list)| list.contains(&prefix));
            (named?.0, None)
        }
    };
    Some(rule_word(verb, &target, None, limit))
}

fn of_configs(running: &Config, configured: &Config) -> Vec<Difference> {
    let (running, configured) = (lines(running), lines(configured));
    let texts = |lines: &[Line]| -> BTreeSet<(String, String)> {
        lines
            .iter()
            .map(|line| (line.key.clone(), line.value.to_string()))
            .collect()
    };
    let (has_run, is_configured) = (texts(&running), texts(&configured));
    let mut differences: Vec<Difference> = Vec::new();
    let only = |lines: Vec<Line>, other: &BTreeSet<(String, String)>| -> Vec<Line> {
        lines
            .into_iter()
            .filter(|line| !other.contains(&(line.key.clone(), line.value.to_string())))
            .collect()
    };
    for line in only(running, &is_configured) {
        differences.push(Difference {
            kind: line.kind,
            form: line.form,
            key: line.key,
            running: Some(line.value),
            configured: None,
            note: None,
        });
    }
    for line in only(configured, &has_run) {
        let other = differences
            .iter_mut()
            .find(|it| line.form == Form::Setting && it.key == line.key);
        match other {
            Some(other) => other.configured = Some(line.value),
            None => differences.push(Difference {
                kind: line.kind,
                form: line.form,
                key: line.key,
                running: None,
                configured: Some(line.value),
                note: None,
            }),
        }
    }
    differences.sort_by(|one, other| one.key.cmp(&other.key));
    differences
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{config, policy::Port};

    fn config(text: &str) -> Config {
        config::parse(Path::new("cerco.toml"), text)
            .unwrap_or_else(|report| panic!("{report}"))
            .0
    }

    /// `KIND KEY: RUNNING -> CONFIGURED`
    fn shown(differences: &[Difference]) -> Vec<String> {
        let side = |value: &Option<Value>| {
            value
                .as_ref()
                .map_or("nothing".to_owned(), Value::to_string)
        };
        differences
            .iter()
            .map(|it| {
                let (running, configured) = (side(&it.running), side(&it.configured));
                format!("{:?} {}: {running} -> {configured}", it.kind, it.key)
            })
            .collect()
    }

    #[test]
    fn every_key_that_differs_is_named_once() {
        let running = "interfaces = [\"eth0\", \"eth1\"]\n[policy]\ndefault = \"deny\"\n\
                       [policy.countries]\nMO = \"allow\"\nCN = \"allow:a\"\n[limits.a]\n\
                       packets_per_second = 5\n[rules]\ndeny = [\"192.0.2.0/24\", \"10.0.0.0/8\"]\n";
        assert_eq!(of_configs(&config(running), &config(running)), []);
        let all_else = "interfaces = [\"eth0\", \"eth2\"]\nattach = \"generic\"\n[geo]\n\
                        database = \"/x\"\ncountry = \"MO\"\nkeep = 7\n[geo.canaries]\n\
                        \"192.0.2.7\" = \"MO\"\n[policy]\ndefault = \"allow\"\nunknown = \"allow\"\n\
                        [policy.countries]\nCN = \"allow:b\"\n[limits.b]\npackets_per_second = 5\n\
                        [protect]\ntcp = [80, \"90-99\"]\nudp = [53]\nprotocols = [\"icmp\"]\n\
                        destinations = [\"192.0.2.1\"]\n[trusted]\nprefixes = [\"192.0.2.9\"]\n\
                        [rules]\nallow = [\"198.51.100.0/24\"]\ndeny = [\"10.0.0.0/8\"]\n[replies]\n\
                        enabled = false\nattach = \"clsact\"\nudp_seconds = 31\n[paths]\n\
                        socket = \"/s\"\nstate = \"/t\"\npins = \"/p\"\n[metrics]\nlisten = \"off\"\n\
                        [dashboard]\nenabled = true\nhost_names = [\"gate\"]\ntoken_file = \"/t\"\n";
        let expected = [
            "Restart attach: \"auto\" -> \"generic\"",
            "Restart dashboard.enabled: false -> true",
            "Restart dashboard.host_names: nothing -> \"gate\"",
            "Restart dashboard.token_file: nothing -> \"/t\"",
            "Reload geo.canaries.\"192.0.2.7\": nothing -> \"MO\"",
            "Reload geo.country: nothing -> \"MO\"",
            "Reload geo.database: \"builtin\" -> \"/x\"",
            "Reload geo.keep: 3 -> 7",
            "Restart interfaces: \"eth1\" -> nothing",
            "Restart interfaces: nothing -> \"eth2\"",
            "Reload limits.a.burst_packets: 10 -> nothing",
            "Reload limits.a.ipv4_prefix_len: 32 -> nothing",
            "Reload limits.a.ipv6_prefix_len: 64 -> nothing",
            "Reload limits.a.packets_per_second: 5 -> nothing",
            "Reload limits.b.burst_packets: nothing -> 10",
            "Reload limits.b.ipv4_prefix_len: nothing -> 32",
            "Reload limits.b.ipv6_prefix_len: nothing -> 64",
            "Reload limits.b.packets_per_second: nothing -> 5",
            "Restart metrics.listen: \"127.0.0.1:9273\" -> \"off\"",
            "Restart paths.pins: \"/sys/fs/bpf/cerco\" -> \"/p\"",
            "Restart paths.socket: \"/run/cerco/cerco.sock\" -> \"/s\"",
            "Restart paths.state: \"/var/lib/cerco\" -> \"/t\"",
            "Reload policy.countries.CN: \"allow:a\" -> \"allow:b\"",
            "Reload policy.countries.MO: \"allow\" -> nothing",
            "Reload policy.default: \"deny\" -> \"allow\"",
            "Reload policy.private: \"deny\" -> \"allow\"",
            "Reload policy.unknown: \"deny\" -> \"allow\"",
            "Reload protect.destinations: nothing -> \"192.0.2.1/32\"",
            "Reload protect.protocols: nothing -> 1",
            "Reload protect.tcp: nothing -> 80",
            "Reload protect.tcp: nothing -> \"90-99\"",
            "Reload protect.udp: nothing -> 53",
            "Restart replies.attach: \"auto\" -> \"clsact\"",
            "Restart replies.enabled: true -> false",
            "Reload replies.udp_seconds: 30 -> 31",
            "Reload rules.allow: nothing -> \"198.51.100.0/24\"",
            "Reload rules.deny: \"192.0.2.0/24\" -> nothing",
            "Reload trusted.prefixes: nothing -> \"192.0.2.9/32\"",
        ];
        let differences = of_configs(&config(running), &config(all_else));
        assert_eq!(shown(&differences), expected);
    }

    #[test]
    fn runtime_rule_that_the_config_says_too_is_no_difference() {
        let config = config(
            "interfaces = [\"eth0\"]\n[policy.countries]\nMO = \"allow\"\nCN = \"allow:a\"\n\
             [limits.a]\npackets_per_second = 5\n[rules]\nallow = [\"10.0.0.0/8\"]\n\
             deny = [\"192.0.2.0/24\", \"10.0.0.0/8\"]\n",
        );
        let rule = |verb, target: &str, limit: Option<&str>| Rule {
            rule: verb,
            target: target.parse().unwrap(),
            port: None,
            limit: limit.map(str::to_owned),
            expires: None,
            comment: Some("why".to_owned()),
        };
        use RuleVerb::{Allow, Deny, Trust};
        for (rule, expected) in [
            (rule(Allow, "MO", None), None),
            (
                Rule {
                    port: Some(Port::Tcp(80)),
                    ..rule(Allow, "MO", None)
                },
                Some("Runtime MO: \"allow MO on 80/tcp\" -> nothing"),
            ),
            (rule(Allow, "CN", Some("a")), None),
            (rule(Deny, "192.0.2.0/24", None), None),
            (rule(Deny, "10.0.0.0/8", None), None),
            (
                rule(Allow, "CN", None),
                Some("Runtime CN: \"allow CN\" -> \"allow CN (limit a)\""),
            ),
            (
                rule(Deny, "US", None),
                Some("Runtime US: \"deny US\" -> nothing"),
            ),
            (
                rule(Trust, "192.0.2.0/24", None),
                Some("Runtime 192.0.2.0/24: \"trust 192.0.2.0/24\" -> \"deny 192.0.2.0/24\""),
            ),
        ] {
            let difference = of_rule(&rule, &config);
            let shown: Vec<String> = shown(difference.as_slice());
            assert_eq!(shown.first().map(String::as_str), expected);
            assert!(difference.is_none_or(|it| it.note.as_deref() == Some("why")));
        }
    }
}

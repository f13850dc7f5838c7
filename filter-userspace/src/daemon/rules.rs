//! Runtime rules: allow, deny and trust.

use std::{collections::BTreeSet, time::SystemTime};

use filter_common::country::{Class, CountryCode};
use tracing::{error, info};

use super::{
    overlay::{Overlay, Rule},
    state::{Daemon, compile_and_check},
};
use crate::{
    control::{
        protocol::{Refusal, RuleVerb, Target},
        reply::{Done, rule_word},
    },
    kernel::Planned,
    policy::{Action, Policy, Port},
};

impl Daemon {
    /// Adds `rule`, for each of `ports` if there are any; all of them or none.
    pub(super) fn add_rule(&mut self, rule: Rule, ports: &[Port]) -> Result<Done, Refusal> {
        if let (RuleVerb::Trust, Target::Country(code)) = (rule.rule, rule.target) {
            return Err(Refusal::bad_request(format!(
                "a country cannot be trusted, only prefixes can; `cerco allow {code}` lets it in"
            )));
        }
        if let Some(limit) = &rule.limit {
            if rule.rule != RuleVerb::Allow || !matches!(rule.target, Target::Country(_)) {
                return Err(Refusal::bad_request(
                    "a limit goes only with allow and a country",
                ));
            }
            if self.config.policy.limit_index(limit).is_none() {
                let limits = &self.config.policy.limits;
                let known: Vec<&str> = limits.iter().map(|limit| limit.name.as_str()).collect();
                return Err(Refusal::bad_request(match known.is_empty() {
                    true => format!("no limit `{limit}`: the config has no [limits.{limit}]"),
                    false => format!("no limit `{limit}`; known limits: {}", known.join(", ")),
                }));
            }
        }
        let ports_in_words = ports.iter().copied();
        let word = rule_word(
            rule.rule,
            &rule.target,
            ports_in_words,
            rule.limit.as_deref(),
        );
        let until = rule.expires.map_or(String::new(), |expires| {
            let until = humantime::format_rfc3339_seconds(expires);
            format!(" until {until} (the kernel ends it, with a daemon or without)")
        });
        let mut overlay = self.overlay.clone();
        for port in ports {
            overlay.add(Rule {
                port: Some(*port),
                ..rule.clone()
            });
        }
        let suspended = rule.suspended_by(&self.config.policy);
        if ports.is_empty() {
            overlay.add(rule);
        }
        let mut warnings = self.install(overlay, &format!("`{word}`"))?;
        if let Some(why) = suspended {
            warnings.push(format!("it changes nothing: {why}"));
        }
        let message = format!("{word}: in force{until}");
        info!("{message}");
        Ok(Done { message, warnings })
    }

    pub(super) fn remove_rule(
        &mut self,
        target: Target,
        port: Option<Port>,
    ) -> Result<Done, Refusal> {
        let mut overlay = self.overlay.clone();
        let removed = overlay.remove(target, port);
        if removed.is_empty() {
            let on_port = port.map_or(String::new(), |port| format!(" on {port}"));
            return Err(Refusal::bad_request(format!(
                "there is no runtime rule for {target}{on_port}; what the config says goes with \
                 `cerco rules remove {target} --permanent`"
            )));
        }
        let words: Vec<String> = removed.iter().map(Rule::word).collect();
        let words = words.join("; ");
        let warnings = self.install(overlay, &format!("removing `{words}`"))?;
        let message = format!("{words}: removed");
        info!("{message}");
        Ok(Done { message, warnings })
    }

    /// Ends the runtime rules whose time is over.
    pub fn expire_rules(&mut self, now: SystemTime) {
        // They end with the trial, at the latest.
        if self.trial.is_some() {
            return;
        }
        let mut overlay = self.overlay.clone();
        let over = overlay.expire(now);
        if over.is_empty() {
            return;
        }
        let before = self.before_change();
        match self.install(overlay, "the end of a rule") {
            Ok(_) => {
                self.note_timed(&before);
                for rule in over {
                    info!("{}: ended, its time is over", rule.word());
                }
            }
            Err(refusal) => error!("a runtime rule is over but could not be ended: {refusal}"),
        }
    }

    pub fn next_expiry(&self) -> Option<SystemTime> {
        self.overlay.next_expiry()
    }

    /// Puts `overlay` in force and keeps it. On error nothing has changed. `what` is done.
    fn install(&mut self, overlay: Overlay, what: &str) -> Result<Vec<String>, Refusal> {
        self.clock = self.clock.or_now();
        let (policy, suspended) = overlay.apply(&self.config.policy, self.clock);
        let mut warnings;
        match self.action_changes(&policy) {
            // What is on trial needs a generation of its own.
            Some(changes) if self.beginning_trial.is_none() => {
                let block = self.gate.policy_with(&changes);
                let planned = block.as_deref().map_or(Planned::Running, Planned::Actions);
                warnings = self.rule_is_safe(what, &policy, planned)?;
                for (class, action) in changes {
                    self.gate.set_action(class, action);
                }
            }
            _ => {
                let compiled = compile_and_check(&policy, &self.database)?;
                warnings = self.rule_is_safe(what, &policy, Planned::Compiled(&compiled))?;
                self.publish(&compiled)?;
                self.hold(compiled);
                self.published = SystemTime::now();
            }
        }
        self.policy = policy;
        self.overlay = overlay;
        self.suspended = suspended;
        warnings.extend(self.save_overlay());
        Ok(warnings)
    }

    /// The classes whose action differs in `policy`, when nothing else does: those need no rebuild.
    fn action_changes(&self, policy: &Policy) -> Option<Vec<(Class, Action)>> {
        let same_beside = Policy {
            countries: self.policy.countries.clone(),
            ..policy.clone()
        } == self.policy;
        if !same_beside {
            return None;
        }
        let named: BTreeSet<CountryCode> = policy
            .countries
            .keys()
            .chain(self.policy.countries.keys())
            .copied()
            .collect();
        named
            .into_iter()
            .map(|code| (code, self.policy.action_for(code), policy.action_for(code)))
            .filter(|(_, old, new)| old != new)
            .map(|(code, _, new)| Some((self.compiled.class_of(code)?, new)))
            .collect()
    }
}

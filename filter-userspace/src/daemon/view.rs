//! What the daemon shows: status, countries, rules, bans, and the snapshot of a scrape.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use filter_common::{
    country::{Class, CountryCode},
    verdict::{Reason, Verdict},
};

use super::{
    overlay::Overlay,
    rates::{PerSecond, Totals, add},
    state::{Daemon, failed},
};
use crate::{
    config::Config,
    control::{
        protocol::{Refusal, RuleVerb},
        reply::{
            AttachedInterface, Bans, Countries, CountryTotal, DatabaseStatus, ReasonTotal,
            RepliesStatus, ReplyFault, RuleLine, Rules, RuntimeMode, Status,
        },
    },
    countries,
    history::reply::HistoryStatus,
    kernel::{AttachMode, Attachment, Count, InterfaceCounters, KernelError},
    metrics::{Process, Snapshot},
    policy::Action,
};

impl Daemon {
    pub(super) fn status(&mut self) -> Result<Status, Refusal> {
        self.sweep_flows();
        let counters = self.gate.counters().map_err(failed)?;
        self.status_of(&counters)
    }

    /// With flows as they were counted last.
    pub(super) fn status_of(&self, counters: &[InterfaceCounters]) -> Result<Status, Refusal> {
        let totals = Totals::of(counters);
        let rates = self.rates.until(Instant::now(), &totals);
        let info = &self.database.info;
        let mut warnings = self.config_warnings.clone();
        warnings.extend(self.suspended.clone());
        warnings.extend(self.databases.warnings(&self.config));
        warnings.extend(self.database_warning());
        let server_faults = self.server_faults.iter();
        warnings.extend(server_faults.filter_map(|fault| fault.borrow().clone()));
        warnings.extend(self.interface_warnings());
        let history = self.history.status();
        warnings.extend(history.as_ref().and_then(HistoryStatus::warning));
        let replies = self.replies();
        warnings.extend(replies.faults.iter().map(ReplyFault::warning));
        Ok(Status {
            daemon: true,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: Some(std::process::id()),
            uptime_seconds: Some(self.started.elapsed().as_secs()),
            mode: self.gate.mode().into(),
            trial: self.trial_status(),
            interfaces: attached(self.gate.attachments()),
            database: Some(DatabaseStatus {
                source: info.source.to_string(),
                format: info.format.to_string(),
                built: info.build_time,
                networks_v4: info.networks_v4,
                networks_v6: info.networks_v6,
                attribution: info.attribution.map(str::to_owned),
                warning: self.database_warning(),
                generation: self.databases.generation(),
                held_since: self.databases.held_since(),
                refused: self.databases.refused().cloned(),
            }),
            published: Some(self.published),
            allowed_countries: Some(self.allowed_countries()),
            default_action: Some(self.policy.action_word(self.policy.default)),
            table_bytes: Some(self.compiled.table_bytes() as u64),
            kernel_bytes: Some(self.gate.map_memory().map_err(failed)?),
            replies: Some(replies),
            totals: reason_totals(&totals, rates.as_ref()),
            bans: self.gate.ban_count().map_err(failed)? as u64,
            runtime_rules: Some(self.overlay.rules.len() as u64),
            warnings,
            last_reload_error: self.last_reload_error.clone(),
            history,
        })
    }

    fn replies(&self) -> RepliesStatus {
        let enabled = self.gate.lets_replies_in();
        RepliesStatus {
            enabled,
            open: enabled.then(|| self.flow_count.into()),
            faults: self
                .gate
                .tracker_faults()
                .into_iter()
                .map(ReplyFault::from)
                .collect(),
        }
    }

    fn allowed_countries(&self) -> Vec<String> {
        self.policy
            .countries
            .iter()
            .filter_map(|(code, action)| match action {
                Action::Deny => None,
                Action::Allow => Some(code.to_string()),
                Action::Limit(index) => {
                    let limit = self.policy.limits.get(*index).map(|limit| &limit.name);
                    Some(match limit {
                        Some(name) => format!("{code} (limit {name})"),
                        None => code.to_string(),
                    })
                }
            })
            .collect()
    }

    pub(super) fn countries(&self) -> Result<Countries, Refusal> {
        let counters = self.gate.counters().map_err(failed)?;
        Ok(Countries {
            mode: self.gate.mode().into(),
            countries: self.countries_of(&counters),
        })
    }

    pub(super) fn countries_of(&self, counters: &[InterfaceCounters]) -> Vec<CountryTotal> {
        class_totals(counters, |class| self.compiled.class_name(class))
            .into_iter()
            .map(|(class, mut line)| {
                let action = match self.compiled.country_of(class) {
                    Some(code) => {
                        line.name = countries::name(code).map(str::to_owned);
                        Some(self.policy.action_for(code))
                    }
                    None if class == Class::UNKNOWN => Some(self.policy.unknown),
                    None if class == Class::PRIVATE => Some(self.policy.private),
                    None => None,
                };
                line.action = action.map(|action| self.policy.action_word(action));
                line
            })
            .collect()
    }

    pub(super) fn rules(&self) -> Rules {
        rules(&self.config, &self.overlay)
    }

    pub(super) fn bans(&self) -> Result<Bans, Refusal> {
        Ok(self.gate.bans().map_err(failed)?.into())
    }

    /// What a scrape shows.
    pub fn snapshot(&mut self) -> Result<Snapshot, KernelError> {
        let bans = self.counted_bans()?;
        let interfaces = self.gate.counters()?;
        let countries = country_packets(&interfaces, &self.compiled.countries);
        let info = &self.database.info;
        Ok(Snapshot {
            interfaces,
            attached: self.interfaces_attached(),
            countries,
            database_built: info.build_time.and_then(unix_seconds),
            networks_v4: info.networks_v4,
            networks_v6: info.networks_v6,
            mode: self.gate.mode(),
            trial_pending: self.trial.is_some(),
            published: unix_seconds(self.published),
            runtime_rules: self.overlay.rules.len() as u64,
            bans,
            table_bytes: self.compiled.table_bytes() as u64,
            reload_failures: self.reload_failures,
            replies_enabled: self.gate.lets_replies_in(),
            flows: self.flow_count,
            tracker_faults: self.gate.tracker_faults().len() as u64,
            database_failures: self.databases.failures().collect(),
            database_held: self.databases.held_since().is_some(),
            database_refused: self.databases.refused().is_some(),
            history: self
                .history
                .status()
                .map(|it| (it.bytes, it.fault.is_some())),
            process: Process::this(self.process_started),
        })
    }

    /// When the database in force was built.
    pub fn database_built(&self) -> Option<SystemTime> {
        self.database.info.build_time
    }
}

/// All rules: those of the config, and those of the runtime over them.
pub fn rules(config: &Config, overlay: &Overlay) -> Rules {
    let policy = &config.policy;
    let line = |rule: RuleVerb, target: String, limit: Option<String>| RuleLine {
        rule: rule.word().to_owned(),
        target,
        port: None,
        limit,
        origin: "config".to_owned(),
        expires: None,
        comment: None,
        suspended: None,
    };
    let mut rules = Vec::new();
    for (code, action) in &policy.countries {
        let (verb, limit) = match action {
            Action::Deny => (RuleVerb::Deny, None),
            Action::Allow => (RuleVerb::Allow, None),
            Action::Limit(index) => (
                RuleVerb::Allow,
                policy.limits.get(*index).map(|limit| limit.name.clone()),
            ),
        };
        rules.push(line(verb, code.to_string(), limit));
    }
    let lists = [
        (RuleVerb::Trust, &policy.trusted),
        (RuleVerb::Allow, &policy.allow),
        (RuleVerb::Deny, &policy.deny),
    ];
    for (verb, prefixes) in lists {
        rules.extend(prefixes.iter().map(|p| line(verb, p.to_string(), None)));
    }
    rules.extend(overlay.rules.iter().map(|rule| RuleLine {
        origin: "runtime".to_owned(),
        port: rule.port,
        expires: rule.expires,
        comment: rule.comment.clone(),
        suspended: rule.suspended_by(policy),
        ..line(rule.rule, rule.target.to_string(), rule.limit.clone())
    }));
    let mode = overlay.mode.map(|own| RuntimeMode {
        mode: own.mode,
        configured: config.mode.into(),
    });
    Rules {
        mode,
        default: policy.action_word(policy.default),
        unknown: policy.action_word(policy.unknown),
        private: policy.action_word(policy.private),
        rules,
    }
}

/// The interfaces as a reply names them.
pub fn attached(attachments: &[Attachment]) -> Vec<AttachedInterface> {
    attachments
        .iter()
        .map(|attachment| AttachedInterface {
            interface: attachment.interface.clone(),
            attach_mode: match attachment.mode {
                AttachMode::Native => "native",
                AttachMode::Generic => "generic",
            }
            .to_owned(),
            fallback_reason: attachment.fallback_reason.clone(),
        })
        .collect()
}

/// `native`, or why it is not.
pub fn attachment_words(attachment: &Attachment) -> String {
    let mode = match attachment.mode {
        AttachMode::Native => "native",
        AttachMode::Generic => "generic",
    };
    match &attachment.fallback_reason {
        Some(reason) => format!("{mode}, because {reason}"),
        None => mode.to_owned(),
    }
}

/// One line for each reason, and a second one for what observe mode would have dropped.
pub fn reason_totals(totals: &Totals, rates: Option<&PerSecond>) -> Vec<ReasonTotal> {
    let line = |reason: Reason, verdict: &str, counts: &[Count], rates: Option<&Vec<f64>>| {
        let index = reason as usize;
        ReasonTotal {
            reason: reason.label().to_owned(),
            verdict: verdict.to_owned(),
            packets: counts[index].packets,
            bytes: counts[index].bytes,
            packets_per_second: rates.map(|rates| rates[index]),
        }
    };
    let enforced_rates = rates.map(|rates| &rates.enforced);
    let would_rates = rates.map(|rates| &rates.would_drop);
    let mut lines = Vec::new();
    for reason in Reason::ALL {
        match reason.verdict() {
            Verdict::Pass => lines.push(line(*reason, "pass", &totals.enforced, enforced_rates)),
            Verdict::Drop => {
                lines.push(line(*reason, "drop", &totals.enforced, enforced_rates));
                lines.push(line(*reason, "would_drop", &totals.would_drop, would_rates));
            }
        }
    }
    lines
}

fn unix_seconds(time: SystemTime) -> Option<u64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// Packets passed, dropped and would-be dropped of each country over all interfaces, also where there
/// were none yet: the increase of a counter is not seen when it begins at a million.
fn country_packets(
    interfaces: &[InterfaceCounters],
    countries: &[CountryCode],
) -> Vec<(CountryCode, [u64; 3])> {
    let numbered = (usize::from(Class::FIRST_COUNTRY)..).zip(countries);
    numbered
        .map(|(class, code)| {
            let sum = |of: fn(&InterfaceCounters) -> &Vec<Count>| {
                let counts = interfaces.iter().filter_map(|it| of(it).get(class));
                counts.map(|count| count.packets).sum()
            };
            let totals = [
                sum(|it| &it.class_passed),
                sum(|it| &it.class_dropped),
                sum(|it| &it.class_would_drop),
            ];
            (*code, totals)
        })
        .collect()
}

/// Traffic by class over all interfaces, most drops first; only classes that were seen.
pub fn class_totals(
    interfaces: &[InterfaceCounters],
    name: impl Fn(Class) -> String,
) -> Vec<(Class, CountryTotal)> {
    let mut passed = vec![Count::default(); Class::COUNT];
    let mut dropped = passed.clone();
    let mut would_drop = passed.clone();
    for counters in interfaces {
        add(&mut passed, &counters.class_passed);
        add(&mut dropped, &counters.class_dropped);
        add(&mut would_drop, &counters.class_would_drop);
    }
    let mut lines: Vec<(Class, CountryTotal)> = (0..=u8::MAX)
        .map(|number| (Class(number), usize::from(number)))
        .filter(|(_, index)| {
            passed[*index].packets + dropped[*index].packets + would_drop[*index].packets > 0
        })
        .map(|(class, index)| {
            let line = CountryTotal {
                class: name(class),
                name: None,
                action: None,
                passed_packets: passed[index].packets,
                dropped_packets: dropped[index].packets,
                would_drop_packets: would_drop[index].packets,
                passed_bytes: passed[index].bytes,
                dropped_bytes: dropped[index].bytes,
                would_drop_bytes: would_drop[index].bytes,
            };
            (class, line)
        })
        .collect();
    lines.sort_by_key(|(class, line)| {
        let drops = line.dropped_packets + line.would_drop_packets;
        (std::cmp::Reverse((drops, line.passed_packets)), *class)
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_summed_over_interfaces_and_sorted_by_drops() {
        let counts = |pairs: &[(usize, u64)]| {
            let mut counts = vec![Count::default(); Class::COUNT];
            for (class, packets) in pairs {
                counts[*class] = Count {
                    packets: *packets,
                    bytes: packets * 100,
                };
            }
            counts
        };
        let interface = |name: &str, passed, dropped, would| InterfaceCounters {
            interface: name.into(),
            enforced: Vec::new(),
            would_drop: Vec::new(),
            class_passed: counts(passed),
            class_dropped: counts(dropped),
            class_would_drop: counts(would),
        };
        let interfaces = [
            interface("eth0", &[(8, 5), (9, 1)], &[(10, 4)], &[]),
            interface("eth1", &[(8, 2)], &[(10, 4)], &[(255, 9)]),
        ];
        let lines = class_totals(&interfaces, |class| class.0.to_string());
        let shown: Vec<(&str, u64, u64, u64, u64)> = lines
            .iter()
            .map(|(_, line)| {
                (
                    line.class.as_str(),
                    line.passed_packets,
                    line.dropped_packets,
                    line.would_drop_packets,
                    line.passed_bytes,
                )
            })
            .collect();
        let countries = ["AD", "AE", "AF", "AG", "AI", "AL", "AM"];
        let countries = countries.map(|code| CountryCode::parse(code).unwrap());
        let packets = country_packets(&interfaces, &countries);
        let packets: Vec<(&str, [u64; 3])> = packets
            .iter()
            .map(|(code, totals)| (code.as_str(), *totals))
            .collect();
        assert_eq!(
            packets,
            [
                ("AD", [0, 0, 0]),
                ("AE", [0, 0, 0]),
                ("AF", [0, 0, 0]),
                ("AG", [7, 0, 0]),
                ("AI", [1, 0, 0]),
                ("AL", [0, 8, 0]),
                ("AM", [0, 0, 0]),
            ]
        );
        assert_eq!(
            shown,
            [
                ("255", 0, 0, 9, 0),
                ("10", 0, 8, 0, 0),
                ("8", 7, 0, 0, 700),
                ("9", 1, 0, 0, 100)
            ]
        );
    }
}

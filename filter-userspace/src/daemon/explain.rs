//! The decision for one address, stage by stage. The kernel's tables decide; this only tells why.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::{
    abi,
    country::Class,
    verdict::{Reason, Verdict},
};
use ipnetwork::IpNetwork;

use super::{
    age,
    moment::Moment,
    overlay::Rule,
    state::{Daemon, failed},
};
use crate::{
    compile::is_made_of,
    control::{
        protocol::{ModeWord, PacketKind, Refusal, Target},
        reply::{Explanation, Stage},
    },
    countries,
    kernel::{Mode, Service},
    policy::{Action, Exception, Gets, Limit, Scope, Subject},
};

impl Daemon {
    pub(super) fn explain(
        &self,
        address: IpAddr,
        packet: Option<PacketKind>,
    ) -> Result<Explanation, Refusal> {
        let packet = packet.unwrap_or_else(|| typical_packet(&self.policy.scope));
        let (decision, exception) = self
            .gate
            .explain(
                address,
                some_destination(&self.policy.scope, address),
                service(packet),
            )
            .map_err(failed)?;
        let mode = self.gate.mode();
        let country = decision
            .class
            .and_then(|class| self.compiled.country_of(class));
        let ban = match decision.reason {
            Reason::Banned => self.ban_of(address)?,
            _ => None,
        };
        let rule = exception.and_then(|entry| self.rule_of(&entry));
        let action = decision.class.and_then(|class| match rule {
            Some(rule) => self.action_by(rule),
            None => self.action_of(class),
        });
        // Each stage: what it says when the decision falls there, and what when it does not.
        let stages = [
            (
                "scope",
                decision.reason == Reason::OutOfScope,
                match decision.reason {
                    Reason::OutOfScope => {
                        format!("{packet} is not in [protect]: passes untouched")
                    }
                    _ => format!("{packet} is looked at"),
                },
            ),
            (
                "trusted",
                decision.reason == Reason::Trusted,
                match (longest(&self.policy.trusted, address), rule) {
                    (_, Some(rule)) if decision.reason == Reason::Trusted => {
                        format!("{}, by a runtime rule", rule_words(rule))
                    }
                    (Some(prefix), _) => format!("in the trusted prefix {prefix}"),
                    (None, _) => "in no trusted prefix".to_owned(),
                },
            ),
            (
                "ban",
                decision.reason == Reason::Banned,
                ban.unwrap_or_else(|| "not banned".to_owned()),
            ),
            (
                "class",
                false,
                match rule {
                    // The rule for a prefix is what the source counts as.
                    Some(rule) if matches!(rule.target, Target::Prefix(_)) => {
                        format!("in the prefix of a runtime rule: {}", rule_words(rule))
                    }
                    _ => self.class_finding(address, decision.class),
                },
            ),
            (
                "action",
                matches!(
                    decision.reason,
                    Reason::RuleAllowed
                        | Reason::RuleDenied
                        | Reason::CountryDenied
                        | Reason::UnknownDenied
                        | Reason::PrivateDenied
                ) || decision.reason == Reason::Allowed && action == Some(Action::Allow),
                match rule {
                    Some(rule) => format!("{}, by the runtime rule", rule_words(rule)),
                    None => self.action_finding(decision.class),
                },
            ),
            (
                "limit",
                matches!(
                    decision.reason,
                    Reason::PacketLimit | Reason::ConnectionLimit | Reason::Allowed
                ),
                match action {
                    Some(Action::Limit(index)) => self
                        .policy
                        .limits
                        .get(index)
                        .map_or_else(|| "none".to_owned(), limit_words),
                    _ => "none".to_owned(),
                },
            ),
        ];
        Ok(Explanation {
            address,
            packet: packet.to_string(),
            stages: until_decided(stages),
            reason: decision.reason.label().to_owned(),
            verdict: match decision.verdict {
                Verdict::Pass => "pass",
                Verdict::Drop => "drop",
            }
            .to_owned(),
            mode: ModeWord::from(mode),
            passes_now: decision.verdict == Verdict::Pass || mode == Mode::Observe,
            replies_pass: self.gate.lets_replies_in()
                // Those that the gate asks its flow table about; a ban is a ban.
                && matches!(
                    decision.reason,
                    Reason::RuleDenied
                        | Reason::CountryDenied
                        | Reason::UnknownDenied
                        | Reason::PrivateDenied
                ),
            class: decision.class.map(|class| self.compiled.class_name(class)),
            country: country.map(|code| code.to_string()),
            country_name: country.and_then(countries::name).map(str::to_owned),
        })
    }

    fn ban_of(&self, address: IpAddr) -> Result<Option<String>, Refusal> {
        let bans = self.gate.bans().map_err(failed)?;
        Ok(bans
            .into_iter()
            .filter(|ban| ban.prefix.contains(address))
            .max_by_key(|ban| ban.prefix.prefix())
            .map(|ban| {
                let seconds = std::time::Duration::from_secs(ban.remaining.as_secs());
                let left = humantime::format_duration(seconds);
                format!("banned by {}, {left} left", ban.prefix)
            }))
    }

    /// The runtime rule that an exception in the kernel was made of.
    fn rule_of(&self, entry: &abi::Exception) -> Option<&Rule> {
        let class_of = |code| self.compiled.class_of(code);
        self.overlay.rules.iter().find(|rule| {
            rule.is_exception() && {
                let exception = rule.exception(&self.config.policy, Moment::now());
                is_made_of(entry, &exception, class_of)
            }
        })
    }

    /// What a rule with an end or a port does; `None` when no action has a say.
    fn action_by(&self, rule: &Rule) -> Option<Action> {
        match rule.exception(&self.config.policy, Moment::now()) {
            Exception {
                subject: Subject::Country(_),
                gets: Gets::Action(action),
                ..
            } => Some(action),
            _ => None,
        }
    }

    fn action_of(&self, class: Class) -> Option<Action> {
        match class {
            Class::UNKNOWN => Some(self.policy.unknown),
            Class::PRIVATE => Some(self.policy.private),
            Class::TRUSTED | Class::RULE_ALLOW | Class::RULE_DENY => None,
            country => Some(self.policy.action_for(self.compiled.country_of(country)?)),
        }
    }

    fn class_finding(&self, address: IpAddr, class: Option<Class>) -> String {
        let info = &self.database.info;
        let database = match info.build_time {
            Some(time) => format!("{} of {}", info.source, age::date(time)),
            None => info.source.to_string(),
        };
        let rule = |key: &str, prefixes: &[IpNetwork]| match longest(prefixes, address) {
            Some(prefix) => format!("in {prefix} of {key}"),
            None => format!("in a prefix of {key}"),
        };
        match class {
            None => "not asked".to_owned(),
            Some(Class::TRUSTED) => rule("the trusted prefixes", &self.policy.trusted),
            Some(Class::RULE_ALLOW) => rule("the allow rules", &self.policy.allow),
            Some(Class::RULE_DENY) => rule("the deny rules", &self.policy.deny),
            Some(Class::PRIVATE) => {
                "private or link-local address space, which belongs to no country".to_owned()
            }
            Some(Class::UNKNOWN) => format!("unknown: no network of {database} holds it"),
            Some(class) => {
                let name = self
                    .compiled
                    .country_of(class)
                    .and_then(countries::name)
                    .map_or(String::new(), |name| format!(" ({name})"));
                let found = self.database.lookup(address);
                format!(
                    "{}{name}: {} to {} in {database}",
                    self.compiled.class_name(class),
                    found.first,
                    found.last
                )
            }
        }
    }

    fn action_finding(&self, class: Option<Class>) -> String {
        let Some(class) = class else {
            return "not asked".to_owned();
        };
        let word = |action| self.policy.action_word(action);
        match class {
            Class::TRUSTED | Class::RULE_ALLOW => "allow".to_owned(),
            Class::RULE_DENY => "deny".to_owned(),
            Class::UNKNOWN => format!("{}, since unknown addresses are", word(self.policy.unknown)),
            Class::PRIVATE => format!("{}, since private addresses are", word(self.policy.private)),
            country => match self.compiled.country_of(country) {
                None => "no country has this number".to_owned(),
                Some(code) => {
                    let action = word(self.policy.action_for(code));
                    let runtime = self.overlay.rules.iter().any(|rule| {
                        rule.target == Target::Country(code)
                            && !rule.is_exception()
                            && rule.suspended_by(&self.config.policy).is_none()
                    });
                    if runtime {
                        format!("{action}, by a runtime rule for {code}")
                    } else if self.policy.countries.contains_key(&code) {
                        format!("{action}, by [policy.countries] {code}")
                    } else {
                        format!("{action}, by [policy] default: {code} is not named")
                    }
                }
            },
        }
    }
}

/// One of the destinations that `[protect]` names, for a packet from `source`.
pub(super) fn some_destination(scope: &Scope, source: IpAddr) -> IpAddr {
    let destinations = scope.destinations.iter();
    destinations
        .map(IpNetwork::network)
        .find(|address| address.is_ipv4() == source.is_ipv4())
        .unwrap_or(match source {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        })
}

/// The stages up to the one where the decision falls; what comes after was never asked.
fn until_decided(stages: [(&str, bool, String); 6]) -> Vec<Stage> {
    let mut shown = Vec::new();
    for (stage, decided, finding) in stages {
        shown.push(Stage {
            stage: stage.to_owned(),
            finding,
            decided,
        });
        if decided {
            break;
        }
    }
    shown
}

fn longest(prefixes: &[IpNetwork], address: IpAddr) -> Option<IpNetwork> {
    prefixes
        .iter()
        .filter(|prefix| prefix.contains(address))
        .max_by_key(|prefix| prefix.prefix())
        .copied()
}

fn service(packet: PacketKind) -> Service {
    match packet {
        PacketKind::Tcp(port) => Service::Tcp(port),
        PacketKind::Udp(port) => Service::Udp(port),
        PacketKind::Ping => Service::Ping,
    }
}

/// A packet of the kind that the policy is about, when nobody says which one is meant.
fn typical_packet(scope: &Scope) -> PacketKind {
    match (scope.tcp.first(), scope.udp.first()) {
        (Some((port, _)), _) => PacketKind::Tcp(*port),
        (None, Some((port, _))) => PacketKind::Udp(*port),
        (None, None) => PacketKind::Ping,
    }
}

/// `allow US on 80/tcp until 2026-11-26T05:00:00Z`.
fn rule_words(rule: &Rule) -> String {
    let word = rule.word();
    match rule.expires {
        Some(expires) => format!(
            "{word} until {}",
            humantime::format_rfc3339_seconds(expires)
        ),
        None => word,
    }
}

fn limit_words(limit: &Limit) -> String {
    let mut parts = Vec::new();
    if let Some(rate) = limit.packets_per_second {
        parts.push(format!("{rate} packets/s (burst {})", limit.burst_packets));
    }
    if let Some(rate) = limit.new_connections_per_second {
        parts.push(format!(
            "{rate} new connections/s (burst {})",
            limit.burst_connections
        ));
    }
    format!(
        "`{}`: {} for each /{} (IPv4) or /{} (IPv6)",
        limit.name,
        parts.join(", "),
        limit.ipv4_prefix_len,
        limit.ipv6_prefix_len
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_after_the_deciding_one_are_not_shown() {
        let stage = |name, decided| (name, decided, String::new());
        let stages = [
            stage("scope", false),
            stage("trusted", false),
            stage("ban", true),
            stage("class", false),
            stage("action", true),
            stage("limit", false),
        ];
        let shown: Vec<String> = until_decided(stages).into_iter().map(|s| s.stage).collect();
        assert_eq!(shown, ["scope", "trusted", "ban"]);
    }

    #[test]
    fn longest_prefix_is_the_one_named() {
        let prefixes: Vec<IpNetwork> = ["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let found = longest(&prefixes, "10.1.2.3".parse().unwrap());
        assert_eq!(found, Some(prefixes[1]));
        assert_eq!(longest(&prefixes, "192.0.2.1".parse().unwrap()), None);
    }
}

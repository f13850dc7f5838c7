//! The list of exceptions, in the order in which the kernel goes through it.
//!
//! An exception must say what the same rule would say if it were painted over the table: the longer prefix goes
//! first, and trusted prefixes go over all. So an exception for a prefix leaves the longer prefixes inside it to the
//! table. Mostly a source tells by its class that it is of such a one, and the exception *yields*; but when another
//! rule holds the whole prefix, every source in it has the class of a rule. Then the exception comes with *holes*,
//! an entry for each longer prefix.

use filter_common::{
    abi::{self, MAX_EXCEPTIONS, exception},
    country::{Class, CountryCode},
    packet::{Address, Family, protocol},
};
use ipnetwork::IpNetwork;

use super::{CompileError, action_number};
use crate::policy::{Action, Exception, Gets, Policy, Port, Subject};

/// The entries for `policy`, the first to be asked first.
pub fn list(
    policy: &Policy,
    class_of: impl Fn(CountryCode) -> Option<Class>,
) -> Result<Vec<abi::Exception>, CompileError> {
    let mut ranked: Vec<(Rank, abi::Exception)> = Vec::new();
    for rule in &policy.exceptions {
        match rule.subject {
            Subject::Country(code) => {
                // Every country has a class.
                let Some(class) = class_of(code) else {
                    continue;
                };
                ranked.push((Rank::of_country(rule), country_entry(rule, class)));
            }
            Subject::Prefix(prefix) => {
                let is_trust = rule.gets == Gets::Trust;
                if !is_trust && trusted_around(policy, prefix).is_some() {
                    continue;
                }
                let mut entry_of_rule = prefix_entry(rule, prefix);
                let yields = !is_trust && !is_held(policy, prefix);
                if yields {
                    entry_of_rule.subject |= exception::YIELDS;
                }
                ranked.push((Rank::of_prefix(rule, prefix, policy), entry_of_rule));
                if !is_trust && !yields {
                    ranked.extend(holes(policy, prefix).map(|hole| {
                        (
                            Rank::of_hole(hole),
                            entry(hole, exception::NO_END, 0, exception::NOTHING),
                        )
                    }));
                }
            }
        }
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut entries: Vec<abi::Exception> = ranked.into_iter().map(|(_, entry)| entry).collect();
    // Exceptions inside each other have holes in common, which stand side by side.
    entries.dedup();
    match entries.len() {
        0..=MAX_EXCEPTIONS => Ok(entries),
        found => Err(CompileError::TooManyExceptions { found }),
    }
}

/// Whether `entry` is what `rule` was made into, whatever its end.
pub fn is_made_of(
    entry: &abi::Exception,
    rule: &Exception,
    class_of: impl Fn(CountryCode) -> Option<Class>,
) -> bool {
    let made = match rule.subject {
        Subject::Country(code) => class_of(code).map(|class| country_entry(rule, class)),
        Subject::Prefix(prefix) => Some(prefix_entry(rule, prefix)),
    };
    let comparable = |it: abi::Exception| abi::Exception {
        until_ns: 0,
        subject: it.subject & !exception::YIELDS,
        ..it
    };
    made.is_some_and(|made| comparable(made) == comparable(*entry))
}

/// A trusted prefix that holds `prefix` and more: no rule for a part of it changes anything.
pub fn trusted_around(policy: &Policy, prefix: IpNetwork) -> Option<IpNetwork> {
    let mut trusted = policy.trusted.iter().copied();
    trusted.find(|trusted| is_inside(prefix, *trusted))
}

/// The rules of the table that are about a part of `prefix`.
fn holes(policy: &Policy, prefix: IpNetwork) -> impl Iterator<Item = IpNetwork> {
    rules(policy).filter(move |inner| is_inside(*inner, prefix))
}

/// Whether a rule of the table is about all of `prefix`.
fn is_held(policy: &Policy, prefix: IpNetwork) -> bool {
    rules(policy).any(|outer| outer == prefix || is_inside(prefix, outer))
}

fn rules(policy: &Policy) -> impl Iterator<Item = IpNetwork> {
    let lists = [&policy.trusted, &policy.allow, &policy.deny];
    lists.into_iter().flatten().copied()
}

/// True when `inner` is a part of `outer`, and not all of it.
fn is_inside(inner: IpNetwork, outer: IpNetwork) -> bool {
    inner.is_ipv4() == outer.is_ipv4()
        && inner.prefix() > outer.prefix()
        && outer.contains(inner.network())
}

/// What sorts the list. Trust goes over all rules; longer prefixes go over shorter ones, those over countries; a
/// port goes over all ports; and a hole is for what no exception of the very same prefix is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    layer: Layer,
    /// 128 less the length.
    shortness: u8,
    /// Equal prefixes stand together.
    prefix: Option<IpNetwork>,
    is_hole: bool,
    is_for_all_ports: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Trust,
    Prefix,
    Country,
}

impl Rank {
    fn of_country(rule: &Exception) -> Self {
        Self {
            layer: Layer::Country,
            shortness: 128,
            prefix: None,
            is_hole: false,
            is_for_all_ports: rule.service.is_none(),
        }
    }

    fn of_prefix(rule: &Exception, prefix: IpNetwork, policy: &Policy) -> Self {
        // What ends stands over the trust that it was said of, and before it in the list.
        let is_over_trust = || {
            let is_trust_of_it = |other: &Exception| {
                (other.subject, other.service) == (rule.subject, rule.service)
                    && (other.gets, other.until_ns) == (Gets::Trust, None)
            };
            rule.until_ns.is_some() && policy.exceptions.iter().any(is_trust_of_it)
        };
        Self {
            layer: match rule.gets {
                Gets::Trust => Layer::Trust,
                Gets::Action(_) if is_over_trust() => Layer::Trust,
                Gets::Action(_) => Layer::Prefix,
            },
            is_hole: false,
            is_for_all_ports: rule.service.is_none(),
            ..Self::of_hole(prefix)
        }
    }

    fn of_hole(prefix: IpNetwork) -> Self {
        Self {
            layer: Layer::Prefix,
            shortness: 128 - prefix.prefix(),
            prefix: Some(prefix),
            is_hole: true,
            is_for_all_ports: true,
        }
    }
}

fn country_entry(rule: &Exception, class: Class) -> abi::Exception {
    let action = match rule.gets {
        Gets::Action(action) => action_number(action),
        // Nobody can ask for this: `daemon::rules` refuses it.
        Gets::Trust => abi::action::ALLOW,
    };
    abi::Exception {
        network: [0; 2],
        mask: [0; 2],
        until_ns: end(rule),
        service: service(rule),
        subject: u16::from(class.0),
        gets: exception::gets(class, action),
    }
}

fn prefix_entry(rule: &Exception, prefix: IpNetwork) -> abi::Exception {
    let (class, action) = match rule.gets {
        Gets::Trust => (Class::TRUSTED, abi::action::ALLOW),
        Gets::Action(Action::Deny) => (Class::RULE_DENY, abi::action::DENY),
        Gets::Action(Action::Allow | Action::Limit(_)) => (Class::RULE_ALLOW, abi::action::ALLOW),
    };
    let gets = exception::gets(class, action);
    entry(prefix, end(rule), service(rule), gets)
}

fn entry(prefix: IpNetwork, until_ns: u64, service: u32, gets: u16) -> abi::Exception {
    let words = |address| {
        let (hi, lo) = Address::from(address).left_aligned();
        [hi, lo]
    };
    abi::Exception {
        network: words(prefix.network()),
        mask: words(prefix.mask()),
        until_ns,
        service,
        subject: filter_common::exception::prefix_subject(match prefix {
            IpNetwork::V4(_) => Family::V4,
            IpNetwork::V6(_) => Family::V6,
        }),
        gets,
    }
}

fn end(rule: &Exception) -> u64 {
    rule.until_ns
        .map_or(exception::NO_END, |until| until.min(exception::NO_END))
}

fn service(rule: &Exception) -> u32 {
    match rule.service {
        None => 0,
        Some(Port::Tcp(port)) => filter_common::exception::number(protocol::TCP, port),
        Some(Port::Udp(port)) => filter_common::exception::number(protocol::UDP, port),
    }
}

#[cfg(test)]
mod tests;

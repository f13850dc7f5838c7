//! Whom a change would cut off: every change is judged before it comes in force, for the sessions that stand.

use std::{collections::BTreeSet, fmt, net::IpAddr, time::SystemTime};

use filter_common::{
    abi::action,
    country::Class,
    verdict::{Decision, Reason, Verdict},
};
use ipnetwork::IpNetwork;
use tracing::warn;

use super::{
    explain::some_destination,
    moment::Moment,
    state::{Daemon, failed},
};
use crate::{
    compile::CompiledPolicy,
    control::protocol::{Asker, Refusal, RefusalKind},
    kernel::{self, Mode, Oracle, Planned, Service},
    logins::{self, Behind},
    policy::{Exception, Gets, Policy, Subject},
    sessions,
};

/// More sessions than this are only counted.
const SHOWN: usize = 10;

/// What is about to come in force.
pub(super) struct Change<'a> {
    /// In words, the subject of a sentence.
    pub what: &'a str,
    /// The mode afterwards.
    pub mode: Mode,
    pub policy: &'a Policy,
    pub planned: Planned<'a>,
    /// Bans that come in addition to those in force.
    pub bans: &'a [IpNetwork],
}

/// Somebody who is connected to this host, behind the gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    pub peer: IpAddr,
    /// The local port.
    pub port: u16,
    pub local: Option<IpAddr>,
    /// Who is logged in, where that is known.
    pub users: BTreeSet<String>,
    pub what: Kind,
}

impl Standing {
    /// Where its packets go; where that is not known, to whatever `policy` protects.
    fn destination(&self, policy: &Policy) -> IpAddr {
        let some = || some_destination(&policy.scope, self.peer);
        self.local.unwrap_or_else(some)
    }

    fn write_whose(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.users.is_empty() {
            let users: Vec<&str> = self.users.iter().map(String::as_str).collect();
            write!(f, ", {}", users.join(", "))?;
        }
        match self.what {
            Kind::Own => f.write_str(", your own"),
            Kind::Login => Ok(()),
            Kind::Trusted => f.write_str(", trusted until now"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The session in which the change is asked for.
    Own,
    /// Another session of somebody who is logged in.
    Login,
    /// Of a trusted address, whatever it is about.
    Trusted,
}

/// A session that ends with a change.
#[derive(Clone, PartialEq, Eq, Debug)]
struct CutOff {
    session: Standing,
    why: String,
}

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Standing { peer, port, .. } = &self.session;
        write!(f, "{peer} to port {port} ({})", self.why)?;
        self.session.write_whose(f)
    }
}

/// A session that passes for as long as a rule stands that ends.
struct Ending {
    session: Standing,
    end: SystemTime,
}

impl Daemon {
    /// Refuses a change that would cut somebody off, unless it is forced; returns what is to be said of it.
    pub(super) fn is_safe(&self, change: &Change<'_>) -> Result<Vec<String>, Refusal> {
        let Some(asker) = self.asker else {
            return Ok(Vec::new());
        };
        let mut standing = self.logged_in(asker);
        standing.extend(self.no_longer_trusted(change.policy, &standing));
        if standing.is_empty() {
            return Ok(Vec::new());
        }
        let oracle = self.gate.oracle().map_err(failed)?;
        let (mut cut_off, mut ending) = (Vec::new(), Vec::new());
        for session in standing {
            match self.is_cut_off(&oracle, change, &session) {
                Some(cut) => cut_off.push(cut),
                None if change.mode == Mode::Enforce => {
                    let end = passes_until(
                        &oracle,
                        change.planned,
                        change.bans,
                        change.policy,
                        &session,
                        self.clock,
                    );
                    ending.extend(end.map(|end| Ending { session, end }));
                }
                None => {}
            }
        }
        let mut said = match (change.mode, asker.force) {
            _ if cut_off.is_empty() => Vec::new(),
            (Mode::Observe, _) => listed(&cut_off, "`cerco enforce` would cut off "),
            (Mode::Enforce, true) => listed(&cut_off, "cuts off "),
            (Mode::Enforce, false) => return Err(refusal(change.what, &cut_off)),
        };
        said.extend(for_a_time(&ending));
        Ok(said)
    }

    /// What is to be said of a way back to what was in force before a trial.
    pub(super) fn way_back_is_safe(&self, before: &Policy) -> Result<Vec<String>, Refusal> {
        let Some(trial) = self.gate.trial() else {
            return Ok(Vec::new());
        };
        self.is_safe(&Change {
            what: "the rollback",
            mode: trial.mode_before,
            policy: before,
            planned: Planned::Before,
            bans: &[],
        })
    }

    pub(super) fn enforcing_is_safe(&self) -> Result<Vec<String>, Refusal> {
        self.is_safe(&Change {
            what: "enforcing",
            mode: Mode::Enforce,
            policy: &self.policy,
            planned: Planned::Running,
            bans: &[],
        })
    }

    pub(super) fn rule_is_safe(
        &self,
        what: &str,
        policy: &Policy,
        planned: Planned<'_>,
    ) -> Result<Vec<String>, Refusal> {
        self.is_safe(&Change {
            what,
            mode: self.gate.mode(),
            policy,
            planned,
            bans: &[],
        })
    }

    /// Bans wait for no trial, so they are judged by what stands after it, too.
    pub(super) fn ban_is_safe(&self, bans: &[IpNetwork]) -> Result<Vec<String>, Refusal> {
        let mut said = self.is_safe(&Change {
            what: "the ban",
            mode: self.gate.mode(),
            policy: &self.policy,
            planned: Planned::Running,
            bans,
        })?;
        if let (Some(in_kernel), Some(trial)) = (self.gate.trial(), &self.trial) {
            let afterwards = self.is_safe(&Change {
                what: "the ban, once the trial is over,",
                mode: in_kernel.mode_before,
                policy: &trial.before.policy,
                planned: Planned::Before,
                bans,
            })?;
            said.extend(
                afterwards
                    .into_iter()
                    .filter(|it| !said.contains(it))
                    .collect::<Vec<_>>(),
            );
        }
        Ok(said)
    }

    /// Who is logged in, as far as it comes by the gate.
    pub(super) fn logged_in(&self, asker: Asker) -> Vec<Standing> {
        let found = logins::gather(asker.ssh_peer);
        let behind = match found.is_empty() {
            true => Behind::default(),
            false => self.behind(),
        };
        let is_own = |it: &logins::Session| {
            asker
                .ssh_peer
                .is_some_and(|(peer, port)| (it.peer, it.port) == (peer, port))
        };
        found
            .into_iter()
            .filter(|it| behind.holds(it.local))
            .map(|it| Standing {
                what: match is_own(&it) {
                    true => Kind::Own,
                    false => Kind::Login,
                },
                peer: it.peer,
                port: it.port,
                local: it.local,
                users: it.users,
            })
            .collect()
    }

    /// Connections of addresses that were trusted and are not any more, beside those that are `known`.
    fn no_longer_trusted(&self, policy: &Policy, known: &[Standing]) -> Vec<Standing> {
        let (before, after) = (trusted_by(&self.policy), trusted_by(policy));
        if before == after {
            return Vec::new();
        }
        let is_in = |list: &[IpNetwork], peer| list.iter().any(|prefix| prefix.contains(peer));
        let mut found: Vec<Standing> = sessions::connections()
            .into_iter()
            .filter(|it| it.is_to_listener)
            .filter(|it| {
                let peer = it.peer.ip();
                is_in(&before, peer) && !is_in(&after, peer)
            })
            .map(|it| Standing {
                peer: it.peer.ip(),
                port: it.local.port(),
                local: Some(it.local.ip()),
                users: BTreeSet::new(),
                what: Kind::Trusted,
            })
            .filter(|it| {
                let key = |it: &Standing| (it.peer, it.port, it.local);
                !known.iter().any(|known| key(known) == key(it))
            })
            .collect();
        found.sort_by_key(|it| (it.peer, it.port, it.local));
        found.dedup_by_key(|it| (it.peer, it.port, it.local));
        if !found.is_empty() {
            let behind = self.behind();
            found.retain(|it| behind.holds(it.local));
        }
        found
    }

    /// What the session is cut off for, when it passes now and will not.
    fn is_cut_off(
        &self,
        oracle: &Oracle<'_>,
        change: &Change<'_>,
        session: &Standing,
    ) -> Option<CutOff> {
        let now = self.decide_on(oracle, session);
        // Whoever is cut off already loses nothing: after a forced change the dead session would stand in the way
        // of all others.
        let passes_now = match (self.gate.mode(), change.mode) {
            (Mode::Observe, Mode::Enforce) => true,
            _ => now.verdict == Verdict::Pass,
        };
        let then = oracle.decide_under(
            change.planned,
            session.peer,
            session.destination(change.policy),
            Service::Tcp(session.port),
        );
        // A ban is to blame only for what would pass without it.
        if !change.bans.is_empty() && then.verdict == Verdict::Drop {
            return None;
        }
        let then = with_bans(then, change.bans, session.peer);
        (passes_now && then.verdict == Verdict::Drop).then(|| CutOff {
            why: self.why(&then),
            session: session.clone(),
        })
    }

    /// What a session gets in enforce mode, as things stand.
    pub(super) fn decide_on(&self, oracle: &Oracle<'_>, session: &Standing) -> Decision {
        let destination = session.destination(&self.policy);
        oracle.decide(session.peer, destination, Service::Tcp(session.port))
    }

    /// `US`, `unknown`, `rule_deny`, or `banned`.
    pub(super) fn why(&self, decision: &Decision) -> String {
        match (decision.reason, decision.class) {
            (Reason::Banned, _) => "banned".to_owned(),
            (_, Some(class)) => self.compiled.class_name(class),
            (reason, None) => reason.label().to_owned(),
        }
    }

    /// Which of this host's addresses are behind the gate. Where the kernel does not tell, all of them.
    pub(super) fn behind(&self) -> Behind {
        let (links, addresses) = match (kernel::links(), kernel::addresses()) {
            (Ok(links), Ok(addresses)) => (links, addresses),
            (Err(error), _) | (_, Err(error)) => {
                warn!("the addresses of this host are not known: {error}");
                return Behind::default();
            }
        };
        let standing = self.gate.attachments().iter().map(|it| it.ifindex);
        let guarded: Vec<u32> = kernel::numbers_of(&links, self.gate.interfaces())
            .chain(standing)
            .collect();
        Behind::of(&links, &addresses, &guarded)
    }
}

/// When a session ends that passes by a rule only that ends.
pub(super) fn passes_until(
    oracle: &Oracle<'_>,
    planned: Planned<'_>,
    bans: &[IpNetwork],
    policy: &Policy,
    session: &Standing,
    clock: Moment,
) -> Option<SystemTime> {
    let destination = session.destination(policy);
    let service = Service::Tcp(session.port);
    let banned = |decision| with_bans(decision, bans, session.peer);
    let end = oracle.passes_until(planned, session.peer, destination, service, banned)?;
    // By the clock as it is now, should somebody have set it since the rule was made.
    Some(clock.or_now().wall_at(end))
}

/// A line for each, as in [`listed`].
fn for_a_time(ending: &[Ending]) -> Vec<String> {
    let line = |Ending { session, end }: &Ending| {
        let Standing { peer, port, .. } = session;
        let whose = fmt::from_fn(|f| session.write_whose(f));
        let end = humantime::format_rfc3339_seconds(*end);
        format!("let in until {end} only: {peer} to port {port}{whose} (`cerco trust {peer}`)")
    };
    let mut lines: Vec<String> = ending.iter().take(SHOWN).map(line).collect();
    match ending.len().saturating_sub(SHOWN) {
        0 => {}
        more => lines.push(format!("let in for a time only: {more} more sessions")),
    }
    lines
}

/// All that is trusted, for ever or for a time, at every port or at one.
fn trusted_by(policy: &Policy) -> Vec<IpNetwork> {
    let for_a_time = policy.exceptions.iter().filter_map(|it| match it {
        Exception {
            subject: Subject::Prefix(prefix),
            gets: Gets::Trust,
            ..
        } => Some(*prefix),
        _ => None,
    });
    policy.trusted.iter().copied().chain(for_a_time).collect()
}

/// The decision once `bans` are in force, too.
fn with_bans(decision: Decision, bans: &[IpNetwork], peer: IpAddr) -> Decision {
    let can_be_banned = !matches!(
        decision.reason,
        Reason::Essential | Reason::OutOfScope | Reason::Trusted | Reason::TableEmpty
    );
    match can_be_banned && bans.iter().any(|ban| ban.contains(peer)) {
        true => Decision::new(Reason::Banned, decision.class),
        false => decision,
    }
}

/// A line for each.
fn listed(cut_off: &[CutOff], before: &str) -> Vec<String> {
    let mut lines: Vec<String> = cut_off
        .iter()
        .take(SHOWN)
        .map(|it| format!("{before}{it}"))
        .collect();
    match cut_off.len().saturating_sub(SHOWN) {
        0 => {}
        more => lines.push(format!("{before}{more} more sessions")),
    }
    lines
}

/// In two lines what is too long for one.
fn on_the_screen(line: &str) -> String {
    const COLUMNS: usize = 80;
    match line.chars().count() > COLUMNS {
        true => line.replacen("), ", "),\n    ", 1),
        false => line.to_owned(),
    }
}

fn refusal(what: &str, cut_off: &[CutOff]) -> Refusal {
    let own = cut_off.iter().any(|it| it.session.what == Kind::Own);
    let others = cut_off.len() - usize::from(own);
    let whom = match (own, others) {
        (true, 0) => "your SSH session".to_owned(),
        (true, 1) => "your SSH session and another one".to_owned(),
        (true, others) => format!("your SSH session and {others} others"),
        (false, 1) => "a session".to_owned(),
        (false, others) => format!("{others} sessions"),
    };
    let peers: BTreeSet<IpAddr> = cut_off.iter().map(|it| it.session.peer).collect();
    let trust = peers
        .iter()
        .take(SHOWN)
        .enumerate()
        .map(|(index, peer)| match index {
            0 => format!("let in:   cerco trust {peer}"),
            _ => format!("          cerco trust {peer}"),
        });
    let way_out = [
        "or repeat it with --force; the way out, from the console:".to_owned(),
        "          cerco detach --force".to_owned(),
    ];
    Refusal {
        kind: RefusalKind::Failed,
        message: format!(
            "{what} would lock out {whom}:\n{}",
            listed(cut_off, "  ")
                .iter()
                .map(|line| on_the_screen(line))
                .collect::<Vec<_>>()
                .join("\n")
        ),
        hint: Some(trust.chain(way_out).collect::<Vec<_>>().join("\n")),
    }
}

/// The class for which `compiled` would deny the far end of a TCP connection to a local port; `None`
/// when it would not.
pub fn denied_class(
    policy: &Policy,
    compiled: &CompiledPolicy,
    (address, port): (IpAddr, u16),
) -> Option<String> {
    let packet = kernel::packet(address, address, Service::Tcp(port));
    let (class, action) = compiled
        .class_and_action(&packet, kernel::boot_ns())
        .unwrap_or((Class::UNKNOWN, action::DENY));
    let is_denied = policy.scope.holds_tcp(port) && action == action::DENY;
    is_denied.then(|| compiled.class_name(class))
}

#[cfg(test)]
mod tests;

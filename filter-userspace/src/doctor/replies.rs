//! Answers to this host's own connections: do the programs stand that know them?

use super::{commands::Commands, finding::Finding, interface::program_words};
use crate::{
    control::reply::RepliesStatus,
    kernel::{Direction, Link, StandingTracker, TcProgram, tracker_name},
};

/// What is known of the trackers of the whole host.
pub enum Trackers<'a> {
    /// Their pinned links.
    Pinned(&'a [StandingTracker]),
    /// This user may not look at the pins; what the daemon says, if it may be asked.
    Unseen(Option<&'a RepliesStatus>),
}

/// What hangs on one way of an interface, where a tracker should.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tracker {
    Stands,
    Missing,
    /// Another program is on its link.
    Other(String, u32),
}

/// What is known of the trackers of one interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tracking {
    /// On the way in, and on the way out.
    Seen([Tracker; 2]),
    /// The daemon says that they stand.
    Told,
    /// The daemon says why they do not.
    Fault(String),
    /// This user may not know.
    Unseen,
}

/// Both ways of an interface.
const WAYS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// Takes the gate's own trackers out of `programs`, all that traffic control runs on `link`, and says which of
/// them stand. `knows_tcx`: `None` when this user may not ask.
///
/// A pinned link tells its program; a name alone counts only where no link can be had, before Linux 6.6.
pub fn take_own(
    link: &Link,
    trackers: &Trackers<'_>,
    knows_tcx: Option<bool>,
    programs: &mut Vec<TcProgram>,
) -> Tracking {
    let is_own_filter = |it: &TcProgram| {
        knows_tcx != Some(true) && !it.is_tcx && it.name == tracker_name(it.direction)
    };
    let pinned = match trackers {
        Trackers::Pinned(pinned) => pinned,
        Trackers::Unseen(told) => {
            programs.retain(|it| !is_own_filter(it));
            let fault = |told: &RepliesStatus| {
                let mut faults = told.faults.iter();
                faults.find(|it| it.interface == link.name).cloned()
            };
            return match told {
                None => Tracking::Unseen,
                Some(told) => {
                    fault(told).map_or(Tracking::Told, |fault| Tracking::Fault(fault.reason))
                }
            };
        }
    };
    Tracking::Seen(WAYS.map(|way| {
        let holds = |it: &&StandingTracker| it.direction == way && it.ifindex == Some(link.index);
        // Two, while another build takes over.
        let pinned = pinned.iter().filter(holds);
        let ids: Vec<u32> = pinned.filter_map(|it| it.program).collect();
        let is_here = |it: &TcProgram| {
            it.direction == way
                && match ids.is_empty() {
                    true => is_own_filter(it),
                    false => it.is_tcx && it.id.is_some_and(|id| ids.contains(&id)),
                }
        };
        let Some(place) = programs.iter().position(is_here) else {
            return Tracker::Missing;
        };
        let found = programs.remove(place);
        if !ids.is_empty() {
            programs.retain(|it| !is_here(it));
        }
        match found.id {
            Some(id) if found.name != tracker_name(way) => Tracker::Other(found.name, id),
            _ => Tracker::Stands,
        }
    }))
}

pub struct Replies {
    /// As the config says; `None`: it cannot be used.
    pub config_enabled: Option<bool>,
    /// As the daemon was started.
    pub daemon_enabled: Option<bool>,
    /// The interfaces that the gate stands on.
    pub interfaces: Vec<(String, Tracking)>,
}

impl Replies {
    const CHECK: &str = "replies";

    pub fn judge(&self, commands: &Commands) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let (Some(config), Some(daemon)) = (self.config_enabled, self.daemon_enabled)
            && config != daemon
        {
            let words = format!(
                "The config says [replies] enabled = {config}, the daemon was started with {daemon}."
            );
            findings
                .push(Finding::warning("config_in_force", words).mend("systemctl restart cerco"));
        }
        let enabled = self.daemon_enabled.or(self.config_enabled);
        match enabled {
            Some(false) => findings.push(
                Finding::note(
                    Self::CHECK,
                    "Answers to this host's own connections are denied like everything else: \
                     [replies] enabled = false.",
                )
                .mend(commands.edit_and_restart("[replies] enabled = true, if it is not meant")),
            ),
            _ => findings.extend(
                self.interfaces
                    .iter()
                    .filter_map(|(name, tracking)| Some(finding(name, tracking)?.on(name))),
            ),
        }
        findings
    }
}

/// `None`: this user cannot know, as is said elsewhere.
fn finding(name: &str, tracking: &Tracking) -> Option<Finding> {
    let fault = |why: String| {
        let words =
            format!("Answers to this host's own connections may be denied on {name}: {why}.");
        Finding::warning(Replies::CHECK, words).mend("systemctl restart cerco")
    };
    let trackers = match tracking {
        Tracking::Unseen => return None,
        Tracking::Fault(reason) => return Some(fault(reason.clone())),
        Tracking::Told => &[Tracker::Stands, Tracker::Stands],
        Tracking::Seen(trackers) => trackers,
    };
    let faults: Vec<String> = WAYS
        .into_iter()
        .zip(trackers)
        .filter_map(|(way, tracker)| match tracker {
            Tracker::Stands => None,
            Tracker::Missing => Some(format!("`{}` is missing there", tracker_name(way))),
            Tracker::Other(other, id) => Some(format!(
                "{} is in the place of `{}`",
                program_words(other, Some(*id)).replacen("The", "the", 1),
                tracker_name(way)
            )),
        })
        .collect();
    Some(match faults.is_empty() {
        true => Finding::ok(
            Replies::CHECK,
            format!("Answers to this host's own connections are let in on {name}."),
        ),
        false => fault(faults.join(", ")),
    })
}

#[cfg(test)]
mod tests;

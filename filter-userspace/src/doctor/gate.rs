//! The gate against the config: does it stand where it should, and does it do what is written?

use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::{commands::Commands, finding::Finding, interface::program_words};
use crate::{
    control::{
        client::ClientError,
        protocol::ModeWord,
        reply::{ReplyFault, Status},
    },
    daemon::age,
    kernel::{Link, StandingLink, TRACKER_TAKEN_OFF},
};

/// After a fortnight of watching, whoever comes has come.
const LONG_OBSERVED: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// What stands on an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    Native,
    Generic,
    Nothing,
    Other(OtherProgram),
    /// A program of this number stands there, and this user may not see whose it is.
    Unseen(u32),
}

/// An XDP program that is not the gate's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OtherProgram {
    pub id: u32,
    pub name: String,
    pub is_generic: bool,
    /// The BPF link that holds it; `None`: attached by netlink, as `ip link` does it.
    pub bpf_link: Option<u32>,
    /// Number and name of a process that has it open.
    pub holder: Option<(u32, String)>,
}

/// Programs of the whole host, by their numbers.
pub struct Programs {
    pub names: HashMap<u32, String>,
    /// The number of the link by which a program is on an interface.
    pub link: fn(u32, u32) -> Option<u32>,
    /// Looks for a process that has a program open.
    pub holder: fn(u32) -> Option<(u32, String)>,
}

/// `pinned`: `None` when this user may not look at the pins.
pub fn standing(
    name: &str,
    link: &Link,
    pinned: Option<&[StandingLink]>,
    daemon: Option<&Status>,
    programs: &Programs,
) -> Standing {
    let (id, is_generic) = match (link.xdp.native, link.xdp.generic, link.xdp.offloaded) {
        (Some(id), ..) => (id, false),
        (None, Some(id), _) => (id, true),
        (None, None, Some(id)) => (id, false),
        (None, None, None) => return Standing::Nothing,
    };
    let own = match is_generic {
        true => Standing::Generic,
        false => Standing::Native,
    };
    let Some(pinned) = pinned else {
        // The daemon looks at its links when it is asked, and warns of those that it has lost.
        let is_named = |status: &Status| {
            let lost = format!("no gate stands on {name} ");
            status.interfaces.iter().any(|it| it.interface == name)
                && !status.warnings.iter().any(|it| it.starts_with(&lost))
        };
        return match daemon.is_some_and(is_named) {
            true => own,
            false => Standing::Unseen(id),
        };
    };
    let is_own = |it: &StandingLink| it.ifindex == Some(link.index) && it.program == Some(id);
    match pinned.iter().any(is_own) {
        true => own,
        false => Standing::Other(OtherProgram {
            id,
            name: programs.names.get(&id).cloned().unwrap_or_default(),
            is_generic,
            bpf_link: (programs.link)(id, link.index),
            holder: (programs.holder)(id),
        }),
    }
}

/// What came of asking the daemon.
pub enum Daemon {
    Answers(Box<Status>),
    Silent,
    NotPermitted,
    /// It answered what this version does not understand, or not in time.
    Confused(String),
}

impl Daemon {
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Answers(status) => Some(status),
            _ => None,
        }
    }
}

impl From<Result<Status, ClientError>> for Daemon {
    fn from(answer: Result<Status, ClientError>) -> Self {
        match answer {
            Ok(status) => Self::Answers(Box::new(status)),
            Err(ClientError::NoDaemon { .. }) => Self::Silent,
            Err(ClientError::NotPermitted { .. }) => Self::NotPermitted,
            Err(other) => Self::Confused(other.to_string()),
        }
    }
}

/// Why the pins were not looked at.
pub enum PinsFault {
    /// This user may not.
    NotPermitted,
    /// It may, and could not; with the directory.
    Unreadable(PathBuf, String),
}

impl PinsFault {
    fn judge(&self, commands: &Commands) -> Finding {
        const CHECK: &str = "pins";
        match self {
            Self::NotPermitted => Finding::unknown(
                CHECK,
                "What stands in the kernel was not looked at: only root may see the pins.",
            )
            .mend(commands.as_root()),
            Self::Unreadable(pins, fault) => Finding::fault(
                CHECK,
                format!("The pins cannot be used, by this command and the next start: {fault}."),
            )
            .mend(format!("ls -ld {}", pins.display())),
        }
    }
}

/// How what runs was compared with the config.
pub enum Compared {
    /// What is different; nothing when it is empty.
    With(Vec<&'static str>),
    /// Why it could not be compared; with what mends that.
    Not(String, String),
    /// There is nothing to compare, as is said elsewhere.
    Nothing,
}

impl Compared {
    pub fn is_same(&self) -> bool {
        matches!(self, Self::With(differences) if differences.is_empty())
    }
}

pub struct Gate {
    pub pins_fault: Option<PinsFault>,
    /// The interfaces of the config; `None`: there is none of that name.
    pub interfaces: Vec<(String, Option<Standing>)>,
    /// How those warnings of the daemon begin of which other findings tell.
    pub told_elsewhere: Vec<String>,
    /// Where the gate stands and the config does not name it.
    pub unnamed: Vec<String>,
    pub daemon: Daemon,
    /// The mode in the kernel, where a gate stands and this user may see it.
    pub mode: Option<ModeWord>,
    pub config_mode: Option<ModeWord>,
    /// When the config or the runtime's own file was changed last.
    pub mode_set_before: Option<SystemTime>,
    pub compared: Compared,
    pub now: SystemTime,
}

impl Gate {
    pub fn judge(&self, commands: &Commands) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .interfaces
            .iter()
            .map(|(name, standing)| stands(name, standing.as_ref(), commands).on(name))
            .collect();
        findings.extend(self.unnamed.iter().map(|it| unnamed(it).on(it)));
        findings.extend(self.pins_fault.as_ref().map(|it| it.judge(commands)));
        findings.extend(self.daemon(commands));
        findings.extend(self.mode(commands));
        findings.extend(self.reality(commands));
        findings
    }

    fn daemon(&self, commands: &Commands) -> Vec<Finding> {
        const CHECK: &str = "daemon";
        let status = match &self.daemon {
            Daemon::Answers(status) => status,
            Daemon::Silent => {
                return vec![
                    Finding::warning(
                        CHECK,
                        "No daemon answers: a gate that stands filters on, and rules and bans end in \
                         time, but nothing can be changed.",
                    )
                    .mend("systemctl start cerco"),
                ];
            }
            Daemon::NotPermitted => {
                return vec![
                    Finding::unknown(
                        CHECK,
                        "Only root and the group `cerco` may ask the daemon whether it runs.",
                    )
                    .mend(commands.as_root()),
                ];
            }
            Daemon::Confused(fault) => {
                return vec![
                    Finding::warning(CHECK, format!("The daemon cannot be asked: {fault}."))
                        .mend("systemctl restart cerco"),
                ];
            }
        };
        let mut findings = vec![Finding::ok(CHECK, "The daemon answers.")];
        let own = env!("CARGO_PKG_VERSION");
        if status.version != own {
            let words = format!(
                "The daemon is of version {}, this command of {own}.",
                status.version
            );
            findings.push(Finding::warning("version", words).mend("systemctl restart cerco"));
        }
        if let Some(error) = &status.last_reload_error {
            let first = error.lines().next().unwrap_or_default();
            let words = format!("The last reload was refused, the earlier policy runs: {first}.");
            findings.push(Finding::warning("reload", words).mend(commands.check_and_reload()));
        }
        let told_elsewhere = status.database.as_ref().and_then(|it| it.warning.as_ref());
        let replies = status.replies.as_ref();
        let taken_off: Vec<String> = replies
            .iter()
            .flat_map(|it| &it.faults)
            .filter(|it| it.reason == TRACKER_TAKEN_OFF)
            .map(ReplyFault::warning)
            .collect();
        let said = status.warnings.iter().filter(|it| {
            Some(*it) != told_elsewhere
                && !it.starts_with("no gate stands on ")
                && !taken_off.contains(it)
                && !self
                    .told_elsewhere
                    .iter()
                    .any(|begin| it.starts_with(begin))
        });
        findings.extend(said.map(|warning| {
            Finding::warning("daemon_warning", format!("The daemon warns: {warning}."))
                .mend(commands.cerco("status"))
        }));
        findings
    }

    fn mode(&self, commands: &Commands) -> Option<Finding> {
        const CHECK: &str = "mode";
        let mode = self.mode?;
        let finding = match mode {
            ModeWord::Enforce => Finding::ok(CHECK, "What the policy denies is dropped."),
            ModeWord::Observe => {
                let unchanged = self
                    .mode_set_before
                    .and_then(|time| self.now.duration_since(time).ok())
                    .filter(|unchanged| *unchanged >= LONG_OBSERVED);
                match unchanged {
                    Some(unchanged) => Finding::warning(
                        CHECK,
                        format!(
                            "The gate has only observed for {} days and more: nothing is dropped.",
                            unchanged.as_secs() / DAY_SECONDS
                        ),
                    ),
                    None => Finding::note(CHECK, "The gate only observes: nothing is dropped."),
                }
                .mend(commands.cerco("enforce"))
            }
        };
        Some(finding)
    }

    fn reality(&self, commands: &Commands) -> Vec<Finding> {
        const CHECK: &str = "config_in_force";
        let mut findings = Vec::new();
        if let (Some(mode), Some(config_mode)) = (self.mode, self.config_mode)
            && mode != config_mode
        {
            findings.push(
                Finding::note(
                    CHECK,
                    format!(
                        "The gate is in mode {}, set at runtime; the config says {}.",
                        mode.word(),
                        config_mode.word()
                    ),
                )
                .mend(commands.cerco(config_mode.word())),
            );
        }
        match &self.compared {
            Compared::With(differences) if differences.is_empty() => {
                findings.push(Finding::ok(CHECK, "What is in the config is in force."));
            }
            Compared::With(differences) => findings.push(
                Finding::warning(
                    CHECK,
                    format!(
                        "What runs is not what config and database say now; different are: {}.",
                        differences.join(", ")
                    ),
                )
                .mend(match self.daemon {
                    Daemon::Silent => {
                        format!("{} && systemctl restart cerco", commands.cerco("check"))
                    }
                    _ => commands.check_and_reload(),
                }),
            ),
            Compared::Not(why, mend) => findings.push(
                Finding::unknown(
                    CHECK,
                    format!("Whether the config is in force was not looked at: {why}."),
                )
                .mend(mend.as_str()),
            ),
            Compared::Nothing => {}
        }
        findings
    }
}

fn stands(name: &str, standing: Option<&Standing>, commands: &Commands) -> Finding {
    const CHECK: &str = "gate";
    let Some(standing) = standing else {
        return Finding::fault(
            CHECK,
            format!("{name} is in the config, and no interface has that name."),
        )
        .mend("ip -brief link");
    };
    match standing {
        Standing::Native => Finding::ok(CHECK, format!("The gate stands on {name} (native).")),
        Standing::Generic => Finding::ok(CHECK, format!("The gate stands on {name} (generic).")),
        Standing::Nothing => Finding::fault(
            CHECK,
            format!("No gate stands on {name}: every packet passes there."),
        )
        .mend("systemctl restart cerco"),
        Standing::Other(other) => {
            let program = program_words(&other.name, Some(other.id));
            let mode = match other.is_generic {
                true => "generic",
                false => "native",
            };
            let holder = other.holder.as_ref().map_or(String::new(), |(pid, name)| {
                format!(", held by process {pid} ({name})")
            });
            let words = format!(
                "{program} stands on {name} in {mode} mode{holder}, where the gate should: every \
                 packet passes the gate by."
            );
            Finding::fault("other_xdp_program", words).mend(take_off(name, other))
        }
        Standing::Unseen(id) => Finding::unknown(
            CHECK,
            format!(
                "The XDP program number {id} stands on {name}; root can see whether it is the gate."
            ),
        )
        .mend(commands.as_root()),
    }
}

fn take_off(interface: &str, other: &OtherProgram) -> String {
    match (other.bpf_link, other.is_generic) {
        (Some(link), _) => format!("bpftool link detach id {link} && systemctl restart cerco"),
        (None, true) => {
            format!("ip link set dev {interface} xdpgeneric off && systemctl restart cerco")
        }
        (None, false) => {
            format!("ip link set dev {interface} xdpdrv off && systemctl restart cerco")
        }
    }
}

fn unnamed(name: &str) -> Finding {
    Finding::warning(
        "gate",
        format!("The gate stands on {name}, which the config does not name."),
    )
    .mend("systemctl restart cerco")
}

/// For the clock: nothing of the gate can be of later than now.
pub fn published(daemon: &Daemon) -> Option<(String, SystemTime)> {
    let time = daemon.status()?.published?;
    Some((format!("the policy published on {}", age::date(time)), time))
}

#[cfg(test)]
mod tests;

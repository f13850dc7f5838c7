//! What is wrong with this host, its config and its gate, and what mends it.
//!
//! One file a subject. Each looks first (`gather`) and then judges, which is a function from what was
//! seen to findings and touches nothing. Nothing here changes anything.

mod clock;
mod commands;
mod database;
mod files;
mod finding;
mod gate;
mod host;
mod intended;
mod interface;
mod lockout;
mod pin_place;
mod reality;
mod replies;

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    thread,
    time::SystemTime,
};

pub use self::finding::{Counts, Finding, Report, Severity};
use self::{
    clock::Clock,
    commands::Commands,
    files::Files,
    gate::{Compared, Daemon, Gate, PinsFault, Programs, Standing},
    host::Host,
    intended::Intended,
    interface::{Described, Interface},
    pin_place::PinPlace,
    replies::{Replies, Trackers},
};
use crate::{
    config::{self, Config, Interfaces, Paths},
    control::{
        client,
        protocol::{ModeWord, Request},
        reply::Status,
    },
    kernel::{self, AttachPreference, Link, Pinned, StandingLink, StandingTracker},
};

/// Of whom and what is asked.
pub struct Question {
    /// `--config`.
    pub config_file: Option<PathBuf>,
    pub paths: Paths,
    /// Far end and local port of the SSH session in which the question is asked.
    pub ssh_session: Option<(IpAddr, u16)>,
}

/// Looks at everything.
pub fn examine(question: &Question) -> Report {
    let paths = &question.paths;
    let config_file = question.config_file.as_deref();
    let commands = &Commands::new(config_file);
    let now = SystemTime::now();
    let (config, config_report) = match config::load(config_file) {
        Ok((config, report)) => (Some(config), report),
        Err(report) => (None, report),
    };
    let config = config.as_ref();
    let daemon = Daemon::from(ask(&paths.socket, Request::Status));
    let status = daemon.status();
    let host = Host::gather(status.and_then(|status| status.pid));
    let pins = kernel::standing_links(&paths.pins);
    let pinned = pins.as_deref().ok();

    let mut findings = host.judge(commands);
    findings.extend(PinPlace::gather(&paths.pins).judge(commands));
    findings.extend(Files::gather(config_file, &config_report, &paths.state).judge(commands));
    let (mut names, said) = interfaces_of(config, status, pinned);
    findings.extend(said);
    let links = kernel::links().unwrap_or_else(|error| {
        findings.push(unlisted(&error));
        // Of none of them it is known whether it exists.
        names.clear();
        Vec::new()
    });
    let trackers = kernel::standing_trackers(&paths.pins);
    let trackers = trackers.as_deref().ok();
    let wanted = names.clone();
    let mut told_elsewhere = Vec::new();
    for twice in kernel::named_twice(&wanted, &links) {
        let what = format!("interfaces without {}", twice.name);
        let finding = Finding::warning("interfaces", format!("{twice}."));
        findings.push(finding.mend(commands.edit_and_restart(&what)));
        told_elsewhere.push(twice.to_string());
        names.retain(|it| *it != twice.name);
    }
    let interfaces = look_at_interfaces(&names, &links, pinned, trackers, status, config);
    let renamed = interfaces.iter().filter(|it| it.is_renamed());
    told_elsewhere.extend(renamed.map(|it| format!("{} is called ", it.name)));
    let stands = interfaces.iter().any(stands);
    let intended = Intended::read(config, &paths.state);
    findings.extend(intended.judge(config, commands, now));
    let gate = Gate {
        interfaces: names
            .iter()
            .map(|name| {
                let standing = interfaces.iter().find(|it| it.name == *name);
                (name.clone(), standing.map(|it| it.standing.clone()))
            })
            .collect(),
        told_elsewhere,
        unnamed: unnamed(&wanted, pinned, config),
        mode: mode_in_force(status, pinned, paths),
        config_mode: config.map(|config| config.mode.into()),
        mode_set_before: mode_set_before(config_file, &paths.state),
        compared: match &intended.compiled {
            Some((_, written)) if stands => {
                reality::compare(&paths.pins, host.is_root, written, commands)
            }
            _ => Compared::Nothing,
        },
        pins_fault: pins.as_ref().err().map(|error| match host.is_root {
            true => PinsFault::Unreadable(paths.pins.clone(), error.to_string()),
            // What a user may not see is no fault of the pins.
            false => PinsFault::NotPermitted,
        }),
        daemon,
        now,
    };
    findings.extend(gate.judge(commands));
    let replies = Replies {
        config_enabled: config.map(|config| config.replies.enabled),
        daemon_enabled: gate
            .daemon
            .status()
            .and_then(|status| status.replies.as_ref())
            .map(|it| it.enabled),
        interfaces: interfaces
            .iter()
            .filter(|it| self::stands(it))
            .map(|it| (it.link.name.clone(), it.tracking.clone()))
            .collect(),
    };
    findings.extend(replies.judge(commands));
    findings.extend(interfaces.iter().flat_map(|it| it.judge(commands)));
    let clock = Clock {
        now,
        is_synchronised: clock::is_synchronised(),
        dated: dated(&intended, &gate.daemon, config_file),
    };
    findings.extend(clock.judge());
    let named = interfaces.iter().map(|it| it.link.index);
    let standing = pinned.unwrap_or_default().iter();
    let guarded: Vec<u32> = named.chain(standing.filter_map(|it| it.ifindex)).collect();
    let mut risks = lockout::gather(
        &links,
        &guarded,
        question.ssh_session,
        &paths.socket,
        &intended,
    );
    // Without a daemon nobody can be asked; but a gate that is as written says what is written.
    if gate.daemon.status().is_none() && gate.compared.is_same() {
        for risk in &mut risks {
            risk.runs = risk.written.clone();
        }
    }
    let would_be = gate.config_mode.filter(|_| !stands);
    findings.extend(lockout::judge(&risks, gate.mode.or(would_be), commands));
    Report::new(findings)
}

/// Whom `config` would lock out of SSH on `interfaces`, once it is in force: a line for each session.
pub fn locked_out(
    config: &Config,
    interfaces: &[String],
    config_file: Option<&Path>,
    ssh_session: Option<(IpAddr, u16)>,
) -> Vec<String> {
    let links = kernel::links().unwrap_or_default();
    let guarded: Vec<u32> = kernel::numbers_of(&links, interfaces).collect();
    let intended = Intended::read(Some(config), &config.paths.state);
    let socket = &config.paths.socket;
    let risks = lockout::gather(&links, &guarded, ssh_session, socket, &intended);
    let findings = lockout::judge(
        &risks,
        Some(config.mode.into()),
        &Commands::new(config_file),
    );
    findings
        .into_iter()
        .filter(|it| it.severity >= Severity::Warning)
        .map(|it| {
            let mend = it.command.unwrap_or_default();
            format!("{} `{mend}` keeps it", it.sentence)
        })
        .collect()
}

fn unlisted(error: &io::Error) -> Finding {
    let words = format!("The kernel does not list the interfaces: {error}.");
    Finding::unknown("interfaces", words).mend("ip -brief link")
}

fn ask<R: serde::de::DeserializeOwned>(
    socket: &Path,
    request: Request,
) -> Result<R, client::ClientError> {
    let reply = client::ask(socket, request, None)?;
    serde_json::from_value(reply).map_err(|source| client::ClientError::Parse { source })
}

/// The interfaces of the config; of a config that cannot be used, those that the gate stands on.
fn interfaces_of(
    config: Option<&Config>,
    status: Option<&Status>,
    pinned: Option<&[StandingLink]>,
) -> (Vec<String>, Option<Finding>) {
    let Some(config) = config else {
        let of_daemon = status.map(|it| it.interfaces.iter().map(|it| it.interface.clone()));
        let of_pins = || pinned.map(|it| it.iter().map(|it| it.interface.clone()).collect());
        let standing = of_daemon.map(Iterator::collect).or_else(of_pins);
        return (standing.unwrap_or_default(), None);
    };
    const CHECK: &str = "interfaces";
    let is_auto = config.interfaces == Interfaces::Auto;
    match config.interfaces.resolve() {
        Ok(names) => {
            let words = "The interfaces are those with a default route (interfaces = \"auto\").";
            (names, is_auto.then(|| Finding::ok(CHECK, words)))
        }
        Err(error) => {
            let fault = Finding::fault(CHECK, format!("{error}.")).mend("ip route");
            (Vec::new(), Some(fault))
        }
    }
}

fn look_at_interfaces(
    names: &[String],
    links: &[Link],
    pinned: Option<&[StandingLink]>,
    trackers: Option<&[StandingTracker]>,
    status: Option<&Status>,
    config: Option<&Config>,
) -> Vec<Interface> {
    let programs = Programs {
        names: kernel::program_names().unwrap_or_default(),
        link: kernel::link_number,
        holder: kernel::program_holder,
    };
    let attach = config.map_or(AttachPreference::Auto, |config| config.attach);
    let cpus = thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let named = names
        .iter()
        .filter_map(|name| Some((name, link_of(name, links, pinned)?)));
    named
        .map(|(name, link)| {
            let trackers = match trackers {
                Some(pinned) => Trackers::Pinned(pinned),
                None => Trackers::Unseen(status.and_then(|status| status.replies.as_ref())),
            };
            let described = Described::gather(link, &trackers);
            let master = link
                .master
                .and_then(|master| links.iter().find(|it| it.index == master))
                .map(|it| (it.name.clone(), it.kind.clone().unwrap_or_default()));
            let told = status.and_then(|status| {
                let mut interfaces = status.interfaces.iter();
                interfaces.find(|it| it.interface == *name)
            });
            Interface {
                name: name.clone(),
                master,
                driver: described.driver,
                xdp: described.xdp,
                features: described.features,
                channels: described.channels,
                cpus,
                tc_programs: described.tc_programs,
                tcx_fault: described.tcx_fault,
                tracking: described.tracking,
                standing: gate::standing(name, link, pinned, status, &programs),
                attach,
                fallback_reason: told.and_then(|it| it.fallback_reason.clone()),
                link: link.clone(),
            }
        })
        .collect()
}

/// The interface that bears `name`, or else the one that the gate went along with when it was renamed.
fn link_of<'a>(name: &str, links: &'a [Link], pinned: Option<&[StandingLink]>) -> Option<&'a Link> {
    let bearer = links.iter().find(|link| link.bears(name));
    bearer.or_else(|| {
        let mut pinned = pinned?.iter();
        let ifindex = pinned.find(|it| it.interface == name)?.ifindex?;
        links.iter().find(|link| link.index == ifindex)
    })
}

fn stands(interface: &Interface) -> bool {
    matches!(interface.standing, Standing::Native | Standing::Generic)
}

/// Where the gate stands and should not; a config that cannot be used names nothing.
fn unnamed(
    names: &[String],
    pinned: Option<&[StandingLink]>,
    config: Option<&Config>,
) -> Vec<String> {
    let standing = pinned.filter(|_| config.is_some()).unwrap_or_default();
    standing
        .iter()
        .filter(|it| it.ifindex.is_some() && !names.contains(&it.interface))
        .map(|it| it.interface.clone())
        .collect()
}

fn mode_in_force(
    status: Option<&Status>,
    pinned: Option<&[StandingLink]>,
    paths: &Paths,
) -> Option<ModeWord> {
    if let Some(status) = status {
        return Some(status.mode);
    }
    if pinned?.is_empty() {
        return None;
    }
    let pinned = Pinned::open(&paths.pins).ok()??;
    Some(pinned.mode().into())
}

/// The mode changes by the config and by `runtime.json` only, so it is at least as old as both.
fn mode_set_before(config_file: Option<&Path>, state: &Path) -> Option<SystemTime> {
    let mut files = config::files(config_file);
    files.push(state.join("runtime.json"));
    let changed = |path: &PathBuf| fs::metadata(path).ok()?.modified().ok();
    files.iter().filter_map(changed).max()
}

/// Things that cannot be of later than now.
fn dated(
    intended: &Intended,
    daemon: &Daemon,
    config_file: Option<&Path>,
) -> Vec<(String, SystemTime)> {
    let mut dated: Vec<(String, SystemTime)> = gate::published(daemon).into_iter().collect();
    if let Some(Ok(read)) = &intended.read
        && let Some(time) = read.built.or(read.changed)
    {
        dated.push(("the database".to_owned(), time));
    }
    for file in config::files(config_file) {
        if let Ok(time) = fs::metadata(&file).and_then(|metadata| metadata.modified()) {
            dated.push((file.display().to_string(), time));
        }
    }
    dated
}

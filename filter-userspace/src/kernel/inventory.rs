//! What stands on an interface, of this gate and of others: read only, for `cerco doctor`.

use std::{collections::HashMap, fs, path::Path};

use aya::programs::{
    ProgramError, SchedClassifier, loaded_links, loaded_programs, tc::TcAttachType,
};

use super::{
    AttachMode, KernelError, bpf, bpffs,
    links::{Direction, TcProgram},
    pins::{self, PinPaths},
};

/// A pinned link of this gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandingLink {
    pub interface: String,
    pub mode: AttachMode,
    /// The interface that the link holds; `None` when it went away.
    pub ifindex: Option<u32>,
    /// The program on it.
    pub program: Option<u32>,
}

/// The links pinned under `pins`; none when there is no such directory. Needs the rights of their owner.
pub fn standing_links(pins: &Path) -> Result<Vec<StandingLink>, KernelError> {
    if !pins
        .try_exists()
        .map_err(KernelError::pin("inspect", pins))?
    {
        return Ok(Vec::new());
    }
    bpffs::check_owner(pins)?;
    let mut links = Vec::new();
    for (interface, path) in PinPaths::new(pins.to_path_buf()).links()? {
        links.push(StandingLink {
            interface,
            mode: pins::mode_of_link(&path),
            ifindex: pins::link_ifindex(&path)?,
            program: pins::link_program(&path)?,
        });
    }
    links.sort_by(|a, b| a.interface.cmp(&b.interface));
    Ok(links)
}

/// A pinned link of one of the programs behind the gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandingTracker {
    pub interface: String,
    pub direction: Direction,
    /// The interface that the link holds; `None` when it went away, or the link was detached.
    pub ifindex: Option<u32>,
    /// The program on it.
    pub program: Option<u32>,
}

/// The links of the programs behind the gate, pinned under `pins`; none when there is no such directory, and
/// on kernels without TCX. Needs the rights of their owner.
pub fn standing_trackers(pins: &Path) -> Result<Vec<StandingTracker>, KernelError> {
    if !pins
        .try_exists()
        .map_err(KernelError::pin("inspect", pins))?
    {
        return Ok(Vec::new());
    }
    bpffs::check_owner(pins)?;
    let mut trackers = Vec::new();
    for (interface, path) in PinPaths::new(pins.to_path_buf()).trackers()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_in = name.trim_start_matches(pins::NEXT).starts_with("in-");
        trackers.push(StandingTracker {
            interface,
            direction: match is_in {
                true => Direction::Ingress,
                false => Direction::Egress,
            },
            ifindex: pins::link_ifindex(&path)?,
            program: pins::link_program(&path)?,
        });
    }
    Ok(trackers)
}

/// The names of all loaded programs, by number. Needs root.
pub fn program_names() -> Result<HashMap<u32, String>, KernelError> {
    loaded_programs()
        // One that is unloaded in this moment is of no interest any more.
        .filter(|program| !program.as_ref().is_err_and(is_gone))
        .map(|program| {
            let program = program.map_err(|source| KernelError::ProgramInfo { source })?;
            let name = program.name_as_str().unwrap_or_default();
            Ok((program.id(), name.to_owned()))
        })
        .collect()
}

/// The number of the BPF link by which a program is on an interface; `None`: it was attached by netlink, as
/// `ip link set … xdp` does it. One program may be on many interfaces, each by a link of its own. Needs root.
pub fn link_number(program: u32, ifindex: u32) -> Option<u32> {
    let mut links = loaded_links()
        .filter_map(Result::ok)
        .filter(|link| link.program_id() == program)
        .map(|link| link.id());
    links.find(|id| {
        let held = bpf::link_by_id(*id).ok().map(|it| pins::ifindex_of(&it));
        matches!(held, Some(Ok(Some(held))) if held == ifindex)
    })
}

/// Number and name of a process that has a program open, itself or by a link. Sees all of them as root.
pub fn program_holder(id: u32) -> Option<(u32, String)> {
    let needle = format!("prog_id:\t{id}\n");
    let holds = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).ok()?;
        let mut texts = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
        texts.any(|text| text.contains(&needle)).then_some(())
    };
    let processes = fs::read_dir("/proc").ok()?;
    let pid = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|pid| holds(pid).is_some())?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some((pid, name.trim().to_owned()))
}

/// The programs of TCX (since Linux 6.6) on both ways of an interface; `None` when the kernel does not know
/// it. Needs root.
pub fn tcx_programs(interface: &str) -> Result<Option<Vec<TcProgram>>, KernelError> {
    let mut programs = Vec::new();
    for (direction, attach_type) in [
        (Direction::Ingress, TcAttachType::Ingress),
        (Direction::Egress, TcAttachType::Egress),
    ] {
        let found = match SchedClassifier::query_tcx(interface, attach_type) {
            Ok((_, found)) => found,
            // The kernel does not know this kind yet.
            Err(error) if errno(&error) == Some(libc::EINVAL) => return Ok(None),
            Err(source) => return Err(KernelError::ProgramInfo { source }),
        };
        programs.extend(found.into_iter().map(|program| TcProgram {
            direction,
            name: program.name_as_str().unwrap_or_default().to_owned(),
            id: Some(program.id()),
            is_tcx: true,
        }));
    }
    Ok(Some(programs))
}

fn is_gone(error: &ProgramError) -> bool {
    errno(error) == Some(libc::ENOENT)
}

fn errno(error: &ProgramError) -> Option<i32> {
    let error: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<std::io::Error>()?.raw_os_error())
}

//! A start that was killed between its first link and its end is finished here, by the next one.
//!
//! Until then some links may have its program and others the one before, both count, and the pinned maps are
//! those of before: what it has counted would be lost with the next start, and with the one before that what
//! nobody had carried over yet.

use std::{
    io,
    path::{Path, PathBuf},
};

use filter_common::abi::ABI_VERSION;

use super::{
    KernelError, bpf, bpffs,
    counters::carry_over,
    pins::{self, PROGRAM_PIN, PinPaths, remove_directory},
    publish::wait_for_packets_in_flight,
    trackers,
};
use crate::faults::{Step, reached};

/// Leaves only what is in force pinned. Maps of a start that got to no link are nobody's, and so are those of the
/// gate before one that came to its end.
pub(super) fn finish_killed_start(paths: &PinPaths) -> Result<(), KernelError> {
    let next = paths.next_directory();
    if !next.exists() {
        return Ok(());
    }
    bpffs::check_owner(paths.root())?;
    let Links { taken, others } = links_by_program(paths, &next)?;
    if taken.is_empty() {
        trackers::take_over(paths, |_| false)?;
        return remove_directory(&next);
    }
    tracing::info!("an earlier start was killed before its end: finishing it");
    if let Err(error) = count_in_one_place(paths, &others) {
        tracing::warn!("what was counted before the start that was killed is lost: {error}");
    }
    // Asked anew, since it may have got some that it did not have.
    let taken = links_by_program(paths, &next)?.taken;
    let has_its_program = |name: &str| taken.iter().any(|(interface, _)| interface == name);
    trackers::take_over(paths, has_its_program)?;
    reached(Step::UnfinishedCarried);
    paths.exchange_maps()?;
    reached(Step::UnfinishedExchanged);
    remove_directory(&next)?;
    reached(Step::UnfinishedRemoved);
    Ok(())
}

/// The pinned links, by interface, as a start that was killed left them.
#[derive(Default)]
pub(super) struct Links {
    /// Those that have its program.
    pub(super) taken: Vec<(String, PathBuf)>,
    pub(super) others: Vec<(String, PathBuf)>,
}

/// `next`: the directory of the maps of that start. Without a program in it they are not all there, and no link
/// can have it.
pub(super) fn links_by_program(paths: &PinPaths, next: &Path) -> Result<Links, KernelError> {
    let program = next.join(PROGRAM_PIN);
    if !program.exists() {
        return Ok(Links::default());
    }
    bpffs::check_owner(paths.root())?;
    let program = pins::link_program(&program)?;
    let links = paths.links()?.into_iter();
    // One that cannot be asked, because somebody takes it away at this moment, has none.
    let (taken, others) =
        links.partition(|(_, link)| pins::link_program(link).is_ok_and(|it| it == program));
    Ok(Links { taken, others })
}

/// Puts the program of the killed start on the links that it had not got to, so that all gates ask one flow table and
/// nothing counts in the maps of before any more, and carries over what they hold.
fn count_in_one_place(paths: &PinPaths, others: &[(String, PathBuf)]) -> Result<(), KernelError> {
    let (maps, next) = (paths.maps_directory(), paths.next_directory());
    // What another build meant cannot be read; where it had not got to, the gate of before goes on.
    if pins::abi_version_of(&next)? != ABI_VERSION {
        return Ok(());
    }
    let Some((mut counters, control)) = pins::pinned_counters(paths, &next)? else {
        return Ok(());
    };
    let control = control.read(0);
    for (interface, path) in others {
        let Some(ifindex) = pins::link_ifindex(path)? else {
            continue;
        };
        // One that it meant to leave stays as it is.
        if control.interfaces.contains(&ifindex)
            && let Err(reason) = put_on(&next.join(PROGRAM_PIN), path)
        {
            tracing::warn!("{interface} keeps the program of before for a moment: {reason}");
        }
    }
    reached(Step::UnfinishedLinks);
    // Counters of another build start anew in any case.
    if !maps.exists() || pins::abi_version_of(&maps)? != ABI_VERSION {
        return Ok(());
    }
    let Some(earlier) = pins::pinned_counters(paths, &maps)? else {
        return Ok(());
    };
    wait_for_packets_in_flight();
    // What was observed of interfaces that are gone stays in the baseline of the observed time: that is subtracted
    // from, which would do harm when it is done again.
    carry_over(&earlier, &mut counters, &control)?;
    Ok(())
}

fn put_on(program: &Path, link: &Path) -> io::Result<()> {
    bpf::update_link(&bpf::open_pin(link)?, &bpf::open_pin(program)?)
}

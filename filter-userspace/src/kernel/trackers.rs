//! The two programs behind the gate, on each interface: one sees what leaves, one what was let in.
//!
//! They hang on TCX links (Linux 6.6), pinned like the gate's own; before 6.6 they are filters of the
//! clsact qdisc, which stay by themselves.

use std::{mem, path::Path};

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    links::FdLink,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions},
};

use super::{
    Direction, Gate, KernelError, Place, TrackerPreference,
    attach::unlink,
    follow::name_of,
    links,
    load::errno_of,
    pins::{self, NextTracker, PinPaths},
    places::rename_pin,
};
use crate::faults::{Step, reached};

/// The programs, the names of their pins, and where they hang.
pub(super) const TRACKERS: [(&str, &str, TcAttachType); 2] = [
    ("cerco_in", "in", TcAttachType::Ingress),
    ("cerco_out", "out", TcAttachType::Egress),
];

/// The program that hangs on this way of an interface.
pub const fn tracker_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => TRACKERS[0].0,
        Direction::Egress => TRACKERS[1].0,
    }
}

/// How the programs behind the gate are attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TrackerAttachment {
    /// A link of the kernel's own.
    Tcx,
    /// A filter of the clsact qdisc.
    Clsact,
}

/// Where the programs of a load go that takes the place of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hang {
    /// On the links of those before, when the gate that stands reads the flow table that the new ones write.
    InPlace,
    /// On links beside theirs, which go on writing the table that the gate of before reads, until [`take_over`].
    Beside,
}

/// The reason of a fault that is nobody's but that of who did it.
pub const TRACKER_TAKEN_OFF: &str =
    "a program that watches them was taken off; restart the daemon to attach it again";

/// An interface on which answers to this host's own connections are not known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackerFault {
    pub interface: String,
    pub reason: String,
}

impl Gate {
    /// Puts the trackers of this load behind every interface. Where it cannot, the gate stands all the same, and
    /// answers to what the host sends through that interface are judged like everything else: the faults are in
    /// [`Gate::tracker_faults`].
    pub(super) fn attach_trackers(
        &mut self,
        places: &[Place],
        hang: impl Fn(&str) -> Hang,
    ) -> Result<(), KernelError> {
        self.tracker_faults.clear();
        self.tracked.clear();
        if !self.replies.enabled {
            return release_trackers(&self.paths, |_| false);
        }
        for place in places {
            self.attach_trackers_of(place, hang(&place.name));
        }
        release_trackers(&self.paths, |interface| {
            self.interfaces.iter().any(|it| it == interface)
        })
    }

    /// Once the gate stands on an interface, its trackers alone are there, in one way only: those of before, whether
    /// of another build or of a time when the config said otherwise, have nobody to go on for.
    pub(super) fn settle_trackers(&self) -> Result<(), KernelError> {
        let stands_on = |name: &str| self.attachments.iter().any(|it| it.interface == name);
        take_over(&self.paths, stands_on)?;
        for (interface, way) in &self.tracked {
            let held = self
                .attachments
                .iter()
                .find(|it| it.interface == *interface);
            let Some(held) = held else { continue };
            match way {
                TrackerAttachment::Tcx => name_of(held.ifindex)
                    .iter()
                    .for_each(|name| release_filters(name)),
                TrackerAttachment::Clsact => {
                    for (_, prefix, _) in TRACKERS {
                        let path = self.paths.tracker(prefix, interface);
                        if path.exists() {
                            unlink(&path)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// As [`Gate::attach_trackers`], behind one interface.
    pub(super) fn attach_trackers_of(&mut self, place: &Place, hang: Hang) {
        let interface = &place.name;
        self.forget_trackers(interface);
        // In this order: one that sees only what leaves would take an answer for the beginning.
        let attached = TRACKERS
            .into_iter()
            .map(|(program, prefix, direction)| {
                self.attach_tracker(place, (program, prefix, direction), hang)
                    .inspect(|_| reached(Step::TrackerAttached))
            })
            .collect::<Result<Vec<_>, _>>();
        match attached {
            // Both hang in the same way.
            Ok(ways) => {
                let way = ways.first().map(|way| (interface.clone(), *way));
                self.tracked.extend(way);
            }
            Err(error) => {
                tracing::warn!("{error}");
                let reason = match error {
                    KernelError::Track { reason, .. } => reason,
                    other => other.to_string(),
                };
                self.tracker_faults.push(TrackerFault {
                    interface: interface.clone(),
                    reason,
                });
            }
        }
    }

    /// What is known of the trackers of an interface is over.
    pub(super) fn forget_trackers(&mut self, interface: &str) {
        self.tracker_faults.retain(|it| it.interface != interface);
        self.tracked.retain(|(it, _)| it != interface);
    }

    fn attach_tracker(
        &mut self,
        place: &Place,
        (name, prefix, direction): (&'static str, &str, TcAttachType),
        hang: Hang,
    ) -> Result<TrackerAttachment, KernelError> {
        let path = self.paths.tracker(prefix, &place.name);
        let program = tracker(&mut self.ebpf, name)?;
        let failed = |error: String| KernelError::Track {
            interface: place.name.clone(),
            reason: error,
        };
        let ifindex = place.ifindex;
        // aya asks for the name, which may be another one than that of the place.
        let interface = &name_of(ifindex).ok_or_else(|| failed("it is gone".to_owned()))?;
        let wants_clsact = self.replies.attach == TrackerPreference::Clsact;
        let is_beside =
            hang == Hang::Beside && !wants_clsact && pins::link_on(&path, ifindex).is_ok();
        let next = self.paths.next_tracker(prefix, &place.name);
        if next.exists() {
            // Of a start that was killed, and the gate that stands is not its own.
            unlink(&next)?;
        }
        let path = if is_beside { next } else { path };
        if path.exists() {
            if !wants_clsact && replace_on(program, &path, ifindex) {
                return Ok(TrackerAttachment::Tcx);
            }
            // Hung up in another way, those of before go on until `settle_trackers`.
            if !wants_clsact || hang == Hang::InPlace {
                unlink(&path)?;
            }
        }
        if wants_clsact {
            attach_filter(program, interface, name, direction)
                .map_err(|error| failed(cause(&error)))?;
            return Ok(TrackerAttachment::Clsact);
        }
        match program.attach_with_options(
            interface,
            direction,
            TcAttachOptions::TcxOrder(LinkOrder::default()),
        ) {
            Ok(id) => {
                let link = program
                    .take_link(id)
                    .map_err(|error| failed(cause(&error)))?;
                let link = FdLink::try_from(link).map_err(|error| failed(error.to_string()))?;
                reached(Step::TrackerMade);
                link.pin(&path).map_err(|error| failed(error.to_string()))?;
                Ok(TrackerAttachment::Tcx)
            }
            // BPF_LINK_CREATE does not know TCX before Linux 6.6.
            Err(error) if errno_of(&error) == Some(libc::EINVAL) => {
                attach_filter(program, interface, name, direction)
                    .map_err(|error| failed(cause(&error)))?;
                Ok(TrackerAttachment::Clsact)
            }
            Err(error) => Err(failed(cause(&error))),
        }
    }

    /// Whether answers to this host's own connections are let in.
    pub fn lets_replies_in(&self) -> bool {
        self.replies.enabled
    }

    /// Where answers to this host's own connections are not known, and why: the trackers could not be attached,
    /// or somebody has taken one off.
    pub fn tracker_faults(&self) -> Vec<TrackerFault> {
        let mut faults = self.tracker_faults.clone();
        faults.extend(
            self.lost_trackers()
                .into_iter()
                .map(|interface| TrackerFault {
                    interface: interface.to_owned(),
                    reason: TRACKER_TAKEN_OFF.to_owned(),
                }),
        );
        faults
    }

    fn lost_trackers(&self) -> Vec<&str> {
        let holds = |interface: &str, attachment: TrackerAttachment| {
            let mut attachments = self.attachments.iter();
            // Where no gate stands, that is what is told.
            let Some(held) = attachments.find(|it| it.interface == interface) else {
                return true;
            };
            let ifindex = held.ifindex;
            match attachment {
                TrackerAttachment::Tcx => TRACKERS.iter().all(|(_, prefix, _)| {
                    let path = self.paths.tracker(prefix, interface);
                    matches!(pins::link_ifindex(&path), Ok(Some(it)) if it == ifindex)
                }),
                TrackerAttachment::Clsact => {
                    let filters = links::tc_programs(ifindex).unwrap_or_default();
                    let stands = |direction| {
                        let mut filters = filters.iter();
                        filters.any(|it| {
                            it.direction == direction && it.name == tracker_name(direction)
                        })
                    };
                    stands(Direction::Ingress) && stands(Direction::Egress)
                }
            }
        };
        self.tracked
            .iter()
            .filter(|(interface, attachment)| !holds(interface, *attachment))
            .map(|(interface, _)| interface.as_str())
            .collect()
    }
}

/// Hangs the program into the clsact qdisc, in place of an earlier one.
fn attach_filter(
    program: &mut SchedClassifier,
    interface: &str,
    name: &str,
    direction: TcAttachType,
) -> Result<(), ProgramError> {
    // It may be there already; when it cannot be made, the next step says so.
    let _ = tc::qdisc_add_clsact(interface);
    // Between the two a packet may go unseen: what it opened is recorded with its next one, a SYN when it is sent
    // again.
    let _ = tc::qdisc_detach_program(interface, direction, name);
    let options = TcAttachOptions::Netlink(NlOptions::default());
    let id = program.attach_with_options(interface, direction, options)?;
    // Dropping it would detach it.
    mem::forget(program.take_link(id)?);
    Ok(())
}

/// False when the link does not hold the interface any more.
fn replace_on(program: &mut SchedClassifier, path: &Path, ifindex: u32) -> bool {
    let mut replace = || -> Result<(), String> {
        let link = pins::link_on(path, ifindex)?;
        let link = SchedClassifierLink::try_from(link).map_err(|error| error.to_string())?;
        let id = program
            .attach_to_link(link)
            .map_err(|error| cause(&error))?;
        // The pin alone holds it, so that removing the pin detaches it, beside a daemon as well.
        drop(program.take_link(id).map_err(|error| cause(&error))?);
        Ok(())
    };
    replace()
        .inspect_err(|error| {
            tracing::info!(
                "{}: the link left here is of no use: {error}",
                path.display()
            );
        })
        .is_ok()
}

/// Puts the trackers that hang beside others in the place of those, on the interfaces where the gate that stands is
/// theirs; on the others they are nobody's.
pub(super) fn take_over(
    paths: &PinPaths,
    is_theirs: impl Fn(&str) -> bool,
) -> Result<(), KernelError> {
    for NextTracker {
        interface,
        next,
        path,
    } in paths.next_trackers()?
    {
        if is_theirs(&interface) {
            unlink(&path)?;
            rename_pin(&next, &path)?;
            reached(Step::TrackerTakenOver);
        } else {
            unlink(&next)?;
        }
    }
    Ok(())
}

/// Takes the trackers off the interfaces that are not to be kept.
pub(super) fn release_trackers(
    paths: &PinPaths,
    is_kept: impl Fn(&str) -> bool,
) -> Result<(), KernelError> {
    for (interface, path) in paths.trackers()? {
        if !is_kept(&interface) {
            unlink(&path)?;
        }
    }
    Ok(())
}

/// Takes filters of the clsact qdisc off an interface.
pub(super) fn release_filters(interface: &str) {
    for (name, _, direction) in TRACKERS {
        release_filter(interface, name, direction);
    }
}

fn release_filter(interface: &str, name: &str, direction: TcAttachType) {
    // Nothing there to be taken off is the usual outcome.
    let _ = tc::qdisc_detach_program(interface, direction, name);
}

pub(super) fn tracker<'a>(
    ebpf: &'a mut aya::Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, KernelError> {
    let missing = KernelError::ObjectIncomplete {
        kind: "program",
        name,
    };
    match ebpf.program_mut(name).map(TryInto::try_into) {
        Some(Ok(program)) => Ok(program),
        _ => Err(missing),
    }
}

fn cause(error: &ProgramError) -> String {
    crate::cause::chain(error)
}

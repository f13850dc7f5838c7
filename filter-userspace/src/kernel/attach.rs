//! Interfaces: attach, replace, detach.

use std::{ffi::CString, fs, io, mem::offset_of, path::Path, sync::atomic::Ordering};

use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::FdLink,
    xdp::{XdpLink, XdpLinkId},
};
use filter_common::abi::{Control, attach_mode};

use super::{
    AttachMode, AttachPreference, Attachment, Gate, KernelError, Place, bpf, bpffs,
    follow::name_of,
    links::links,
    load::{NEEDS_CAPABILITIES, errno_of, program},
    pins::{self, PinPaths},
    rival,
    trackers::{self, Hang},
    unfinished::links_by_program,
};
use crate::faults::{Step, reached};

/// Why a gate that found its own generic link does not try native mode.
const GENERIC_KEPT: &str = "the gate stood in generic mode before and was not opened to try native \
                            mode again; `cerco detach --force` and a restart try it";

/// What a load is attached for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum For {
    /// To put the gate up, on one interface at least.
    Start,
    /// To take the place of a load that stands, unless somebody takes the gate down meanwhile. Unless `needs_one`, no
    /// interface at all is no error.
    Renewal { needs_one: bool },
}

impl For {
    const fn needs_one(self) -> bool {
        matches!(self, Self::Start | Self::Renewal { needs_one: true })
    }
}

impl Gate {
    /// Puts every interface behind the gate and pins it, so that the gate outlives this process.
    ///
    /// Where an earlier daemon's link stands, the program on it is replaced: no frame passes
    /// unfiltered, and none is lost. The counters go on from where it left them.
    ///
    /// It is an error when not one interface can be attached, and the reason is that of the first. Where only some
    /// cannot, the others are attached; [`Gate::attachments`] tells.
    pub fn attach(&mut self, preference: AttachPreference) -> Result<&[Attachment], KernelError> {
        self.attach_what_is_there(preference, For::Start)?;
        Ok(&self.attachments)
    }

    /// As [`Gate::attach`].
    pub(super) fn attach_what_is_there(
        &mut self,
        preference: AttachPreference,
        purpose: For,
    ) -> Result<(), KernelError> {
        self.refuse_taken_down(purpose)?;
        self.paths.prepare()?;
        reached(Step::PinDirectories);
        self.pin_next_maps()?;
        self.know_pinned_links()?;
        let places = self.places_now()?;
        self.rename_attachments(&places)?;
        if self.flows_kept {
            self.ask_at_every_port()?;
            reached(Step::EveryPort);
        }
        // After a start of another build that was killed, some links may still have the program of before.
        let maps = self.paths.maps_directory();
        let strangers = links_by_program(&self.paths, &maps)?.others;
        let is_strange = |name: &str| strangers.iter().any(|(interface, _)| interface == name);
        let flows_kept = self.flows_kept;
        // Before the links: what this host opens from now on is known when the new program asks.
        self.attach_trackers(&places, |interface| match flows_kept {
            true if !is_strange(interface) => Hang::InPlace,
            _ => Hang::Beside,
        })?;
        reached(Step::TrackersAttached);
        if !self.flows_kept {
            if self.replies.enabled {
                self.know_open_sockets();
                reached(Step::SocketsKnown);
            }
            self.renew_reply_ports()?;
        }
        self.refuse_taken_down(purpose)?;
        let fault = self.attach_links(&places, preference);
        self.settle_trackers()?;
        self.note_first_trackers();
        reached(Step::LinksAttached);
        // Whoever takes the gate down may have listed the links before these were there.
        self.refuse_taken_down(purpose)?;
        if let Some(fault) = fault.filter(|_| purpose.needs_one() && self.attachments.is_empty()) {
            return Err(fault);
        }
        self.release_other_interfaces()?;
        reached(Step::Released);
        if let Err(error) = self.adopt_counters() {
            tracing::warn!("the counters start from zero: {error}");
        }
        reached(Step::CountersCarried);
        if self.flows_kept {
            self.renew_reply_ports()?;
        }
        self.paths.publish_next_maps()
    }

    fn refuse_taken_down(&self, purpose: For) -> Result<(), KernelError> {
        match purpose {
            For::Renewal { .. } if self.is_taken_down() => Err(KernelError::TakenDown),
            _ => Ok(()),
        }
    }

    /// Removes what was put up after somebody had taken the gate down.
    pub(super) fn take_down_again(&self) -> Result<(), KernelError> {
        for place in self.places_now()? {
            if let Some(name) = name_of(place.ifindex) {
                trackers::release_filters(&name);
            }
        }
        detach_all(self.paths.root())?;
        Ok(())
    }

    /// The places of the interfaces that this gate was loaded for.
    pub(super) fn places_now(&self) -> Result<Vec<Place>, KernelError> {
        let links = links().map_err(KernelError::program("list the interfaces"))?;
        Ok(self.places(&self.interfaces, &links))
    }

    /// Puts the program of this gate on the link of every interface that is there. Returns the first reason why
    /// one could not be attached.
    pub(super) fn attach_links(
        &mut self,
        places: &[Place],
        preference: AttachPreference,
    ) -> Option<KernelError> {
        let place_of = |interface: &str| places.iter().find(|it| it.name == interface);
        // Before the links: the first frame already counts in its slot. And before the first link, so that whoever
        // has to finish this in the place of a killed process finds them all.
        for (slot, interface) in self.interfaces.iter().enumerate() {
            if let Some(place) = place_of(interface) {
                let offset = offset_of!(Control, interfaces) + slot * size_of::<u32>();
                self.store(offset, place.ifindex);
            }
        }
        match links() {
            Ok(links) => self.know_members(&links),
            Err(error) => tracing::warn!("the members of bonds are not known: {error}"),
        }
        reached(Step::InterfacesKnown);
        let mut attachments = Vec::new();
        let mut first_fault = None;
        for slot in 0..self.interfaces.len() {
            let interface = &self.interfaces[slot];
            if places.iter().any(|it| it.also.contains(interface)) {
                continue;
            }
            let attached = match place_of(interface) {
                None => Err(KernelError::NoInterface {
                    interface: interface.clone(),
                }),
                Some(place) => self.attach_link(slot, place, preference),
            };
            reached(Step::LinkAttached);
            match attached {
                Ok(attachment) => attachments.push(attachment),
                Err(error) => first_fault = first_fault.or(Some(error)),
            }
        }
        self.attachments = attachments;
        first_fault
    }

    /// Puts the program on the link of one interface, whose frames count in `slot`.
    pub(super) fn attach_link(
        &mut self,
        slot: usize,
        place: &Place,
        preference: AttachPreference,
    ) -> Result<Attachment, KernelError> {
        let (mode, fallback_reason) = self.attach_one(&place.name, place.ifindex, preference)?;
        self.count_in(slot, place.ifindex, mode);
        Ok(Attachment {
            interface: place.name.clone(),
            ifindex: place.ifindex,
            mode,
            fallback_reason,
        })
    }

    /// Has the frames of an interface counted in `slot`.
    pub(super) fn count_in(&self, slot: usize, ifindex: u32, mode: AttachMode) {
        let number = match mode {
            AttachMode::Native => attach_mode::NATIVE,
            AttachMode::Generic => attach_mode::GENERIC,
        };
        self.control
            .byte(0, offset_of!(Control, attach_modes) + slot)
            .store(number, Ordering::Release);
        let offset = offset_of!(Control, interfaces) + slot * size_of::<u32>();
        self.store(offset, ifindex);
    }

    /// Lets the connections go on that this host has open already.
    pub(super) fn know_open_sockets(&self) {
        match self.record_open_sockets() {
            Ok(0) => {}
            Ok(count) => tracing::info!("{count} connections of this host stay open"),
            Err(error) => tracing::warn!("connections that are open may be cut off: {error}"),
        }
    }

    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// The interfaces that were attached and are not any more: they went away, perhaps to come back as
    /// another, or somebody detached the gate.
    pub fn lost_interfaces(&self) -> Vec<&str> {
        self.attachments
            .iter()
            .filter(|it| !self.holds(it))
            .map(|it| it.interface.as_str())
            .collect()
    }

    fn attach_one(
        &mut self,
        interface: &str,
        ifindex: u32,
        preference: AttachPreference,
    ) -> Result<(AttachMode, Option<String>), KernelError> {
        let found = self.replace_pinned(interface, ifindex, preference)?;
        if let Found::Replaced(mode) = found {
            let reason = (mode == AttachMode::Generic && preference == AttachPreference::Auto)
                .then(|| GENERIC_KEPT.to_owned());
            return Ok((mode, reason));
        }
        match (self.attach_anew(interface, ifindex, preference), found) {
            (Err(error), Found::TakenOff(mode)) => self.put_back(interface, ifindex, mode, error),
            (outcome, _) => outcome,
        }
    }

    fn attach_anew(
        &mut self,
        interface: &str,
        ifindex: u32,
        preference: AttachPreference,
    ) -> Result<(AttachMode, Option<String>), KernelError> {
        let mut fallback_reason = None;
        if preference != AttachPreference::Generic {
            match self.attach_new(interface, ifindex, AttachMode::Native) {
                Ok(()) => return Ok((AttachMode::Native, None)),
                Err(error) if preference == AttachPreference::Auto && is_unsupported(&error) => {
                    fallback_reason = Some(error.to_string());
                }
                Err(error) => {
                    return Err(attach_error(interface, ifindex, AttachMode::Native, error));
                }
            }
        }
        self.attach_new(interface, ifindex, AttachMode::Generic)
            .map_err(|error| attach_error(interface, ifindex, AttachMode::Generic, error))?;
        Ok((AttachMode::Generic, fallback_reason))
    }

    /// Attaches in the mode in which the gate stood until now, since the one that is wanted failed with `error`.
    ///
    /// The interface was open since the link of before was taken off, a moment: the kernel does not say whether it
    /// would take a program in one mode while one stands in the other.
    fn put_back(
        &mut self,
        interface: &str,
        ifindex: u32,
        mode: AttachMode,
        error: KernelError,
    ) -> Result<(AttachMode, Option<String>), KernelError> {
        let word = match mode {
            AttachMode::Native => "native",
            AttachMode::Generic => "generic",
        };
        match self.attach_new(interface, ifindex, mode) {
            Ok(()) => {
                tracing::warn!("{error}; the gate stands there in {word} mode, as before");
                Ok((mode, Some(error.to_string())))
            }
            Err(second) => {
                tracing::error!(
                    "the gate that stood on {interface} in {word} mode could not be put back: {second}"
                );
                Err(error)
            }
        }
    }

    fn attach_new(
        &mut self,
        interface: &str,
        ifindex: u32,
        mode: AttachMode,
    ) -> Result<(), AttachFailure> {
        let path = self.paths.link(interface, mode);
        let program = program(&mut self.ebpf)?;
        let id = program.attach_to_if_index(
            ifindex,
            match mode {
                AttachMode::Native => XdpMode::Driver,
                AttachMode::Generic => XdpMode::Skb,
            },
        )?;
        pin_link(program, id, interface, &path)?;
        Ok(())
    }

    /// Replaces the program on the pinned link of `interface`, if there is one that still works and
    /// has the mode that is asked for. Else the old pin is removed.
    fn replace_pinned(
        &mut self,
        interface: &str,
        ifindex: u32,
        preference: AttachPreference,
    ) -> Result<Found, KernelError> {
        let mut found = Found::Nothing;
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let path = self.paths.link(interface, mode);
            if !path.exists() {
                continue;
            }
            let wanted = match preference {
                // Generic was the fallback then; native is tried again when the gate is new only,
                // because changing the mode of a standing gate opens it for a moment.
                AttachPreference::Auto => true,
                AttachPreference::Native => mode == AttachMode::Native,
                AttachPreference::Generic => mode == AttachMode::Generic,
            };
            if wanted && self.replace_on(&path, ifindex) {
                return Ok(Found::Replaced(mode));
            }
            if !wanted && matches!(pins::link_ifindex(&path), Ok(Some(it)) if it == ifindex) {
                found = Found::TakenOff(mode);
            }
            unlink(&path)?;
        }
        Ok(found)
    }

    /// False when the link does not hold the interface any more, as after it went and came back.
    fn replace_on(&mut self, path: &Path, ifindex: u32) -> bool {
        let mut replace = || -> Result<(), AttachFailure> {
            let link = pins::link_on(path, ifindex).map_err(AttachFailure::Other)?;
            let link =
                XdpLink::try_from(link).map_err(|error| AttachFailure::Other(error.to_string()))?;
            let program = program(&mut self.ebpf)?;
            let id = program.attach_to_link(link)?;
            // The pin alone holds it, so that removing the pin detaches it, beside a daemon as well.
            drop(program.take_link(id)?);
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

    /// Takes the gate off interfaces that the config does not name any more.
    fn release_other_interfaces(&self) -> Result<(), KernelError> {
        for (interface, path) in self.paths.links()? {
            if !self.interfaces.contains(&interface) {
                tracing::info!("{interface} is not in the config any more: detached");
                unlink(&path)?;
                trackers::release_filters(&interface);
            }
        }
        Ok(())
    }
}

/// Detaches every link pinned under `pins` and removes all pins. Returns the interfaces freed.
pub fn detach_all(pins: &Path) -> Result<Vec<String>, KernelError> {
    let paths = PinPaths::new(pins.to_path_buf());
    if let Err(error) = bpffs::check_owner(pins) {
        return match pins.exists() {
            true => Err(error),
            false => Ok(Vec::new()),
        };
    }
    // The sign for a daemon that runs beside: without it, it would put back what is taken off here.
    paths.remove_maps()?;
    reached(Step::DetachTold);
    let mut freed = Vec::new();
    for (interface, path) in paths.links()? {
        unlink(&path)?;
        reached(Step::DetachLink);
        trackers::release_filters(&interface);
        freed.push(interface);
    }
    trackers::release_trackers(&paths, |_| false)?;
    paths.remove_all()?;
    freed.sort();
    Ok(freed)
}

/// Takes a pinned link off its interface and removes the pin.
///
/// Removing the pin is not enough: the kernel detaches when the last descriptor is closed, and whoever lists the
/// links of the host, as `bpftool` and another cerco do, has each of them open for a moment.
pub(super) fn unlink(path: &Path) -> Result<(), KernelError> {
    match bpf::open_pin(path).and_then(|link| bpf::detach_link(&link)) {
        // Whoever takes the gate down at the same time, or the daemon of an interface that went away, was here first.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Something else than a link may stand there, which has nothing to detach.
        Err(error) => tracing::warn!("{} could not be detached: {error}", path.display()),
        Ok(()) => {}
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(KernelError::pin("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn pin_link(
    program: &mut Xdp,
    id: XdpLinkId,
    interface: &str,
    path: &Path,
) -> Result<(), AttachFailure> {
    let link = program.take_link(id)?;
    // aya falls back to a netlink attachment without a word when the kernel refuses the link; that
    // one would fall with this process.
    let Ok(link) = FdLink::try_from(link) else {
        return Err(AttachFailure::Kernel(KernelError::NotPersistent {
            interface: interface.to_owned(),
        }));
    };
    reached(Step::LinkMade);
    link.pin(path)
        .map_err(|error| AttachFailure::Other(error.to_string()))?;
    Ok(())
}

/// What was pinned for an interface, and became of it.
#[derive(Clone, Copy)]
enum Found {
    /// Nothing that still held the interface.
    Nothing,
    /// A link of the wanted mode, which has the new program.
    Replaced(AttachMode),
    /// A link of another mode than the wanted one, which is gone.
    TakenOff(AttachMode),
}

/// Why an attachment failed, before it is known how it matters.
#[derive(Debug, thiserror::Error)]
enum AttachFailure {
    #[error("{}", source_text(.0))]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error("{0}")]
    Other(String),
}

/// The innermost error says what the kernel said.
fn source_text(error: &ProgramError) -> String {
    let error: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map_or_else(String::new, ToString::to_string)
}

/// True when the driver has no native XDP, or not with this MTU or these rings; generic may work.
fn is_unsupported(failure: &AttachFailure) -> bool {
    match failure {
        AttachFailure::Program(error) => matches!(
            errno_of(error),
            Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ERANGE | libc::ENOSPC | libc::ENOMEM)
        ),
        _ => false,
    }
}

fn attach_error(
    interface: &str,
    ifindex: u32,
    mode: AttachMode,
    failure: AttachFailure,
) -> KernelError {
    let errno = match failure {
        AttachFailure::Kernel(error) => return error,
        AttachFailure::Program(ref error) => errno_of(error),
        AttachFailure::Other(_) => None,
    };
    let hint = match errno {
        Some(libc::EBUSY | libc::EEXIST) => rival::advice(interface, ifindex),
        Some(libc::EPERM | libc::EACCES) => NEEDS_CAPABILITIES.to_owned(),
        Some(libc::EOPNOTSUPP | libc::EINVAL) if mode == AttachMode::Native => {
            "; the driver has no native XDP here: attach = \"generic\" works with every driver"
                .to_owned()
        }
        _ => String::new(),
    };
    KernelError::Attach {
        interface: interface.to_owned(),
        mode: match mode {
            AttachMode::Native => " in native mode",
            AttachMode::Generic => " in generic mode",
        },
        reason: failure.to_string(),
        hint,
    }
}

/// The index of an interface in the network namespace of the calling thread.
pub fn interface_index(interface: &str) -> Result<u32, KernelError> {
    let missing = || KernelError::NoInterface {
        interface: interface.to_owned(),
    };
    let name = CString::new(interface).map_err(|_| missing())?;
    // SAFETY: a string that ends in 0.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(missing()),
        index => Ok(index),
    }
}

//! Interfaces: attach, replace, detach.

use std::{ffi::CString, fs, mem::offset_of, path::Path, sync::atomic::Ordering};

use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::{XdpLink, XdpLinkId},
};
use filter_common::abi::{Control, attach_mode};

use super::{
    AttachMode, AttachPreference, Attachment, Gate, KernelError, bpffs,
    load::{NEEDS_CAPABILITIES, errno_of, program},
    pins::{self, PinPaths},
    trackers,
};

/// Why a gate that found its own generic link does not try native mode.
const GENERIC_KEPT: &str = "the gate stood in generic mode before and was not opened to try native \
                            mode again; `cerco detach --force` and a restart try it";

impl Gate {
    /// Puts every interface behind the gate and pins it, so that the gate outlives this process.
    ///
    /// Where an earlier daemon's link stands, the program on it is replaced: no frame passes
    /// unfiltered, and none is lost. The counters go on from where it left them. On error the interfaces attached so far stay attached.
    pub fn attach(&mut self, preference: AttachPreference) -> Result<&[Attachment], KernelError> {
        self.paths.prepare()?;
        self.pin_next_maps()?;
        // Before the links: what this host opens from now on is known when the new program asks.
        self.attach_trackers()?;
        if self.replies.enabled && !self.flows_kept {
            match self.record_open_sockets() {
                Ok(0) => {}
                Ok(count) => tracing::info!("{count} connections of this host stay open"),
                Err(error) => tracing::warn!("connections that are open may be cut off: {error}"),
            }
        }
        self.renew_reply_ports()?;
        self.attach_links(preference)?;
        self.release_other_interfaces()?;
        if let Err(error) = self.adopt_counters() {
            tracing::warn!("the counters start from zero: {error}");
        }
        self.paths.publish_next_maps()?;
        Ok(&self.attachments)
    }

    /// Puts the program of this gate on the link of every interface.
    pub(super) fn attach_links(&mut self, preference: AttachPreference) -> Result<(), KernelError> {
        self.attachments.clear();
        for slot in 0..self.interfaces.len() {
            let interface = self.interfaces[slot].clone();
            let ifindex = interface_index(&interface)?;
            // Before the link: the first frame already counts in its slot.
            self.store(
                offset_of!(Control, interfaces) + slot * size_of::<u32>(),
                ifindex,
            );

            let (mode, fallback_reason) = self.attach_one(&interface, ifindex, preference)?;
            let number = match mode {
                AttachMode::Native => attach_mode::NATIVE,
                AttachMode::Generic => attach_mode::GENERIC,
            };
            self.control
                .byte(0, offset_of!(Control, attach_modes) + slot)
                .store(number, Ordering::Release);
            self.attachments.push(Attachment {
                interface,
                ifindex,
                mode,
                fallback_reason,
            });
        }
        Ok(())
    }

    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// The interfaces that were attached and are not any more: they went away, perhaps to come back as
    /// another, or somebody detached the gate.
    pub fn lost_interfaces(&self) -> Vec<&str> {
        let holds = |it: &Attachment| {
            let link = self.paths.link(&it.interface, it.mode);
            matches!(pins::link_ifindex(&link), Ok(Some(ifindex)) if ifindex == it.ifindex)
        };
        self.attachments
            .iter()
            .filter(|it| !holds(it))
            .map(|it| it.interface.as_str())
            .collect()
    }

    fn attach_one(
        &mut self,
        interface: &str,
        ifindex: u32,
        preference: AttachPreference,
    ) -> Result<(AttachMode, Option<String>), KernelError> {
        if let Some(mode) = self.replace_pinned(interface, ifindex, preference)? {
            let reason = (mode == AttachMode::Generic && preference == AttachPreference::Auto)
                .then(|| GENERIC_KEPT.to_owned());
            return Ok((mode, reason));
        }
        let mut fallback_reason = None;
        if preference != AttachPreference::Generic {
            match self.attach_new(interface, ifindex, AttachMode::Native) {
                Ok(()) => return Ok((AttachMode::Native, None)),
                Err(error) if preference == AttachPreference::Auto && is_unsupported(&error) => {
                    fallback_reason = Some(error.to_string());
                }
                Err(error) => return Err(attach_error(interface, AttachMode::Native, error)),
            }
        }
        self.attach_new(interface, ifindex, AttachMode::Generic)
            .map_err(|error| attach_error(interface, AttachMode::Generic, error))?;
        Ok((AttachMode::Generic, fallback_reason))
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
    ) -> Result<Option<AttachMode>, KernelError> {
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
                return Ok(Some(mode));
            }
            unlink(&path)?;
        }
        Ok(None)
    }

    /// False when the link does not hold the interface any more, as after it went and came back.
    fn replace_on(&mut self, path: &Path, ifindex: u32) -> bool {
        let mut replace = || -> Result<(), AttachFailure> {
            if pins::link_ifindex(path)? != Some(ifindex) {
                return Err(AttachFailure::Other(
                    "it holds another interface, or none".to_owned(),
                ));
            }
            let other = |error: &dyn std::error::Error| AttachFailure::Other(error.to_string());
            let pinned = PinnedLink::from_pin(path).map_err(|error| other(&error))?;
            let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| other(&error))?;
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
    if !pins.exists() {
        return Ok(Vec::new());
    }
    bpffs::check_owner(pins)?;
    let mut freed = Vec::new();
    for (interface, path) in paths.links()? {
        unlink(&path)?;
        trackers::release_filters(&interface);
        freed.push(interface);
    }
    trackers::release_trackers(&paths, |_| false)?;
    paths.remove_all()?;
    freed.sort();
    Ok(freed)
}

/// Removes the pin of a link, which detaches it before this returns.
///
/// Without the open file descriptor the kernel would detach at a later time, and an attachment that
/// comes next would find the interface busy.
pub(super) fn unlink(path: &Path) -> Result<(), KernelError> {
    match PinnedLink::from_pin(path) {
        Ok(link) => drop(link.unpin().map_err(KernelError::pin("unpin", path))?),
        Err(_) => fs::remove_file(path).map_err(KernelError::pin("remove", path))?,
    }
    Ok(())
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
    link.pin(path)
        .map_err(|error| AttachFailure::Other(error.to_string()))?;
    Ok(())
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

fn attach_error(interface: &str, mode: AttachMode, failure: AttachFailure) -> KernelError {
    let errno = match failure {
        AttachFailure::Kernel(error) => return error,
        AttachFailure::Program(ref error) => errno_of(error),
        AttachFailure::Other(_) => None,
    };
    let hint = match errno {
        Some(libc::EBUSY | libc::EEXIST) => format!(
            "; another XDP program is there: `ip link show {interface}` names it, `ip link set {interface} xdp off` removes one that was attached with ip"
        ),
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

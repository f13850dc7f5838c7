//! Interfaces that come and go while the gate stands.

use std::mem::offset_of;

use filter_common::abi::Control;

use super::{
    AttachMode, AttachPreference, Attachment, Gate, KernelError, Place, links, pins,
    trackers::{self, Hang},
};

impl Gate {
    /// Puts one more interface behind the gate, or the one again that came back: first the counters know it,
    /// then come the trackers with the connections that are open already, and the gate itself at last.
    pub fn attach_interface(
        &mut self,
        place: &Place,
        preference: AttachPreference,
    ) -> Result<Attachment, KernelError> {
        let slot = self.slot_for(&place.name)?;
        let offset = offset_of!(Control, interfaces) + slot * size_of::<u32>();
        let counted_before = self.control.read(0).interfaces[slot];
        self.store(offset, place.ifindex);
        if let Ok(links) = links() {
            self.know_members(&links);
        }
        if self.replies.enabled {
            self.attach_trackers_of(place, Hang::InPlace);
            self.know_open_sockets();
            self.renew_reply_ports()?;
        }
        let attachment = self
            .attach_link(slot, place, preference)
            .inspect_err(|_| self.store(offset, counted_before))?;
        self.note_trackers();
        if self.is_taken_down() {
            // Whoever takes the gate down may have listed the links before this one was there.
            trackers::release_filters(&place.name);
            self.release_interface(&place.name)?;
            return Err(KernelError::TakenDown);
        }
        self.attachments.retain(|it| it.interface != place.name);
        self.attachments.push(attachment.clone());
        self.sort_attachments();
        Ok(attachment)
    }

    /// In the order of the config; one that was set aside comes first.
    pub(super) fn sort_attachments(&mut self) {
        let interfaces = &self.interfaces;
        self.attachments
            .sort_by_key(|it| interfaces.iter().position(|name| *name == it.interface));
    }

    /// Takes the gate off one interface, or only its pins away when the interface is gone.
    pub fn release_interface(&mut self, interface: &str) -> Result<(), KernelError> {
        let held = self.attachments.iter().find(|it| it.interface == interface);
        if let Some(name) = held.and_then(|held| name_of(held.ifindex)) {
            trackers::release_filters(&name);
        }
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let path = self.paths.link(interface, mode);
            if path.exists() {
                super::attach::unlink(&path)?;
            }
        }
        trackers::release_trackers(&self.paths, |it| it != interface)?;
        self.attachments.retain(|it| it.interface != interface);
        self.forget_trackers(interface);
        Ok(())
    }

    /// Whether somebody has taken the whole gate down, as `cerco detach --force` does it: nobody but a new start
    /// may put it up again.
    pub fn is_taken_down(&self) -> bool {
        !self.paths.has_maps()
    }

    /// The names that the gate counts under: those it was loaded for, and those that came later.
    pub fn interfaces(&self) -> &[String] {
        &self.interfaces
    }

    /// Where the gate counts for `interface`. One that is new gets a slot that nobody has, or that of an interface
    /// that is gone, whose counters end then.
    fn slot_for(&mut self, interface: &str) -> Result<usize, KernelError> {
        if let Some(slot) = self.interfaces.iter().position(|it| it == interface) {
            return Ok(slot);
        }
        if self.interfaces.len() < self.slots {
            self.interfaces.push(interface.to_owned());
            return Ok(self.interfaces.len() - 1);
        }
        let links = links().map_err(KernelError::program("list the interfaces"))?;
        let is_free = |name: &String| {
            !self.attachments.iter().any(|it| it.interface == *name)
                && !links.iter().any(|link| link.bears(name))
        };
        let Some(slot) = self.interfaces.iter().position(is_free) else {
            return Err(KernelError::NoSlot { slots: self.slots });
        };
        self.clear_counters(slot)?;
        let earlier = std::mem::replace(&mut self.interfaces[slot], interface.to_owned());
        tracing::info!("{earlier} is gone: what it counted makes room for {interface}");
        Ok(slot)
    }

    /// Whether the pinned link still holds the interface that it was made for.
    pub fn holds(&self, attachment: &Attachment) -> bool {
        let link = self.paths.link(&attachment.interface, attachment.mode);
        matches!(pins::link_ifindex(&link), Ok(Some(ifindex)) if ifindex == attachment.ifindex)
    }
}

/// The name of an interface now.
pub(super) fn name_of(ifindex: u32) -> Option<String> {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the length that if_indextoname(3) asks for.
    let found = unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: the call wrote a string that ends in 0.
    let name = unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) };
    Some(name.to_string_lossy().into_owned())
}

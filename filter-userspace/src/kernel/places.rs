//! Which interface a name of the config means, also after a rename, and what is pinned under it.
//!
//! The name decides: a gate belongs on the interface that bears it. But while no interface bears it, the gate
//! stays on the one that did. Whoever renames an interface and forgets the config keeps a filter with a warning;
//! a gate that left would open the host without one.

use std::{fmt, fs, io};

use super::{AttachMode, Attachment, Gate, KernelError, Link, pins, trackers};

/// Where the gate belongs for one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// As the config has it.
    pub name: String,
    pub ifindex: u32,
    /// What the interface is called now, when no interface bears `name`.
    pub renamed_to: Option<String>,
    /// Other names of the same interface that the config has as well.
    pub also: Vec<String>,
}

impl Place {
    /// Whether this is where `name` wants a gate.
    pub fn is_for(&self, name: &str) -> bool {
        self.name == name || self.also.iter().any(|it| it == name)
    }

    /// The names beyond the first.
    pub fn named_twice(&self) -> impl Iterator<Item = NamedTwice> + '_ {
        self.also.iter().map(|name| NamedTwice {
            first: self.name.clone(),
            name: name.clone(),
        })
    }
}

/// Two names of a config that one interface bears, as `eth0` and an alternative name of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NamedTwice {
    /// The one under which the gate stands, and counts.
    pub first: String,
    pub name: String,
}

impl fmt::Display for NamedTwice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, name } = self;
        write!(
            f,
            "{first} and {name} of `interfaces` are one interface: one gate stands there and counts as {first}"
        )
    }
}

/// Those of `wanted` that an interface bears which an earlier one names already.
pub fn named_twice(wanted: &[String], links: &[Link]) -> Vec<NamedTwice> {
    let places = places(wanted, links, &[]);
    places.iter().flat_map(Place::named_twice).collect()
}

/// The place of each wanted name that has one.
fn places(wanted: &[String], links: &[Link], attachments: &[Attachment]) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let mut unborne = Vec::new();
    for name in wanted {
        match links.iter().find(|link| link.bears(name)) {
            Some(link) => match places.iter_mut().find(|it| it.ifindex == link.index) {
                // An interface that is named twice has one gate.
                Some(place) => place.also.push(name.clone()),
                None => places.push(Place {
                    name: name.clone(),
                    ifindex: link.index,
                    renamed_to: None,
                    also: Vec::new(),
                }),
            },
            None => unborne.push(name),
        }
    }
    for name in unborne {
        let held = attachments.iter().find(|it| it.interface == *name);
        let link = held.and_then(|held| links.iter().find(|it| it.index == held.ifindex));
        if let Some(link) = link
            // The interface of another name needs no second gate.
            && !places.iter().any(|it| it.ifindex == link.index)
        {
            places.push(Place {
                name: name.clone(),
                ifindex: link.index,
                renamed_to: Some(link.name.clone()),
                also: Vec::new(),
            });
        }
    }
    places
}

/// What an attachment is called when its name has gone to another interface. No interface can be called so:
/// the kernel refuses spaces in names.
fn set_aside_name(attachment: &Attachment) -> String {
    format!("{} (number {})", attachment.interface, attachment.ifindex)
}

/// The name that an attachment had before it was set aside.
pub fn name_before(interface: &str) -> Option<&str> {
    Some(interface.split_once(" (number ")?.0)
}

impl Gate {
    /// Where the gate belongs for `wanted`, by what is there now.
    pub fn places(&self, wanted: &[String], links: &[Link]) -> Vec<Place> {
        places(wanted, links, &self.attachments)
    }

    /// Names every attachment by the place that it is at. One that has lost its name to another interface is set
    /// aside: it stands, until the other one is attached.
    pub fn rename_attachments(&mut self, places: &[Place]) -> Result<(), KernelError> {
        let of_name = |name: &str| places.iter().find(|it| it.name == name);
        for at in 0..self.attachments.len() {
            let held = &self.attachments[at];
            if of_name(&held.interface).is_some_and(|place| place.ifindex != held.ifindex) {
                let aside = set_aside_name(held);
                self.rename_attachment(at, aside)?;
            }
        }
        for place in places {
            let is_here =
                |it: &Attachment| it.ifindex == place.ifindex && it.interface != place.name;
            let Some(at) = self.attachments.iter().position(is_here) else {
                continue;
            };
            let earlier = self.attachments[at].interface.clone();
            self.rename_attachment(at, place.name.clone())?;
            // With "auto" the name is that of the interface: what it has counted goes along.
            let slot_of =
                |gate: &Self, name: &str| gate.interfaces.iter().position(|it| it == name);
            if let Some(slot) = slot_of(self, &earlier)
                && of_name(&earlier).is_none()
                && !self.interfaces.contains(&place.name)
            {
                self.interfaces[slot] = place.name.clone();
            }
            if let Some(slot) = slot_of(self, &place.name) {
                self.count_in(slot, place.ifindex, self.attachments[at].mode);
            }
            tracing::info!(
                "interface number {} is called {} now: its gate goes along",
                place.ifindex,
                place.name
            );
        }
        self.sort_attachments();
        Ok(())
    }

    fn rename_attachment(&mut self, at: usize, to: String) -> Result<(), KernelError> {
        let from = std::mem::replace(&mut self.attachments[at].interface, to.clone());
        for mode in [AttachMode::Native, AttachMode::Generic] {
            rename_pin(&self.paths.link(&from, mode), &self.paths.link(&to, mode))?;
        }
        for (interface, _) in self.tracked.iter_mut().filter(|(it, _)| *it == from) {
            *interface = to.clone();
        }
        for (_, prefix, _) in trackers::TRACKERS {
            let path = |name: &str| self.paths.tracker(prefix, name);
            rename_pin(&path(&from), &path(&to))?;
        }
        Ok(())
    }

    /// What an earlier daemon left pinned counts as attached, so that it is found under its interface's number.
    pub(super) fn know_pinned_links(&mut self) -> Result<(), KernelError> {
        self.attachments.clear();
        for (interface, path) in self.paths.links()? {
            if let Ok(Some(ifindex)) = pins::link_ifindex(&path) {
                self.attachments.push(Attachment {
                    mode: pins::mode_of_link(&path),
                    interface,
                    ifindex,
                    fallback_reason: None,
                });
            }
        }
        Ok(())
    }
}

pub(super) fn rename_pin(from: &std::path::Path, to: &std::path::Path) -> Result<(), KernelError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(KernelError::pin("rename", from)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.into(),
            ..Link::default()
        }
    }

    fn attachment(interface: &str, ifindex: u32) -> Attachment {
        Attachment {
            interface: interface.into(),
            ifindex,
            mode: AttachMode::Native,
            fallback_reason: None,
        }
    }

    #[test]
    fn name_decides_and_without_a_bearer_the_gate_stays() {
        let place = |name: &str, ifindex, renamed_to: Option<&str>| Place {
            name: name.into(),
            ifindex,
            renamed_to: renamed_to.map(str::to_owned),
            also: Vec::new(),
        };
        let cases = [
            (
                "both are there",
                vec![link(2, "eth0"), link(3, "eth1")],
                vec![],
                vec![place("eth0", 2, None), place("eth1", 3, None)],
            ),
            (
                "one is missing",
                vec![link(3, "eth1")],
                vec![],
                vec![place("eth1", 3, None)],
            ),
            (
                "came back as another",
                vec![link(7, "eth0")],
                vec![attachment("eth0", 2)],
                vec![place("eth0", 7, None)],
            ),
            (
                "renamed away",
                vec![link(2, "wan0"), link(3, "eth1")],
                vec![attachment("eth0", 2), attachment("eth1", 3)],
                vec![place("eth1", 3, None), place("eth0", 2, Some("wan0"))],
            ),
            (
                "another took the name",
                vec![link(2, "wan0"), link(4, "eth0")],
                vec![attachment("eth0", 2)],
                vec![place("eth0", 4, None)],
            ),
            (
                "swapped",
                vec![link(3, "eth0"), link(2, "eth1")],
                vec![attachment("eth0", 2), attachment("eth1", 3)],
                vec![place("eth0", 3, None), place("eth1", 2, None)],
            ),
            (
                "renamed to the name of one that is gone",
                vec![link(2, "eth1")],
                vec![attachment("eth0", 2), attachment("eth1", 3)],
                vec![place("eth1", 2, None)],
            ),
            (
                "by another name of theirs",
                vec![
                    Link {
                        alternative_names: vec!["enp0s3".into(), "eth0".into()],
                        ..link(2, "wan0")
                    },
                    link(3, "eth1"),
                ],
                vec![attachment("eth0", 2)],
                vec![place("eth0", 2, None), place("eth1", 3, None)],
            ),
            (
                "both names are of one",
                vec![Link {
                    alternative_names: vec!["eth1".into()],
                    ..link(2, "eth0")
                }],
                vec![attachment("eth1", 2)],
                vec![Place {
                    also: vec!["eth1".into()],
                    ..place("eth0", 2, None)
                }],
            ),
            ("gone", vec![], vec![attachment("eth0", 2)], vec![]),
        ];
        let wanted = ["eth0".to_owned(), "eth1".to_owned()];
        for (name, links, attachments, expected) in cases {
            let found = places(&wanted, &links, &attachments);
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn set_aside_tells_the_name_before() {
        let aside = set_aside_name(&attachment("eth0", 7));
        assert_eq!(aside, "eth0 (number 7)");
        assert_eq!(name_before(&aside), Some("eth0"));
        assert_eq!(name_before("eth0"), None);
    }
}

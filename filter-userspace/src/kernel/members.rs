//! Members of bonds. The kernel runs a bond's native program on its members (`bond_xdp_set`, since Linux 5.15), and
//! the frames bear their numbers; what they bring counts for the bond.

use std::{mem::offset_of, sync::atomic::Ordering};

use filter_common::abi::{Control, MAX_MEMBERS};

use super::{Gate, Link};

/// The members of those of `interfaces` that are bonds, each with the slot of its bond.
fn members(interfaces: &[u32], links: &[Link]) -> Vec<(u32, u8)> {
    let is_bond = |index: u32| {
        let link = links.iter().find(|it| it.index == index);
        link.is_some_and(|it| it.kind.as_deref() == Some("bond"))
    };
    let mut members = Vec::new();
    for (slot, interface) in (0..).zip(interfaces) {
        if *interface != 0 && is_bond(*interface) {
            let of_bond = links.iter().filter(|it| it.master == Some(*interface));
            members.extend(of_bond.map(|it| (it.index, slot)));
        }
    }
    members
}

/// Where each member stands: one that is known stays in its place, where the program may be reading it. The number
/// of those for which there is no room comes with it.
fn arranged(
    now: &[(u32, u8); MAX_MEMBERS],
    wanted: &[(u32, u8)],
) -> ([(u32, u8); MAX_MEMBERS], usize) {
    let mut arranged = now.map(|member| match wanted.contains(&member) {
        true => member,
        false => (0, 0),
    });
    let mut left_out = 0;
    for member in wanted {
        if arranged.contains(member) {
            continue;
        }
        match arranged.iter_mut().find(|it| it.0 == 0) {
            Some(free) => *free = *member,
            None => left_out += 1,
        }
    }
    (arranged, left_out)
}

impl Gate {
    /// Has what the members of bonds bring counted for their bonds, by `links`: what is there now.
    pub fn know_members(&self, links: &[Link]) {
        let control = self.control.read(0);
        let slots = self.interfaces.len().min(control.interfaces.len());
        let wanted = members(&control.interfaces[..slots], links);
        let now = std::array::from_fn(|at| (control.members[at], control.member_slots[at]));
        let (arranged, left_out) = arranged(&now, &wanted);
        for (at, (before, (ifindex, slot))) in now.into_iter().zip(arranged).enumerate() {
            if before == (ifindex, slot) {
                continue;
            }
            let offset = offset_of!(Control, members) + at * size_of::<u32>();
            // First the slot: nothing counts in one that is meant for another.
            self.store(offset, 0);
            self.control
                .byte(0, offset_of!(Control, member_slots) + at)
                .store(slot, Ordering::Release);
            self.store(offset, ifindex);
        }
        // Said when it begins, and not at each look.
        if left_out > 0 && arranged != now {
            tracing::warn!(
                "{left_out} members of bonds are more than there is room for ({MAX_MEMBERS}): what they bring is \
                 judged, and counts for no interface"
            );
        }
    }

    /// The slot of the bond that the interface is a member of.
    pub(super) fn slot_of_member(&self, ifindex: u32) -> Option<usize> {
        let control = self.control.read(0);
        let at = control.members.iter().position(|it| *it == ifindex)?;
        Some(usize::from(control.member_slots[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_guarded_bonds_have_the_slots_of_these() {
        let link = |index, kind: Option<&str>, master| Link {
            index,
            kind: kind.map(str::to_owned),
            master,
            ..Link::default()
        };
        let links = [
            link(2, None, Some(4)),
            link(3, None, Some(4)),
            link(4, Some("bond"), None),
            link(5, Some("bridge"), None),
            link(6, Some("veth"), Some(5)),
            link(7, Some("bond"), None),
            link(8, None, Some(7)),
        ];
        assert_eq!(members(&[5, 4, 0], &links), [(2, 1), (3, 1)]);
        assert_eq!(members(&[7, 4], &links), [(8, 0), (2, 1), (3, 1)]);
        assert_eq!(members(&[9], &links), []);
    }

    #[test]
    fn members_that_stay_keep_their_places() {
        let mut now = [(0, 0); MAX_MEMBERS];
        now[..3].copy_from_slice(&[(2, 0), (3, 0), (4, 0)]);
        let (found, left_out) = arranged(&now, &[(4, 0), (2, 0), (9, 1)]);
        assert_eq!((&found[..3], left_out), (&[(2, 0), (9, 1), (4, 0)][..], 0));
        assert_eq!(found[3..], [(0, 0); MAX_MEMBERS - 3]);
        // Of another bond now.
        let (found, _) = arranged(&found, &[(4, 1)]);
        assert_eq!(found[..3], [(4, 1), (0, 0), (0, 0)]);
        let many: Vec<(u32, u8)> = (1..=20).map(|index| (index, 0)).collect();
        let (full, left_out) = arranged(&[(0, 0); MAX_MEMBERS], &many);
        assert_eq!((&full[..], left_out), (&many[..MAX_MEMBERS], 4));
    }
}

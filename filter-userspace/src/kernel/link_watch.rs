//! Hears when interfaces and default routes change.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
};

use netlink_sys::{Socket, SocketAddr};

// include/uapi/linux/rtnetlink.h
const NETLINK_ROUTE: isize = 0;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTMGRP_LINK: u32 = 1;
const RTMGRP_IPV4_ROUTE: u32 = 0x40;
const RTMGRP_IPV6_ROUTE: u32 = 0x400;
/// `struct nlmsghdr`: u32 length, u16 type, u16 flags, u32 sequence, u32 port.
const NLMSGHDR_BYTES: usize = 16;

/// Messages that are taken at a time, so that a storm of them does not keep the caller for ever.
const MAX_MESSAGES: usize = 4096;

/// A socket on which the kernel tells of changes in the network namespace of the thread that opened it.
///
/// Only that something changed is of interest: whoever hears it reads everything anew, so a message that is
/// lost does no harm.
pub struct LinkWatch(Socket);

/// What came of listening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// Interfaces or default routes may be others than before.
    pub has_changes: bool,
    /// Nothing more is waiting.
    pub is_all: bool,
}

impl LinkWatch {
    /// `with_routes`: hears of default routes as well.
    pub fn open(with_routes: bool) -> io::Result<Self> {
        let routes = match with_routes {
            true => RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
            false => 0,
        };
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, RTMGRP_LINK | routes))?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Takes what the kernel has said since the last call.
    pub fn hear(&self) -> io::Result<Heard> {
        let mut has_changes = false;
        for _ in 0..MAX_MESSAGES {
            match self.0.recv_from_full() {
                Ok((bytes, from)) => {
                    // Anybody may send to this socket; port 0 is the kernel.
                    has_changes |= from.port_number() == 0 && tells_of_change(&bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Heard {
                        has_changes,
                        is_all: true,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The buffer ran over: what was in the lost messages is not known (netlink(7)).
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => has_changes = true,
                Err(error) => return Err(error),
            }
        }
        Ok(Heard {
            has_changes,
            is_all: false,
        })
    }
}

impl AsRawFd for LinkWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Whether a datagram of netlink messages has one about an interface or about a default route. A router
/// hears of routes all the time, and only those without a prefix matter here.
fn tells_of_change(mut bytes: &[u8]) -> bool {
    while let Some((header, rest)) = bytes.split_at_checked(NLMSGHDR_BYTES) {
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        match u16::from_ne_bytes([header[4], header[5]]) {
            RTM_NEWLINK | RTM_DELLINK => return true,
            // `struct rtmsg`: family, then the length of the destination's prefix.
            RTM_NEWROUTE | RTM_DELROUTE if rest.get(1) == Some(&0) => return true,
            _ => {}
        }
        // NLMSG_ALIGN; a length below that of the header cannot be read on from.
        let next = len.max(NLMSGHDR_BYTES).next_multiple_of(4);
        bytes = bytes.get(next..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let len = (NLMSGHDR_BYTES + body.len()) as u32;
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn links_and_default_routes_matter_and_other_routes_do_not() {
        let default = [2, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];
        let to_a_network = [2, 24, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];
        let cases = [
            ("new link", message(16, &[0; 16]), true),
            ("deleted link", message(17, &[0; 16]), true),
            ("default route", message(24, &default), true),
            ("default route gone", message(25, &default), true),
            ("other route", message(24, &to_a_network), false),
            (
                "other route, then a default one",
                [message(25, &to_a_network), message(25, &default)].concat(),
                true,
            ),
            ("address", message(20, &[2, 0, 0, 0, 0, 0, 0, 0]), false),
            ("length 0", vec![0; 16], false),
            ("cut off", message(16, &[])[..15].to_vec(), false),
            ("nothing", Vec::new(), false),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(tells_of_change(&bytes), expected, "{name}");
        }
    }
}

//! Whole frames in and out of a link, past the kernel's network stack.

use crate::{
    error::{Error, Result, check},
    netns::NetNs,
};
use std::{
    ffi::CString,
    io,
    mem::{size_of, size_of_val, zeroed},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

/// How long a sender lets a full link drain. Trying again at once would keep the queue full, and
/// frames of others, which the kernel does not send twice, would find no room in it.
const FULL_PAUSE: Duration = Duration::from_micros(50);

/// An AF_PACKET socket bound to one link.
#[derive(Debug)]
pub struct RawSocket {
    fd: OwnedFd,
    link: String,
}

/// How often a link that is full refused a frame, over the life of a sender.
#[derive(Clone, Copy, Default, Debug)]
pub struct Backpressure {
    pub refusals: u64,
}

impl RawSocket {
    /// Opens a socket that sees every frame of `link`, in both directions. Needs CAP_NET_RAW.
    pub fn open(netns: &NetNs, link: &str) -> Result<Self> {
        Self::open_with_protocol(netns, link, libc::ETH_P_ALL as u16)
    }

    /// Opens a socket that only sends: no frame is copied to it.
    ///
    /// It hands frames straight to the driver, so queueing disciplines and other sockets do not
    /// see them, and a frame that the link has no room for is refused, not lost in silence.
    pub fn open_sender(netns: &NetNs, link: &str) -> Result<Self> {
        let socket = Self::open_with_protocol(netns, link, 0)?;
        socket.set_option(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &1_i32)?;
        Ok(socket)
    }

    fn open_with_protocol(netns: &NetNs, link: &str, protocol: u16) -> Result<Self> {
        netns.run(|| {
            let op = || format!("open a packet socket on {link}");
            // Bound to no protocol yet: between `socket` and `bind` no other link's frame gets in.
            // SAFETY: socket takes no pointers.
            let fd = check(
                unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) },
                op,
            )?;
            // SAFETY: the kernel has just given this descriptor to us alone.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            let name = CString::new(link)
                .map_err(|_| Error::os(op(), io::Error::from_raw_os_error(libc::EINVAL)))?;
            // SAFETY: `name` ends in a zero byte and lives until the call returns.
            let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
            if index == 0 {
                return Err(Error::last_os(op()));
            }
            // SAFETY: an all-zero sockaddr_ll is valid, all its fields are integers.
            let mut address: libc::sockaddr_ll = unsafe { zeroed() };
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = protocol.to_be();
            address.sll_ifindex = index as i32;
            // SAFETY: pointer and length describe `address`, which lives until the call returns.
            check(
                unsafe {
                    libc::bind(
                        fd.as_raw_fd(),
                        (&raw const address).cast(),
                        size_of::<libc::sockaddr_ll>() as u32,
                    )
                },
                op,
            )?;
            Ok(Self {
                fd,
                link: link.to_owned(),
            })
        })?
    }

    /// Sets an option whose value is a plain C value without pointers.
    pub(crate) fn set_option<T: Copy>(&self, level: i32, name: i32, value: &T) -> Result<()> {
        // SAFETY: pointer and length describe `value`, which lives until the call returns.
        check(
            unsafe {
                libc::setsockopt(
                    self.fd.as_raw_fd(),
                    level,
                    name,
                    (&raw const *value).cast(),
                    size_of_val(value) as u32,
                )
            },
            || format!("set option {level}/{name} of a socket on {}", self.link),
        )?;
        Ok(())
    }

    pub(crate) fn raw_fd(&self) -> libc::c_int {
        self.fd.as_raw_fd()
    }

    /// Sends one frame, waiting while the link is full.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        loop {
            // SAFETY: pointer and length describe `frame`.
            let sent = unsafe { libc::send(self.raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            if sent >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if !is_full(&error) {
                return Err(Error::os(format!("send a frame on {}", self.link), error));
            }
            thread::sleep(FULL_PAUSE);
        }
    }

    /// Sends all frames in as few system calls as the link allows; every one of them is on the
    /// link, exactly once, when this returns `Ok`.
    pub fn send_all(&self, frames: &[&[u8]], backpressure: &mut Backpressure) -> Result<()> {
        let mut pieces: Vec<libc::iovec> = frames
            .iter()
            .map(|frame| libc::iovec {
                iov_base: frame.as_ptr().cast_mut().cast(),
                iov_len: frame.len(),
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = pieces
            .iter_mut()
            .map(|piece| {
                // SAFETY: an all-zero mmsghdr is valid: integers and null pointers.
                let mut message: libc::mmsghdr = unsafe { zeroed() };
                message.msg_hdr.msg_iov = piece;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        let mut sent = 0;
        while sent < messages.len() {
            let rest = &mut messages[sent..];
            // SAFETY: the messages point into `pieces` and `frames`, which outlive the call; the
            // kernel only reads the frames.
            let count =
                unsafe { libc::sendmmsg(self.raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
            if count >= 0 {
                sent += count as usize;
                continue;
            }
            // sendmmsg reports an error only for its first message, so nothing of `rest` is out.
            let error = io::Error::last_os_error();
            if !is_full(&error) {
                return Err(Error::os(format!("send frames on {}", self.link), error));
            }
            backpressure.refusals += 1;
            thread::sleep(FULL_PAUSE);
        }
        Ok(())
    }

    /// The next frame that arrives at the link before `deadline`; frames that leave are skipped.
    ///
    /// VLAN tags are out of the frame and in the socket's metadata by then; see packet(7).
    pub fn receive(&self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; 65_536 + 64];
        loop {
            let Some((len, kind)) = self.receive_any(&mut buffer, deadline)? else {
                return Ok(None);
            };
            if kind != libc::PACKET_OUTGOING {
                buffer.truncate(len);
                return Ok(Some(buffer));
            }
        }
    }

    /// The next frame in either direction: how many bytes of it are in `buffer`, and its packet
    /// type (`PACKET_HOST`, `PACKET_OUTGOING`, …). `None` when the deadline passes.
    pub fn receive_any(&self, buffer: &mut [u8], deadline: Instant) -> Result<Option<(usize, u8)>> {
        let op = || format!("receive a frame on {}", self.link);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut wait = libc::pollfd {
                fd: self.raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: pointer and count describe `wait`.
            let ready = unsafe { libc::poll(&raw mut wait, 1, millis_up(left)) };
            if ready < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(Error::os(op(), error));
            }
            if ready == 0 {
                return Ok(None);
            }
            // SAFETY: an all-zero sockaddr_ll is valid, all its fields are integers.
            let mut from: libc::sockaddr_ll = unsafe { zeroed() };
            let mut from_len = size_of::<libc::sockaddr_ll>() as u32;
            // SAFETY: both buffers are described by their own lengths and outlive the call.
            let count = unsafe {
                libc::recvfrom(
                    self.raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                    (&raw mut from).cast(),
                    &raw mut from_len,
                )
            };
            if count >= 0 {
                return Ok(Some((count as usize, from.sll_pkttype)));
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {}
                _ => return Err(Error::os(op(), error)),
            }
        }
    }
}

/// Whole milliseconds, rounded up: poll(2) with 0 for the last half millisecond would spin.
pub(crate) fn millis_up(left: Duration) -> i32 {
    i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
}

/// The link's queue or the socket's buffer has no room now.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR)
    )
}

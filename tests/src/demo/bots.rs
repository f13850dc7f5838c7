//! The second wave: real TCP connections, from sockets bound to foreign addresses.

use super::{http, interrupt, plan::Plan, topology::Topology};
use crate::{
    error::{Error, check},
    netns::NetNs,
    raw::millis_up,
};
use anyhow::Result;
use std::{
    io::{self, Read, Write},
    mem::{size_of, zeroed},
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

/// Connections open at the same time.
const WINDOW: usize = 512;
/// When a bot gives up: the SYN goes out at 0 s and once more at 1 s.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How the connections went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub tried: u64,
    /// The handshake was finished.
    pub connected: u64,
    /// The page came, whole.
    pub served: u64,
}

/// A connection under way.
struct Bot {
    stream: TcpStream,
    give_up: Instant,
    asked: bool,
    response: Vec<u8>,
}

/// Opens every planned connection once, at most [`WINDOW`] at a time; ends by itself.
pub fn attack(netns: &NetNs, plan: &Plan, mut progress: impl FnMut(u64) + Send) -> Result<Outcome> {
    netns.run(|| {
        let mut outcome = Outcome::default();
        let mut sources = plan.bots.iter();
        let mut open: Vec<Bot> = Vec::with_capacity(WINDOW);
        loop {
            interrupt::check()?;
            while open.len() < WINDOW {
                let Some(source) = sources.next() else { break };
                outcome.tried += 1;
                open.push(Bot::connect(*source)?);
            }
            progress(outcome.tried);
            if open.is_empty() {
                return Ok(outcome);
            }
            let ready = wait(&open)?;
            let now = Instant::now();
            let mut index = 0;
            open.retain_mut(|bot| {
                let is_ready = ready[index];
                index += 1;
                let finished = is_ready && bot.step(&mut outcome);
                !finished && now < bot.give_up
            });
        }
    })?
}

impl Bot {
    fn connect(source: IpAddr) -> Result<Self> {
        let server = Topology::server(source);
        let family = match source {
            IpAddr::V4(_) => libc::AF_INET,
            IpAddr::V6(_) => libc::AF_INET6,
        };
        let op = || format!("connect from {source} to {server}");
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: socket takes no pointers.
        let fd = check(unsafe { libc::socket(family, kind, 0) }, op)?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // The address is local by a route only, which bind(2) does not accept for IPv6 without
        // this.
        let (level, option) = match source {
            IpAddr::V4(_) => (libc::SOL_IP, libc::IP_FREEBIND),
            IpAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_FREEBIND),
        };
        let on: libc::c_int = 1;
        // SAFETY: pointer and length describe `on`.
        check(
            unsafe {
                libc::setsockopt(
                    fd.as_raw_fd(),
                    level,
                    option,
                    (&raw const on).cast(),
                    size_of::<libc::c_int>() as u32,
                )
            },
            op,
        )?;
        let (address, len) = socket_address(SocketAddr::new(source, 0));
        // SAFETY: `address` holds at least `len` bytes.
        check(
            unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) },
            op,
        )?;
        let (address, len) = socket_address(server);
        // SAFETY: `address` holds at least `len` bytes.
        let result = unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), len) };
        if result < 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINPROGRESS) {
                return Err(Error::os(op(), error).into());
            }
        }
        Ok(Self {
            stream: TcpStream::from(fd),
            give_up: Instant::now() + PATIENCE,
            asked: false,
            response: Vec::new(),
        })
    }

    /// Goes as far as it can without waiting; whether the connection has come to its end.
    fn step(&mut self, outcome: &mut Outcome) -> bool {
        if !self.asked {
            if !matches!(self.stream.take_error(), Ok(None)) {
                return true;
            }
            outcome.connected += 1;
            self.asked = true;
            // The request fits into any send buffer whole.
            if self.stream.write_all(http::request().as_bytes()).is_err() {
                return true;
            }
        }
        let mut chunk = [0; 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    outcome.served += u64::from(http::is_served(&self.response));
                    return true;
                }
                Ok(count) => self.response.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
    }
}

/// Waits until one of the connections can go on or the first of them gives up; which can go on.
fn wait(open: &[Bot]) -> Result<Vec<bool>> {
    let mut entries: Vec<libc::pollfd> = open
        .iter()
        .map(|bot| libc::pollfd {
            fd: bot.stream.as_raw_fd(),
            events: if bot.asked {
                libc::POLLIN
            } else {
                libc::POLLOUT
            },
            revents: 0,
        })
        .collect();
    let now = Instant::now();
    let rest = open
        .iter()
        .map(|bot| bot.give_up.saturating_duration_since(now))
        .min()
        .unwrap_or_default();
    // SAFETY: pointer and count describe `entries`.
    let count = unsafe {
        libc::poll(
            entries.as_mut_ptr(),
            entries.len() as libc::nfds_t,
            millis_up(rest),
        )
    };
    if count < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(Error::os("wait for the bots' connections", error).into());
        }
        // After a signal poll(2) has filled in nothing.
        return Ok(vec![false; open.len()]);
    }
    Ok(entries.iter().map(|entry| entry.revents != 0).collect())
}

/// The address in the kernel's form, and how many bytes of it count.
fn socket_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: an all-zero sockaddr_storage is valid, all its fields are integers.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let len = match address {
        SocketAddr::V4(address) => {
            let target: *mut libc::sockaddr_in = (&raw mut storage).cast();
            // SAFETY: sockaddr_storage is made to hold and align every kind of address.
            let target = unsafe { &mut *target };
            target.sin_family = libc::AF_INET as libc::sa_family_t;
            target.sin_port = address.port().to_be();
            target.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            let target: *mut libc::sockaddr_in6 = (&raw mut storage).cast();
            // SAFETY: sockaddr_storage is made to hold and align every kind of address.
            let target = unsafe { &mut *target };
            target.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            target.sin6_port = address.port().to_be();
            target.sin6_addr.s6_addr = address.ip().octets();
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, len as libc::socklen_t)
}

//! Network namespaces without names.

use crate::error::{Error, Result, check, run_to_end};
use std::{
    fs,
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd},
    os::unix::process::CommandExt,
    process::{self, Command, Stdio},
    sync::Arc,
    thread,
};

/// A network namespace, held by a file descriptor.
///
/// It has no name under `/run/netns`, so nothing can be left behind: the kernel removes it, with
/// all its links, when the last clone of this value and the last process inside are gone.
#[derive(Clone, Debug)]
pub struct NetNs {
    fd: Arc<OwnedFd>,
}

/// What a test network wants of every namespace: nothing forwarded, no path filter, and IPv6
/// addresses that work at once, without a second of duplicate address detection.
const SYSCTLS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv6/conf/all/forwarding", "0"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    // Without this a new link spends its first second with router solicitations that a test
    // which counts frames would see.
    ("net/ipv6/conf/all/router_solicitations", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
];

impl NetNs {
    /// A fresh namespace whose only link, `lo`, is up. Needs CAP_SYS_ADMIN.
    pub fn new() -> Result<Self> {
        // `unshare` moves the calling thread, so a thread of its own is spent on it.
        let fd = thread::spawn(|| -> Result<OwnedFd> {
            // SAFETY: unshare takes no pointers.
            check(unsafe { libc::unshare(libc::CLONE_NEWNET) }, || {
                "make a network namespace".into()
            })?;
            let path = "/proc/thread-self/ns/net";
            let file =
                fs::File::open(path).map_err(|source| Error::os(format!("open {path}"), source))?;
            Ok(file.into())
        })
        .join()
        .expect("invariant: the thread above does not panic")?;
        let netns = Self { fd: Arc::new(fd) };
        for (key, value) in SYSCTLS {
            netns.sysctl(key, value)?;
        }
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// A fresh namespace that forwards both families.
    pub fn new_router() -> Result<Self> {
        let netns = Self::new()?;
        netns.sysctl("net/ipv4/ip_forward", "1")?;
        netns.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        netns.sysctl("net/ipv6/conf/default/forwarding", "1")?;
        Ok(netns)
    }

    /// The path under which iproute2 and `nsenter --net=` find this namespace.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.fd.as_raw_fd())
    }

    /// Runs `body` in a thread inside the namespace; a panic in it goes on in the caller.
    ///
    /// Threads and sockets made by `body` stay in the namespace.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        let fd = self.fd.as_raw_fd();
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                enter(fd)?;
                Ok(body())
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes `command` start inside the namespace.
    ///
    /// Only the network changes: `/sys` stays the caller's, so a program in the namespace must ask
    /// netlink about links, not `/sys/class/net`.
    pub fn enter_on_exec(&self, command: &mut Command) {
        let fd = self.fd.clone();
        // SAFETY: setns is async-signal-safe, and the closure neither allocates nor locks.
        unsafe {
            command.pre_exec(move || {
                if libc::setns(fd.as_raw_fd(), libc::CLONE_NEWNET) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
    }

    /// A command that will start inside the namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        self.enter_on_exec(&mut command);
        command
    }

    /// `ip ARGS` inside the namespace; the arguments are split at spaces.
    pub fn ip(&self, args: &str) -> Result<String> {
        run_to_end(
            self.command("ip").args(args.split_whitespace()),
            "configure the network",
        )
    }

    /// Many `ip` commands in one process, one a line.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        let op = "configure the network";
        let mut child = self
            .command("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| Error::os(format!("{op}: start ip -batch"), source))?;
        let written = child
            .stdin
            .take()
            .expect("invariant: stdin was asked for above")
            .write_all(lines.as_bytes());
        let output = child
            .wait_with_output()
            .map_err(|source| Error::os(format!("{op}: wait for ip -batch"), source))?;
        crate::error::output_or_error(output, op, "ip -batch -".into())?;
        written.map_err(|source| Error::os(format!("{op}: write to ip -batch"), source))
    }

    /// Writes one key below `/proc/sys`, which shows the namespace of the thread that opens it.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{key}");
        self.run(|| {
            fs::write(&path, value)
                .map_err(|source| Error::os(format!("write {value} to {path}"), source))
        })?
    }
}

fn enter(fd: libc::c_int) -> Result<()> {
    // SAFETY: setns takes no pointers; the caller holds the descriptor open.
    check(unsafe { libc::setns(fd, libc::CLONE_NEWNET) }, || {
        "enter a network namespace".into()
    })?;
    Ok(())
}

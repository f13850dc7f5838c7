//! Where one peer stands: a cable of its own, and a BPF file system of its own for what it pins.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Write as _},
    os::fd::{AsRawFd, OwnedFd},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    bench::cable::Cable,
    error::{Error, check},
};

/// Characters of a message that are shown.
const MESSAGE_LIMIT: usize = 300;

const BPFFS: &CStr = c"/sys/fs/bpf";

/// A cable whose receiving end has a mount namespace too.
///
/// Nothing that a peer pins there can meet what others have pinned on this machine, and it is gone
/// with the last process in the namespace, even after SIGKILL.
pub struct Site {
    pub cable: Cable,
    mounts: Arc<OwnedFd>,
}

impl Site {
    pub fn build() -> Result<Self> {
        Ok(Self {
            cable: Cable::lay()?,
            mounts: Arc::new(private_mounts()?),
        })
    }

    /// Runs `body` in a thread at the receiving end.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        let mounts = self.mounts.as_raw_fd();
        self.cable.receiver.run(|| -> Result<T> {
            // A thread may change its mounts only when it shares no working directory with others.
            // SAFETY: neither call takes a pointer, and `self` holds the descriptor open.
            unsafe {
                check(libc::unshare(libc::CLONE_FS), || {
                    "leave the shared cwd".into()
                })?;
                check(libc::setns(mounts, libc::CLONE_NEWNS), || {
                    "enter a mount namespace".into()
                })?;
            }
            Ok(body())
        })?
    }

    /// A command that will start at the receiving end. Its messages will be in English.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.cable.receiver.command(program);
        command.env("LC_ALL", "C");
        let mounts = self.mounts.clone();
        // SAFETY: setns is async-signal-safe, and the closure neither allocates nor locks.
        unsafe {
            command.pre_exec(move || {
                if libc::setns(mounts.as_raw_fd(), libc::CLONE_NEWNS) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        command
    }

    /// Runs a command at the receiving end, with `input` on its standard input.
    pub fn feed(&self, program: &str, arguments: &[&str], input: &str) -> Result<()> {
        let mut child = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {program}"))?;
        let stdin = child.stdin.take();
        let written = stdin
            .context("a child without standard input")?
            .write_all(input.as_bytes());
        let output = child
            .wait_with_output()
            .with_context(|| format!("failed to wait for {program}"))?;
        let message = String::from_utf8_lossy(&output.stderr);
        // A message may quote all of the input.
        let message: String = message.chars().take(MESSAGE_LIMIT).collect();
        ensure!(
            output.status.success(),
            "{program} {} ended with {}: {}",
            arguments.join(" "),
            output.status,
            message.trim()
        );
        written.with_context(|| format!("failed to write to {program}"))
    }
}

fn private_mounts() -> Result<OwnedFd> {
    // `unshare` moves the calling thread, so a thread of its own is spent on it.
    thread::spawn(|| -> Result<OwnedFd> {
        let op = || "mount a private BPF file system".to_owned();
        // SAFETY: unshare takes no pointers; those of mount are literals that end with a zero, or
        // null where the kernel does not look.
        unsafe {
            check(libc::unshare(libc::CLONE_NEWNS), op)?;
            // Or the mount below would show outside.
            let private = libc::MS_REC | libc::MS_PRIVATE;
            let (none, root) = (std::ptr::null(), c"/".as_ptr());
            check(libc::mount(none, root, none, private, none.cast()), op)?;
            let bpf = c"bpf".as_ptr();
            check(libc::mount(bpf, BPFFS.as_ptr(), bpf, 0, none.cast()), op)?;
        }
        let path = "/proc/thread-self/ns/mnt";
        let file = File::open(path).map_err(|source| Error::os(format!("open {path}"), source))?;
        Ok(file.into())
    })
    .join()
    .ok()
    .context("a thread panicked")?
}

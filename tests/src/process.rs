//! A child process that never outlives its guard.

use crate::{
    error::{Error, Result, command_line},
    poll,
};
use std::{
    io::Read,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// How long a child may take to end after SIGTERM before it gets SIGKILL.
const TERM_LIMIT: Duration = Duration::from_secs(20);

/// How long the output of a child that has ended may take to arrive.
const OUTPUT_LIMIT: Duration = Duration::from_secs(10);

/// How much of a child's output is kept, in bytes; what comes later is read and thrown away, so
/// that a talkative child neither blocks nor fills the memory.
const OUTPUT_KEPT: usize = 1 << 20;

/// A running child, in a process group of its own: Ctrl-C reaches only the parent, which ends its
/// children in the right order.
#[derive(Debug)]
pub struct Process {
    child: Child,
    line: String,
    output: Arc<Mutex<Vec<u8>>>,
    collectors: Vec<thread::JoinHandle<()>>,
}

impl Process {
    /// Starts `command` and collects its standard output and error.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let line = command_line(command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|source| Error::os(format!("start {line}"), source))?;
        let output = Arc::new(Mutex::new(Vec::new()));
        let mut collectors = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            collectors.push(collect(stdout, output.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            collectors.push(collect(stderr, output.clone()));
        }
        Ok(Self {
            child,
            line,
            output,
            collectors,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The command as a person would type it.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Everything that the child has printed so far, both streams in the order of arrival.
    pub fn output(&self) -> String {
        let kept = self
            .output
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        String::from_utf8_lossy(&kept).into_owned()
    }

    /// The exit status, if the child has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the end of the child, for at most `limit`; its output is complete then.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let status = poll::until("see a child end", limit, || self.exited()).map_err(|_| {
            Error::Deadline {
                op: format!("see the end of {}", self.line),
                waited: limit,
                output: self.output(),
            }
        })?;
        // The pipes may still hold its last words. A grandchild may keep them open, so this ends.
        let _ = poll::until("read the output", OUTPUT_LIMIT, || {
            self.collectors
                .iter()
                .all(thread::JoinHandle::is_finished)
                .then_some(())
        });
        Ok(status)
    }

    /// Sends `signal` to the child, and only to it.
    pub fn signal(&mut self, signal: libc::c_int) -> Result<()> {
        // The child is not reaped before this guard says so, so its pid cannot be another's.
        if self.exited().is_some() {
            return Ok(());
        }
        let pid = self.child.id() as libc::pid_t;
        // SAFETY: kill takes no pointers.
        crate::error::check(unsafe { libc::kill(pid, signal) }, || {
            format!("signal {}", self.line)
        })?;
        Ok(())
    }

    /// SIGTERM, and SIGKILL to the child's process group if that does not end it in time.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(libc::SIGTERM)?;
        if let Ok(status) = self.wait(TERM_LIMIT) {
            return Ok(status);
        }
        let group = -(self.child.id() as libc::pid_t);
        // SAFETY: kill takes no pointers; the group is the one made for this child at its start.
        unsafe { libc::kill(group, libc::SIGKILL) };
        self.wait(TERM_LIMIT)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A panic may be under way; there is nobody to tell.
        let _ = self.stop();
    }
}

fn collect(
    mut stream: impl Read + Send + 'static,
    output: Arc<Mutex<Vec<u8>>>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut chunk) {
            let mut kept = output
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            let room = OUTPUT_KEPT.saturating_sub(kept.len());
            kept.extend_from_slice(&chunk[..count.min(room)]);
        }
    })
}

//! `cerco events --follow --json`, whose lines are read as they come.

use crate::{daemon::Cerco, site::parse};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

/// Ended when it is dropped.
pub struct Follower {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Follower {
    /// `more`: further options.
    pub fn begin(cerco: &Cerco, more: &[&str]) -> Self {
        let args = [&["events", "--follow", "--json"], more].concat();
        let mut command = cerco.cli_command(&args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        thread::spawn(move || {
            for line in stdout.lines() {
                kept.lock().unwrap().push(parse(&line.unwrap()));
            }
        });
        Self { child, lines }
    }

    /// What it has said so far.
    pub fn lines(&self) -> MutexGuard<'_, Vec<Value>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A real terminal: a tmux server of its own, with one window.

use crate::{
    error::{Error, Result, run_to_end},
    netns::NetNs,
    poll,
};
use std::{path::Path, process::Command, time::Duration};
use tempfile::TempDir;

/// Enough for a screen to change on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A shell in a window of tmux. Dropping it ends the server and what runs in it.
#[derive(Debug)]
pub struct Terminal {
    netns: NetNs,
    directory: TempDir,
}

impl Terminal {
    /// A window of `width` by `height`, inside `netns`, in a UTF-8 locale.
    pub fn open(netns: &NetNs, width: u16, height: u16) -> Result<Self> {
        let directory = TempDir::with_prefix("cerco-terminal-")
            .map_err(|source| Error::os("make a temporary directory", source))?;
        let terminal = Self {
            netns: netns.clone(),
            directory,
        };
        let (width, height) = (width.to_string(), height.to_string());
        let size = ["-x", &width, "-y", &height];
        let mut command = terminal.tmux();
        command
            .args(["new-session", "-d"])
            .args(size)
            .args(["env", "LC_ALL=C.UTF-8", "PS1=$ ", "SSH_CONNECTION=", "sh"])
            .env_remove("NO_COLOR");
        run_to_end(&mut command, "open a terminal")?;
        Ok(terminal)
    }

    fn tmux(&self) -> Command {
        let mut command = self.netns.command("tmux");
        let socket = self.directory.path().join("tmux.sock");
        command
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(socket)
            .env_remove("TMUX");
        command
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Presses keys by their names in tmux(1): `q`, `Enter`, `C-z`.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        let mut command = self.tmux();
        command.arg("send-keys").args(keys);
        run_to_end(&mut command, "press keys").map(drop)
    }

    /// Types `text` and Enter.
    pub fn enter(&self, text: &str) -> Result<()> {
        let mut command = self.tmux();
        command.args(["send-keys", "-l", text]);
        run_to_end(&mut command, "type")?;
        self.press(&["Enter"])
    }

    /// Types `text` in one piece; [`Terminal::enter`] does so letter by letter.
    pub fn paste(&self, text: &str) -> Result<()> {
        let mut command = self.tmux();
        command.args(["set-buffer", "--", text, ";", "paste-buffer", "-d"]);
        run_to_end(&mut command, "paste").map(drop)
    }

    pub fn resize(&self, width: u16, height: u16) -> Result<()> {
        let (width, height) = (width.to_string(), height.to_string());
        let mut command = self.tmux();
        command.args(["resize-window", "-x", &width, "-y", &height]);
        run_to_end(&mut command, "resize the terminal").map(drop)
    }

    /// The lines that are seen.
    pub fn screen(&self) -> Result<String> {
        let mut command = self.tmux();
        command.args(["capture-pane", "-p"]);
        run_to_end(&mut command, "look at the terminal")
    }

    /// As [`Terminal::screen`], with the escape sequences of colours and attributes.
    pub fn painted(&self) -> Result<String> {
        let mut command = self.tmux();
        command.args(["capture-pane", "-p", "-e"]);
        run_to_end(&mut command, "look at the terminal")
    }

    /// The screen, once `wanted` is content with it; the error shows the last one.
    pub fn wait_until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = Ok(String::new());
        let seen = poll::until(what, LIMIT, || {
            last = self.screen();
            let screen = last.as_ref().ok()?;
            wanted(screen).then(|| screen.clone())
        });
        seen.map_err(|_| Error::Deadline {
            op: what.to_owned(),
            waited: LIMIT,
            output: last.unwrap_or_else(|error| error.to_string()),
        })
    }

    /// The screen, once it shows `text`.
    pub fn wait_for(&self, text: &str) -> Result<String> {
        self.wait_until(&format!("see {text:?}"), |screen| screen.contains(text))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.tmux().arg("kill-server").output();
    }
}

//! A headless Chromium inside a namespace, steered by `dashboard/browser/driver.mjs`.

use crate::{
    error::{Error, Result},
    netns::NetNs,
};
use serde_json::{Value, json};
use std::{
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// For a command, longer than any that the driver itself gives up.
const LIMIT: Duration = Duration::from_secs(90);
const END_LIMIT: Duration = Duration::from_secs(10);

/// A browser with one page. Dropping it ends both.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
    _profile: TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
    pub touch: bool,
}

impl Look {
    pub const DESK: Self = Self {
        width: 1440,
        height: 900,
        dark: false,
        touch: false,
    };
    pub const PHONE: Self = Self {
        width: 390,
        height: 844,
        dark: false,
        touch: true,
    };
}

fn missing(what: &str, command: &str) -> Error {
    let reason = format!("{what} is missing; `{command}` mends it");
    Error::os("start a browser", io::Error::other(reason))
}

fn program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| missing(name, "cargo xtask setup"))
}

impl Browser {
    pub fn start(netns: &NetNs) -> Result<Self> {
        let (node, chromium) = (program("node")?, program("chromium")?);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboard");
        if !folder.join("node_modules/puppeteer-core").is_dir() {
            return Err(missing("puppeteer-core", "cargo xtask dashboard"));
        }
        let failed = |op: &'static str| move |source| Error::os(op, source);
        let profile =
            TempDir::with_prefix("cerco-browser-").map_err(failed("make a temporary directory"))?;
        let mut command = netns.command(node);
        command
            .arg(folder.join("browser/driver.mjs"))
            .arg(chromium)
            .arg(profile.path())
            .env("HOME", profile.path())
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Of its own, so that Ctrl-C at the test ends the browser by the end of its input.
            .process_group(0);
        let mut child = command.spawn().map_err(failed("start a browser"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().expect("invariant: it is a pipe");
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(io::Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            input,
            answers,
            _profile: profile,
        };
        browser.answer("start")?;
        Ok(browser)
    }

    fn answer(&mut self, op: &str) -> Result<Value> {
        let failed = |reason: String| Error::os(op.to_owned(), io::Error::other(reason));
        let line = self.answers.recv_timeout(LIMIT).map_err(|it| match it {
            RecvTimeoutError::Timeout => failed(format!("no answer in {} s", LIMIT.as_secs())),
            RecvTimeoutError::Disconnected => failed("the browser is gone".to_owned()),
        })?;
        let answer: Value = serde_json::from_str(&line).map_err(|it| failed(it.to_string()))?;
        match answer.get("error") {
            Some(error) => Err(failed(error.to_string())),
            None => Ok(answer["ok"].clone()),
        }
    }

    /// Gives a command of the driver.
    pub fn give(&mut self, name: &str, mut rest: Value) -> Result<Value> {
        rest["do"] = json!(name);
        let shown = format!("let the browser {rest:.200}");
        if let Some(input) = &mut self.input {
            writeln!(input, "{rest}").map_err(|source| Error::os(shown.clone(), source))?;
        }
        self.answer(&shown)
    }

    /// Opens `url`; the status of its answer.
    pub fn open(&mut self, url: &str, look: Look) -> Result<Value> {
        let Look {
            width,
            height,
            dark,
            touch,
        } = look;
        let rest =
            json!({"url": url, "width": width, "height": height, "dark": dark, "touch": touch});
        self.give("open", rest)
    }

    /// The value of an expression in the page.
    pub fn eval(&mut self, js: &str) -> Result<Value> {
        self.give("eval", json!({ "js": js }))
    }

    /// Waits until the expression is true in the page; its value.
    pub fn wait(&mut self, js: &str) -> Result<Value> {
        self.give("wait", json!({ "js": js, "seconds": 30 }))
    }

    pub fn press(&mut self, key: &str) -> Result<()> {
        self.give("press", json!({ "key": key })).map(drop)
    }

    pub fn click(&mut self, selector: &str) -> Result<()> {
        self.give("click", json!({ "selector": selector }))
            .map(drop)
    }

    /// What axe finds fault with in the page.
    pub fn axe(&mut self) -> Result<Value> {
        self.give("axe", json!({}))
    }

    /// Errors and warnings of the console, faults of scripts, and requests to other origins, since the last call.
    pub fn faults(&mut self) -> Result<Value> {
        self.give("faults", json!({}))
    }

    pub fn screenshot(&mut self, path: &Path, full: bool) -> Result<()> {
        self.give("screenshot", json!({ "path": path, "full": full }))
            .map(drop)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends with its input, and Chromium with the driver.
        drop(self.input.take());
        let ended = crate::poll::until("see the browser end", END_LIMIT, || {
            self.child.try_wait().ok().flatten()
        });
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

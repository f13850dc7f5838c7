//! Cargo on this workspace: where it is, what it built, and running commands to their end.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("invariant: xtask is a folder of the workspace")
}

/// The Cargo that runs us, in the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Cargo's target folder, wherever configuration or CARGO_TARGET_DIR puts it.
pub fn target_dir() -> Result<PathBuf> {
    let text = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("failed to read cargo metadata")?;
    let path = metadata["target_directory"]
        .as_str()
        .context("cargo metadata has no target_directory")?;
    Ok(PathBuf::from(path))
}

/// Runs `cargo build` and returns the path of every executable by its name.
pub fn build(arguments: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = cargo();
    command
        .arg("build")
        .args(arguments)
        .arg("--message-format=json-render-diagnostics");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {command:?}"))?;
    let stdout = child
        .stdout
        .take()
        .expect("invariant: standard output is a pipe");
    let mut executables = BTreeMap::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("failed to read what cargo prints")?;
        if let Some((name, path)) = executable(&line) {
            executables.insert(name, path);
        }
    }
    let status = child.wait().context("failed to wait for cargo")?;
    check("cargo build", status)?;
    Ok(executables)
}

/// Name and path, when a line of Cargo's JSON messages reports an executable.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let path = message["executable"].as_str()?;
    let name = message["target"]["name"].as_str()?;
    Some((name.to_owned(), PathBuf::from(path)))
}

/// Runs with our own input and output; an exit code other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command
        .status()
        .with_context(|| format!("failed to start {shown}"))?;
    check(&shown, status)
}

/// Runs and returns standard output; the error carries what was printed to standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start {shown}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{shown} failed ({}): {}", output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Like [`run`], but kills the command once `limit` has passed.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let shown = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("failed to start {shown}"))?;
    match wait_within(&mut child, limit).with_context(|| format!("failed to wait for {shown}"))? {
        Some(status) => check(&shown, status),
        None => bail!("{shown} took longer than {} s", limit.as_secs()),
    }
}

fn wait_within(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn check(shown: &str, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{shown} failed ({status})");
    }
    Ok(())
}

/// The command line as a person would type it.
pub fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(
        command
            .get_args()
            .map(|argument| argument.to_string_lossy()),
    );
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read_from_cargo_messages() {
        let cases = [
            (
                r#"{"reason":"compiler-artifact","target":{"name":"cerco"},"executable":"/t/cerco"}"#,
                Some(("cerco".to_owned(), PathBuf::from("/t/cerco"))),
            ),
            (
                r#"{"reason":"compiler-artifact","target":{"name":"libc"},"executable":null}"#,
                None,
            ),
            (r#"{"reason":"build-finished","success":true}"#, None),
            ("warning: not JSON", None),
        ];
        for (line, expected) in cases {
            assert_eq!(executable(line), expected, "{line}");
        }
    }

    #[test]
    fn command_that_hangs_is_ended() {
        let started = Instant::now();
        let error = run_within(Command::new("sleep").arg("60"), Duration::from_millis(200));
        assert_eq!(
            error.unwrap_err().to_string(),
            "sleep 60 took longer than 0 s"
        );
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn failure_carries_what_was_printed() {
        let error = output(Command::new("sh").args(["-c", "echo no room >&2; exit 3"]));
        assert_eq!(
            error.unwrap_err().to_string(),
            "sh -c echo no room >&2; exit 3 failed (exit status: 3): no room"
        );
    }
}

//! What can go wrong while a test builds its small network.

use std::{
    io,
    process::{Command, Output},
    time::Duration,
};
use thiserror::Error;

/// A failed step of the harness: what was attempted, and what the kernel or the command said.
#[derive(Debug, Error)]
pub enum Error {
    /// A system call failed.
    #[error("failed to {op}: {source}")]
    Os {
        op: String,
        #[source]
        source: io::Error,
    },
    /// A command ran and reported failure.
    #[error("failed to {op}: {command} ended with {status}: {output}")]
    Command {
        op: String,
        command: String,
        status: String,
        output: String,
    },
    /// A condition did not come true in time.
    #[error("failed to {op}: nothing within {waited:?}: {output}")]
    Deadline {
        op: String,
        waited: Duration,
        output: String,
    },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The last error of a libc call made by this thread.
    pub fn last_os(op: impl Into<String>) -> Self {
        Self::os(op, io::Error::last_os_error())
    }

    /// An `io::Error` with what was attempted.
    pub fn os(op: impl Into<String>, source: io::Error) -> Self {
        Self::Os {
            op: op.into(),
            source,
        }
    }
}

/// Checks the return value of a libc call that gives -1 on failure.
pub fn check(result: libc::c_int, op: impl FnOnce() -> String) -> Result<libc::c_int> {
    if result < 0 {
        Err(Error::last_os(op()))
    } else {
        Ok(result)
    }
}

/// Runs a command to its end; its standard output, or an error with everything that it printed.
pub fn run_to_end(command: &mut Command, op: &str) -> Result<String> {
    let line = command_line(command);
    let output = command
        .output()
        .map_err(|source| Error::os(format!("{op}: start {line}"), source))?;
    output_or_error(output, op, line)
}

/// The standard output of a command that succeeded, or an error with everything that it printed.
pub fn output_or_error(output: Output, op: &str, line: String) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Command {
        op: op.to_owned(),
        command: line,
        status: output.status.to_string(),
        output: format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    })
}

/// The command as a person would type it, for messages.
pub fn command_line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

//! How a verb failed: the message for the sysadmin and the exit code for the script.

use crate::{
    cause,
    control::{
        client::ClientError,
        protocol::{Refusal, RefusalKind},
    },
};

pub const FAILED: u8 = 1;
pub const BAD_USAGE: u8 = 2;
pub const NO_DAEMON: u8 = 3;

#[derive(PartialEq, Eq, Debug)]
pub struct Failure {
    pub code: u8,
    /// Empty when everything was said already.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(FAILED, message)
    }

    pub fn bad_usage(message: impl Into<String>) -> Self {
        Self::new(BAD_USAGE, message)
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NoDaemon { .. } => Self::new(NO_DAEMON, error.to_string()).hint(
                "start it with `systemctl start cerco`, or `cerco run` in the foreground; a gate \
                 that stands in the kernel goes on filtering without it: see `cerco status`",
            ),
            ClientError::Refused(Refusal {
                kind,
                message,
                hint,
            }) => Self {
                code: match kind {
                    RefusalKind::BadRequest => BAD_USAGE,
                    RefusalKind::Forbidden | RefusalKind::Failed => FAILED,
                },
                message,
                hint,
            },
            other => Self::failed(other.to_string()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(cause::chain(error.as_ref()))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}

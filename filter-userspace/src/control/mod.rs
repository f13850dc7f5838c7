//! The control socket: newline-delimited JSON over a Unix socket.
//!
//! One connection carries one question and one answer; that of who follows events goes on with a line for each. Peer credentials of the kernel decide who
//! may change something: root and the daemon's own user. The group of the socket may read.

pub mod client;
pub mod configured;
mod follow;
pub mod preview;
pub mod protocol;
pub mod reply;
pub mod server;

use std::time::Duration;

/// Longest question of those who may only read.
pub const MAX_QUESTION_BYTES: usize = 64 * 1024;
/// Longest question of those who may change something: as many bans as the kernel holds, of 46 bytes
/// each at most.
pub const MAX_CHANGE_BYTES: usize = 16 * 1024 * 1024;
/// Longest answer; as many bans fit.
pub const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// How long either side waits for a line that was begun. Reading a database can take seconds.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;

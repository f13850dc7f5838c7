//! Waiting for a condition, always with a deadline.

use crate::error::{Error, Result};
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long the condition rests between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks `condition` until it gives a value, for at most `limit`.
///
/// One look always comes after the limit: who was stopped for longer than that looks again before it gives up.
///
/// `what` finishes the sentence "failed to …" of the error.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let is_last = start.elapsed() >= limit;
        if let Some(value) = condition() {
            return Ok(value);
        }
        if is_last {
            return Err(Error::Deadline {
                op: what.to_owned(),
                waited: limit,
                output: String::new(),
            });
        }
        thread::sleep(PAUSE);
    }
}

//! Two pieces of work at a time.

use std::{io, panic::resume_unwind, thread};

/// Runs `here` on this thread and `beside` on another one, and returns when both are done.
///
/// Fails only when the thread cannot be started; then neither has run.
pub fn both<A, B: Send>(
    here: impl FnOnce() -> A,
    beside: impl FnOnce() -> B + Send,
) -> io::Result<(A, B)> {
    thread::scope(|scope| {
        let beside = thread::Builder::new().spawn_scoped(scope, beside)?;
        let here = here();
        let beside = beside.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok((here, beside))
    })
}

#[cfg(test)]
mod tests {
    use std::{panic::catch_unwind, thread::current};

    use super::*;

    #[test]
    fn both_run_on_threads_of_their_own_and_panics_get_through() {
        let (here, beside) = both(|| current().id(), || current().id()).unwrap();
        assert_eq!(here, current().id());
        assert_ne!(beside, here);
        let outcome = catch_unwind(|| both(|| (), || panic!("beside")).map(|((), ())| ()));
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"beside"));
    }
}

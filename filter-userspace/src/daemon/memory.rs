//! Memory that a reload took and does not need any more.

/// Returns free heap to the system.
///
/// Reading and compiling a database takes tens of megabytes for a moment, and glibc keeps them for the
/// next time. The daemon shares its host with what it guards, and the next time may be a month away.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number of bytes to keep and locks the heap by itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

//! Names of those who ask.

use std::{ffi::CStr, fs};

use super::changes::Actor;

/// The longest entry of the user database that is read.
const ENTRY_BYTES: usize = 16 * 1024;
/// Nobody has logged in: proc(5), `loginuid`.
const NO_LOGIN: u32 = u32::MAX;

/// The actor in words. `login`: as [`login_of`] found it while the asker was still there.
pub fn words(actor: Actor, login: Option<u32>) -> String {
    match actor {
        Actor::Daemon => "the daemon".to_owned(),
        Actor::Signal => "a signal".to_owned(),
        Actor::Peer { uid, .. } => match login {
            // As after `sudo`: who sat at the terminal is what an auditor asks.
            Some(login) if login != uid => format!("{} as {}", name(login), name(uid)),
            _ => name(uid),
        },
    }
}

/// Who logged in at first, which `sudo` and `su` do not change; `None` for services.
pub fn login_of(actor: Actor) -> Option<u32> {
    let Actor::Peer { pid: Some(pid), .. } = actor else {
        return None;
    };
    let text = fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?;
    text.trim().parse().ok().filter(|uid| *uid != NO_LOGIN)
}

/// The name of a user, or `user 1000` when the host does not know it.
fn name(uid: u32) -> String {
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut buffer = vec![0; ENTRY_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live memory of the given lengths; `found` is null or points to `entry`.
    let outcome = unsafe {
        libc::getpwuid_r(
            uid,
            entry.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut found,
        )
    };
    if outcome != 0 || found.is_null() {
        return format!("user {uid}");
    }
    // SAFETY: the call has filled the entry, whose name is a string in `buffer` that ends in NUL.
    let name = unsafe { CStr::from_ptr((*found).pw_name) };
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_has_a_name() {
        let peer = |uid| Actor::Peer { uid, pid: None };
        let cases = [
            (Actor::Daemon, None, "the daemon"),
            (Actor::Signal, None, "a signal"),
            (peer(0), None, "root"),
            (peer(0), Some(0), "root"),
            (peer(0), Some(4_000_000_001), "user 4000000001 as root"),
            (peer(4_000_000_001), None, "user 4000000001"),
        ];
        for (actor, login, expected) in cases {
            assert_eq!(words(actor, login), expected);
        }
    }
}

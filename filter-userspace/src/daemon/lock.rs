//! One daemon at a time: a lock on the state directory, gone with the process that holds it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another daemon runs already (process {pid}, lock {})", path.display())]
    Held { pid: String, path: PathBuf },
    #[error("failed to {attempt} {}: {source}", path.display())]
    Io {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `directory`, which is created if need be.
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join("lock");
        let io_error = |attempt| {
            let path = path.clone();
            move |source| LockError::Io {
                attempt,
                path,
                source,
            }
        };
        fs::create_dir_all(directory).map_err(io_error("create the directory of"))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error("open"))?;
        // SAFETY: the descriptor is open for as long as `file` lives, and flock takes no pointers.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(io_error("lock")(error));
            }
            let mut pid = String::new();
            // The other daemon may not have written its number yet.
            let _ = file.read_to_string(&mut pid);
            let pid = match pid.trim() {
                "" => "unknown".to_owned(),
                pid => pid.to_owned(),
            };
            return Err(LockError::Held { pid, path });
        }
        file.set_len(0).map_err(io_error("empty"))?;
        file.rewind().map_err(io_error("rewind"))?;
        writeln!(file, "{}", std::process::id()).map_err(io_error("write"))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_daemon_learns_the_pid_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let first = Lock::take(&state).unwrap();
        match Lock::take(&state).unwrap_err() {
            LockError::Held { pid, .. } => assert_eq!(pid, std::process::id().to_string()),
            other => panic!("{other}"),
        }
        drop(first);
        Lock::take(&state).unwrap();
    }
}

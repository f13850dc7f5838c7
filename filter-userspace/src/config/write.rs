//! Putting a changed config file in the place of the old one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{MAX_FILE_BYTES, read_file};
use crate::durable::{beside, sync_directory_of};

/// Another change waits for the daemon's reload, which may read a database.
const LOCK_TIMEOUT: Duration = Duration::from_secs(90);
const LOCK_RETRY: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("failed to {attempt} {}: {source}", path.display())]
    Io {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("somebody has changed {} meanwhile: look at it, and try again", path.display())]
    Changed { path: PathBuf },
    #[error("another change of the config in {} is under way", path.display())]
    Locked { path: PathBuf },
    #[error("{} would have more than {MAX_FILE_BYTES} bytes", path.display())]
    TooLarge { path: PathBuf },
}

/// Keeps other changes by command away for as long as it lives. Editors know nothing of it: [`replace`]
/// sees what they do.
#[derive(Debug)]
pub struct EditLock {
    _directory: File,
}

impl EditLock {
    /// Locks the directory of `file`, since the file itself is replaced. Waits for another holder.
    pub fn take(file: &Path) -> Result<Self, WriteError> {
        Self::take_within(file, LOCK_TIMEOUT)
    }

    fn take_within(file: &Path, timeout: Duration) -> Result<Self, WriteError> {
        let real = real_path(file)?;
        let path = directory_of(&real).to_owned();
        let io_error = |attempt, source| WriteError::Io {
            attempt,
            path: path.clone(),
            source,
        };
        let directory = File::open(&path).map_err(|source| io_error("open", source))?;
        let end = Instant::now() + timeout;
        loop {
            // SAFETY: the descriptor is open for as long as `directory` lives, and flock takes no pointers.
            if unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
                return Ok(Self {
                    _directory: directory,
                });
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(io_error("lock", error));
            }
            if Instant::now() >= end {
                return Err(WriteError::Locked { path });
            }
            std::thread::sleep(LOCK_RETRY);
        }
    }
}

/// Puts `new` in the place of `file`, if that still says `old`: whole or not at all, on the disk when this returns,
/// with the owner and the mode of before. A symbolic link stays one.
pub fn replace(file: &Path, old: &str, new: &str) -> Result<(), WriteError> {
    let real = real_path(file)?;
    let io_error = |attempt| {
        let path = real.clone();
        move |source| WriteError::Io {
            attempt,
            path,
            source,
        }
    };
    if new.len() as u64 > MAX_FILE_BYTES {
        return Err(WriteError::TooLarge { path: real });
    }
    let metadata = fs::metadata(&real).map_err(io_error("look at"))?;
    let successor = beside(&real);
    let written = write_like(&successor, &metadata, new.as_bytes())
        .map_err(io_error("write the successor of"))
        .and_then(|()| {
            // As late as can be; an editor that saves within these microseconds loses.
            match read_file(&real).map_err(io_error("read"))? == old {
                true => fs::rename(&successor, &real).map_err(io_error("replace")),
                false => Err(WriteError::Changed {
                    path: file.to_owned(),
                }),
            }
        });
    if written.is_err() {
        // It may not even have been created.
        let _ = fs::remove_file(&successor);
    }
    written?;
    sync_directory_of(&real).map_err(io_error("sync the directory of"))
}

fn write_like(path: &Path, like: &fs::Metadata, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        // Closed to others until it has the owner of the old one.
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        fchown(&file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
    file.write_all(content)?;
    file.sync_all()
}

fn real_path(file: &Path) -> Result<PathBuf, WriteError> {
    fs::canonicalize(file).map_err(|source| WriteError::Io {
        attempt: "find",
        path: file.to_owned(),
        source,
    })
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn owner_mode_and_link_stay() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("real.toml");
        let link = directory.path().join("link.toml");
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        // Only root can give a file away.
        // SAFETY: geteuid has no preconditions and cannot fail.
        let is_root = unsafe { libc::geteuid() } == 0;
        if is_root {
            std::os::unix::fs::chown(&real, Some(12), Some(34)).unwrap();
        }
        let before = fs::metadata(&real).unwrap();
        symlink("real.toml", &link).unwrap();
        replace(&link, "old", "new").unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let after = fs::metadata(&real).unwrap();
        assert_eq!(
            (after.mode(), after.uid(), after.gid()),
            (before.mode(), before.uid(), before.gid())
        );
        assert_ne!(after.ino(), before.ino(), "written in place");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_an_editor_saved_meanwhile_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cerco.toml");
        fs::write(&path, "another").unwrap();
        let error = replace(&path, "old", "new").unwrap_err();
        assert!(matches!(error, WriteError::Changed { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "another");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_change_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cerco.toml");
        fs::write(&path, "").unwrap();
        let first = EditLock::take(&path).unwrap();
        let error = EditLock::take_within(&path, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, WriteError::Locked { .. }), "{error}");
        drop(first);
        EditLock::take_within(&path, Duration::ZERO).unwrap();
    }
}

//! Files that are either the old one or the new one, whatever happens in between.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Puts `parts` one after the other in the place of `path`, through a file beside it.
///
/// A crash or a full disk leaves the old file. What was written of the new one is taken away, since
/// on a full disk it would be in the way of everything else.
pub fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let new = beside(path);
    let written = write(&new, parts).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // It may not even have been created.
        let _ = fs::remove_file(&new);
    }
    written?;
    sync_directory_of(path)
}

/// Where the successor of `path` is written.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = File::create(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// Without this the rename itself may be lost in a power cut.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_file_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        replace(&path, &[b"one"]).unwrap();
        replace(&path, &[b"two", b" three"]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two three");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        // A directory cannot be replaced by a file.
        let taken = directory.path().join("taken");
        fs::create_dir(&taken).unwrap();
        replace(&taken, &[b"x"]).unwrap_err();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}

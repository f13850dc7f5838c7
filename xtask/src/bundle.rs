//! The bundle of the dashboard: what it is made of, and where it lies. The build script of `cerco` includes
//! this file by path.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
};

/// What the bundle is made of, below the workspace; folders with all that is in them.
pub const INPUTS: [&str; 6] = [
    "dashboard/build.mjs",
    "dashboard/package-lock.json",
    "dashboard/package.json",
    "dashboard/src",
    "dashboard/tsconfig.json",
    "filter-userspace/data/map/map.json",
];

/// Where it is made, below the workspace: debug and release builds find the same one.
pub const FOLDER: &str = "dashboard/dist";

/// Lists the files: path in the URL, content type and name in the folder, with tabs between them.
pub const LIST: &str = "files.tsv";

/// Holds what [`fingerprint`] said when it was made.
pub const FINGERPRINT: &str = "fingerprint";

/// Whether there is a bundle, and whether it is that of these sources.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Missing,
    Stale,
    Fresh,
}

pub fn state(root: &Path) -> io::Result<State> {
    let folder = root.join(FOLDER);
    if !folder.join(LIST).is_file() {
        return Ok(State::Missing);
    }
    let made_of = fs::read_to_string(folder.join(FINGERPRINT)).unwrap_or_default();
    Ok(match made_of == fingerprint(root)? {
        true => State::Fresh,
        false => State::Stale,
    })
}

/// A hash over all that the bundle is made of. Another compiler may hash otherwise, and the bundle is made anew.
pub fn fingerprint(root: &Path) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    for input in INPUTS {
        for file in files_below(&root.join(input))? {
            file.strip_prefix(root).unwrap_or(&file).hash(&mut hasher);
            fs::read(&file)?.hash(&mut hasher);
        }
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn files_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries = fs::read_dir(path)?
        .map(|entry| entry.map(|it| it.path()))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        files.extend(files_below(&entry)?);
    }
    Ok(files)
}

//! Editions that somebody puts into a directory, for hosts without a way out.

use std::{fs, io, io::Read, path::Path, time::SystemTime};

use super::{Edition, Record, UpdateConfig, UpdateError, fetch::Conditions, unpacked, verify};

const ENDINGS: [&str; 7] = [
    ".mmdb", ".mmdb.gz", ".csv", ".csv.gz", ".tar.gz", ".tgz", ".txt",
];

/// The file in `directory` that was changed last.
pub fn newest(directory: &Path, config: &UpdateConfig) -> Result<Edition, UpdateError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| UpdateError::Read { path, source }
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let metadata = fs::metadata(&path).map_err(failed(&path))?;
        if metadata.is_file() {
            let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            files.push((changed, path));
        }
    }
    // The name decides between files of one time, so that it is always the same one.
    let Some((_, path)) = files.into_iter().max() else {
        let endings = ENDINGS.join(", ");
        let source = io::Error::other(format!("it holds no database ({endings})"));
        return Err(failed(directory)(source));
    };
    let bytes = read(&path, config.max_bytes).map_err(failed(&path))?;
    let beside = |ending: &str| -> Result<Option<(String, String)>, UpdateError> {
        let name = format!("{}{ending}", path.display());
        match fs::read_to_string(&name) {
            Ok(text) => Ok(Some((text, name))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(Path::new(&name))(error)),
        }
    };
    if let Some((text, name)) = beside(".sha256")? {
        verify::checksum(&bytes, &text, &name)?;
    }
    if let Some(key) = &config.minisign_key {
        let (text, name) = beside(".minisig")?.ok_or_else(|| {
            let source = io::Error::other("its signature is missing (FILE.minisig)");
            failed(&path)(source)
        })?;
        verify::signature(&bytes, &text, key, &name)?;
    }
    let what = path.display().to_string();
    let bytes = unpacked(bytes, config.max_bytes, &what)?;
    Ok(Edition {
        record: Record::of(&what, Conditions::default(), &bytes),
        bytes,
    })
}

fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(max_bytes + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::other(format!("more than {max_bytes} bytes")));
    }
    Ok(bytes)
}

//! What vendors wrap their databases in.

use std::{io, io::Read};

use flate2::read::MultiGzDecoder;

const GZIP: &[u8] = b"\x1f\x8b";
/// Where a tar archive says that it is one (POSIX ustar).
const TAR_MAGIC: &[u8] = b"ustar";
const TAR_MAGIC_AT: usize = 257;

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("{0}; the file is cut off or broken")]
    Broken(#[from] io::Error),
    #[error(
        "more than {limit} bytes come out of it; `max_megabytes` under [geo.update] allows more"
    )]
    TooLarge { limit: u64 },
    #[error("the archive holds no .mmdb file")]
    NoDatabase,
}

/// The database in `bytes`, which may be compressed, and an archive.
pub fn unpack(bytes: Vec<u8>, max_bytes: u64) -> Result<Vec<u8>, UnpackError> {
    let bytes = match bytes.starts_with(GZIP) {
        true => read(MultiGzDecoder::new(&bytes[..]), max_bytes)?,
        false => bytes,
    };
    let magic = bytes.get(TAR_MAGIC_AT..TAR_MAGIC_AT + TAR_MAGIC.len());
    if magic != Some(TAR_MAGIC) {
        return Ok(bytes);
    }
    for entry in tar::Archive::new(&bytes[..]).entries()? {
        let entry = entry?;
        let is_database = entry
            .path()?
            .extension()
            .is_some_and(|extension| extension == "mmdb");
        if is_database && entry.header().entry_type().is_file() {
            return read(entry, max_bytes);
        }
    }
    Err(UnpackError::NoDatabase)
}

fn read(from: impl Read, limit: u64) -> Result<Vec<u8>, UnpackError> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(UnpackError::TooLarge { limit });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            archive.append_data(&mut header, name, *bytes).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn database_comes_out_of_whatever_it_is_wrapped_in() {
        let files: &[(&str, &[u8])] = &[
            ("GeoLite2-Country_20260601/COPYRIGHT.txt", b"(c)"),
            (
                "GeoLite2-Country_20260601/GeoLite2-Country.mmdb",
                b"the database",
            ),
        ];
        for (name, bytes) in [
            ("plain", b"the database".to_vec()),
            ("gzip", gzip(b"the database")),
            ("tar", tar(files)),
            ("tar.gz", gzip(&tar(files))),
        ] {
            assert_eq!(unpack(bytes, 1 << 20).unwrap(), b"the database", "{name}");
        }
    }

    #[test]
    fn bombs_stumps_and_other_archives_are_errors() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert!(bomb.len() < 10_000);
        let cases = [
            ("bomb", bomb, "more than 65536 bytes come out of it"),
            (
                "cut off",
                gzip(b"the database")[..20].to_vec(),
                "the file is cut off or broken",
            ),
            ("other archive", tar(&[("a.txt", b"x")]), "no .mmdb file"),
        ];
        for (name, bytes, expected) in cases {
            let error = unpack(bytes, 65_536).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}

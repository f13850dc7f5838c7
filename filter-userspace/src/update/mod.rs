//! New editions of the database from elsewhere: what to ask for, how it is fetched, and what must be
//! true of it before anybody looks inside. Nothing here puts anything in force.

mod directory;
mod fetch;
mod maxmind;
mod origin;
mod record;
mod unpack;
mod verify;

pub use fetch::{Answer, Conditions, FetchError, Fetched, Fetcher};
pub use origin::{Month, Origin, OriginError, Question};
pub use record::Record;
pub use unpack::UnpackError;

use std::{io, path::PathBuf};

use crate::geo::UpdateFailure;

/// What `[geo.update]` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpdateConfig {
    /// `dbip-lite`, `maxmind`, an https URL or a directory.
    pub source: Option<String>,
    /// Where the SHA-256 of the file stands.
    pub checksum: Option<String>,
    /// Whose signature must stand at the URL with `.minisig` behind it.
    pub minisign_key: Option<String>,
    /// Of what is fetched and of what is unpacked from it.
    pub max_bytes: u64,
}

/// Why there is no new edition.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    #[error(transparent)]
    Origin(#[from] OriginError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("failed to read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Verify(#[from] verify::VerifyError),
    #[error("cannot unpack {what}: {source}")]
    Unpack { what: String, source: UnpackError },
}

impl UpdateError {
    pub const fn failure(&self) -> UpdateFailure {
        match self {
            Self::Origin(_) | Self::Fetch(_) | Self::Read { .. } => UpdateFailure::Download,
            Self::Verify(error) => error.failure(),
            Self::Unpack { .. } => UpdateFailure::Invalid,
        }
    }
}

/// A new edition, unpacked, with what is needed to ask for the next one.
#[derive(Debug)]
pub struct Edition {
    pub bytes: Vec<u8>,
    pub record: Record,
}

/// Asks `origin` for an edition; `None` when it has none that is newer than `earlier`.
pub fn fetch(
    origin: &Origin,
    config: &UpdateConfig,
    fetcher: &Fetcher,
    earlier: Option<&Record>,
) -> Result<Option<Edition>, UpdateError> {
    match origin {
        Origin::Directory(path) => directory::newest(path, config).map(Some),
        Origin::Remote(questions) => remote(questions, config, fetcher, earlier),
    }
}

/// Tries one question after the other, as long as what they ask for does not exist.
fn remote(
    questions: &[Question],
    config: &UpdateConfig,
    fetcher: &Fetcher,
    earlier: Option<&Record>,
) -> Result<Option<Edition>, UpdateError> {
    let mut missing = None;
    for question in questions {
        let conditions = earlier
            .filter(|record| record.url == question.url)
            .map(|record| record.conditions.clone())
            .unwrap_or_default();
        let fetched = match fetcher.get(&question.url, question.login.as_ref(), &conditions) {
            Ok(Answer::NotModified) => return Ok(None),
            Ok(Answer::Found(fetched)) => fetched,
            Err(error) if error.is_not_found() => {
                missing = Some(error);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let login = question.login.as_ref();
        if let Some(url) = question.checksum.as_ref().or(config.checksum.as_ref()) {
            let text = fetcher.get_text(url, login)?;
            verify::checksum(&fetched.bytes, &text, url)?;
        }
        if let Some(key) = &config.minisign_key {
            let url = format!("{}.minisig", question.url);
            let text = fetcher.get_text(&url, login)?;
            verify::signature(&fetched.bytes, &text, key, &url)?;
        }
        let bytes = unpacked(fetched.bytes, config.max_bytes, &question.url)?;
        return Ok(Some(Edition {
            record: Record::of(&question.url, fetched.conditions, &bytes),
            bytes,
        }));
    }
    // There is at least one question, so all of them were answered so.
    Err(missing.map_or_else(|| OriginError::Nothing.into(), UpdateError::Fetch))
}

fn unpacked(bytes: Vec<u8>, max_bytes: u64, what: &str) -> Result<Vec<u8>, UpdateError> {
    unpack::unpack(bytes, max_bytes).map_err(|source| UpdateError::Unpack {
        what: what.to_owned(),
        source,
    })
}

//! The files of the page, made by `cargo xtask dashboard` and embedded by the build script.

use std::io::Read as _;

use flate2::read::GzDecoder;
use hyper::body::Bytes;

/// What a build without Node.js says in place of the page.
pub const MISSING: &str = "this build has no dashboard: it was built without Node.js; install Node.js 18 or newer \
     and npm (Debian: `apt-get install nodejs npm`), then `cargo xtask dashboard` and build again";

/// A file as it is embedded.
pub struct Embedded {
    /// As in `/assets/app-1A2B3C4D.js`.
    pub path: &'static str,
    pub kind: &'static str,
    /// Compressed.
    pub gzip: &'static [u8],
    /// Of the content; two that differ have two of them.
    pub etag: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/dashboard_assets.rs"));

#[derive(Clone, Copy)]
pub struct Assets(&'static [Embedded]);

impl Assets {
    pub const fn embedded() -> Self {
        Self(EMBEDDED)
    }

    /// As in a build without the bundle.
    #[cfg(test)]
    pub const fn none() -> Self {
        Self(&[])
    }

    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The file at exactly this path; there is no directory to climb out of.
    pub fn find(self, path: &str) -> Option<&'static Embedded> {
        self.0.iter().find(|it| it.path == path)
    }
}

impl Embedded {
    /// For a reader that takes nothing compressed, which no browser is.
    pub fn plain(&self) -> Bytes {
        let mut plain = Vec::new();
        match GzDecoder::new(self.gzip).read_to_end(&mut plain) {
            Ok(_) => plain.into(),
            Err(_) => Bytes::new(),
        }
    }

    /// Whether the name changes with the content, so that it can be kept for ever.
    pub fn is_named_by_content(&self) -> bool {
        self.path.starts_with("/assets/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_files_are_whole_and_of_a_known_kind() {
        let assets = Assets::embedded();
        assert_eq!(assets.is_empty(), assets.find("/").is_none());
        for asset in EMBEDDED {
            assert!(!asset.plain().is_empty(), "{}", asset.path);
            assert!(asset.path.starts_with('/'), "{}", asset.path);
            assert!(!asset.etag.is_empty(), "{}", asset.path);
        }
    }
}

//! Checksums and signatures of what was fetched, before anybody looks inside.

use minisign_verify::{PublicKey, Signature};

use crate::geo::{Digest, UpdateFailure};

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("the SHA-256 of what was fetched is {found}, but {at} says {expected}")]
    Checksum {
        at: String,
        expected: Digest,
        found: Digest,
    },
    #[error("{at} does not begin with a SHA-256")]
    NoChecksum { at: String },
    #[error("`minisign_key` under [geo.update] is no public key of minisign: {0}")]
    Key(minisign_verify::Error),
    #[error("{at} does not sign what was fetched: {source}")]
    Signature {
        at: String,
        source: minisign_verify::Error,
    },
}

impl VerifyError {
    pub const fn failure(&self) -> UpdateFailure {
        match self {
            Self::Checksum { .. } | Self::NoChecksum { .. } => UpdateFailure::Checksum,
            Self::Key(_) | Self::Signature { .. } => UpdateFailure::Signature,
        }
    }
}

/// `text` as `sha256sum` writes it, from `at`.
pub fn checksum(bytes: &[u8], text: &str, at: &str) -> Result<(), VerifyError> {
    let expected: Digest = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| VerifyError::NoChecksum { at: at.to_owned() })?;
    let found = Digest::of(bytes);
    if found != expected {
        return Err(VerifyError::Checksum {
            at: at.to_owned(),
            expected,
            found,
        });
    }
    Ok(())
}

/// `text` as `minisign` writes it, from `at`.
pub fn signature(bytes: &[u8], text: &str, key: &str, at: &str) -> Result<(), VerifyError> {
    let key = PublicKey::from_base64(key).map_err(VerifyError::Key)?;
    let bad = |source| VerifyError::Signature {
        at: at.to_owned(),
        source,
    };
    let signature = Signature::decode(text).map_err(bad)?;
    key.verify(bytes, &signature, false).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the manual of minisign-verify: the signature of "test".
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key
RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=
trusted comment: timestamp:1556193335\tfile:test
y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==
";

    #[test]
    fn only_the_bytes_that_were_signed_pass() {
        signature(b"test", SIGNATURE, KEY, "x.minisig").unwrap();
        let error = signature(b"Test", SIGNATURE, KEY, "x.minisig").unwrap_err();
        assert_eq!(error.failure(), UpdateFailure::Signature);
        let error = error.to_string();
        assert!(error.starts_with("x.minisig does not sign what"), "{error}");
        for (text, key) in [("", KEY), (SIGNATURE, "RWQ"), ("<html>404</html>", KEY)] {
            signature(b"test", text, key, "x.minisig").unwrap_err();
        }
    }

    #[test]
    fn only_the_bytes_of_the_checksum_pass() {
        let text = format!("{}  GeoLite2-Country.tar.gz\n", Digest::of(b"test"));
        checksum(b"test", &text, "x.sha256").unwrap();
        let error = checksum(b"Test", &text, "x.sha256").unwrap_err();
        assert_eq!(error.failure(), UpdateFailure::Checksum);
        let error = checksum(b"test", "<html>", "x.sha256")
            .unwrap_err()
            .to_string();
        assert_eq!(error, "x.sha256 does not begin with a SHA-256");
    }
}

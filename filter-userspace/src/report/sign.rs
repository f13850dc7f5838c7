//! Detached signatures of minisign: who made a report, and that nobody has changed it since.

use std::{
    fs,
    io::{Cursor, IsTerminal, Read},
    path::{Path, PathBuf},
};

use base64::prelude::*;
use minisign::{ErrorKind, PError, PublicKey, SecretKey, SecretKeyBox};
use thiserror::Error;

/// A secret key is a comment and a line.
const MAX_KEY_BYTES: u64 = 4096;
const MAX_PASSWORD_BYTES: u64 = 1024;

#[derive(Debug, Error)]
pub enum SignError {
    #[error("failed to read the secret key {}: {source}", path.display())]
    Key {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is no secret key of minisign: {source}", path.display())]
    NoKey { path: PathBuf, source: PError },
    #[error("failed to open the secret key {}: {source}", path.display())]
    Locked { path: PathBuf, source: PError },
    #[error("failed to read the password: {0}")]
    Password(std::io::Error),
    #[error("failed to sign: {0}")]
    Sign(PError),
}

/// A signature, and how to check it.
#[derive(Debug)]
pub struct Signed {
    /// What goes into the file beside what was signed.
    pub text: String,
    /// As `minisign -P` takes it.
    pub public_key: String,
}

/// Where minisign itself keeps the secret key.
pub fn default_key() -> Option<PathBuf> {
    let directory = std::env::var_os("MINISIGN_CONFIG_DIR").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".minisign"));
    Some(directory.or(home)?.join("minisign.key"))
}

/// Where the signature of `file` stands, as minisign expects it.
pub fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Signs `bytes`. A key with a password asks for it on the terminal, or reads a line of standard input.
/// `comment`: is signed, too, and shown by who verifies.
pub fn sign(bytes: &[u8], key: &Path, comment: &str) -> Result<Signed, SignError> {
    let text = read_key(key)?;
    let no_key = |source| SignError::NoKey {
        path: key.to_owned(),
        source,
    };
    let mut secret = parsed(&text).map_err(no_key)?;
    if secret.is_encrypted() {
        let password = password(key)?;
        let boxed = SecretKeyBox::from_string(&text).map_err(no_key)?;
        let opened = boxed.into_secret_key(Some(password));
        secret = opened.map_err(|source| SignError::Locked {
            path: key.to_owned(),
            source,
        })?;
    }
    let public = PublicKey::from_secret_key(&secret).map_err(SignError::Sign)?;
    // One line each, or the signature could not be read again.
    let comment = comment.replace(['\r', '\n'], " ");
    let untrusted = "signature from minisign secret key";
    let signature = minisign::sign(
        Some(&public),
        &secret,
        Cursor::new(bytes),
        Some(&comment),
        Some(untrusted),
    )
    .map_err(SignError::Sign)?;
    Ok(Signed {
        text: signature.into_string(),
        public_key: public.to_base64(),
    })
}

/// The key as it stands in the file. Keys without a password are not asked for their checksum: minisign writes
/// none, and a key that is not whole fails when its signature is verified.
fn parsed(text: &str) -> Result<SecretKey, PError> {
    let line = text.lines().nth(1).unwrap_or_default().trim();
    let bytes = BASE64_STANDARD
        .decode(line)
        .map_err(|error| PError::new(ErrorKind::Encoding, error))?;
    SecretKey::from_bytes(&bytes)
}

fn read_key(path: &Path) -> Result<String, SignError> {
    let mut text = String::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(MAX_KEY_BYTES).read_to_string(&mut text));
    read.map_err(|source| SignError::Key {
        path: path.to_owned(),
        source,
    })?;
    Ok(text)
}

fn password(key: &Path) -> Result<String, SignError> {
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password(format!("Password of {}: ", key.display()))
            .map_err(SignError::Password);
    }
    let mut bytes = Vec::new();
    let mut input = std::io::stdin().lock().take(MAX_PASSWORD_BYTES);
    std::io::BufRead::read_until(&mut std::io::BufReader::new(&mut input), b'\n', &mut bytes)
        .map_err(SignError::Password)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use minisign::KeyPair;

    use super::*;

    #[test]
    fn signature_is_good_for_these_bytes_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("minisign.key");
        let pair = KeyPair::generate_unencrypted_keypair().unwrap();
        fs::write(&path, pair.sk.to_box(None).unwrap().to_string()).unwrap();
        let signed = sign(b"a report", &path, "cerco\nreport").unwrap();
        assert_eq!(signed.public_key, pair.pk.to_base64());
        let key = minisign_verify::PublicKey::from_base64(&signed.public_key).unwrap();
        let signature = minisign_verify::Signature::decode(&signed.text).unwrap();
        assert_eq!(signature.trusted_comment(), "cerco report");
        key.verify(b"a report", &signature, false).unwrap();
        key.verify(b"A report", &signature, false).unwrap_err();
    }

    #[test]
    fn what_is_no_key_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("minisign.key");
        let error = sign(b"", &path, "").unwrap_err().to_string();
        assert!(
            error.starts_with("failed to read the secret key /"),
            "{error}"
        );
        fs::write(&path, "untrusted comment: x\nRWQf6LRCGA9i53m\n").unwrap();
        let error = sign(b"", &path, "").unwrap_err().to_string();
        assert!(error.contains("is no secret key of minisign"), "{error}");
    }
}

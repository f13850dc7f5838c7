//! Who may see the dashboard: the token, and TLS on the way to it.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::{DashboardConfig, TlsFiles};

/// Between two looks for files that could not be read.
pub const RETRY: Duration = Duration::from_secs(5);
/// How often it is looked whether the certificate was renewed.
const RENEWAL_CHECK: Duration = Duration::from_secs(60);
/// Characters; 32 of hex are 128 bits.
const MIN_TOKEN_CHARS: usize = 32;
const MAX_TOKEN_BYTES: u64 = 4096;
/// Whatever but the owner may do to a secret, except that its group may read it.
const OPEN_BITS: u32 = 0o037;
const NEW_TOKEN: &str = "(umask 077; openssl rand -hex 32 > FILE)";

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("[dashboard] {key}: cannot read {}: {source}", path.display())]
    Read {
        key: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "[dashboard] {key}: {} can be read by others (its mode is {mode:04o}): `chmod 600 {}`",
        path.display(), path.display()
    )]
    Open {
        key: &'static str,
        path: PathBuf,
        mode: u32,
    },
    #[error(
        "[dashboard] token_file: the token in {} {what}; make one: `{NEW_TOKEN}`",
        path.display()
    )]
    Token { path: PathBuf, what: String },
    #[error("[dashboard] {key}: {}: {what}", path.display())]
    Tls {
        key: &'static str,
        path: PathBuf,
        what: String,
    },
}

impl AccessError {
    /// Whether only this user cannot tell.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// What a viewer needs.
pub struct Access {
    pub token: Option<Token>,
    pub tls: Option<Tls>,
}

impl Access {
    /// Reads the files that the config names.
    pub fn load(config: &DashboardConfig) -> Result<Self, AccessError> {
        let token = config.token_file.as_deref().map(Token::read).transpose()?;
        let tls = config.tls.clone().map(Tls::load).transpose()?;
        Ok(Self { token, tls })
    }

    pub fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }
}

/// Opens a file that is a secret, if it is one.
fn read_secret(key: &'static str, path: &Path) -> Result<Vec<u8>, AccessError> {
    let failed = |source| AccessError::Read {
        key,
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OPEN_BITS != 0 {
        return Err(AccessError::Open {
            key,
            path: path.to_owned(),
            mode,
        });
    }
    if metadata.len() > MAX_TOKEN_BYTES * 16 {
        return Err(failed(io::Error::other("it is too large for a secret")));
    }
    fs::read(path).map_err(failed)
}

/// The SHA-256 of the token, which is all that is kept of it.
pub struct Token([u8; 32]);

impl Token {
    fn read(path: &Path) -> Result<Self, AccessError> {
        let bytes = read_secret("token_file", path)?;
        Self::parse(&bytes).map_err(|what| AccessError::Token {
            path: path.to_owned(),
            what,
        })
    }

    /// Line ends around it are none of it.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let token = bytes.trim_ascii();
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err("has blanks, or characters that are not ASCII".to_owned());
        }
        if token.len() < MIN_TOKEN_CHARS {
            return Err(format!(
                "has {} characters, and needs {MIN_TOKEN_CHARS} at least",
                token.len()
            ));
        }
        if token.len() as u64 > MAX_TOKEN_BYTES {
            return Err(format!("is longer than {MAX_TOKEN_BYTES} characters"));
        }
        Ok(Self(Sha256::digest(token).into()))
    }

    /// In a time that does not depend on how much of it is right: digests are compared, all of them.
    pub fn is(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        self.0.ct_eq(&given).into()
    }
}

/// TLS that goes on with a new certificate when its files are replaced.
pub struct Tls {
    files: TlsFiles,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    /// When both files were written.
    written: [Option<SystemTime>; 2],
    looked: Instant,
    /// Why what stands in the files since then is not taken; once is enough for the log.
    fault: Option<String>,
}

impl Tls {
    fn load(files: TlsFiles) -> Result<Self, AccessError> {
        let written = written(&files);
        let acceptor = acceptor(&files)?;
        Ok(Self {
            files,
            current: Mutex::new(Current {
                acceptor,
                written,
                looked: Instant::now(),
                fault: None,
            }),
        })
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= RENEWAL_CHECK {
            current.looked = Instant::now();
            self.renew(&mut current);
        }
        current.acceptor.clone()
    }

    /// Takes what stands in the files now; when that is no certificate with its key, the old one stays.
    fn renew(&self, current: &mut Current) {
        let now = written(&self.files);
        if now == current.written {
            return;
        }
        match acceptor(&self.files) {
            Ok(acceptor) => {
                info!("dashboard: the new certificate is used");
                current.acceptor = acceptor;
                current.written = now;
                current.fault = None;
            }
            // Tried again with each look: who opens the key to the daemon does not write it anew.
            Err(error) => {
                let text = error.to_string();
                if current.fault.as_ref() != Some(&text) {
                    warn!("dashboard: the certificate of before is used on: {text}");
                    current.fault = Some(text);
                }
            }
        }
    }
}

fn written(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    [&files.certificate, &files.key]
        .map(|path| fs::metadata(path).and_then(|it| it.modified()).ok())
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, AccessError> {
    let wrong = |key, path: &Path, what: String| AccessError::Tls {
        key,
        path: path.to_owned(),
        what,
    };
    let (cert_key, key_key) = ("tls_certificate", "tls_key");
    let pem = fs::read(&files.certificate).map_err(|source| AccessError::Read {
        key: cert_key,
        path: files.certificate.clone(),
        source,
    })?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(cert_key, &files.certificate, error.to_string()))?;
    if chain.is_empty() {
        let what = "there is no certificate in it (PEM begins with -----BEGIN CERTIFICATE-----)";
        return Err(wrong(cert_key, &files.certificate, what.to_owned()));
    }
    let pem = read_secret(key_key, &files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| wrong(key_key, &files.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(cert_key, &files.certificate, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(key_key, &files.key, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn token_is_long_and_alone_in_its_file() {
        let token = Token::parse(format!("{TOKEN}\n").as_bytes()).unwrap();
        assert!(token.is(TOKEN));
        for wrong in ["", "0123456789abcdef0123456789abcdee", "0123456789abcdef"] {
            assert!(!token.is(wrong), "{wrong}");
        }
        assert!(!token.is(&format!("{TOKEN}\n")));
        let fault = |text: &str| Token::parse(text.as_bytes()).err().unwrap();
        let short = "has 31 characters, and needs 32 at least";
        assert_eq!(fault(&format!("  {}\n", &TOKEN[1..])), short);
        let odd = "has blanks, or characters that are not ASCII";
        assert_eq!(fault(&format!("{TOKEN} {TOKEN}")), odd);
        assert_eq!(fault(&format!("{TOKEN}é")), odd);
    }

    #[test]
    fn secret_that_others_can_read_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, TOKEN).unwrap();
        for (mode, is_secret) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o644, false),
            (0o604, false),
            (0o620, false),
            (0o602, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = Token::read(&path);
            assert_eq!(read.is_ok(), is_secret, "{mode:o}");
            if let Err(error) = read {
                let text = error.to_string();
                let expected = format!(
                    "[dashboard] token_file: {0} can be read by others (its mode is {mode:04o}): \
                     `chmod 600 {0}`",
                    path.display()
                );
                assert_eq!(text, expected);
            }
        }
        let directory_error = Token::read(directory.path()).err().unwrap().to_string();
        assert!(
            directory_error.ends_with("it is not a regular file"),
            "{directory_error}"
        );
    }

    #[test]
    fn renewed_key_is_taken_once_it_is_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            certificate: directory.path().join("cert.pem"),
            key: directory.path().join("key.pem"),
        };
        let renew = |mode: u32, hours: u64| {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(hours * 3600);
            for (path, pem) in [
                (&files.certificate, made.cert.pem()),
                (&files.key, made.signing_key.serialize_pem()),
            ] {
                fs::write(path, pem).unwrap();
                let file = fs::File::options().write(true).open(path).unwrap();
                file.set_modified(written).unwrap();
            }
            fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        };
        renew(0o600, 1);
        let tls = Tls::load(files.clone()).unwrap();
        let look = || {
            let mut current = tls.current.lock().unwrap();
            let before = current.acceptor.config().clone();
            tls.renew(&mut current);
            let is_new = !Arc::ptr_eq(&before, current.acceptor.config());
            (is_new, current.fault.is_some())
        };
        assert_eq!(look(), (false, false));
        renew(0o644, 2);
        assert_eq!(look(), (false, true));
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(look(), (true, false));
        assert_eq!(look(), (false, false));
    }
}

//! MaxMind's account and key, as `geoipupdate` has them in `/etc/GeoIP.conf`.
//!
//! <https://dev.maxmind.com/geoip/updating-databases/>

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::origin::Question;

const HOST: &str = "download.maxmind.com";
const EDITION: &str = "GeoLite2-Country";

#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    #[error("failed to read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} says no {key}", path.display())]
    Missing { path: PathBuf, key: &'static str },
}

/// The question for the country edition of the account in `path`.
pub fn question(path: &Path) -> Result<Question, ConfError> {
    let text = fs::read_to_string(path).map_err(|source| ConfError::Read {
        path: path.to_owned(),
        source,
    })?;
    let required = |key, earlier_key| {
        value(&text, key)
            .or_else(|| value(&text, earlier_key))
            .ok_or_else(|| ConfError::Missing {
                path: path.to_owned(),
                key,
            })
    };
    let account = required("AccountID", "UserId")?;
    let key = required("LicenseKey", "LicenseKey")?;
    let host = value(&text, "Host").unwrap_or(HOST);
    let host = host.trim_start_matches("https://").trim_end_matches('/');
    let editions = value(&text, "EditionIDs").or_else(|| value(&text, "ProductIds"));
    let edition = editions
        .unwrap_or_default()
        .split_ascii_whitespace()
        .find(|edition| edition.contains("Country"))
        .unwrap_or(EDITION);
    let url = format!("https://{host}/geoip/databases/{edition}/download?suffix=tar.gz");
    Ok(Question {
        checksum: Some(format!("{url}.sha256")),
        url,
        login: Some((account.to_owned(), key.to_owned())),
    })
}

/// `Key value`, the rest of the line.
fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace))
        .find(|(name, _)| name.eq_ignore_ascii_case(key))
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_key_and_edition_are_read_as_geoipupdate_reads_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("GeoIP.conf");
        let base = "https://download.maxmind.com/geoip/databases/";
        for (text, url) in [
            (
                "# AccountID 7\nAccountID 42\nLicenseKey  k_1\n",
                format!("{base}GeoLite2-Country/download?suffix=tar.gz"),
            ),
            (
                "UserId 42\nlicensekey k_1\nProductIds GeoLite2-City GeoIP2-Country\n",
                format!("{base}GeoIP2-Country/download?suffix=tar.gz"),
            ),
            (
                "AccountID 42\nLicenseKey k_1\nHost https://mirror.example:8443/\n",
                "https://mirror.example:8443/geoip/databases/GeoLite2-Country/download?suffix=tar.gz"
                    .to_owned(),
            ),
        ] {
            fs::write(&path, text).unwrap();
            let expected = Question {
                checksum: Some(format!("{url}.sha256")),
                url,
                login: Some(("42".into(), "k_1".into())),
            };
            assert_eq!(question(&path).unwrap(), expected, "{text}");
        }
        fs::write(&path, "AccountID 42\n").unwrap();
        let error = question(&path).unwrap_err().to_string();
        assert!(error.ends_with("GeoIP.conf says no LicenseKey"), "{error}");
    }
}

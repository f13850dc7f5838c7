//! Where editions come from, and the questions to ask there.

use std::path::{Path, PathBuf};

use super::{fetch::Login, maxmind};

/// DB-IP publishes one edition a month: <https://db-ip.com/db/download/ip-to-country-lite>.
const DBIP_LITE: &str = "https://download.db-ip.com/free/dbip-country-lite-{year}-{month}.mmdb.gz";

/// One file to ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    pub url: String,
    /// Where its SHA-256 stands.
    pub checksum: Option<String>,
    pub login: Option<Login>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The first of them that exists is meant.
    Remote(Vec<Question>),
    /// For hosts without a way out: somebody puts files there.
    Directory(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    #[error(
        "\"{0}\" is no source of databases; expected dbip-lite, maxmind, an https:// URL or the \
         absolute path of a directory"
    )]
    Unknown(String),
    #[error("{0} is not encrypted: whoever stands between could change it; use https://")]
    NotHttps(String),
    #[error(transparent)]
    MaxMind(#[from] maxmind::ConfError),
    #[error("nothing is named under [geo.update] source; name it there, or with --from")]
    Nothing,
}

/// A month, from 1 to 12.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Month {
    pub year: i16,
    pub month: i8,
}

impl Month {
    pub fn now() -> Self {
        let now = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now());
        Self {
            year: now.year(),
            month: now.month(),
        }
    }

    const fn before(self) -> Self {
        match self.month {
            1 => Self {
                year: self.year - 1,
                month: 12,
            },
            month => Self {
                month: month - 1,
                ..self
            },
        }
    }
}

impl Origin {
    /// `geoip_conf`: where MaxMind's account and key stand.
    pub fn parse(text: &str, now: Month, geoip_conf: &Path) -> Result<Self, OriginError> {
        match text {
            "dbip-lite" => Ok(Self::of_url(DBIP_LITE, now)),
            "maxmind" => Ok(Self::Remote(vec![maxmind::question(geoip_conf)?])),
            url if url.starts_with("https://") => Ok(Self::of_url(url, now)),
            url if url.starts_with("http://") => Err(OriginError::NotHttps(url.to_owned())),
            path if path.starts_with('/') => Ok(Self::Directory(path.into())),
            other => Err(OriginError::Unknown(other.to_owned())),
        }
    }

    /// A URL with `{year}` and `{month}` is asked for this month, and then for the last: on the first
    /// day of a month its edition may not be there yet.
    fn of_url(template: &str, now: Month) -> Self {
        let question = |month: Month| Question {
            url: template
                .replace("{year}", &format!("{:04}", month.year))
                .replace("{month}", &format!("{:02}", month.month)),
            checksum: None,
            login: None,
        };
        let (this, last) = (question(now), question(now.before()));
        Self::Remote(match this == last {
            true => vec![this],
            false => vec![this, last],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str, year: i16, month: i8) -> Vec<String> {
        let conf = Path::new("/nonexistent/GeoIP.conf");
        match Origin::parse(text, Month { year, month }, conf).unwrap() {
            Origin::Remote(questions) => questions.into_iter().map(|it| it.url).collect(),
            Origin::Directory(path) => panic!("{}", path.display()),
        }
    }

    #[test]
    fn monthly_editions_are_asked_for_this_month_and_the_last() {
        let dbip = "https://download.db-ip.com/free/dbip-country-lite-";
        assert_eq!(
            urls("dbip-lite", 2027, 1),
            [
                format!("{dbip}2027-01.mmdb.gz"),
                format!("{dbip}2026-12.mmdb.gz")
            ]
        );
        assert_eq!(urls("https://x/a.mmdb", 2027, 3), ["https://x/a.mmdb"]);
    }

    #[test]
    fn what_is_no_source_says_what_would_be() {
        let conf = Path::new("/nonexistent/GeoIP.conf");
        let now = Month {
            year: 2026,
            month: 6,
        };
        let directory = Origin::parse("/srv/geo", now, conf).unwrap();
        assert_eq!(directory, Origin::Directory("/srv/geo".into()));
        for (text, expected) in [
            ("http://x/a.mmdb", "http://x/a.mmdb is not encrypted"),
            (
                "srv/geo",
                "\"srv/geo\" is no source of databases; expected dbip-lite",
            ),
            ("maxmind", "failed to read /nonexistent/GeoIP.conf"),
        ] {
            let error = Origin::parse(text, now, conf).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}

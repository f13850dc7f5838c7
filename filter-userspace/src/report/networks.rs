//! Whose network an address belongs to: databases of autonomous systems, in the shapes of common vendors.
//!
//! Only the report reads them. Nothing is decided by them.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{daemon::age, geo};

/// Records that are looked through for one that names a network.
const TRIED: usize = 100_000;

#[derive(Debug, Error)]
pub enum NetworksError {
    #[error(transparent)]
    Read(#[from] geo::GeoError),
    #[error("{} is no sound MaxMind DB: {source}", path.display())]
    Unsound {
        path: PathBuf,
        source: MaxMindDbError,
    },
    #[error("{} names no network: it calls itself {kind:?}", path.display())]
    NoNetworks { path: PathBuf, kind: String },
}

/// A database of networks in memory.
pub struct Networks {
    reader: Reader<Vec<u8>>,
    about: About,
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.about.fmt(f)
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct About {
    pub path: String,
    /// What it calls itself, as in `DBIP-ASN-Lite`.
    pub kind: String,
    /// A date, as in 2026-06-01.
    pub built: Option<String>,
    pub sha256: String,
}

impl About {
    pub fn words(&self) -> String {
        let kind = match self.kind.is_empty() {
            true => &self.path,
            false => &self.kind,
        };
        match &self.built {
            Some(built) => format!("{kind}, built {built}"),
            None => kind.clone(),
        }
    }
}

/// An autonomous system.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Network {
    pub number: u32,
    pub name: Option<String>,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (AS{})", self.number),
            None => write!(f, "AS{}", self.number),
        }
    }
}

/// MaxMind's, DB-IP's and ip-location-db's records; IPinfo's have `asn` and `as_name` or `name`.
#[derive(Deserialize)]
struct Record {
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<String>,
    asn: Option<String>,
    as_name: Option<String>,
    name: Option<String>,
}

impl Record {
    fn network(self) -> Option<Network> {
        let of_text = |text: String| text.strip_prefix("AS")?.parse().ok();
        let number = self
            .autonomous_system_number
            .or_else(|| self.asn.and_then(of_text))?;
        let name = self.autonomous_system_organization;
        let name = name.or(self.as_name).or(self.name);
        Some(Network {
            number,
            name: name.filter(|name| !name.is_empty()),
        })
    }
}

impl Networks {
    /// Reads all of the file at `path`, and makes sure that it is whole and names networks.
    pub fn open(path: &Path) -> Result<Self, NetworksError> {
        let unsound = |source| NetworksError::Unsound {
            path: path.to_owned(),
            source,
        };
        let (bytes, digest) = geo::read_file_bytes(path)?;
        let (reader, metadata) = geo::sound_mmdb(bytes).map_err(unsound)?;
        let about = About {
            path: path.display().to_string(),
            built: metadata.build_time().ok().map(age::date),
            kind: metadata.database_type,
            sha256: digest.to_string(),
        };
        let networks = Self { reader, about };
        match networks.name_some().map_err(unsound)? {
            true => Ok(networks),
            false => Err(NetworksError::NoNetworks {
                path: path.to_owned(),
                kind: networks.about.kind,
            }),
        }
    }

    /// Whether a record names a network: a database of countries does not.
    fn name_some(&self) -> Result<bool, MaxMindDbError> {
        for network in self.reader.networks(WithinOptions::default())?.take(TRIED) {
            let record = network?.decode::<Record>()?;
            if record.and_then(Record::network).is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub fn about(&self) -> &About {
        &self.about
    }

    /// `None` also where the record cannot be read: a report without a name is better than none.
    pub fn of(&self, address: IpAddr) -> Option<Network> {
        let found = self.reader.lookup(address).ok()?;
        found.decode::<Record>().ok()??.network()
    }
}

#[cfg(test)]
mod tests;

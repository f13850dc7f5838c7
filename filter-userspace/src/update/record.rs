//! What the last update has left: how to ask for the next one only.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::fetch::Conditions;
use crate::{durable, geo::Digest};

const SCHEMA: u32 = 1;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    schema: u32,
    pub url: String,
    #[serde(flatten)]
    pub conditions: Conditions,
    /// Of the database as it was unpacked.
    pub sha256: Digest,
}

impl Record {
    pub fn of(url: &str, conditions: Conditions, bytes: &[u8]) -> Self {
        Self {
            schema: SCHEMA,
            url: url.to_owned(),
            conditions,
            sha256: Digest::of(bytes),
        }
    }

    /// Without a record, or with one that cannot be read, the whole file is asked for.
    pub fn load(path: &Path) -> Option<Self> {
        let record: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        (record.schema == SCHEMA).then_some(record)
    }

    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        durable::replace(path, &[&bytes])
    }
}

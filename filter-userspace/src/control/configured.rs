//! What the CLI and the daemon say to each other about the config files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{protocol::Target, reply::TrialStatus};
use crate::{config::SourceFile, geo::Digest};

/// The key of a database file that is not the one in force.
pub const DATABASE_FILE: &str = "geo.database (sha256)";

/// A config file as somebody has read it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfigFile {
    pub path: PathBuf,
    pub sha256: Digest,
}

impl From<&SourceFile> for ConfigFile {
    fn from(file: &SourceFile) -> Self {
        Self {
            path: file.path.clone(),
            sha256: Digest::of(file.text.as_bytes()),
        }
    }
}

/// Config files that were changed by command, for the daemon to put in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Adoption {
    /// What they are now; the daemon must read the same.
    pub files: Vec<ConfigFile>,
    /// Its runtime rule ends: the config says it now. Those for one port stay, since a config has none.
    pub target: Option<Target>,
    /// These end, too.
    pub ports: bool,
    /// Whether a mode that was set at runtime ends.
    pub mode: bool,
}

/// What brings running and configured together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is in the files, and comes with a reload.
    Reload,
    /// It is in the files, and comes with a restart of the daemon.
    Restart,
    /// It was made at runtime; a reload keeps it.
    Runtime,
}

/// What a difference is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A key with one value.
    Setting,
    /// One item of a list; only one side has it.
    Item,
    /// A rule in words, as `deny US`; the key is its target.
    Rule,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Difference {
    pub kind: Kind,
    pub form: Form,
    /// As in the config, with dots: `policy.countries.MO`.
    pub key: String,
    pub running: Option<Value>,
    pub configured: Option<Value>,
    /// For a person: when it ends, and why it was made.
    pub note: Option<String>,
}

/// What runs against what the config files say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfigDiff {
    pub equal: bool,
    /// The files as they are now.
    pub files: Vec<ConfigFile>,
    pub trial: Option<TrialStatus>,
    pub differences: Vec<Difference>,
}

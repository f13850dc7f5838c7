//! TOML files → a valid [`Config`], or a [`Report`] of every fault with its file, line and column.
//!
//! `cerco.toml` is read first, then `conf.d/*.toml` in the order of their names. A later file
//! overrides single values and adds to lists.

mod build;
mod draft;
pub mod edit;
mod interfaces;
mod report;
mod value;
pub mod write;

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use filter_common::country::CountryCode;
use toml::de::DeTable;

use self::{draft::Draft, value::Reader};
pub use self::{
    interfaces::{InterfacesError, with_default_route},
    report::{Diagnostic, Place, Report, Severity, SourceFile},
    value::{PrefixFault, nearest, parse_prefix},
};
use crate::{
    compile,
    dashboard::DashboardConfig,
    geo::{self, Database, GeoError, ReadOptions},
    history::HistoryConfig,
    kernel::{AttachPreference, Mode, Replies},
    policy::Policy,
    update::UpdateConfig,
};

/// A config with a comment beside each key, as `cerco check --example` prints it.
pub const EXAMPLE: &str = include_str!("../../config/cerco.toml");
/// Read when no `--config` is given.
pub const DEFAULT_FILE: &str = "/etc/cerco/cerco.toml";
const DROP_IN_DIRECTORY: &str = "/etc/cerco/conf.d";
/// No config that a person wrote is larger; a device file or a database is.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Which interfaces the gate stands in front of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Interfaces {
    /// Those with a default route; later ones as well.
    Auto,
    Named(Vec<String>),
}

impl Interfaces {
    /// The names; `Auto` reads the routing tables.
    pub fn resolve(&self) -> Result<Vec<String>, InterfacesError> {
        match self {
            Self::Auto => with_default_route(),
            Self::Named(names) => Ok(names.clone()),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DatabaseSource {
    /// The one inside the binary.
    Builtin,
    File(PathBuf),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paths {
    /// The control socket.
    pub socket: PathBuf,
    /// The directory of `runtime.json` and the lock.
    pub state: PathBuf,
    /// A directory on a bpffs.
    pub pins: PathBuf,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    pub interfaces: Interfaces,
    pub mode: Mode,
    pub attach: AttachPreference,
    pub database: DatabaseSource,
    /// The country of a CIDR list, which does not name one itself.
    pub database_country: Option<CountryCode>,
    /// A MaxMind DB of autonomous systems, which names networks in reports and decides nothing.
    pub asn_database: Option<PathBuf>,
    /// How many databases are kept, the one in force among them.
    pub keep_databases: usize,
    /// Addresses, and the country that every database must give them.
    pub canaries: Vec<(IpAddr, CountryCode)>,
    /// Where `cerco geo update` finds new editions.
    pub update: UpdateConfig,
    pub policy: Policy,
    pub paths: Paths,
    /// Whether answers to this host's own connections are let in.
    pub replies: Replies,
    /// Where to serve the metrics; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    pub dashboard: DashboardConfig,
    pub history: HistoryConfig,
}

impl Config {
    /// The room that the table of `policy` needs, when that is known before the database is read.
    pub fn known_lines(&self, policy: &Policy) -> Option<usize> {
        match &self.database {
            DatabaseSource::Builtin => Some(compile::builtin_lines(policy)),
            DatabaseSource::File(_) => None,
        }
    }

    /// Reads the database that the config names.
    pub fn read_database(&self) -> Result<Database, GeoError> {
        match &self.database {
            DatabaseSource::Builtin => geo::builtin(),
            DatabaseSource::File(path) => geo::read_file(path, &self.read_options()),
        }
    }

    pub fn read_options(&self) -> ReadOptions {
        ReadOptions {
            country: self.database_country,
        }
    }
}

/// Reads `file`, or without one the files of /etc/cerco. The report beside a config holds warnings.
pub fn load(file: Option<&Path>) -> Result<(Config, Report), Report> {
    let (draft, mut report) = read_all(file);
    match build::build(&draft, &mut report) {
        Some(config) => Ok((config, report)),
        None => Err(report),
    }
}

/// The config of texts that were read before, in their order.
pub fn load_texts(files: Vec<SourceFile>) -> Result<(Config, Report), Report> {
    let mut draft = Draft::default();
    let mut report = Report::default();
    for file in files {
        read_text(&file.path, file.text, &mut draft, &mut report);
    }
    match build::build(&draft, &mut report) {
        Some(config) => Ok((config, report)),
        None => Err(report),
    }
}

/// The config of one text, as if `path` held it.
pub fn parse(path: &Path, text: &str) -> Result<(Config, Report), Report> {
    let mut draft = Draft::default();
    let mut report = Report::default();
    read_text(path, text.to_owned(), &mut draft, &mut report);
    match build::build(&draft, &mut report) {
        Some(config) => Ok((config, report)),
        None => Err(report),
    }
}

/// Only the paths, from a config that may be faulty or unreadable: `status` and `detach` must work
/// on the day when the config is what is broken.
pub fn paths(file: Option<&Path>) -> Paths {
    let (draft, _) = read_all(file);
    build::paths(&draft)
}

/// Where the names of networks are, from a config that may be faulty: a report must work then, too.
pub fn asn_database(file: Option<&Path>) -> Option<PathBuf> {
    let (draft, _) = read_all(file);
    draft.asn_database
}

/// The files that [`load`] reads, as far as they can be listed.
pub fn files(file: Option<&Path>) -> Vec<PathBuf> {
    match file {
        Some(file) => vec![file.to_owned()],
        None => default_files(&mut Report::default()),
    }
}

fn read_all(file: Option<&Path>) -> (Draft, Report) {
    let mut draft = Draft::default();
    let mut report = Report::default();
    let files = match file {
        Some(file) => vec![file.to_owned()],
        None => default_files(&mut report),
    };
    for path in files {
        match read_file(&path) {
            Ok(text) => read_text(&path, text, &mut draft, &mut report),
            Err(source) => {
                let help = (source.kind() == io::ErrorKind::NotFound)
                    .then(|| "`cerco check --example` prints a config to start from".to_owned());
                let title = format!("cannot read {}: {source}", path.display());
                report.push(Severity::Error, None, title, "", help);
            }
        }
    }
    (draft, report)
}

fn default_files(report: &mut Report) -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from(DEFAULT_FILE)];
    match drop_ins(Path::new(DROP_IN_DIRECTORY)) {
        Ok(drop_ins) => files.extend(drop_ins),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let title = format!("cannot list {DROP_IN_DIRECTORY}: {error}");
            report.push(Severity::Error, None, title, "", None);
        }
    }
    files
}

/// The `*.toml` files of `directory`, sorted by name.
fn drop_ins(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(io::Error::other(format!(
            "it has {} bytes, and a config has at most {MAX_FILE_BYTES}",
            metadata.len()
        )));
    }
    fs::read_to_string(path)
}

fn read_text(path: &Path, text: String, draft: &mut Draft, report: &mut Report) {
    let file = report.files.len();
    report.files.push(SourceFile {
        path: path.to_owned(),
        text: text.clone(),
    });
    let (root, faults) = DeTable::parse_recoverable(&text);
    // What follows the first syntax error is guesswork of the parser: it would only bury the cause.
    if let Some(fault) = faults.into_iter().next() {
        let span = fault.span().unwrap_or(0..0);
        let title = "this is not TOML";
        report.error(Place { file, span }, title, fault.message());
        // But what could be read is kept: `paths` finds the socket and the pins in it.
        let report = &mut Report::default();
        draft.read(root.get_ref(), &mut Reader { file, report });
        return;
    }
    draft.read(root.get_ref(), &mut Reader { file, report });
}

#[cfg(test)]
mod tests;

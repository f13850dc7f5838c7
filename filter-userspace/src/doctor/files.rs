//! The files: does the config say what can be done, who may change it, can the daemon keep its state?

use std::{
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{commands::Commands, finding::Finding};
use crate::{
    config::{self, Report, Severity},
    daemon::overlay::Overlay,
};

/// `runtime.json` is written beside the old one, and a lock; all of it is smaller.
const ENOUGH_FREE_BYTES: u64 = 1024 * 1024;

/// Who may change a file or directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ownership {
    pub path: PathBuf,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

pub struct Files {
    /// A config file that this user may not read.
    pub closed: Option<PathBuf>,
    /// A config file that does not exist.
    pub missing: Option<PathBuf>,
    /// The faults and doubts of reading the config.
    pub config: Vec<ConfigFault>,
    /// The config files and their directories.
    pub config_files: Vec<Ownership>,
    pub state: PathBuf,
    pub state_directory: StateDirectory,
    /// Why `runtime.json` cannot be read.
    pub overlay_fault: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigFault {
    /// File, line and column, when it is somewhere.
    pub place: String,
    pub title: String,
    pub severity: Severity,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StateDirectory {
    /// Bytes free.
    Writable(u64),
    /// The service manager or the daemon makes it.
    Missing,
    /// As by a read-only file system.
    NotWritable(io::ErrorKind),
}

impl Files {
    pub fn gather(file: Option<&Path>, report: &Report, state: &Path) -> Self {
        Self {
            closed: config::files(file).into_iter().find(|it| is_closed(it)),
            missing: config::files(file).into_iter().find(|it| is_missing(it)),
            config: faults(report),
            config_files: ownerships(&config::files(file)),
            state: state.to_path_buf(),
            state_directory: look_at(state),
            overlay_fault: match Overlay::load(&state.join("runtime.json")) {
                // Who may not look at the directory is told so already.
                Err(error) if !is_permission(&error) => Some(error.to_string()),
                _ => None,
            },
        }
    }

    pub fn judge(&self, commands: &Commands) -> Vec<Finding> {
        let mut findings = match (&self.closed, &self.missing) {
            (Some(path), _) => vec![judge_closed(path, commands)],
            (None, Some(path)) => vec![judge_missing(path, commands)],
            (None, None) => judge_config(&self.config, commands),
        };
        let open: Vec<Finding> = self.config_files.iter().filter_map(judge_owner).collect();
        if open.is_empty() && !self.config_files.is_empty() {
            findings.push(Finding::ok(
                "config_files",
                "Only root may change the config.",
            ));
        }
        findings.extend(open);
        findings.push(judge_state(&self.state, &self.state_directory, commands));
        findings.extend(self.overlay_fault.as_ref().map(|fault| {
            let path = self.state.join("runtime.json");
            let path = path.display();
            Finding::warning(
                "runtime_rules",
                format!("The rules made at runtime are lost at the next start: {fault}."),
            )
            .mend(format!("less {path}"))
        }));
        findings
    }
}

fn is_permission(error: &crate::daemon::overlay::OverlayError) -> bool {
    matches!(
        error,
        crate::daemon::overlay::OverlayError::Io { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied
    )
}

/// Whether this user may not read `path`.
pub fn is_closed(path: &Path) -> bool {
    fs::File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn judge_closed(path: &Path, commands: &Commands) -> Finding {
    let words = format!(
        "This user may not read {}: what is asked of the gate is unknown.",
        path.display()
    );
    Finding::unknown("config", words).mend(commands.as_root())
}

fn is_missing(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn judge_missing(path: &Path, commands: &Commands) -> Finding {
    let words = format!("There is no config {}.", path.display());
    Finding::fault("config", words).mend(commands.make_config())
}

fn faults(report: &Report) -> Vec<ConfigFault> {
    report
        .diagnostics
        .iter()
        .map(|diagnostic| ConfigFault {
            place: report.place_of(diagnostic).unwrap_or_default(),
            title: diagnostic.title.clone(),
            severity: diagnostic.severity,
        })
        .collect()
}

fn judge_config(faults: &[ConfigFault], commands: &Commands) -> Vec<Finding> {
    const CHECK: &str = "config";
    let check = commands.cerco("check");
    let said = |fault: &ConfigFault| match fault.place.as_str() {
        "" => fault.title.clone(),
        place => format!("{place}: {}", fault.title),
    };
    let errors: Vec<&ConfigFault> = faults
        .iter()
        .filter(|fault| fault.severity == Severity::Error)
        .collect();
    if let Some(first) = errors.first() {
        let more = match errors.len() {
            1 => String::new(),
            2 => ", and one more fault".to_owned(),
            count => format!(", and {} more faults", count - 1),
        };
        let words = format!("The config cannot be used: {}{more}.", said(first));
        return vec![Finding::fault(CHECK, words).mend(check)];
    }
    if faults.is_empty() {
        return vec![Finding::ok(CHECK, "The config has no faults.")];
    }
    faults
        .iter()
        .map(|fault| Finding::warning(CHECK, format!("{}.", said(fault))).mend(check.as_str()))
        .collect()
}

/// The files, and the directories that they lie in, without repetition.
fn ownerships(files: &[PathBuf]) -> Vec<Ownership> {
    let mut paths: Vec<&Path> = Vec::new();
    for file in files {
        for path in [file.parent(), Some(file)].into_iter().flatten() {
            let path = match path.as_os_str().is_empty() {
                true => Path::new("."),
                false => path,
            };
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    let look = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some(Ownership {
            path: path.to_path_buf(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode() & 0o7777,
        })
    };
    paths.into_iter().filter_map(look).collect()
}

fn judge_owner(owned: &Ownership) -> Option<Finding> {
    const CHECK: &str = "config_files";
    const STICKY: u32 = 0o1000;
    let path = owned.path.display();
    // In a directory like /tmp nobody may replace the files of others.
    if owned.mode & STICKY != 0 {
        return None;
    }
    if owned.mode & 0o002 != 0 {
        let words = format!("Every user may change {path}, and with it whom the gate lets in.");
        return Some(Finding::fault(CHECK, words).mend(format!("chmod go-w {path}")));
    }
    if owned.uid != 0 {
        let words = format!(
            "User {} owns {path} and may change whom the gate lets in.",
            owned.uid
        );
        return Some(Finding::warning(CHECK, words).mend(format!("chown root: {path}")));
    }
    if owned.mode & 0o020 != 0 && owned.gid != 0 {
        let words = format!(
            "Group {} may change {path}, and with it whom the gate lets in.",
            owned.gid
        );
        return Some(Finding::warning(CHECK, words).mend(format!("chmod g-w {path}")));
    }
    None
}

fn look_at(state: &Path) -> StateDirectory {
    let Ok(path) = CString::new(state.as_os_str().as_bytes()) else {
        return StateDirectory::NotWritable(io::ErrorKind::InvalidFilename);
    };
    // SAFETY: a string that ends in 0.
    if unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) } != 0 {
        return match io::Error::last_os_error().kind() {
            io::ErrorKind::NotFound => StateDirectory::Missing,
            kind => StateDirectory::NotWritable(kind),
        };
    }
    // SAFETY: an all-zero statvfs is valid, and the call fills it.
    let free = unsafe {
        let mut buffer: libc::statvfs = std::mem::zeroed();
        match libc::statvfs(path.as_ptr(), &raw mut buffer) {
            0 => buffer.f_bavail.saturating_mul(buffer.f_frsize),
            _ => u64::MAX,
        }
    };
    StateDirectory::Writable(free)
}

fn judge_state(state: &Path, directory: &StateDirectory, commands: &Commands) -> Finding {
    const CHECK: &str = "state";
    let path = state.display();
    match directory {
        StateDirectory::Writable(free) if *free < ENOUGH_FREE_BYTES => Finding::warning(
            CHECK,
            format!("The disk of {path} is full: a change made at runtime is lost at a restart."),
        )
        .mend(format!("df -h {path}")),
        StateDirectory::Writable(_) => Finding::ok(
            CHECK,
            format!("Changes made at runtime are kept in {path}."),
        ),
        StateDirectory::Missing => Finding::ok(
            CHECK,
            format!("{path} does not exist yet: the daemon makes it at its start."),
        ),
        StateDirectory::NotWritable(io::ErrorKind::PermissionDenied) => Finding::unknown(
            CHECK,
            format!(
                "This user may not write to {path}, so whether the daemon can was not looked at."
            ),
        )
        .mend(commands.as_root()),
        StateDirectory::NotWritable(kind) => Finding::warning(
            CHECK,
            format!(
                "{path} cannot be written to ({kind}): a change made at runtime is lost at a \
                 restart."
            ),
        )
        .mend(format!("findmnt -T {path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(place: &str, title: &str, severity: Severity) -> ConfigFault {
        ConfigFault {
            place: place.into(),
            title: title.into(),
            severity,
        }
    }

    #[test]
    fn first_fault_of_the_config_is_told_with_its_place() {
        let bad = fault("/etc/a.toml:3:5", "unknown key `mod`", Severity::Error);
        let usual = Commands::new(None);
        let doubt = fault("", "no limit is used", Severity::Warning);
        assert_eq!(
            judge_config(&[], &usual),
            [Finding::ok("config", "The config has no faults.")]
        );
        assert_eq!(
            judge_config(std::slice::from_ref(&doubt), &usual),
            [Finding::warning("config", "no limit is used.").mend("cerco check")]
        );
        let one = |words: &str| {
            [Finding::fault(
                "config",
                format!("The config cannot be used: /etc/a.toml:3:5: unknown key `mod`{words}."),
            )
            .mend("cerco check -c /etc/a.toml")]
        };
        let own = Commands::new(Some(Path::new("/etc/a.toml")));
        let mut faults = vec![doubt, bad.clone()];
        for words in ["", ", and one more fault", ", and 2 more faults"] {
            assert_eq!(judge_config(&faults, &own), one(words));
            faults.push(bad.clone());
        }
    }

    #[test]
    fn config_that_is_missing_is_made() {
        assert_eq!(
            judge_missing(
                Path::new("/srv/a.toml"),
                &Commands::new(Some(Path::new("/srv/a.toml")))
            ),
            Finding::fault("config", "There is no config /srv/a.toml.")
                .mend("cerco check --example > /srv/a.toml && sensible-editor /srv/a.toml")
        );
    }

    #[test]
    fn config_that_this_user_may_not_read_is_no_fault_of_the_config() {
        assert_eq!(
            judge_closed(Path::new("/etc/cerco/cerco.toml"), &Commands::new(None)),
            Finding::unknown(
                "config",
                "This user may not read /etc/cerco/cerco.toml: what is asked of the gate is unknown."
            )
            .mend("sudo cerco doctor")
        );
    }

    #[test]
    fn config_that_others_may_change_is_found() {
        let owned = |uid, gid, mode| Ownership {
            path: "/etc/cerco".into(),
            uid,
            gid,
            mode,
        };
        for harmless in [owned(0, 0, 0o755), owned(0, 0, 0o775), owned(0, 0, 0o1777)] {
            assert_eq!(judge_owner(&harmless), None);
        }
        let everybody = Finding::fault(
            "config_files",
            "Every user may change /etc/cerco, and with it whom the gate lets in.",
        )
        .mend("chmod go-w /etc/cerco");
        assert_eq!(judge_owner(&owned(0, 0, 0o757)), Some(everybody));
        let group = Finding::warning(
            "config_files",
            "Group 50 may change /etc/cerco, and with it whom the gate lets in.",
        )
        .mend("chmod g-w /etc/cerco");
        assert_eq!(judge_owner(&owned(0, 50, 0o775)), Some(group));
        let user = Finding::warning(
            "config_files",
            "User 1000 owns /etc/cerco and may change whom the gate lets in.",
        )
        .mend("chown root: /etc/cerco");
        assert_eq!(judge_owner(&owned(1000, 0, 0o755)), Some(user));
    }

    #[test]
    fn state_must_find_a_place() {
        let state = Path::new("/var/lib/cerco");
        let cases = [
            (
                StateDirectory::Writable(1 << 30),
                Finding::ok(
                    "state",
                    "Changes made at runtime are kept in /var/lib/cerco.",
                ),
            ),
            (
                StateDirectory::Writable(4096),
                Finding::warning(
                    "state",
                    "The disk of /var/lib/cerco is full: a change made at runtime is lost at a \
                     restart.",
                )
                .mend("df -h /var/lib/cerco"),
            ),
            (
                StateDirectory::Missing,
                Finding::ok(
                    "state",
                    "/var/lib/cerco does not exist yet: the daemon makes it at its start.",
                ),
            ),
            (
                StateDirectory::NotWritable(io::ErrorKind::PermissionDenied),
                Finding::unknown(
                    "state",
                    "This user may not write to /var/lib/cerco, so whether the daemon can was not \
                     looked at.",
                )
                .mend("sudo cerco doctor"),
            ),
            (
                StateDirectory::NotWritable(io::ErrorKind::ReadOnlyFilesystem),
                Finding::warning(
                    "state",
                    "/var/lib/cerco cannot be written to (read-only filesystem or storage medium): \
                     a change made at runtime is lost at a restart.",
                )
                .mend("findmnt -T /var/lib/cerco"),
            ),
        ];
        for (directory, expected) in cases {
            assert_eq!(
                judge_state(state, &directory, &Commands::new(None)),
                expected
            );
        }
    }

    #[test]
    fn files_are_looked_at_with_their_directories() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cerco.toml");
        fs::write(&file, "").unwrap();
        let both = ownerships(&[file.clone(), directory.path().join("gone.toml")]);
        let paths: Vec<&Path> = both.iter().map(|it| it.path.as_path()).collect();
        assert_eq!(paths, [directory.path(), &file]);
        let mode = |it: &Ownership| fs::metadata(&it.path).unwrap().mode() & 0o7777;
        assert_eq!(both[0].mode, mode(&both[0]));
        let state = directory.path().join("state");
        assert_eq!(look_at(&state), StateDirectory::Missing);
        fs::create_dir(&state).unwrap();
        assert!(matches!(look_at(&state), StateDirectory::Writable(_)));
    }
}

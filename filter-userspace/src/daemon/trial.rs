//! Changes on trial: in force for a while, and undone unless somebody confirms them.
//!
//! The kernel itself keeps the deadline ([`crate::kernel::Gate::publish_on_trial`]), so the way back does not need this
//! process. What is here keeps the daemon's own memory in step: what was before, and which config is not to
//! be believed at the next start.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{
    databases::Acceptance,
    overlay::Overlay,
    state::{Daemon, failed},
};
use crate::{
    compile::compile,
    config::{Config, SourceFile},
    control::{
        protocol::Refusal,
        reply::{Done, TrialStatus},
    },
    durable,
    geo::{Database, Digest},
    kernel::KernelError,
    policy::Policy,
};

/// Longer is not a trial.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// What goes back into the daemon when a change is undone.
pub(super) struct Before {
    pub config: Config,
    pub config_files: Vec<SourceFile>,
    pub overlay: Overlay,
    pub policy: Policy,
    pub published: SystemTime,
    pub config_warnings: Vec<String>,
    pub suspended: Vec<String>,
    /// When the change brought another one.
    pub database: Option<Database>,
}

/// A change that awaits its confirmation.
pub(super) struct OnTrial {
    pub before: Before,
    /// What was done, see [`in_words`].
    pub what: String,
}

impl Daemon {
    /// Does `change` on trial for `duration`.
    pub(super) fn on_trial(
        &mut self,
        duration: Duration,
        change: impl FnOnce(&mut Self) -> Result<Done, Refusal>,
    ) -> Result<Done, Refusal> {
        self.refuse_while_on_trial()?;
        if duration.is_zero() || duration > MAX_DURATION {
            return Err(Refusal::bad_request("--confirm takes 1s to 24h"));
        }
        let before = Before {
            config: self.config.clone(),
            config_files: self.config_files.clone(),
            overlay: self.overlay.clone(),
            policy: self.policy.clone(),
            published: self.published,
            config_warnings: self.config_warnings.clone(),
            suspended: self.suspended.clone(),
            database: None,
        };
        self.beginning_trial = Some((duration, before));
        let outcome = change(self);
        let begun = self.beginning_trial.take();
        if outcome.is_err() && self.gate.trial().is_some() {
            self.gate.roll_back().map_err(failed)?;
        }
        let mut done = outcome?;
        // `publish` has taken the duration; a change that published nothing needs no trial.
        match begun {
            Some((left, before)) if left.is_zero() => {
                self.trial = Some(OnTrial {
                    before,
                    what: in_words(&done.message),
                });
            }
            _ => return Ok(done),
        }
        let warning = self.distrust();
        done.warnings.extend(warning);
        let until = humantime::format_rfc3339_seconds(SystemTime::now() + duration);
        done.message = format!(
            "{}\non trial until {until}: `cerco confirm` keeps it, else it is undone, also without the daemon",
            done.message
        );
        Ok(done)
    }

    pub(super) fn refuse_while_on_trial(&self) -> Result<(), Refusal> {
        let (Some(trial), Some(in_kernel)) = (&self.trial, self.gate.trial()) else {
            return Ok(());
        };
        Err(Refusal::failed(format!(
            "\"{}\" is on trial for another {} s: `cerco confirm` or `cerco rollback` first",
            trial.what,
            in_kernel.left.as_secs()
        )))
    }

    pub(super) fn confirm(&mut self) -> Result<Done, Refusal> {
        let Some(trial) = &self.trial else {
            return Err(failed(KernelError::NoTrial));
        };
        let what = trial.what.clone();
        let tried = self.tried(&trial.before);
        if let Err(error) = self.gate.confirm() {
            self.trial_over();
            return Err(failed(error));
        }
        self.trial = None;
        let mut warnings: Vec<String> = self.save_overlay().into_iter().collect();
        warnings.extend(self.trust(tried));
        if tried != Tried::NOTHING {
            self.databases.taken(Acceptance::Judged);
        }
        self.databases.keep(&self.database, &self.config);
        let message = format!("confirmed: {what}");
        info!("{message}");
        Ok(Done { message, warnings })
    }

    pub(super) fn roll_back(&mut self) -> Result<Done, Refusal> {
        let Some(trial) = &self.trial else {
            return Err(failed(KernelError::NoTrial));
        };
        let mut warnings = self.way_back_is_safe(&trial.before.policy)?;
        self.gate.roll_back().map_err(failed)?;
        let trial = self.trial.take().expect("invariant: it was there above");
        let message = format!("undone: {}", trial.what);
        warnings.extend(self.put_back(trial.before));
        info!("{message}");
        Ok(Done { message, warnings })
    }

    pub(super) fn trial_status(&self) -> Option<TrialStatus> {
        let in_kernel = self.gate.trial()?;
        let change = &self.trial.as_ref()?.what;
        Some(TrialStatus {
            change: Some(change.clone()),
            remaining_seconds: in_kernel.left.as_secs(),
        })
    }

    /// How long the daemon may sleep before it looks after the trial.
    pub fn trial_left(&self) -> Option<Duration> {
        self.trial.as_ref()?;
        Some(self.gate.trial().map_or(Duration::ZERO, |trial| trial.left))
    }

    /// Called when the time of a trial may be over: the kernel has gone back already, now this process does.
    pub fn trial_over(&mut self) {
        if self.trial_left().is_none_or(|left| !left.is_zero()) {
            return;
        }
        let before_end = self.before_change();
        let Some(trial) = self.trial.take() else {
            return;
        };
        if let Err(error) = self.gate.roll_back() {
            warn!("failed to tidy up after a trial: {error}");
        }
        warn!("nobody confirmed it, so it was undone: {}", trial.what);
        for warning in self.put_back(trial.before) {
            warn!("{warning}");
        }
        self.note_timed(&before_end);
    }

    /// The kernel decides as before; so does what this process says about it.
    fn put_back(&mut self, before: Before) -> Vec<String> {
        self.config = before.config;
        self.config_files = before.config_files;
        self.overlay = before.overlay;
        self.policy = before.policy;
        self.published = before.published;
        self.config_warnings = before.config_warnings;
        self.suspended = before.suspended;
        if let Some(database) = before.database {
            self.database = database;
        }
        self.gate.set_flow_timeouts(self.config.replies.timeouts);
        // It was compiled before from the same things, so this does not fail.
        match compile(&self.policy, &self.database) {
            Ok(compiled) => {
                self.hold(compiled);
                Vec::new()
            }
            Err(error) => vec![format!("`explain` may name the wrong prefixes: {error}")],
        }
    }

    /// What is tried now that a start reads anew.
    fn tried(&self, before: &Before) -> Tried {
        Tried {
            files: before.config_files != self.config_files,
            database: before.database.is_some(),
        }
    }

    /// Notes what nobody has confirmed yet, so that a restart does not believe it.
    fn distrust(&self) -> Option<String> {
        let before = &self.trial.as_ref()?.before;
        let tried = self.tried(before);
        let state = &self.config.paths.state;
        let mut note = Unconfirmed::read(state).unwrap_or_default();
        if tried.files {
            note.tried = self.config_files.iter().map(File::of).collect();
            note.before = before.config_files.iter().map(File::of).collect();
        }
        if tried.database
            && let Some(digest) = self.database.info.digest
        {
            note.database = Some(digest);
        }
        let error = match tried {
            Tried::NOTHING => return None,
            _ => note.write(state).err()?,
        };
        Some(format!(
            "a restart before the confirmation would believe what is tried: failed to write {}: {error}",
            unconfirmed_file(state).display()
        ))
    }

    /// What was `tried`, now or earlier, is meant.
    pub(super) fn trust(&self, tried: Tried) -> Option<String> {
        let state = &self.config.paths.state;
        let mut note = Unconfirmed::read(state).unwrap_or_default();
        if tried.files {
            (note.tried, note.before) = Default::default();
        }
        if tried.database {
            note.database = None;
        }
        let error = note.write(state).err()?;
        Some(format!(
            "a restart may go back to what was before: failed to change {}: {error}",
            unconfirmed_file(state).display()
        ))
    }
}

/// What a trial may be about that lies in files which a start reads anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tried {
    pub files: bool,
    pub database: bool,
}

impl Tried {
    const NOTHING: Self = Self {
        files: false,
        database: false,
    };
}

/// What was done, from the answer that said so.
fn in_words(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    first.strip_suffix(": in force").unwrap_or(first).to_owned()
}

const SCHEMA: u32 = 1;

/// `unconfirmed.json`: what was tried, and nobody has confirmed it.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Unconfirmed {
    schema: u32,
    /// Config files that were tried; none: no others than those in force.
    tried: Vec<File>,
    /// Those that were in force before.
    before: Vec<File>,
    /// The file of a database that was tried.
    #[serde(default)]
    database: Option<Digest>,
}

impl Unconfirmed {
    fn read(state: &Path) -> Option<Self> {
        let path = unconfirmed_file(state);
        let text = fs::read(&path).ok()?;
        serde_json::from_slice(&text)
            .inspect_err(|error| warn!("{} is not understood: {error}", path.display()))
            .ok()
            .filter(|note: &Self| note.schema == SCHEMA)
    }

    /// One that says nothing is no file.
    fn write(&self, state: &Path) -> io::Result<()> {
        let path = unconfirmed_file(state);
        if self.tried.is_empty() && self.database.is_none() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                outcome => outcome,
            };
        }
        let note = Self {
            schema: SCHEMA,
            ..self.clone()
        };
        let text = serde_json::to_vec(&note).map_err(io::Error::other)?;
        durable::replace(&path, &[&text])
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    path: PathBuf,
    text: String,
}

impl File {
    fn of(source: &SourceFile) -> Self {
        Self {
            path: source.path.clone(),
            text: source.text.clone(),
        }
    }
}

fn unconfirmed_file(state: &Path) -> PathBuf {
    state.join("unconfirmed.json")
}

/// The config files to start with in place of `files`, when those were tried and never confirmed.
pub fn files_before(state: &Path, files: &[SourceFile]) -> Option<Vec<SourceFile>> {
    let note = Unconfirmed::read(state)?;
    let tried: Vec<File> = files.iter().map(File::of).collect();
    if note.tried != tried {
        return None;
    }
    Some(
        note.before
            .into_iter()
            .map(|File { path, text }| SourceFile { path, text })
            .collect(),
    )
}

/// Whether the database with this digest was tried and never confirmed.
pub(super) fn is_unconfirmed(state: &Path, database: Digest) -> bool {
    Unconfirmed::read(state).is_some_and(|note| note.database == Some(database))
}

//! Config and database read again.

use std::{path::Path, time::SystemTime};

use tracing::{error, info};

use super::{
    adopt,
    databases::Acceptance,
    lockout::Change,
    state::{Daemon, compile_and_check},
    trial::Tried,
};
use crate::{
    config::{Config, DatabaseSource},
    control::{
        configured::Adoption,
        protocol::{ModeWord, Refusal},
        reply::Done,
    },
    geo::Database,
    kernel::{Planned, Replies},
};

/// What is read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reload<'a> {
    /// The config and its database.
    Everything,
    /// The config, which was changed by command: the files must be those, and what they say now ends at runtime.
    Adopted(&'a Adoption),
    /// The database of the running config.
    Database,
}

impl Daemon {
    /// Reads it again. On any error the running policy stays, and the error stays visible.
    pub(super) fn reload_with(
        &mut self,
        what: &Reload<'_>,
        acceptance: Acceptance,
    ) -> Result<Done, Refusal> {
        match self.try_reload(what, acceptance) {
            Ok(done) => {
                self.last_reload_error = None;
                info!("{}", done.message);
                Ok(done)
            }
            Err(refusal) => {
                self.reload_failures += 1;
                error!("reload refused, the running policy stays: {refusal}");
                let now = humantime::format_rfc3339_seconds(SystemTime::now());
                self.last_reload_error = Some(format!("{now}: {refusal}"));
                Err(refusal)
            }
        }
    }

    /// Reads the database that the running config names again, after `file` has come there.
    ///
    /// What else the config files say by now waits for somebody who means it: an update comes by night.
    pub(super) fn reload_database(
        &mut self,
        file: &Path,
        acceptance: Acceptance,
    ) -> Result<Done, Refusal> {
        match &self.config.database {
            DatabaseSource::File(running) if running == file => {
                self.reload_with(&Reload::Database, acceptance)
            }
            _ => Ok(Done {
                message: "not in force: the running config names another database\n`cerco reload` takes the \
                          config that names this one"
                    .to_owned(),
                warnings: Vec::new(),
            }),
        }
    }

    pub(super) fn try_reload(
        &mut self,
        what: &Reload<'_>,
        acceptance: Acceptance,
    ) -> Result<Done, Refusal> {
        let (config, files, mut config_warnings) = match what {
            Reload::Database => (
                self.config.clone(),
                self.config_files.clone(),
                self.config_warnings.clone(),
            ),
            Reload::Everything | Reload::Adopted(_) => {
                let (config, report) = self.read_config()?;
                let warnings = report.warning_lines();
                (config, report.files, warnings)
            }
        };
        let mut overlay = self.overlay.clone();
        if let Reload::Adopted(adoption) = what {
            adopt::refuse_other_files(adoption, &files)?;
            adopt::end(&mut overlay, adoption);
        }
        let mode = overlay.settle_mode(config.mode);
        self.clock = self.clock.or_now();
        let (policy, suspended) = overlay.apply(&config.policy, self.clock);
        let database = match what {
            // A change by command changes one thing.
            Reload::Adopted(_) => None,
            Reload::Everything | Reload::Database => self.databases.at_reload(
                &self.database,
                &self.config,
                (&config, &policy),
                acceptance,
                self.asker.and_then(|it| it.ssh_peer.filter(|_| !it.force)),
            )?,
        };
        let compiled = compile_and_check(&policy, database.as_ref().unwrap_or(&self.database));
        let compiled = self.blaming(&config, database.as_ref(), compiled)?;
        let cut_off = self.is_safe(&Change {
            what: match (what, acceptance) {
                (Reload::Database, _) => "the new database",
                (_, Acceptance::Judged) => "the new config",
                (_, Acceptance::Accepted(_)) => "the config and its database",
            },
            mode,
            policy: &policy,
            planned: Planned::Compiled(&compiled),
            bans: &[],
        })?;
        let published = self.publish(&compiled);
        self.blaming(&config, database.as_ref(), published)?;
        // From here on the new policy is in force; what fails now must not hide that.
        config_warnings.extend(self.needs_restart(&config));
        let mut warnings = cut_off;
        if *what != Reload::Database {
            warnings.extend(config_warnings.clone());
            warnings.extend(suspended.clone());
        }
        self.config = Config {
            // What a running daemon cannot change stays what it is.
            interfaces: self.config.interfaces.clone(),
            attach: self.config.attach,
            paths: self.config.paths.clone(),
            metrics: self.config.metrics,
            dashboard: self.config.dashboard.clone(),
            history: self.config.history,
            replies: Replies {
                enabled: self.config.replies.enabled,
                attach: self.config.replies.attach,
                ..config.replies
            },
            ..config
        };
        self.gate.set_flow_timeouts(self.config.replies.timeouts);
        self.overlay = overlay;
        self.policy = policy;
        self.config_files = files;
        let is_held = self.databases.held_since().is_some() && acceptance == Acceptance::Judged;
        let meant = Tried {
            files: *what != Reload::Database,
            database: database.is_some() || *what == Reload::Everything && !is_held,
        };
        if let Some(database) = database {
            let earlier = std::mem::replace(&mut self.database, database);
            if let Some((_, before)) = &mut self.beginning_trial {
                before.database = Some(earlier);
            }
        }
        self.hold(compiled);
        self.published = SystemTime::now();
        if self.beginning_trial.is_none() {
            config_warnings.extend(self.trust(meant));
            if !matches!(what, Reload::Adopted(_)) {
                self.databases.taken(acceptance);
            }
            self.databases.keep(&self.database, &self.config);
        }
        self.config_warnings = config_warnings;
        self.suspended = suspended;
        self.gate.set_mode(mode);
        warnings.extend(self.save_overlay());
        warnings.extend(self.databases.warnings(&self.config));
        warnings.extend(self.database_warning());
        Ok(Done {
            message: format!(
                "reloaded: {}, mode {}",
                self.database.info.source,
                ModeWord::from(mode).word()
            ),
            warnings,
        })
    }

    /// Passes `outcome` on; its error is laid at the door of a `database` that is new.
    fn blaming<T>(
        &mut self,
        config: &Config,
        database: Option<&Database>,
        outcome: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if let (Err(refusal), Some(_)) = (&outcome, database) {
            self.databases.refuse_table(config, &refusal.message);
        }
        outcome
    }

    pub(super) fn needs_restart(&self, new: &Config) -> Vec<String> {
        [
            ("interfaces", self.config.interfaces != new.interfaces),
            ("attach", self.config.attach != new.attach),
            ("[paths]", self.config.paths != new.paths),
            ("[metrics]", self.config.metrics != new.metrics),
            ("[dashboard]", self.config.dashboard != new.dashboard),
            ("[history]", self.config.history != new.history),
            (
                "[replies] enabled or attach",
                (self.config.replies.enabled, self.config.replies.attach)
                    != (new.replies.enabled, new.replies.attach),
            ),
        ]
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(key, _)| {
            format!("{key} changed: restart the daemon to apply it (the gate stands meanwhile)")
        })
        .collect()
    }
}

//! What the daemon holds, and the changes to it. One task owns it, so nothing is locked.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use filter_common::{country::Class, packet::Address};
use ipnetwork::IpNetwork;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{
    age,
    databases::{Acceptance, Databases},
    events::Events,
    history::Recorder,
    interfaces::{AUTO_SLOTS, Following},
    memory,
    moment::Moment,
    overlay::{ModeOverride, Overlay, Rule},
    rates::{Rates, Totals},
    reload::Reload,
    start::Loaded,
    trial::{Before, OnTrial},
};
use crate::{
    cause,
    compile::{CompiledPolicy, compile},
    config::{self, Config, Interfaces, Report, SourceFile},
    control::{
        protocol::{Asker, ModeWord, Refusal, Request},
        reply::Done,
    },
    geo::Database,
    kernel::{FlowCount, Gate, GateOptions, KernelError, Mode, Pinned},
    policy::Policy,
};

pub struct Daemon {
    /// `--config`, for the next reload.
    pub(super) config_file: Option<PathBuf>,
    pub(super) config: Config,
    /// What it was read from.
    pub(super) config_files: Vec<SourceFile>,
    /// `--socket` goes over the config's own.
    socket_by_option: bool,
    /// A change that is being made on trial, for how long (zero once that has begun), and what goes back.
    pub(super) beginning_trial: Option<(Duration, Before)>,
    pub(super) trial: Option<OnTrial>,
    /// Who asks for what is done at the moment; `None`: nobody does, as when a rule's time is over.
    pub(super) asker: Option<Asker>,
    pub(super) overlay: Overlay,
    /// By which the ends of its rules are told to the kernel.
    pub(super) clock: Moment,
    /// The config's policy with the overlay over it: what is in force.
    pub(super) policy: Policy,
    pub(super) database: Database,
    pub(super) databases: Databases,
    pub(super) compiled: CompiledPolicy,
    pub(super) gate: Gate,
    pub(super) following: Following,
    /// Bans in force when they were last counted; `None` when they have changed since.
    pub(super) ban_count: Option<u64>,
    pub(super) events: Events,
    /// Flows of this host when they were last counted.
    pub(super) flow_count: FlowCount,
    pub(super) rates: Rates,
    pub(super) started: Instant,
    pub(super) process_started: SystemTime,
    pub(super) published: SystemTime,
    /// Doubts about the config and the start.
    pub(super) config_warnings: Vec<String>,
    /// Runtime rules that are not in force, and why.
    pub(super) suspended: Vec<String>,
    /// Why nobody can read the metrics, or see the dashboard, at the moment.
    pub(super) server_faults: [watch::Receiver<Option<String>>; 2],
    pub(super) last_reload_error: Option<String>,
    pub(super) reload_failures: u64,
    pub(super) history: Recorder,
}

type Reply = Result<serde_json::Value, Refusal>;

impl Daemon {
    /// Reads config, overlay and database, loads the program and attaches it.
    pub fn start(
        config_file: Option<PathBuf>,
        config: Config,
        config_files: Vec<SourceFile>,
        mut config_warnings: Vec<String>,
        server_faults: [watch::Receiver<Option<String>>; 2],
    ) -> anyhow::Result<Self> {
        let process_started = SystemTime::now();
        let gate_is_new = !matches!(Pinned::open(&config.paths.pins), Ok(Some(_)));
        let interfaces = config.interfaces.resolve()?;
        let (loaded, overlay_warning) = load_overlay(&runtime_file(&config));
        config_warnings.extend(overlay_warning);
        let mut overlay = loaded.clone();
        overlay.expire(SystemTime::now());
        let mode = overlay.settle_mode(config.mode);
        let overlay_changed = overlay != loaded;
        let clock = Moment::now();
        let (policy, suspended) = overlay.apply(&config.policy, clock);
        let options = GateOptions {
            spare_slots: match config.interfaces {
                Interfaces::Auto => AUTO_SLOTS.saturating_sub(interfaces.len()),
                Interfaces::Named(_) => 0,
            },
            interfaces,
            pins: config.paths.pins.clone(),
            mode,
            replies: config.replies,
        };
        let mut databases = Databases::open(&config);
        let Loaded {
            database,
            mut compiled,
            mut gate,
        } = databases.load(&config, &policy, &options)?;
        check_trusted(&policy, &compiled)?;
        gate.attach(config.attach)
            .context("cannot attach the gate")?;
        compiled.release_lines();
        memory::give_back();
        let written = config::load_texts(config_files.clone());
        let gate_name = gate.identity().unwrap_or_default();
        let history = Recorder::new(&config, gate_name, gate_is_new);
        let mut daemon = Self {
            socket_by_option: written
                .is_ok_and(|(written, _)| written.paths.socket != config.paths.socket),
            config_file,
            config,
            config_files,
            beginning_trial: None,
            trial: None,
            asker: None,
            overlay,
            clock,
            policy,
            database,
            databases,
            compiled,
            gate,
            following: Following::default(),
            ban_count: None,
            events: Events::new(),
            flow_count: FlowCount::default(),
            rates: Rates::default(),
            started: Instant::now(),
            process_started,
            published: SystemTime::now(),
            config_warnings,
            suspended,
            server_faults,
            last_reload_error: None,
            reload_failures: 0,
            history,
        };
        if overlay_changed {
            let warning = daemon.save_overlay();
            daemon.config_warnings.extend(warning);
        }
        Ok(daemon)
    }

    /// `confirm`: undo the change after this time, unless it is confirmed.
    pub fn handle(&mut self, request: Request, confirm: Option<Duration>, asker: Asker) -> Reply {
        self.asker = Some(asker);
        let reply = self.reply_to(request, confirm);
        self.asker = None;
        reply
    }

    fn reply_to(&mut self, request: Request, confirm: Option<Duration>) -> Reply {
        let can_be_tried = matches!(
            request,
            Request::AddRule { .. }
                | Request::RemoveRule { .. }
                | Request::SetMode { .. }
                | Request::Reload
        );
        let is_policy_change = can_be_tried
            || matches!(
                request,
                Request::Adopt(_)
                    | Request::AcceptDatabase { .. }
                    | Request::ReloadDatabase { .. }
                    | Request::RollBackDatabase { .. }
            );
        match confirm {
            Some(duration) if can_be_tried => {
                let change = |daemon: &mut Self| daemon.change(request);
                reply(self.on_trial(duration, change)?)
            }
            Some(_) => Err(Refusal::bad_request(
                "--confirm goes with changes of the policy and the mode only",
            )),
            None if is_policy_change => {
                self.refuse_while_on_trial()?;
                reply(self.change(request)?)
            }
            None => self.answer(request),
        }
    }

    /// The config as the files say it, and the warnings about it.
    pub(super) fn read_config(&self) -> Result<(Config, Report), Refusal> {
        let (mut config, report) = config::load(self.config_file.as_deref())
            .map_err(|report| Refusal::bad_request(report.sentence()))?;
        if self.socket_by_option {
            config.paths.socket = self.config.paths.socket.clone();
        }
        Ok((config, report))
    }

    fn answer(&mut self, request: Request) -> Reply {
        match request {
            Request::Status => reply(self.status()?),
            Request::Countries => reply(self.countries()?),
            Request::Rules => reply(self.rules()),
            Request::Bans => reply(self.bans()?),
            Request::Preview => reply(self.preview()?),
            Request::Explain { address, packet } => reply(self.explain(address, packet)?),
            Request::Ban { prefix, duration } => reply(self.ban(prefix, duration)?),
            Request::BanAll { prefixes, duration } => reply(self.ban_all(&prefixes, duration)?),
            Request::Unban { prefix } => reply(self.unban(prefix)?),
            Request::Events { filter } => reply(self.recent_events(&filter)),
            // Its own thread answers this, see `respond`.
            Request::History(_) => Err(Refusal::failed("the history is not asked here")),
            // The server answers this itself.
            Request::FollowEvents { .. } => Err(Refusal::failed("events are not followed here")),
            Request::NoteUpdate { failure } => reply(self.databases.note_update(failure)?),
            Request::GeoStatus => reply(self.databases.status(&self.database)),
            Request::Diff => reply(self.diff()?),
            Request::Confirm => reply(self.confirm()?),
            Request::Rollback => reply(self.roll_back()?),
            change => reply(self.change(change)?),
        }
    }

    /// Changes the policy or the mode.
    fn change(&mut self, request: Request) -> Result<Done, Refusal> {
        match request {
            Request::AddRule {
                rule,
                target,
                ports,
                limit,
                duration,
                comment,
            } => {
                let expires = duration
                    .map(|duration| {
                        SystemTime::now()
                            .checked_add(duration)
                            .ok_or_else(|| Refusal::bad_request("--for is too long"))
                    })
                    .transpose()?;
                let rule = Rule {
                    rule,
                    target,
                    port: None,
                    limit,
                    expires,
                    comment,
                };
                self.add_rule(rule, &ports)
            }
            Request::RemoveRule { target, port } => self.remove_rule(target, port),
            Request::SetMode { mode } => self.set_mode(mode.into()),
            Request::Reload => self.reload_with(&Reload::Everything, Acceptance::Judged),
            Request::Adopt(adoption) => self.adopt(&adoption),
            Request::AcceptDatabase { sha256 } => {
                self.reload_with(&Reload::Everything, Acceptance::Accepted(sha256))
            }
            Request::ReloadDatabase { file, accepted } => {
                let acceptance = accepted.map_or(Acceptance::Judged, |sha256| {
                    Acceptance::Accepted(Some(sha256))
                });
                self.reload_database(&file, acceptance)
            }
            Request::RollBackDatabase { generation } => self.roll_back_database(generation),
            other => Err(Refusal::bad_request(format!("{other:?} changes no policy"))),
        }
    }

    /// Puts `compiled` in force; when it has outgrown the tables in the kernel, with a new load.
    ///
    /// At the beginning of a trial, for as long as that lasts; a table that has outgrown the kernel's is
    /// refused then.
    pub(super) fn publish(&mut self, compiled: &CompiledPolicy) -> Result<(), Refusal> {
        if let Some((duration, _)) = &mut self.beginning_trial {
            let duration = std::mem::take(duration);
            return self
                .gate
                .publish_on_trial(compiled, duration)
                .map_err(failed);
        }
        match self.gate.publish(compiled) {
            Err(error @ KernelError::TableOutgrown { .. }) => {
                info!("{error}");
                self.gate
                    .renew(compiled, self.config.attach)
                    .map_err(failed)
            }
            outcome => outcome.map_err(failed),
        }
    }

    /// Keeps what is needed of a published policy.
    pub(super) fn hold(&mut self, mut compiled: CompiledPolicy) {
        compiled.release_lines();
        self.compiled = compiled;
        memory::give_back();
    }

    fn set_mode(&mut self, mode: Mode) -> Result<Done, Refusal> {
        let mut warnings = match mode {
            Mode::Observe => Vec::new(),
            Mode::Enforce => self.enforcing_is_safe()?,
        };
        if self.beginning_trial.is_some() {
            let compiled = compile(&self.policy, &self.database).map_err(failed)?;
            self.publish(&compiled)?;
        }
        self.gate.set_mode(mode);
        self.overlay.mode = (mode != self.config.mode).then(|| ModeOverride {
            mode: mode.into(),
            config_mode: self.config.mode.into(),
        });
        warnings.extend(self.save_overlay());
        if mode != self.config.mode {
            warnings.push(format!(
                "the config still says mode = \"{}\"; this change holds, also over restarts, until \
                 that line changes",
                ModeWord::from(self.config.mode).word()
            ));
        }
        let message = match mode {
            Mode::Observe => "observing: nothing is dropped, what would be is counted",
            Mode::Enforce => "enforcing: what the policy denies is dropped",
        };
        info!("{message}");
        Ok(Done {
            message: message.to_owned(),
            warnings,
        })
    }

    /// Called every few seconds, for the rates of `status`.
    pub fn sample_rates(&mut self) {
        match self.gate.counters() {
            Ok(counters) => self.rates.sample(Instant::now(), Totals::of(&counters)),
            Err(error) => warn!("failed to read the counters: {error}"),
        }
    }

    /// Lets go of ports whose flows are over, and counts the others.
    pub fn sweep_flows(&mut self) {
        match self.gate.renew_reply_ports() {
            Ok(count) => self.flow_count = count,
            Err(error) => warn!("failed to read the flow table: {error}"),
        }
    }

    /// Keeps the database of the start for the next one. Until this the host had no gate, so it comes
    /// after it.
    pub fn keep_database(&mut self) {
        self.databases.keep(&self.database, &self.config);
        memory::give_back();
    }

    /// The age of the database, when it is too old.
    pub fn database_warning(&self) -> Option<String> {
        age::warning(self.database.info.build_time, SystemTime::now())
    }

    /// Writes `runtime.json`; a failure is for the sysadmin to know, the change itself is in force.
    pub(super) fn save_overlay(&self) -> Option<String> {
        // What is on trial is kept when it is confirmed.
        if self.beginning_trial.is_some() {
            return None;
        }
        let path = runtime_file(&self.config);
        let error = self.overlay.save(&path).err()?;
        let warning = format!("in force now, but a restart will forget it: {error}");
        warn!("{warning}");
        Some(warning)
    }
}

fn runtime_file(config: &Config) -> PathBuf {
    runtime_file_in(&config.paths.state)
}

pub(super) fn runtime_file_in(state: &Path) -> PathBuf {
    state.join("runtime.json")
}

/// A broken overlay is moved aside: without it the gate follows the config, and a daemon that does
/// not start would leave a booting host without any gate.
fn load_overlay(path: &Path) -> (Overlay, Option<String>) {
    let error = match Overlay::load(path) {
        Ok(overlay) => return (overlay, None),
        Err(error) => error,
    };
    let aside = path.with_extension("json.broken");
    let moved = match std::fs::rename(path, &aside) {
        Ok(()) => format!("it was moved to {}", aside.display()),
        Err(error) => format!("it could not be moved aside either: {error}"),
    };
    let warning = format!("runtime rules are lost, the config alone is in force: {error}; {moved}");
    error!("{warning}");
    (Overlay::default(), Some(warning))
}

/// Compiles, and looks whether every trusted prefix is trusted by the table, whatever the database is.
pub(super) fn compile_and_check(
    policy: &Policy,
    database: &Database,
) -> Result<CompiledPolicy, Refusal> {
    let compiled = compile(policy, database).map_err(failed)?;
    check_trusted(policy, &compiled).map_err(failed)?;
    Ok(compiled)
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the table does not trust {address} of the trusted prefix {prefix}; this is a fault of cerco"
)]
struct NotTrusted {
    address: IpAddr,
    prefix: IpNetwork,
}

/// Asks for the ends of each trusted prefix, by the look-up that the kernel runs.
fn check_trusted(policy: &Policy, compiled: &CompiledPolicy) -> Result<(), NotTrusted> {
    for &prefix in &policy.trusted {
        for address in [prefix.network(), prefix.broadcast()] {
            if compiled.lookup(&Address::from(address)) != Some(Class::TRUSTED) {
                return Err(NotTrusted { address, prefix });
            }
        }
    }
    Ok(())
}

/// A failure below, with its causes in one line.
pub(super) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Refusal {
    Refusal::failed(cause::chain(&error))
}

fn reply(value: impl serde::Serialize) -> Reply {
    serde_json::to_value(value).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo;

    #[test]
    fn table_that_does_not_trust_a_trusted_prefix_is_refused() {
        let policy = |trusted: &str| {
            let text = format!("interfaces = [\"eth0\"]\n[trusted]\nprefixes = [{trusted}]\n");
            config::parse(Path::new("cerco.toml"), &text)
                .unwrap()
                .0
                .policy
        };
        let database = geo::builtin().unwrap();
        let trusting = policy("\"192.0.2.0/24\", \"2001:db8::/32\"");
        compile_and_check(&trusting, &database).unwrap();
        let half = compile(&policy("\"192.0.2.0/25\""), &database).unwrap();
        assert_eq!(
            check_trusted(&trusting, &half).unwrap_err().to_string(),
            "the table does not trust 192.0.2.255 of the trusted prefix 192.0.2.0/24; this is a \
             fault of cerco"
        );
    }
}

//! What the daemon holds, and the changes to it. One task owns it, so nothing is locked.

use std::{
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use filter_common::country::{Class, CountryCode};
use ipnetwork::IpNetwork;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{
    age,
    interfaces::{AUTO_SLOTS, Following},
    lockout, memory,
    overlay::{ModeOverride, Overlay, Rule},
    rates::{Rates, Totals},
    start::{self, Loaded},
};
use crate::{
    cause,
    compile::{CompiledPolicy, compile},
    config::{self, Config, Interfaces},
    control::{
        protocol::{ModeWord, Refusal, Request, RuleVerb, Target},
        reply::{Done, rule_word},
    },
    geo::Database,
    kernel::{FlowCount, Gate, GateOptions, KernelError, Mode, Replies},
    policy::{Action, Policy},
};

pub struct Daemon {
    /// `--config`, for the next reload.
    pub(super) config_file: Option<PathBuf>,
    pub(super) config: Config,
    pub(super) overlay: Overlay,
    /// The config's policy with the overlay over it: what is in force.
    pub(super) policy: Policy,
    pub(super) database: Database,
    pub(super) compiled: CompiledPolicy,
    pub(super) gate: Gate,
    pub(super) following: Following,
    /// Bans in force when they were last counted; `None` when they have changed since.
    ban_count: Option<u64>,
    /// Flows of this host when they were last counted.
    pub(super) flow_count: FlowCount,
    pub(super) rates: Rates,
    pub(super) started: Instant,
    pub(super) published: SystemTime,
    /// Doubts about the config and the start.
    pub(super) config_warnings: Vec<String>,
    /// Runtime rules that are not in force, and why.
    pub(super) suspended: Vec<String>,
    /// Why nobody can read the metrics at the moment.
    pub(super) metrics_fault: watch::Receiver<Option<String>>,
    pub(super) last_reload_error: Option<String>,
    pub(super) reload_failures: u64,
}

type Reply = Result<serde_json::Value, Refusal>;

impl Daemon {
    /// Reads config, overlay and database, loads the program and attaches it.
    pub fn start(
        config_file: Option<PathBuf>,
        config: Config,
        mut config_warnings: Vec<String>,
        metrics_fault: watch::Receiver<Option<String>>,
    ) -> anyhow::Result<Self> {
        let interfaces = config.interfaces.resolve()?;
        let (loaded, overlay_warning) = load_overlay(&runtime_file(&config));
        config_warnings.extend(overlay_warning);
        let mut overlay = loaded.clone();
        overlay.expire(SystemTime::now());
        let mode = overlay.settle_mode(config.mode);
        let overlay_changed = overlay != loaded;
        let (policy, suspended) = overlay.apply(&config.policy);
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
        let Loaded {
            database,
            mut compiled,
            mut gate,
        } = start::load(
            || config.read_database(),
            config.known_lines(&policy),
            &policy,
            &options,
        )?;
        gate.attach(config.attach)
            .context("cannot attach the gate")?;
        compiled.release_lines();
        memory::give_back();
        let mut daemon = Self {
            config_file,
            config,
            overlay,
            policy,
            database,
            compiled,
            gate,
            following: Following::default(),
            ban_count: None,
            flow_count: FlowCount::default(),
            rates: Rates::default(),
            started: Instant::now(),
            published: SystemTime::now(),
            config_warnings,
            suspended,
            metrics_fault,
            last_reload_error: None,
            reload_failures: 0,
        };
        if overlay_changed {
            let warning = daemon.save_overlay();
            daemon.config_warnings.extend(warning);
        }
        Ok(daemon)
    }

    pub fn handle(&mut self, request: Request) -> Reply {
        match request {
            Request::Status => reply(self.status()?),
            Request::Countries => reply(self.countries()?),
            Request::Rules => reply(self.rules()),
            Request::Bans => reply(self.bans()?),
            Request::Explain { address, packet } => reply(self.explain(address, packet)?),
            Request::AddRule {
                rule,
                target,
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
                reply(self.add_rule(Rule {
                    rule,
                    target,
                    limit,
                    expires,
                    comment,
                })?)
            }
            Request::RemoveRule { target } => reply(self.remove_rule(target)?),
            Request::Ban { prefix, duration } => reply(self.ban(prefix, duration)?),
            Request::BanAll { prefixes, duration } => reply(self.ban_all(&prefixes, duration)?),
            Request::Unban { prefix } => reply(self.unban(prefix)?),
            Request::SetMode { mode } => reply(self.set_mode(mode.into())?),
            Request::Reload { ssh_peer } => reply(self.reload(ssh_peer)?),
        }
    }

    /// Reads everything again. On any error the running policy stays, and the error stays visible.
    ///
    /// With `ssh_peer` (address and local port) a policy that would drop it is such an error.
    pub fn reload(&mut self, ssh_peer: Option<(IpAddr, u16)>) -> Result<Done, Refusal> {
        match self.try_reload(ssh_peer) {
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

    fn try_reload(&mut self, ssh_peer: Option<(IpAddr, u16)>) -> Result<Done, Refusal> {
        let (config, report) = config::load(self.config_file.as_deref())
            .map_err(|report| Refusal::bad_request(report.to_string()))?;
        let database = config.read_database().map_err(failed)?;
        let mut overlay = self.overlay.clone();
        let mode = overlay.settle_mode(config.mode);
        let (policy, suspended) = overlay.apply(&config.policy);
        let compiled = compile(&policy, &database).map_err(failed)?;
        if mode == Mode::Enforce
            && let Some(peer) = ssh_peer
        {
            lockout::refuse(&policy, &compiled, peer)?;
        }
        self.publish(&compiled)?;
        // From here on the new policy is in force; what fails now must not hide that.
        let mut config_warnings: Vec<String> = report.warning_lines();
        config_warnings.extend(self.needs_restart(&config));
        let mut warnings = config_warnings.clone();
        warnings.extend(suspended.clone());
        self.config = Config {
            // What a running daemon cannot change stays what it is.
            interfaces: self.config.interfaces.clone(),
            attach: self.config.attach,
            paths: self.config.paths.clone(),
            metrics: self.config.metrics,
            replies: Replies {
                enabled: self.config.replies.enabled,
                ..config.replies
            },
            ..config
        };
        self.gate.set_flow_timeouts(self.config.replies.timeouts);
        self.overlay = overlay;
        self.policy = policy;
        self.database = database;
        self.hold(compiled);
        self.published = SystemTime::now();
        self.config_warnings = config_warnings;
        self.suspended = suspended;
        self.gate.set_mode(mode);
        warnings.extend(self.save_overlay());
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

    /// Puts `compiled` in force; when it has outgrown the tables in the kernel, with a new load.
    fn publish(&mut self, compiled: &CompiledPolicy) -> Result<(), Refusal> {
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
    fn hold(&mut self, mut compiled: CompiledPolicy) {
        compiled.release_lines();
        self.compiled = compiled;
        memory::give_back();
    }

    fn needs_restart(&self, new: &Config) -> Vec<String> {
        [
            ("interfaces", self.config.interfaces != new.interfaces),
            ("attach", self.config.attach != new.attach),
            ("[paths]", self.config.paths != new.paths),
            ("[metrics]", self.config.metrics != new.metrics),
            (
                "[replies] enabled",
                self.config.replies.enabled != new.replies.enabled,
            ),
        ]
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(key, _)| {
            format!("{key} changed: restart the daemon to apply it (the gate stands meanwhile)")
        })
        .collect()
    }

    fn add_rule(&mut self, rule: Rule) -> Result<Done, Refusal> {
        if let (RuleVerb::Trust, Target::Country(code)) = (rule.rule, rule.target) {
            return Err(Refusal::bad_request(format!(
                "a country cannot be trusted, only prefixes can; `cerco allow {code}` lets it in"
            )));
        }
        if let Some(limit) = &rule.limit {
            if rule.rule != RuleVerb::Allow || !matches!(rule.target, Target::Country(_)) {
                return Err(Refusal::bad_request(
                    "a limit goes only with allow and a country",
                ));
            }
            if self.config.policy.limit_index(limit).is_none() {
                let limits = &self.config.policy.limits;
                let known: Vec<&str> = limits.iter().map(|limit| limit.name.as_str()).collect();
                return Err(Refusal::bad_request(match known.is_empty() {
                    true => format!("no limit `{limit}`: the config has no [limits.{limit}]"),
                    false => format!("no limit `{limit}`; known limits: {}", known.join(", ")),
                }));
            }
        }
        let word = rule_word(rule.rule, &rule.target, rule.limit.as_deref());
        let until = rule.expires.map_or(String::new(), |expires| {
            let until = humantime::format_rfc3339_seconds(expires);
            format!(" until {until} (the daemon ends it; it outlasts a daemon that is stopped)")
        });
        let mut overlay = self.overlay.clone();
        overlay.add(rule);
        let warnings = self.install(overlay)?;
        let message = format!("{word}: in force{until}");
        info!("{message}");
        Ok(Done { message, warnings })
    }

    fn remove_rule(&mut self, target: Target) -> Result<Done, Refusal> {
        let mut overlay = self.overlay.clone();
        let Some(rule) = overlay.remove(target) else {
            return Err(Refusal::bad_request(format!(
                "there is no runtime rule for {target}; what the config says is changed there, \
                 followed by `cerco reload`"
            )));
        };
        let warnings = self.install(overlay)?;
        let word = rule_word(rule.rule, &rule.target, rule.limit.as_deref());
        let message = format!("{word}: removed");
        info!("{message}");
        Ok(Done { message, warnings })
    }

    /// Ends the runtime rules whose time is over.
    pub fn expire_rules(&mut self, now: SystemTime) {
        let mut overlay = self.overlay.clone();
        let over = overlay.expire(now);
        if over.is_empty() {
            return;
        }
        match self.install(overlay) {
            Ok(_) => {
                for rule in over {
                    let word = rule_word(rule.rule, &rule.target, rule.limit.as_deref());
                    info!("{word}: ended, its time is over");
                }
            }
            Err(refusal) => error!("a runtime rule is over but could not be ended: {refusal}"),
        }
    }

    pub fn next_expiry(&self) -> Option<SystemTime> {
        self.overlay.next_expiry()
    }

    /// Puts `overlay` in force and keeps it. On error nothing has changed.
    fn install(&mut self, overlay: Overlay) -> Result<Vec<String>, Refusal> {
        let (policy, suspended) = overlay.apply(&self.config.policy);
        match self.action_changes(&policy) {
            Some(changes) => {
                for (class, action) in changes {
                    self.gate.set_action(class, action);
                }
            }
            None => {
                let compiled = compile(&policy, &self.database).map_err(failed)?;
                self.publish(&compiled)?;
                self.hold(compiled);
                self.published = SystemTime::now();
            }
        }
        self.policy = policy;
        self.overlay = overlay;
        self.suspended = suspended;
        Ok(self.save_overlay().into_iter().collect())
    }

    /// The classes whose action differs in `policy`, when nothing else does: those need no rebuild.
    fn action_changes(&self, policy: &Policy) -> Option<Vec<(Class, Action)>> {
        let same_beside = Policy {
            countries: self.policy.countries.clone(),
            ..policy.clone()
        } == self.policy;
        if !same_beside {
            return None;
        }
        let named: std::collections::BTreeSet<CountryCode> = policy
            .countries
            .keys()
            .chain(self.policy.countries.keys())
            .copied()
            .collect();
        named
            .into_iter()
            .map(|code| (code, self.policy.action_for(code), policy.action_for(code)))
            .filter(|(_, old, new)| old != new)
            .map(|(code, _, new)| Some((self.compiled.class_of(code)?, new)))
            .collect()
    }

    fn ban(&mut self, prefix: IpNetwork, duration: Duration) -> Result<Done, Refusal> {
        refuse_host_bits(&[prefix])?;
        self.ban_count = None;
        self.gate.ban(prefix, duration).map_err(failed)?;
        Ok(self.banned(&prefix.to_string(), &[prefix], duration))
    }

    fn ban_all(&mut self, prefixes: &[IpNetwork], duration: Duration) -> Result<Done, Refusal> {
        refuse_host_bits(prefixes)?;
        self.ban_count = None;
        self.gate.ban_all(prefixes, duration).map_err(failed)?;
        // The list itself was megabytes.
        memory::give_back();
        Ok(self.banned(&format!("{} prefixes", prefixes.len()), prefixes, duration))
    }

    fn banned(&self, what: &str, prefixes: &[IpNetwork], duration: Duration) -> Done {
        const SHOWN: usize = 10;
        let trusted = |prefix: &IpNetwork| {
            let mut trusted = self.policy.trusted.iter();
            Some((*prefix, trusted.find(|it| it.contains(prefix.ip()))?))
        };
        let mut out_of_reach = prefixes.iter().filter_map(trusted);
        let mut warnings: Vec<String> = out_of_reach
            .by_ref()
            .take(SHOWN)
            .map(|(prefix, trusted)| {
                format!("{prefix} lies in the trusted {trusted}, which no ban reaches")
            })
            .collect();
        match out_of_reach.count() {
            0 => {}
            more => warnings.push(format!("{more} more lie in trusted prefixes")),
        }
        let duration = humantime::format_duration(duration);
        let message = format!("ban {what}: in force for {duration}");
        info!("{message}");
        Done { message, warnings }
    }

    fn unban(&mut self, prefix: IpNetwork) -> Result<Done, Refusal> {
        self.ban_count = None;
        if !self.gate.unban(prefix).map_err(failed)? {
            return Err(Refusal::failed(format!(
                "there is no ban of exactly {prefix}; `cerco bans` lists them"
            )));
        }
        let message = format!("ban {prefix}: ended");
        info!("{message}");
        Ok(Done {
            message,
            warnings: Vec::new(),
        })
    }

    fn set_mode(&mut self, mode: Mode) -> Result<Done, Refusal> {
        self.gate.set_mode(mode);
        self.overlay.mode = (mode != self.config.mode).then(|| ModeOverride {
            mode: mode.into(),
            config_mode: self.config.mode.into(),
        });
        let mut warnings: Vec<String> = self.save_overlay().into_iter().collect();
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

    pub fn sweep_bans(&mut self) {
        self.ban_count = None;
        match self.gate.sweep_bans() {
            Ok(0) => {}
            Ok(count) => info!("{count} bans are over"),
            Err(error) => warn!("failed to sweep bans: {error}"),
        }
    }

    /// The number of bans for scrapes. Reading a hundred thousand of them takes 30 ms, so it does not
    /// see those that have ended since the last sweep.
    pub(super) fn counted_bans(&mut self) -> Result<u64, KernelError> {
        let count = match self.ban_count {
            Some(count) => count,
            None => self.gate.ban_count()? as u64,
        };
        self.ban_count = Some(count);
        Ok(count)
    }

    /// The age of the database, when it is too old.
    pub fn database_warning(&self) -> Option<String> {
        age::warning(self.database.info.build_time, SystemTime::now())
    }

    /// Writes `runtime.json`; a failure is for the sysadmin to know, the change itself is in force.
    fn save_overlay(&self) -> Option<String> {
        let path = runtime_file(&self.config);
        let error = self.overlay.save(&path).err()?;
        let warning = format!("in force now, but a restart will forget it: {error}");
        warn!("{warning}");
        Some(warning)
    }
}

/// The command line refuses these already; other speakers of the protocol may not.
fn refuse_host_bits(prefixes: &[IpNetwork]) -> Result<(), Refusal> {
    match prefixes.iter().find(|it| it.network() != it.ip()) {
        Some(prefix) => Err(Refusal::bad_request(format!(
            "{prefix} has bits behind its prefix length"
        ))),
        None => Ok(()),
    }
}

fn runtime_file(config: &Config) -> PathBuf {
    config.paths.state.join("runtime.json")
}

/// A broken overlay is moved aside: without it the gate follows the config, and a daemon that does
/// not start would leave a booting host without any gate.
fn load_overlay(path: &std::path::Path) -> (Overlay, Option<String>) {
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

/// A failure below, with its causes in one line.
pub(super) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Refusal {
    Refusal::failed(cause::chain(&error))
}

fn reply(value: impl serde::Serialize) -> Reply {
    serde_json::to_value(value).map_err(failed)
}

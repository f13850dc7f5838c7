//! What the daemon tells its history: a look at the counters each minute, events, and changes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{debug, warn};

use super::state::Daemon;
use crate::{
    config::Config,
    control::{
        protocol::{Asker, Refusal, Request},
        server::Asked,
    },
    geo::{self, Digest},
    history::{
        self, MINUTE, Query,
        changes::{Actor, Kind, Standing},
        query::QueryError,
        reply::{History, HistoryStatus},
        tally::{Sample, sample_of},
        worker::{Look, Noted, STARTED, Worker, login_of},
    },
    kernel::KernelError,
};

/// A look comes a little after the end of its minute, since two clocks are asked.
const AFTER_MINUTE: Duration = Duration::from_millis(2);

/// The daemon's end of the history.
pub struct Recorder {
    /// `None`: the config wants none, or there is no thread for it.
    worker: Option<Worker>,
    gate: String,
    gate_is_new: bool,
    /// The minute of the last look, in seconds since 1970.
    looked: u64,
    /// It was told that the daemon is here.
    has_begun: bool,
}

impl Recorder {
    /// `gate`: see [`Sample::gate`].
    pub fn new(config: &Config, gate: String, gate_is_new: bool) -> Self {
        let worker = config.history.enabled.then(|| {
            let path = history::file_in(&config.paths.state);
            Worker::start(path, config.history)
        });
        let worker = match worker.transpose() {
            Ok(worker) => worker,
            Err(error) => {
                warn!("there is no history: its thread cannot be started: {error}");
                None
            }
        };
        Self {
            worker,
            gate,
            gate_is_new,
            looked: 0,
            has_begun: false,
        }
    }

    /// See [`Worker::see`] and [`Worker::hand_over`].
    pub fn worker_mut(&mut self) -> Option<&mut Worker> {
        self.worker.as_mut()
    }

    pub fn status(&self) -> Option<HistoryStatus> {
        self.worker.as_ref().map(Worker::status)
    }
}

/// What a change is compared with.
pub(super) struct Before {
    standing: Standing,
    trial: Option<String>,
    /// In words, and when they end: two may say the same.
    rules: Vec<(String, Option<SystemTime>)>,
}

impl Daemon {
    /// How long the daemon may sleep before the next look.
    pub fn until_history_look(&self) -> Duration {
        if self.history.worker.is_none() {
            return Duration::from_secs(MINUTE);
        }
        let now = since_1970();
        let minute = now.as_secs() - now.as_secs() % MINUTE;
        match minute == self.history.looked {
            true => Duration::from_secs(minute + MINUTE).saturating_sub(now) + AFTER_MINUTE,
            false => Duration::ZERO,
        }
    }

    /// Reads the counters for the history.
    pub fn look_for_history(&mut self) {
        let unix = since_1970().as_secs();
        self.history.looked = unix - unix % MINUTE;
        let Some(worker) = &self.history.worker else {
            return;
        };
        match self.history_sample(unix) {
            Ok(sample) => {
                let look = Look {
                    sample,
                    at: Instant::now(),
                    gate_is_new: self.history.gate_is_new,
                };
                // Without room the next look tells as much.
                if !worker.look(look) {
                    debug!("the history is busy");
                }
            }
            Err(error) => warn!("failed to read the counters for the history: {error}"),
        }
    }

    fn history_sample(&self, unix: u64) -> Result<Sample, KernelError> {
        let counters = self.gate.counters()?;
        let interfaces = counters.iter().map(|counters| {
            let mut attached = self.gate.attachments().iter();
            let attached = attached.find(|it| it.interface == counters.interface);
            let ifindex = attached.map_or(0, |it| it.ifindex);
            sample_of(counters, ifindex, |class| self.compiled.class_name(class))
        });
        Ok(Sample {
            unix,
            gate: self.history.gate.clone(),
            interfaces: interfaces.collect(),
        })
    }

    /// Answers a request; one about the history is passed on with all that was counted until now.
    pub fn respond(&mut self, asked: Asked) {
        let Asked {
            request,
            confirm,
            asker,
            actor,
            answer,
        } = asked;
        let Request::History(query) = request else {
            // An asker that left meanwhile does not undo what it asked for.
            let _ = answer.send(self.handle_for(actor, request, confirm, asker));
            return;
        };
        self.ask_history(query, |found| {
            let reply = found.and_then(|history| {
                serde_json::to_value(history).map_err(|it| Refusal::failed(it.to_string()))
            });
            let _ = answer.send(reply);
        });
    }

    /// Passes a question on to the history, with all that was counted until now; its thread calls `tell`.
    pub(super) fn ask_history(
        &mut self,
        query: Query,
        tell: impl FnOnce(Result<History, Refusal>) + Send + 'static,
    ) {
        self.read_events();
        self.look_for_history();
        let Some(worker) = &self.history.worker else {
            let refusal = "there is no history: [history] enabled is false in the config";
            tell(Err(Refusal::failed(refusal)));
            return;
        };
        let send = Box::new(move |found: Result<History, QueryError>| {
            tell(found.map_err(|error| match error.is_bad_question() {
                true => Refusal::bad_request(error.to_string()),
                false => Refusal::failed(error.to_string()),
            }));
        });
        // When it is busy the sender is dropped, and the asker hears of it.
        if !worker.ask(query, send) {
            debug!("the history is too busy for a question");
        }
    }

    /// Does what is asked, and notes it in the history if it changed something.
    pub fn handle_for(
        &mut self,
        actor: Actor,
        request: Request,
        confirm: Option<Duration>,
        asker: Asker,
    ) -> Result<serde_json::Value, Refusal> {
        let Some(kind) = kind_of(&request, confirm) else {
            return self.handle(request, confirm, asker);
        };
        let before = self.before_change();
        let is_update = matches!(request, Request::ReloadDatabase { .. });
        // The asker may be gone when the change is made.
        let login = login_of(actor);
        let reply = self.handle(request, confirm, asker)?;
        if is_update && self.standing().database_sha256 == before.standing.database_sha256 {
            return Ok(reply);
        }
        let message = reply["message"].as_str().unwrap_or_default();
        let words = match (message.lines().next().unwrap_or_default(), confirm) {
            ("", _) => "the config was changed by command".to_owned(),
            (first, Some(time)) => {
                format!("on trial for {}: {first}", humantime::format_duration(time))
            }
            (first, None) => first.to_owned(),
        };
        self.note(actor, login, kind, words);
        self.note_also(&before, actor, login, kind);
        Ok(reply)
    }

    pub(super) fn before_change(&self) -> Before {
        Before {
            standing: self.standing(),
            trial: self.trial.as_ref().map(|trial| trial.what.clone()),
            rules: self.rules_with_ends(),
        }
    }

    /// Notes what time alone has done: a trial that is over, rules that are.
    pub(super) fn note_timed(&mut self, before: &Before) {
        if let Some(what) = before.trial.as_ref().filter(|_| self.trial.is_none()) {
            let words = format!("nobody confirmed it, so it was undone: {what}");
            self.note(Actor::Daemon, None, Kind::Trial, words);
            self.note_also(before, Actor::Daemon, None, Kind::Trial);
            return;
        }
        let left = self.rules_with_ends();
        for (over, _) in before.rules.iter().filter(|rule| !left.contains(rule)) {
            let words = format!("{over}: ended, its time is over");
            self.note(Actor::Daemon, None, Kind::Policy, words);
        }
    }

    /// Notes mode and database, where a change of another kind has brought new ones.
    fn note_also(&mut self, before: &Before, actor: Actor, login: Option<u32>, kind: Kind) {
        let after = self.standing();
        if kind != Kind::Mode && after.mode != before.standing.mode {
            let words = format!("mode {} in place of {}", after.mode, before.standing.mode);
            self.note(actor, login, Kind::Mode, words);
        }
        if kind != Kind::Database && after.database_sha256 != before.standing.database_sha256 {
            let words = format!("database {}", after.database);
            self.note(actor, login, Kind::Database, words);
        }
    }

    /// Notes where no gate stands, or stands again. What is so at the start is noted after that.
    pub(super) fn note_gate(&mut self, what: String) {
        if self.history.has_begun {
            self.note(Actor::Daemon, None, Kind::Daemon, what);
        }
    }

    pub(super) fn has_begun_history(&self) -> bool {
        self.history.has_begun
    }

    fn note(&mut self, actor: Actor, login: Option<u32>, kind: Kind, what: String) {
        let noted = Noted {
            unix: since_1970().as_secs(),
            kind,
            actor,
            login,
            what,
            after: self.standing(),
        };
        if let Some(worker) = &mut self.history.worker {
            worker.note(noted);
        }
    }

    /// See [`Sample::gate`].
    pub(super) fn gate_name(&self) -> &str {
        &self.history.gate
    }

    fn rules_with_ends(&self) -> Vec<(String, Option<SystemTime>)> {
        let rules = self.overlay.rules.iter();
        rules.map(|rule| (rule.word(), rule.expires)).collect()
    }

    pub(super) fn standing(&self) -> Standing {
        let info = &self.database.info;
        Standing {
            mode: crate::control::protocol::ModeWord::from(self.gate.mode())
                .word()
                .to_owned(),
            policy_sha256: self.policy_digest().to_string(),
            database: info.source.to_string(),
            database_sha256: info.digest.unwrap_or_else(geo::builtin_digest).to_string(),
        }
    }

    /// Of the config files, and of `runtime.json` behind them where that says anything.
    fn policy_digest(&self) -> Digest {
        let files = self.config_files.iter();
        let mut text: Vec<u8> = files.flat_map(|file| file.text.bytes()).collect();
        if let Some(overlay) = self.overlay.text() {
            text.extend(overlay);
        }
        Digest::of(&text)
    }

    /// The first look, and that the daemon is here.
    pub fn begin_history(&mut self, status: &str) {
        self.look_for_history();
        let version = env!("CARGO_PKG_VERSION");
        let words = format!("{STARTED}, version {version}: {status}");
        self.note(Actor::Daemon, None, Kind::Daemon, words);
        self.history.has_begun = true;
        self.note_missing_gates();
    }

    /// The last look, and that the daemon goes; waits until it is written, but not for long.
    pub fn end_history(&mut self) {
        self.read_events();
        self.look_for_history();
        let words = "stopped; the gate stands".to_owned();
        self.note(Actor::Daemon, None, Kind::Daemon, words);
        if let Some(worker) = self.history.worker.take() {
            worker.stop();
        }
    }
}

/// What a request is about, if it changes what the history tells of. Bans are not: a program that reads logs
/// makes thousands of them.
const fn kind_of(request: &Request, confirm: Option<Duration>) -> Option<Kind> {
    match request {
        Request::AddRule { .. }
        | Request::RemoveRule { .. }
        | Request::SetMode { .. }
        | Request::Reload
            if confirm.is_some() =>
        {
            Some(Kind::Trial)
        }
        Request::SetMode { .. } => Some(Kind::Mode),
        Request::AddRule { .. }
        | Request::RemoveRule { .. }
        | Request::Reload
        | Request::Adopt(_) => Some(Kind::Policy),
        Request::AcceptDatabase { .. }
        | Request::ReloadDatabase { .. }
        | Request::RollBackDatabase { .. } => Some(Kind::Database),
        Request::Confirm | Request::Rollback => Some(Kind::Trial),
        _ => None,
    }
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

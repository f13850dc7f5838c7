//! `cerco run`: one task owns the gate; the control socket, the metrics and the timers talk to it.

mod adopt;
pub mod age;
mod bans;
mod dashboard_answers;
pub mod databases;
mod diff;
mod events;
mod explain;
mod history;
mod interfaces;
mod lock;
pub mod lockout;
mod memory;
pub mod moment;
pub mod overlay;
mod preview;
pub mod rates;
mod reload;
mod rollback;
mod rules;
pub mod start;
mod state;
mod trial;
pub mod view;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tracing::{debug, info, warn};

pub use self::{
    adopt::{end, end_without_daemon},
    trial::files_before,
};
use self::{lock::Lock, state::Daemon};
use crate::{
    config::{Config, Interfaces, SourceFile},
    control::{
        self,
        protocol::{Asker, ModeWord, Request},
        server::Asked,
    },
    dashboard::{self, Question},
    faults::{Step, reached},
    history::changes::Actor,
    kernel::{self, LinkWatch},
    metrics::{self, Scrape},
};

const BAN_SWEEP: Duration = Duration::from_secs(30);
const FLOW_SWEEP: Duration = Duration::from_secs(60);
const DATABASE_CHECK: Duration = Duration::from_secs(24 * 60 * 60);
/// The clock may be set while a rule waits for its end, so it is looked at this often.
const EXPIRY_CHECK: Duration = Duration::from_secs(60);
const EXPIRY_RETRY: Duration = Duration::from_secs(1);
/// Requests that wait for the daemon's task.
const QUEUE: usize = 16;

/// Runs until SIGTERM or SIGINT. The gate stays in the kernel when it ends.
pub fn run(
    config_file: Option<PathBuf>,
    config: Config,
    config_files: Vec<SourceFile>,
    warnings: Vec<String>,
) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(config_file, config, config_files, warnings))
}

async fn serve(
    config_file: Option<PathBuf>,
    config: Config,
    config_files: Vec<SourceFile>,
    warnings: Vec<String>,
) -> anyhow::Result<()> {
    // Signals first: a SIGTERM during a long start must not be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let _lock = Lock::take(&config.paths.state)?;
    reached(Step::Locked);
    let control_listener = control::server::bind(&config.paths.socket)?;
    reached(Step::Listening);
    let (scrape_sender, mut scrapes) = mpsc::channel::<Scrape>(QUEUE);
    let (fault_sender, metrics_fault) = watch::channel(None);
    if let Some(address) = config.metrics {
        let endpoint = metrics::endpoint(address);
        let listener = endpoint.try_bind(&fault_sender).await;
        let scrapes = scrape_sender.clone();
        tokio::spawn(metrics::serve_at(endpoint, listener, scrapes, fault_sender));
    }
    let (dashboard_fault_sender, dashboard_fault) = watch::channel(None);
    let dashboard = config.dashboard.clone();
    let socket = config.paths.socket.clone();
    // Before the start looks at the interfaces, so that no change of them is missed.
    let link_watch = LinkWatch::open(config.interfaces == Interfaces::Auto);
    let server_faults = [metrics_fault, dashboard_fault];
    let mut daemon = Daemon::start(config_file, config, config_files, warnings, server_faults)?;
    reached(Step::Attached);
    daemon.look_at_interfaces();
    let (changed_sender, mut interfaces_changed) = mpsc::channel(1);
    tokio::spawn(interfaces::watch(link_watch, changed_sender));

    let (asked_sender, mut asked) = mpsc::channel::<Asked>(QUEUE);
    tokio::spawn(control::server::serve(
        control_listener,
        asked_sender,
        daemon.event_stream(),
    ));
    let (question_sender, mut questions) = mpsc::channel::<Question>(QUEUE);
    if dashboard.enabled {
        let events = daemon.event_stream();
        let sender = question_sender.clone();
        let fault = dashboard_fault_sender.clone();
        if let Err(error) = dashboard::start(dashboard, sender, events, fault) {
            let words = format!("no dashboard: its thread cannot be started: {error}");
            warn!("{words}");
            dashboard_fault_sender.send_replace(Some(words));
        }
    }
    // The first frame that is dropped shall be seen, too.
    daemon.begin_event_window();
    let status = announce(&daemon);
    reached(Step::Announced);
    daemon.begin_history(&status);
    daemon.keep_database();
    reached(Step::DatabaseKept);
    let mut messages: Option<JoinHandle<()>> = None;

    let mut sample_rates = ticker(rates::INTERVAL);
    let mut check_interfaces = ticker(interfaces::CHECK);
    let mut sweep_bans = ticker(BAN_SWEEP);
    let mut sweep_flows = ticker(FLOW_SWEEP);
    let mut check_database = ticker(DATABASE_CHECK);
    let mut read_events = ticker(events::WINDOW);
    let mut feed_watchdog = ticker(watchdog_interval());
    let mut retry_at = Instant::now();
    loop {
        // There is a new one at the start, and whenever the gate was loaded anew.
        if let Some(logger) = daemon.gate.take_logger()
            && let Some(earlier) = messages.replace(tokio::spawn(forward_messages(logger)))
        {
            earlier.abort();
        }
        // An instant, not a duration: what happens meanwhile must not put it off.
        let expiry = sleep_until(retry_at.max(Instant::now() + until_expiry(&daemon)));
        let next_look = daemon.next_interface_look();
        let next_look = sleep_until(next_look.map_or_else(far_off, Instant::from_std));
        // Looked at again a little later than its end, since two clocks are asked.
        let trial_left = daemon
            .trial_left()
            .map(|left| left + Duration::from_millis(1));
        let trial_over = async {
            match trial_left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let history_look = tokio::time::sleep(daemon.until_history_look());
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                // The outcome is logged, and `status` shows a refusal.
                let _ = daemon.handle_for(Actor::Signal, Request::Reload, None, Asker::default());
            }
            Some(asked) = asked.recv() => {
                debug!(request = ?asked.request, confirm = ?asked.confirm, "asked");
                daemon.respond(asked);
            }
            Some(scrape) = scrapes.recv() => {
                let _ = scrape.send(daemon.snapshot().map_err(|error| error.to_string()));
            }
            Some(question) = questions.recv() => daemon.answer_dashboard(question),
            Some(()) = interfaces_changed.recv() => daemon.look_at_interfaces(),
            _ = check_interfaces.tick() => daemon.look_at_interfaces(),
            () = next_look => daemon.look_at_interfaces(),
            () = history_look => daemon.look_for_history(),
            _ = sample_rates.tick() => daemon.sample_rates(),
            _ = read_events.tick() => daemon.begin_event_window(),
            _ = sweep_bans.tick() => daemon.sweep_bans(),
            _ = sweep_flows.tick() => daemon.sweep_flows(),
            _ = check_database.tick() => {
                if let Some(warning) = daemon.database_warning() {
                    warn!("{warning}");
                }
            }
            _ = feed_watchdog.tick() => notify(&[NotifyState::Watchdog]),
            () = trial_over => daemon.trial_over(),
            () = expiry => {
                daemon.expire_rules(SystemTime::now());
                // A rule that is over and could not be ended is tried again, but not in a busy loop.
                retry_at = Instant::now() + EXPIRY_RETRY;
            }
        }
    }
    notify(&[NotifyState::Stopping]);
    daemon.end_history();
    if let Err(error) = std::fs::remove_file(&socket) {
        debug!("failed to remove {}: {error}", socket.display());
    }
    info!(
        "the daemon stops, the gate stands: packets are filtered as before; \
         `cerco detach --force` takes it down"
    );
    Ok(())
}

/// Passes on what the program in the kernel has to say, which is little: see `filter-ebpf`.
async fn forward_messages(logger: kernel::Logger) {
    // SAFETY: the logger owns the descriptor of its ring buffer and gives the same one all its life.
    let mut logger = match unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) } {
        Ok(logger) => logger,
        Err(error) => {
            warn!("the program's messages cannot be read: {error}");
            return;
        }
    };
    loop {
        match logger.readable_mut().await {
            Ok(mut ready) => {
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
            Err(error) => {
                warn!("the program's messages cannot be read any more: {error}");
                return;
            }
        }
    }
}

/// Says what stands where, to the log and to the service manager.
fn announce(daemon: &Daemon) -> String {
    let attached: Vec<String> = daemon
        .gate
        .attachments()
        .iter()
        .map(|at| format!("{} ({})", at.interface, view::attachment_words(at)))
        .collect();
    let mode = ModeWord::from(daemon.gate.mode()).word();
    let status = format!("{mode} on {}", attached.join(", "));
    info!("the gate stands: {status}");
    let database = &daemon.database.info;
    let built = daemon
        .database_built()
        .map_or("of unknown age".to_owned(), |time| {
            age::built(time, SystemTime::now())
        });
    info!(
        "database {} ({built}): {} IPv4 and {} IPv6 networks",
        database.source, database.networks_v4, database.networks_v6
    );
    let databases = daemon.databases.warnings(&daemon.config);
    let warnings = daemon.config_warnings.iter().chain(&daemon.suspended);
    for warning in warnings.chain(&databases) {
        warn!("{warning}");
    }
    notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    status
}

fn notify(state: &[NotifyState<'_>]) {
    // Without a service manager there is nobody to tell, and that is no fault.
    if let Err(error) = sd_notify::notify(state) {
        debug!("failed to notify the service manager: {error}");
    }
}

/// Half of what the service manager allows, as sd_watchdog_enabled(3) advises.
fn watchdog_interval() -> Duration {
    sd_notify::watchdog_enabled().map_or(DATABASE_CHECK, |limit| limit / 2)
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticker = interval(period.max(Duration::from_millis(1)));
    // After a long reload one tick is enough.
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

/// No timer waits so long.
fn far_off() -> Instant {
    Instant::now() + DATABASE_CHECK
}

fn until_expiry(daemon: &Daemon) -> Duration {
    let Some(expiry) = daemon.next_expiry() else {
        return EXPIRY_CHECK;
    };
    let left = expiry
        .duration_since(SystemTime::now())
        .unwrap_or(Duration::ZERO);
    left.min(EXPIRY_CHECK)
}

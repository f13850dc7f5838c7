//! The gate follows its interfaces: those that vanish and come back, are renamed, appear later, or have got the
//! default route; and those on which it could not be attached.
//!
//! Nothing is concluded from a message of the kernel but that it is time to look: each look compares what is
//! wanted with what is there, so a lost message costs a delay at most.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::{Duration, Instant},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
    time::sleep,
};
use tracing::{info, warn};

use super::{state::Daemon, view};
use crate::{
    config::{Interfaces, with_default_route},
    history::changes::gate::{self, Told},
    kernel::{
        self, AttachMode, Attachment, Link, LinkWatch, NamedTwice, Place, XdpPrograms, name_before,
    },
};

/// The least time between two looks, so that a burst of messages gives one look, and another when it is over.
const REST: Duration = Duration::from_millis(100);
/// Some things happen without a message: `bpftool link detach` is one.
pub(super) const CHECK: Duration = Duration::from_secs(5);
/// Until a failed attachment is tried again, doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(16);
/// The longest time that interfaces take to swap their names, one of which nobody bears meanwhile.
const SWAP: Duration = CHECK.saturating_mul(2);
/// Counter slots of a gate that follows the default route. One takes 27 KB of memory for each CPU.
pub(super) const AUTO_SLOTS: usize = 8;

/// What is known of the interfaces beside the gate's attachments.
#[derive(Default, Debug)]
pub(super) struct Following {
    /// Interfaces where the gate should stand and does not.
    absent: BTreeMap<String, Absent>,
    /// The gate stands on an interface that is called otherwise now.
    renamed: BTreeMap<String, String>,
    /// The gate still stands on interfaces whose names others bear now, by the name of the attachment.
    set_aside: BTreeMap<String, SetAside>,
    named_twice: Vec<NamedTwice>,
    /// By the number of the interface.
    mtus: BTreeMap<u32, u32>,
    /// Names under which the gate has stood since the start.
    attached_once: BTreeSet<String>,
    /// Where no gate stands, as the history knows it; the value says whether packets pass there.
    noted: BTreeMap<String, bool>,
    /// It was said that somebody has detached the gate.
    is_taken_down: bool,
    /// Why the last look came to nothing.
    fault: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Absent {
    /// `None`: there is no such interface.
    failure: Option<Failure>,
    /// Since when there is none, after there was one.
    gone_since: Option<Instant>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct SetAside {
    since: Instant,
    /// What the interface is called now.
    called: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Failure {
    error: String,
    attempts: u32,
    next: Instant,
    /// What the interface was like: when that changes, the next attempt need not wait.
    seen: Seen,
}

/// What an attachment depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    ifindex: u32,
    mtu: u32,
    xdp: XdpPrograms,
}

impl Absent {
    /// `was_attached`: the gate has stood there.
    fn warning(&self, interface: &str, was_attached: bool, now: Instant) -> String {
        match &self.failure {
            Some(failure) => {
                let wait = failure.next.saturating_duration_since(now).as_secs() + 1;
                let times = match failure.attempts {
                    1 => "once".to_owned(),
                    attempts => format!("{attempts} times"),
                };
                format!(
                    "no gate stands on {interface} now, every packet passes there: {}; tried {times}, again \
                     within {wait} s",
                    failure.error
                )
            }
            None if was_attached => format!(
                "no gate stands on {interface} any more: the interface went away; it is attached again as \
                 soon as it comes back"
            ),
            None => format!(
                "no gate stands on {interface} yet: there is no interface of that name; it is attached as \
                 soon as it appears, and `ip -brief link` lists those that are there"
            ),
        }
    }
}

impl SetAside {
    fn warning(&self, aside: &str) -> String {
        let name = name_before(aside).unwrap_or(aside);
        format!(
            "{} was called {name}, as another interface is now: it keeps its gate until that one has one, and for \
             up to {} s while a name of `interfaces` is missing that it may be about to get; then every packet \
             passes there, unless you write {} into `interfaces` too",
            self.called,
            SWAP.as_secs(),
            self.called
        )
    }
}

/// The wait after this many attempts have failed.
fn retry_after(attempts: u32) -> Duration {
    let factor = 1_u32 << attempts.saturating_sub(1).min(8);
    (FIRST_RETRY * factor).min(LAST_RETRY)
}

impl Daemon {
    /// Brings the gate to where it belongs.
    pub fn look_at_interfaces(&mut self) {
        if self.gate.is_taken_down() {
            self.say_taken_down();
            return;
        }
        match self.reconcile() {
            Ok(()) => self.following.fault = None,
            Err(error) => {
                let text = format!("changes of interfaces may go unnoticed: {error}");
                if self.following.fault.as_ref() != Some(&text) {
                    warn!("{text}");
                }
                self.following.fault = Some(text);
            }
        }
        self.note_missing_gates();
    }

    /// Tells the history where the gate no longer stands, or stands again.
    pub(super) fn note_missing_gates(&mut self) {
        let attached = self.interfaces_attached();
        let missing: BTreeMap<String, bool> = attached
            .iter()
            .filter(|(_, stands)| stands.is_none())
            .map(|(name, _)| {
                let absent = self.following.absent.get(name);
                let is_there = absent.is_none_or(|it| it.failure.is_some());
                (name.clone(), is_there)
            })
            .collect();
        let noted = std::mem::take(&mut self.following.noted);
        for name in noted.keys().filter(|name| !missing.contains_key(*name)) {
            let words = match attached.iter().any(|(attached, _)| attached == name) {
                true => Told::Closed(name.clone()).words(),
                false => gate::unwanted_words(name),
            };
            self.note_gate(words);
        }
        for (name, is_there) in &missing {
            if noted.get(name) == Some(is_there) {
                continue;
            }
            self.note_gate(match is_there {
                true => Told::Open(name.clone()).words(),
                false => gate::absent_words(name),
            });
        }
        if self.has_begun_history() {
            self.following.noted = missing;
        }
    }

    /// Whoever has detached the gate beside the daemon wants it gone.
    fn say_taken_down(&mut self) {
        if !self.following.is_taken_down {
            warn!("the gate was detached: every packet passes; a restart puts it up again");
            self.note_gate(Told::Detached.words());
        }
        self.following = Following {
            is_taken_down: true,
            ..Following::default()
        };
    }

    fn reconcile(&mut self) -> anyhow::Result<()> {
        let links = kernel::links()?;
        self.note_gone(&links);
        let (wanted, needed) = self.wanted_interfaces(&links)?;
        let places = self.gate.places(&wanted, &links);
        self.gate.rename_attachments(&places)?;
        for place in &places {
            if let Some(link) = links.iter().find(|it| it.index == place.ifindex) {
                self.settle(place, link);
            }
        }
        self.gate.know_members(&links);
        let held = self.gate.attachments().iter();
        let names = held.map(|it| it.interface.clone());
        self.following.attached_once.extend(names);
        let now = Instant::now();
        self.note_missing(&needed, &places, now);
        self.note_renamed(&places);
        self.note_named_twice(&places);
        self.note_mtus(&links);
        self.note_set_aside(&links, now);
        self.release_set_aside(now)
    }

    /// The names where the gate should stand, and those of them that have to be there.
    ///
    /// With "auto" that is, beside the default routes of now, every interface that the gate has stood on since the
    /// start: connections over the old one go on when the route moves, and one that comes back should not be open
    /// until it has a route again.
    fn wanted_interfaces(&self, links: &[Link]) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        match &self.config.interfaces {
            Interfaces::Named(names) => Ok((names.clone(), names.clone())),
            Interfaces::Auto => {
                let needed = default_routes()?;
                let mut wanted = needed.clone();
                for known in self.gate.interfaces() {
                    let name = self.name_now(known, links);
                    if !wanted.contains(&name) {
                        wanted.push(name);
                    }
                }
                Ok((wanted, needed))
            }
        }
    }

    /// Nobody has written this name into a config, so it is a new one after a rename.
    fn name_now(&self, known: &str, links: &[Link]) -> String {
        let held = self
            .gate
            .attachments()
            .iter()
            .find(|it| it.interface == known);
        let link = held.and_then(|held| links.iter().find(|it| it.index == held.ifindex));
        link.map_or_else(|| known.to_owned(), |link| link.name.clone())
    }

    fn note_gone(&mut self, links: &[Link]) {
        let gone: Vec<Attachment> = self
            .gate
            .attachments()
            .iter()
            .filter(|held| !links.iter().any(|link| link.index == held.ifindex))
            .cloned()
            .collect();
        for held in gone {
            let name = held.interface;
            warn!(
                "{name} (number {}) went away: no gate stands there",
                held.ifindex
            );
            self.following.mtus.remove(&held.ifindex);
            if let Err(error) = self.gate.release_interface(&name) {
                warn!("what was pinned for {name} stays: {error}");
            }
            let absent = Absent {
                failure: None,
                gone_since: Some(Instant::now()),
            };
            self.following.absent.insert(name, absent);
        }
    }

    /// Attaches one interface, unless the gate stands there or has to wait.
    fn settle(&mut self, place: &Place, link: &Link) {
        let name = &place.name;
        let held = self
            .gate
            .attachments()
            .iter()
            .find(|it| it.interface == *name);
        let stood = held.is_some();
        if held.is_some_and(|held| held.ifindex == place.ifindex && self.gate.holds(held)) {
            self.following.absent.remove(name);
            return;
        }
        let seen = Seen {
            ifindex: link.index,
            mtu: link.mtu,
            xdp: link.xdp,
        };
        let now = Instant::now();
        let absent = self.following.absent.get(name);
        let was_attached = stood || self.following.attached_once.contains(name);
        let earlier = absent.and_then(|it| it.failure.as_ref());
        if earlier.is_some_and(|it| it.seen == seen && now < it.next) {
            return;
        }
        let attempts = 1 + earlier.map_or(0, |it| it.attempts);
        match self.gate.attach_interface(place, self.config.attach) {
            Ok(attachment) => {
                self.following.absent.remove(name);
                let how = view::attachment_words(&attachment);
                let number = attachment.ifindex;
                match (stood, was_attached) {
                    (true, _) => {
                        warn!(
                            "{name} had lost the gate, which stands there again: {how}, number {number}"
                        );
                        self.note_gate(Told::Off(name.clone()).words());
                    }
                    (_, true) => info!("{name} is back: attached again, {how}, number {number}"),
                    _ => info!("{name} is there: attached, {how}, number {number}"),
                }
            }
            Err(error) => {
                let error = crate::cause::chain(&error);
                let wait = retry_after(attempts);
                // Each different reason once, else the log would fill up.
                if earlier.is_none_or(|it| it.error != error) {
                    warn!("no gate stands on {name}: {error}; it is tried again");
                }
                let failure = Failure {
                    error,
                    attempts,
                    next: now + wait,
                    seen,
                };
                let absent = Absent {
                    failure: Some(failure),
                    gone_since: None,
                };
                self.following.absent.insert(name.clone(), absent);
            }
        }
    }

    /// Notes the wanted interfaces that do not exist.
    fn note_missing(&mut self, needed: &[String], places: &[Place], now: Instant) {
        self.following
            .absent
            .retain(|name, _| places.iter().any(|it| it.name == *name) || needed.contains(name));
        for name in needed {
            if places.iter().any(|it| it.is_for(name)) {
                continue;
            }
            let was_attached = self.following.attached_once.contains(name);
            let absent = self
                .following
                .absent
                .entry(name.clone())
                .or_insert_with(|| {
                    warn!("no gate stands on {name}: there is no interface of that name yet");
                    Absent {
                        failure: None,
                        gone_since: was_attached.then_some(now),
                    }
                });
            if absent.failure.take().is_some() {
                absent.gone_since = Some(now);
            }
        }
    }

    fn note_renamed(&mut self, places: &[Place]) {
        let renamed: BTreeMap<String, String> = places
            .iter()
            .filter_map(|it| Some((it.name.clone(), it.renamed_to.clone()?)))
            .collect();
        for (name, now) in &renamed {
            if self.following.renamed.get(name) != Some(now) {
                warn!("{}", renamed_words(name, now));
            }
        }
        for name in self.following.renamed.keys() {
            if !renamed.contains_key(name) {
                info!("{name} is called {name} again, or another interface is");
            }
        }
        self.following.renamed = renamed;
    }

    fn note_named_twice(&mut self, places: &[Place]) {
        let named_twice: Vec<_> = places.iter().flat_map(Place::named_twice).collect();
        for twice in &named_twice {
            self.following.absent.remove(&twice.name);
            if !self.following.named_twice.contains(twice) {
                warn!("{}", named_twice_words(twice));
            }
        }
        self.following.named_twice = named_twice;
    }

    fn note_mtus(&mut self, links: &[Link]) {
        for held in self.gate.attachments() {
            let Some(link) = links.iter().find(|it| it.index == held.ifindex) else {
                continue;
            };
            let earlier = self.following.mtus.insert(held.ifindex, link.mtu);
            if let Some(earlier) = earlier.filter(|it| *it != link.mtu) {
                info!("{}: MTU {earlier} -> {}", held.interface, link.mtu);
            }
        }
    }

    fn note_set_aside(&mut self, links: &[Link], now: Instant) {
        let mut set_aside = BTreeMap::new();
        for held in self.gate.attachments() {
            let link = links.iter().find(|it| it.index == held.ifindex);
            let Some(link) = link.filter(|_| name_before(&held.interface).is_some()) else {
                continue;
            };
            let earlier = self.following.set_aside.get(&held.interface);
            let aside = SetAside {
                since: earlier.map_or(now, |it| it.since),
                called: link.name.clone(),
            };
            set_aside.insert(held.interface.clone(), aside);
        }
        self.following.set_aside = set_aside;
    }

    /// Takes the gate off an interface that has lost its name to another one, once that one has a gate.
    ///
    /// It may be about to get a name that has just gone missing, as when two swap theirs, and is waited for then.
    fn release_set_aside(&mut self, now: Instant) -> anyhow::Result<()> {
        let is_recent = |since: Instant| now.saturating_duration_since(since) < SWAP;
        let mut absent = self.following.absent.values();
        let is_swapping = absent.any(|it| it.gone_since.is_some_and(is_recent));
        let attachments = self.gate.attachments();
        let stands = |name: &str| attachments.iter().any(|it| it.interface == name);
        let set_aside = self.following.set_aside.iter();
        let over: Vec<String> = set_aside
            .filter(|(aside, _)| name_before(aside).is_some_and(stands))
            .filter(|(_, it)| !(is_swapping && is_recent(it.since)))
            .map(|(aside, _)| aside.clone())
            .collect();
        for aside in over {
            self.following.set_aside.remove(&aside);
            self.gate.release_interface(&aside)?;
            let name = name_before(&aside).unwrap_or_default();
            warn!(
                "another interface is called {name} now and has the gate; the one that was, {aside}, is released: \
                 every packet passes there. If it should stay guarded, write its new name into `interfaces` too"
            );
        }
        Ok(())
    }

    /// When something is to be tried again.
    pub fn next_interface_look(&self) -> Option<Instant> {
        let now = Instant::now();
        let failures = self.following.absent.values();
        let retries = failures.filter_map(|it| Some(it.failure.as_ref()?.next));
        let set_aside = self.following.set_aside.values();
        // One that is over waits for another interface to be attached, and not for a time.
        let ends = set_aside.map(|it| it.since + SWAP).filter(|it| *it > now);
        retries.chain(ends).min()
    }

    /// For `status`.
    pub(super) fn interface_warnings(&self) -> Vec<String> {
        let now = Instant::now();
        let following = &self.following;
        let mut warnings: Vec<String> = self
            .gate
            .lost_interfaces()
            .into_iter()
            .filter(|name| !following.absent.contains_key(*name))
            .map(|name| match self.gate.is_taken_down() {
                true => format!(
                    "no gate stands on {name} any more, every packet passes there: it was detached; restart \
                     the daemon to attach it again"
                ),
                false => format!(
                    "no gate stands on {name} any more: the interface went away, or the gate was taken off; \
                     it is attached again at once when that can be"
                ),
            })
            .collect();
        let absent = following.absent.iter();
        warnings.extend(absent.map(|(name, absent)| {
            let was_attached = following.attached_once.contains(name);
            absent.warning(name, was_attached, now)
        }));
        let renamed = following.renamed.iter();
        warnings.extend(renamed.map(|(name, now)| renamed_words(name, now)));
        let named_twice = following.named_twice.iter();
        warnings.extend(named_twice.map(named_twice_words));
        let set_aside = following.set_aside.iter();
        warnings.extend(set_aside.map(|(name, aside)| aside.warning(name)));
        warnings.extend(following.fault.clone());
        warnings
    }

    /// How the gate stands, for each interface where it should; `None` where it does not.
    pub(super) fn interfaces_attached(&self) -> Vec<(String, Option<AttachMode>)> {
        let lost = self.gate.lost_interfaces();
        let held = self.gate.attachments().iter();
        let mut all: BTreeMap<String, Option<AttachMode>> = held
            .map(|it| {
                let stands = !lost.contains(&it.interface.as_str());
                (it.interface.clone(), stands.then_some(it.mode))
            })
            .collect();
        let absent = self.following.absent.keys();
        all.extend(absent.map(|name| (name.clone(), None)));
        for twice in &self.following.named_twice {
            let mode = all.get(&twice.first).copied().flatten();
            all.insert(twice.name.clone(), mode);
        }
        all.into_iter().collect()
    }
}

fn renamed_words(name: &str, now: &str) -> String {
    format!(
        "{name} is called {now} now: the gate stays on it for as long as no other interface is called {name}; \
         if that is for good, write {now} into `interfaces`"
    )
}

fn named_twice_words(twice: &NamedTwice) -> String {
    format!("{twice}; take {} out of the config", twice.name)
}

/// None is no error here: routes come back.
fn default_routes() -> anyhow::Result<Vec<String>> {
    use crate::config::InterfacesError;
    match with_default_route() {
        Err(InterfacesError::NoDefaultRoute) => Ok(Vec::new()),
        outcome => Ok(outcome?),
    }
}

/// Says so in `changed` when interfaces have changed, until the receiver is gone.
pub(super) async fn watch(watch: io::Result<LinkWatch>, changed: mpsc::Sender<()>) {
    let register = |it| {
        // SAFETY: the socket is owned by the value and stays the same all its life.
        let registered = unsafe { AsyncFd::register_with_interest(it, Interest::READABLE) };
        registered.map_err(io::Error::from)
    };
    let error = match watch.and_then(register) {
        Ok(watch) => match hear(&watch, &changed).await {
            Ok(()) => return,
            Err(error) => error,
        },
        Err(error) => error,
    };
    warn!(
        "the kernel does not tell of changed interfaces: {error}; they are looked at every {} seconds",
        CHECK.as_secs()
    );
}

/// Ends without an error when nobody listens any more.
async fn hear(watch: &AsyncFd<LinkWatch>, changed: &mpsc::Sender<()>) -> io::Result<()> {
    loop {
        let mut ready = watch.readable().await?;
        let heard = ready.get_inner().hear()?;
        if heard.is_all {
            ready.clear_ready();
        }
        if !heard.has_changes {
            continue;
        }
        match changed.try_send(()) {
            Err(mpsc::error::TrySendError::Closed(())) => return Ok(()),
            // One that waits to be heard says the same.
            Ok(()) | Err(mpsc::error::TrySendError::Full(())) => {}
        }
        // The first message of a burst is acted upon at once, the rest of it all together.
        sleep(REST).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_come_slower_and_slower_but_never_rarely() {
        let waits: Vec<u64> = (1..=7).map(|it| retry_after(it).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 16, 16]);
        assert_eq!(retry_after(u32::MAX), LAST_RETRY);
    }

    /// Then only the daemon's own clock makes it look, as it does in any case.
    #[test]
    fn deaf_watch_says_so_and_ends() {
        let (changed, mut heard) = mpsc::channel(1);
        let refused = Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(async {
            watch(refused, changed).await;
            assert_eq!(
                heard.recv().await,
                None,
                "nobody is told that something changed"
            );
        });
    }

    #[test]
    fn warnings_say_what_is_and_what_will_be() {
        let now = Instant::now();
        let failure = Failure {
            error: "failed to attach to `eth1`".into(),
            attempts: 3,
            next: now + Duration::from_millis(3_500),
            seen: Seen {
                ifindex: 2,
                mtu: 1500,
                xdp: XdpPrograms::default(),
            },
        };
        let cases = [
            (
                false,
                None,
                "no gate stands on eth1 yet: there is no interface of that name; it is attached as soon as it \
                 appears, and `ip -brief link` lists those that are there",
            ),
            (
                true,
                None,
                "no gate stands on eth1 any more: the interface went away; it is attached again as soon as it \
                 comes back",
            ),
            (
                true,
                Some(failure),
                "no gate stands on eth1 now, every packet passes there: failed to attach to `eth1`; tried 3 \
                 times, again within 4 s",
            ),
        ];
        for (was_attached, failure, expected) in cases {
            let gone_since = None;
            let absent = Absent {
                failure,
                gone_since,
            };
            assert_eq!(absent.warning("eth1", was_attached, now), expected);
        }
        let aside = SetAside {
            since: now,
            called: "lan0".into(),
        };
        assert_eq!(
            aside.warning("eth0 (number 2)"),
            "lan0 was called eth0, as another interface is now: it keeps its gate until that one has one, and for \
             up to 10 s while a name of `interfaces` is missing that it may be about to get; then every packet \
             passes there, unless you write lan0 into `interfaces` too"
        );
    }
}

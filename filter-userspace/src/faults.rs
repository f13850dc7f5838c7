//! A switch for tests: the process dies where it is told to, as by SIGKILL, at one step of a start, of a change or of
//! a detachment.
//!
//! Only a debug build has it. In a release build [`reached`] is empty and the variable is not even named
//! (`cargo xtask build` looks).

macro_rules! steps {
    ($($(#[doc = $doc:literal])* $step:ident = $name:literal,)*) => {
        /// Where a daemon can be told to die, in the order of a start.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Step {
            $($(#[doc = $doc])* $step,)*
        }

        impl Step {
            pub const ALL: &[Self] = &[$(Self::$step,)*];

            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$step => $name,)*
                }
            }
        }
    };
}

steps! {
    /// The lock of the state directory is taken.
    Locked = "daemon.locked",
    /// The control socket stands, and nobody answers yet.
    Listening = "daemon.listening",
    /// Links that a killed start had not got to have its program.
    UnfinishedLinks = "unfinished.links",
    /// The counters are carried over for it.
    UnfinishedCarried = "unfinished.carried",
    /// Its maps are those of the gate.
    UnfinishedExchanged = "unfinished.exchanged",
    /// What it replaced is gone.
    UnfinishedRemoved = "unfinished.removed",
    /// The table's map is made and pinned for the loader.
    LoadTable = "load.table",
    /// All maps are made.
    LoadMaps = "load.maps",
    /// The gate's program and those behind it are past the verifier.
    LoadPrograms = "load.programs",
    /// The control block is written.
    LoadControl = "load.control",
    /// The spare table is written.
    PublishTable = "publish.table",
    /// The spare port sets are written.
    PublishPorts = "publish.ports",
    /// The spare policy is written.
    PublishPolicy = "publish.policy",
    /// The table was read back.
    PublishReadBack = "publish.read_back",
    /// The end of a trial is written, and its policy does not decide yet.
    PublishTrial = "publish.trial",
    /// The new policy decides.
    PublishFlip = "publish.flip",
    /// No packet uses the old one any more.
    PublishDrained = "publish.drained",
    /// One ban is taken over.
    BanTaken = "bans.one",
    /// All bans are.
    BansTaken = "bans.all",
    /// The directories of the pins are there.
    PinDirectories = "pin.directories",
    /// One map is pinned.
    PinMap = "pin.one_map",
    /// All maps are.
    PinMaps = "pin.maps",
    /// The program is, with which the pins are whole.
    PinProgram = "pin.program",
    /// The gate of before asks for answers at every port.
    EveryPort = "trackers.every_port",
    /// The link of a tracker is made and not pinned.
    TrackerMade = "trackers.made",
    /// One tracker is where it belongs.
    TrackerAttached = "trackers.one",
    /// All trackers are.
    TrackersAttached = "trackers.all",
    /// One tracker has taken the place of that of another build.
    TrackerTakenOver = "trackers.taken_over",
    /// The open sockets are recorded.
    SocketsKnown = "attach.sockets",
    /// The counters know all interfaces, and no link has the program.
    InterfacesKnown = "attach.interfaces",
    /// A link is made and not pinned.
    LinkMade = "attach.made",
    /// One link has the program.
    LinkAttached = "attach.one",
    /// All links have.
    LinksAttached = "attach.all",
    /// Interfaces that the config does not name any more are free.
    Released = "attach.released",
    /// No packet is in the old program any more.
    CountersDrained = "counters.drained",
    /// One interface's counters are carried over.
    CountersOfOne = "counters.one",
    /// All are.
    CountersCarried = "counters.all",
    /// The pinned maps are those of the new program.
    MapsExchanged = "maps.exchanged",
    /// Those of the old one are gone.
    MapsRemoved = "maps.removed",
    /// The gate stands.
    Attached = "daemon.attached",
    /// The service manager was told.
    Announced = "daemon.announced",
    /// The database in force is kept for the next start.
    DatabaseKept = "daemon.database_kept",
    /// `cerco detach`: a daemon that runs beside can see that it shall put up nothing.
    DetachTold = "detach.told",
    /// One link is gone.
    DetachLink = "detach.one",
}

/// The environment variable with the name of a step, or `NAME:later`: not in the start, but in a change while the
/// daemon runs.
#[cfg(debug_assertions)]
pub const DIE_AT: &str = "CERCO_DIE_AT";

/// Says that a step is done. A debug build that was told to die here does.
#[cfg(debug_assertions)]
pub fn reached(step: Step) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    };

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| armed(&std::env::var(DIE_AT).ok()?));
    static IS_STARTED: AtomicBool = AtomicBool::new(false);

    let Some(armed) = *ARMED else {
        return;
    };
    if armed.step == step && armed.later == IS_STARTED.load(Ordering::Relaxed) {
        eprintln!("{DIE_AT}: dying at {}", step.name());
        // SAFETY: the signal goes to this process alone, which ends in the call.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
    if step == Step::DatabaseKept {
        IS_STARTED.store(true, Ordering::Relaxed);
    }
}

#[cfg(not(debug_assertions))]
#[inline(always)] // Nothing is left of it.
pub fn reached(_: Step) {}

#[cfg(debug_assertions)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Armed {
    step: Step,
    later: bool,
}

/// # Panics
/// When `word` names no step: a test that means to kill would find a daemon that lives.
#[cfg(debug_assertions)]
fn armed(word: &str) -> Option<Armed> {
    let (name, when) = word.split_once(':').unwrap_or((word, ""));
    let step = Step::ALL.iter().find(|step| step.name() == name);
    let (Some(step), "" | "later") = (step, when) else {
        panic!("{DIE_AT}: {word:?} names no step");
    };
    Some(Armed {
        step: *step,
        later: when == "later",
    })
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn step_is_named_for_the_start_or_for_later() {
        let at = |step, later| Some(Armed { step, later });
        assert_eq!(armed("publish.flip"), at(Step::PublishFlip, false));
        assert_eq!(armed("attach.one:later"), at(Step::LinkAttached, true));
        for word in ["", "publish", "publish.flip:2"] {
            assert!(std::panic::catch_unwind(|| armed(word)).is_err(), "{word}");
        }
    }

    #[test]
    fn names_are_different() {
        let names: std::collections::BTreeSet<&str> =
            Step::ALL.iter().map(|step| step.name()).collect();
        assert_eq!(names.len(), Step::ALL.len());
    }
}

//! A gate with bans under siege, and what it is made of: what must still be there after whatever befell its daemon.

use crate::{
    daemon::Cerco,
    siege::{Asking, SUSPECTS, Siege, Toll},
    site::{LINK, Site, packets},
};
use aya::programs::{SchedClassifier, TcAttachType};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Two interfaces, so that a start can die between two links; the flood comes in at the second.
pub fn interfaces() -> String {
    format!("interfaces = [\"lo\", \"{LINK}\"]")
}

pub fn config(site: &Site) -> String {
    site.config_with(&interfaces(), "")
}

/// All names below a directory.
fn names(directory: &Path) -> BTreeSet<PathBuf> {
    let mut names = BTreeSet::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path.clone());
            }
            names.insert(path);
        }
    }
    names
}

/// What a gate is made of: pins, files, and programs on the interfaces.
#[derive(PartialEq, Eq, Debug)]
pub struct Inventory {
    pub pins: BTreeSet<PathBuf>,
    pub files: BTreeSet<PathBuf>,
    /// Programs on the ingress and the egress hook.
    pub trackers: [usize; 2],
    pub has_xdp: bool,
}

impl Inventory {
    /// # Panics
    /// When something cannot be asked.
    pub fn take(site: &Site, cerco: &Cerco) -> Self {
        let trackers = |direction| {
            let programs = site
                .host
                .run(move || SchedClassifier::query_tcx(LINK, direction));
            programs.unwrap().unwrap().1.len()
        };
        Self {
            pins: match cerco.pins().exists() {
                true => names(cerco.pins()),
                false => BTreeSet::new(),
            },
            files: names(&cerco.state())
                .into_iter()
                // Whether they are there tells what was changed, and by whom it was confirmed; the last two, what the
                // thread that writes the history does at this moment.
                .filter(|path| {
                    ![
                        "runtime.json",
                        "unconfirmed.json",
                        "history.db",
                        "history.db-journal",
                    ]
                    .iter()
                    .any(|name| path.ends_with(name))
                })
                .collect(),
            trackers: [TcAttachType::Ingress, TcAttachType::Egress].map(trackers),
            has_xdp: site
                .host
                .ip(&format!("link show {LINK}"))
                .unwrap()
                .contains("xdp"),
        }
    }
}

/// The prefixes that are banned.
///
/// # Panics
/// When the daemon does not answer.
pub fn bans(cerco: &Cerco) -> Vec<String> {
    let bans = cerco.json(&["bans"])["bans"].clone();
    let prefix = |ban: &Value| ban["prefix"].as_str().unwrap().to_owned();
    bans.as_array().unwrap().iter().map(prefix).collect()
}

/// What the counters must say of a siege, exactly.
///
/// # Panics
/// When they say something else.
pub fn assert_counted(what: &str, cerco: &Cerco, toll: &Toll) {
    let status = cerco.json(&["status"]);
    let counted = ["allowed/pass", "country_denied/drop", "banned/drop"].map(|line| {
        let (reason, verdict) = line.split_once('/').unwrap();
        packets(&status, reason, verdict)
    });
    let expected = [
        toll.allowed_sent + toll.suspects_let_in,
        toll.denied_sent,
        toll.suspects_sent - toll.suspects_let_in,
    ];
    assert_eq!(counted, expected, "{what}: allowed, denied, banned");
}

/// A gate with bans under siege, and what it is made of.
pub struct Besieged {
    pub cerco: Cerco,
    pub siege: Siege,
    pub whole: Inventory,
    pub bans: Vec<String>,
    pub site: Site,
}

impl Besieged {
    /// # Panics
    /// When it cannot be set up.
    pub fn new(asking: Asking) -> Self {
        let site = Site::new().unwrap();
        let cerco = Cerco::start(&site.host, &config(&site)).unwrap();
        for suspect in SUSPECTS {
            cerco.cli(&["ban", suspect, "--for", "1h"]).unwrap();
        }
        let bans = bans(&cerco);
        let whole = Inventory::take(&site, &cerco);
        assert_eq!((whole.trackers, whole.has_xdp), ([1, 1], true));
        assert_eq!(bans.len(), SUSPECTS.len());
        Self {
            siege: Siege::begin(&site, asking).unwrap(),
            cerco,
            whole,
            bans,
            site,
        }
    }

    /// # Panics
    /// See [`Toll::assert_unharmed`].
    pub fn assert_unharmed(&self, what: &str) {
        self.siege.pause().toll.assert_unharmed(what);
    }

    /// The bans and what the gate is made of are what they were.
    ///
    /// # Panics
    /// When they are not.
    pub fn assert_all_there(&self, what: &str) {
        assert_eq!(bans(&self.cerco), self.bans, "{what}");
        let there = Inventory::take(&self.site, &self.cerco);
        assert_eq!(there, self.whole, "{what}");
    }

    /// Starts the daemon, in place of one that may run, and looks at everything.
    ///
    /// # Panics
    /// When something is not as it was.
    pub fn assert_whole_after_a_start(&mut self, what: &str) {
        self.cerco.kill().unwrap();
        self.cerco.run().unwrap();
        // A daemon that answers has done all that belongs to its start.
        self.assert_all_there(what);
        let pause = self.siege.pause();
        pause.toll.assert_unharmed(what);
        assert_eq!(pause.toll.suspects_let_in, 0, "{what}");
        assert_counted(what, &self.cerco, &pause.toll);
    }

    /// A siege that nobody laid would show nothing.
    ///
    /// # Panics
    /// When there was none to speak of.
    pub fn assert_besieged(&self) {
        let toll = self.siege.pause().toll;
        assert!(toll.denied_sent > 1_000 && toll.asked > 20, "{toll:?}");
    }
}

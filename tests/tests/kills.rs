//! The daemon dies at every step of what it does, and at any other moment: the gate goes on, and the next start
//! finds all that it needs and leaves nothing behind.

use aya::programs::{SchedClassifier, TcAttachType};
use filter_userspace::faults::Step;
use integration_tests::{
    daemon::Cerco,
    siege::{SUSPECTS, Siege, Toll},
    site::{LINK, Site, packets},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Two interfaces, so that a start can die between two links; the flood comes in at the second.
fn config(site: &Site) -> String {
    site.config_with(&format!("interfaces = [\"lo\", \"{LINK}\"]"), "")
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
struct Inventory {
    pins: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    /// Programs on the ingress and the egress hook.
    trackers: [usize; 2],
    has_xdp: bool,
}

fn inventory(site: &Site, cerco: &Cerco) -> Inventory {
    let trackers = |direction| {
        let programs = site
            .host
            .run(move || SchedClassifier::query_tcx(LINK, direction));
        programs.unwrap().unwrap().1.len()
    };
    Inventory {
        pins: match cerco.pins().exists() {
            true => names(cerco.pins()),
            false => BTreeSet::new(),
        },
        files: names(&cerco.state()),
        trackers: [TcAttachType::Ingress, TcAttachType::Egress].map(trackers),
        has_xdp: site
            .host
            .ip(&format!("link show {LINK}"))
            .unwrap()
            .contains("xdp"),
    }
}

fn bans(cerco: &Cerco) -> Vec<String> {
    let bans = cerco.json(&["bans"])["bans"].clone();
    let prefix = |ban: &Value| ban["prefix"].as_str().unwrap().to_owned();
    bans.as_array().unwrap().iter().map(prefix).collect()
}

/// What the counters must say of a siege, exactly.
fn assert_counted(what: &str, cerco: &Cerco, toll: &Toll) {
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

/// Steps that only a start on interfaces without a gate comes by.
const FIRST_START_ONLY: &[Step] = &[Step::TrackerMade, Step::SocketsKnown, Step::LinkMade];
/// Steps that only the start after a killed one comes by.
const AFTER_A_KILLED_START_ONLY: &[Step] = &[
    Step::UnfinishedLinks,
    Step::UnfinishedCarried,
    Step::UnfinishedExchanged,
    Step::UnfinishedRemoved,
];
/// Steps of a change while the daemon runs.
const CHANGE_ONLY: &[Step] = &[Step::PublishTrial, Step::PublishDrained];
/// Steps that need a gate that stands already.
const RESTART_ONLY: &[Step] = &[
    Step::BanTaken,
    Step::EveryPort,
    Step::CountersDrained,
    Step::CountersOfOne,
];

#[test]
fn daemon_killed_at_any_step_of_a_restart_leaves_the_gate_standing() {
    let site = Site::new().unwrap();
    let mut cerco = Cerco::start(&site.host, &config(&site)).unwrap();
    for suspect in SUSPECTS {
        cerco.cli(&["ban", suspect, "--for", "1h"]).unwrap();
    }
    let whole = inventory(&site, &cerco);
    assert_eq!((whole.trackers, whole.has_xdp), ([1, 1], true));
    let all_bans = bans(&cerco);
    assert_eq!(all_bans.len(), SUSPECTS.len());
    let siege = Siege::begin(&site).unwrap();
    let mut lived = Vec::new();
    for step in Step::ALL {
        let name = step.name();
        cerco.kill().unwrap();
        if !cerco.dies_at(name).unwrap() {
            lived.push(*step);
        }
        siege.pause().toll.assert_unharmed(name);
        cerco.kill().unwrap();
        cerco.run().unwrap();
        assert_eq!(inventory(&site, &cerco), whole, "{name}");
        assert_eq!(bans(&cerco), all_bans, "{name}");
        let pause = siege.pause();
        pause.toll.assert_unharmed(name);
        assert_eq!(pause.toll.suspects_let_in, 0, "{name}");
        assert_counted(name, &cerco, &pause.toll);
    }
    let expected = [AFTER_A_KILLED_START_ONLY, CHANGE_ONLY, FIRST_START_ONLY].concat();
    assert_eq!(
        lived.into_iter().collect::<BTreeSet<_>>(),
        expected.into_iter().collect(),
        "a restart does not come by these"
    );
    let toll = siege.pause().toll;
    assert!(toll.denied_sent > 10_000 && toll.asked > 100, "{toll:?}");
}

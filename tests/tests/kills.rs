//! The daemon dies at every step of what it does, and at any other moment: the gate goes on, and the next start
//! finds all that it needs and leaves nothing behind.

use filter_userspace::faults::Step;
use integration_tests::{
    besieged::{Besieged, Inventory, assert_counted, bans, config, interfaces},
    daemon::{Cerco, DIE_AT},
    poll,
    siege::{Asking, SUSPECTS, Siege},
    site::{ABROAD, Site, ended},
};
use std::{
    collections::BTreeSet,
    env, thread,
    time::{Duration, Instant},
};

/// Steps that only a start on interfaces without a gate comes by.
const FIRST_START: &[Step] = &[Step::TrackerMade, Step::SocketsKnown, Step::LinkMade];
/// Steps that need a gate that stands already.
const REPLACEMENT: &[Step] = &[Step::EveryPort, Step::CountersDrained, Step::CountersOfOne];
/// Steps that need a ban, or one that there has been.
const BANS: &[Step] = &[Step::BanTaken, Step::BansTaken];
/// Steps that only the start after a killed one comes by.
const AFTER_A_KILLED_START: &[Step] = &[
    Step::UnfinishedLinks,
    Step::UnfinishedCarried,
    Step::UnfinishedExchanged,
    Step::UnfinishedRemoved,
];
/// Steps that need the gate of another build.
const UPGRADE: &[Step] = &[Step::TrackerTakenOver];
/// Steps of a publication, as far as they go.
const PUBLICATION: &[Step] = &[
    Step::PublishTable,
    Step::PublishPorts,
    Step::PublishPolicy,
    Step::PublishReadBack,
    Step::PublishTrial,
    Step::PublishFlip,
    Step::PublishDrained,
];
/// Steps of a policy that takes the place of another.
const POLICY_CHANGE: &[Step] = &[Step::PublishDrained];
/// Steps of a change on trial.
const TRIAL: &[Step] = &[Step::PublishTrial];
/// Steps of a process, which a change of its gate does not come by.
const PROCESS: &[Step] = &[
    Step::Locked,
    Step::Listening,
    Step::Attached,
    Step::Announced,
    Step::DatabaseKept,
];
/// Steps of `cerco detach`, which is a process of its own.
const DETACH: &[Step] = &[Step::DetachTold, Step::DetachLink];

fn set(groups: &[&[Step]]) -> BTreeSet<Step> {
    groups.concat().into_iter().collect()
}

#[test]
fn daemon_killed_at_any_step_of_a_restart_leaves_the_gate_standing() {
    let mut gate = Besieged::new(Asking::Again);
    let mut lived = BTreeSet::new();
    for step in Step::ALL {
        let name = step.name();
        gate.cerco.kill().unwrap();
        if !gate.cerco.dies_at(name).unwrap() {
            lived.insert(*step);
        }
        gate.assert_unharmed(name);
        gate.assert_whole_after_a_start(name);
    }
    let elsewhere = [
        AFTER_A_KILLED_START,
        POLICY_CHANGE,
        TRIAL,
        FIRST_START,
        UPGRADE,
        DETACH,
    ];
    assert_eq!(lived, set(&elsewhere), "a restart does not come by these");
    gate.assert_besieged();
}

/// Some at a step, some at any moment between the start of the process and a while after it is ready.
#[test]
fn hundred_kills_under_a_siege_let_nothing_in_and_lose_nothing() {
    const KILLS: u32 = 120;
    /// About twice as long as a start takes.
    const LONGEST_LIFE: Duration = Duration::from_millis(400);
    const BANNED: Duration = Duration::from_secs(8);
    let seed = env::var("CERCO_TEST_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("CERCO_TEST_SEED={seed} repeats the choice of steps and moments");
    let mut choice = fastrand::Rng::with_seed(seed);
    let mut gate = Besieged::new(Asking::Again);
    // In place of the long bans, with which this began.
    let seconds = format!("{}s", BANNED.as_secs());
    let begun = Instant::now();
    for suspect in SUSPECTS {
        gate.cerco
            .cli(&["ban", suspect, "--for", &seconds])
            .unwrap();
    }
    gate.siege
        .ban_ends(begun + BANNED..=Instant::now() + BANNED);
    gate.cerco
        .cli(&["ban", "198.51.100.100", "--for", "1h"])
        .unwrap();
    let mut at_steps = 0;
    for turn in 0..KILLS {
        let step = choice.bool().then(|| choice.choice(Step::ALL).unwrap());
        let what = match step {
            Some(step) => format!("kill {turn}, at {}", step.name()),
            None => format!("kill {turn}, at any moment"),
        };
        gate.cerco.kill().unwrap();
        match step {
            Some(step) => at_steps += u32::from(gate.cerco.dies_at(step.name()).unwrap()),
            None => {
                gate.cerco.spawn(&[]).unwrap();
                thread::sleep(LONGEST_LIFE.mul_f64(choice.f64()));
            }
        }
        if turn % 10 == 9 {
            gate.assert_unharmed(&what);
        }
    }
    assert!(at_steps > KILLS / 5, "only {at_steps} at a step");
    gate.bans = vec!["198.51.100.100/32".to_owned()];
    poll::until("see the short bans end", BANNED * 2, || {
        (gate.siege.pause().toll.suspects_sent_free > 100).then_some(())
    })
    .unwrap();
    gate.cerco.kill().unwrap();
    gate.cerco.run().unwrap();
    assert_eq!(bans(&gate.cerco), gate.bans);
    assert_eq!(Inventory::take(&gate.site, &gate.cerco), gate.whole);
    let pause = gate.siege.pause();
    let toll = pause.toll;
    toll.assert_unharmed("at the end");
    let free = toll.suspects_sent_free..=toll.suspects_sent_free + toll.suspects_sent_between;
    assert!(free.contains(&toll.suspects_let_in), "{toll:?}");
    assert_counted("at the end", &gate.cerco, &toll);
    eprintln!("{KILLS} kills, {at_steps} of them at a step: {toll:?}");
    drop(pause);
    gate.assert_besieged();
}

/// The start before has put its program on the first link, and not on the second.
#[test]
fn daemon_killed_while_it_finishes_a_killed_start_leaves_the_gate_standing() {
    let mut gate = Besieged::new(Asking::Again);
    for step in AFTER_A_KILLED_START {
        for before in [Step::LinkAttached, Step::CountersCarried] {
            let name = format!("{} after {}", step.name(), before.name());
            gate.cerco.kill().unwrap();
            assert!(gate.cerco.dies_at(before.name()).unwrap(), "{name}");
            gate.assert_unharmed(&name);
            assert!(gate.cerco.dies_at(step.name()).unwrap(), "{name}");
            gate.assert_unharmed(&name);
            gate.assert_whole_after_a_start(&name);
        }
    }
    gate.assert_besieged();
}

#[test]
fn daemon_killed_at_any_step_of_a_first_start_blocks_nobody() {
    let site = Site::new().unwrap();
    let mut cerco = Cerco::prepare(&site.host, &config(&site)).unwrap();
    let siege = Siege::begin(&site, Asking::Once).unwrap();
    let mut lived = BTreeSet::new();
    let mut whole = None;
    for step in Step::ALL {
        let name = step.name();
        if !cerco.dies_at(name).unwrap() {
            lived.insert(*step);
        }
        siege.pause().toll.assert_served(name);
        cerco.kill().unwrap();
        cerco.run().unwrap();
        assert_eq!(bans(&cerco), [""; 0], "{name}");
        let standing = siege.pause().toll;
        let found = Inventory::take(&site, &cerco);
        assert_eq!((found.trackers, found.has_xdp), ([1, 1], true), "{name}");
        assert_eq!(
            *whole.get_or_insert_with(|| Inventory::take(&site, &cerco)),
            found
        );
        let toll = siege.pause().toll;
        toll.assert_served(name);
        toll.since(&standing).assert_unharmed(name);
        cerco.kill().unwrap();
        let pause = siege.pause();
        cerco.cli(&["detach", "--force"]).unwrap();
        drop(pause);
        let left = Inventory::take(&site, &cerco);
        assert_eq!((left.trackers, left.has_xdp), ([0, 0], false), "{name}");
        assert_eq!(left.pins, BTreeSet::new(), "{name}");
    }
    let elsewhere = [
        AFTER_A_KILLED_START,
        POLICY_CHANGE,
        TRIAL,
        REPLACEMENT,
        UPGRADE,
        BANS,
        DETACH,
    ];
    assert_eq!(
        lived,
        set(&elsewhere),
        "a first start does not come by these"
    );
}

#[test]
fn daemon_killed_at_any_step_of_a_change_leaves_the_gate_standing() {
    let mut gate = Besieged::new(Asking::Again);
    let mut died = BTreeSet::new();
    let denied = |blocks: usize| {
        // Two networks in each /16, another pair each time: equal blocks of the table are stored once.
        let prefixes = (0..blocks).flat_map(|it| {
            let block = format!("{}.{}", 20 + it / 250, it % 250);
            [it % 127, 128 + it / 127].map(|third| format!("\"{block}.{third}.0/24\""))
        });
        let prefixes: Vec<String> = prefixes.collect();
        format!("[rules]\ndeny = [{}]\n", prefixes.join(", "))
    };
    let small = config(&gate.site);
    let changed = gate.site.config_with(&interfaces(), &denied(1));
    // More lines than a table for a small policy has to spare.
    let large = gate.site.config_with(&interfaces(), &denied(6_000));
    let changes: [(&str, &str, &[&str], &[Step]); 3] = [
        ("a change", &changed, &["reload"], PUBLICATION),
        (
            "a trial",
            &changed,
            &["apply", "--confirm", "1m"],
            PUBLICATION,
        ),
        ("a table outgrown", &large, &["reload"], Step::ALL),
    ];
    for (change, config, args, steps) in changes {
        for step in steps {
            let name = format!("{} of {change}", step.name());
            gate.cerco.write_config(&small).unwrap();
            gate.cerco.kill().unwrap();
            let later = format!("{}:later", step.name());
            assert!(!gate.cerco.dies_at(&later).unwrap(), "{name}");
            gate.cerco.write_config(config).unwrap();
            if gate.cerco.dies_of(args).unwrap() {
                died.insert(*step);
                gate.assert_unharmed(&name);
                gate.assert_whole_after_a_start(&name);
            }
        }
    }
    let elsewhere = set(&[AFTER_A_KILLED_START, FIRST_START, UPGRADE, PROCESS, DETACH]);
    let expected = Step::ALL
        .iter()
        .copied()
        .filter(|it| !elsewhere.contains(it));
    assert_eq!(died, expected.collect(), "changes come by these");
    gate.assert_besieged();
}

/// The daemon beside hears that a link is gone, and looks while the rest still stands.
#[test]
fn detachment_that_is_killed_is_not_undone_by_the_daemon_and_the_next_one_finishes_it() {
    for step in DETACH {
        let name = step.name();
        let site = Site::new().unwrap();
        let cerco = Cerco::start(&site.host, &site.config()).unwrap();
        let mut detach = cerco.cli_command(&["detach", "--force"]);
        let killed = ended(detach.env(DIE_AT, name));
        assert_eq!(killed.code, -1, "{name}: {killed:?}");
        poll::until("hear the daemon", Duration::from_secs(20), || {
            cerco.log().contains("the gate was detached").then_some(())
        })
        .unwrap_or_else(|error| panic!("{name}: {error}: {}", cerco.log()));
        // It lets go of its links a moment after it has said so.
        poll::until("see what is left", Duration::from_secs(20), || {
            let half = Inventory::take(&site, &cerco);
            (half.has_xdp == (*step == Step::DetachTold)).then_some(())
        })
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        cerco.cli(&["detach", "--force"]).unwrap();
        let left = Inventory::take(&site, &cerco);
        assert_eq!((left.trackers, left.has_xdp), ([0, 0], false), "{name}");
        assert_eq!(left.pins, BTreeSet::new(), "{name}");
    }
}

/// The link of the one that is gone keeps the program of before, and nobody takes its pin away.
#[test]
fn start_that_is_killed_at_its_end_is_not_taken_back_for_an_interface_that_is_gone() {
    let site = Site::new().unwrap();
    site.host
        .ip("link add gone type veth peer name away")
        .unwrap();
    site.host.ip("link set gone up").unwrap();
    let both = "interfaces = [\"eth0\", \"gone\"]";
    let mut cerco = Cerco::start(&site.host, &site.config_with(both, "")).unwrap();
    site.send(ABROAD[0], 10).unwrap();
    assert_eq!(cerco.packets("country_denied", "drop"), 10);
    cerco.kill().unwrap();
    site.host.ip("link del gone").unwrap();
    let allows = site.config_with(both, "US = \"allow\"\n");
    cerco.write_config(&allows).unwrap();
    assert!(cerco.dies_at(Step::MapsExchanged.name()).unwrap());
    site.send(ABROAD[0], 5).unwrap();
    cerco.run().unwrap();
    site.send(ABROAD[0], 2).unwrap();
    poll::until("count the last frames", Duration::from_secs(20), || {
        (cerco.packets("allowed", "pass") == 7).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {}", cerco.json(&["status"])));
    assert_eq!(cerco.packets("country_denied", "drop"), 10);
    assert!(!cerco.log().contains("finishing it"), "{}", cerco.log());
}

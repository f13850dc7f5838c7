//! Another build of cerco takes the place of this one, and the other way round, with other layouts in all its maps.

use filter_common::abi::ABI_VERSION;
use filter_userspace::{
    faults::Step,
    kernel::{link_number, standing_links},
};
use integration_tests::{
    besieged::{Besieged, Inventory, bans},
    daemon::{cerco_binary, other_abi_binary},
    siege::{Asking, Toll},
    site::packets,
};
use std::path::PathBuf;

/// Ours first, as it stands when a siege begins.
fn builds() -> [PathBuf; 2] {
    [cerco_binary().unwrap(), other_abi_binary().unwrap()]
}

/// The interfaces with their links: a link keeps its number when its program is replaced.
fn links(gate: &Besieged) -> Vec<(String, Option<u32>, Option<u32>)> {
    let links = standing_links(gate.cerco.pins()).unwrap().into_iter();
    links
        .map(|it| {
            let on = it.program.zip(it.ifindex);
            let number = on.and_then(|(program, ifindex)| link_number(program, ifindex));
            (it.interface, it.ifindex, number)
        })
        .collect()
}

/// Whoever asks the wrong binary is told so, and not shown numbers of another layout.
fn assert_foreign(what: &str, gate: &Besieged) {
    let status = gate.cerco.try_cli(&["status"]);
    assert_ne!(status.code, 0, "{what}: {status:?}");
    for words in ["of ABI version", &ABI_VERSION.to_string(), "replaces them"] {
        assert!(status.stderr.contains(words), "{what}: {status:?}");
    }
}

/// Starts the daemon under siege, and looks at everything. The counters begin anew, since nobody can read what
/// another layout says.
fn assert_replaced(what: &str, gate: &mut Besieged) {
    let before = gate.siege.pause().toll;
    gate.cerco.run().unwrap();
    let after = gate.siege.pause().toll;
    gate.assert_all_there(what);
    let pause = gate.siege.pause();
    pause.toll.assert_frames_judged(what);
    assert_eq!(pause.toll.suspects_let_in, 0, "{what}");
    let status = gate.cerco.json(&["status"]);
    for (reason, verdict, sent) in [
        (
            "allowed",
            "pass",
            (|toll: &Toll| toll.allowed_sent) as fn(&Toll) -> u64,
        ),
        ("country_denied", "drop", |toll: &Toll| toll.denied_sent),
    ] {
        let counted = packets(&status, reason, verdict);
        let [least, most] = [&after, &before].map(|since| sent(&pause.toll) - sent(since));
        assert!(
            (least..=most).contains(&counted),
            "{what}: {reason} {counted}, not {least} to {most}"
        );
    }
}

/// Until the last link has the new program, both builds see what the host asks.
#[test]
fn builds_of_two_abis_replace_each_other_under_a_siege() {
    const TURNS: usize = 8;
    let mut gate = Besieged::new(Asking::Once);
    let before = links(&gate);
    assert!(
        before.iter().all(|(_, _, number)| number.is_some()),
        "{before:?}"
    );
    for turn in 0..TURNS {
        let name = format!("{} {turn}", ["upgrade", "downgrade"][turn % 2]);
        match turn / 2 % 2 {
            0 => drop(gate.cerco.stop().unwrap()),
            _ => gate.cerco.kill().unwrap(),
        }
        gate.cerco.upgrade(&builds()[(turn + 1) % 2]);
        assert_foreign(&name, &gate);
        assert_replaced(&name, &mut gate);
        assert_eq!(links(&gate), before, "{name}");
        gate.siege.pause().toll.assert_served(&name);
    }
    gate.assert_besieged();
}

#[test]
fn builds_of_two_abis_that_are_killed_while_they_replace_each_other_leave_the_gate_standing() {
    let mut gate = Besieged::new(Asking::Once);
    let mut standing = 0;
    for step in [
        Step::LoadPrograms,
        Step::PublishFlip,
        Step::BanTaken,
        Step::PinProgram,
        Step::TrackerAttached,
        Step::TrackersAttached,
        Step::LinkAttached,
        Step::TrackerTakenOver,
        Step::LinksAttached,
        Step::MapsExchanged,
    ] {
        // The one that was killed starts again, or the one that it meant to replace.
        for next in [0, 1] {
            let name = format!("{}, then build {next}", step.name());
            gate.cerco.kill().unwrap();
            gate.cerco.upgrade(&builds()[1 - standing]);
            assert!(gate.cerco.dies_at(step.name()).unwrap(), "{name}");
            gate.siege.pause().toll.assert_unharmed(&name);
            gate.cerco.upgrade(&builds()[next]);
            gate.cerco.run().unwrap();
            standing = next;
            assert_eq!(bans(&gate.cerco), gate.bans, "{name}");
            assert_eq!(
                Inventory::take(&gate.site, &gate.cerco),
                gate.whole,
                "{name}"
            );
            gate.siege.pause().toll.assert_unharmed(&name);
        }
    }
    let toll = gate.siege.pause().toll;
    assert!(toll.denied_sent > 1_000, "{toll:?}");
}

/// Whichever build starts next, and how often it is killed, each link has the gate whose trackers see what is asked.
#[test]
fn build_that_is_killed_at_every_start_keeps_its_host_answered() {
    for steps in [
        [Step::LinkAttached, Step::LinkAttached, Step::LoadPrograms],
        [Step::LinkAttached, Step::UnfinishedLinks, Step::LoadMaps],
        [
            Step::LinksAttached,
            Step::UnfinishedExchanged,
            Step::TrackerAttached,
        ],
    ] {
        let mut gate = Besieged::new(Asking::Once);
        gate.cerco.kill().unwrap();
        gate.cerco.upgrade(&builds()[1]);
        for step in steps {
            let name = format!("{} of {steps:?}", step.name());
            assert!(gate.cerco.dies_at(step.name()).unwrap(), "{name}");
            gate.siege.pause().toll.assert_unharmed(&name);
        }
        gate.cerco.run().unwrap();
        gate.assert_all_there(&format!("{steps:?}"));
        gate.siege
            .pause()
            .toll
            .assert_unharmed(&format!("{steps:?}"));
    }
}

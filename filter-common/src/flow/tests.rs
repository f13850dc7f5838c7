use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::collections::HashSet;

use super::*;

type Set = [AtomicU64; 2 * WAYS];

const SEED: [u64; 2] = [0x1234_5678_9abc_def1, 0x0fed_cba9_8765_4321];
const OURS: Address = Address::v4([192, 0, 2, 1]);
const THEIRS: Address = Address::v4([198, 51, 100, 7]);
const NOW: u32 = 10_000_000;

fn flow(our_port: u16) -> Flow {
    Flow {
        kind: Kind::Tcp,
        ours: OURS,
        theirs: THEIRS,
        our_port,
        their_port: 443,
    }
}

fn lay(set: &Set, key: u64, state: u8, age: u32) {
    insert(
        &set,
        &Control::EMPTY,
        FlowKey(key),
        word(state, key as u16, NOW - age),
    );
}

fn keys(set: &Set) -> Vec<u64> {
    (0..WAYS).map(|way| (&set).hash(way)).collect()
}

#[test]
fn every_field_of_a_flow_changes_its_hash() {
    let base = flow(1000);
    let v6 = Address::v6([0x20; 16]);
    let flows = [
        base,
        Flow {
            kind: Kind::Udp,
            ..base
        },
        Flow {
            ours: THEIRS,
            theirs: OURS,
            ..base
        },
        Flow {
            our_port: 443,
            their_port: 1000,
            ..base
        },
        Flow {
            our_port: 1001,
            ..base
        },
        Flow {
            their_port: 444,
            ..base
        },
        Flow {
            theirs: Address::v4([198, 51, 100, 8]),
            ..base
        },
        // Left-aligned like 198.51.100.7.
        Flow {
            theirs: Address::v6([198, 51, 100, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ours: Address::v6([192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ..base
        },
        Flow {
            ours: v6,
            theirs: Address::v6([0x21; 16]),
            ..base
        },
        Flow {
            ours: v6,
            theirs: v6,
            ..base
        },
    ];
    let keys: HashSet<u64> = flows.iter().map(|flow| flow.key(&SEED).0).collect();
    assert_eq!(keys.len(), flows.len());
    assert_ne!(base.key(&SEED), base.key(&[SEED[0], SEED[1] ^ 1]));
    assert_ne!(base.key(&SEED), base.key(&[SEED[0] ^ 1, SEED[1]]));
}

#[test]
fn flows_spread_over_the_sets() {
    let mut per_set = vec![0u32; FLOW_SETS as usize];
    for port in 0..=u16::MAX {
        per_set[flow(port).key(&SEED).set() as usize] += 1;
    }
    // As many flows as sets: at random, 8 or more in one have a chance of one in 100,000.
    let most = per_set.iter().max().copied();
    let empty = per_set.iter().filter(|count| **count == 0).count();
    assert!(most <= Some(9), "{most:?}");
    // A share of 1/e of the sets stays empty.
    assert!((23_000..25_200).contains(&empty), "{empty}");
}

#[test]
fn flow_is_found_alive_until_the_time_of_its_state_is_over() {
    for (state, seconds) in [
        (state::SYN_SENT, 120),
        (state::ESTABLISHED, 432_000),
        (state::FIN, 120),
        (state::RESET, 10),
        (state::UDP, 30),
        (state::UDP_STREAM, 120),
        (state::ECHO, 30),
        (state::FRAGMENTS, 30),
    ] {
        let set = Set::default();
        lay(&set, 77, state, 0);
        let found = find(&&set, FlowKey(77)).expect("it was just laid down");
        assert_eq!((found.state(), our_port(found.word)), (state, 77));
        let alive_after =
            |ticks: u64| found.is_alive(&DEFAULT_TIMEOUTS, NOW.wrapping_add(ticks as u32));
        let whole = seconds * 1_000_000_000 / (1 << 27);
        assert!(alive_after(0), "{state}");
        assert!(alive_after(whole), "{state}");
        assert!(!alive_after(whole + 1), "{state}");
        assert!(!alive_after(1 << 30), "{state}");
        // The clock of a CPU that is a little behind.
        assert!(found.is_alive(&DEFAULT_TIMEOUTS, NOW - 1), "{state}");
        assert_eq!(find(&&set, FlowKey(78)), None);
    }
}

#[test]
fn ticks_wrap_without_ending_a_flow() {
    let set = Set::default();
    insert(
        &&set,
        &Control::EMPTY,
        FlowKey(5),
        word(state::UDP, 1, u32::MAX - 10),
    );
    let found = find(&&set, FlowKey(5)).expect("it was just laid down");
    assert!(found.is_alive(&DEFAULT_TIMEOUTS, 100));
    assert!(!found.is_alive(&DEFAULT_TIMEOUTS, 300));
}

#[test]
fn new_flow_takes_a_free_place_then_the_one_with_the_least_time_left() {
    let set = Set::default();
    lay(&set, 1, state::ESTABLISHED, 0);
    lay(&set, 2, state::UDP, 0);
    lay(&set, 3, state::SYN_SENT, 0);
    lay(&set, 4, state::ESTABLISHED, ticks(432_000) + 1_000);
    assert_eq!(keys(&set), [1, 2, 3, 4]);
    // The one that is over goes first, then those in the order of their time: 30 s, 120 s.
    lay(&set, 5, state::SYN_SENT, ticks(60));
    assert_eq!(keys(&set), [1, 2, 3, 5]);
    lay(&set, 6, state::ESTABLISHED, 0);
    assert_eq!(keys(&set), [1, 6, 3, 5]);
    lay(&set, 7, state::ESTABLISHED, 0);
    assert_eq!(keys(&set), [1, 6, 3, 7]);
}

#[test]
fn place_that_is_being_written_is_found_by_nobody_and_taken_by_nobody() {
    let set = Set::default();
    for way in 0..WAYS {
        set[2 * way].store(9, SeqCst);
        set[2 * way + 1].store(word(state::BUSY, 0, NOW), SeqCst);
    }
    assert_eq!(find(&&set, FlowKey(9)), None);
    lay(&set, 1, state::UDP, 0);
    assert_eq!(keys(&set), [9; WAYS]);
    // What was busy long ago was left by somebody who is gone.
    for way in 0..WAYS {
        set[2 * way + 1].store(word(state::BUSY, 0, NOW - 100), SeqCst);
    }
    lay(&set, 2, state::UDP, 0);
    assert!(find(&&set, FlowKey(2)).is_some());
}

#[test]
fn tuple_is_remembered_as_theirs_until_its_time_is_over() {
    const LASTS: u32 = DEFAULT_TIMEOUTS[state::UDP_STREAM as usize];
    let key = |number: u64| FlowKey(number << 32);
    // When the trackers stood, and whether the tuple goes on from where it is seen again.
    for (trackers_since, goes_on) in [(NOW - 1, true), (NOW, false), (NOW + 1, false)] {
        let set: [AtomicU64; HEARD_WAYS] = Default::default();
        let control = Control {
            trackers_since,
            ..Control::EMPTY
        };
        let is_heard = |number, now| is_heard(&&set, key(number), &control, now);
        assert!(!is_heard(1, NOW));
        hear(&&set, key(1), NOW);
        assert!(is_heard(1, NOW + LASTS));
        assert_eq!(is_heard(1, NOW + 2 * LASTS), goes_on, "{trackers_since}");
        assert!(!is_heard(1, NOW + 3 * LASTS + 1));
        assert!(!is_heard(2, NOW + LASTS));
    }
}

#[test]
fn tuple_that_was_silent_the_longest_is_forgotten_first() {
    let set: [AtomicU64; HEARD_WAYS] = Default::default();
    let key = |number: u64| FlowKey(number << 32);
    for number in 1..=HEARD_WAYS as u64 {
        hear(&&set, key(number), NOW + number as u32);
    }
    hear(&&set, key(1), NOW + 50);
    hear(&&set, key(99), NOW + 51);
    let heard: Vec<u64> = (1..=HEARD_WAYS as u64)
        .chain([99])
        .filter(|number| is_heard(&&set, key(*number), &Control::EMPTY, NOW + 60))
        .collect();
    assert_eq!(heard, [1, 3, 4, 5, 6, 7, 8, 99]);
}

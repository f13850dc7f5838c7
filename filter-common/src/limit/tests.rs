use std::{
    cell::{Cell, RefCell},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    thread,
};

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
/// Any time will do; this one is no multiple of anything.
const START: u64 = 77_123 * SECOND + 41;

/// One set on real atomics.
#[derive(Default)]
struct Set([AtomicU64; WAYS]);

impl StampSet for &Set {
    fn load(&self, way: usize) -> u64 {
        self.0[way].load(SeqCst)
    }

    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool {
        self.0[way]
            .compare_exchange(old, new, SeqCst, SeqCst)
            .is_ok()
    }
}

fn source(number: u64) -> SourceKey {
    SourceKey {
        // Distinct tags, as the upper bits of a hash.
        hash: (number + 1) << TAT_BITS,
    }
}

fn interval(per_second: u64) -> u64 {
    SECOND / TICK_NS / per_second
}

/// How many of `packets` at one moment pass.
fn burst(set: &Set, key: SourceKey, interval: u64, tolerance: u64, now: u64, packets: u32) -> u32 {
    (0..packets)
        .map(|_| u32::from(charge(set, key, interval, tolerance, now)))
        .sum()
}

#[test]
fn rested_source_may_send_exactly_its_burst() {
    for allowed in [1, 2, 3, 10, 400, 1000] {
        let interval = interval(200);
        let tolerance = (u64::from(allowed) - 1) * interval;
        let set = Set::default();
        assert_eq!(
            burst(&set, source(1), interval, tolerance, START, 2000),
            allowed
        );
        // A second later 200 more, or the burst again when that is less.
        let later = START + SECOND;
        let regained = burst(&set, source(1), interval, tolerance, later, 2000);
        assert_eq!(regained, allowed.min(200), "burst {allowed}");
    }
}

#[test]
fn rate_over_ten_seconds_is_the_limit_to_the_packet() {
    for (rate, burst_packets, offered) in [
        (200, 400, 2000),
        (1000, 1, 10_000),
        (1, 1, 10),
        (50, 5, 51),
        (20, 20, 200),
    ] {
        let interval = interval(rate);
        let set = Set::default();
        let tolerance = (burst_packets - 1) * interval;
        let passed: u64 = (0..offered * 10)
            .map(|n| START + n * SECOND / offered)
            .map(|now| u64::from(charge(&set, source(1), interval, tolerance, now)))
            .sum();
        let expected = (rate * 10 + burst_packets - 1).min(offered * 10);
        assert!(
            passed.abs_diff(expected) <= 1,
            "{rate}/s: {passed}, not {expected}"
        );
    }
}

#[test]
fn refused_packet_costs_its_source_nothing() {
    let set = Set::default();
    let interval = interval(10);
    assert!(charge(&set, source(1), interval, 0, START));
    for n in 1..100 {
        assert!(!charge(
            &set,
            source(1),
            interval,
            0,
            START + n * SECOND / 1000
        ));
    }
    assert!(charge(&set, source(1), interval, 0, START + SECOND / 10));
}

#[test]
fn source_at_ten_times_its_limit_is_held_to_it_and_ten_thousand_quiet_ones_lose_nothing() {
    const SETS: u32 = 1 << 14;
    let limit = Limit {
        packet_interval: interval(100),
        packet_tolerance: 9 * interval(100),
        ..Limit::NONE
    };
    let sets: Vec<Set> = (0..SETS).map(|_| Set::default()).collect();
    let send = |address: u64, now| {
        let key = SourceKey::new(0, &limit, address << 32, true, &[3, 5]);
        let set = &sets[key.set(SETS - 1) as usize];
        charge(set, key, limit.packet_interval, limit.packet_tolerance, now)
    };
    let (mut loud, mut quiet_refused) = (0u32, 0u32);
    // Ten seconds in steps of a millisecond: one loud packet, and ten quiet sources' only ones.
    for millisecond in 0..10_000 {
        let now = START + millisecond * SECOND / 1000;
        loud += u32::from(send(0xffff_ffff, now));
        for n in 0..10 {
            let quiet = (millisecond * 10 + n) % 10_000;
            quiet_refused += u32::from(!send(0x0a00_0000 + quiet, now));
        }
    }
    assert_eq!(quiet_refused, 0);
    assert!(
        (950..=1050).contains(&loud),
        "{loud} of 10,000 at 100/s for ten seconds"
    );
}

#[test]
fn new_source_takes_the_place_of_the_most_idle() {
    let set = Set::default();
    let interval = interval(10);
    // Source n has sent n + 1 packets, so it is the further ahead the larger n is.
    for n in 0..WAYS as u64 {
        burst(
            &set,
            source(n),
            interval,
            20 * interval,
            START,
            n as u32 + 1,
        );
    }
    assert!(charge(&set, source(99), interval, 20 * interval, START));
    let tags: Vec<u64> = (0..WAYS).map(|way| (&&set).load(way) >> TAT_BITS).collect();
    assert_eq!(tags, [100, 2, 3, 4]);
    // The loudest is still remembered: 4 of its 21 are gone.
    assert_eq!(
        burst(&set, source(3), interval, 20 * interval, START, 50),
        17
    );
}

#[test]
fn known_source_is_found_in_whatever_way_it_stands() {
    for way in 0..WAYS {
        let set = Set::default();
        let now = (START / TICK_NS) & TAT_MASK;
        set.0[way].store(6 << TAT_BITS | (now + 1000) & TAT_MASK, SeqCst);
        assert!(!charge(&set, source(5), 100, 950, START), "way {way}");
        assert!(charge(&set, source(5), 100, 1000, START), "way {way}");
    }
}

#[test]
fn new_source_takes_its_home_way_when_that_is_behind() {
    for home in 0..WAYS {
        let key = SourceKey {
            hash: 6 << TAT_BITS | (home as u64) << (TAT_BITS - WAY_BITS),
        };
        let set = Set::default();
        assert!(!charge_at_home(&&set, key, 100, 950, START), "way {home}");
        assert!(charge(&set, key, 100, 950, START), "way {home}");
        let tags: Vec<u64> = (0..WAYS).map(|way| (&&set).load(way) >> TAT_BITS).collect();
        let expected: Vec<u64> = (0..WAYS).map(|way| u64::from(way == home) * 6).collect();
        assert_eq!(tags, expected, "way {home}");
        assert!(charge_at_home(&&set, key, 100, 950, START), "way {home}");
    }
}

#[test]
fn tag_is_never_zero_so_an_empty_stamp_is_nobodys() {
    let key = SourceKey { hash: 12_345 };
    assert_eq!(key.tag(), 1);
    let set = Set::default();
    assert_eq!(burst(&set, key, interval(10), 0, START, 5), 1);
    assert_eq!((&&set).load(0) >> TAT_BITS, 1);
}

#[test]
fn clock_wraps_without_losing_or_giving_a_packet() {
    let wrap = (TAT_MASK + 1) * TICK_NS;
    let interval = interval(10);
    for before in [0, 1, SECOND / 20, SECOND / 10, SECOND] {
        let set = Set::default();
        let now = wrap - before;
        assert_eq!(
            burst(&set, source(1), interval, 4 * interval, now, 50),
            5,
            "{before}"
        );
        assert!(!charge(
            &set,
            source(1),
            interval,
            4 * interval,
            now + SECOND / 10 - 16
        ));
        assert!(charge(
            &set,
            source(1),
            interval,
            4 * interval,
            now + SECOND / 10
        ));
        assert_eq!(
            burst(
                &set,
                source(1),
                interval,
                4 * interval,
                now + 2 * SECOND,
                50
            ),
            5
        );
    }
}

#[test]
fn stamp_of_a_former_round_of_the_clock_is_no_debt() {
    let interval = interval(10);
    let tolerance = 4 * interval;
    for ahead in [
        tolerance + interval + MAX_LATENESS_TICKS + 1,
        MAX_TOLERANCE_TICKS,
        TAT_MASK / 2,
        TAT_MASK,
    ] {
        let set = Set::default();
        let now = (START / TICK_NS) & TAT_MASK;
        set.0[0].store(2 << TAT_BITS | (now + ahead) & TAT_MASK, SeqCst);
        assert_eq!(
            burst(&set, source(1), interval, tolerance, START, 50),
            5,
            "{ahead}"
        );
    }
}

proptest! {
    /// The short way says no more than the whole one would, and leaves what that would leave.
    #[test]
    fn charge_at_home_is_a_charge(
        // Stamps of few sources: around the clock, further ahead than a limit can bring them, long ago.
        stamps in proptest::array::uniform4((0u64..4, prop_oneof![
            0u64..20,
            MAX_LATENESS_TICKS..MAX_LATENESS_TICKS + 40,
            1u64 << 42..1 << 43,
        ])),
        hash in 0u64..4,
        home in 0u64..4,
        interval in 1u64..8,
        tolerance in 0u64..12,
    ) {
        let now = (START / TICK_NS) & TAT_MASK;
        let sets = [Set::default(), Set::default()];
        for set in &sets {
            for (way, (tag, ahead)) in stamps.into_iter().enumerate() {
                let tat = (now + ahead).wrapping_sub(5) & TAT_MASK;
                set.0[way].store(tag << TAT_BITS | tat, SeqCst);
            }
        }
        let key = SourceKey { hash: hash << TAT_BITS | home << (TAT_BITS - WAY_BITS) };
        let [short, whole] = &sets;
        let before: Vec<u64> = (0..WAYS).map(|way| short.load(way)).collect();
        if charge_at_home(&short, key, interval, tolerance, START) {
            prop_assert!(charge(whole, key, interval, tolerance, START));
            for way in 0..WAYS {
                prop_assert_eq!(short.load(way), whole.load(way), "way {}", way);
            }
        } else {
            let after: Vec<u64> = (0..WAYS).map(|way| short.load(way)).collect();
            prop_assert_eq!(before, after);
        }
    }
}

/// A set in which another CPU is always faster.
struct Lost<'a> {
    set: &'a Set,
    losses_left: Cell<usize>,
    tried: &'a Cell<usize>,
}

impl StampSet for &Lost<'_> {
    fn load(&self, way: usize) -> u64 {
        self.set.load(way)
    }

    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool {
        self.tried.set(self.tried.get() + 1);
        if self.losses_left.get() > 0 {
            self.losses_left.set(self.losses_left.get() - 1);
            return false;
        }
        self.set.compare_exchange(way, old, new)
    }
}

#[test]
fn lost_races_are_tried_again_and_in_the_end_the_packet_passes() {
    for (losses, tries, charged) in [
        (0, 1, true),
        (1, 2, true),
        (2, 3, true),
        (3, 3, false),
        (9, 3, false),
    ] {
        let set = Set::default();
        let tried = Cell::new(0);
        let lost = Lost {
            set: &set,
            losses_left: Cell::new(losses),
            tried: &tried,
        };
        assert!(charge(&lost, source(1), interval(10), 0, START));
        assert_eq!(tried.get(), tries, "{losses} losses");
        assert_eq!((&&set).load(0) != 0, charged, "{losses} losses");
    }
}

#[test]
fn threads_together_pass_a_burst_and_hardly_more() {
    const THREADS: u32 = 4;
    let set = Set::default();
    let passed = AtomicUsize::new(0);
    let lost_races = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..5000 {
                    let counted = Counting {
                        set: &set,
                        lost: RefCell::new(0),
                    };
                    let interval = interval(10);
                    if charge(&counted, source(1), interval, 999 * interval, START) {
                        passed.fetch_add(1, SeqCst);
                    }
                    // The packets that a lost race lets through uncharged.
                    if *counted.lost.borrow() == MAX_ATTEMPTS {
                        lost_races.fetch_add(1, SeqCst);
                    }
                }
            });
        }
    });
    // Every pass is a charge, save those that lost three races: together exactly the burst.
    assert_eq!(passed.load(SeqCst) - lost_races.load(SeqCst), 1000);
}

struct Counting<'a> {
    set: &'a Set,
    lost: RefCell<usize>,
}

impl StampSet for &Counting<'_> {
    fn load(&self, way: usize) -> u64 {
        self.set.load(way)
    }

    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool {
        let won = self.set.compare_exchange(way, old, new);
        *self.lost.borrow_mut() += usize::from(!won);
        won
    }
}

#[test]
fn source_is_its_prefix_family_and_limit() {
    let limit = Limit {
        ipv4_prefix_len: 24,
        ipv6_prefix_len: 48,
        ..Limit::NONE
    };
    let key = |index, hi, is_v4| SourceKey::new(index, &limit, hi, is_v4, &[1, 2]);
    let base = key(0, 0xc000_0201_0000_0000, true);
    assert_eq!(base, key(0, 0xc000_02fe_0000_0000, true), "one /24");
    assert_ne!(base, key(0, 0xc000_0301_0000_0000, true), "two /24");
    assert_ne!(base, key(1, 0xc000_0201_0000_0000, true), "two limits");
    assert_ne!(
        key(0, 0x2001_0db8_0001_0000, true),
        key(0, 0x2001_0db8_0001_0000, false)
    );
    assert_eq!(
        key(0, 0x2001_0db8_0001_0000, false),
        key(0, 0x2001_0db8_0001_ffff, false)
    );
    assert_ne!(
        key(0, 0x2001_0db8_0001_0000, false),
        key(0, 0x2001_0db8_0002_0000, false)
    );
    let other_seed = SourceKey::new(0, &limit, 0xc000_0201_0000_0000, true, &[1, 3]);
    assert_ne!(base, other_seed);
}

proptest! {
    /// The word tricks against the formula of the module's head, in wide integers.
    #[test]
    fn one_source_gets_what_the_formula_says(
        start in any::<u64>(),
        interval in 1u64..1_000_000,
        burst in 1u64..50,
        pauses in proptest::collection::vec(0u64..40_000_000, 1..60),
    ) {
        let tolerance = (burst - 1) * interval;
        let set = Set::default();
        let mut now = u128::from(start >> 1);
        let mut tat = 0u128;
        for pause in pauses {
            now += u128::from(pause);
            let tick = now / u128::from(TICK_NS);
            let conforms = tat.saturating_sub(tick) <= u128::from(tolerance);
            if conforms {
                tat = tat.max(tick) + u128::from(interval);
            }
            prop_assert_eq!(charge(&set, source(1), interval, tolerance, now as u64), conforms);
        }
    }
}

#[test]
fn late_time_refuses_nobody_for_good_and_gives_at_most_its_lateness() {
    // As the gate does it: with a late time first, and with the true one before a packet is refused.
    const TICK: u64 = SECOND / 250;
    let set = Set::default();
    let interval = interval(1_000);
    let send = |now| {
        let late = now / TICK * TICK;
        charge(&set, source(1), interval, 9 * interval, late)
            || charge(&set, source(1), interval, 9 * interval, now)
    };
    // One second at ten times the rate: the rate, the burst, and what fits into a tick.
    let passed = (0..10_000)
        .filter(|step| send(START + step * SECOND / 10_000))
        .count();
    assert!((1_009..=1_009 + 4).contains(&passed), "{passed}");
    // At exactly the rate nothing is ever refused.
    let start = START + 10 * SECOND;
    assert!((0..1_000).all(|step| send(start + step * SECOND / 1_000)));
}

#[test]
fn sets_hold_what_a_flood_keeps_ahead() {
    const MOST: u32 = 1 << 18;
    for (per_second, sets) in [
        // 10,000,000 packets a second, each ahead for 5 ms: 50,000 stamps in 12,500 sets.
        (200, 1 << 14),
        (20, 1 << 17),
        (1, MOST),
        (1_000_000, 1 << 8),
    ] {
        assert_eq!(
            sets_for(interval(per_second), 10_000_000, MOST),
            sets,
            "{per_second}"
        );
    }
    assert_eq!(sets_for(0, 10_000_000, MOST), 1 << 8);
}

//! From counters that only rise to what was counted between two looks at them.

use std::collections::BTreeMap;

use filter_common::{
    country::Class,
    verdict::{Reason, Verdict},
};

use super::MINUTE;
use crate::kernel::{Count, InterfaceCounters};

/// A look that comes later than this after the one before does not tell one minute.
const LONGEST_MINUTE: u64 = 90;

/// What a row of numbers is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    Reason,
    /// A country, or `unknown`, `private`, `trusted`, `rule_allow`, `rule_deny`.
    Class,
    /// An IP protocol; sampled.
    Protocol,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reason => "reason",
            Self::Class => "class",
            Self::Protocol => "protocol",
        }
    }
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fate {
    Pass,
    Drop,
    WouldDrop,
}

impl Fate {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::WouldDrop => "would_drop",
        }
    }
}

/// A row of one interface.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Row {
    pub kind: Kind,
    pub name: String,
    pub fate: Fate,
}

pub type Counts = BTreeMap<Row, Count>;

/// The counters of one interface; rows that count nothing are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InterfaceSample {
    pub interface: String,
    /// 0: not attached, so not known.
    pub ifindex: u32,
    pub counts: Counts,
}

/// All counters at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    /// Seconds since 1970.
    pub unix: u64,
    /// Which gate has counted: it outlives daemons, not a detach and not the host's next boot.
    pub gate: String,
    pub interfaces: Vec<InterfaceSample>,
}

/// The counters of an interface, by name.
pub fn sample_of(
    counters: &InterfaceCounters,
    ifindex: u32,
    class_name: impl Fn(Class) -> String,
) -> InterfaceSample {
    let mut counts = Counts::new();
    let mut put = |kind, name: String, fate, count: Option<&Count>| {
        if let Some(count) = count.filter(|count| count.packets > 0 || count.bytes > 0) {
            counts.insert(Row { kind, name, fate }, *count);
        }
    };
    for reason in Reason::ALL {
        let index = *reason as usize;
        let name = || reason.label().to_owned();
        let fate = match reason.verdict() {
            Verdict::Pass => Fate::Pass,
            Verdict::Drop => Fate::Drop,
        };
        put(Kind::Reason, name(), fate, counters.enforced.get(index));
        let would = counters.would_drop.get(index);
        put(Kind::Reason, name(), Fate::WouldDrop, would);
    }
    for class in 0..=u8::MAX {
        let index = usize::from(class);
        let fates = [
            (Fate::Pass, &counters.class_passed),
            (Fate::Drop, &counters.class_dropped),
            (Fate::WouldDrop, &counters.class_would_drop),
        ];
        for (fate, counts) in fates {
            put(
                Kind::Class,
                class_name(Class(class)),
                fate,
                counts.get(index),
            );
        }
    }
    InterfaceSample {
        interface: counters.interface.clone(),
        ifindex,
        counts,
    }
}

/// How two samples belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// One daemon took both: an interface keeps its place, until that is given to another.
    SameRun,
    /// Another daemon took the first: interfaces are found by name, or by number after a rename.
    EarlierRun,
    /// Nothing was counted before: the gate came up within this run.
    GateUp,
}

/// What was counted since `before`, by interface.
///
/// Counters that went back were begun anew, so all that they show came since.
pub fn differences(
    before: &[InterfaceSample],
    now: &[InterfaceSample],
    since: Since,
) -> Vec<(String, Counts)> {
    let earlier = |index: usize, sample: &InterfaceSample| {
        let same_name = |it: &&InterfaceSample| it.interface == sample.interface;
        let same_index = |it: &&InterfaceSample| it.ifindex != 0 && it.ifindex == sample.ifindex;
        match since {
            Since::SameRun => {
                let same = |it: &&InterfaceSample| same_name(it) || same_index(it);
                before.get(index).filter(same)
            }
            Since::EarlierRun => before
                .iter()
                .find(same_name)
                .or_else(|| before.iter().find(same_index)),
            Since::GateUp => None,
        }
    };
    let enumerated = now.iter().enumerate();
    enumerated
        .map(|(index, sample)| {
            let counts = match earlier(index, sample) {
                Some(earlier) => risen(&earlier.counts, &sample.counts),
                None => sample.counts.clone(),
            };
            (sample.interface.clone(), counts)
        })
        .filter(|(_, counts)| !counts.is_empty())
        .collect()
}

fn risen(before: &Counts, now: &Counts) -> Counts {
    let went_back = before.iter().any(|(row, before)| {
        now.get(row)
            .is_none_or(|now| now.packets < before.packets || now.bytes < before.bytes)
    });
    if went_back {
        return now.clone();
    }
    let risen = now.iter().map(|(row, now)| {
        let before = before.get(row).copied().unwrap_or_default();
        let count = Count {
            packets: now.packets - before.packets,
            bytes: now.bytes - before.bytes,
        };
        (row.clone(), count)
    });
    risen
        .filter(|(_, count)| *count != Count::default())
        .collect()
}

/// Where the numbers between two looks belong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Booking {
    /// The minute, in seconds since 1970.
    pub minute: u64,
    /// Set when they tell more than that minute: they were counted from here on.
    pub since: Option<u64>,
    /// The clock was set meanwhile, by so many seconds.
    pub clock_set: Option<i64>,
}

/// `before` and `now` in seconds since 1970; `elapsed` by a clock that nobody sets, when one daemon took both.
///
/// A look comes just after the end of each minute, so what lies between two looks belongs to the minute of the
/// first. When the clock was set, it still does.
pub fn booking(before: u64, now: u64, elapsed: Option<u64>) -> Booking {
    let by_clock = now as i64 - before as i64;
    let clock_set = elapsed
        .map(|elapsed| by_clock - elapsed as i64)
        .filter(|by| by.abs() > 2);
    let passed = match elapsed {
        Some(elapsed) => elapsed,
        None => by_clock.max(0) as u64,
    };
    let is_long = passed > LONGEST_MINUTE;
    let since = (is_long && clock_set.is_none()).then_some(before);
    let moment = match since {
        // The last full second before the look.
        Some(_) => now.saturating_sub(1),
        None => before,
    };
    Booking {
        minute: moment - moment % MINUTE,
        since,
        clock_set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> Row {
        Row {
            kind: Kind::Reason,
            name: name.to_owned(),
            fate: Fate::Drop,
        }
    }

    fn counts(pairs: &[(&str, u64)]) -> Counts {
        let pairs = pairs.iter().map(|(name, packets)| {
            let bytes = packets * 60;
            let packets = *packets;
            (row(name), Count { packets, bytes })
        });
        pairs.collect()
    }

    fn sample(interface: &str, ifindex: u32, pairs: &[(&str, u64)]) -> InterfaceSample {
        InterfaceSample {
            interface: interface.to_owned(),
            ifindex,
            counts: counts(pairs),
        }
    }

    #[test]
    fn differences_are_what_was_counted_and_nothing_else() {
        let before = [
            sample("eth0", 2, &[("a", 10), ("b", 5)]),
            sample("eth1", 3, &[("a", 1)]),
        ];
        let eth0 = |pairs: &[(&str, u64)]| vec![("eth0".to_owned(), counts(pairs))];
        type Case = (
            &'static str,
            Since,
            Vec<InterfaceSample>,
            Vec<(String, Counts)>,
        );
        let cases: [Case; 10] = [
            (
                "rows that did not rise are left out",
                Since::SameRun,
                vec![sample("eth0", 2, &[("a", 10), ("b", 7)])],
                eth0(&[("b", 2)]),
            ),
            (
                "a new row begins at nothing",
                Since::SameRun,
                vec![sample("eth0", 2, &[("a", 10), ("b", 5), ("c", 4)])],
                eth0(&[("c", 4)]),
            ),
            (
                "one row that went back: all of the interface was begun anew",
                Since::SameRun,
                vec![sample("eth0", 2, &[("a", 3), ("b", 6)])],
                eth0(&[("a", 3), ("b", 6)]),
            ),
            (
                "a row that is gone went back",
                Since::SameRun,
                vec![sample("eth0", 2, &[("b", 9)])],
                eth0(&[("b", 9)]),
            ),
            (
                "renamed while the daemon ran",
                Since::SameRun,
                vec![sample("wan", 2, &[("a", 11), ("b", 5)])],
                vec![("wan".to_owned(), counts(&[("a", 1)]))],
            ),
            (
                "the place of one that is gone was given to another",
                Since::SameRun,
                vec![sample("lan", 7, &[("a", 12), ("b", 6)])],
                vec![("lan".to_owned(), counts(&[("a", 12), ("b", 6)]))],
            ),
            (
                "taken down while the daemon ran",
                Since::SameRun,
                vec![sample("eth0", 0, &[("a", 12), ("b", 5)])],
                eth0(&[("a", 2)]),
            ),
            (
                "renamed between two runs, and the order is another",
                Since::EarlierRun,
                vec![
                    sample("eth1", 3, &[("a", 4)]),
                    sample("wan", 2, &[("a", 11), ("b", 5)]),
                ],
                vec![
                    ("eth1".to_owned(), counts(&[("a", 3)])),
                    ("wan".to_owned(), counts(&[("a", 1)])),
                ],
            ),
            (
                "an interface that was not there before",
                Since::EarlierRun,
                vec![sample("eth2", 0, &[("a", 4)])],
                vec![("eth2".to_owned(), counts(&[("a", 4)]))],
            ),
            (
                "a gate that has just come up",
                Since::GateUp,
                vec![sample("eth0", 2, &[("a", 12), ("b", 5)])],
                eth0(&[("a", 12), ("b", 5)]),
            ),
        ];
        for (what, since, now, expected) in cases {
            assert_eq!(differences(&before, &now, since), expected, "{what}");
        }
    }

    #[test]
    fn numbers_belong_to_the_minute_in_which_they_were_counted() {
        let booking_of = |minute, since, clock_set| Booking {
            minute,
            since,
            clock_set,
        };
        let cases = [
            // Before, now, elapsed.
            (6000, 6060, Some(60), booking_of(6000, None, None)),
            (6030, 6060, Some(30), booking_of(6000, None, None)),
            (6059, 6060, Some(1), booking_of(6000, None, None)),
            (6060, 6061, Some(1), booking_of(6060, None, None)),
            // A restart of half a minute.
            (6030, 6065, None, booking_of(6000, None, None)),
            // Nobody looked for an hour.
            (6000, 9605, None, booking_of(9600, Some(6000), None)),
            (6000, 9600, Some(3600), booking_of(9540, Some(6000), None)),
            // The clock was set an hour forward, and back, and by what NTP does anyhow.
            (6000, 9660, Some(60), booking_of(6000, None, Some(3600))),
            (9600, 6060, Some(60), booking_of(9600, None, Some(-3600))),
            (6000, 6061, Some(60), booking_of(6000, None, None)),
            // Back between two runs: nobody can tell for how long.
            (9600, 6000, None, booking_of(9600, None, None)),
        ];
        for (before, now, elapsed, expected) in cases {
            let what = format!("{before} {now} {elapsed:?}");
            assert_eq!(booking(before, now, elapsed), expected, "{what}");
        }
    }
}

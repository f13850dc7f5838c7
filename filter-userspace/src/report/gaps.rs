//! Times in which no gate stood, or of which its counts are lost: nothing was counted then, and quiet they were not
//! for that.

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use super::words;
use crate::history::{
    changes::{Change, Kind, gate},
    worker::STARTED,
};

/// Times that are told one by one.
const TOLD: usize = 5;

/// A time about which the counters say nothing, or not all.
struct Gap {
    /// Seconds since 1970.
    from: u64,
    /// `None`: it is not over.
    until: Option<u64>,
    what: What,
}

enum What {
    /// No gate stood, or none on one interface.
    Open(Option<String>),
    /// Somebody took it off an interface; it came back at the next look.
    Off(String),
    /// The counters of another gate are gone.
    Lost,
}

impl Gap {
    fn touches(&self, since: u64, until: u64) -> bool {
        self.from < until && self.until.is_none_or(|it| it >= since)
    }

    fn words(&self) -> String {
        let from = words::time(self.from);
        let time = match self.until {
            Some(until) => format!("from {from} to {} UTC", words::time(until)),
            None => format!("from {from} UTC on"),
        };
        match &self.what {
            What::Open(None) => {
                format!("no gate stood {time}: every packet passed, and none was counted")
            }
            What::Open(Some(interface)) => format!(
                "no gate stood on {interface} {time}: every packet passed there, and none was counted"
            ),
            What::Off(interface) => format!(
                "the gate was taken off {interface} and stood there again at {from} UTC: for some seconds every \
                 packet passed there, and none was counted"
            ),
            What::Lost => format!(
                "what was counted {time} is lost, as is whether a gate stood all that time: another one was put \
                 up then"
            ),
        }
    }
}

/// What must be known of the gate to read the numbers of a period. `log`: the oldest change first, from before the
/// period until now.
pub fn warnings(log: &[Change], since: u64, until: u64) -> Vec<String> {
    let gaps = gaps(log);
    let mut told: Vec<String> = gaps
        .iter()
        .filter(|it| it.touches(since, until))
        .map(Gap::words)
        .collect();
    let more = told.len().saturating_sub(TOLD);
    if more > 0 {
        told.truncate(TOLD);
        told.push(format!(
            "{} more without a gate, or whose counts are lost: see the changes",
            words::counted(more as u64, "time")
        ));
    }
    told
}

fn gaps(log: &[Change]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    // By interface; `None`: the whole gate.
    let mut open: BTreeMap<Option<String>, u64> = BTreeMap::new();
    for change in log {
        let unix = change.unix;
        let mut close = |name: &Option<String>, open: &mut BTreeMap<_, u64>| {
            if let Some(from) = open.remove(name) {
                gaps.push(Gap {
                    from,
                    until: Some(unix),
                    what: What::Open(name.clone()),
                });
            }
        };
        match (change.kind, gate::Told::of(&change.what)) {
            // A start puts the gate up, and says anew where it does not stand.
            (Kind::Daemon, None) if change.what.starts_with(STARTED) => {
                let names: Vec<_> = open.keys().cloned().collect();
                for name in names {
                    close(&name, &mut open);
                }
            }
            (Kind::Daemon, Some(gate::Told::Detached)) => {
                open.entry(None).or_insert(unix);
            }
            (Kind::Daemon, Some(gate::Told::Open(name))) => {
                open.entry(Some(name)).or_insert(unix);
            }
            (Kind::Daemon, Some(gate::Told::Closed(name))) => close(&Some(name), &mut open),
            (Kind::Daemon, Some(gate::Told::Off(name))) => gaps.push(Gap {
                from: unix,
                until: Some(unix),
                what: What::Off(name),
            }),
            (Kind::History, Some(gate::Told::Another { since })) => {
                let from = since.duration_since(UNIX_EPOCH).unwrap_or_default();
                let from = from.as_secs();
                // A gate that was detached has counted nothing since.
                if open.get(&None).is_none_or(|detached| *detached > from) {
                    gaps.push(Gap {
                        from,
                        until: Some(unix),
                        what: What::Lost,
                    });
                }
            }
            _ => {}
        }
    }
    gaps.extend(open.into_iter().map(|(name, from)| Gap {
        from,
        until: None,
        what: What::Open(name),
    }));
    gaps.sort_by_key(|it| it.from);
    gaps
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        history::{DAY, MINUTE},
        report::numbers::fixture::{BEGIN, change},
    };

    fn daemon(minute: u64, what: &str) -> Change {
        change(BEGIN + minute * MINUTE, Kind::Daemon, what)
    }

    fn told(log: &[Change]) -> Vec<String> {
        warnings(log, BEGIN, BEGIN + DAY)
    }

    #[test]
    fn time_without_a_gate_is_told() {
        let detached = daemon(60, &gate::Told::Detached.words());
        assert_eq!(
            told(std::slice::from_ref(&detached)),
            [
                "no gate stood from 24 Nov 2026 01:00 UTC on: every packet passed, and none was counted"
            ]
        );
        let started = daemon(90, "started, version 0.1.0: enforcing");
        let log = [detached, started];
        let expected = "no gate stood from 24 Nov 2026 01:00 to 24 Nov 2026 01:30 UTC: every packet passed, and \
                        none was counted";
        assert_eq!(told(&log), [expected]);
        // The gate of the next start is another one, and the one before had nothing more to count.
        let since = UNIX_EPOCH + Duration::from_secs(BEGIN + 80 * MINUTE);
        let another = gate::Told::Another { since }.words();
        let another = change(BEGIN + 90 * MINUTE, Kind::History, &another);
        let [detached, started] = log.clone();
        assert_eq!(told(&[detached, another, started]), [expected]);
        // Of another time it says nothing.
        assert_eq!(warnings(&log, BEGIN + 2 * DAY, BEGIN + 3 * DAY), [""; 0]);
        assert_eq!(warnings(&log, BEGIN, BEGIN + 3600), [""; 0]);
        assert_eq!(warnings(&log, BEGIN + 70 * MINUTE, BEGIN + DAY), [expected]);
    }

    #[test]
    fn interfaces_are_told_by_name_as_far_as_packets_pass_there() {
        let open = |name: &str| gate::Told::Open(name.to_owned()).words();
        let closed = |name: &str| gate::Told::Closed(name.to_owned()).words();
        let log = [
            daemon(1, "started, version 0.1.0: enforcing"),
            daemon(2, &open("eth1")),
            daemon(3, &gate::Told::Off("eth0".to_owned()).words()),
            // An interface that is not there lets nothing pass.
            daemon(4, &gate::absent_words("eth2")),
            daemon(5, &closed("eth1")),
            daemon(6, &closed("eth2")),
            daemon(7, &open("eth1")),
        ];
        assert_eq!(
            told(&log),
            [
                "no gate stood on eth1 from 24 Nov 2026 00:02 to 24 Nov 2026 00:05 UTC: every packet passed \
                 there, and none was counted",
                "the gate was taken off eth0 and stood there again at 24 Nov 2026 00:03 UTC: for some seconds \
                 every packet passed there, and none was counted",
                "no gate stood on eth1 from 24 Nov 2026 00:07 UTC on: every packet passed there, and none was \
                 counted",
            ]
        );
        // What rules and lists say is nobody's word about the gate.
        let mut other = daemon(2, &gate::Told::Detached.words());
        other.kind = Kind::Policy;
        assert_eq!(told(&[other]), [""; 0]);
    }

    #[test]
    fn counts_that_went_with_a_gate_are_told() {
        let since = UNIX_EPOCH + Duration::from_secs(BEGIN + 10 * MINUTE);
        let another = gate::Told::Another { since }.words();
        let log = [change(BEGIN + 20 * MINUTE, Kind::History, &another)];
        assert_eq!(
            told(&log),
            [
                "what was counted from 24 Nov 2026 00:10 to 24 Nov 2026 00:20 UTC is lost, as is whether a gate \
                 stood all that time: another one was put up then"
            ]
        );
        let many: Vec<Change> = (1..=8).map(|_| log[0].clone()).collect();
        let told = told(&many);
        assert_eq!(told.len(), 6);
        assert_eq!(
            told[5],
            "3 times more without a gate, or whose counts are lost: see the changes"
        );
    }
}

//! For whom frames are counted that came unseen between two events.

use std::collections::{BTreeMap, HashMap};

use super::sketch::Sighting;

/// Events of one [`Origin`] that are kept: the budget of a window, when there is one CPU.
const KEPT: usize = 100;

/// What frames are counted by between two events: reason, interface and CPU.
type Origin = (String, String, u16);

/// What was seen last of each origin.
///
/// An event proves one frame of its source. The others that it stands for came before it, after the budget of an
/// earlier window was spent: they may be the end of a burst, in which its own source has no part. So they are
/// shared out among the events of that origin which were read before, or where there are none, among those that
/// were read with it.
#[derive(Debug, Default)]
pub struct Unseen {
    last: HashMap<Origin, Vec<Sighting>>,
}

impl Unseen {
    /// Calls `book` with each event, how many frames of it were seen, and how many are counted for it; the latter
    /// add up to the frames that all of `seen` stand for.
    pub fn share(&mut self, seen: &[Sighting], mut book: impl FnMut(&Sighting, u64, u64)) {
        let mut by_origin: BTreeMap<(&str, &str, u16), Vec<&Sighting>> = BTreeMap::new();
        for sighting in seen {
            book(sighting, 1, 1);
            let origin = (
                sighting.reason.as_str(),
                sighting.interface.as_str(),
                sighting.cpu,
            );
            by_origin.entry(origin).or_default().push(sighting);
        }
        for ((reason, interface, cpu), events) in by_origin {
            let origin = (reason.to_owned(), interface.to_owned(), cpu);
            let newest = &events[events.len().saturating_sub(KEPT)..];
            let newest: Vec<Sighting> = newest.iter().map(|it| (*it).clone()).collect();
            let sharers = self.last.get(&origin).unwrap_or(&newest);
            let unseen = events
                .iter()
                .fold(0_u64, |sum, it| sum.saturating_add(it.unseen()));
            let (each, left) = (unseen / sharers.len() as u64, unseen % sharers.len() as u64);
            for (place, sharer) in (0..).zip(sharers) {
                let share = each + u64::from(place < left);
                if share > 0 {
                    book(sharer, 0, share);
                }
            }
            self.last.insert(origin, newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::sketch::SeenPacket;

    fn event(reason: &str, host: u8, stands_for: u64) -> Sighting {
        Sighting {
            interface: "eth0".to_owned(),
            would_drop: false,
            reason: reason.to_owned(),
            cpu: 0,
            class: None,
            packet: Some(SeenPacket {
                source: [203, 0, 113, host].into(),
                protocol: 6,
                port: Some(80),
            }),
            stands_for,
        }
    }

    /// By host: frames that were seen, and that are counted.
    fn shared(unseen: &mut Unseen, seen: &[Sighting]) -> Vec<(String, u64, u64)> {
        let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        unseen.share(seen, |sighting, seen, frames| {
            let source = sighting.packet.unwrap().source.to_string();
            let sum = sums.entry(source).or_default();
            *sum = (sum.0 + seen, sum.1 + frames);
        });
        sums.into_iter()
            .map(|(source, (seen, frames))| (source, seen, frames))
            .collect()
    }

    fn line(host: u8, seen: u64, frames: u64) -> (String, u64, u64) {
        (format!("203.0.113.{host}"), seen, frames)
    }

    #[test]
    fn end_of_a_burst_is_its_sources_and_not_the_next_ones() {
        let mut unseen = Unseen::default();
        let burst = vec![event("country_denied", 1, 1); 100];
        assert_eq!(shared(&mut unseen, &burst), [line(1, 100, 100)]);
        // Another reason in between has no part in it.
        let banned = [event("banned", 3, 1)];
        assert_eq!(shared(&mut unseen, &banned), [line(3, 1, 1)]);
        let next = [event("country_denied", 2, 50_001)];
        assert_eq!(
            shared(&mut unseen, &next),
            [line(1, 0, 50_000), line(2, 1, 1)]
        );
        // What came on another CPU, or through another interface, comes from there.
        let elsewhere = [
            Sighting {
                cpu: 1,
                ..event("country_denied", 5, 4)
            },
            Sighting {
                interface: "eth1".to_owned(),
                ..event("country_denied", 6, 7)
            },
        ];
        assert_eq!(
            shared(&mut unseen, &elsewhere),
            [line(5, 1, 4), line(6, 1, 7)]
        );
        // From now on the other is the last one.
        let next = [event("country_denied", 4, 3)];
        assert_eq!(shared(&mut unseen, &next), [line(2, 0, 2), line(4, 1, 1)]);
    }

    #[test]
    fn nothing_is_lost_in_sharing() {
        let mut unseen = Unseen::default();
        // Nothing came before: those that were read together share.
        let first = [
            event("banned", 1, 10),
            event("banned", 2, 1),
            event("banned", 3, 1),
        ];
        assert_eq!(
            shared(&mut unseen, &first),
            [line(1, 1, 4), line(2, 1, 4), line(3, 1, 4)]
        );
        // What cannot be divided goes to the first.
        assert_eq!(
            shared(&mut unseen, &[event("banned", 4, 9)]),
            [line(1, 0, 3), line(2, 0, 3), line(3, 0, 2), line(4, 1, 1)]
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut unseen = Unseen::default();
        shared(&mut unseen, &vec![event("banned", 1, 1); 3_000]);
        let kept: Vec<usize> = unseen.last.values().map(Vec::len).collect();
        assert_eq!(kept, [KEPT]);
        assert_eq!(
            shared(&mut unseen, &[event("banned", 2, 3_001)])[0].2,
            3_000
        );
    }
}

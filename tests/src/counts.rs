//! What the gate counted, read from its pinned maps: no daemon has a part in it.

use crate::poll;
use filter_common::verdict::Reason;
use filter_userspace::kernel::{Count, Pinned};
use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

/// Enough for frames that are already on the cable, on a busy machine.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// Packets and bytes by reason, all interfaces together. Reasons that counted nothing are absent.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Counts(BTreeMap<String, Count>);

impl Counts {
    /// # Panics
    /// When no gate is pinned there.
    pub fn read(pins: &Path) -> Self {
        let pinned = Pinned::open(pins)
            .expect("the pins can be read")
            .expect("a gate is pinned");
        let mut counts = Self::default();
        for interface in pinned.counters().expect("the counters can be read") {
            for reason in Reason::ALL {
                counts.add(reason.label(), interface.enforced[*reason as usize]);
                let would = format!("would {}", reason.label());
                counts.add(&would, interface.would_drop[*reason as usize]);
            }
        }
        counts
    }

    fn add(&mut self, name: &str, count: Count) {
        if count.packets > 0 {
            let sum = self.0.entry(name.to_owned()).or_default();
            sum.packets += count.packets;
            sum.bytes += count.bytes;
        }
    }

    /// What was counted after `before`.
    pub fn since(&self, before: &Self) -> Self {
        let mut delta = Self::default();
        for (name, count) in &self.0 {
            let earlier = before.0.get(name).copied().unwrap_or_default();
            delta.add(
                name,
                Count {
                    packets: count.packets - earlier.packets,
                    bytes: count.bytes - earlier.bytes,
                },
            );
        }
        delta
    }

    /// Without ARP, neighbour discovery and MLD, which the kernels at both ends send whenever they
    /// like: for tests with real sockets. Those that only send raw frames keep the kernels mute.
    pub fn without_chatter(mut self) -> Self {
        self.0.remove(Reason::NotIp.label());
        self.0.remove(Reason::Essential.label());
        self
    }

    /// By name of the reason; `would ` in front of it in observe mode.
    pub fn packets(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |count| count.packets)
    }

    /// As [`Counts::packets`].
    pub fn bytes(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |count| count.bytes)
    }

    pub fn total_packets(&self) -> u64 {
        self.0.values().map(|count| count.packets).sum()
    }

    /// Only the packets, by name.
    pub fn by_reason(&self) -> BTreeMap<&str, u64> {
        self.0
            .iter()
            .map(|(name, count)| (name.as_str(), count.packets))
            .collect()
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(name, count)| (name, count.packets)))
            .finish()
    }
}

/// Waits until `read` has counted as many packets as `expected` adds up to, and compares them all.
///
/// # Panics
/// When they differ, or do not come.
pub fn assert_counted(what: &str, read: impl Fn() -> Counts, expected: &[(&str, u64)]) {
    let expected: BTreeMap<&str, u64> = expected.iter().copied().collect();
    let total: u64 = expected.values().sum();
    let mut seen = Counts::default();
    // Whether the wait ended in time does not matter: the comparison says what is missing.
    let _ = poll::until("count the frames", SETTLE_LIMIT, || {
        seen = read();
        (seen.total_packets() >= total).then_some(())
    });
    assert_eq!(seen.by_reason(), expected, "{what}");
}

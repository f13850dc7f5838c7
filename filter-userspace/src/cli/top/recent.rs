//! The events of the last minute: who, and what for. Events are a sample, and so is this.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use serde::Serialize;

use crate::{control::protocol::PacketKind, events::Event, protocols};

/// Events that are kept at most; a flood fills this in less than a minute, and the window shrinks.
const MAX_EVENTS: usize = 65_536;
const WINDOW_US: u64 = 60_000_000;
/// What is called the rate of a source: over so many microseconds.
const RATE_US: u64 = 5_000_000;
/// Events that are shown as lines.
const MAX_LINES: usize = 200;

/// What is kept of an event.
#[derive(Clone, Copy)]
struct Kept {
    unix_us: u64,
    source: Option<IpAddr>,
    /// IP protocol number and destination port.
    service: Option<(u8, Option<u16>)>,
    /// Places in `names`.
    class: Option<u16>,
    reason: u16,
    packets: u64,
}

impl Kept {
    fn second_and_reason(&self) -> (u64, u16) {
        (self.unix_us / 1_000_000, self.reason)
    }

    fn weight_in(&self, weights: &HashMap<(u64, u16), f64>) -> f64 {
        weights
            .get(&self.second_and_reason())
            .copied()
            .unwrap_or(1.0)
    }
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SourceLine {
    pub source: IpAddr,
    pub class: Option<String>,
    /// Of its last event, as the two below.
    pub reason: String,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// The destination port.
    pub port: Option<u16>,
    /// An estimate, from what the events of its reason stand for; exact while every frame is an event.
    pub packets: u64,
    pub packets_per_second: f64,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ServiceLine {
    /// IP protocol number.
    pub protocol: u8,
    pub port: Option<u16>,
    pub packets: u64,
}

#[derive(Clone, Default)]
pub struct Recent {
    /// Came, and not gone to yet; [`MAX_EVENTS`] at most.
    coming: VecDeque<Event>,
    /// When the last one of those came that had no place there; 0 when all had.
    forgotten_us: u64,
    kept: VecDeque<Kept>,
    lines: VecDeque<Event>,
    names: Vec<String>,
    numbers: HashMap<String, u16>,
    /// From here on nothing is missing but what was not sampled; microseconds since 1970.
    since_us: u64,
    now_us: u64,
    pub missed: u64,
}

impl Recent {
    /// Begins anew at `now_us` with `listing`, which the daemon had kept. `is_whole`: the daemon has forgotten
    /// none of the last minute.
    pub fn begin(&mut self, listing: Vec<Event>, is_whole: bool, now_us: u64) {
        *self = Self::default();
        let first = listing.first().map_or(now_us, |it| it.unix_us);
        let minute_ago = now_us.saturating_sub(WINDOW_US);
        self.since_us = if is_whole { minute_ago } else { first };
        for event in listing {
            self.push(event);
        }
        self.go_to(now_us);
    }

    /// Nothing tells of `event` before [`Recent::go_to`] its time.
    pub fn push(&mut self, event: Event) {
        if self.coming.len() >= MAX_EVENTS
            && let Some(first) = self.coming.pop_front()
        {
            self.forgotten_us = self.forgotten_us.max(first.unix_us);
        }
        self.coming.push_back(event);
    }

    fn keep(&mut self, event: Event) {
        let packet = event.packet.as_ref();
        let kept = Kept {
            unix_us: event.unix_us,
            source: packet.map(|it| it.source),
            service: packet.map(|it| (it.protocol, it.destination_port)),
            class: event.class.as_deref().map(|class| self.number(class)),
            reason: self.number(&event.reason),
            packets: event.stands_for,
        };
        if self.kept.len() >= MAX_EVENTS
            && let Some(first) = self.kept.pop_front()
        {
            self.since_us = self.since_us.max(first.unix_us);
        }
        self.kept.push_back(kept);
        if self.lines.len() >= MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(event);
    }

    fn number(&mut self, name: &str) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        // Classes and reasons are less than 400.
        let number = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    fn name(&self, number: u16) -> &str {
        self.names.get(usize::from(number)).map_or("", |it| it)
    }

    /// Takes what came until `now_us`, and forgets what is older than a minute.
    pub fn go_to(&mut self, now_us: u64) {
        if now_us < self.now_us {
            // The host's clock was set back: by the new time, nobody knows when the old ones were.
            self.kept.clear();
            self.lines.clear();
            self.coming.retain(|it| it.unix_us <= now_us);
            self.since_us = now_us;
        } else if self.forgotten_us > 0 {
            // Something is missing up to there.
            self.kept.clear();
            self.since_us = self.forgotten_us;
        }
        self.forgotten_us = 0;
        self.now_us = now_us;
        for event in std::mem::take(&mut self.coming) {
            if event.unix_us <= now_us {
                self.keep(event);
            } else {
                self.coming.push_back(event);
            }
        }
        let begin = now_us.saturating_sub(WINDOW_US);
        while self.kept.front().is_some_and(|it| it.unix_us < begin) {
            self.kept.pop_front();
        }
        self.since_us = self.since_us.max(begin);
    }

    /// Seconds that the sums are over.
    pub fn window_seconds(&self) -> f64 {
        self.now_us.saturating_sub(self.since_us) as f64 / 1e6
    }

    pub fn packets(&self) -> u64 {
        self.kept.iter().map(|it| it.packets).sum()
    }

    pub fn count(&self) -> usize {
        self.kept.len()
    }

    /// The last events that `wanted` takes by class and reason, the newest first.
    pub fn lines(&self, wanted: impl Fn(Option<&str>, &str) -> bool) -> Vec<&Event> {
        let newest_first = self.lines.iter().rev();
        newest_first
            .filter(|it| wanted(it.class.as_deref(), &it.reason))
            .collect()
    }

    fn wanted<'a>(
        &'a self,
        wanted: &'a impl Fn(Option<&str>, &str) -> bool,
    ) -> impl Iterator<Item = &'a Kept> {
        self.kept.iter().filter(|it| {
            let class = it.class.map(|number| self.name(number));
            wanted(class, self.name(it.reason))
        })
    }

    /// How many packets each event of a second and a reason stands for, on average.
    ///
    /// Of a flood each CPU shows the first frames of every window, and the first of these alone says how many
    /// came unseen before it. Its source has not sent them all: they are shared out among the events around.
    fn weights(&self) -> HashMap<(u64, u16), f64> {
        let mut sums: HashMap<(u64, u16), (u64, u64)> = HashMap::new();
        for kept in &self.kept {
            let sum = sums.entry(kept.second_and_reason()).or_default();
            sum.0 += kept.packets;
            sum.1 += 1;
        }
        let weight = |(key, (packets, events))| (key, packets as f64 / events as f64);
        sums.into_iter().map(weight).collect()
    }

    /// All sources that `wanted` takes, most packets first.
    pub fn sources(&self, wanted: impl Fn(Option<&str>, &str) -> bool) -> Vec<SourceLine> {
        struct Sum {
            packets: f64,
            just_now: f64,
            last: Kept,
        }
        let weights = self.weights();
        let just_now_since = self.now_us.saturating_sub(RATE_US);
        let seconds = self.window_seconds().min(RATE_US as f64 / 1e6).max(1.0);
        let mut sums: HashMap<IpAddr, Sum> = HashMap::new();
        for kept in self.wanted(&wanted) {
            let Some(source) = kept.source else {
                continue;
            };
            let sum = sums.entry(source).or_insert(Sum {
                packets: 0.0,
                just_now: 0.0,
                last: *kept,
            });
            let packets = kept.weight_in(&weights);
            sum.packets += packets;
            if kept.unix_us >= just_now_since {
                sum.just_now += packets;
            }
            sum.last = *kept;
        }
        let lines = sums.into_iter().map(|(source, sum)| SourceLine {
            source,
            class: sum.last.class.map(|it| self.name(it).to_owned()),
            reason: self.name(sum.last.reason).to_owned(),
            protocol: sum.last.service.map(|it| it.0),
            port: sum.last.service.and_then(|it| it.1),
            packets: sum.packets.round() as u64,
            packets_per_second: sum.just_now / seconds,
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort_by(|a, b| b.packets.cmp(&a.packets).then(a.source.cmp(&b.source)));
        lines
    }

    /// What was asked for, most packets first.
    pub fn services(&self, wanted: impl Fn(Option<&str>, &str) -> bool) -> Vec<ServiceLine> {
        let weights = self.weights();
        let mut sums: HashMap<(u8, Option<u16>), f64> = HashMap::new();
        for kept in self.wanted(&wanted) {
            if let Some(service) = kept.service {
                *sums.entry(service).or_default() += kept.weight_in(&weights);
            }
        }
        let lines = sums
            .into_iter()
            .map(|((protocol, port), packets)| ServiceLine {
                protocol,
                port,
                packets: packets.round() as u64,
            });
        let mut lines: Vec<_> = lines.collect();
        lines.sort_by_key(|it| (std::cmp::Reverse(it.packets), it.protocol, it.port));
        lines
    }
}

impl SourceLine {
    /// What it asked for last, when that can be asked about.
    pub fn packet(&self) -> Option<PacketKind> {
        match (self.protocol?, self.port) {
            (6, Some(port)) => Some(PacketKind::Tcp(port)),
            (17, Some(port)) => Some(PacketKind::Udp(port)),
            (1 | 58, None) => Some(PacketKind::Ping),
            _ => None,
        }
    }
}

impl ServiceLine {
    /// `443/tcp`, `icmp`.
    pub fn words(&self) -> String {
        let protocol = protocols::name(self.protocol);
        match self.port {
            Some(port) => format!("{port}/{protocol}"),
            None => protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::event, *};

    fn all(_: Option<&str>, _: &str) -> bool {
        true
    }

    #[test]
    fn sources_and_services_are_summed_by_what_events_stand_for() {
        let mut recent = Recent::default();
        let now = 1_800_000_000_000_000;
        let old = event(now - 61_000_000, "203.0.113.9", 443, 1_000);
        recent.begin(
            vec![old, event(now - 30_000_000, "203.0.113.7", 80, 10)],
            true,
            now,
        );
        recent.push(event(now, "203.0.113.7", 80, 20));
        recent.push(event(now + 1_000_000, "2001:db8::7", 53, 100));
        recent.go_to(now + 1_000_000);
        let shown: Vec<_> = recent
            .sources(all)
            .into_iter()
            .map(|it| (it.source.to_string(), it.packets, it.packets_per_second))
            .collect();
        let line = |source: &str, packets, rate| (source.to_owned(), packets, rate);
        let expected = [line("2001:db8::7", 100, 20.0), line("203.0.113.7", 30, 4.0)];
        assert_eq!(shown, expected);
        let services: Vec<_> = recent
            .services(all)
            .iter()
            .map(|it| (it.words(), it.packets))
            .collect();
        assert_eq!(
            services,
            [("53/tcp".to_owned(), 100), ("80/tcp".to_owned(), 30)]
        );
        assert_eq!((recent.window_seconds(), recent.packets()), (60.0, 130));
        assert_eq!(recent.sources(|class, _| class == Some("MO")), []);
        assert_eq!(
            recent.sources(|_, reason| reason == "country_denied").len(),
            2
        );
    }

    #[test]
    fn what_came_unseen_is_shared_out_among_the_events_of_its_second_and_reason() {
        let mut recent = Recent::default();
        let now = 1_800_000_000_000_000;
        recent.begin(Vec::new(), true, now);
        // The first of three tells of 297 before it; two of the three are of another source.
        recent.push(event(now, "203.0.113.7", 80, 298));
        recent.push(event(now, "203.0.113.8", 443, 1));
        recent.push(event(now, "203.0.113.8", 443, 1));
        let banned = Event {
            reason: "banned".to_owned(),
            ..event(now, "203.0.113.9", 22, 1)
        };
        recent.push(banned);
        recent.go_to(now);
        let packets: Vec<_> = recent.sources(all).iter().map(|it| it.packets).collect();
        assert_eq!(packets, [200, 100, 1]);
        let packets: Vec<_> = recent.services(all).iter().map(|it| it.packets).collect();
        assert_eq!(packets, [200, 100, 1]);
        assert_eq!(recent.packets(), 301);
    }

    #[test]
    fn flood_shortens_the_window_and_the_memory_stays_bounded() {
        let mut recent = Recent::default();
        let now = 1_800_000_000_000_000;
        recent.begin(Vec::new(), true, now);
        for number in 0..70_000 {
            recent.push(event(now + number * 100, "203.0.113.7", 80, 1));
        }
        recent.go_to(now + 7_000_000);
        assert_eq!(recent.count(), MAX_EVENTS);
        // The first 4,464 are gone, the last of which came 0.4463 s after the begin.
        assert_eq!(recent.window_seconds(), 6.5537);
        assert_eq!(recent.lines(all).len(), MAX_LINES);
    }

    #[test]
    fn what_came_after_the_counters_were_read_waits_for_the_next_time() {
        let mut recent = Recent::default();
        let now = 1_800_000_000_000_000;
        recent.begin(vec![event(now + 1, "203.0.113.7", 80, 10)], true, now);
        recent.push(event(now + 2, "203.0.113.8", 443, 20));
        // Of another CPU, and so out of order.
        recent.push(event(now, "203.0.113.9", 22, 1));
        assert_eq!((recent.packets(), recent.lines(all).len()), (0, 0));
        recent.go_to(now);
        assert_eq!((recent.packets(), recent.lines(all).len()), (1, 1));
        recent.go_to(now + 1);
        assert_eq!((recent.packets(), recent.count()), (11, 2));
        recent.go_to(now + 2);
        assert_eq!((recent.packets(), recent.lines(all).len()), (31, 3));
    }

    #[test]
    fn clock_that_is_set_back_begins_anew() {
        let mut recent = Recent::default();
        let now = 1_800_000_000_000_000;
        recent.begin(vec![event(now, "203.0.113.7", 80, 10)], true, now);
        let before = now - 3_600_000_000;
        recent.push(event(before, "203.0.113.8", 443, 20));
        recent.push(event(now, "203.0.113.9", 443, 7));
        recent.go_to(before);
        assert_eq!((recent.packets(), recent.window_seconds()), (20, 0.0));
        recent.go_to(before + 1_000_000);
        assert_eq!((recent.packets(), recent.window_seconds()), (20, 1.0));
        recent.go_to(now);
        assert_eq!(recent.packets(), 0);
    }
}

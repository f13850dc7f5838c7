//! The frames of sources that have a limit, some of which is used up.

use std::net::IpAddr;

use filter_common::{
    abi::{Limit, PolicyBlock, action},
    country::Class,
    verdict::Reason,
};

use super::{
    Family, Plan,
    cases::{Case, Cases, RUNS_PER_CALL, Style},
    frames::Content,
    sources::{Random, Ranges},
    target::Target,
};

/// Sources that are brought over their limit. No more than a few, since the address may be somebody's.
const OVER_LIMIT_SOURCES: usize = 16;
/// Sources of each round that stay within their limit; each is used once.
const WITHIN_LIMIT_SOURCES: usize = 32;
/// A larger burst is not used up: every round does so for every source.
const MAX_BURST: u64 = 20_000;

impl Cases<'_> {
    /// The three cases of a limit share its sources: none is used for two of them.
    pub fn limits(
        &mut self,
        family: Family,
        limited: Option<(&Limit, &Ranges, Target)>,
        random: &mut Random,
    ) {
        let cases = [Case::WithinLimit, Case::NewConnection, Case::OverLimit];
        let Some((limit, ranges, target)) = limited else {
            for case in cases {
                let why = "nobody is allowed within a limit".to_owned();
                self.add(case, Some(family), Err(why));
            }
            return;
        };
        let once = WITHIN_LIMIT_SOURCES.min(self.plan.sources) * self.plan.rounds;
        let prefix_len = match family {
            Family::V4 => limit.ipv4_prefix_len,
            Family::V6 => limit.ipv6_prefix_len,
        };
        let accept = |source| self.decides(&target.from(source), Reason::Allowed);
        let mut over = ranges.addresses(
            family,
            prefix_len,
            OVER_LIMIT_SOURCES + 2 * once,
            random,
            accept,
        );
        // A small country may have too few: each case gets its part of them.
        let share = over.len() / 3;
        let mut within = over.split_off(OVER_LIMIT_SOURCES.min(share));
        let new = within.split_off(within.len() / 2);
        let established = Target {
            content: target.content.established(),
            ..target
        };
        let frames_of = |target: Target, sources: &[IpAddr]| -> Vec<Vec<u8>> {
            sources.iter().map(|source| target.from(*source)).collect()
        };
        let packets = burst(limit.packet_interval, limit.packet_tolerance);
        let connections = burst(limit.connection_interval, limit.connection_tolerance);
        let opens = matches!(target.content, Content::Syn(_));
        let enough = |frames: Vec<Vec<u8>>| match frames.len() {
            count if count < Plan::MIN_ROUNDS => {
                Err("too few sources to use each of them once".to_owned())
            }
            _ => Ok(frames),
        };

        let found = match packets {
            None => Err("the limit counts new connections only".to_owned()),
            Some(packets) => enough(frames_of(established, &within)).map(|frames| {
                let batch = half(packets);
                (Reason::Allowed, Style::Once { batch }, frames)
            }),
        };
        self.add(Case::WithinLimit, Some(family), found);

        let found = match connections {
            None => Err("the limit counts no new connections".to_owned()),
            Some(_) if !opens => Err("no TCP port is guarded".to_owned()),
            Some(connections) => enough(frames_of(target, &new)).map(|frames| {
                let batch = half(packets.map_or(connections, |packets| packets.min(connections)));
                (Reason::Allowed, Style::Once { batch }, frames)
            }),
        };
        self.add(Case::NewConnection, Some(family), found);

        let spend = match (packets, connections) {
            (Some(burst), _) => Ok((burst, Reason::PacketLimit, established)),
            (None, Some(burst)) if opens => Ok((burst, Reason::ConnectionLimit, target)),
            (None, _) => Err("the limit counts new connections, and no TCP port is guarded"),
        };
        let found = match spend {
            Err(why) => Err(why.to_owned()),
            Ok((burst, ..)) if burst > MAX_BURST => {
                Err(format!("a burst of {burst} is more than this uses up"))
            }
            Ok((burst, reason, target)) => enough(frames_of(target, &over)).map(|frames| {
                let burst = u32::try_from(burst).unwrap_or(u32::MAX);
                (reason, Style::Spent { burst }, frames)
            }),
        };
        self.add(Case::OverLimit, Some(family), found);
    }
}

/// Of the limits that countries have, the one with the largest burst of packets: the most runs in a
/// batch.
pub fn lenient_limit(policy: &PolicyBlock) -> Option<(u8, &Limit)> {
    let fixed = [Class::TRUSTED, Class::RULE_ALLOW, Class::RULE_DENY].map(|class| class.0);
    (0..=u8::MAX)
        .filter(|class| !fixed.contains(class))
        .filter_map(|class| policy.actions[usize::from(class)].checked_sub(action::FIRST_LIMIT))
        .filter_map(|index| Some((index, policy.limits.get(usize::from(index))?)))
        .max_by_key(|(_, limit)| burst(limit.packet_interval, limit.packet_tolerance))
}

/// What a rested source may send at once; `None`: the limit does not count this.
fn burst(interval: u64, tolerance: u64) -> Option<u64> {
    Some(tolerance.checked_div(interval)? + 1)
}

/// Half of a burst, so that a source that happens to be somebody's has the other half left.
fn half(burst: u64) -> u32 {
    u32::try_from(burst / 2)
        .unwrap_or(u32::MAX)
        .clamp(1, RUNS_PER_CALL)
}

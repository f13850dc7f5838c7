//! Which packets are measured, and the frames of each, chosen by the policy that runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::{
    abi::{Limit, PolicyBlock, action, scope_flag},
    country::Class,
    verdict::Reason,
};
use ipnetwork::IpNetwork;
use serde::Serialize;

use super::{
    BenchError, Family, NotMeasured, Plan,
    frames::{self, Content},
    sources::{self, Group, Random, Ranges},
    system,
};
use crate::kernel::Live;

/// Runs of one frame in one call: at most a millisecond with bottom halves on and off, and enough
/// that the clock reads at both ends do not count.
pub const RUNS_PER_CALL: u32 = 4_000;
/// Sources that are brought over their limit. No more than a few, since the address may be somebody's.
const OVER_LIMIT_SOURCES: usize = 16;
/// Sources of each round that stay within their limit; each is used once.
const WITHIN_LIMIT_SOURCES: usize = 32;
/// A larger burst is not used up: every round does so for every source.
const MAX_BURST: u64 = 20_000;

/// One kind of packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    NotIp,
    Malformed,
    OutOfScope,
    Trusted,
    Banned,
    CountryDenied,
    UnknownDenied,
    Allowed,
    /// A packet of a source that has some of its limit left: one stamp is charged.
    WithinLimit,
    /// The same for a packet that opens a connection: two stamps are charged.
    NewConnection,
    /// A packet of a source that has nothing left.
    OverLimit,
}

impl Case {
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIp => "not IP",
            Self::Malformed => "malformed",
            Self::OutOfScope => "out of scope",
            Self::Trusted => "trusted",
            Self::Banned => "banned",
            Self::CountryDenied => "country denied",
            Self::UnknownDenied => "unknown denied",
            Self::Allowed => "allowed",
            Self::WithinLimit => "within limit",
            Self::NewConnection => "new connection",
            Self::OverLimit => "over limit",
        }
    }
}

/// How the frames of a case are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Every frame in every round, as often as one likes.
    Repeat,
    /// Every frame once, `batch` times, so that its source stays within its limit.
    Once { batch: u32 },
    /// Every frame in every round, after `burst` runs that nobody times.
    Spent { burst: u32 },
}

/// A case and its frames.
#[derive(Debug)]
pub struct Prepared {
    pub case: Case,
    pub family: Option<Family>,
    pub expected: Reason,
    pub style: Style,
    /// One for each source.
    pub frames: Vec<Vec<u8>>,
}

/// Frames for what the policy has sources for, and why there are none for the rest.
pub fn prepare(live: &Live, plan: Plan) -> Result<(Vec<Prepared>, Vec<NotMeasured>), BenchError> {
    let policy = live.policy().ok_or(BenchError::NoPolicy)?;
    // Other sources each time: who runs this twice does not find them over their limit.
    let mut random = Random::new(system::now_ns());
    let bans: Vec<IpNetwork> = live.bans()?.iter().map(|ban| ban.prefix).collect();
    let mut cases = Cases {
        live,
        plan,
        policy,
        prepared: Vec::new(),
        not_measured: Vec::new(),
    };
    cases.add(
        Case::NotIp,
        None,
        Ok((Reason::NotIp, Style::Repeat, vec![frames::arp()])),
    );
    for family in Family::BOTH {
        cases.of_family(family, &bans, &mut random);
    }
    cases.prepared.sort_by_key(|prepared| prepared.case as u8);
    cases.not_measured.sort_by_key(|it| it.case as u8);
    Ok((cases.prepared, cases.not_measured))
}

/// What a case comes to: its frames, or why there are none.
type Found = Result<(Reason, Style, Vec<Vec<u8>>), String>;

struct Cases<'a> {
    live: &'a Live,
    plan: Plan,
    policy: &'a PolicyBlock,
    prepared: Vec<Prepared>,
    not_measured: Vec<NotMeasured>,
}

/// Where a frame goes and what it carries.
#[derive(Clone, Copy, Debug)]
struct Target {
    destination: IpAddr,
    content: Content,
}

impl Cases<'_> {
    fn add(&mut self, case: Case, family: Option<Family>, found: Found) {
        match found {
            Ok((expected, style, frames)) => self.prepared.push(Prepared {
                case,
                family,
                expected,
                style,
                frames,
            }),
            Err(why) => self.not_measured.push(NotMeasured { case, family, why }),
        }
    }

    fn of_family(&mut self, family: Family, bans: &[IpNetwork], random: &mut Random) {
        let limit = lenient_limit(self.policy);
        let mut groups = vec![
            Group::Any,
            Group::Trusted,
            Group::CountryDenied,
            Group::UnknownDenied,
            Group::Allowed,
        ];
        groups.extend(limit.map(|(index, _)| Group::Limited(index)));
        let ranges = sources::choose(self.live, family, &groups, random);

        let any = self.target(family, false);
        let guarded = self.target(family, true);
        let frames = self.frames(&ranges[0], family, any, Reason::OutOfScope, random);
        let out_of_scope = match (frames.is_empty(), self.policy.scope.flags) {
            (false, _) => Ok((Reason::OutOfScope, Style::Repeat, frames)),
            (true, 0) => Err("[protect] is not set: everything is in scope".to_owned()),
            (true, _) => Err("[protect] leaves nothing out".to_owned()),
        };
        self.add(Case::OutOfScope, Some(family), out_of_scope);

        let somewhere = guarded.or(any);
        let malformed: Vec<Vec<u8>> = ranges[0]
            .addresses(family, family.bits(), self.plan.sources, random, |_| true)
            .into_iter()
            .filter_map(|source| somewhere.map(|target| target.from(source)))
            .map(|frame| frames::malformed(frame, family == Family::V4))
            .collect();
        let reason = match family {
            Family::V4 => Reason::BadIpv4HeaderLen,
            Family::V6 => Reason::BadIpv6PayloadLen,
        };
        self.add(
            Case::Malformed,
            Some(family),
            Ok((reason, Style::Repeat, malformed)),
        );

        for (case, reason, ranges, none) in [
            (
                Case::Trusted,
                Reason::Trusted,
                &ranges[1],
                "no prefix is trusted",
            ),
            (
                Case::CountryDenied,
                Reason::CountryDenied,
                &ranges[2],
                "no country is denied",
            ),
            (
                Case::UnknownDenied,
                Reason::UnknownDenied,
                &ranges[3],
                "unknown addresses are not denied",
            ),
            (
                Case::Allowed,
                Reason::Allowed,
                &ranges[4],
                "nobody is allowed without a limit",
            ),
        ] {
            let frames = self.frames(ranges, family, guarded, reason, random);
            let found = self.unless_empty(frames, reason, guarded, none);
            self.add(case, Some(family), found);
        }

        let bans: Vec<IpNetwork> = bans
            .iter()
            .filter(|ban| ban.is_ipv4() == (family == Family::V4))
            .copied()
            .collect();
        let banned = guarded.map_or_else(Vec::new, |target| {
            let accept = |source| self.decides(&target.from(source), Reason::Banned);
            sources::in_prefixes(&bans, self.plan.sources, random, accept)
                .into_iter()
                .map(|source| target.from(source))
                .collect()
        });
        let banned = self.unless_empty(banned, Reason::Banned, guarded, "no address is banned");
        self.add(Case::Banned, Some(family), banned);

        let limited = limit.and_then(|(_, limit)| Some((limit, ranges.get(5)?, guarded?)));
        self.limits(family, limited, random);
    }

    /// The three cases of a limit share its sources: none is used for two of them.
    fn limits(
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

    fn unless_empty(
        &self,
        frames: Vec<Vec<u8>>,
        reason: Reason,
        guarded: Option<Target>,
        none: &str,
    ) -> Found {
        match (frames.is_empty(), guarded) {
            (false, _) => Ok((reason, Style::Repeat, frames)),
            (true, Some(_)) => Err(none.to_owned()),
            (true, None) => Err("[protect] has nothing of this family in scope".to_owned()),
        }
    }

    fn decides(&self, frame: &[u8], reason: Reason) -> bool {
        self.live.decide(frame).reason == reason
    }

    /// Frames to `target` that the policy decides on by `reason`.
    fn frames(
        &self,
        ranges: &Ranges,
        family: Family,
        target: Option<Target>,
        reason: Reason,
        random: &mut Random,
    ) -> Vec<Vec<u8>> {
        let Some(target) = target else {
            return Vec::new();
        };
        let accept = |source| self.decides(&target.from(source), reason);
        ranges
            .addresses(family, family.bits(), self.plan.sources, random, accept)
            .into_iter()
            .map(|source| target.from(source))
            .collect()
    }

    /// The first thing to ask for that is in scope, or out of it: TCP if possible, else UDP, else
    /// some other protocol.
    fn target(&self, family: Family, in_scope: bool) -> Option<Target> {
        let common = [443, 80, 22].map(Content::Syn);
        let tcp = (1..=u16::MAX).map(Content::Syn);
        let udp = (1..=u16::MAX).map(Content::Datagram);
        let other = (0..=u8::MAX).map(Content::Other);
        let contents = || {
            let all = common.into_iter().chain(tcp.clone()).chain(udp.clone());
            all.chain(other.clone())
        };
        let source = outside(family);
        [
            listed_destination(self.policy, family),
            Some(outside(family)),
        ]
        .into_iter()
        .flatten()
        .flat_map(|destination| {
            contents().map(move |content| Target {
                destination,
                content,
            })
        })
        .find(|target| {
            let reason = self.live.decide(&target.from(source)).reason;
            reason != Reason::Essential && (reason != Reason::OutOfScope) == in_scope
        })
    }
}

impl Target {
    fn from(self, source: IpAddr) -> Vec<u8> {
        frames::ip(source, self.destination, self.content)
    }
}

/// An address of the space for benchmarks (RFC 2544, RFC 5180), which no host should have.
fn outside(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(198, 18, 0, 1).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// The first destination that `[protect]` names.
fn listed_destination(policy: &PolicyBlock, family: Family) -> Option<IpAddr> {
    let scope = &policy.scope;
    if scope.flags & scope_flag::DESTINATIONS == 0 {
        return None;
    }
    match family {
        Family::V4 if scope.destination_count_v4 > 0 => {
            Some(Ipv4Addr::from_bits(scope.destinations_v4[0].network).into())
        }
        Family::V6 if scope.destination_count_v6 > 0 => {
            let [hi, lo] = scope.destinations_v6[0].network;
            Some(Ipv6Addr::from_bits(u128::from(hi) << 64 | u128::from(lo)).into())
        }
        _ => None,
    }
}

/// Of the limits that countries have, the one with the largest burst of packets: the most runs in a
/// batch.
fn lenient_limit(policy: &PolicyBlock) -> Option<(u8, &Limit)> {
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

//! Which packets are measured, and the frames of each, chosen by the policy that runs.

use filter_common::{abi::PolicyBlock, verdict::Reason};
use ipnetwork::IpNetwork;
use serde::Serialize;

use super::{
    BenchError, Family, NotMeasured, Plan, frames,
    limits::lenient_limit,
    sources::{self, Group, Random, Ranges},
    system,
    target::Target,
};
use crate::kernel::Live;

/// Runs of one frame in one call: at most a millisecond with bottom halves on and off, and enough
/// that the clock reads at both ends do not count.
pub const RUNS_PER_CALL: u32 = 4_000;

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
pub type Found = Result<(Reason, Style, Vec<Vec<u8>>), String>;

/// What was found so far.
pub struct Cases<'a> {
    live: &'a Live,
    pub plan: Plan,
    policy: &'a PolicyBlock,
    prepared: Vec<Prepared>,
    not_measured: Vec<NotMeasured>,
}

impl Cases<'_> {
    pub fn add(&mut self, case: Case, family: Option<Family>, found: Found) {
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

        let any = Target::find(self.live, self.policy, family, false);
        let guarded = Target::find(self.live, self.policy, family, true);
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

    /// Whether the policy decides on `frame` by `reason`.
    pub fn decides(&self, frame: &[u8], reason: Reason) -> bool {
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
}

//! What the frames ask for: something that the policy looks at, or does not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::{
    abi::{PolicyBlock, scope_flag},
    verdict::Reason,
};

use super::{
    Family,
    frames::{self, Content},
};
use crate::kernel::Live;

/// Where a frame goes and what it carries.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub destination: IpAddr,
    pub content: Content,
}

impl Target {
    /// The first thing to ask for that is in scope, or out of it: TCP if possible, else UDP, else
    /// some other protocol.
    pub fn find(live: &Live, policy: &PolicyBlock, family: Family, in_scope: bool) -> Option<Self> {
        let common = [443, 80, 22].map(Content::Syn);
        let tcp = (1..=u16::MAX).map(Content::Syn);
        let udp = (1..=u16::MAX).map(Content::Datagram);
        let other = (0..=u8::MAX).map(Content::Other);
        let contents = || {
            let all = common.into_iter().chain(tcp.clone()).chain(udp.clone());
            all.chain(other.clone())
        };
        let source = outside(family);
        [listed_destination(policy, family), Some(outside(family))]
            .into_iter()
            .flatten()
            .flat_map(|destination| {
                contents().map(move |content| Self {
                    destination,
                    content,
                })
            })
            .find(|target| {
                let reason = live.decide(&target.from(source)).reason;
                reason != Reason::Essential && (reason != Reason::OutOfScope) == in_scope
            })
    }

    /// A frame from `source`.
    pub fn from(self, source: IpAddr) -> Vec<u8> {
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

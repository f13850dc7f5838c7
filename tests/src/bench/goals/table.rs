//! The goals. A line that has several conditions is several goals.

use super::{Goal, Limit, Measure, Pick};
use crate::bench::{
    names::{family, peer, trace, what},
    row::RUNS,
    trace::Draw,
};

const FEW: &str = Draw::Few.label();
const MANY: &str = Draw::Many.label();

const fn pick(
    what: &'static str,
    peer: &'static str,
    family: &'static str,
    trace: &'static str,
) -> Pick {
    Pick {
        what,
        peer,
        family: Some(family),
        trace: Some(trace),
    }
}

/// The row of this thing, whatever its family and trace.
const fn any(what: &'static str, peer: &'static str) -> Pick {
    Pick {
        what,
        peer,
        family: None,
        trace: None,
    }
}

const fn path(peer: &'static str, family: &'static str, trace: &'static str) -> Pick {
    pick(what::PATH, peer, family, trace)
}

const fn plain(family: &'static str, trace: &'static str) -> Pick {
    pick(what::PATH_NO_SET, peer::PLAIN_DROP, family, trace)
}

const fn ratio(
    id: &'static str,
    text: &'static str,
    first: Pick,
    second: Pick,
    limit: Limit,
) -> Goal {
    Goal {
        id,
        text,
        measure: Measure::Ratio(first, second),
        limit,
        unit: "",
        runs: RUNS,
    }
}

const fn limited(
    id: &'static str,
    text: &'static str,
    family: &'static str,
    trace: &'static str,
) -> Goal {
    Goal {
        id,
        text,
        measure: Measure::Difference(
            pick(what::PROGRAM, peer::CERCO_LIMITED, family, trace),
            pick(what::PROGRAM, peer::PARSE_ONLY, family, trace),
        ),
        limit: Limit::AtMost(60.0),
        unit: "ns",
        runs: RUNS,
    }
}

const fn value(
    id: &'static str,
    text: &'static str,
    measure: Measure,
    limit: Limit,
    unit: &'static str,
    runs: usize,
) -> Goal {
    Goal {
        id,
        text,
        measure,
        limit,
        unit,
        runs,
    }
}

const SIXTH: Limit = Limit::AtMost(1.0 / 6.0);

/// In the order of the issue.
pub static GOALS: &[Goal] = &[
    ratio(
        "lookup-ipv4",
        "IPv4 lookup, 1M random sources: LPM trie by cerco, net of the harness",
        pick(what::LOOKUP, peer::LPM_TRIE, family::V4, MANY),
        pick(what::LOOKUP, peer::CERCO, family::V4, MANY),
        Limit::AtLeast(50.0),
    ),
    ratio(
        "lookup-ipv6",
        "IPv6 lookup, 1M random sources: LPM trie by cerco, net of the harness",
        pick(what::LOOKUP, peer::LPM_TRIE, family::V6, MANY),
        pick(what::LOOKUP, peer::CERCO, family::V6, MANY),
        Limit::AtLeast(15.0),
    ),
    ratio(
        "path-ipv4-plain",
        "packet path, IPv4 denied, 1M sources: cerco by the native XDP program that returns \
         XDP_DROP without a look at the frame",
        path(peer::CERCO, family::V4, MANY),
        plain(family::V4, MANY),
        Limit::AtMost(1.15),
    ),
    ratio(
        "path-ipv4-xdp-filter",
        "the same: cerco by xdp-filter, which denies all but the 10,000 single addresses that its \
         list has room for",
        path(peer::CERCO, family::V4, MANY),
        path(peer::XDP_FILTER, family::V4, MANY),
        Limit::Below(1.0),
    ),
    ratio(
        "path-ipv4-nftables",
        "the same: cerco by an nftables set of the same blocked prefixes at netdev ingress",
        path(peer::CERCO, family::V4, MANY),
        path(peer::NFTABLES, family::V4, MANY),
        SIXTH,
    ),
    ratio(
        "path-ipv4-iptables",
        "the same: cerco by an ipset of the same blocked prefixes in iptables' raw table",
        path(peer::CERCO, family::V4, MANY),
        path(peer::IPTABLES, family::V4, MANY),
        SIXTH,
    ),
    ratio(
        "path-ipv6-few",
        "packet path, IPv6 denied, 4,096 sources: cerco by plain native drop",
        path(peer::CERCO, family::V6, FEW),
        plain(family::V6, FEW),
        Limit::AtMost(1.5),
    ),
    ratio(
        "path-ipv6-many",
        "packet path, IPv6 denied, 1M sources: cerco by plain native drop",
        path(peer::CERCO, family::V6, MANY),
        plain(family::V6, MANY),
        Limit::AtMost(1.5),
    ),
    limited(
        "limited-ipv4-few",
        "IPv4 packet allowed and limited, 4,096 sources: over parse-only, clock included",
        family::V4,
        FEW,
    ),
    limited(
        "limited-ipv4-many",
        "IPv4 packet allowed and limited, 1M sources: over parse-only, clock included",
        family::V4,
        MANY,
    ),
    limited(
        "limited-ipv6-few",
        "IPv6 packet allowed and limited, 4,096 sources: over parse-only, clock included",
        family::V6,
        FEW,
    ),
    limited(
        "limited-ipv6-many",
        "IPv6 packet allowed and limited, 1M sources: over parse-only, clock included",
        family::V6,
        MANY,
    ),
    ratio(
        "limiter-spoofed",
        "limiter: a packet of 2^32 spoofed sources by one of 1k sources",
        pick(what::LIMITER, peer::CERCO, family::V4, trace::SOURCES_2_32),
        pick(what::LIMITER, peer::CERCO, family::V4, trace::SOURCES_1K),
        Limit::AtMost(1.3),
    ),
    ratio(
        "limiter-lru",
        "limiter, 2^32 spoofed sources: LRU hash by cerco",
        pick(
            what::LIMITER,
            peer::LRU_HASH,
            family::V4,
            trace::SOURCES_2_32,
        ),
        pick(what::LIMITER, peer::CERCO, family::V4, trace::SOURCES_2_32),
        Limit::AtLeast(6.0),
    ),
    value(
        "limiter-heavy",
        "a source at 10 times its limit among 1M spoofed ones: what gets through, of its limit, in \
         every run",
        Measure::Every(any(what::HEAVY_SOURCE, peer::CERCO)),
        Limit::Between(0.9, 1.1),
        "",
        1,
    ),
    value(
        "limiter-quiet",
        "sources below their limit beside it: packets lost, in every run",
        Measure::Every(any(what::QUIET_LOSS, peer::CERCO)),
        Limit::Below(0.1),
        "%",
        1,
    ),
    value(
        "load-builtin",
        "from the builtin database to enforcing",
        Measure::Median(any(what::LOAD_BUILTIN, peer::CERCO)),
        Limit::AtMost(150.0),
        "ms",
        RUNS,
    ),
    value(
        "load-mmdb",
        "from an MMDB of 1.4 million networks to enforcing",
        Measure::Median(any(what::LOAD_MMDB, peer::CERCO)),
        Limit::AtMost(600.0),
        "ms",
        RUNS,
    ),
    ratio(
        "load-nft",
        "nft -f of the same blocked prefixes by builtin database to enforcing",
        any(what::LOAD_SET, peer::NFTABLES),
        any(what::LOAD_BUILTIN, peer::CERCO),
        Limit::AtLeast(10.0),
    ),
    value(
        "toggle",
        "one country toggled, without a rebuild",
        Measure::Median(any(what::TOGGLE, peer::CERCO)),
        Limit::AtMost(1.0),
        "ms",
        RUNS,
    ),
    value(
        "bans",
        "100,000 bans",
        Measure::Median(any(what::BANS, peer::CERCO)),
        Limit::AtMost(1_000.0),
        "ms",
        RUNS,
    ),
    value(
        "kernel-memory",
        "all maps: both families, both generations, limiter for 1M sources",
        Measure::Every(any(what::KERNEL_MEMORY, peer::CERCO)),
        Limit::AtMost(48.0),
        "MiB",
        1,
    ),
    value(
        "daemon-rss",
        "memory of the daemon after loading",
        Measure::Every(any(what::DAEMON_RSS, peer::CERCO)),
        Limit::AtMost(40.0),
        "MiB",
        1,
    ),
    value(
        "daemon-cpu",
        "idle daemon over 60 s, metrics scraped once a second: share of one core",
        Measure::Every(any(what::DAEMON_CPU, peer::CERCO)),
        Limit::AtMost(0.5),
        "%",
        1,
    ),
    ratio(
        "growth-ipv4",
        "IPv4 packet with 2M networks by one with 1k networks",
        pick(what::GROWTH, peer::CERCO, family::V4, trace::NETWORKS_2M),
        pick(what::GROWTH, peer::CERCO, family::V4, trace::NETWORKS_1K),
        Limit::AtMost(1.5),
    ),
    ratio(
        "growth-ipv6",
        "IPv6 packet with 2M networks by one with 1k networks",
        pick(what::GROWTH, peer::CERCO, family::V6, trace::NETWORKS_2M),
        pick(what::GROWTH, peer::CERCO, family::V6, trace::NETWORKS_1K),
        Limit::AtMost(1.5),
    ),
    value(
        "swap",
        "wrong verdicts while tables are swapped under a flood, in every run",
        Measure::Every(any(what::SWAP, peer::CERCO)),
        Limit::AtMost(0.0),
        "",
        1,
    ),
];

//! The words by which goals and pictures find their rows. A row that no goal asks for may use any.

/// [`Row::what`](super::row::Row::what).
pub mod what {
    /// Nanoseconds of one look-up, independent of the one before it.
    pub const LOOKUP: &str = "lookup";
    /// The same where each look-up waits for the result of the one before it.
    pub const CHAINED_LOOKUP: &str = "chained lookup";
    /// Nanoseconds of one frame in the program, TEST_RUN, net of the empty program: who is allowed
    /// and limited (see the peers for what it is compared with).
    pub const PROGRAM: &str = "program";
    /// Nanoseconds of one frame through a link.
    pub const PATH: &str = "packet path";
    /// The same without any set of addresses: what the mechanism itself costs.
    pub const PATH_NO_SET: &str = "packet path, no set";
    /// Both less the plain drop of the same round.
    pub const PATH_OVER: &str = "packet path, over plain drop";
    pub const PATH_NO_SET_OVER: &str = "packet path, no set, over plain drop";
    /// Nanoseconds of the limiter for one packet.
    pub const LIMITER: &str = "limiter";
    /// What the heavy source got through, as a share of its limit: 1 is exact.
    pub const HEAVY_SOURCE: &str = "heavy source, of its limit";
    /// Packets that quiet sources lost, in percent.
    pub const QUIET_LOSS: &str = "quiet sources, lost";
    /// Milliseconds from the embedded database to a gate that enforces.
    pub const LOAD_BUILTIN: &str = "builtin to enforcing";
    /// Milliseconds from an MMDB of 1.4 million networks to a gate that enforces.
    pub const LOAD_MMDB: &str = "MMDB of 1.4M networks to enforcing";
    /// Milliseconds from a file of the blocked prefixes to a set that is in use.
    pub const LOAD_SET: &str = "blocked set to enforcing";
    /// Milliseconds to change what one country gets.
    pub const TOGGLE: &str = "one country toggled";
    /// Milliseconds for 100,000 bans.
    pub const BANS: &str = "100,000 bans";
    /// MiB of all maps, from fdinfo.
    pub const KERNEL_MEMORY: &str = "kernel memory";
    /// MiB resident in the daemon after loading.
    pub const DAEMON_RSS: &str = "daemon RSS";
    /// Percent of one core.
    pub const DAEMON_CPU: &str = "idle daemon CPU";
    /// Nanoseconds of one packet by number of networks.
    pub const GROWTH: &str = "growth, packet";
    /// Milliseconds to load by number of networks.
    pub const GROWTH_LOAD: &str = "growth, loading";
    /// Wrong verdicts while tables are swapped under a flood.
    pub const SWAP: &str = "swap under flood, wrong verdicts";
}

/// [`Row::peer`](super::row::Row::peer).
pub mod peer {
    pub const CERCO: &str = "cerco";
    pub const LPM_TRIE: &str = "LPM trie";
    pub const DIR_24_8: &str = "DIR-24-8";
    pub const LRU_HASH: &str = "LRU hash";
    /// The XDP program that returns XDP_DROP without a look at the frame.
    pub const PLAIN_DROP: &str = "plain drop";
    /// cerco's parser, and then a drop.
    pub const PARSE_ONLY: &str = "parse only";
    pub const GENERIC_DROP: &str = "generic drop";
    pub const XDP_FILTER: &str = "xdp-filter";
    /// The same program with the trace's addresses on its list.
    pub const XDP_FILTER_LISTED: &str = "xdp-filter, listed";
    pub const NFTABLES: &str = "nftables";
    /// With the allowed prefixes in its set, in place of the blocked ones.
    pub const NFTABLES_ALLOWLIST: &str = "nftables, allowlist";
    pub const IPTABLES: &str = "iptables+ipset";
    pub const IPTABLES_ALLOWLIST: &str = "iptables+ipset, allowlist";
    /// A frame that cerco's whole program allows under a limit.
    pub const CERCO_LIMITED: &str = "cerco, allowed and limited";
}

/// [`Row::family`](super::row::Row::family).
pub mod family {
    pub const V4: &str = "IPv4";
    pub const V6: &str = "IPv6";
    pub const BOTH: &str = "both";
}

/// [`Row::trace`](super::row::Row::trace), besides the labels of [`Draw`](super::trace::Draw).
pub mod trace {
    pub const NONE: &str = "";
    pub const SOURCES_1K: &str = "1k sources";
    pub const SOURCES_2_32: &str = "2^32 sources";
    pub const NETWORKS_1K: &str = "1k networks";
    pub const NETWORKS_2M: &str = "2M networks";
}

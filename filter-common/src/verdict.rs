//! The outcome of a packet: one verdict, one reason.

use crate::country::Class;

/// What happens to the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The kernel's network stack gets the frame.
    Pass,
    /// The frame ends here (in observe mode it is counted and passes).
    Drop,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $label:literal, $verdict:ident;)*) => {
        /// Why a frame got its verdict. Every frame has exactly one, so the counters of all reasons
        /// add up to the frames seen.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name = $number,)*
        }

        impl Reason {
            /// All reasons, in the order of their numbers, which are 0, 1, 2, …
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in metrics, JSON and on the terminal: lower case, `_` between words.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// The verdict that this reason carries in enforce mode.
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$name => Verdict::$verdict,)* }
            }
        }
    };
}

reasons! {
    /// Not IPv4 or IPv6: ARP, LLDP, spanning tree, PPPoE.
    NotIp = 0, "not_ip", Pass;
    /// Neighbour discovery, multicast listener reports, DHCP replies, path-MTU messages.
    Essential = 1, "essential", Pass;
    /// `[protect]` does not name this port, protocol or destination.
    OutOfScope = 2, "out_of_scope", Pass;
    /// A prefix of `[trusted]`.
    Trusted = 3, "trusted", Pass;
    /// A prefix of `[rules] allow`.
    RuleAllowed = 4, "rule_allowed", Pass;
    /// The country (or the default, for an unknown address) is allowed, without limit or within it.
    Allowed = 5, "allowed", Pass;
    /// Belongs to a connection that this host opened.
    Reply = 6, "reply", Pass;
    /// The tables are empty, as before the first policy is loaded.
    TableEmpty = 7, "table_empty", Pass;
    /// The address or its prefix is banned.
    Banned = 8, "banned", Drop;
    /// A prefix of `[rules] deny`.
    RuleDenied = 9, "rule_denied", Drop;
    /// The country is not allowed.
    CountryDenied = 10, "country_denied", Drop;
    /// The database does not know the address, and `unknown = "deny"`.
    UnknownDenied = 11, "unknown_denied", Drop;
    /// Private address space, and `private = "deny"`.
    PrivateDenied = 12, "private_denied", Drop;
    /// The source sent more packets than its limit.
    PacketLimit = 13, "packet_limit", Drop;
    /// The source opened more TCP connections than its limit.
    ConnectionLimit = 14, "connection_limit", Drop;
    /// The frame ends inside the Ethernet header or a VLAN tag.
    TruncatedEthernet = 15, "truncated_ethernet", Drop;
    /// The frame ends inside the IPv4 header or its options.
    TruncatedIpv4 = 16, "truncated_ipv4", Drop;
    /// The version field of the IPv4 header is not 4.
    BadIpv4Version = 17, "bad_ipv4_version", Drop;
    /// IHL below 5 (RFC 791 §3.1).
    BadIpv4HeaderLen = 18, "bad_ipv4_header_len", Drop;
    /// The IPv4 total length is below the header length or beyond the frame.
    BadIpv4TotalLen = 19, "bad_ipv4_total_len", Drop;
    /// The frame ends inside the IPv6 header.
    TruncatedIpv6 = 20, "truncated_ipv6", Drop;
    /// The version field of the IPv6 header is not 6.
    BadIpv6Version = 21, "bad_ipv6_version", Drop;
    /// The IPv6 payload length is beyond the frame.
    BadIpv6PayloadLen = 22, "bad_ipv6_payload_len", Drop;
    /// An IPv6 extension header ends beyond the payload.
    TruncatedIpv6Ext = 23, "truncated_ipv6_ext", Drop;
    /// More than eight IPv6 extension headers, or hop-by-hop options that are not first (RFC 8200 §4.1).
    BadIpv6ExtChain = 24, "bad_ipv6_ext_chain", Drop;
    /// A fragment whose offset and length pass the end of the largest datagram (RFC 791 §3.2).
    BadFragment = 25, "bad_fragment", Drop;
    /// The payload ends inside the TCP, UDP or ICMP header, as in a tiny first fragment (RFC 1858).
    TruncatedTransport = 26, "truncated_transport", Drop;
    /// The TCP data offset is below 5 or beyond the payload (RFC 9293 §3.1).
    BadTcpHeaderLen = 27, "bad_tcp_header_len", Drop;
    /// The UDP length is below 8 or beyond the payload (RFC 768).
    BadUdpLen = 28, "bad_udp_len", Drop;
    /// More than two VLAN tags: a gate that cannot read an address must not let it in.
    TooManyVlanTags = 29, "too_many_vlan_tags", Drop;
}

/// The one outcome of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    pub verdict: Verdict,
    pub reason: Reason,
    /// The class of the source, when the decision got far enough to look it up.
    pub class: Option<Class>,
}

impl Decision {
    /// A decision that carries the verdict of its reason.
    #[inline(always)] // One move and a constant; a BPF call would cost more than the work.
    pub const fn new(reason: Reason, class: Option<Class>) -> Self {
        Self {
            verdict: reason.verdict(),
            reason,
            class,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_without_gaps_and_labelled_apart() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(
                Reason::ALL
                    .iter()
                    .filter(|other| other.label() == reason.label())
                    .count(),
                1
            );
        }
        assert_eq!(Reason::COUNT, 30);
    }
}

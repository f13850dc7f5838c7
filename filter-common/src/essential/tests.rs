//! Each rule, and beside it the packet that just misses it.

use super::is_essential;
use crate::packet::{Address, Family, IcmpMessage, Packet, Transport};

const GLOBAL_V4: Address = Address::v4([198, 51, 100, 7]);
const HOST_V4: Address = Address::v4([192, 0, 2, 1]);
const GROUP_V4: Address = Address::v4([224, 0, 0, 22]);
const UNSPECIFIED: Address = Address::v6([0; 16]);

const fn v6(first: u8, second: u8) -> Address {
    let mut octets = [0; 16];
    octets[0] = first;
    octets[1] = second;
    octets[15] = 1;
    Address::v6(octets)
}
const LINK_LOCAL: Address = v6(0xfe, 0x80);
const LAST_LINK_LOCAL: Address = v6(0xfe, 0xbf);
const SITE_LOCAL: Address = v6(0xfe, 0xc0);
const GLOBAL_V6: Address = v6(0x20, 0x01);

fn essential(source: Address, hop_limit: u8, transport: Transport) -> bool {
    let destination = match source.family() {
        Family::V4 => HOST_V4,
        Family::V6 => GLOBAL_V6,
    };
    is_essential(&Packet::new(source, destination, hop_limit, transport))
}

fn icmpv6(message_type: u8, code: u8) -> Transport {
    Transport::Icmpv6(IcmpMessage {
        message_type,
        code,
        context: 0,
    })
}

fn icmp(message_type: u8, code: u8) -> Transport {
    Transport::Icmp(IcmpMessage {
        message_type,
        code,
        context: 0,
    })
}

fn udp(src_port: u16, dst_port: u16) -> Transport {
    Transport::Udp { src_port, dst_port }
}

#[test]
fn neighbour_discovery_is_essential_from_a_neighbour_only() {
    for message_type in 133..=137 {
        for source in [LINK_LOCAL, GLOBAL_V6, UNSPECIFIED] {
            assert!(
                essential(source, 255, icmpv6(message_type, 0)),
                "{message_type}"
            );
            for hop_limit in [0, 1, 64, 254] {
                assert!(!essential(source, hop_limit, icmpv6(message_type, 0)));
            }
            assert!(
                !essential(source, 255, icmpv6(message_type, 1)),
                "{message_type}"
            );
        }
    }
    for message_type in [128, 129, 138, 139] {
        assert!(
            !essential(LINK_LOCAL, 255, icmpv6(message_type, 0)),
            "{message_type}"
        );
    }
}

#[test]
fn listener_reports_are_essential_from_the_link_only() {
    for message_type in [130, 131, 132, 143] {
        for source in [LINK_LOCAL, LAST_LINK_LOCAL, UNSPECIFIED] {
            assert!(
                essential(source, 1, icmpv6(message_type, 0)),
                "{message_type}"
            );
            for hop_limit in [0, 2, 255] {
                assert!(!essential(source, hop_limit, icmpv6(message_type, 0)));
            }
        }
        for source in [GLOBAL_V6, SITE_LOCAL] {
            assert!(
                !essential(source, 1, icmpv6(message_type, 0)),
                "{message_type}"
            );
        }
    }
    assert!(!essential(LINK_LOCAL, 1, icmpv6(142, 0)));
    assert!(!essential(LINK_LOCAL, 1, icmpv6(144, 0)));
}

#[test]
fn path_mtu_messages_are_essential_from_anywhere() {
    assert!(essential(GLOBAL_V6, 3, icmpv6(2, 0)));
    assert!(!essential(GLOBAL_V6, 3, icmpv6(1, 0)));
    assert!(!essential(GLOBAL_V6, 3, icmpv6(3, 0)));
    assert!(essential(GLOBAL_V4, 3, icmp(3, 4)));
    for (message_type, code) in [(3, 3), (3, 5), (4, 4), (8, 0), (11, 4), (2, 4)] {
        assert!(
            !essential(GLOBAL_V4, 3, icmp(message_type, code)),
            "{message_type}/{code}"
        );
    }
}

#[test]
fn dhcp_replies_are_essential_and_requests_are_not() {
    assert!(essential(GLOBAL_V4, 64, udp(67, 68)));
    for (src_port, dst_port) in [(68, 67), (67, 67), (68, 68), (66, 68), (67, 69), (547, 546)] {
        assert!(
            !essential(GLOBAL_V4, 64, udp(src_port, dst_port)),
            "{src_port} {dst_port}"
        );
    }
    for source in [LINK_LOCAL, LAST_LINK_LOCAL] {
        assert!(essential(source, 64, udp(547, 546)));
    }
    for source in [GLOBAL_V6, SITE_LOCAL, UNSPECIFIED] {
        assert!(!essential(source, 64, udp(547, 546)));
    }
    for (src_port, dst_port) in [(546, 547), (547, 547), (546, 546), (67, 68)] {
        assert!(
            !essential(LINK_LOCAL, 64, udp(src_port, dst_port)),
            "{src_port} {dst_port}"
        );
    }
}

#[test]
fn igmp_is_essential_with_one_hop_to_a_group() {
    let igmp = |destination: Address, hop_limit, protocol| {
        let source = match destination.family() {
            Family::V4 => GLOBAL_V4,
            Family::V6 => GLOBAL_V6,
        };
        let transport = Transport::Other { protocol };
        is_essential(&Packet::new(source, destination, hop_limit, transport))
    };
    assert!(igmp(GROUP_V4, 1, 2));
    assert!(igmp(Address::v4([239, 255, 255, 255]), 1, 2));
    assert!(!igmp(GROUP_V4, 2, 2));
    assert!(!igmp(GROUP_V4, 0, 2));
    assert!(!igmp(GROUP_V4, 1, 3));
    for destination in [[192, 0, 2, 1], [223, 255, 255, 255], [240, 0, 0, 1]] {
        assert!(!igmp(Address::v4(destination), 1, 2), "{destination:?}");
    }
    // The first octet of an IPv6 address is no IPv4 group.
    assert!(!igmp(v6(0xe0, 0), 1, 2));
}

#[test]
fn fragments_are_never_essential() {
    for protocol in [2, 17, 58, 1] {
        let later = Transport::LaterFragment { protocol };
        assert!(!essential(LINK_LOCAL, 255, later));
        assert!(!essential(GLOBAL_V4, 1, later));
    }
}

use super::contains;
use crate::{
    abi::{PortSet, PrefixV4, PrefixV6, Scope, TCP_PORT_SET, UDP_PORT_SET, scope_flag},
    packet::{Address, IcmpMessage, Packet, TcpFlags, Transport},
};

const V4: Address = Address::v4([192, 0, 2, 1]);
const V6: Address = Address::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

fn tcp(dst_port: u16) -> Transport {
    Transport::Tcp {
        src_port: 443,
        dst_port,
        flags: TcpFlags(0x02),
    }
}

fn udp(dst_port: u16) -> Transport {
    Transport::Udp {
        src_port: 53,
        dst_port,
    }
}

const fn later(protocol: u8) -> Transport {
    Transport::LaterFragment { protocol }
}

/// TCP 443 and 65535, UDP 53.
fn ports(index: usize) -> PortSet {
    let mut set = PortSet([0; 1024]);
    if index == TCP_PORT_SET {
        set.0[443 / 64] |= 1 << (443 % 64);
        set.0[1023] |= 1 << 63;
    } else if index == UDP_PORT_SET {
        set.0[0] |= 1 << 53;
    }
    set
}

fn scope(flags: u32, protocols: &[u8]) -> Scope {
    let mut scope = Scope {
        flags,
        ..Scope::EVERYTHING
    };
    for protocol in protocols {
        scope.protocols[usize::from(*protocol) / 64] |= 1 << (protocol % 64);
    }
    scope
}

fn in_scope(scope: &Scope, address: Address, transport: Transport) -> bool {
    let sets = [ports(0), ports(1)];
    contains(
        scope,
        |index| sets.get(index),
        &Packet::new(address, address, 64, transport),
    )
}

#[test]
fn nothing_listed_guards_everything() {
    for transport in [tcp(1), udp(1), later(6), Transport::Other { protocol: 250 }] {
        assert!(in_scope(&Scope::EVERYTHING, V4, transport));
        assert!(in_scope(&Scope::EVERYTHING, V6, transport));
    }
}

#[test]
fn services_guard_what_they_name_and_nothing_beside_it() {
    use scope_flag::{SERVICES, TCP_PORTS, UDP_PORTS};
    let icmp = Transport::Icmp(IcmpMessage::echo(8, 1));
    let icmpv6 = Transport::Icmpv6(IcmpMessage::echo(128, 1));
    let esp = Transport::Other { protocol: 50 };
    let both = scope(SERVICES | TCP_PORTS | UDP_PORTS, &[]);
    let tcp_only = scope(SERVICES | TCP_PORTS, &[]);
    let whole = scope(SERVICES, &[1, 6, 50, 58, 255]);
    for (name, scope, transport, expected) in [
        ("listed TCP port", &both, tcp(443), true),
        ("last TCP port", &both, tcp(65_535), true),
        ("port beside", &both, tcp(442), false),
        ("UDP port over TCP", &both, tcp(53), false),
        ("listed UDP port", &both, udp(53), true),
        ("TCP port over UDP", &both, udp(443), false),
        ("no UDP ports at all", &tcp_only, udp(53), false),
        ("ICMP not named", &both, icmp, false),
        ("ICMP named", &whole, icmp, true),
        ("ICMPv6 named", &whole, icmpv6, true),
        ("ESP named", &whole, esp, true),
        ("ESP not named", &both, esp, false),
        ("all of TCP", &whole, tcp(1), true),
        ("UDP beside all of TCP", &whole, udp(443), false),
        (
            "protocol 255",
            &whole,
            Transport::Other { protocol: 255 },
            true,
        ),
        (
            "protocol 254",
            &whole,
            Transport::Other { protocol: 254 },
            false,
        ),
    ] {
        assert_eq!(in_scope(scope, V4, transport), expected, "{name}");
    }
}

#[test]
fn later_fragment_counts_as_any_port_of_its_protocol() {
    use scope_flag::{SERVICES, TCP_PORTS, UDP_PORTS};
    let tcp_only = scope(SERVICES | TCP_PORTS, &[]);
    let udp_only = scope(SERVICES | UDP_PORTS, &[]);
    let esp = scope(SERVICES, &[50]);
    for (name, scope, address, protocol, expected) in [
        ("TCP", &tcp_only, V4, 6, true),
        ("TCP beside UDP ports", &udp_only, V4, 6, false),
        ("UDP", &udp_only, V6, 17, true),
        ("UDP beside TCP ports", &tcp_only, V6, 17, false),
        ("ESP", &esp, V4, 50, true),
        ("ICMP beside ESP", &esp, V4, 1, false),
        (
            "hidden behind an IPv6 extension header",
            &tcp_only,
            V6,
            60,
            true,
        ),
        (
            "60 is no extension header over IPv4",
            &tcp_only,
            V4,
            60,
            false,
        ),
    ] {
        assert_eq!(
            in_scope(scope, address, later(protocol)),
            expected,
            "{name}"
        );
    }
}

#[test]
fn destinations_are_matched_in_their_family() {
    let mut scope = scope(scope_flag::DESTINATIONS, &[]);
    // Nothing counted: nothing is guarded, though the empty places would match any address.
    assert!(!in_scope(&scope, V4, tcp(443)));
    assert!(!in_scope(&scope, V6, tcp(443)));
    scope.destinations_v4[1] = PrefixV4 {
        network: 0xc000_0200,
        mask: 0xffff_ff00,
    };
    scope.destinations_v4[0] = PrefixV4 {
        network: 0xc633_6407,
        mask: u32::MAX,
    };
    scope.destination_count_v4 = 2;
    assert!(in_scope(&scope, V4, tcp(1)));
    assert!(in_scope(&scope, Address::v4([198, 51, 100, 7]), tcp(1)));
    assert!(!in_scope(&scope, Address::v4([198, 51, 100, 8]), tcp(1)));
    assert!(!in_scope(&scope, V6, tcp(1)), "IPv4 destinations alone");
    scope.destination_count_v4 = 1;
    assert!(
        !in_scope(&scope, V4, tcp(1)),
        "the second place is not counted"
    );

    scope.destinations_v6[0] = PrefixV6 {
        network: [0x2001_0db8_0000_0000, 0],
        mask: [u64::MAX, u64::MAX << 8],
    };
    scope.destination_count_v6 = 1;
    assert!(in_scope(&scope, V6, udp(9)));
    let beside = Address::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    assert!(!in_scope(&scope, beside, udp(9)));

    scope.flags |= scope_flag::SERVICES | scope_flag::TCP_PORTS;
    assert!(in_scope(&scope, V6, tcp(443)));
    assert!(!in_scope(&scope, V6, tcp(444)), "both must hold");
}

#[test]
fn missing_port_set_never_takes_the_guard_off() {
    let scope = scope(scope_flag::SERVICES | scope_flag::TCP_PORTS, &[]);
    let packet = Packet::new(V4, V4, 64, tcp(9));
    assert!(contains(&scope, |_| None, &packet));
}

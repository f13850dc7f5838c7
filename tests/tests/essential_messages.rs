//! Each message without which a host falls off its network, and what only looks like one, with
//! nothing allowed. The visitor is mute, so all counters are compared.

use integration_tests::{
    frames::{Extension, Fragment, Network, Transport, tcp_flags},
    guarded::{Guarded, HOST_V4, Visitor},
    places::{Family, address_in},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const DENY_ALL: &str = "mode = \"enforce\"\nattach = \"native\"\n\
                        [policy]\ndefault = \"deny\"\nunknown = \"deny\"\nprivate = \"deny\"\n";
const NEIGHBOUR: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

fn icmpv6(message_type: u8, code: u8) -> Transport {
    let mut bytes = vec![0; 24];
    bytes[..2].copy_from_slice(&[message_type, code]);
    Transport::Raw {
        protocol: 58,
        bytes,
    }
}

fn icmp(message_type: u8, code: u8) -> Transport {
    let mut bytes = vec![0; 36];
    bytes[..2].copy_from_slice(&[message_type, code]);
    Transport::Raw { protocol: 1, bytes }
}

fn udp(source_port: u16, destination_port: u16) -> Transport {
    Transport::Udp {
        source_port,
        destination_port,
        payload: vec![0; 64],
    }
}

#[test]
fn ipv6_messages_pass_and_their_near_misses_do_not() {
    let net = Guarded::start(Visitor::Mute, 1500, DENY_ALL);
    let sender = net.sender();
    let neighbour = NEIGHBOUR;
    let IpAddr::V6(stranger) = address_in("DE", Family::V6, 10, 0) else {
        unreachable!("asked for IPv6")
    };
    let nobody = Ipv6Addr::UNSPECIFIED;
    let cases = [
        ("RS", neighbour, 255, icmpv6(133, 0), "essential"),
        ("RA", neighbour, 255, icmpv6(134, 0), "essential"),
        ("NS", neighbour, 255, icmpv6(135, 0), "essential"),
        ("NA", neighbour, 255, icmpv6(136, 0), "essential"),
        ("redirect", neighbour, 255, icmpv6(137, 0), "essential"),
        ("NS of DAD", nobody, 255, icmpv6(135, 0), "essential"),
        ("NS, global", stranger, 255, icmpv6(135, 0), "essential"),
        (
            "NS routed",
            neighbour,
            254,
            icmpv6(135, 0),
            "private_denied",
        ),
        (
            "NA routed",
            neighbour,
            254,
            icmpv6(136, 0),
            "private_denied",
        ),
        ("RA routed", stranger, 254, icmpv6(134, 0), "country_denied"),
        (
            "NS code 1",
            neighbour,
            255,
            icmpv6(135, 1),
            "private_denied",
        ),
        ("type 138", neighbour, 255, icmpv6(138, 0), "private_denied"),
        ("MLD query", neighbour, 1, icmpv6(130, 0), "essential"),
        ("MLD report", neighbour, 1, icmpv6(131, 0), "essential"),
        ("MLD done", neighbour, 1, icmpv6(132, 0), "essential"),
        ("MLDv2 report", neighbour, 1, icmpv6(143, 0), "essential"),
        (
            "MLDv2, no address yet",
            nobody,
            1,
            icmpv6(143, 0),
            "essential",
        ),
        ("MLD routed", neighbour, 2, icmpv6(130, 0), "private_denied"),
        ("MLD, global", stranger, 1, icmpv6(130, 0), "country_denied"),
        ("DHCPv6 reply", neighbour, 64, udp(547, 546), "essential"),
        (
            "DHCPv6, global",
            stranger,
            64,
            udp(547, 546),
            "country_denied",
        ),
        (
            "DHCPv6 request",
            neighbour,
            64,
            udp(546, 547),
            "private_denied",
        ),
        ("DHCPv4 ports", neighbour, 64, udp(67, 68), "private_denied"),
        ("packet too big", stranger, 50, icmpv6(2, 0), "essential"),
        ("unreachable", stranger, 50, icmpv6(1, 0), "country_denied"),
        (
            "time exceeded",
            stranger,
            50,
            icmpv6(3, 0),
            "country_denied",
        ),
        ("echo", stranger, 50, icmpv6(128, 0), "country_denied"),
    ];
    for (name, source, limit, transport, reason) in cases {
        // MLD comes with a router alert in hop-by-hop options (RFC 2710 §3), all else without.
        for extension in [None, Some(Extension::options(0, 0))] {
            let with = if extension.is_some() {
                "with"
            } else {
                "without"
            };
            let mut frame = net.frame(source.into(), transport.clone());
            let Network::V6 {
                hop_limit,
                extensions,
                ..
            } = &mut frame.network
            else {
                unreachable!("the source is IPv6")
            };
            *hop_limit = limit;
            extensions.extend(extension);
            let what = format!("{name}, {with} hop-by-hop options");
            net.assert_counts(&what, &sender, &[frame.bytes()], &[(reason, 1)]);
        }
    }
}

#[test]
fn ipv4_messages_pass_and_their_near_misses_do_not() {
    let net = Guarded::start(Visitor::Mute, 1500, DENY_ALL);
    let sender = net.sender();
    let IpAddr::V4(stranger) = address_in("DE", Family::V4, 10, 0) else {
        unreachable!("asked for IPv4")
    };
    let router = Ipv4Addr::new(10, 0, 0, 1);
    let (all_systems, broadcast) = (Ipv4Addr::new(224, 0, 0, 1), Ipv4Addr::BROADCAST);
    let igmp = || Transport::Raw {
        protocol: 2,
        bytes: vec![0x11, 0, 0, 0, 0, 0, 0, 0],
    };
    let tcp = Transport::Tcp {
        source_port: 67,
        destination_port: 68,
        flags: tcp_flags::SYN,
        payload: Vec::new(),
    };
    let cases = [
        (
            "DHCP reply",
            stranger,
            HOST_V4,
            64,
            udp(67, 68),
            "essential",
        ),
        (
            "DHCP broadcast",
            router,
            broadcast,
            64,
            udp(67, 68),
            "essential",
        ),
        (
            "DHCP request",
            router,
            broadcast,
            64,
            udp(68, 67),
            "private_denied",
        ),
        (
            "DHCP ports, TCP",
            stranger,
            HOST_V4,
            64,
            tcp,
            "country_denied",
        ),
        (
            "DHCPv6 ports",
            stranger,
            HOST_V4,
            64,
            udp(547, 546),
            "country_denied",
        ),
        (
            "frag needed",
            stranger,
            HOST_V4,
            50,
            icmp(3, 4),
            "essential",
        ),
        (
            "frag needed, private",
            router,
            HOST_V4,
            50,
            icmp(3, 4),
            "essential",
        ),
        (
            "host unreachable",
            stranger,
            HOST_V4,
            50,
            icmp(3, 1),
            "country_denied",
        ),
        (
            "time exceeded",
            stranger,
            HOST_V4,
            50,
            icmp(11, 0),
            "country_denied",
        ),
        ("echo", stranger, HOST_V4, 50, icmp(8, 4), "country_denied"),
        (
            "redirect",
            router,
            HOST_V4,
            64,
            icmp(5, 1),
            "private_denied",
        ),
        ("IGMP query", router, all_systems, 1, igmp(), "essential"),
        (
            "IGMP routed",
            router,
            all_systems,
            2,
            igmp(),
            "private_denied",
        ),
        (
            "IGMP to one host",
            stranger,
            HOST_V4,
            1,
            igmp(),
            "country_denied",
        ),
    ];
    for (name, source, to, limit, transport, reason) in cases {
        let mut frame = net.frame(source.into(), transport);
        if let Network::V4 {
            destination,
            time_to_live,
            ..
        } = &mut frame.network
        {
            (*destination, *time_to_live) = (to, limit);
        }
        net.assert_counts(name, &sender, &[frame.bytes()], &[(reason, 1)]);
    }

    // A later fragment has no ports, whatever stands where they would be.
    let mut bytes = vec![0; 64];
    bytes[..4].copy_from_slice(&[0, 67, 0, 68]);
    let mut later = net.frame(
        stranger.into(),
        Transport::Raw {
            protocol: 17,
            bytes,
        },
    );
    if let Network::V4 { fragment, .. } = &mut later.network {
        *fragment = Some(Fragment {
            offset: 1480,
            more: false,
            identification: 7,
        });
    }
    let what = "later fragment that looks like DHCP";
    net.assert_counts(what, &sender, &[later.bytes()], &[("country_denied", 1)]);

    let (visitor, host) = net.macs();
    for (name, ethertype) in [("ARP", [0x08, 0x06]), ("LLDP", [0x88, 0xcc])] {
        let mut frame = [host.0, visitor.0].concat();
        frame.extend(ethertype);
        frame.extend([0; 46]);
        net.assert_counts(name, &sender, &[frame], &[("not_ip", 1)]);
    }
}

//! What must pass though nothing is allowed. A gate that forgets one of these works until the first
//! neighbour entry or lease runs out, ten minutes later; here they run out at once, again and again.

use integration_tests::{
    counts::Counts,
    daemon::Cerco,
    frames::{Frame, Network, Transport},
    guarded::{Guarded, HOST_V4, HOST_V6, LINK, Visitor, toml_prefixes},
    netns::NetNs,
    places::{Family, address_in, unknown_address},
    poll,
    raw::RawSocket,
    talk::{self, EchoService},
    veth::{End, Veth, fix_neighbour},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(10);
const PORT: u16 = 7;
const NEIGHBOUR: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Nothing is allowed but what `rules` says.
fn deny_all(rules: &str) -> String {
    format!(
        "mode = \"enforce\"\nattach = \"native\"\n\
         [policy]\ndefault = \"deny\"\nunknown = \"deny\"\nprivate = \"deny\"\n{rules}"
    )
}

/// Two kernels that must ask for each other's link-layer address. The visitor's own addresses are on
/// its loopback, so its neighbour discovery speaks from fe80::, which nothing allows.
struct Neighbours {
    cerco: Cerco,
    host: NetNs,
    visitor: NetNs,
    _veth: Veth,
    _echo: EchoService,
}

fn neighbours() -> Neighbours {
    let (host, visitor) = (NetNs::new().unwrap(), NetNs::new().unwrap());
    let veth = Veth::new(
        &End {
            netns: &visitor,
            name: LINK,
            addresses: &["fe80::1/64"],
        },
        &End {
            netns: &host,
            name: LINK,
            addresses: &[
                &format!("{HOST_V4}/32"),
                &format!("{HOST_V6}/128"),
                "fe80::2/64",
            ],
        },
        1500,
    )
    .unwrap();
    let [v4, v6] = Family::BOTH.map(unknown_address);
    visitor
        .ip_batch(&format!(
            "address add {v4}/32 dev lo\n\
             address add {v6}/128 dev lo nodad\n\
             route add {HOST_V4}/32 dev {LINK} src {v4}\n\
             route add {HOST_V6}/128 via fe80::2 dev {LINK}\n"
        ))
        .unwrap();
    host.ip_batch(&format!(
        "route add {v4}/32 dev {LINK}\n\
         route add {v6}/128 via fe80::1 dev {LINK}\n"
    ))
    .unwrap();
    let rules = format!("[rules]\nallow = [{}]\n", toml_prefixes(&[v4, v6]));
    let config = format!("interfaces = [\"{LINK}\"]\n{}", deny_all(&rules));
    let cerco = Cerco::start(&host, &config).unwrap();
    Neighbours {
        cerco,
        _echo: EchoService::start(&host, &[PORT]),
        host,
        visitor,
        _veth: veth,
    }
}

#[test]
fn neighbours_find_each_other_after_every_flush() {
    const ROUNDS: u64 = 40;
    let net = neighbours();
    let counts = || Counts::read(net.cerco.pins());
    let before = counts();
    for round in 0..ROUNDS {
        for family in Family::BOTH {
            net.host.ip("neighbour flush all").unwrap();
            net.visitor.ip("neighbour flush all").unwrap();
            let source = unknown_address(family);
            let target = SocketAddr::new(Guarded::host_in(family), PORT);
            let what = format!("round {round} from {source}");
            talk::udp_echo(&net.visitor, source, target, b"still there?")
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            if round % 8 == 0 {
                talk::tcp_echo(&net.visitor, source, target, b"still there?")
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
            }
        }
    }
    let delta = counts().since(&before);
    // In each round the visitor asked for the host; whether the host asked as well, or learned from
    // the question, is the kernel's choice.
    assert!(delta.packets("not_ip") >= ROUNDS, "ARP: {delta:?}");
    assert!(delta.packets("essential") >= ROUNDS, "ND: {delta:?}");
    assert!(delta.packets("rule_allowed") >= 2 * ROUNDS, "{delta:?}");
    let others: BTreeMap<_, _> = delta
        .by_reason()
        .into_iter()
        .filter(|(reason, _)| !["not_ip", "essential", "rule_allowed"].contains(reason))
        .collect();
    assert_eq!(others, BTreeMap::new(), "no frame met another fate");
}

#[test]
fn host_asks_for_its_neighbour_and_hears_the_answer() {
    const ROUNDS: u64 = 30;
    let net = neighbours();
    let counts = || Counts::read(net.cerco.pins());
    let before = counts();
    for round in 0..ROUNDS {
        for (address, what) in [
            (unknown_address(Family::V4), "ARP"),
            (NEIGHBOUR.into(), "ND"),
        ] {
            net.host.ip("neighbour flush all").unwrap();
            // Any datagram makes the kernel ask; nobody has to answer it.
            let own: IpAddr = if address.is_ipv4() {
                HOST_V4.into()
            } else {
                HOST_V6.into()
            };
            let target = match address {
                IpAddr::V4(_) => address,
                IpAddr::V6(_) => unknown_address(Family::V6),
            };
            talk::udp_send(&net.host, own, SocketAddr::new(target, 9), b"?").unwrap();
            poll::until("hear the neighbour", LIMIT, || {
                let entry = net.host.ip(&format!("neighbour show {address}")).unwrap();
                entry.contains("REACHABLE").then_some(())
            })
            .unwrap_or_else(|error| panic!("{what}, round {round}: {error}"));
        }
    }
    let delta = counts().since(&before);
    assert!(delta.packets("not_ip") >= ROUNDS, "ARP: {delta:?}");
    assert!(delta.packets("essential") >= ROUNDS, "ND: {delta:?}");
}

#[test]
fn duplicate_addresses_are_detected_through_the_gate() {
    let net = neighbours();
    let show = |netns: &NetNs, address: &str| {
        let all = netns.ip(&format!("-6 -oneline address show dev {LINK}"));
        let all = all.unwrap();
        let line = all.lines().find(|line| line.contains(address));
        line.unwrap_or_else(|| panic!("{address} is gone: {all}"))
            .to_owned()
    };
    let (on_visitor, on_host, free) = ("2001:db8:d::1", "2001:db8:d::2", "2001:db8:d::3");
    net.visitor
        .ip(&format!("address add {on_visitor}/128 dev {LINK} nodad"))
        .unwrap();
    net.host
        .ip(&format!("address add {on_host}/128 dev {LINK} nodad"))
        .unwrap();
    for netns in [&net.host, &net.visitor] {
        netns
            .sysctl(&format!("net/ipv6/conf/{LINK}/accept_dad"), "1")
            .unwrap();
    }
    for (netns, taken) in [(&net.host, on_visitor), (&net.visitor, on_host)] {
        netns
            .ip(&format!("address add {taken}/128 dev {LINK}"))
            .unwrap();
        poll::until("see the duplicate", LIMIT, || {
            show(netns, taken).contains("dadfailed").then_some(())
        })
        .unwrap_or_else(|error| panic!("{taken}: {error}: {}", show(netns, taken)));
    }
    net.host
        .ip(&format!("address add {free}/128 dev {LINK}"))
        .unwrap();
    poll::until("see a free address come up", LIMIT, || {
        (!show(&net.host, free).contains("tentative")).then_some(())
    })
    .unwrap();
    assert!(!show(&net.host, free).contains("dadfailed"));
}

/// The host sends to somebody whom it would not listen to, and a router on the way there, in a denied
/// country, says that the packet is too big. If the host does not hear it, its packets vanish.
#[test]
fn path_mtu_is_learned_from_a_router_in_a_denied_country() {
    const PATH_MTU: u16 = 1_300;
    let net = Guarded::start(Visitor::Mute, 1500, &deny_all(""));
    let (visitor, host) = net.macs();
    let sender = net.sender();
    for family in Family::BOTH {
        let far = unknown_address(family);
        let router = address_in("DE", family, 10, 0);
        fix_neighbour(&net.host, LINK, &far.to_string(), visitor).unwrap();
        let receiver = RawSocket::open(&net.visitor, LINK).unwrap();
        let own = Guarded::host_in(family);
        // Kept open: the kernel asks which socket sent what the message quotes.
        let socket = talk::udp_send(&net.host, own, SocketAddr::new(far, 9), &[0; 1_400]).unwrap();
        let sent = first_ip_packet_between(&receiver, own, far);
        let quote = &sent[..(sent.len()).min(548)];
        let transport = match family {
            Family::V4 => Transport::Icmpv4(
                etherparse::Icmpv4Type::DestinationUnreachable(
                    etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded {
                        next_hop_mtu: PATH_MTU,
                    },
                ),
                quote.to_vec(),
            ),
            Family::V6 => Transport::Icmpv6(
                etherparse::Icmpv6Type::PacketTooBig {
                    mtu: PATH_MTU.into(),
                },
                quote.to_vec(),
            ),
        };
        let message = Frame::new(visitor, host, Network::plain(router, own), transport);
        net.assert_counts("too big", &sender, &[message.bytes()], &[("essential", 1)]);
        poll::until("learn the path MTU", LIMIT, || {
            let route = net.host.ip(&format!("route get {far}")).unwrap();
            route.contains(&format!("mtu {PATH_MTU}")).then_some(())
        })
        .unwrap_or_else(|error| panic!("{family:?}: {error}"));
        drop(socket);
    }
}

/// The next packet from `source` to `destination`, without its Ethernet header.
fn first_ip_packet_between(receiver: &RawSocket, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let addresses = match (source, destination) {
        (IpAddr::V4(a), IpAddr::V4(b)) => [a.octets(), b.octets()].concat(),
        (IpAddr::V6(a), IpAddr::V6(b)) => [a.octets(), b.octets()].concat(),
        _ => unreachable!("both of one family"),
    };
    let offset = if source.is_ipv4() { 12 } else { 8 };
    let deadline = Instant::now() + LIMIT;
    while let Some(frame) = receiver.receive(deadline).unwrap() {
        if frame[14 + offset..].starts_with(&addresses) {
            return frame[14..].to_vec();
        }
    }
    panic!("nothing came from {source} to {destination}");
}

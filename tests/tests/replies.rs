//! A host that lets nobody in reaches the whole world all the same, and the world does not reach it.

use integration_tests::{
    counts::{Counts, assert_counted},
    daemon::Cerco,
    frames::{Fragment, Frame, Network, Transport, tcp_flags},
    guarded::{Guarded, HOST_V4, HOST_V6, LINK, Visitor},
    netns::NetNs,
    places::{Family, address_in},
    poll,
    talk::{self, Conversation, EchoService},
    veth::{End, Veth},
};
use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(10);
const DNS: u16 = 53;
const PORTS: [u16; 3] = [DNS, 123, 443];

/// As each router speaks to the host.
const ROUTERS: [[IpAddr; 2]; 2] = [
    [
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x80, 0, 0, 0, 0, 1)),
    ],
    [
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
    ],
];
/// In no country that the database knows.
const SERVER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 7)),
];

const DENY_ALL: &str = "attach = \"native\"\n[policy]\ndefault = \"deny\"\nunknown = \"deny\"\n\
                        private = \"deny\"\n";

fn enforce() -> String {
    format!("mode = \"enforce\"\n{DENY_ALL}")
}

fn config(mode: &str) -> String {
    format!("interfaces = [\"{LINK}\"]\nmode = \"{mode}\"\n{DENY_ALL}")
}

/// A host, two routers with a narrow link between them, and a server. No gate yet.
struct World {
    host: NetNs,
    server: NetNs,
    /// Live as long as their links.
    _routers: [NetNs; 2],
    _cables: [Veth; 3],
    _echo: EchoService,
}

/// Bytes of the network layer between the routers; the other links take 1500.
const NARROW_MTU: u32 = 1380;

fn world() -> World {
    let [host, server] = [(); 2].map(|()| NetNs::new().unwrap());
    let routers = [(); 2].map(|()| NetNs::new_router().unwrap());
    fn end<'a>(netns: &'a NetNs, name: &'a str, addresses: &'a [&'a str]) -> End<'a> {
        End {
            netns,
            name,
            addresses,
        }
    }
    let near = Veth::new(
        &end(&routers[0], LINK, &["203.0.113.1/24", "2001:db8:80::1/64"]),
        &end(
            &host,
            LINK,
            &[&format!("{HOST_V4}/24"), &format!("{HOST_V6}/64")],
        ),
        1500,
    )
    .unwrap();
    let narrow = Veth::new(
        &end(&routers[0], "narrow", &["192.0.2.1/24", "2001:db8::1/64"]),
        &end(&routers[1], "narrow", &["192.0.2.2/24", "2001:db8::2/64"]),
        NARROW_MTU,
    )
    .unwrap();
    let far = Veth::new(
        &end(&routers[1], LINK, &["198.51.100.1/24", "2001:db8:1::1/64"]),
        &end(&server, LINK, &["198.51.100.7/24", "2001:db8:1::7/64"]),
        1500,
    )
    .unwrap();
    for (netns, v4, v6) in [
        (&host, "203.0.113.1", "2001:db8:80::1"),
        (&routers[0], "192.0.2.2", "2001:db8::2"),
        (&routers[1], "192.0.2.1", "2001:db8::1"),
        (&server, "198.51.100.1", "2001:db8:1::1"),
    ] {
        netns.ip(&format!("route add default via {v4}")).unwrap();
        netns.ip(&format!("-6 route add default via {v6}")).unwrap();
    }
    let echo = EchoService::start_at(&server, &SERVER, &PORTS);
    World {
        host,
        server,
        _routers: routers,
        _cables: [near, narrow, far],
        _echo: echo,
    }
}

/// The host's and the server's address.
fn pairs() -> [(IpAddr, IpAddr); 2] {
    let hosts = Family::BOTH.map(Guarded::host_in);
    [(hosts[0], SERVER[0]), (hosts[1], SERVER[1])]
}

fn counts(cerco: &Cerco) -> Counts {
    Counts::read(cerco.pins())
}

/// Waits until nothing but these was counted since `before`, the kernels' chatter aside.
#[track_caller]
fn assert_only(cerco: &Cerco, what: &str, before: &Counts, reasons: &[&str]) {
    poll::until("count what came in", LIMIT, || {
        let delta = counts(cerco).since(before).without_chatter();
        let seen: Vec<&str> = delta.by_reason().into_keys().collect();
        (seen == reasons).then_some(())
    })
    .unwrap_or_else(|error| panic!("{what}: {error}: {:?}", counts(cerco).since(before)));
}

#[test]
fn host_that_lets_nobody_in_reaches_everybody() {
    let net = world();
    let cerco = Cerco::start(&net.host, &config("enforce")).unwrap();
    for (ours, theirs) in pairs() {
        let before = counts(&cerco);
        for port in PORTS {
            let target = SocketAddr::new(theirs, port);
            talk::udp_echo(&net.host, ours, target, b"who is example.org?").unwrap();
            talk::tcp_echo(&net.host, ours, target, b"GET / HTTP/1.1").unwrap();
        }
        talk::ping(&net.host, ours, theirs).unwrap();
        assert_only(&cerco, "the host's own connections", &before, &["reply"]);
    }
}

/// A container reaches the world through the host, which gives it its own address.
#[test]
fn container_behind_the_host_is_answered_too() {
    const CONTAINER: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::new(10, 66, 0, 2)),
        IpAddr::V6(Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 2)),
    ];
    let net = world();
    for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        net.host.sysctl(&format!("net/{family}"), "1").unwrap();
    }
    // A host that forwards forgets the route that it had without forwarding.
    net.host
        .ip("-6 route replace default via 2001:db8:80::1")
        .unwrap();
    let container = NetNs::new().unwrap();
    let _cable = Veth::new(
        &End {
            netns: &net.host,
            name: "docker0",
            addresses: &["10.66.0.1/24", "fd66::1/64"],
        },
        &End {
            netns: &container,
            name: LINK,
            addresses: &["10.66.0.2/24", "fd66::2/64"],
        },
        1500,
    )
    .unwrap();
    container.ip("route add default via 10.66.0.1").unwrap();
    container.ip("-6 route add default via fd66::1").unwrap();
    for family in ["ip", "ip6"] {
        for rule in [
            format!("add table {family} nat"),
            format!("add chain {family} nat out {{ type nat hook postrouting priority 100; }}"),
            format!("add rule {family} nat out oifname {LINK} masquerade"),
        ] {
            let status = net.host.command("nft").arg(&rule).status().unwrap();
            assert!(status.success(), "nft {rule}");
        }
    }
    let cerco = Cerco::start(&net.host, &config("enforce")).unwrap();
    for (ours, theirs) in CONTAINER.into_iter().zip(SERVER) {
        let before = counts(&cerco);
        for port in PORTS {
            let target = SocketAddr::new(theirs, port);
            talk::udp_echo(&container, ours, target, b"who is example.org?").unwrap();
            talk::tcp_echo(&container, ours, target, b"GET / HTTP/1.1").unwrap();
        }
        talk::ping(&container, ours, theirs).unwrap();
        assert_only(&cerco, "a container's connections", &before, &["reply"]);
    }
}

#[test]
fn answer_in_fragments_is_let_in_whole() {
    let net = world();
    let cerco = Cerco::start(&net.host, &config("enforce")).unwrap();
    for (ours, theirs) in pairs() {
        let before = counts(&cerco);
        let question = vec![0x55; 4000];
        // The first ones get lost until both ends know of the narrow link, as with every resolver: each is waited for.
        poll::until("hear an answer in fragments", 6 * LIMIT, || {
            talk::udp_echo(&net.host, ours, SocketAddr::new(theirs, DNS), &question).ok()
        })
        .unwrap();
        let delta = counts(&cerco).since(&before).without_chatter();
        assert!(delta.packets("reply") >= 3, "{delta:?}");
        assert_only(&cerco, "an answer in fragments", &before, &["reply"]);
    }
}

#[test]
fn nobody_reaches_the_host() {
    let net = world();
    let cerco = Cerco::start(&net.host, &config("enforce")).unwrap();
    let hosts = Family::BOTH.map(Guarded::host_in);
    let _echo = EchoService::start_at(&net.host, &hosts, &PORTS);
    for (ours, theirs) in pairs() {
        let before = counts(&cerco);
        let target = SocketAddr::new(ours, 443);
        let knock = talk::tcp_knock(&net.server, theirs, target).unwrap();
        let question = talk::udp_send(&net.server, theirs, target, b"anybody there?").unwrap();
        let ping = talk::ping_send(&net.server, theirs, ours).unwrap();
        poll::until("count three packets", LIMIT, || {
            (counts(&cerco).since(&before).packets("unknown_denied") >= 3).then_some(())
        })
        .unwrap();
        assert_only(&cerco, "a stranger", &before, &["unknown_denied"]);
        assert!(!talk::is_connected(&knock));
        drop((question, ping));
    }
}

/// A download, and an upload on which the host has to learn of the narrow link.
#[test]
fn large_transfers_find_the_path_mtu() {
    const DOWNLOAD: u64 = 100_000_000;
    const UPLOAD: usize = 1_000_000;
    let net = world();
    let cerco = Cerco::start(&net.host, &config("enforce")).unwrap();
    for (ours, theirs) in pairs() {
        let before = counts(&cerco);
        let target = SocketAddr::new(theirs, 80);
        let listener = net
            .server
            .run(|| TcpListener::bind(target))
            .unwrap()
            .unwrap();
        let serve = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut upload = vec![0; UPLOAD];
            stream.read_exact(&mut upload).unwrap();
            let chunk = vec![0x42; 1_000_000];
            for _ in 0..DOWNLOAD / chunk.len() as u64 {
                stream.write_all(&chunk).unwrap();
            }
        });
        let mut stream = net
            .host
            .run(|| TcpStream::connect(target))
            .unwrap()
            .unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(&vec![0x41; UPLOAD]).unwrap();
        let mut got = 0;
        let mut buffer = vec![0; 1 << 20];
        while let len @ 1.. = talk::uninterrupted(|| stream.read(&mut buffer)).unwrap() {
            assert!(buffer[..len].iter().all(|byte| *byte == 0x42));
            got += len as u64;
        }
        serve.join().unwrap();
        assert_eq!(got, DOWNLOAD, "from {theirs} to {ours}");
        let delta = counts(&cerco).since(&before);
        assert!(delta.packets("essential") > 0, "no router spoke: {delta:?}");
        assert_only(&cerco, "the transfers", &before, &["reply"]);
    }
}

#[test]
fn traceroute_hears_the_routers_on_the_way() {
    let net = world();
    let cerco = Cerco::start(&net.host, &config("enforce")).unwrap();
    for (index, (ours, theirs)) in pairs().into_iter().enumerate() {
        let before = counts(&cerco);
        // ICMP: time exceeded, then port unreachable; the same of ICMPv6.
        let types = if ours.is_ipv4() { (11, 3) } else { (3, 1) };
        for (hops, speaker, message_type) in [
            (1, ROUTERS[0][index], types.0),
            (2, ROUTERS[1][index], types.0),
            (3, theirs, types.1),
        ] {
            let heard = trace(&net.host, ours, theirs, hops);
            assert_eq!(heard, (speaker, message_type), "{hops} hops to {theirs}");
        }
        assert_only(&cerco, "traceroute", &before, &["reply"]);
    }
}

/// Sends a datagram that lives for `hops`, and returns who says that it died, with the ICMP type.
fn trace(host: &NetNs, ours: IpAddr, theirs: IpAddr, hops: u32) -> (IpAddr, u8) {
    let socket = host.run(|| UdpSocket::bind((ours, 0))).unwrap().unwrap();
    let option = |level, name, value: libc::c_int| {
        // SAFETY: an integer as the option wants it, with its size.
        let status = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    };
    if ours.is_ipv4() {
        socket.set_ttl(hops).unwrap();
        option(libc::SOL_IP, libc::IP_RECVERR, 1);
    } else {
        option(libc::SOL_IPV6, libc::IPV6_UNICAST_HOPS, hops as libc::c_int);
        option(libc::SOL_IPV6, libc::IPV6_RECVERR, 1);
    }
    socket.send_to(b"how far?", (theirs, 33_434)).unwrap();
    poll::until("hear of a lost datagram", LIMIT, || next_error(&socket))
        .unwrap_or_else(|error| panic!("{hops} hops to {theirs}: {error}"))
}

/// The oldest ICMP error of the socket: who sent it, and its type.
fn next_error(socket: &UdpSocket) -> Option<(IpAddr, u8)> {
    // `struct sock_extended_err`: errno, origin, type, code, pad, info, data; the offender behind it.
    const TYPE: usize = 5;
    const OFFENDER: usize = 16;
    let mut control = [0u64; 64];
    let mut payload = [0u8; 512];
    let mut part = libc::iovec {
        iov_base: payload.as_mut_ptr().cast(),
        iov_len: payload.len(),
    };
    // SAFETY: an all-zero msghdr is valid: null pointers and lengths of 0.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the buffers live until the call returns.
    if unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) } < 0 {
        return None;
    }
    // SAFETY: the kernel filled the control buffer.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    assert!(!header.is_null(), "the kernel said nothing about the error");
    // SAFETY: a header that the kernel wrote, followed by its data.
    let said: &[u8] = unsafe {
        let len = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
        std::slice::from_raw_parts(libc::CMSG_DATA(header), len)
    };
    let offender = &said[OFFENDER..];
    let family = i32::from(u16::from_ne_bytes([offender[0], offender[1]]));
    let address = match family {
        libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(&offender[4..8]).unwrap()),
        _ => IpAddr::from(<[u8; 16]>::try_from(&offender[8..24]).unwrap()),
    };
    Some((address, said[TYPE]))
}

#[test]
fn what_only_looks_like_an_answer_is_denied() {
    let net = Guarded::start(Visitor::Mute, 1500, &enforce());
    let sender = net.sender();
    for (family, (ours, _)) in Family::BOTH.into_iter().zip(pairs()) {
        let [peer, other] = [0, 1].map(|index| address_in("US", family, 2, index));
        for address in [peer, other] {
            net.host
                .ip(&format!(
                    "neighbour replace {address} lladdr {} dev {LINK} nud permanent",
                    net.veth.a_mac
                ))
                .unwrap();
        }
        // The host writes to the peer from this port, and to nobody else.
        let socket = net
            .host
            .run(|| UdpSocket::bind((ours, 0)))
            .unwrap()
            .unwrap();
        socket.send_to(b"who is example.org?", (peer, DNS)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let tcp = |source_port, destination_port, flags| Transport::Tcp {
            source_port,
            destination_port,
            flags,
            payload: Vec::new(),
        };
        let udp = |source_port, destination_port| Transport::Udp {
            source_port,
            destination_port,
            payload: b"an answer".to_vec(),
        };
        let from = |source: IpAddr, transport| net.frame(source, transport).bytes();
        use tcp_flags::{ACK, RST, SYN};
        for (what, frame, reason) in [
            ("the answer", from(peer, udp(DNS, port)), "reply"),
            (
                "a datagram from another peer",
                from(other, udp(DNS, port)),
                "country_denied",
            ),
            (
                "a datagram from another port",
                from(peer, udp(DNS + 1, port)),
                "country_denied",
            ),
            (
                "a datagram to another port",
                from(peer, udp(DNS, port ^ 1)),
                "country_denied",
            ),
            ("a SYN", from(peer, tcp(DNS, port, SYN)), "country_denied"),
            (
                "a SYN-ACK out of the blue",
                from(peer, tcp(DNS, port, SYN | ACK)),
                "country_denied",
            ),
            (
                "an ACK out of the blue",
                from(peer, tcp(DNS, port, ACK)),
                "country_denied",
            ),
            (
                "an RST out of the blue",
                from(peer, tcp(DNS, port, RST)),
                "country_denied",
            ),
            (
                "an error about the datagram",
                unreachable(&net, other, (ours, port), (peer, DNS)),
                "reply",
            ),
            (
                "an error about a datagram to another port",
                unreachable(&net, other, (ours, port), (peer, DNS + 1)),
                "country_denied",
            ),
            (
                "an error about a datagram to another peer",
                unreachable(&net, peer, (ours, port), (other, DNS)),
                "country_denied",
            ),
            (
                "an error about somebody else's datagram",
                unreachable(&net, other, (other, port), (peer, DNS)),
                "country_denied",
            ),
            (
                "a later fragment from the peer",
                later_fragment(&net, peer, ours, 17),
                "reply",
            ),
            (
                "a later fragment of another protocol",
                later_fragment(&net, peer, ours, 6),
                "country_denied",
            ),
            (
                "a later fragment from elsewhere",
                later_fragment(&net, other, ours, 17),
                "country_denied",
            ),
        ] {
            let what = format!("{family:?}, {what}");
            net.assert_counts(&what, &sender, &[frame], &[(reason, 1)]);
        }
    }
}

/// "Port unreachable" from `router` about a datagram between two places.
fn unreachable(net: &Guarded, router: IpAddr, from: (IpAddr, u16), to: (IpAddr, u16)) -> Vec<u8> {
    use etherparse::{Icmpv4Type, Icmpv6Type, icmpv4, icmpv6};
    let (visitor, host) = net.macs();
    let ends = ((visitor, from.into()), (host, to.into()));
    // The IP packet alone, and of it the header and eight bytes.
    let quoted = Frame::udp(ends.0, ends.1, b"who is example.org?").bytes()[14..].to_vec();
    let header_len = if router.is_ipv4() { 20 } else { 40 };
    let quoted = quoted[..header_len + 8].to_vec();
    net.frame(
        router,
        match router {
            IpAddr::V4(_) => Transport::Icmpv4(
                Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port),
                quoted,
            ),
            IpAddr::V6(_) => Transport::Icmpv6(
                Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port),
                quoted,
            ),
        },
    )
    .bytes()
}

fn later_fragment(net: &Guarded, source: IpAddr, ours: IpAddr, protocol: u8) -> Vec<u8> {
    let fragment = Fragment {
        offset: 1480,
        more: false,
        identification: 7,
    };
    let mut network = Network::plain(source, ours);
    match &mut network {
        Network::V4 { fragment: it, .. } => *it = Some(fragment),
        Network::V6 { extensions, .. } => {
            extensions.push(integration_tests::frames::Extension::fragment(fragment));
        }
    }
    let (visitor, host) = net.macs();
    let transport = Transport::Raw {
        protocol,
        bytes: vec![0; 64],
    };
    Frame::new(visitor, host, network, transport).bytes()
}

#[test]
fn gate_that_is_put_up_cuts_no_connection_of_the_host() {
    let net = world();
    for (ours, theirs) in pairs() {
        let target = SocketAddr::new(theirs, 443);
        let mut tcp = Conversation::open(&net.host, ours, target).unwrap();
        tcp.say(b"before the gate").unwrap();
        let mut udp = talk::udp_send(&net.host, ours, target, b"one").unwrap();
        talk::hear(&mut udp, b"one").unwrap();

        let cerco = Cerco::start(&net.host, &config("enforce")).unwrap();
        let before = counts(&cerco);
        tcp.say(b"behind the gate").unwrap();
        udp.send(b"two").unwrap();
        talk::hear(&mut udp, b"two").unwrap();
        assert_only(&cerco, "open connections", &before, &["reply"]);
    }
}

/// As two WireGuards do it: sockets without a peer on one port at both ends, which write all the time.
#[test]
fn datagrams_both_ways_go_on_after_a_gate_is_put_up() {
    const PORT: u16 = 51_820;
    let net = world();
    let (ours, theirs) = pairs()[0];
    let bind = |netns: &NetNs, address: IpAddr| {
        let socket = netns.run(|| UdpSocket::bind((address, PORT)));
        socket.unwrap().unwrap()
    };
    let (host, server) = (bind(&net.host, ours), bind(&net.server, theirs));
    let stop = AtomicBool::new(false);
    let write_on = |from: &UdpSocket, to: IpAddr| {
        while !stop.load(Ordering::Relaxed) {
            let _ = from.send_to(b"on and on", (to, PORT));
            thread::sleep(Duration::from_millis(1));
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| write_on(&host, theirs));
        scope.spawn(|| write_on(&server, ours));
        let start = || {
            host.set_read_timeout(Some(LIMIT)).unwrap();
            talk::uninterrupted(|| host.recv_from(&mut [0; 64])).unwrap();
            let short = format!("{}[replies]\nudp_stream_seconds = 1\n", config("enforce"));
            let cerco = Cerco::start(&net.host, &short).unwrap();
            poll::until("see an answer let in", LIMIT, || {
                counts(&cerco)
                    .by_reason()
                    .contains_key("reply")
                    .then_some(())
            })
            .unwrap_or_else(|error| panic!("{error}: {:?}", counts(&cerco)));
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(start));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn connections_outlive_the_daemon_and_its_restart() {
    let net = world();
    let mut cerco = Cerco::start(&net.host, &config("enforce")).unwrap();
    for (ours, theirs) in pairs() {
        let target = SocketAddr::new(theirs, 443);
        let mut first = Conversation::open(&net.host, ours, target).unwrap();
        first.say(b"with the daemon").unwrap();
        cerco.kill().unwrap();
        first.say(b"without the daemon").unwrap();
        let mut second = Conversation::open(&net.host, ours, target).unwrap();
        second.say(b"opened without the daemon").unwrap();
        cerco.run().unwrap();
        let before = counts(&cerco);
        first.say(b"with another daemon").unwrap();
        second.say(b"with another daemon").unwrap();
        assert_only(&cerco, "both connections", &before, &["reply"]);
    }
}

#[test]
fn answer_of_an_observed_host_opens_nothing() {
    let net = world();
    let hosts = Family::BOTH.map(Guarded::host_in);
    let _echo = EchoService::start_at(&net.host, &hosts, &PORTS);
    let cerco = Cerco::start(&net.host, &config("observe")).unwrap();
    for (ours, theirs) in pairs() {
        cerco.cli(&["observe"]).unwrap();
        let before = counts(&cerco);
        let target = SocketAddr::new(ours, DNS);
        let mut udp = talk::udp_send(&net.server, theirs, target, b"let in").unwrap();
        talk::hear(&mut udp, b"let in").unwrap();
        let mut tcp = Conversation::open(&net.server, theirs, target).unwrap();
        tcp.say(b"let in").unwrap();
        assert_only(&cerco, "a stranger", &before, &["would unknown_denied"]);

        cerco.cli(&["enforce", "--yes"]).unwrap();
        let before = counts(&cerco);
        udp.send(b"not any more").unwrap();
        assert_counted(
            "a datagram of the same tuple",
            || counts(&cerco).since(&before).without_chatter(),
            &[("unknown_denied", 1)],
        );
    }
}

#[test]
fn times_of_the_config_end_a_flow_and_a_reload_changes_them() {
    let times = |seconds: u32| {
        let replies = format!("udp_seconds = {seconds}\nudp_stream_seconds = {seconds}\n");
        format!("{}[replies]\n{replies}", enforce())
    };
    let net = Guarded::start(Visitor::Mute, 1500, &times(5));
    let sender = net.sender();
    let peer = address_in("US", Family::V4, 1, 0);
    net.host
        .ip(&format!(
            "neighbour replace {peer} lladdr {} dev {LINK} nud permanent",
            net.veth.a_mac
        ))
        .unwrap();
    let socket = net
        .host
        .run(|| UdpSocket::bind((HOST_V4, 0)))
        .unwrap()
        .unwrap();
    let port = socket.local_addr().unwrap().port();
    let answer = Transport::Udp {
        source_port: DNS,
        destination_port: port,
        payload: b"an answer".to_vec(),
    };
    let answer = [net.frame(peer, answer).bytes()];
    let ask_and_wait = || {
        socket.send_to(b"who is example.org?", (peer, DNS)).unwrap();
        net.assert_counts("at once", &sender, &answer, &[("reply", 1)]);
        let end = Instant::now() + Duration::from_millis(5_500);
        poll::until("let the seconds pass", LIMIT, || {
            (Instant::now() >= end).then_some(())
        })
        .unwrap();
    };
    ask_and_wait();
    net.assert_counts("after its time", &sender, &answer, &[("country_denied", 1)]);
    net.reload(&times(100));
    ask_and_wait();
    net.assert_counts("within its time", &sender, &answer, &[("reply", 1)]);
}

/// As on kernels before 6.6.
#[test]
fn filters_of_the_clsact_qdisc_do_the_same() {
    let net = world();
    let clsact = format!("{}[replies]\nattach = \"clsact\"\n", config("enforce"));
    let filters = |direction: &str| {
        let output = net
            .host
            .command("tc")
            .args(["filter", "show", "dev", LINK, direction])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (
            text.matches(" name cerco_in ").count(),
            text.matches(" name cerco_out ").count(),
        )
    };
    let mut cerco = Cerco::start(&net.host, &clsact).unwrap();
    for restarted in [false, true] {
        assert_eq!(
            (filters("ingress"), filters("egress")),
            ((1, 0), (0, 1)),
            "{restarted}"
        );
        for (ours, theirs) in pairs() {
            let before = counts(&cerco);
            let target = SocketAddr::new(theirs, 443);
            let mut conversation = Conversation::open(&net.host, ours, target).unwrap();
            conversation.say(b"with the daemon").unwrap();
            talk::udp_echo(&net.host, ours, target, b"who is example.org?").unwrap();
            talk::ping(&net.host, ours, theirs).unwrap();
            assert_only(&cerco, "through filters", &before, &["reply"]);
            cerco.kill().unwrap();
            conversation.say(b"without the daemon").unwrap();
            cerco.run().unwrap();
            conversation.say(b"with another daemon").unwrap();
        }
    }
    assert_eq!(
        cerco.json(&["status"])["replies"]["faults"],
        serde_json::json!([])
    );
    // Back to links, and no program hangs twice.
    cerco.write_config(&config("enforce")).unwrap();
    cerco.kill().unwrap();
    cerco.run().unwrap();
    assert_eq!((filters("ingress"), filters("egress")), ((0, 0), (0, 0)));
    cerco.write_config(&clsact).unwrap();
    cerco.kill().unwrap();
    cerco.run().unwrap();
    assert_eq!((filters("ingress"), filters("egress")), ((1, 0), (0, 1)));
    cerco.cli(&["detach", "--force"]).unwrap();
    assert_eq!((filters("ingress"), filters("egress")), ((0, 0), (0, 0)));
}

#[test]
fn detached_gate_leaves_no_program_behind() {
    let net = Guarded::start(Visitor::Mute, 1500, &enforce());
    let programs = |direction| {
        net.host
            .run(move || aya::programs::SchedClassifier::query_tcx(LINK, direction))
            .unwrap()
            .unwrap()
            .1
            .iter()
            .map(|program| program.name_as_str().unwrap_or("").to_owned())
            .collect::<Vec<_>>()
    };
    use aya::programs::TcAttachType::{Egress, Ingress};
    assert_eq!(programs(Ingress), ["cerco_in"]);
    assert_eq!(programs(Egress), ["cerco_out"]);
    net.cerco.cli(&["detach", "--force"]).unwrap();
    assert_eq!(programs(Ingress), [""; 0]);
    assert_eq!(programs(Egress), [""; 0]);
}

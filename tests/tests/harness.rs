//! The harness itself: a test network that leaks, loses frames or counts wrongly would make every
//! other test a liar.

use integration_tests::{
    frames::{Extension, Fragment, Frame, Network, Transport, VlanTag},
    netns::NetNs,
    poll,
    process::Process,
    raw::{Backpressure, RawSocket},
    site::Site,
    tap::{Count, Tap},
    veth::{End, Mac, Veth, fix_neighbour, set_gro},
    visits::listen,
};
use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(5);

/// Two namespaces and a cable.
struct Pair {
    veth: Veth,
    left: NetNs,
    right: NetNs,
}

fn pair() -> Pair {
    pair_with_mtu(1500)
}

fn pair_with_mtu(mtu: u32) -> Pair {
    let (left, right) = (NetNs::new().unwrap(), NetNs::new().unwrap());
    let veth = Veth::new(
        &End {
            netns: &left,
            name: "eth0",
            addresses: &["192.0.2.1/24", "2001:db8::1/64"],
        },
        &End {
            netns: &right,
            name: "eth0",
            addresses: &["192.0.2.2/24", "2001:db8::2/64"],
        },
        mtu,
    )
    .unwrap();
    Pair { veth, left, right }
}

fn links(netns: &NetNs) -> Vec<String> {
    netns
        .ip("-brief link")
        .unwrap()
        .lines()
        .filter_map(|line| line.split([' ', '@']).next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn namespace_has_loopback_and_nothing_of_the_machine() {
    let netns = NetNs::new().unwrap();
    assert_eq!(links(&netns), ["lo"]);
    let routes = netns.ip("route show table all").unwrap();
    assert!(!routes.contains("eth0"), "{routes}");
    // A port taken in one namespace is free in the other.
    let taken = netns.run(|| TcpListener::bind("127.0.0.1:80")).unwrap();
    let other = NetNs::new().unwrap();
    let also_taken = other.run(|| TcpListener::bind("127.0.0.1:80")).unwrap();
    assert!(taken.is_ok() && also_taken.is_ok());
    let again = netns.run(|| TcpListener::bind("127.0.0.1:80")).unwrap();
    assert_eq!(
        again.unwrap_err().kind(),
        std::io::ErrorKind::AddrInUse,
        "the first listener is in this namespace"
    );
}

#[test]
fn both_families_cross_the_cable() {
    let net = pair();
    for address in ["192.0.2.2:7", "[2001:db8::2]:7"] {
        let address: SocketAddr = address.parse().unwrap();
        let listener = net
            .right
            .run(|| TcpListener::bind(address))
            .unwrap()
            .unwrap();
        let echo = thread::spawn(move || {
            let (mut stream, from) = listener.accept().unwrap();
            let mut text = [0; 5];
            stream.read_exact(&mut text).unwrap();
            stream.write_all(&text).unwrap();
            from.ip()
        });
        let mut stream = net
            .left
            .run(|| TcpStream::connect_timeout(&address, LIMIT))
            .unwrap()
            .unwrap();
        stream.write_all(b"hello").unwrap();
        let mut text = [0; 5];
        stream.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"hello");
        assert_eq!(echo.join().unwrap(), stream.local_addr().unwrap().ip());
    }
}

#[test]
fn panic_takes_links_and_children_away() {
    let survivor = NetNs::new().unwrap();
    let mut child_pid = 0;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let peer = NetNs::new().unwrap();
        let _veth = Veth::new(
            &End {
                netns: &peer,
                name: "eth0",
                addresses: &[],
            },
            &End {
                netns: &survivor,
                name: "doomed0",
                addresses: &[],
            },
            1500,
        )
        .unwrap();
        assert_eq!(links(&survivor), ["lo", "doomed0"]);
        let child = Process::spawn(peer.command("sleep").arg("1000")).unwrap();
        child_pid = child.pid();
        panic!("as a failing test does");
    }));
    assert_eq!(
        result.unwrap_err().downcast_ref::<&str>(),
        Some(&"as a failing test does")
    );
    poll::until("see the link disappear", LIMIT, || {
        (links(&survivor) == ["lo"]).then_some(())
    })
    .unwrap();
    assert!(!Path::new(&format!("/proc/{child_pid}")).exists());
}

#[test]
fn child_that_ignores_sigterm_is_killed_and_its_output_kept() {
    let mut child = Process::spawn(Command::new("sh").args([
        "-c",
        "trap '' TERM; echo ready; while :; do sleep 0.1; done",
    ]))
    .unwrap();
    poll::until("see the trap set", LIMIT, || {
        (child.output() == "ready\n").then_some(())
    })
    .unwrap();
    let status = child.stop().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGKILL)
    );
}

/// Does `body` while other threads start processes all the time, as other tests do.
fn while_processes_start(body: impl FnOnce()) {
    let netns = NetNs::new().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert!(netns.command("true").status().unwrap().success());
                }
            });
        }
        let outcome = catch_unwind(AssertUnwindSafe(body));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    });
}

#[test]
fn port_of_a_listener_is_free_when_it_was_dropped_though_processes_start() {
    let netns = NetNs::new().unwrap();
    while_processes_start(|| {
        for _ in 0..300 {
            drop(listen(&netns, ([127, 0, 0, 1], 22).into()));
        }
    });
}

#[test]
fn copy_of_the_binary_can_be_run_though_processes_start() {
    let site = Site::new().unwrap();
    while_processes_start(|| {
        for _ in 0..20 {
            let binary = site.binary_for_all().unwrap();
            let version = Command::new(&binary).arg("--version").output();
            assert!(version.unwrap().status.success());
            fs::remove_file(binary).unwrap();
        }
    });
}

#[test]
fn errors_carry_what_the_command_said() {
    let error = NetNs::new()
        .unwrap()
        .ip("link set nosuch up")
        .unwrap_err()
        .to_string();
    assert!(error.contains("configure the network"), "{error}");
    assert!(error.contains("ip link set nosuch up"), "{error}");
    assert!(error.contains("Cannot find device"), "{error}");
}

#[test]
fn raw_frames_arrive_as_they_were_built() {
    let net = pair();
    let macs = (net.veth.a_mac, net.veth.b_mac);
    let source: SocketAddr = "198.51.100.7:4242".parse().unwrap();
    let target: SocketAddr = "192.0.2.2:9".parse().unwrap();
    let source6: SocketAddr = "[2001:db8:7::7]:4242".parse().unwrap();
    let target6: SocketAddr = "[2001:db8::2]:9".parse().unwrap();
    let mut with_options = Frame::tcp_syn((macs.0, source), (macs.1, target));
    if let Network::V4 { options, .. } = &mut with_options.network {
        *options = vec![1; 8];
    }
    let mut with_extensions = Frame::udp((macs.0, source6), (macs.1, target6), b"payload");
    if let Network::V6 { extensions, .. } = &mut with_extensions.network {
        *extensions = vec![
            Extension::options(0, 0),
            Extension::options(60, 2),
            Extension::authentication(),
        ];
    }
    let cases = [
        (
            "tcp syn",
            Frame::tcp_syn((macs.0, source), (macs.1, target)),
        ),
        ("udp", Frame::udp((macs.0, source), (macs.1, target), b"x")),
        (
            "tcp syn over ipv6",
            Frame::tcp_syn((macs.0, source6), (macs.1, target6)),
        ),
        ("ipv4 options", with_options),
        ("ipv6 extension headers", with_extensions),
    ];
    let sender = RawSocket::open_sender(&net.left, "eth0").unwrap();
    let receiver = RawSocket::open(&net.right, "eth0").unwrap();
    for (name, frame) in cases {
        let bytes = frame.bytes();
        etherparse::PacketHeaders::from_ethernet_slice(&bytes)
            .unwrap_or_else(|error| panic!("{name}: etherparse refuses it: {error}"));
        sender.send(&bytes).unwrap();
        receive_equal(&receiver, &bytes, name);
    }
}

/// Other frames (neighbour discovery) may come in between.
fn receive_equal(receiver: &RawSocket, expected: &[u8], name: &str) {
    let deadline = Instant::now() + LIMIT;
    while let Some(frame) = receiver.receive(deadline).unwrap() {
        if frame == expected {
            return;
        }
    }
    panic!("{name}: the frame did not arrive");
}

#[test]
fn tags_and_fragments_stand_where_the_standards_put_them() {
    let macs = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    let fragment = Fragment {
        offset: 1480,
        more: true,
        identification: 0x1234,
    };
    let mut frame = Frame::new(
        macs.0,
        macs.1,
        Network::V4 {
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            time_to_live: 64,
            options: Vec::new(),
            fragment: Some(fragment),
        },
        Transport::Raw {
            protocol: 17,
            bytes: vec![0xaa; 8],
        },
    );
    frame.vlan_tags = vec![
        VlanTag {
            tpid: 0x88a8,
            control: 5,
        },
        VlanTag {
            tpid: 0x8100,
            control: 0x6007,
        },
    ];
    let bytes = frame.bytes();
    assert_eq!(bytes[..6], [2, 0, 0, 0, 0, 2]);
    assert_eq!(
        bytes[12..22],
        [0x88, 0xa8, 0, 5, 0x81, 0, 0x60, 7, 0x08, 0x00]
    );
    // Total length 28, identification 0x1234, more fragments, offset 1480 / 8 = 185.
    assert_eq!(bytes[24..30], [0, 28, 0x12, 0x34, 0x20, 185]);
    assert_eq!(bytes.len(), 14 + 2 * 4 + 20 + 8);

    let frame = Frame::new(
        macs.0,
        macs.1,
        Network::V6 {
            source: "2001:db8::1".parse().unwrap(),
            destination: "2001:db8::2".parse().unwrap(),
            hop_limit: 64,
            extensions: vec![Extension::options(60, 0), Extension::fragment(fragment)],
        },
        Transport::Raw {
            protocol: 17,
            bytes: vec![0xaa; 8],
        },
    );
    let bytes = frame.bytes();
    assert_eq!(bytes[18..20], [0, 8 + 8 + 8], "payload length");
    assert_eq!(bytes[20], 60, "destination options come first");
    assert_eq!(bytes[54..62], [44, 0, 1, 4, 0, 0, 0, 0]);
    // Offset 1480 stands in the upper 13 bits: 1480 | 1 = 0x05c9.
    assert_eq!(bytes[62..70], [17, 0, 0x05, 0xc9, 0, 0, 0x12, 0x34]);
}

#[test]
fn taps_count_every_frame_once_by_source() {
    const PER_SOURCE: u64 = 5_000;
    let net = pair();
    let macs = (net.veth.a_mac, net.veth.b_mac);
    let sources: Vec<IpAddr> = [
        "198.51.100.1",
        "198.51.100.2",
        "2001:db8:5::1",
        "2001:db8:5::2",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    let frames: Vec<Vec<u8>> = sources
        .iter()
        .map(|source| {
            let target: IpAddr = if source.is_ipv4() {
                "192.0.2.2".parse().unwrap()
            } else {
                "2001:db8::2".parse().unwrap()
            };
            let from = (macs.0, SocketAddr::new(*source, 7));
            Frame::udp(from, (macs.1, SocketAddr::new(target, 7)), b"").bytes()
        })
        .collect();
    let known = BTreeSet::from([sources[0], sources[3]]);
    // Addresses of the cable itself may speak (ICMP, neighbour discovery) and are nobody's.
    let not_strangers: BTreeSet<IpAddr> = known
        .iter()
        .copied()
        .chain(["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap()))
        .collect();
    let mut known_tap = Tap::open(&net.right, "eth0", &Count::From(&known)).unwrap();
    let mut other_tap = Tap::open(&net.right, "eth0", &Count::NotFrom(&not_strangers)).unwrap();
    let sender = RawSocket::open_sender(&net.left, "eth0").unwrap();
    let batch: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let mut backpressure = Backpressure::default();
    for _ in 0..PER_SOURCE {
        sender.send_all(&batch, &mut backpressure).unwrap();
    }
    let counted = poll::until("see all frames counted", LIMIT, || {
        let counted = (known_tap.total().unwrap(), other_tap.total().unwrap());
        (counted.0 + counted.1 >= 4 * PER_SOURCE).then_some(counted)
    })
    .unwrap();
    assert_eq!(counted, (2 * PER_SOURCE, 2 * PER_SOURCE));
    // The kernel forgets its numbers at each read; the tap must not.
    let again = (known_tap.total().unwrap(), other_tap.total().unwrap());
    assert_eq!(again, counted);
}

#[test]
fn jumbo_frames_gro_and_fixed_neighbours_are_possible() {
    let net = pair_with_mtu(9000);
    set_gro(&net.right, "eth0", true).unwrap();
    set_gro(&net.right, "eth0", false).unwrap();
    fix_neighbour(&net.left, "eth0", "192.0.2.2", net.veth.b_mac).unwrap();
    let neighbours = net.left.ip("neighbour show 192.0.2.2").unwrap();
    assert!(neighbours.contains("PERMANENT"), "{neighbours}");
    let from = (net.veth.a_mac, "192.0.2.1:7".parse().unwrap());
    let to = (net.veth.b_mac, "192.0.2.2:7".parse().unwrap());
    let bytes = Frame::udp(from, to, &[7; 8000]).bytes();
    let receiver = RawSocket::open(&net.right, "eth0").unwrap();
    RawSocket::open_sender(&net.left, "eth0")
        .unwrap()
        .send(&bytes)
        .unwrap();
    receive_equal(&receiver, &bytes, "jumbo");
}

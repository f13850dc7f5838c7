//! Conversations, packet by packet: who may answer whom.

use core::sync::atomic::AtomicU64;
use std::cell::{Cell, RefCell};

use super::*;
use crate::{
    abi::{BanKey, PolicyBlock, PortSet},
    decide::{Charge, Gate},
    flow::{HEARD_WAYS, WAYS, ticks},
    limit::StampSet,
    packet::{Address, IcmpMessage},
    reply::is_reply,
    table::Line,
};

const HOST: Address = Address::v4([192, 0, 2, 1]);
const SERVER: Address = Address::v4([198, 51, 100, 7]);
const OTHER: Address = Address::v4([203, 0, 113, 9]);
const ROUTER: Address = Address::v4([203, 0, 113, 254]);

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;
const RST: u8 = 0x04;

/// One host's memory; time and the packet that an error quotes are the test's.
struct Host {
    control: RefCell<Box<Control>>,
    flows: Vec<[AtomicU64; 2 * WAYS]>,
    heard: Vec<[AtomicU64; HEARD_WAYS]>,
    now: Cell<u32>,
    quoted: Option<Packet>,
}

impl Host {
    fn new() -> Self {
        Self {
            control: RefCell::new(Box::new(Control {
                flow_seed: [3, 4],
                ..Control::EMPTY
            })),
            flows: (0..crate::abi::FLOW_SETS)
                .map(|_| Default::default())
                .collect(),
            heard: (0..crate::abi::HEARD_SETS)
                .map(|_| Default::default())
                .collect(),
            now: Cell::new(5_000),
            quoted: None,
        }
    }

    fn sends(&self, their: Address, transport: Transport) {
        sent(self, &Packet::new(HOST, their, 64, transport));
    }

    /// A packet that was let in.
    fn receives(&self, their: Address, transport: Transport) {
        received(self, &Packet::new(their, HOST, 64, transport));
    }

    /// Would this be let in as a reply?
    fn lets_in(&self, their: Address, transport: Transport) -> bool {
        is_reply(self, &Packet::new(their, HOST, 64, transport))
    }

    fn after_seconds(&self, seconds: u32) -> &Self {
        self.now.set(self.now.get() + ticks(seconds));
        self
    }
}

impl Host {
    fn steady_control(&self) -> &Control {
        // SAFETY: a test is one thread, and `open_port` has returned.
        unsafe { &*self.control.as_ptr() }
    }
}

impl FlowMemory for Host {
    type Flows<'a> = &'a [AtomicU64; 2 * WAYS];
    type Heard<'a> = &'a [AtomicU64; HEARD_WAYS];

    fn control(&self) -> &Control {
        self.steady_control()
    }

    fn flow_set(&self, index: u32) -> Option<Self::Flows<'_>> {
        self.flows.get(index as usize)
    }

    fn heard_set(&self, index: u32) -> Option<Self::Heard<'_>> {
        self.heard.get(index as usize)
    }

    fn now(&self) -> u32 {
        self.now.get()
    }

    fn open_port(&self, kind: Kind, port: u16) {
        let protocol = match kind {
            Kind::Tcp => 0,
            Kind::Udp => 1,
            _ => return,
        };
        for set in &mut self.control.borrow_mut().reply_ports {
            set[protocol].0[usize::from(port) / 64] |= 1 << (port % 64);
        }
    }
}

/// Only the reply stage is asked here.
impl Gate for Host {
    type Stamps<'a> = NoStamps;
    type Table<'a> = &'a [Line];
    type Flows<'a> = &'a [AtomicU64; 2 * WAYS];

    fn control(&self) -> &Control {
        self.steady_control()
    }

    fn policy(&self) -> Option<&PolicyBlock> {
        None
    }

    fn port_set(&self, _index: usize) -> Option<&PortSet> {
        None
    }

    fn table(&self) -> Option<&[Line]> {
        None
    }

    fn ban_expiry_ns(&self, _key: &BanKey) -> Option<u64> {
        None
    }

    fn stamps(&self, _kind: Charge, _index: u32) -> Option<NoStamps> {
        None
    }

    fn now_ns(&self) -> u64 {
        u64::from(self.now.get()) << 27
    }

    fn recent_ns(&self) -> u64 {
        self.now_ns()
    }

    fn flow_set(&self, index: u32) -> Option<Self::Flows<'_>> {
        self.flows.get(index as usize)
    }

    fn quoted(&self, _offset: u16) -> Option<Packet> {
        self.quoted
    }
}

#[derive(Clone, Copy)]
struct NoStamps;

impl StampSet for NoStamps {
    fn load(&self, _way: usize) -> u64 {
        0
    }

    fn compare_exchange(&self, _way: usize, _old: u64, _new: u64) -> bool {
        true
    }
}

fn tcp(src_port: u16, dst_port: u16, flags: u8) -> Transport {
    Transport::Tcp {
        src_port,
        dst_port,
        flags: TcpFlags(flags),
    }
}

fn udp(src_port: u16, dst_port: u16) -> Transport {
    Transport::Udp { src_port, dst_port }
}

fn out(flags: u8) -> Transport {
    tcp(50_000, 443, flags)
}

fn back(flags: u8) -> Transport {
    tcp(443, 50_000, flags)
}

/// A host with a connection to the server.
fn connected() -> Host {
    let host = Host::new();
    host.sends(SERVER, out(SYN));
    assert!(host.lets_in(SERVER, back(SYN_ACK)));
    host.receives(SERVER, back(SYN_ACK));
    host.sends(SERVER, out(ACK));
    host
}

#[test]
fn connection_that_the_host_opens_is_answered_and_no_other() {
    let host = connected();
    assert!(host.lets_in(SERVER, back(ACK)));
    for (name, their, transport) in [
        ("another host", OTHER, back(ACK)),
        ("another port of ours", SERVER, tcp(443, 50_001, ACK)),
        ("another port of theirs", SERVER, tcp(444, 50_000, ACK)),
        ("a SYN of theirs", SERVER, back(SYN)),
        ("UDP of the same ports", SERVER, udp(443, 50_000)),
        (
            "a later fragment of UDP",
            SERVER,
            Transport::LaterFragment { protocol: 17 },
        ),
        (
            "a later fragment from elsewhere",
            OTHER,
            Transport::LaterFragment { protocol: 6 },
        ),
    ] {
        assert!(!host.lets_in(their, transport), "{name}");
    }
    assert!(host.lets_in(SERVER, Transport::LaterFragment { protocol: 6 }));
}

#[test]
fn nothing_out_of_the_blue_is_a_reply() {
    let host = Host::new();
    for flags in [SYN, SYN_ACK, ACK, FIN_ACK, RST] {
        assert!(!host.lets_in(SERVER, back(flags)), "{flags:#x}");
        // Not even when it was let in, as in observe mode, and the host answers it.
        host.receives(SERVER, back(flags));
        for answer in [SYN_ACK, ACK, FIN_ACK, RST, RST | ACK] {
            host.sends(SERVER, out(answer));
        }
        assert!(!host.lets_in(SERVER, back(flags)), "{flags:#x}");
    }
    assert!(!host.lets_in(SERVER, Transport::Other { protocol: 50 }));
}

#[test]
fn connection_lasts_as_long_as_tracking_keeps_it() {
    const DAY: u32 = 86_400;
    let host = Host::new();
    host.sends(SERVER, out(SYN));
    assert!(host.after_seconds(119).lets_in(SERVER, back(SYN_ACK)));
    assert!(!host.after_seconds(2).lets_in(SERVER, back(SYN_ACK)));

    let host = connected();
    assert!(host.after_seconds(5 * DAY - 10).lets_in(SERVER, back(ACK)));
    // Each packet of either side makes it young again.
    host.receives(SERVER, back(ACK));
    assert!(host.after_seconds(5 * DAY - 10).lets_in(SERVER, back(ACK)));
    host.sends(SERVER, out(ACK));
    assert!(host.after_seconds(5 * DAY - 10).lets_in(SERVER, back(ACK)));
    assert!(!host.after_seconds(20).lets_in(SERVER, back(ACK)));
    // It is this host's connection still.
    host.sends(SERVER, out(ACK));
    assert!(host.lets_in(SERVER, back(ACK)));
}

#[test]
fn fin_of_the_host_and_a_short_wait_end_a_connection() {
    for peer_is_first in [true, false] {
        let host = connected();
        if peer_is_first {
            host.receives(SERVER, back(FIN_ACK));
            host.sends(SERVER, out(ACK));
        }
        host.sends(SERVER, out(FIN_ACK));
        assert!(host.after_seconds(100).lets_in(SERVER, back(ACK)));
        // A connection that is half closed may go on for long.
        host.receives(SERVER, back(ACK));
        host.sends(SERVER, out(ACK));
        assert!(host.after_seconds(100).lets_in(SERVER, back(ACK)));
        host.receives(SERVER, back(FIN_ACK));
        assert!(host.after_seconds(100).lets_in(SERVER, back(ACK)));
        assert!(!host.after_seconds(30).lets_in(SERVER, back(ACK)));
    }
}

#[test]
fn fin_that_somebody_made_up_shortens_no_connection() {
    let host = connected();
    host.receives(SERVER, back(FIN_ACK));
    assert!(host.after_seconds(80_000).lets_in(SERVER, back(ACK)));
    host.sends(SERVER, out(ACK));
    assert!(host.after_seconds(80_000).lets_in(SERVER, back(ACK)));
}

#[test]
fn rst_ends_a_connection_in_ten_seconds_unless_the_host_goes_on() {
    for from_host in [true, false] {
        let host = connected();
        let reset = || {
            if from_host {
                host.sends(SERVER, out(RST));
            } else {
                host.receives(SERVER, back(RST));
            }
        };
        reset();
        assert!(host.after_seconds(9).lets_in(SERVER, back(ACK)));
        // What the other side still sends prolongs nothing.
        host.receives(SERVER, back(ACK));
        assert!(!host.after_seconds(2).lets_in(SERVER, back(ACK)));
        // An RST that somebody made up does not hurt a connection that lives.
        host.sends(SERVER, out(ACK));
        assert!(host.after_seconds(1000).lets_in(SERVER, back(ACK)));
        reset();
        // The same ports anew.
        host.after_seconds(60).sends(SERVER, out(SYN));
        assert!(host.after_seconds(60).lets_in(SERVER, back(SYN_ACK)));
    }
}

#[test]
fn datagram_is_answered_by_the_peer_that_it_went_to() {
    let host = Host::new();
    host.sends(SERVER, udp(40_000, 53));
    assert!(host.lets_in(SERVER, udp(53, 40_000)));
    assert!(host.lets_in(SERVER, Transport::LaterFragment { protocol: 17 }));
    // A port that the host writes from is open to nobody else.
    assert!(!host.lets_in(OTHER, udp(53, 40_000)));
    assert!(!host.lets_in(SERVER, udp(54, 40_000)));
    assert!(host.after_seconds(29).lets_in(SERVER, udp(53, 40_000)));
    assert!(!host.after_seconds(2).lets_in(SERVER, udp(53, 40_000)));
    // Once answered it lasts longer.
    host.sends(SERVER, udp(40_000, 53));
    host.receives(SERVER, udp(53, 40_000));
    assert!(host.after_seconds(119).lets_in(SERVER, udp(53, 40_000)));
    assert!(!host.after_seconds(2).lets_in(SERVER, udp(53, 40_000)));
}

#[test]
fn answer_to_a_datagram_that_came_first_is_no_flow_of_ours() {
    let host = Host::new();
    // Let in: the country was allowed, or the gate only observed.
    host.receives(SERVER, udp(40_000, 53));
    for _ in 0..5 {
        host.sends(SERVER, udp(53, 40_000));
        assert!(!host.lets_in(SERVER, udp(40_000, 53)));
        host.after_seconds(100);
    }
    // Another tuple is another matter.
    host.sends(SERVER, udp(53, 40_001));
    assert!(host.lets_in(SERVER, udp(40_001, 53)));
    // After a long silence whoever writes first begins.
    host.after_seconds(200).sends(SERVER, udp(53, 40_000));
    assert!(host.lets_in(SERVER, udp(40_000, 53)));
}

/// As two WireGuards do it.
#[test]
fn peer_that_was_heard_before_the_gate_stood_is_answered_no_longer_than_its_time() {
    let wireguard = || udp(51_820, 51_820);
    let host = Host::new();
    // What the host had sent was not seen, nor what it sends while the gate is put up.
    host.receives(SERVER, wireguard());
    host.sends(SERVER, wireguard());
    host.control.borrow_mut().trackers_since = host.now.get();
    for _ in 0..23 {
        host.after_seconds(5).sends(SERVER, wireguard());
        assert!(!host.lets_in(SERVER, wireguard()));
    }
    host.after_seconds(10).sends(SERVER, wireguard());
    assert!(host.lets_in(SERVER, wireguard()));
    // Whom the gate lets in and who writes again has begun.
    host.receives(OTHER, wireguard());
    for _ in 0..5 {
        host.after_seconds(100).sends(OTHER, wireguard());
        assert!(!host.lets_in(OTHER, wireguard()));
    }
}

#[test]
fn own_flow_stays_ours_when_its_answers_are_let_in() {
    let host = Host::new();
    for _ in 0..5 {
        host.sends(SERVER, udp(123, 123));
        assert!(host.lets_in(SERVER, udp(123, 123)));
        host.receives(SERVER, udp(123, 123));
        host.after_seconds(64);
    }
}

#[test]
fn ping_is_answered_under_its_identifier() {
    let echo =
        |message_type, identifier| Transport::Icmp(IcmpMessage::echo(message_type, identifier));
    let host = Host::new();
    host.sends(SERVER, echo(8, 77));
    assert!(host.lets_in(SERVER, echo(0, 77)));
    assert!(!host.lets_in(SERVER, echo(0, 78)));
    assert!(!host.lets_in(OTHER, echo(0, 77)));
    // A request of theirs is none, nor does the answer to it open anything.
    assert!(!host.lets_in(SERVER, echo(8, 77)));
    host.sends(OTHER, echo(0, 5));
    assert!(!host.lets_in(OTHER, echo(0, 5)));
    assert!(host.lets_in(SERVER, Transport::LaterFragment { protocol: 1 }));
    assert!(!host.after_seconds(31).lets_in(SERVER, echo(0, 77)));
}

#[test]
fn ping_over_ipv6_is_answered_likewise() {
    let (ours, theirs) = (Address::v6([0x20; 16]), Address::v6([0x21; 16]));
    let echo = |message_type| Transport::Icmpv6(IcmpMessage::echo(message_type, 9));
    let host = Host::new();
    sent(&host, &Packet::new(ours, theirs, 64, echo(128)));
    let comes_in = |transport| is_reply(&host, &Packet::new(theirs, ours, 64, transport));
    assert!(comes_in(echo(129)));
    assert!(!comes_in(echo(128)));
    assert!(comes_in(Transport::LaterFragment { protocol: 58 }));
}

#[test]
fn error_about_a_packet_of_ours_is_let_in_from_any_router() {
    let error = |message_type| {
        Transport::Icmp(IcmpMessage {
            message_type,
            code: 0,
            context: 42,
        })
    };
    let mut host = Host::new();
    host.sends(SERVER, udp(50_000, 33_434));
    assert!(!host.lets_in(ROUTER, error(11)), "it quotes nothing");
    let quote = |ours, theirs, transport| Some(Packet::new(ours, theirs, 1, transport));
    host.quoted = quote(HOST, SERVER, udp(50_000, 33_434));
    for (message_type, expected) in [(3, true), (11, true), (12, true), (4, false), (5, false)] {
        let let_in = host.lets_in(ROUTER, error(message_type));
        assert_eq!(let_in, expected, "{message_type}");
    }
    for (name, quoted) in [
        ("other port", quote(HOST, SERVER, udp(50_000, 33_435))),
        ("other peer", quote(HOST, OTHER, udp(50_000, 33_434))),
        ("other host", quote(OTHER, SERVER, udp(50_000, 33_434))),
        ("other protocol", quote(HOST, SERVER, out(0))),
        (
            "the other direction",
            quote(SERVER, HOST, udp(33_434, 50_000)),
        ),
        ("nothing", None),
    ] {
        host.quoted = quoted;
        assert!(!host.lets_in(ROUTER, error(11)), "{name}");
    }
}

#[test]
fn lost_map_lets_nothing_in_and_breaks_nothing() {
    let mut host = connected();
    host.flows.clear();
    host.heard.clear();
    assert!(!host.lets_in(SERVER, back(ACK)));
    host.sends(SERVER, out(SYN));
    host.receives(SERVER, udp(1, 2));
    assert!(!host.lets_in(SERVER, back(SYN_ACK)));
}

#[test]
fn port_without_a_flow_is_not_even_asked_about() {
    let host = connected();
    let may_be = |transport| {
        crate::reply::may_be_reply(
            host.steady_control(),
            &Packet::new(SERVER, HOST, 64, transport),
        )
    };
    assert!(may_be(back(ACK)));
    assert!(!may_be(back(SYN)));
    assert!(!may_be(tcp(443, 443, ACK)));
    assert!(!may_be(udp(443, 50_000)));
    assert!(may_be(Transport::Other { protocol: 50 }));
}

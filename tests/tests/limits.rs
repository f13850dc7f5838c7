//! Limits over time. Each test measures, so they take turns.

use integration_tests::{
    counts::Counts,
    frames::{Frame, Transport, tcp_flags},
    guarded::{ELSEWHERE, Guarded, LINK, Visitor},
    places::{Family, address_in},
    poll,
    raw::Backpressure,
    talk::{self, EchoService},
    tap::{Count, Tap},
};
use std::{
    collections::{BTreeSet, VecDeque},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

const PORT: u16 = 7;
/// Senders rest this long between two bursts.
const TICK: Duration = Duration::from_millis(1);

/// Held by the test whose turn it is.
static TURN: Mutex<()> = Mutex::new(());

fn take_turn() -> MutexGuard<'static, ()> {
    // The test before may have failed; this one has its own network.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// China may come within `limit`, Macau without one, nobody else at all.
fn config(limit: &str) -> String {
    format!(
        "mode = \"enforce\"\nattach = \"native\"\n\
         [policy]\ndefault = \"deny\"\nunknown = \"deny\"\n\
         [policy.countries]\nMO = \"allow\"\nCN = \"allow:residents\"\n\
         [limits.residents]\n{limit}"
    )
}

/// Calls `send(tick)` for each tick, at its time; late ones follow at once.
fn paced(ticks: u32, mut send: impl FnMut(u32)) {
    let start = Instant::now();
    for tick in 0..ticks {
        let due = start + TICK * tick;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        send(tick);
    }
}

/// The frame, past the host's kernel.
fn elsewhere(mut frame: Frame) -> Vec<u8> {
    frame.destination = ELSEWHERE;
    frame.bytes()
}

/// What a limit gives a source that asks for more all the time.
struct Grants {
    per_second: f64,
    burst: f64,
    asked: Option<Instant>,
    so_far: f64,
}

impl Grants {
    fn new(per_second: u32, burst: u32) -> Self {
        let (per_second, burst) = (f64::from(per_second), f64::from(burst));
        Self {
            per_second,
            burst,
            asked: None,
            so_far: burst,
        }
    }

    /// The source asks now. While it was silent, as when this machine did not run the sender, no more than the burst
    /// came back.
    fn ask(&mut self) {
        let now = Instant::now();
        let silence = self.asked.map_or(Duration::ZERO, |then| now - then);
        self.so_far += (silence.as_secs_f64() * self.per_second).min(self.burst);
        self.asked = Some(now);
    }
}

fn assert_within_5_percent(what: &str, seen: u64, expected: f64) {
    let ratio = seen as f64 / expected;
    println!("{what}: {seen}, expected {expected:.0}, {ratio:.4} of it");
    assert!(
        (0.95..=1.05).contains(&ratio),
        "{what}: {seen}, expected {expected:.0} ± 5 %"
    );
}

#[test]
fn loud_source_is_held_to_its_limit_and_ten_thousand_quiet_ones_lose_nothing() {
    const PER_SECOND: u32 = 1_000;
    const BURST: u32 = 150;
    /// 10,000 a second: ten times the limit.
    const LOUD_PER_TICK: usize = 10;
    const QUIET_SOURCES: u32 = 10_000;
    const QUIET_PER_TICK: u32 = 10;
    const TICKS: u32 = 6_000;
    let _turn = take_turn();
    let limit = format!("packets_per_second = {PER_SECOND}\nburst_packets = {BURST}\n");
    for family in Family::BOTH {
        let net = Guarded::start(Visitor::Mute, 1500, &config(&limit));
        let sender = net.sender();
        let loud_source = address_in("CN", family, 20_000, 0);
        // IPv6 sources are networks of /64: the loud one uses another address for every frame.
        let loud_addresses: BTreeSet<IpAddr> = (0..LOUD_PER_TICK as u128)
            .map(|index| match loud_source {
                IpAddr::V4(_) => loud_source,
                IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() + index).into(),
            })
            .collect();
        let loud: Vec<Vec<u8>> = loud_addresses
            .iter()
            .map(|source| elsewhere(net.udp_frame(*source, PORT, b"loud")))
            .collect();
        let quiet: Vec<Vec<u8>> = (1..=QUIET_SOURCES)
            .map(|index| address_in("CN", family, 20_000, index))
            .map(|source| elsewhere(net.udp_frame(source, PORT, b"quiet")))
            .collect();
        let mut loud_tap = Tap::open(&net.host, LINK, &Count::From(&loud_addresses)).unwrap();
        let mut quiet_tap = Tap::open(&net.host, LINK, &Count::NotFrom(&loud_addresses)).unwrap();

        let (mut loud_sent, mut quiet_sent) = (0, 0);
        let mut grants = Grants::new(PER_SECOND, BURST);
        paced(TICKS, |tick| {
            grants.ask();
            let mut frames: Vec<&[u8]> = Vec::with_capacity(LOUD_PER_TICK * 2);
            for index in 0..LOUD_PER_TICK {
                frames.push(&loud[index % loud.len()]);
                let next = tick * QUIET_PER_TICK + index as u32;
                frames.push(&quiet[(next % QUIET_SOURCES) as usize]);
            }
            sender
                .send_all(&frames, &mut Backpressure::default())
                .unwrap();
            loud_sent += LOUD_PER_TICK as u64;
            quiet_sent += u64::from(QUIET_PER_TICK);
        });

        poll::until("count all frames", Duration::from_secs(5), || {
            (net.counts().total_packets() == loud_sent + quiet_sent).then_some(())
        })
        .unwrap();
        assert_eq!(quiet_tap.total().unwrap(), quiet_sent, "{family:?}: quiet");
        let loud_passed = loud_tap.total().unwrap();
        assert_eq!(
            net.counts().by_reason(),
            [
                ("allowed", quiet_sent + loud_passed),
                ("packet_limit", loud_sent - loud_passed)
            ]
            .into(),
            "{family:?}: the gate counts what the taps saw"
        );
        let expected = grants.so_far;
        assert!(
            loud_sent as f64 > 5.0 * expected,
            "the sender was too slow: {loud_sent}"
        );
        assert_within_5_percent(&format!("{family:?}: loud"), loud_passed, expected);
    }
}

#[test]
fn new_connections_are_held_to_their_limit() {
    const PER_SECOND: u32 = 20;
    const BURST: u32 = 10;
    const TICKS: u32 = 5_000;
    /// 200 a second: ten times the limit.
    const TICKS_PER_KNOCK: u32 = 5;
    /// Below the second after which the kernel sends the SYN again, on a machine that is not busy.
    const PATIENCE: usize = 60;
    let _turn = take_turn();
    let limit = format!("new_connections_per_second = {PER_SECOND}\nburst_connections = {BURST}\n");
    for family in Family::BOTH {
        let source = address_in("CN", family, 20_000, 0);
        let net = Guarded::start(Visitor::Speaking(&[source]), 1500, &config(&limit));
        let _echo = EchoService::start(&net.host, &[PORT]);
        let target = SocketAddr::new(Guarded::host_address(source), PORT);
        let before = net.counts();
        let (mut connected, mut knocks) = (0, 0);
        let mut waiting = VecDeque::new();
        let mut grants = Grants::new(PER_SECOND, BURST);
        paced(TICKS, |tick| {
            if tick % TICKS_PER_KNOCK != 0 {
                return;
            }
            grants.ask();
            knocks += 1;
            waiting.push_back(talk::tcp_knock(&net.visitor, source, target).unwrap());
            if waiting.len() > PATIENCE
                && let Some(oldest) = waiting.pop_front()
            {
                connected += u64::from(talk::is_connected(&oldest));
                knocks += talk::retransmissions(&oldest);
            }
        });
        let refused = |delta: &Counts| delta.packets("connection_limit");
        let delta = poll::until(
            "know each connection's fate",
            Duration::from_secs(5),
            || {
                let open = waiting.iter().filter(|it| talk::is_connected(it)).count() as u64;
                let knocks = knocks + waiting.iter().map(talk::retransmissions).sum::<u64>();
                let delta = net.counts().since(&before).without_chatter();
                (connected + open + refused(&delta) == knocks).then_some((connected + open, delta))
            },
        );
        let (connected, delta) = delta.unwrap_or_else(|error| {
            panic!(
                "{error}: {knocks} knocks, {connected} connected, {:?}",
                net.counts().since(&before)
            )
        });
        let expected = grants.so_far;
        assert_within_5_percent(&format!("{family:?}: connections"), connected, expected);
        // ACK, data and FIN of the connections that came about are not counted against anybody.
        let reasons: Vec<_> = delta.by_reason().into_keys().collect();
        assert_eq!(reasons, ["allowed", "connection_limit"]);
    }
}

#[test]
fn ipv6_sources_share_what_their_network_gets() {
    const BURST: u64 = 10;
    let _turn = take_turn();
    // One a second is the least that a config can ask for. The frames of a case are on the cable
    // within milliseconds, so none of the burst grows back between them.
    let limit = format!(
        "packets_per_second = 1\nburst_packets = {BURST}\n\
         new_connections_per_second = 1\nburst_connections = 3\n"
    );
    let net = Guarded::start(Visitor::Mute, 1500, &config(&limit));
    let sender = net.sender();
    let (one, other_network) = (
        address_in("CN", Family::V6, 20_000, 0),
        address_in("CN", Family::V6, 20_000, 1),
    );
    let IpAddr::V6(address) = one else {
        unreachable!("asked for IPv6")
    };
    let neighbour: IpAddr = Ipv6Addr::from_bits(address.to_bits() ^ 1 << 63).into();
    let frames = |sources: &[IpAddr], count: u64| -> Vec<Vec<u8>> {
        let all = sources.iter().cycle().take(count as usize);
        all.map(|source| net.udp_frame(*source, PORT, b"").bytes())
            .collect()
    };
    net.assert_counts(
        "two addresses of one /64",
        &sender,
        &frames(&[one, neighbour], 2 * BURST),
        &[("allowed", BURST), ("packet_limit", BURST)],
    );
    net.assert_counts(
        "the /64 beside it",
        &sender,
        &frames(&[other_network], BURST + 1),
        &[("allowed", BURST), ("packet_limit", 1)],
    );
    let v4 = [0, 1].map(|index| address_in("CN", Family::V4, 20_000, index));
    net.assert_counts(
        "two IPv4 addresses have a limit each",
        &sender,
        &frames(&v4, 2 * BURST + 2),
        &[("allowed", 2 * BURST), ("packet_limit", 2)],
    );
    // Three connections may be opened; what else the source sends is counted by packets alone.
    let source = address_in("CN", Family::V4, 20_000, 2);
    let tcp = |flags| {
        let transport = Transport::Tcp {
            source_port: 40_000,
            destination_port: PORT,
            flags,
            payload: Vec::new(),
        };
        net.frame(source, transport).bytes()
    };
    let (syn, ack) = (tcp(tcp_flags::SYN), tcp(tcp_flags::ACK));
    let (syn_ack, odd) = (
        tcp(tcp_flags::SYN | tcp_flags::ACK),
        tcp(tcp_flags::SYN | tcp_flags::FIN),
    );
    net.assert_counts(
        "what opens a connection",
        &sender,
        &[syn.clone(), ack, odd, syn_ack, syn.clone(), syn],
        &[("allowed", 5), ("connection_limit", 1)],
    );
}

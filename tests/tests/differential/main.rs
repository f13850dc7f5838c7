//! A million frames through the program in the kernel (BPF_PROG_TEST_RUN) and through the same
//! decision on the host: every verdict and every counter must be equal.
//!
//! The limiter is covered without a clock in the way: the strict limits renew one packet in 700 s,
//! far longer than the test runs, so microseconds between kernel and host decide nothing; the
//! generous one never bites. Both sides' seeds differ; sources are so few that no set overflows, so
//! replacement is left to the unit tests of the limiter. Expiry of bans is covered on its two
//! sides (an hour ahead, and already over), not at its edge.
//!
//! Not reached here: frames below 14 bytes, which the kernel refuses to run; an empty table, which
//! a loaded gate never has; the programs behind the gate, whose flows are written from here: to every 256th
//! frame there is something that it answers, so few that no set of the flow table overflows.

mod addresses;
mod generator;
mod independent;
mod tally;

use std::time::{Duration, Instant};

use fastrand::Rng;
use filter_common::{
    abi,
    limit::TICK_NS,
    packet::{IcmpMessage, Packet, TcpFlags, Transport},
    parse::{parse, parse_quoted},
    verdict::{Decision, Reason, Verdict},
};
use filter_userspace::{
    compile::{CompiledPolicy, LIMITER_SETS, compile},
    geo,
    kernel::{Gate, GateOptions, InterfaceCounters, Mode, Replies},
    policy::{Action, Exception, Gets, Limit, Policy, Port, Scope, Subject},
};
use integration_tests::{
    host_gate::HostGate,
    policies::{country, deny_all, prefixes},
};

use addresses::Addresses;
use independent::{Compared, compare};

const FRAMES: usize = 1_000_000;
const BATCH: usize = 10_000;
const INTERFACE: &str = "cerco-none";

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// The strict limits must not renew while the test runs.
const LONGEST_RUN: Duration = Duration::from_secs(600);
const STRICT_INTERVAL: u64 = 700 * 1_000_000_000 / TICK_NS;

const TRUSTED: [&str; 4] = [
    "192.0.2.0/24",
    "2001:db8:77::/48",
    "203.0.113.200/32",
    "fe80::77/128",
];
const ALLOW: [&str; 4] = [
    "198.51.100.0/24",
    "8.8.8.8/32",
    "2001:4860::/32",
    "2606:4700::1111/128",
];
const DENY: [&str; 4] = [
    "203.0.113.0/24",
    "198.51.100.128/25",
    "2001:4860:4860::/48",
    "2001:db8:66::/48",
];
/// Bans of several lengths, some over trusted prefixes and rules.
const BANNED: [&str; 8] = [
    "5.5.0.0/16",
    "198.51.100.7/32",
    "192.0.2.9/32",
    "60.0.0.0/12",
    "2a01::/24",
    "2a02:6b8::/64",
    "2001:4860::8844/128",
    "2400::/20",
];
const BANS_THAT_ARE_OVER: [&str; 2] = ["6.6.6.0/24", "2a03:2880::/48"];

#[test]
fn kernel_and_host_decide_and_count_a_million_frames_alike() {
    let started = Instant::now();
    let database = geo::builtin().unwrap();
    let everything = compiled(&policy(Scope::default()), &database);
    let guarded = compiled(&policy(scope()), &database);
    let mut gate = load(&everything);
    let mut host = HostGate::new(&everything);
    for prefix in prefixes(&BANNED) {
        gate.ban(prefix, Duration::from_secs(3600)).unwrap();
        host.ban(prefix, u64::MAX);
    }
    for prefix in prefixes(&BANS_THAT_ARE_OVER) {
        gate.ban(prefix, Duration::ZERO).unwrap();
        host.ban(prefix, 1);
    }

    let listed: Vec<&str> = [&TRUSTED[..], &ALLOW, &DENY, &BANNED, &BANS_THAT_ARE_OVER].concat();
    let addresses = Addresses::new(
        &database,
        &["HK", "SG"],
        &["MO", "CN", "US", "DE", "FR"],
        prefixes(&listed),
    );
    let mut random = Rng::with_seed(0xce2c0);
    let mut expected = tally::zero("elsewhere");
    let mut compared = [0usize; 2];
    let excepted = Policy {
        exceptions: exceptions(),
        ..policy(scope())
    };
    let excepted = compiled(&excepted, &database);
    let phases = [
        (&everything, Mode::Enforce),
        (&excepted, Mode::Enforce),
        (&guarded, Mode::Enforce),
        (&guarded, Mode::Observe),
        (&everything, Mode::Observe),
    ];
    let mut sent = 0;
    for (number, (compiled, mode)) in phases.into_iter().enumerate() {
        gate.publish(compiled).unwrap();
        gate.set_mode(mode);
        host.publish(compiled);
        let mut waiting = generator::systematic(&mut random, &addresses);
        let phase_end = FRAMES * (number + 1) / phases.len();
        while sent < phase_end {
            while waiting.len() < BATCH {
                waiting.push(generator::frame(&mut random, &addresses));
            }
            let rest = waiting.split_off(BATCH.min(phase_end - sent));
            let batch = std::mem::replace(&mut waiting, rest);
            for frame in &batch {
                match compare_parsers(frame) {
                    Compared::Nothing => {}
                    Compared::Addresses => compared[0] += 1,
                    Compared::All => compared[1] += 1,
                }
            }
            let asked: Vec<Packet> = batch.iter().step_by(256).flat_map(|it| asked(it)).collect();
            host.now_ns = boot_ns();
            for packet in &asked {
                host.send(packet);
            }
            gate.record_sent(asked).unwrap();
            gate.renew_reply_ports().unwrap();
            run(&mut gate, &mut host, &batch, mode, &mut expected);
            sent += batch.len();
        }
    }

    let counters = read(&gate);
    assert_eq!(
        gate.counters().unwrap(),
        [tally::zero(INTERFACE)],
        "test runs are no traffic of an interface"
    );
    assert_eq!(tally::total(&counters).packets, FRAMES as u64);
    assert_eq!(sent, FRAMES);
    let unreached = [Reason::TableEmpty];
    for &reason in Reason::ALL {
        let packets = tally::packets(&counters, reason);
        println!("{:24} {packets:>8}", reason.label());
        assert_eq!(
            packets < 100,
            unreached.contains(&reason),
            "{}: {packets} frames",
            reason.label()
        );
    }
    println!(
        "{} frames read like etherparse, {} more in their addresses; {:?}",
        compared[1],
        compared[0],
        started.elapsed()
    );
    assert!(compared[1] > FRAMES / 4, "too few frames were compared");
    assert!(started.elapsed() < LONGEST_RUN, "the strict limits renewed");
}

/// What this host has to have sent so that the frame answers it.
fn asked(frame: &[u8]) -> Vec<Packet> {
    let Ok(Some(packet)) = parse(frame) else {
        return Vec::new();
    };
    let ours = |transport| Packet::new(packet.destination(), packet.source(), 64, transport);
    match packet.transport() {
        Transport::Tcp {
            src_port, dst_port, ..
        } => [TcpFlags::SYN, TcpFlags::ACK]
            .map(|flags| {
                ours(Transport::Tcp {
                    src_port: dst_port,
                    dst_port: src_port,
                    flags: TcpFlags(flags),
                })
            })
            .to_vec(),
        Transport::Udp { src_port, dst_port } => vec![ours(Transport::Udp {
            src_port: dst_port,
            dst_port: src_port,
        })],
        Transport::Icmp(message) if message.message_type == 0 => {
            vec![ours(Transport::Icmp(IcmpMessage::echo(8, message.context)))]
        }
        Transport::Icmpv6(message) if message.message_type == 129 => {
            vec![ours(Transport::Icmpv6(IcmpMessage::echo(
                128,
                message.context,
            )))]
        }
        Transport::Icmp(message) | Transport::Icmpv6(message) => {
            parse_quoted(frame, message.context.into())
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Sends a batch, and finds the first frame at fault when something differs.
fn run(
    gate: &mut Gate,
    host: &mut HostGate,
    batch: &[Vec<u8>],
    mode: Mode,
    expected: &mut InterfaceCounters,
) {
    for frame in batch {
        step(gate, host, frame, mode, expected);
    }
    if read(gate) == *expected {
        return;
    }
    for frame in batch {
        let mut expected = read(gate);
        let decision = step(gate, host, frame, mode, &mut expected);
        assert!(
            read(gate) == expected,
            "the host decides {decision:?}, and the kernel counts something else, for {}",
            hex(frame)
        );
    }
    panic!("the counters of a batch are wrong, and right when each of its frames is sent alone");
}

/// Sends one frame both ways. Fails when the verdicts differ.
fn step(
    gate: &mut Gate,
    host: &mut HostGate,
    frame: &[u8],
    mode: Mode,
    expected: &mut InterfaceCounters,
) -> Decision {
    host.now_ns = boot_ns();
    let decision = host.decide(frame);
    let action = match (decision.verdict, mode) {
        (Verdict::Drop, Mode::Enforce) => XDP_DROP,
        _ => XDP_PASS,
    };
    let run = gate.test_run(frame, 1).unwrap();
    assert_eq!(run.action, action, "{decision:?} for {}", hex(frame));
    tally::add(expected, &decision, mode, frame.len());
    decision
}

fn read(gate: &Gate) -> InterfaceCounters {
    gate.elsewhere().unwrap()
}

fn compare_parsers(frame: &[u8]) -> Compared {
    match parse(frame) {
        Ok(Some(packet)) => compare(frame, &packet).unwrap_or_else(|theirs| {
            panic!("cerco: {packet:?}\netherparse: {theirs}\n{}", hex(frame))
        }),
        _ => Compared::Nothing,
    }
}

fn load(compiled: &CompiledPolicy) -> Gate {
    let options = GateOptions {
        interfaces: vec![INTERFACE.to_owned()],
        spare_slots: 0,
        // Never made: pins are written when an interface is attached.
        pins: "/sys/fs/bpf/cerco-test-differential".into(),
        mode: Mode::Enforce,
        replies: Replies::default(),
    };
    Gate::load(compiled, &options).unwrap()
}

fn policy(scope: Scope) -> Policy {
    let limit = |name: &str, ipv4_prefix_len, ipv6_prefix_len| Limit {
        name: name.to_owned(),
        packets_per_second: Some(1_000_000),
        burst_packets: u32::MAX,
        new_connections_per_second: None,
        burst_connections: 1,
        ipv4_prefix_len,
        ipv6_prefix_len,
    };
    Policy {
        countries: [
            ("MO", Action::Allow),
            ("CN", Action::Limit(0)),
            ("HK", Action::Limit(1)),
            ("SG", Action::Limit(2)),
        ]
        .map(|(code, action)| (country(code), action))
        .into(),
        limits: vec![
            limit("generous", 32, 64),
            limit("strict", 32, 64),
            limit("strict-networks", 20, 40),
        ],
        scope,
        trusted: prefixes(&TRUSTED),
        allow: prefixes(&ALLOW),
        deny: prefixes(&DENY),
        ..deny_all()
    }
}

/// Exceptions of every kind, over prefixes and countries that frames come from; some are over.
fn exceptions() -> Vec<Exception> {
    let exception = |subject, service, gets, until_ns| Exception {
        subject,
        service,
        gets,
        until_ns,
    };
    let prefix = |text: &str| Subject::Prefix(prefixes(&[text])[0]);
    let of = |code| Subject::Country(country(code));
    let (allow, deny) = (Gets::Action(Action::Allow), Gets::Action(Action::Deny));
    vec![
        exception(of("US"), Some(Port::Tcp(443)), allow, None),
        exception(of("DE"), None, allow, Some(u64::MAX)),
        exception(of("FR"), None, allow, Some(1)),
        exception(of("MO"), Some(Port::Udp(53)), deny, Some(u64::MAX)),
        exception(of("HK"), None, Gets::Action(Action::Limit(0)), None),
        exception(prefix("198.51.0.0/16"), None, deny, None),
        exception(prefix("5.5.0.0/16"), None, Gets::Trust, None),
        exception(prefix("203.0.113.0/24"), Some(Port::Tcp(80)), allow, None),
        exception(prefix("8.8.8.8/32"), None, deny, Some(1)),
        exception(prefix("2001:4860::/28"), Some(Port::Tcp(443)), deny, None),
        exception(prefix("2400::/20"), None, allow, None),
    ]
}

fn scope() -> Scope {
    Scope {
        tcp: vec![(80, 80), (443, 443), (60_000, 65_535)],
        udp: vec![(53, 53), (546, 547)],
        protocols: vec![1, 50],
        destinations: prefixes(&[
            "192.0.2.16/28",
            "224.0.0.0/4",
            "2001:db8::10/124",
            "ff00::/8",
        ]),
    }
}

/// Compiles, and makes the strict limits stricter than a config can: six packets, one of
/// which may open a connection, then nothing for as long as the test runs.
fn compiled(policy: &Policy, database: &geo::Database) -> CompiledPolicy {
    let mut compiled = compile(policy, database).unwrap();
    // No source may be forgotten that the other side remembers.
    compiled.policy.packet_set_mask = LIMITER_SETS - 1;
    compiled.policy.connection_set_mask = LIMITER_SETS - 1;
    for limit in &mut compiled.policy.limits[1..3] {
        *limit = abi::Limit {
            packet_interval: STRICT_INTERVAL,
            packet_tolerance: 5 * STRICT_INTERVAL,
            connection_interval: STRICT_INTERVAL,
            connection_tolerance: 0,
            ..*limit
        };
    }
    compiled
}

fn hex(frame: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{} bytes: ", frame.len());
    for byte in frame {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Nanoseconds of CLOCK_BOOTTIME, the kernel side's clock.
fn boot_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

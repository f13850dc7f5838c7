//! Packet and policy in, decision out.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use super::*;
use crate::{
    abi::{Exception, MAX_EXCEPTIONS, MAX_LIMITS, Scope, scope_flag},
    flow,
    limit::WAYS,
    packet::{IcmpMessage, TcpFlags},
    table::{Entry, FIRST_NODE, GridEntry, LINE_WORDS, Line},
    verdict::Verdict,
};

/// The classes of 10.0.0.0/16, 11.0.0.0/16, … in the table of [`Memory`].
const CLASSES: [Class; 9] = [
    Class::UNKNOWN,
    Class::TRUSTED,
    Class::RULE_ALLOW,
    Class::RULE_DENY,
    Class::PRIVATE,
    DENIED,
    ALLOWED,
    LIMITED,
    BAD_LIMIT,
];
const DENIED: Class = Class(5);
const ALLOWED: Class = Class(6);
/// Two packets, one of which may open a connection.
const LIMITED: Class = Class(7);
/// Its action names a limit that does not exist.
const BAD_LIMIT: Class = Class(255);

#[derive(Clone, Copy)]
struct Set<'a>(&'a [AtomicU64; WAYS]);

impl StampSet for Set<'_> {
    fn load(&self, way: usize) -> u64 {
        self.0[way].load(SeqCst)
    }

    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool {
        self.0[way]
            .compare_exchange(old, new, SeqCst, SeqCst)
            .is_ok()
    }
}

struct Memory {
    control: Control,
    policy: Option<Box<PolicyBlock>>,
    ports: PortSet,
    lines: Vec<Line>,
    bans: HashMap<BanKey, u64>,
    stamps: [[AtomicU64; WAYS]; 2],
    flows: [AtomicU64; 2 * flow::WAYS],
}

impl Gate for Memory {
    type Stamps<'a> = Set<'a>;
    type Table<'a> = &'a [Line];
    type Flows<'a> = &'a [AtomicU64; 2 * flow::WAYS];

    fn control(&self) -> &Control {
        &self.control
    }

    fn policy(&self) -> Option<&PolicyBlock> {
        self.policy.as_deref()
    }

    fn port_set(&self, _index: usize) -> Option<&PortSet> {
        Some(&self.ports)
    }

    fn table(&self) -> Option<&[Line]> {
        Some(&self.lines)
    }

    fn ban_expiry_ns(&self, key: &BanKey) -> Option<u64> {
        self.bans.get(key).copied()
    }

    fn stamps(&self, kind: Charge, _index: u32) -> Option<Set<'_>> {
        Some(Set(&self.stamps[(kind == Charge::NewConnection) as usize]))
    }

    fn now_ns(&self) -> u64 {
        1_000_000_000_000
    }

    fn recent_ns(&self) -> u64 {
        self.now_ns()
    }

    fn flow_set(&self, _index: u32) -> Option<&[AtomicU64; 2 * flow::WAYS]> {
        Some(&self.flows)
    }

    fn quoted(&self, _offset: u16) -> Option<Packet> {
        None
    }
}

fn memory() -> Memory {
    let mut actions = [action::DENY; Class::COUNT];
    actions[ALLOWED.0 as usize] = action::ALLOW;
    actions[LIMITED.0 as usize] = action::FIRST_LIMIT;
    actions[BAD_LIMIT.0 as usize] = action::FIRST_LIMIT + MAX_LIMITS as u8;
    let mut limits = [Limit::NONE; MAX_LIMITS];
    limits[0] = Limit {
        packet_interval: 1_000_000,
        packet_tolerance: 1_000_000,
        connection_interval: 1_000_000,
        connection_tolerance: 0,
        ..Limit::NONE
    };
    let mut lines = vec![Line([0; LINE_WORDS]); FIRST_NODE as usize];
    for (index, class) in CLASSES.iter().enumerate() {
        let slot = (10 + index) << 8;
        lines[slot / LINE_WORDS].0[slot % LINE_WORDS] = GridEntry::detour(Entry::class(*class)).0;
    }
    Memory {
        control: Control {
            published: 1,
            lines_per_generation: FIRST_NODE,
            limiter_seed: [1, 2],
            ..Control::EMPTY
        },
        policy: Some(Box::new(PolicyBlock {
            actions,
            limits,
            scope: Scope::EVERYTHING,
            packet_set_mask: 0,
            connection_set_mask: 0,
            published_unix_s: 0,
            country_letters: [[0; 2]; Class::COUNT],
            exception_count: 0,
            _pad: 0,
            exceptions: [Exception::NONE; MAX_EXCEPTIONS],
        })),
        ports: PortSet([0; 1024]),
        lines,
        bans: HashMap::new(),
        stamps: Default::default(),
        flows: Default::default(),
    }
}

const TOO_BIG: Transport = Transport::Icmp(IcmpMessage {
    message_type: 3,
    code: 4,
    context: 42,
});
const SYN: Transport = tcp(TcpFlags::SYN);
const ACK: Transport = tcp(TcpFlags::ACK);

const fn tcp(flags: u8) -> Transport {
    Transport::Tcp {
        src_port: 40_000,
        dst_port: 443,
        flags: TcpFlags(flags),
    }
}

fn source_of(class: Class) -> Address {
    let index = CLASSES.iter().position(|known| *known == class).unwrap();
    Address::v4([10 + index as u8, 0, 0, 1])
}

fn packet(class: Class, transport: Transport) -> Packet {
    Packet::new(source_of(class), Address::v4([192, 0, 2, 1]), 64, transport)
}

/// Lays down the flow that `packet` answers.
fn open_flow(memory: &mut Memory, packet: &Packet) {
    let (kind, our_port, their_port) = match packet.transport() {
        Transport::Tcp {
            src_port, dst_port, ..
        } => (flow::Kind::Tcp, dst_port, src_port),
        Transport::Udp { src_port, dst_port } => (flow::Kind::Udp, dst_port, src_port),
        _ => return,
    };
    let flow = flow::Flow {
        kind,
        ours: packet.destination(),
        theirs: packet.source(),
        our_port,
        their_port,
    };
    memory.control.reply_ports[0][(kind == flow::Kind::Udp) as usize].0
        [usize::from(our_port) / 64] |= 1 << (our_port % 64);
    let now = flow::tick(memory.now_ns());
    flow::insert(
        &&memory.flows,
        &memory.control,
        flow.key(&memory.control.flow_seed),
        flow::word(flow::state::ESTABLISHED, our_port, now),
    );
}

fn ban(memory: &mut Memory, class: Class, expiry_ns: u64) {
    memory.control.ban_lengths_v4[0] = 32;
    memory
        .bans
        .insert(ban::ban_key(&source_of(class), 32), expiry_ns);
}

#[test]
fn class_and_action_give_the_reason() {
    use Verdict::{Drop, Pass};
    let memory = memory();
    for (class, verdict, reason) in [
        (Class::UNKNOWN, Drop, Reason::UnknownDenied),
        (Class::TRUSTED, Pass, Reason::Trusted),
        (Class::RULE_ALLOW, Pass, Reason::RuleAllowed),
        (Class::RULE_DENY, Drop, Reason::RuleDenied),
        (Class::PRIVATE, Drop, Reason::PrivateDenied),
        (DENIED, Drop, Reason::CountryDenied),
        (ALLOWED, Pass, Reason::Allowed),
        (LIMITED, Pass, Reason::Allowed),
        (BAD_LIMIT, Pass, Reason::Allowed),
    ] {
        let later = Transport::LaterFragment { protocol: 6 };
        for transport in [later, Transport::Other { protocol: 47 }] {
            assert_eq!(
                decide(&memory, &packet(class, transport)),
                Decision {
                    verdict,
                    reason,
                    class: Some(class)
                }
            );
        }
    }
}

#[test]
fn at_once_says_what_step_by_step_says() {
    let services = scope_flag::SERVICES | scope_flag::TCP_PORTS | scope_flag::UDP_PORTS;
    let udp = |dst_port| Transport::Udp {
        src_port: 67,
        dst_port,
    };
    let icmp = Transport::Icmp(IcmpMessage::echo(8, 7));
    let mut unclear = 0;
    for flags in [
        0,
        services,
        scope_flag::DESTINATIONS,
        services | scope_flag::DESTINATIONS,
    ] {
        for (is_banned, replies) in [(false, false), (true, false), (false, true)] {
            for class in CLASSES {
                for transport in [SYN, ACK, udp(53), udp(68), udp(443), udp(546), icmp] {
                    let memory = || {
                        let mut memory = memory();
                        let scope = &mut memory.policy.as_mut().unwrap().scope;
                        scope.flags = flags;
                        scope.destination_count_v4 = 1;
                        memory.ports.0[443 / 64] |= 1 << (443 % 64);
                        if replies {
                            open_flow(&mut memory, &packet(class, transport));
                        }
                        if is_banned {
                            ban(&mut memory, class, u64::MAX);
                        }
                        memory
                    };
                    let packet = packet(class, transport);
                    // The second packet of a source may be over its limit.
                    let (one, other) = (memory(), memory());
                    for _ in 0..3 {
                        let expected = step_by_step(&one, &packet);
                        let decision = match at_once(&other, &packet) {
                            AtOnce::Decided(decision) => decision,
                            AtOnce::Limited {
                                policy,
                                class,
                                limit,
                            } => {
                                let reason = within_limit(&other, policy, &packet, limit);
                                Decision::new(reason, Some(class))
                            }
                            AtOnce::Unclear => {
                                unclear += 1;
                                step_by_step(&other, &packet)
                            }
                        };
                        assert_eq!(decision, expected, "{flags} {is_banned} {packet:?}");
                    }
                }
            }
        }
    }
    // Bans, destinations, DHCP and ICMP: of 12 × 7 combinations 4 × 7 are banned, and of the other 8 × 7
    // half have destinations; of the 4 × 7 left, 3 transports are not for it. Three packets each.
    let mut expected = (28 + 28 + 4 * 3) * CLASSES.len() * 3;
    // Replies, for the four classes that are denied: ACK and UDP to 53 and 443, or to 443 alone.
    expected += (3 + 2) * 4 * 3;
    assert_eq!(unclear, expected);
}

#[test]
fn fragment_without_ports_uses_address_policy() {
    let memory = memory();
    let later = Transport::LaterFragment { protocol: 17 };
    let reason = |class| decide(&memory, &packet(class, later)).reason;
    assert_eq!(reason(DENIED), Reason::CountryDenied);
    assert_eq!(reason(ALLOWED), Reason::Allowed);
}

#[test]
fn ban_beats_everything_but_trust_and_essential_traffic() {
    for (class, expected) in [
        (Class::TRUSTED, Reason::Trusted),
        (Class::RULE_ALLOW, Reason::Banned),
        (Class::RULE_DENY, Reason::Banned),
        (ALLOWED, Reason::Banned),
        (LIMITED, Reason::Banned),
        (DENIED, Reason::Banned),
    ] {
        let mut memory = memory();
        ban(&mut memory, class, u64::MAX);
        let decision = decide(&memory, &packet(class, SYN));
        assert_eq!((decision.reason, decision.class), (expected, Some(class)));
        let too_big = TOO_BIG;
        assert_eq!(
            decide(&memory, &packet(class, too_big)),
            Decision {
                verdict: Verdict::Pass,
                reason: Reason::Essential,
                class: None
            }
        );
        // At its expiry a ban is over.
        let now_ns = memory.now_ns();
        ban(&mut memory, class, now_ns);
        assert_ne!(decide(&memory, &packet(class, SYN)).reason, Reason::Banned);
        ban(&mut memory, class, now_ns + 1);
        assert_eq!(decide(&memory, &packet(class, SYN)).reason, expected);
    }
}

#[test]
fn ban_lengths_of_one_family_do_not_touch_the_other() {
    let mut memory = memory();
    ban(&mut memory, ALLOWED, u64::MAX);
    memory.control.ban_lengths_v6 = memory.control.ban_lengths_v4;
    memory.control.ban_lengths_v4 = [NO_BAN_LENGTH; MAX_BAN_LENGTHS];
    assert_eq!(
        decide(&memory, &packet(ALLOWED, SYN)).reason,
        Reason::Allowed
    );
}

#[test]
fn packets_and_connections_are_limited_apart() {
    let memory = memory();
    let reason = |transport| decide(&memory, &packet(LIMITED, transport)).reason;
    assert_eq!(reason(SYN), Reason::Allowed);
    // The second SYN costs a packet and no connection; then the packets are used up.
    assert_eq!(reason(SYN), Reason::ConnectionLimit);
    assert_eq!(reason(ACK), Reason::PacketLimit);
    assert_eq!(reason(SYN), Reason::PacketLimit);
    // SYN+ACK answers this host, and opens nothing.
    let memory = self::memory();
    for _ in 0..2 {
        let answer = tcp(TcpFlags::SYN | TcpFlags::ACK);
        assert_eq!(
            decide(&memory, &packet(LIMITED, answer)).reason,
            Reason::Allowed
        );
    }
    assert_eq!(memory.stamps[1][0].load(SeqCst), 0);
}

#[test]
fn denied_traffic_never_touches_the_limiter() {
    let memory = memory();
    for class in [
        DENIED,
        Class::UNKNOWN,
        Class::RULE_DENY,
        Class::TRUSTED,
        ALLOWED,
    ] {
        decide(&memory, &packet(class, SYN));
    }
    let stamps = memory.stamps.iter().flatten();
    assert!(stamps.into_iter().all(|stamp| stamp.load(SeqCst) == 0));
}

#[test]
fn reply_saves_what_would_be_denied_and_nothing_else() {
    let mut memory = memory();
    for (class, expected) in [
        (DENIED, Reason::Reply),
        (Class::UNKNOWN, Reason::Reply),
        (Class::PRIVATE, Reason::Reply),
        (Class::RULE_DENY, Reason::Reply),
        (ALLOWED, Reason::Allowed),
        (Class::TRUSTED, Reason::Trusted),
    ] {
        let packet = packet(class, ACK);
        open_flow(&mut memory, &packet);
        assert_eq!(decide(&memory, &packet).reason, expected, "{class:?}");
    }
    ban(&mut memory, DENIED, u64::MAX);
    assert_eq!(decide(&memory, &packet(DENIED, ACK)).reason, Reason::Banned);
}

#[test]
fn out_of_scope_comes_before_every_look_up() {
    let mut memory = memory();
    ban(&mut memory, DENIED, u64::MAX);
    let scope = &mut memory.policy.as_mut().unwrap().scope;
    scope.flags = scope_flag::SERVICES | scope_flag::TCP_PORTS;
    let decision = decide(&memory, &packet(DENIED, SYN));
    assert_eq!(decision, Decision::new(Reason::OutOfScope, None));
    memory.ports.0[443 / 64] |= 1 << (443 % 64);
    assert_eq!(decide(&memory, &packet(DENIED, SYN)).reason, Reason::Banned);
}

#[test]
fn missing_policy_or_line_lets_pass_and_says_so() {
    let mut memory = memory();
    memory.lines.truncate(10);
    let empty = Decision {
        verdict: Verdict::Pass,
        reason: Reason::TableEmpty,
        class: None,
    };
    assert_eq!(decide(&memory, &packet(DENIED, SYN)), empty);
    memory.policy = None;
    assert_eq!(decide(&memory, &packet(Class::TRUSTED, SYN)), empty);
    let too_big = TOO_BIG;
    assert_eq!(
        decide(&memory, &packet(DENIED, too_big)).reason,
        Reason::Essential
    );
}

#[test]
fn action_of_a_rule_class_cannot_undo_the_rule() {
    let mut memory = memory();
    let actions = &mut memory.policy.as_mut().unwrap().actions;
    actions[Class::RULE_DENY.0 as usize] = action::ALLOW;
    actions[Class::RULE_ALLOW.0 as usize] = action::DENY;
    actions[Class::TRUSTED.0 as usize] = action::DENY;
    for (class, expected) in [
        (Class::RULE_DENY, Reason::RuleDenied),
        (Class::RULE_ALLOW, Reason::RuleAllowed),
        (Class::TRUSTED, Reason::Trusted),
    ] {
        assert_eq!(decide(&memory, &packet(class, SYN)).reason, expected);
    }
}

/// Lets `exceptions` go over the policy of `memory`, as the compiler of policies does.
fn except(memory: &mut Memory, exceptions: &[Exception]) {
    let policy = memory.policy.as_mut().unwrap();
    policy.exception_count = exceptions.len() as u32;
    policy.exceptions[..exceptions.len()].copy_from_slice(exceptions);
    for exception in exceptions {
        match policy.actions.get_mut(usize::from(exception.subject)) {
            Some(action) => *action |= action::HAS_EXCEPTIONS,
            None => policy.scope.flags |= scope_flag::PREFIX_EXCEPTIONS,
        }
    }
}

#[test]
fn exception_decides_in_place_of_the_class_until_it_is_over() {
    let for_class = |class: Class, action: u8| Exception {
        subject: class.0.into(),
        gets: exception::gets(class, action),
        until_ns: exception::NO_END,
        ..Exception::NONE
    };
    let for_all = |class: Class, action: u8| Exception {
        subject: exception::PREFIX_V4,
        ..for_class(class, action)
    };
    let over = |it: Exception| Exception { until_ns: 1, ..it };
    let decided = |reason: Reason, class| Decision::new(reason, Some(class));
    let cases = [
        (
            DENIED,
            for_class(DENIED, action::ALLOW),
            decided(Reason::Allowed, DENIED),
        ),
        (
            ALLOWED,
            for_class(ALLOWED, action::DENY),
            decided(Reason::CountryDenied, ALLOWED),
        ),
        (
            DENIED,
            for_class(DENIED, action::FIRST_LIMIT),
            decided(Reason::Allowed, DENIED),
        ),
        // A class that is not meant gets what it gets.
        (
            ALLOWED,
            for_class(DENIED, action::DENY),
            decided(Reason::Allowed, ALLOWED),
        ),
        (
            DENIED,
            for_all(Class::RULE_ALLOW, action::ALLOW),
            decided(Reason::RuleAllowed, Class::RULE_ALLOW),
        ),
        (
            ALLOWED,
            for_all(Class::RULE_DENY, action::DENY),
            decided(Reason::RuleDenied, Class::RULE_DENY),
        ),
        (
            DENIED,
            for_all(Class::TRUSTED, action::ALLOW),
            decided(Reason::Trusted, Class::TRUSTED),
        ),
        // Over: the action without its mark.
        (
            DENIED,
            over(for_class(DENIED, action::ALLOW)),
            decided(Reason::CountryDenied, DENIED),
        ),
        (
            ALLOWED,
            over(for_class(ALLOWED, action::DENY)),
            decided(Reason::Allowed, ALLOWED),
        ),
        (
            LIMITED,
            over(for_class(LIMITED, action::DENY)),
            decided(Reason::Allowed, LIMITED),
        ),
        (
            ALLOWED,
            over(for_all(Class::RULE_DENY, action::DENY)),
            decided(Reason::Allowed, ALLOWED),
        ),
    ];
    for (class, exception, expected) in cases {
        let mut memory = memory();
        except(&mut memory, &[exception]);
        let packet = packet(class, SYN);
        assert_eq!(decide(&memory, &packet), expected, "{exception:?}");
    }
}

#[test]
fn limit_of_an_exception_is_charged() {
    let mut memory = memory();
    except(
        &mut memory,
        &[Exception {
            subject: DENIED.0.into(),
            gets: exception::gets(DENIED, action::FIRST_LIMIT),
            until_ns: exception::NO_END,
            ..Exception::NONE
        }],
    );
    let reasons = [(); 3].map(|()| decide(&memory, &packet(DENIED, ACK)).reason);
    assert_eq!(
        reasons,
        [Reason::Allowed, Reason::Allowed, Reason::PacketLimit]
    );
}

#[test]
fn exception_that_trusts_goes_over_a_ban() {
    let mut memory = memory();
    let source = source_of(DENIED);
    memory.control.ban_lengths_v4[0] = 32;
    memory.bans.insert(ban::ban_key(&source, 32), u64::MAX);
    assert_eq!(decide(&memory, &packet(DENIED, SYN)).reason, Reason::Banned);
    except(
        &mut memory,
        &[Exception {
            gets: exception::gets(Class::TRUSTED, action::ALLOW),
            until_ns: exception::NO_END,
            ..Exception::NONE
        }],
    );
    assert_eq!(
        decide(&memory, &packet(DENIED, SYN)).reason,
        Reason::Trusted
    );
}

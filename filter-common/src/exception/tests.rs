use super::*;
use crate::{
    abi::{Limit, MAX_LIMITS, Scope, action},
    packet::{Address, IcmpMessage, TcpFlags},
};

const CLASS: Class = Class(7);
const NOW: u64 = 1_000_000_000_000;
const SYN_TO_80: Transport = Transport::Tcp {
    src_port: 40_000,
    dst_port: 80,
    flags: TcpFlags(TcpFlags::SYN),
};

fn policy(exceptions: &[Exception]) -> PolicyBlock {
    let mut policy = PolicyBlock {
        actions: [action::DENY; Class::COUNT],
        limits: [Limit::NONE; MAX_LIMITS],
        scope: Scope::EVERYTHING,
        packet_set_mask: 0,
        connection_set_mask: 0,
        published_unix_s: 0,
        country_letters: [[0; 2]; Class::COUNT],
        exception_count: exceptions.len() as u32,
        _pad: 0,
        exceptions: [Exception::NONE; MAX_EXCEPTIONS],
    };
    policy.exceptions[..exceptions.len()].copy_from_slice(exceptions);
    policy
}

fn for_class(gets: u16) -> Exception {
    Exception {
        until_ns: exception::NO_END,
        subject: CLASS.0.into(),
        gets,
        ..Exception::NONE
    }
}

fn for_prefix(address: Address, prefix_len: u8, gets: u16) -> Exception {
    let mask = [
        crate::ban::leading_ones(prefix_len),
        crate::ban::leading_ones(prefix_len.saturating_sub(64)),
    ];
    let (hi, lo) = address.left_aligned();
    Exception {
        network: [hi & mask[0], lo & mask[1]],
        mask,
        subject: prefix_subject(address.family()),
        ..for_class(gets)
    }
}

fn v4(text: [u8; 4], transport: Transport) -> Packet {
    let destination = Address::v4([192, 0, 2, 1]);
    Packet::new(Address::v4(text), destination, 64, transport)
}

fn v6(lo: u64, transport: Transport) -> Packet {
    let words = |lo| Address::v6_from_words(0x2001_0db8_0000_0000, lo);
    Packet::new(words(lo), words(1), 64, transport)
}

fn ask(exceptions: &[Exception], packet: Packet) -> u16 {
    find(&policy(exceptions), &packet, CLASS, NOW)
}

#[test]
fn exception_for_a_class_is_about_no_other() {
    let packet = v4([203, 0, 113, 7], SYN_TO_80);
    assert_eq!(ask(&[for_class(1)], packet), 1);
    let policy = policy(&[for_class(1)]);
    for other in [0, 6, 8, 255] {
        let found = find(&policy, &packet, Class(other), NOW);
        assert_eq!(found, exception::NOTHING, "{other}");
    }
}

#[test]
fn exception_for_a_prefix_is_about_its_addresses_only() {
    let net = for_prefix(Address::v4([203, 0, 113, 0]), 25, 1);
    for (last, expected) in [(0, 1), (127, 1), (128, exception::NOTHING)] {
        let packet = v4([203, 0, 113, last], SYN_TO_80);
        assert_eq!(ask(&[net], packet), expected, "{last}");
    }
    let net = for_prefix(
        Address::v6_from_words(0x2001_0db8_0000_0000, 0xff00),
        120,
        1,
    );
    for (lo, expected) in [
        (0xff00, 1),
        (0xffff, 1),
        (0xfe_ff00, exception::NOTHING),
        (0xfeff, exception::NOTHING),
    ] {
        assert_eq!(ask(&[net], v6(lo, SYN_TO_80)), expected, "{lo:x}");
    }
    // All of one family is nothing of the other.
    let all_v4 = for_prefix(Address::v4([0; 4]), 0, 1);
    let all_v6 = for_prefix(Address::v6([0; 16]), 0, 2);
    for exceptions in [[all_v4, all_v6], [all_v6, all_v4]] {
        assert_eq!(ask(&exceptions, v4([203, 0, 113, 7], SYN_TO_80)), 1);
        assert_eq!(ask(&exceptions, v6(9, SYN_TO_80)), 2);
    }
}

#[test]
fn exception_that_yields_leaves_sources_to_the_rules_of_the_table() {
    let all = |address| for_prefix(address, 0, 1);
    let packets = [v4([203, 0, 113, 7], SYN_TO_80), v6(9, SYN_TO_80)];
    for packet in packets {
        let all = match packet.family() {
            Family::V4 => all(Address::v4([0; 4])),
            Family::V6 => all(Address::v6([0; 16])),
        };
        let yields = Exception {
            subject: all.subject | exception::YIELDS,
            ..all
        };
        for class in 0..=255 {
            let expected = match class {
                1..=3 => exception::NOTHING,
                _ => 1,
            };
            let class = Class(class);
            let ask = |it| find(&policy(&[it]), &packet, class, NOW);
            assert_eq!(ask(yields), expected, "{class:?} {packet:?}");
            assert_eq!(ask(all), 1, "{class:?} {packet:?}");
        }
    }
    // Of the other family it is nobody's.
    let v6_only = Exception {
        subject: exception::PREFIX_V6 | exception::YIELDS,
        ..all(Address::v4([0; 4]))
    };
    assert_eq!(ask(&[v6_only], packets[0]), exception::NOTHING);
}

#[test]
fn exception_for_a_port_is_about_its_packets_only() {
    let tcp = |dst_port| Transport::Tcp {
        src_port: 80,
        dst_port,
        flags: TcpFlags(TcpFlags::ACK),
    };
    let udp = |dst_port| Transport::Udp {
        src_port: 80,
        dst_port,
    };
    let for_port = Exception {
        service: number(protocol::TCP, 80),
        ..for_class(1)
    };
    for (transport, expected) in [
        (tcp(80), 1),
        (tcp(81), exception::NOTHING),
        (tcp(0), exception::NOTHING),
        (udp(80), exception::NOTHING),
        (
            Transport::Icmp(IcmpMessage::echo(8, 80)),
            exception::NOTHING,
        ),
        (Transport::Other { protocol: 6 }, exception::NOTHING),
        (
            Transport::LaterFragment {
                protocol: protocol::TCP,
            },
            exception::NOTHING,
        ),
    ] {
        let packet = v4([203, 0, 113, 7], transport);
        assert_eq!(ask(&[for_port], packet), expected, "{transport:?}");
        assert_eq!(ask(&[for_class(1)], packet), 1, "all ports: {transport:?}");
    }
}

#[test]
fn exception_is_over_at_its_time_and_not_before() {
    let until = |until_ns| Exception {
        until_ns,
        ..for_class(1)
    };
    let packet = v4([203, 0, 113, 7], SYN_TO_80);
    for (until_ns, expected) in [
        (0, exception::NOTHING),
        (NOW - 1, exception::NOTHING),
        (NOW, exception::NOTHING),
        (NOW + 1, 1),
        (exception::NO_END, 1),
    ] {
        assert_eq!(ask(&[until(until_ns)], packet), expected, "{until_ns}");
    }
}

#[test]
fn first_that_fits_decides_also_when_it_is_a_hole() {
    let packet = v4([203, 0, 113, 7], SYN_TO_80);
    let over = Exception {
        until_ns: NOW,
        ..for_class(9)
    };
    assert_eq!(ask(&[over, for_class(1), for_class(2)], packet), 1);
    let hole = for_class(exception::NOTHING);
    assert_eq!(ask(&[hole, for_class(1)], packet), exception::NOTHING);
}

#[test]
fn every_place_of_the_list_is_looked_at_and_none_behind_it() {
    let packet = v4([203, 0, 113, 7], SYN_TO_80);
    let over = Exception {
        until_ns: NOW,
        ..for_class(9)
    };
    for place in 0..MAX_EXCEPTIONS {
        let mut exceptions = [over; MAX_EXCEPTIONS];
        exceptions[place] = for_class(1);
        assert_eq!(ask(&exceptions, packet), 1, "{place}");
        let mut policy = policy(&exceptions);
        policy.exception_count = place as u32;
        let found = find(&policy, &packet, CLASS, NOW);
        assert_eq!(found, exception::NOTHING, "{place}");
        // A number that no compiler of policies writes reads nothing behind the list.
        policy.exception_count = u32::MAX;
        assert_eq!(find(&policy, &packet, CLASS, NOW), 1, "{place}");
    }
}

#[test]
fn class_and_action_come_back_as_they_were_put_in() {
    for (class, action) in [
        (Class::TRUSTED, action::ALLOW),
        (Class::RULE_DENY, action::DENY),
        (Class(254), action::FIRST_LIMIT + 63),
    ] {
        let gets = exception::gets(class, action);
        assert_eq!(exception::class_and_action(gets), (class, action));
    }
}

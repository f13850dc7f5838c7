//! Frames written byte by byte, and what the parser must make of each.

use proptest::prelude::*;

use super::{ParseError, parse, parse_into, parse_plain, parse_quoted};
use crate::packet::{Address, IcmpMessage, Packet, TcpFlags, Transport};

mod frames;
use frames::*;

fn parsed(frame: &[u8]) -> Result<Option<Packet>, ParseError> {
    parse(frame)
}

fn transport(frame: &[u8]) -> Result<Transport, ParseError> {
    parsed(frame).map(|packet| packet.expect("an IP frame").transport())
}

const SYN: Transport = Transport::Tcp {
    src_port: 40_000,
    dst_port: 443,
    flags: TcpFlags(0x02),
};
const DNS: Transport = Transport::Udp {
    src_port: 40_000,
    dst_port: 53,
};

#[test]
fn whole_packet_is_read_in_both_families() {
    assert_eq!(
        parsed(&v4(6, &tcp())),
        Ok(Some(Packet::new(
            Address::v4([198, 51, 100, 7]),
            Address::v4([192, 0, 2, 1]),
            64,
            SYN
        )))
    );
    assert_eq!(
        parsed(&v6(17, &udp())),
        Ok(Some(Packet::new(
            Address::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
            Address::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            64,
            DNS
        )))
    );
}

#[test]
fn every_error_has_a_frame_that_causes_it() {
    let ip4 = v4(6, &tcp());
    let ip6 = v6(6, &tcp());
    let cases: [(ParseError, Vec<u8>); 15] = [
        (ParseError::TruncatedEthernet, ip4[..13].to_vec()),
        (
            ParseError::TooManyVlanTags,
            tagged(&[0x88a8, 0x8100, 0x8100], &ip4),
        ),
        (ParseError::TruncatedIpv4, ip4[..33].to_vec()),
        (ParseError::BadIpv4Version, with(&ip4, 14, &[0x65])),
        (ParseError::BadIpv4HeaderLen, with(&ip4, 14, &[0x44])),
        (ParseError::BadIpv4TotalLen, with(&ip4, 16, &[0, 41])),
        (ParseError::TruncatedIpv6, ip6[..53].to_vec()),
        (ParseError::BadIpv6Version, with(&ip6, 14, &[0x40])),
        (ParseError::BadIpv6PayloadLen, with(&ip6, 18, &[0, 21])),
        (ParseError::TruncatedIpv6Ext, v6(60, &[6, 0, 0, 0, 0, 0, 0])),
        (
            ParseError::BadIpv6ExtChain,
            v6(60, &chain(&[60, 0], 6, &tcp())),
        ),
        (ParseError::BadFragment, with(&ip4, 20, &[0x1f, 0xff])),
        (ParseError::TruncatedTransport, v4(6, &tcp()[..19])),
        (
            ParseError::BadTcpHeaderLen,
            v4(6, &with(&tcp(), 12, &[0x40])),
        ),
        (ParseError::BadUdpLen, v4(17, &with(&udp(), 4, &[0, 7]))),
    ];
    for (error, frame) in cases {
        assert_eq!(parsed(&frame), Err(error));
        // The name of the counter is the name of the error.
        let label: String = error.reason().label().replace('_', "");
        assert_eq!(label, format!("{error:?}").to_lowercase());
    }
}

#[test]
fn truncation_at_every_length_is_an_error_of_the_part_that_is_cut() {
    let v4_tcp = v4(6, &tcp());
    let v6_udp = v6(17, &udp());
    let tagged_v4 = tagged(&[0x88a8, 0x8100], &v4(17, &udp()));
    let with_extensions = v6(0, &chain(&[0, 60, 51], 6, &tcp()));
    let with_options = v4_with_options(10, 17, &udp());
    type Part = (usize, ParseError);
    use ParseError::*;
    let cases: [(&str, &[u8], &[Part]); 5] = [
        (
            "IPv4 TCP",
            &v4_tcp,
            &[
                (14, TruncatedEthernet),
                (34, TruncatedIpv4),
                (54, BadIpv4TotalLen),
            ],
        ),
        (
            "IPv6 UDP",
            &v6_udp,
            &[
                (14, TruncatedEthernet),
                (54, TruncatedIpv6),
                (62, BadIpv6PayloadLen),
            ],
        ),
        (
            "two tags",
            &tagged_v4,
            &[
                (22, TruncatedEthernet),
                (42, TruncatedIpv4),
                (50, BadIpv4TotalLen),
            ],
        ),
        (
            "extension headers",
            &with_extensions,
            &[
                (14, TruncatedEthernet),
                (54, TruncatedIpv6),
                (with_extensions.len(), BadIpv6PayloadLen),
            ],
        ),
        (
            "forty bytes of options",
            &with_options,
            &[
                (14, TruncatedEthernet),
                (74, TruncatedIpv4),
                (82, BadIpv4TotalLen),
            ],
        ),
    ];
    for (name, frame, parts) in cases {
        assert_eq!(parts.last().map(|part| part.0), Some(frame.len()), "{name}");
        assert!(transport(frame).is_ok(), "{name}");
        for len in 0..frame.len() {
            let expected = parts.iter().find(|(end, _)| len < *end).map(|part| part.1);
            assert_eq!(parsed(&frame[..len]).err(), expected, "{name}, {len} bytes");
        }
    }
}

#[test]
fn payload_truncated_at_every_length_is_an_error_of_the_transport() {
    // The IP lengths are right here: the sender wrote a short packet.
    for (name, protocol, payload, is_v6) in [
        ("TCP", 6, tcp(), false),
        ("UDP", 17, udp(), false),
        ("ICMP", 1, icmp(8), false),
        ("TCP over IPv6", 6, tcp(), true),
        ("UDP over IPv6", 17, udp(), true),
        ("ICMPv6", 58, icmp(128), true),
    ] {
        for len in 0..payload.len() {
            let cut = &payload[..len];
            let frame = if is_v6 {
                v6(protocol, cut)
            } else {
                v4(protocol, cut)
            };
            assert_eq!(
                transport(&frame),
                Err(ParseError::TruncatedTransport),
                "{name} {len}"
            );
        }
    }
    let long_header = with(&tcp(), 12, &[0xf0]);
    let mut padded = long_header.clone();
    padded.resize(59, 0);
    assert_eq!(
        transport(&v4(6, &long_header)),
        Err(ParseError::BadTcpHeaderLen)
    );
    assert_eq!(transport(&v4(6, &padded)), Err(ParseError::BadTcpHeaderLen));
    padded.push(0);
    assert_eq!(transport(&v4(6, &padded)), Ok(SYN));
}

#[test]
fn up_to_two_tags_of_either_kind_are_read() {
    for frame in [v4(6, &tcp()), v6(6, &tcp())] {
        for tags in [
            &[][..],
            &[0x8100],
            &[0x88a8],
            &[0x8100, 0x8100],
            &[0x88a8, 0x8100],
            &[0x8100, 0x88a8],
        ] {
            assert_eq!(transport(&tagged(tags, &frame)), Ok(SYN), "{tags:x?}");
        }
        for tags in [[0x8100; 3], [0x88a8, 0x8100, 0x8100]] {
            let frame = tagged(&tags, &frame);
            assert_eq!(parsed(&frame), Err(ParseError::TooManyVlanTags));
        }
    }
}

#[test]
fn what_is_not_ip_is_nobodys_business() {
    let ip = v4(6, &tcp());
    for (name, ethertype) in [
        ("ARP", 0x0806u16),
        ("LLDP", 0x88cc),
        ("PPPoE discovery", 0x8863),
        ("PPPoE session", 0x8864),
        ("802.3 length of LLC", 0x0026),
        ("802.3 longest length", 0x05dc),
        ("MPLS", 0x8847),
        ("QinQ of old", 0x9100),
    ] {
        let frame = with(&ip, 12, &ethertype.to_be_bytes());
        assert_eq!(parsed(&frame), Ok(None), "{name}");
        assert_eq!(
            parsed(&tagged(&[0x8100], &frame)),
            Ok(None),
            "{name}, tagged"
        );
    }
}

#[test]
fn ihl_is_at_least_five_and_within_the_frame() {
    let frame = v4(6, &tcp());
    for ihl in 0..=15u8 {
        let expected = match ihl {
            0..=4 => Err(ParseError::BadIpv4HeaderLen),
            5 => Ok(SYN),
            // 40 bytes of packet: what is left is too short for TCP, then there is no payload.
            6..=10 => Err(ParseError::TruncatedTransport),
            _ => Err(ParseError::TruncatedIpv4),
        };
        assert_eq!(
            transport(&with(&frame, 14, &[0x40 | ihl])),
            expected,
            "IHL {ihl}"
        );
    }
}

#[test]
fn total_length_lies_between_header_and_frame_and_ends_the_packet() {
    let frame = v4(17, &udp());
    for total_len in 0..40u8 {
        let expected = match total_len {
            0..=19 | 29.. => Err(ParseError::BadIpv4TotalLen),
            20..=27 => Err(ParseError::TruncatedTransport),
            28 => Ok(DNS),
        };
        assert_eq!(
            transport(&with(&frame, 16, &[0, total_len])),
            expected,
            "{total_len}"
        );
    }
    // Padding of short frames is not payload.
    let mut padded = v4(17, &udp()[..7]);
    padded.resize(60, 0);
    assert_eq!(transport(&padded), Err(ParseError::TruncatedTransport));
}

#[test]
fn ipv6_payload_length_zero_is_an_empty_payload() {
    let empty = |next_header| with(&v6(next_header, &tcp()), 18, &[0, 0]);
    assert_eq!(transport(&empty(6)), Err(ParseError::TruncatedTransport));
    assert_eq!(transport(&empty(60)), Err(ParseError::TruncatedIpv6Ext));
    assert_eq!(transport(&empty(59)), Ok(Transport::Other { protocol: 59 }));
}

#[test]
fn extension_headers_are_walked_in_every_order() {
    let mut orders = Vec::new();
    permutations(&mut [43, 44, 51, 60, 135], 0, &mut orders);
    assert_eq!(orders.len(), 120);
    for order in orders {
        assert_eq!(
            transport(&v6(order[0], &chain(&order, 6, &tcp()))),
            Ok(SYN),
            "{order:?}"
        );
        let first: Vec<u8> = [&[0], &order[..]].concat();
        assert_eq!(
            transport(&v6(0, &chain(&first, 17, &udp()))),
            Ok(DNS),
            "{first:?}"
        );
        for at in 1..=order.len() {
            let mut late = order.clone();
            late.insert(at, 0);
            assert_eq!(
                transport(&v6(late[0], &chain(&late, 6, &tcp()))),
                Err(ParseError::BadIpv6ExtChain),
                "{late:?}"
            );
        }
    }
}

#[test]
fn eight_extension_headers_are_the_most() {
    for number in [43, 51, 60, 135, 139, 140] {
        let eight = vec![number; 8];
        assert_eq!(
            transport(&v6(number, &chain(&eight, 6, &tcp()))),
            Ok(SYN),
            "{number}"
        );
        let nine = vec![number; 9];
        let frame = v6(number, &chain(&nine, 6, &tcp()));
        assert_eq!(
            transport(&frame),
            Err(ParseError::BadIpv6ExtChain),
            "{number}"
        );
    }
    // ESP and unknown headers end the walk.
    for number in [50, 59, 253] {
        let frame = v6(60, &chain(&[60], number, &[60; 8]));
        assert_eq!(transport(&frame), Ok(Transport::Other { protocol: number }));
    }
}

#[test]
fn authentication_header_counts_in_words_of_four_bytes() {
    for (length_field, bytes) in [(0, 8), (1, 12), (4, 24), (255, 1028)] {
        let mut payload = vec![0; bytes];
        payload[..2].copy_from_slice(&[6, length_field]);
        payload.extend(tcp());
        assert_eq!(transport(&v6(51, &payload)), Ok(SYN), "{length_field}");
    }
    let cut = [6, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(transport(&v6(51, &cut)), Err(ParseError::TruncatedIpv6Ext));
}

#[test]
fn later_fragment_has_no_ports() {
    // The payload looks like a TCP header; it is not.
    let later = Ok(Transport::LaterFragment { protocol: 6 });
    for (name, word) in [("last", 0x0001u16), ("middle", 0x2001), ("far", 0x1f00)] {
        let frame = with(&v4(6, &tcp()), 20, &word.to_be_bytes());
        assert_eq!(transport(&frame), later, "{name}");
    }
    for word in [0x0008u16, 0x0009, 0x7ff8] {
        assert_eq!(
            transport(&v6(44, &fragment(6, word, &tcp()))),
            later,
            "{word:#x}"
        );
        // One byte is enough: it overlaps or ends the datagram, which is for the host to judge.
        assert_eq!(
            transport(&v6(44, &fragment(6, word, &[0]))),
            later,
            "{word:#x}"
        );
    }
    // What the first fragment holds may be another extension header.
    assert_eq!(
        transport(&v6(44, &fragment(60, 0x0008, &tcp()))),
        Ok(Transport::LaterFragment { protocol: 60 })
    );
}

#[test]
fn first_fragment_shows_its_ports_or_is_refused_as_tiny() {
    let first = |payload: &[u8], protocol| with(&v4(protocol, payload), 20, &[0x20, 0]);
    assert_eq!(transport(&first(&tcp(), 6)), Ok(SYN));
    assert_eq!(transport(&v6(44, &fragment(6, 1, &tcp()))), Ok(SYN));
    for len in [0, 8, 16, 19] {
        let tiny = &tcp()[..len];
        assert_eq!(
            transport(&first(tiny, 6)),
            Err(ParseError::TruncatedTransport)
        );
        let frame = v6(44, &fragment(6, 1, tiny));
        assert_eq!(transport(&frame), Err(ParseError::TruncatedTransport));
    }
    // The UDP length speaks of the whole datagram.
    let long = with(&udp(), 4, &[0x05, 0]);
    assert_eq!(transport(&first(&long, 17)), Ok(DNS));
    assert_eq!(transport(&v6(44, &fragment(17, 1, &long))), Ok(DNS));
    assert_eq!(transport(&v4(17, &long)), Err(ParseError::BadUdpLen));
    assert_eq!(transport(&v6(17, &long)), Err(ParseError::BadUdpLen));
}

#[test]
fn atomic_fragment_is_a_whole_packet() {
    assert_eq!(transport(&v6(44, &fragment(6, 0, &tcp()))), Ok(SYN));
    let long = with(&udp(), 4, &[0x05, 0]);
    let frame = v6(44, &fragment(17, 0, &long));
    assert_eq!(transport(&frame), Err(ParseError::BadUdpLen));
}

#[test]
fn fragments_end_within_the_largest_datagram() {
    // IPv4: 20 bytes of header, 15 of payload, 8,187 × 8 + 35 = 65,531; one unit more passes the end.
    let v4_at = |units: u16| with(&v4(6, &[0; 15]), 20, &units.to_be_bytes());
    let later = Ok(Transport::LaterFragment { protocol: 6 });
    assert_eq!(transport(&v4_at(8_187)), later);
    assert_eq!(transport(&v4_at(8_188)), Err(ParseError::BadFragment));
    // IPv6: 8,191 × 8 = 65,528, and seven bytes reach 65,535.
    assert_eq!(transport(&v6(44, &fragment(6, 0xfff8, &[0; 7]))), later);
    let beyond = v6(44, &fragment(6, 0xfff8, &[0; 8]));
    assert_eq!(transport(&beyond), Err(ParseError::BadFragment));
}

#[test]
fn udp_length_zero_means_the_whole_payload_over_ipv6_alone() {
    for (len, over_v4, over_v6) in [
        (0, Err(ParseError::BadUdpLen), Ok(DNS)),
        (7, Err(ParseError::BadUdpLen), Err(ParseError::BadUdpLen)),
        (8, Ok(DNS), Ok(DNS)),
        (9, Err(ParseError::BadUdpLen), Err(ParseError::BadUdpLen)),
    ] {
        let payload = with(&udp(), 4, &[0, len]);
        assert_eq!(transport(&v4(17, &payload)), over_v4, "{len}");
        assert_eq!(transport(&v6(17, &payload)), over_v6, "{len}");
    }
}

#[test]
fn protocols_of_the_other_family_are_no_protocols_of_this_one() {
    let other = |protocol| Ok(Transport::Other { protocol });
    assert_eq!(transport(&v4(58, &icmp(135))), other(58));
    assert_eq!(transport(&v6(1, &icmp(3))), other(1));
    assert_eq!(transport(&v4(60, &tcp())), other(60));
    assert_eq!(
        transport(&v6(58, &icmp(135))),
        Ok(Transport::Icmpv6(IcmpMessage {
            message_type: 135,
            code: 4,
            context: 0
        }))
    );
    assert_eq!(
        transport(&v4(1, &icmp(3))),
        Ok(Transport::Icmp(IcmpMessage {
            message_type: 3,
            code: 4,
            context: 14 + 20 + 8
        }))
    );
}

#[test]
fn special_addresses_are_read_as_they_are() {
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 8, 8, 8, 8];
    for source in [
        mapped,
        [0; 16],
        [0xff; 16],
        [0x20, 2, 8, 8, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8],
    ] {
        let frame = with(&v6(6, &tcp()), 22, &source);
        // A v4-mapped source on the wire is a forgery, not an IPv4 address.
        let packet = parsed(&frame).unwrap().unwrap();
        assert_eq!(packet.source(), Address::v6(source));
    }
    for source in [[0; 4], [255; 4], [127, 0, 0, 1], [224, 0, 0, 1]] {
        let packet = parsed(&with(&v4(6, &tcp()), 26, &source)).unwrap().unwrap();
        assert_eq!(packet.source(), Address::v4(source));
    }
}

proptest! {
    #[test]
    fn any_bytes_have_an_outcome_and_padding_does_not_change_a_packet(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        start in prop_oneof![Just(None), Just(Some([0x08, 0, 0x45])), Just(Some([0x86, 0xdd, 0x60]))],
    ) {
        let mut frame = bytes;
        if let (Some(start), true) = (start, frame.len() > 15) {
            frame[12..15].copy_from_slice(&start);
        }
        let outcome = parsed(&frame);
        if let Ok(Some(_)) = outcome {
            frame.extend([0xa5; 64]);
            prop_assert_eq!(parsed(&frame), outcome);
        }
    }
}

#[test]
fn plain_shape_is_taken_in_both_families() {
    for frame in [v4(6, &tcp()), v4(17, &udp()), v6(6, &tcp()), v6(17, &udp())] {
        let plain = parse_plain(&frame[..]);
        assert!(plain.is_some());
        assert_eq!(Ok(plain), parse_into(&frame[..], |packet| packet));
    }
    for frame in [
        v4(1, &icmp(8)),
        v4_with_options(1, 6, &tcp()),
        tagged(&[0x8100], &v4(6, &tcp())),
        v6(60, &chain(&[60], 17, &udp())),
        v6(44, &fragment(17, 1, &udp())),
    ] {
        assert_eq!(parse_plain(&frame[..]), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn plain_shape_says_what_the_whole_parser_says(
        base in 0..4usize,
        // Where the headers are, small numbers among the bytes: lengths, flags and protocols.
        changes in prop::collection::vec((12..74usize, prop_oneof![any::<u8>(), 0..64u8]), 0..4),
        len in 0..80usize,
    ) {
        let mut frame = match base {
            0 => v4(6, &tcp()),
            1 => v4(17, &udp()),
            2 => v6(6, &tcp()),
            _ => v6(17, &udp()),
        };
        // Shorter than what is in it, or padded.
        if len > 40 {
            frame.resize(len, 0);
        }
        for (at, byte) in changes {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        if let Some(packet) = parse_plain(&frame[..]) {
            prop_assert_eq!(parse_into(&frame[..], |packet| packet), Ok(Some(packet)));
        }
    }
}

#[test]
fn echo_has_its_identifier_and_an_error_the_place_of_what_it_quotes() {
    let message = |frame: &[u8]| match transport(frame) {
        Ok(Transport::Icmp(message) | Transport::Icmpv6(message)) => message.context,
        other => panic!("no ICMP: {other:?}"),
    };
    let icmp = |message_type| vec![message_type, 0, 0xde, 0xad, 0x12, 0x34, 0, 1];
    for (message_type, over_v4, over_v6) in [
        (0, 0x1234, 62),
        (1, 0, 62),
        (3, 42, 62),
        (4, 0, 62),
        (5, 0, 62),
        (8, 0x1234, 62),
        (11, 42, 62),
        (12, 42, 62),
        (127, 0, 62),
        (128, 0, 0x1234),
        (129, 0, 0x1234),
        (130, 0, 0),
    ] {
        let payload = icmp(message_type);
        assert_eq!(message(&v4(1, &payload)), over_v4, "{message_type}");
        assert_eq!(message(&v6(58, &payload)), over_v6, "{message_type}");
    }
    assert_eq!(message(&tagged(&[0x88a8, 0x8100], &v4(1, &icmp(3)))), 50);
    assert_eq!(message(&v6(60, &chain(&[60], 58, &icmp(1)))), 70);
}

#[test]
fn quoted_packet_is_read_as_far_as_it_is_quoted() {
    let v4_echo = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    let v6_echo = vec![128, 0, 0, 0, 0x12, 0x34, 0, 1];
    let no_flags = Transport::Tcp {
        src_port: 40_000,
        dst_port: 443,
        flags: TcpFlags(0),
    };
    let echo = |message_type| IcmpMessage::echo(message_type, 0x1234);
    for (name, frame, expected) in [
        ("TCP", v4(6, &tcp()[..8]), Some(no_flags)),
        ("UDP", v4(17, &udp()), Some(DNS)),
        (
            "echo request",
            v4(1, &v4_echo),
            Some(Transport::Icmp(echo(8))),
        ),
        ("echo reply", v4(1, &with(&v4_echo, 0, &[0])), None),
        ("ICMPv6 over IPv4", v4(58, &v6_echo), None),
        ("with options", v4_with_options(10, 17, &udp()), Some(DNS)),
        ("another protocol", v4(50, &udp()), None),
        ("later fragment", with(&v4(17, &udp()), 21, &[1]), None),
        ("IHL of 4", with(&v4(17, &udp()), 14, &[0x44]), None),
        ("version 5", with(&v4(17, &udp()), 14, &[0x55]), None),
        ("TCP over IPv6", v6(6, &tcp()[..8]), Some(no_flags)),
        ("UDP over IPv6", v6(17, &udp()), Some(DNS)),
        (
            "echo over IPv6",
            v6(58, &v6_echo),
            Some(Transport::Icmpv6(echo(128))),
        ),
        ("ICMP over IPv6", v6(1, &v4_echo), None),
        ("extension header", v6(60, &chain(&[60], 17, &udp())), None),
    ] {
        // The quotation stands at the end of a frame, behind whatever comes first.
        for at in [14, 42, 62, 300] {
            let mut quoting = vec![0xff; at];
            quoting.extend(&frame[14..]);
            let quoted = parse_quoted(&quoting[..], at);
            let transport = quoted.map(|packet| packet.transport());
            assert_eq!(transport, expected, "{name} at {at}");
            if expected.is_some() {
                let whole = parsed(&frame[..]).ok().flatten();
                let addresses = |packet: Packet| (packet.source(), packet.destination());
                if let Some(whole) = whole {
                    assert_eq!(quoted.map(addresses), Some(addresses(whole)), "{name}");
                }
                // Ports and identifier are in the first six bytes of the payload, or four.
                let needed = match expected {
                    Some(Transport::Icmp(_) | Transport::Icmpv6(_)) => 2,
                    _ => 4,
                };
                let cut = quoting.len() - (frame.len() - 14 - header_len(&frame)) + 8 - needed;
                assert!(parse_quoted(&quoting[..cut], at).is_some(), "{name}");
                assert_eq!(parse_quoted(&quoting[..cut - 1], at), None, "{name}");
            }
            assert_eq!(parse_quoted(&quoting[..], 13), None);
            assert_eq!(parse_quoted(&quoting[..], usize::MAX), None);
        }
    }
}

/// Of the IP header, bytes.
fn header_len(frame: &[u8]) -> usize {
    match frame[14] >> 4 {
        4 => usize::from(frame[14] & 0x0f) * 4,
        _ => 40,
    }
}

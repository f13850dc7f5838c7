//! Frames that the kernels at hand do not send by themselves: VLAN tags (there is no VLAN device
//! here) and single fragments. The visitor is mute, so all counters are compared.

use integration_tests::{
    frames::{
        Extension, Fragment, Frame, Network, TPID_CUSTOMER, TPID_SERVICE, Transport, VlanTag,
    },
    guarded::{Guarded, LINK, Visitor},
    places::{Family, address_in},
    raw::RawSocket,
};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

const ARRIVAL_LIMIT: Duration = Duration::from_secs(5);
const DNS: u16 = 53;
const NOT_DNS: u16 = 54;

fn config(attach: &str, rest: &str) -> String {
    format!(
        "mode = \"enforce\"\nattach = \"{attach}\"\n\
         [policy]\ndefault = \"deny\"\nunknown = \"deny\"\n\
         [policy.countries]\nMO = \"allow\"\n{rest}"
    )
}

/// Sends `dropped` and then `passing`, and reads at the host until `passing` is there.
///
/// The kernel takes the outermost tag out of what it shows, so frames are told apart by `marker`,
/// which both frames carry at their end with another byte behind it.
fn assert_only_second_arrives(what: &str, sender: &RawSocket, host: &RawSocket, pair: [&[u8]; 2]) {
    let [dropped, passing] = pair;
    sender.send(dropped).unwrap();
    sender.send(passing).unwrap();
    let deadline = Instant::now() + ARRIVAL_LIMIT;
    while let Some(frame) = host.receive(deadline).unwrap() {
        assert_ne!(last(&frame), last(dropped), "{what}: let in");
        if last(&frame) == last(passing) {
            return;
        }
    }
    panic!("{what}: the frame that may pass did not arrive");
}

fn last(frame: &[u8]) -> &[u8] {
    &frame[frame.len() - 16..]
}

fn tagged(net: &Guarded, source: IpAddr, tags: &[(u16, u16)], marker: u8) -> Vec<u8> {
    let mut frame = net.udp_frame(source, DNS, &[marker; 32]);
    frame.vlan_tags = tags
        .iter()
        .map(|(tpid, control)| VlanTag {
            tpid: *tpid,
            control: *control,
        })
        .collect();
    frame.bytes()
}

fn tags_do_not_hide_the_address(attach: &str) {
    let net = Guarded::start(Visitor::Mute, 1500, &config(attach, ""));
    let sender = net.sender();
    let receiver = RawSocket::open(&net.host, LINK).unwrap();
    let readable: [(&str, &[(u16, u16)]); 6] = [
        ("untagged", &[]),
        ("802.1Q", &[(TPID_CUSTOMER, 5)]),
        // VLAN id 0: the tag is there for its priority alone.
        ("priority tag", &[(TPID_CUSTOMER, 0x6000)]),
        ("802.1ad alone", &[(TPID_SERVICE, 5)]),
        (
            "802.1ad and 802.1Q",
            &[(TPID_SERVICE, 5), (TPID_CUSTOMER, 7)],
        ),
        (
            "802.1Q twice, as before 802.1ad",
            &[(TPID_CUSTOMER, 5), (TPID_CUSTOMER, 7)],
        ),
    ];
    let mut marker = 0;
    for family in Family::BOTH {
        let resident = address_in("MO", family, 10, 0);
        let stranger = address_in("DE", family, 10, 0);
        for (name, tags) in readable {
            marker += 2;
            let denied = tagged(&net, stranger, tags, marker);
            let allowed = tagged(&net, resident, tags, marker + 1);
            let what = format!("{attach}: {name}, {family:?}");
            let expected = [("allowed", 1), ("country_denied", 1)];
            let before = net.counts();
            assert_only_second_arrives(&what, &sender, &receiver, [&denied, &allowed]);
            let counted = net.counts().since(&before);
            assert_eq!(counted.by_reason(), expected.into(), "{what}");
            assert_eq!(counted.bytes("allowed"), allowed.len() as u64, "{what}");
        }

        marker += 4;
        let three = [(TPID_SERVICE, 5), (TPID_CUSTOMER, 6), (TPID_CUSTOMER, 7)];
        let from_resident = tagged(&net, resident, &three, marker);
        let from_stranger = tagged(&net, stranger, &three, marker + 1);
        let untagged = tagged(&net, resident, &[], marker + 2);
        let what = format!("{attach}: three tags, {family:?}");
        let before = net.counts();
        let pair: [&[u8]; 2] = [&from_resident, &untagged];
        assert_only_second_arrives(&what, &sender, &receiver, pair);
        let pair: [&[u8]; 2] = [&from_stranger, &untagged];
        assert_only_second_arrives(&what, &sender, &receiver, pair);
        assert_eq!(
            net.counts().since(&before).by_reason(),
            [("allowed", 2), ("too_many_vlan_tags", 2)].into(),
            "{what}"
        );
    }
}

#[test]
fn tags_do_not_hide_the_address_in_native_mode() {
    tags_do_not_hide_the_address("native");
}

#[test]
fn tags_do_not_hide_the_address_in_generic_mode() {
    tags_do_not_hide_the_address("generic");
}

/// A fragment of a UDP datagram of 2,008 bytes; the first has the header, with its whole length.
fn fragment(net: &Guarded, source: IpAddr, port: u16, offset: u16) -> Vec<u8> {
    const DATAGRAM_LEN: u16 = 2_008;
    const FIRST_LEN: u16 = 1_008;
    let mut bytes = vec![0; usize::from(FIRST_LEN)];
    if offset == 0 {
        bytes[0..2].copy_from_slice(&40_000_u16.to_be_bytes());
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        bytes[4..6].copy_from_slice(&DATAGRAM_LEN.to_be_bytes());
    } else {
        // What a careless reader would take for ports: the guarded one, and then another.
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
    }
    let place = Fragment {
        offset,
        more: offset == 0,
        identification: 0x1234_5678,
    };
    let mut frame: Frame = net.frame(
        source,
        Transport::Raw {
            protocol: 17,
            bytes,
        },
    );
    match &mut frame.network {
        Network::V4 { fragment, .. } => *fragment = Some(place),
        Network::V6 { extensions, .. } => extensions.push(Extension::fragment(place)),
    }
    frame.bytes()
}

#[test]
fn first_fragment_is_judged_by_its_ports_and_later_ones_by_address() {
    const LATER: u16 = 1_008;
    let scope = format!("[protect]\nudp = [{DNS}]\n");
    let net = Guarded::start(Visitor::Mute, 1500, &config("native", &scope));
    let sender = net.sender();
    for family in Family::BOTH {
        let resident = address_in("MO", family, 10, 0);
        let stranger = address_in("DE", family, 10, 0);
        let cases = [
            ("first, guarded port", stranger, DNS, 0, "country_denied"),
            ("first, other port", stranger, NOT_DNS, 0, "out_of_scope"),
            // It could belong to the guarded port, whatever stands where a header would be.
            ("later", stranger, DNS, LATER, "country_denied"),
            (
                "later, other port",
                stranger,
                NOT_DNS,
                LATER,
                "country_denied",
            ),
            ("first, guarded port", resident, DNS, 0, "allowed"),
            ("first, other port", resident, NOT_DNS, 0, "out_of_scope"),
            ("later", resident, DNS, LATER, "allowed"),
        ];
        for (name, source, port, offset, reason) in cases {
            let what = format!("{name} from {source}");
            let frame = fragment(&net, source, port, offset);
            net.assert_counts(&what, &sender, &[frame], &[(reason, 1)]);
        }
    }

    // The same with TCP guarded and UDP not: no fragment of a UDP datagram is in scope.
    net.reload(&config("native", &format!("[protect]\ntcp = [{DNS}]\n")));
    for family in Family::BOTH {
        let stranger = address_in("DE", family, 10, 0);
        let frames = [0, LATER].map(|offset| fragment(&net, stranger, DNS, offset));
        net.assert_counts("tcp is guarded", &sender, &frames, &[("out_of_scope", 2)]);
    }
}

#[test]
fn tiny_and_overlong_fragments_are_dropped_whoever_sends_them() {
    let net = Guarded::start(Visitor::Mute, 1500, &config("native", ""));
    let sender = net.sender();
    for family in Family::BOTH {
        let resident = address_in("MO", family, 10, 0);
        let with = |bytes: Vec<u8>, protocol, place| {
            let mut frame = net.frame(resident, Transport::Raw { protocol, bytes });
            match &mut frame.network {
                Network::V4 { fragment, .. } => *fragment = Some(place),
                Network::V6 { extensions, .. } => extensions.push(Extension::fragment(place)),
            }
            frame.bytes()
        };
        let first = Fragment {
            offset: 0,
            more: true,
            identification: 1,
        };
        // The flags of a TCP header would come with the second fragment (RFC 1858 §2).
        let tiny = with(vec![0; 8], 6, first);
        net.assert_counts("tiny", &sender, &[tiny], &[("truncated_transport", 1)]);
        let end = Fragment {
            offset: 65_528,
            more: false,
            identification: 1,
        };
        let overlong = with(vec![0; 64], 17, end);
        net.assert_counts("overlong", &sender, &[overlong], &[("bad_fragment", 1)]);
    }
}

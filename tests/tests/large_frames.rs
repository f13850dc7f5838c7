//! Datagrams in fragments, jumbo frames, and the giants that offloads make of TCP segments.

use integration_tests::{
    guarded::{Guarded, LINK, Visitor, only},
    places::{self, Family, address_in},
    talk::{self, EchoService},
    tap::{Count, Tap},
};
use std::net::{IpAddr, SocketAddr};

const PORT: u16 = 7;
const ETHERNET_LEN: u64 = 14;

fn config(attach: &str) -> String {
    format!(
        "mode = \"enforce\"\nattach = \"{attach}\"\n\
         [policy]\ndefault = \"deny\"\nunknown = \"deny\"\n\
         [policy.countries]\nMO = \"allow\"\n"
    )
}

fn speaking(attach: &str, mtu: u32) -> (Guarded, EchoService, [(IpAddr, IpAddr); 2]) {
    let sources = Family::BOTH.map(|family| {
        (
            address_in("MO", family, 10, 0),
            places::unknown_address(family),
        )
    });
    let addresses: Vec<IpAddr> = sources.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let net = Guarded::start(Visitor::Speaking(&addresses), mtu, &config(attach));
    let echo = EchoService::start(&net.host, &[PORT]);
    (net, echo, sources)
}

fn headers_len(address: IpAddr) -> u64 {
    let network = if address.is_ipv4() { 20 } else { 40 };
    ETHERNET_LEN + network + 8
}

#[test]
fn datagram_in_fragments_is_put_together_behind_the_gate() {
    let (net, _echo, sources) = speaking("native", 1500);
    let text: Vec<u8> = (0..4_000_u32).map(|index| index as u8).collect();
    for (resident, stranger) in sources {
        let target = SocketAddr::new(Guarded::host_address(resident), PORT);
        // 4,008 bytes of UDP in pieces of at most 1,480 (IPv4) or 1,448 (IPv6).
        net.assert_counts_of(&format!("{resident}"), &[("allowed", 3)], || {
            talk::udp_echo(&net.visitor, resident, target, &text).unwrap();
        });
        net.assert_counts_of(&format!("{stranger}"), &[("unknown_denied", 3)], || {
            talk::udp_send(&net.visitor, stranger, target, &text).unwrap();
        });
    }
}

#[test]
fn jumbo_datagram_is_one_frame_and_passes() {
    let (net, _echo, sources) = speaking("native", 9000);
    let text = vec![0x4d; 8_900];
    for (resident, stranger) in sources {
        let target = SocketAddr::new(Guarded::host_address(resident), PORT);
        let before = net.counts();
        net.assert_counts_of(&format!("{resident}"), &[("allowed", 1)], || {
            talk::udp_echo(&net.visitor, resident, target, &text).unwrap();
        });
        assert_eq!(
            net.counts().since(&before).bytes("allowed"),
            headers_len(resident) + 8_900,
            "{resident}: the bytes of all buffers of a frame count"
        );
        net.assert_counts_of(&format!("{stranger}"), &[("unknown_denied", 1)], || {
            talk::udp_send(&net.visitor, stranger, target, &text).unwrap();
        });
    }
}

#[test]
fn largest_datagram_passes_where_the_link_takes_it_whole() {
    let (net, _echo, sources) = speaking("native", 65_535);
    for (resident, _) in sources {
        let target = SocketAddr::new(Guarded::host_address(resident), PORT);
        let text = vec![0x4d; 65_535 - 20 - 8 - if resident.is_ipv4() { 0 } else { 20 }];
        net.assert_counts_of(&format!("{resident}"), &[("allowed", 1)], || {
            talk::udp_echo(&net.visitor, resident, target, &text).unwrap();
        });
    }
}

/// 8 MB there and back; the mean length of the frames that the gate let in.
fn bulk_transfer(attach: &str, mtu: u32) -> u64 {
    let mut mean_len = 0;
    const BULK_LEN: usize = 8_000_000;
    let (net, _echo, sources) = speaking(attach, mtu);
    let text: Vec<u8> = (0..BULK_LEN).map(|index| (index % 251) as u8).collect();
    for (resident, stranger) in sources {
        let target = SocketAddr::new(Guarded::host_address(resident), PORT);
        let resident_alone = only(resident);
        let leaving = Count::FromEitherWay(&resident_alone);
        let mut leaving = Tap::open(&net.visitor, LINK, &leaving).unwrap();
        let before = net.counts();
        talk::tcp_echo(&net.visitor, resident, target, &text)
            .unwrap_or_else(|error| panic!("{resident}, {attach}, MTU {mtu}: {error}"));
        let what = format!("{resident}, {attach}, MTU {mtu}");
        let delta = net.assert_all_counted(&what, "allowed", &mut leaving, &before);
        assert!(
            delta.bytes("allowed") >= BULK_LEN as u64,
            "{resident}, {attach}, MTU {mtu}: only {} bytes",
            delta.bytes("allowed")
        );
        mean_len = delta.bytes("allowed") / delta.packets("allowed");
        println!("{resident}, {attach}, MTU {mtu}: frames of {mean_len} bytes on average");

        let before = net.counts();
        let knock = talk::tcp_knock(&net.visitor, stranger, target).unwrap();
        net.wait_for("unknown_denied", &before, 1);
        assert!(
            !talk::is_connected(&knock),
            "{stranger}, {attach}, MTU {mtu}"
        );
    }
    mean_len
}

#[test]
fn bulk_transfer_works_at_every_mtu_in_native_mode() {
    for mtu in [1500, 9000, 65_535] {
        let mean_len = bulk_transfer("native", mtu);
        // Frames above a page are in several buffers, which takes `xdp(frags)`. The mean counts the
        // short acknowledgements as well.
        assert!(mean_len > u64::from(mtu) / 4, "frames of {mean_len} bytes");
    }
}

/// A veth does no segmentation offload towards a native program, but it does towards a generic one:
/// the gate sees what TCP has made, up to 64 KiB, before anybody cut it up.
#[test]
fn offloaded_segments_pass_in_generic_mode() {
    for mtu in [1500, 9000] {
        let mean_len = bulk_transfer("generic", mtu);
        assert!(mean_len > 9_014, "no giants: frames of {mean_len} bytes");
    }
}

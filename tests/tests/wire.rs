//! The gate between two kernels: real sockets, both families, native and generic mode.

use integration_tests::{
    guarded::{Guarded, LINK, Visitor, only, toml_prefixes},
    places::{self, Family, address_in},
    talk::{self, EchoService},
    tap::{Count, Tap},
};
use std::net::{IpAddr, SocketAddr};

const PORT: u16 = 7;
const OTHER_PORT: u16 = 9;
const MTU: u32 = 1500;

/// One address for each way through the policy.
struct Cast {
    /// Macau, allowed.
    resident: IpAddr,
    /// Germany, denied as everything that is not named.
    stranger: IpAddr,
    unknown: IpAddr,
    private: IpAddr,
    /// Macau, but under `[rules] deny`.
    unwelcome: IpAddr,
    /// Germany, but under `[rules] allow`.
    guest: IpAddr,
    /// Macau, but banned.
    banned: IpAddr,
    /// Germany, denied by rule and banned, but trusted.
    trusted: IpAddr,
}

impl Cast {
    fn new(family: Family) -> Self {
        Self {
            resident: address_in("MO", family, 10, 0),
            stranger: address_in("DE", family, 10, 0),
            unknown: places::unknown_address(family),
            private: places::private_address(family),
            unwelcome: address_in("MO", family, 10, 1),
            guest: address_in("DE", family, 10, 1),
            banned: address_in("MO", family, 10, 2),
            trusted: address_in("DE", family, 10, 2),
        }
    }

    fn everybody(&self) -> [IpAddr; 8] {
        [
            self.resident,
            self.stranger,
            self.unknown,
            self.private,
            self.unwelcome,
            self.guest,
            self.banned,
            self.trusted,
        ]
    }
}

/// Both families' casts behind one gate.
struct Stage {
    casts: [Cast; 2],
    net: Guarded,
    _echo: EchoService,
}

impl Stage {
    fn set(attach: &str) -> Self {
        let casts = Family::BOTH.map(Cast::new);
        let everybody: Vec<IpAddr> = casts.iter().flat_map(Cast::everybody).collect();
        let config = config(attach, &casts, "deny", "");
        let net = Guarded::start(Visitor::Speaking(&everybody), MTU, &config);
        let echo = EchoService::start(&net.host, &[PORT, OTHER_PORT]);
        for cast in &casts {
            for address in [cast.banned, cast.trusted] {
                let ban = ["ban", &address.to_string(), "--for", "1h", "--force"];
                net.cerco.cli(&ban).unwrap();
            }
        }
        let status = net.cerco.cli(&["status", "--json"]).unwrap();
        assert!(
            status.contains(&format!("\"attach_mode\": \"{attach}\"")),
            "{status}"
        );
        Self {
            casts,
            net,
            _echo: echo,
        }
    }
}

fn config(attach: &str, casts: &[Cast; 2], private: &str, rest: &str) -> String {
    let list = |who: fn(&Cast) -> &[IpAddr]| {
        let all: Vec<IpAddr> = casts.iter().flat_map(who).copied().collect();
        toml_prefixes(&all)
    };
    let deny = [
        list(|cast| std::slice::from_ref(&cast.unwelcome)),
        list(|cast| std::slice::from_ref(&cast.trusted)),
    ]
    .join(", ");
    format!(
        "mode = \"enforce\"\nattach = \"{attach}\"\n\
         [policy]\ndefault = \"deny\"\nunknown = \"deny\"\nprivate = \"{private}\"\n\
         [policy.countries]\nMO = \"allow\"\n\
         [trusted]\nprefixes = [{}]\n\
         [rules]\nallow = [{}]\ndeny = [{deny}]\n{rest}",
        list(|cast| std::slice::from_ref(&cast.trusted)),
        list(|cast| std::slice::from_ref(&cast.guest)),
    )
}

/// TCP with data, UDP and ICMP echo work, and every frame of the source is counted as `reason`.
///
/// The kernel decides how many frames a connection takes, so a tap on the visitor's link, before
/// the cable, tells how many must have been counted.
fn assert_served(net: &Guarded, source: IpAddr, port: u16, reason: &str) {
    let what = format!("{source} as {reason}");
    let target = SocketAddr::new(Guarded::host_address(source), port);
    let mut leaving = Tap::open(&net.visitor, LINK, &Count::FromEitherWay(&only(source))).unwrap();
    let before = net.counts();
    talk::tcp_echo(&net.visitor, source, target, &[b'm'; 20_000])
        .unwrap_or_else(|error| panic!("{what}: TCP: {error}"));
    talk::udp_echo(&net.visitor, source, target, b"one datagram")
        .unwrap_or_else(|error| panic!("{what}: UDP: {error}"));
    talk::ping(&net.visitor, source, target.ip())
        .unwrap_or_else(|error| panic!("{what}: echo: {error}"));
    // SYN, ACK, data, FIN, a datagram and an echo request are the least that it takes.
    net.wait_for(reason, &before, 6);
    net.assert_all_counted(&what, reason, &mut leaving, &before);
}

/// The first packet of a connection, a datagram and an echo request: each is counted once as
/// `reason`, and none of them gets to the host.
fn assert_refused(net: &Guarded, source: IpAddr, port: u16, reason: &str) {
    let target = SocketAddr::new(Guarded::host_address(source), port);
    let mut arrived = Tap::open(&net.host, LINK, &Count::From(&only(source))).unwrap();
    // The kernel sends the first one again after a second, in which this may have been stopped.
    let mut leaving = Tap::open(&net.visitor, LINK, &Count::FromEitherWay(&only(source))).unwrap();
    let what = format!("{source} as {reason}");
    let before = net.counts();
    let knock = talk::tcp_knock(&net.visitor, source, target).unwrap();
    net.wait_for(reason, &before, 1);
    assert!(!talk::is_connected(&knock), "{what}");
    drop(knock);
    talk::udp_send(&net.visitor, source, target, b"one datagram").unwrap();
    talk::ping_send(&net.visitor, source, target.ip()).unwrap();
    net.wait_for(reason, &before, 3);
    net.assert_all_counted(&what, reason, &mut leaving, &before);
    assert_eq!(arrived.total().unwrap(), 0, "{what}: frames at the host");
}

fn every_way_through_the_policy(attach: &str) {
    let stage = Stage::set(attach);
    let net = &stage.net;
    for cast in &stage.casts {
        assert_served(net, cast.resident, PORT, "allowed");
        assert_served(net, cast.guest, PORT, "rule_allowed");
        assert_served(net, cast.trusted, PORT, "trusted");
        assert_refused(net, cast.stranger, PORT, "country_denied");
        assert_refused(net, cast.unknown, PORT, "unknown_denied");
        assert_refused(net, cast.private, PORT, "private_denied");
        assert_refused(net, cast.unwelcome, PORT, "rule_denied");
        assert_refused(net, cast.banned, PORT, "banned");
    }

    net.reload(&config(attach, &stage.casts, "allow", ""));
    for cast in &stage.casts {
        assert_served(net, cast.private, PORT, "allowed");
        assert_refused(net, cast.unknown, PORT, "unknown_denied");
    }

    let scope = format!("[protect]\ntcp = [{PORT}]\nudp = [{PORT}]\nprotocols = [1, 58]\n");
    net.reload(&config(attach, &stage.casts, "deny", &scope));
    for cast in &stage.casts {
        assert_refused(net, cast.stranger, PORT, "country_denied");
        assert_served(net, cast.resident, PORT, "allowed");
    }
    let scope = format!("[protect]\ntcp = [{PORT}]\n");
    net.reload(&config(attach, &stage.casts, "deny", &scope));
    for cast in &stage.casts {
        assert_served(net, cast.stranger, OTHER_PORT, "out_of_scope");
        assert_served(net, cast.banned, OTHER_PORT, "out_of_scope");
    }

    net.reload(&config(attach, &stage.casts, "deny", ""));
    net.cerco.cli(&["observe"]).unwrap();
    for cast in &stage.casts {
        assert_served(net, cast.resident, PORT, "allowed");
        assert_served(net, cast.stranger, PORT, "would country_denied");
        assert_served(net, cast.unknown, PORT, "would unknown_denied");
        assert_served(net, cast.private, PORT, "would private_denied");
        assert_served(net, cast.unwelcome, PORT, "would rule_denied");
        assert_served(net, cast.banned, PORT, "would banned");
        assert_served(net, cast.trusted, PORT, "trusted");
    }
    net.cerco.cli(&["enforce", "--yes", "--force"]).unwrap();
    for cast in &stage.casts {
        assert_refused(net, cast.stranger, PORT, "country_denied");
    }
}

#[test]
fn sockets_get_what_the_policy_says_in_native_mode() {
    every_way_through_the_policy("native");
}

#[test]
fn sockets_get_what_the_policy_says_in_generic_mode() {
    every_way_through_the_policy("generic");
}

//! The smallest network with a gate: a host behind it, and a visitor at the other end of the cable.

use crate::{
    counts::{Counts, assert_counted},
    daemon::Cerco,
    frames::{Frame, Network, Transport},
    netns::NetNs,
    places::Family,
    poll,
    raw::RawSocket,
    tap::Tap,
    veth::{End, Mac, Veth, fix_neighbour, set_gro},
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// The link at both ends of the cable; the gate stands on the host's.
pub const LINK: &str = "eth0";
pub const HOST_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x80, 0, 0, 0, 0, 0x10);
/// Nobody's. The gate and the taps do not ask whom a frame is for, but the host's kernel does, and
/// answers nothing: floods go there, since thousands of answers would fill what all namespaces share
/// (the neighbour table, the backlog of each CPU), and other tests would lose frames.
pub const ELSEWHERE: Mac = Mac([0x02, 0xee, 0, 0, 0, 1]);

const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// A host behind the gate and a visitor. Fields are dropped in the order in which they stand.
#[derive(Debug)]
pub struct Guarded {
    pub cerco: Cerco,
    pub host: NetNs,
    pub visitor: NetNs,
    pub veth: Veth,
}

/// Who sits at the visitor's end.
#[derive(Clone, Copy, Debug)]
pub enum Visitor<'a> {
    /// Nobody: the kernel there has no address and IPv6 is off, so that it sends nothing by itself.
    /// Every frame on the cable is then a test's own.
    Mute,
    /// A kernel with these addresses. Neighbour entries are fixed at both ends.
    Speaking(&'a [IpAddr]),
}

impl Guarded {
    /// Lays the cable, and starts the gate on the host's end. `config`: without `interfaces`.
    pub fn start(visitor: Visitor<'_>, mtu: u32, config: &str) -> Self {
        Self::start_with_queues(visitor, mtu, 1, config)
    }

    /// As [`Guarded::start`], over a cable with several queues in each direction: with as many senders, as many CPUs
    /// run the gate at a time.
    pub fn start_with_queues(visitor: Visitor<'_>, mtu: u32, queues: u32, config: &str) -> Self {
        let (host, far) = (NetNs::new().unwrap(), NetNs::new().unwrap());
        if matches!(visitor, Visitor::Mute) {
            for scope in ["all", "default"] {
                far.sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1")
                    .unwrap();
            }
        }
        let addresses: Vec<String> = match visitor {
            Visitor::Mute => Vec::new(),
            Visitor::Speaking(addresses) => addresses.iter().map(whole_prefix).collect(),
        };
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let veth = Veth::with_queues(
            &End {
                netns: &far,
                name: LINK,
                addresses: &addresses,
            },
            &End {
                netns: &host,
                name: LINK,
                addresses: &[&format!("{HOST_V4}/32"), &format!("{HOST_V6}/128")],
            },
            mtu,
            queues,
        )
        .unwrap();
        host.ip(&format!("route add default dev {LINK}")).unwrap();
        host.ip(&format!("-6 route add default dev {LINK}"))
            .unwrap();
        if let Visitor::Speaking(addresses) = visitor {
            far.ip(&format!("route add default dev {LINK}")).unwrap();
            far.ip(&format!("-6 route add default dev {LINK}")).unwrap();
            for address in addresses {
                fix_neighbour(&host, LINK, &address.to_string(), veth.a_mac).unwrap();
            }
            // With it the visitor's end polls a queue of its own, else answers come through the
            // backlog, where those of other tests may leave no room.
            set_gro(&far, LINK, true).unwrap();
            for address in [IpAddr::V4(HOST_V4), HOST_V6.into()] {
                fix_neighbour(&far, LINK, &address.to_string(), veth.b_mac).unwrap();
            }
        }
        let cerco = Cerco::start(&host, &config_of(config)).unwrap();
        Self {
            cerco,
            host,
            visitor: far,
            veth,
        }
    }

    /// Puts another configuration in force; `config` as in [`Guarded::start`].
    pub fn reload(&self, config: &str) {
        self.cerco.write_config(&config_of(config)).unwrap();
        self.cerco.cli(&["reload"]).unwrap();
    }

    pub fn counts(&self) -> Counts {
        Counts::read(self.cerco.pins())
    }

    /// Sends frames one after the other and compares the gate's counters with `expected`: all of
    /// them with a mute visitor, without the kernels' own chatter else.
    pub fn assert_counts(
        &self,
        what: &str,
        sender: &RawSocket,
        frames: &[Vec<u8>],
        expected: &[(&str, u64)],
    ) {
        let before = self.counts();
        for frame in frames {
            sender.send(frame).unwrap();
        }
        assert_counted(what, || self.counts().since(&before), expected);
    }

    /// Runs `body` and compares what the gate counted meanwhile, without the kernels' chatter.
    pub fn assert_counts_of<T>(
        &self,
        what: &str,
        expected: &[(&str, u64)],
        body: impl FnOnce() -> T,
    ) -> T {
        let before = self.counts();
        let result = body();
        let delta = || self.counts().since(&before).without_chatter();
        assert_counted(what, delta, expected);
        result
    }

    /// Waits until `count` packets more than in `before` were counted under `reason`.
    pub fn wait_for(&self, reason: &str, before: &Counts, count: u64) {
        poll::until(
            &format!("count {count} packets as {reason}"),
            SETTLE_LIMIT,
            || (self.counts().since(before).packets(reason) >= count).then_some(()),
        )
        .unwrap_or_else(|error| panic!("{error}; counted: {:?}", self.counts().since(before)));
    }

    /// Waits until everything that `leaving`, a tap at the visitor's end, saw since `before` is
    /// counted as `reason`, and nothing as anything else; the kernels' chatter aside.
    ///
    /// For sockets, whose kernel decides how many frames it takes.
    pub fn assert_all_counted(
        &self,
        what: &str,
        reason: &str,
        leaving: &mut Tap,
        before: &Counts,
    ) -> Counts {
        let mut seen = (Counts::default(), 0);
        poll::until("count all frames", SETTLE_LIMIT, || {
            let delta = self.counts().since(before).without_chatter();
            seen = (delta, leaving.total().unwrap());
            (seen.0.by_reason() == [(reason, seen.1)].into()).then_some(())
        })
        .unwrap_or_else(|error| {
            let (counted, sent) = &seen;
            panic!("{what}: {error}; {sent} frames sent, counted: {counted:?}")
        });
        seen.0
    }

    /// A sender of whole frames at the visitor's end.
    pub fn sender(&self) -> RawSocket {
        RawSocket::open_sender(&self.visitor, LINK).unwrap()
    }

    /// The host's address in the family of `source`.
    pub fn host_address(like: IpAddr) -> IpAddr {
        match like {
            IpAddr::V4(_) => HOST_V4.into(),
            IpAddr::V6(_) => HOST_V6.into(),
        }
    }

    /// As [`Guarded::host_address`].
    pub fn host_in(family: Family) -> IpAddr {
        match family {
            Family::V4 => HOST_V4.into(),
            Family::V6 => HOST_V6.into(),
        }
    }

    /// The two ends' link-layer addresses, visitor first.
    pub fn macs(&self) -> (Mac, Mac) {
        (self.veth.a_mac, self.veth.b_mac)
    }

    /// A UDP datagram to the host, from port 40000.
    pub fn udp_frame(&self, source: IpAddr, port: u16, payload: &[u8]) -> Frame {
        let (visitor, host) = self.macs();
        Frame::udp(
            (visitor, SocketAddr::new(source, 40_000)),
            (host, SocketAddr::new(Self::host_address(source), port)),
            payload,
        )
    }

    /// Any packet to the host without options, extension headers or tags.
    pub fn frame(&self, source: IpAddr, transport: Transport) -> Frame {
        let (visitor, host) = self.macs();
        let network = Network::plain(source, Self::host_address(source));
        Frame::new(visitor, host, network, transport)
    }
}

/// A set of one.
pub fn only(address: IpAddr) -> BTreeSet<IpAddr> {
    BTreeSet::from([address])
}

/// `ADDRESS/32` or `ADDRESS/128`.
pub fn whole_prefix(address: &IpAddr) -> String {
    let prefix_len = if address.is_ipv4() { 32 } else { 128 };
    format!("{address}/{prefix_len}")
}

/// The addresses as the items of a TOML list of prefixes.
pub fn toml_prefixes(addresses: &[IpAddr]) -> String {
    addresses
        .iter()
        .map(|address| format!("\"{}\"", whole_prefix(address)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn config_of(config: &str) -> String {
    format!("interfaces = [\"{LINK}\"]\n{config}")
}

//! The decision on the host, over the very tables that the kernel uses.

use std::{borrow::Borrow, net::IpAddr, sync::atomic::AtomicU64};

use aya::maps::MapData;
use filter_common::{
    abi::{self, BanKey, Control, PORT_SETS, PolicyBlock, PortSet},
    decide::{self, Charge},
    exception, flow,
    limit::StampSet,
    packet::{Address, Family, IcmpMessage, Packet, TcpFlags, Transport, protocol},
    table::{self, Line},
    verdict::Decision,
};

use super::{
    Gate, KernelError,
    bans::{BanMap, boot_ns},
    mapped::MappedArray,
};

/// The traffic that a question is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// The first segment of a connection to this port.
    Tcp(u16),
    /// A datagram to this port.
    Udp(u16),
    /// An echo request.
    Ping,
}

impl Gate {
    /// What a packet from `source` to `destination` would get in enforce mode. Charges no limit: the
    /// source counts as rested.
    pub fn decide(
        &self,
        source: IpAddr,
        destination: IpAddr,
        service: Service,
    ) -> Result<Decision, KernelError> {
        Ok(self.explain(source, destination, service)?.0)
    }

    /// As [`Self::decide`], and the exception that has a say in it.
    pub fn explain(
        &self,
        source: IpAddr,
        destination: IpAddr,
        service: Service,
    ) -> Result<(Decision, Option<abi::Exception>), KernelError> {
        let source = Address::from(source);
        let transport = match (service, source.family()) {
            (Service::Tcp(dst_port), _) => Transport::Tcp {
                src_port: 0xffff,
                dst_port,
                flags: TcpFlags(TcpFlags::SYN),
            },
            (Service::Udp(dst_port), _) => Transport::Udp {
                src_port: 0xffff,
                dst_port,
            },
            // Echo request: type 8 (RFC 792) and 128 (RFC 4443 §4.1).
            (Service::Ping, Family::V4) => Transport::Icmp(IcmpMessage::echo(8, 0)),
            (Service::Ping, Family::V6) => Transport::Icmpv6(IcmpMessage::echo(128, 0)),
        };
        let packet = Packet::new(source, destination.into(), 64, transport);
        let snapshot = Snapshot {
            control: &self.control,
            policy: &self.policy,
            ports: &self.ports,
            table: &self.table()?,
            bans: &self.bans_map()?,
            generation: self.generation(),
        };
        let decision = decide::decide(&snapshot, &packet);
        // Only of the stages behind the exceptions it can be said that one decided.
        let exception = decision.class.and_then(|_| {
            let policy = decide::Gate::policy(&snapshot)?;
            let class = table::lookup(&decide::Gate::table(&snapshot)?, &source)?;
            exception::first(policy, &packet, class, boot_ns()).copied()
        });
        Ok((decision, exception))
    }
}

impl Service {
    /// The IP protocol number, for a source of that family.
    pub fn protocol(self, source: IpAddr) -> u8 {
        match (self, source) {
            (Self::Tcp(_), _) => protocol::TCP,
            (Self::Udp(_), _) => protocol::UDP,
            (Self::Ping, IpAddr::V4(_)) => protocol::ICMP,
            (Self::Ping, IpAddr::V6(_)) => protocol::ICMPV6,
        }
    }
}

/// The maps of a gate, with the generation that decides now. A publication while this looks is the
/// daemon's alone to prevent, as it does; others look again when the generation has changed.
pub(super) struct Snapshot<'a, M> {
    pub control: &'a MappedArray<Control>,
    pub policy: &'a MappedArray<PolicyBlock>,
    pub ports: &'a MappedArray<PortSet>,
    pub table: &'a MappedArray<Line>,
    pub bans: &'a BanMap<M>,
    pub generation: Option<usize>,
}

impl<M: Borrow<MapData>> decide::Gate for Snapshot<'_, M> {
    type Stamps<'a>
        = Rested
    where
        Self: 'a;
    type Table<'a>
        = &'a [Line]
    where
        Self: 'a;
    type Flows<'a>
        = &'a [AtomicU64; 2 * flow::WAYS]
    where
        Self: 'a;

    fn control(&self) -> &Control {
        self.control
            .get(0)
            .expect("invariant: the control map has one value")
    }

    fn policy(&self) -> Option<&PolicyBlock> {
        self.policy.get(self.generation?)
    }

    fn port_set(&self, index: usize) -> Option<&PortSet> {
        self.ports.get(self.generation? * PORT_SETS + index)
    }

    fn table(&self) -> Option<&[Line]> {
        let lines = self.control().lines_per_generation as usize;
        Some(self.table.slice(self.generation? * lines, lines))
    }

    fn ban_expiry_ns(&self, key: &BanKey) -> Option<u64> {
        self.bans.get(key, 0).ok()
    }

    fn stamps(&self, _kind: Charge, _index: u32) -> Option<Rested> {
        Some(Rested)
    }

    fn now_ns(&self) -> u64 {
        boot_ns()
    }

    fn recent_ns(&self) -> u64 {
        boot_ns()
    }

    /// What asks is a question about strangers: who is answered is known only from the whole tuple.
    fn flow_set(&self, _index: u32) -> Option<&[AtomicU64; 2 * flow::WAYS]> {
        None
    }

    fn quoted(&self, _offset: u16) -> Option<Packet> {
        None
    }
}

/// A set in which nobody has sent anything, and which remembers nothing.
#[derive(Clone, Copy)]
pub(super) struct Rested;

impl StampSet for Rested {
    fn load(&self, _way: usize) -> u64 {
        0
    }

    fn compare_exchange(&self, _way: usize, _old: u64, _new: u64) -> bool {
        true
    }
}

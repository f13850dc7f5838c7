//! The decision on the host, over the very tables that the kernel uses.

use std::net::IpAddr;

use filter_common::{
    abi::{BanKey, Control, PORT_SETS, PolicyBlock, PortSet},
    decide::{self, Charge},
    limit::StampSet,
    packet::{Address, Family, Packet, TcpFlags, Transport, protocol},
    table::Line,
    verdict::Decision,
};

use super::{Gate, KernelError, bans::boot_ns, mapped::MappedArray};

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
            (Service::Ping, Family::V4) => Transport::Icmp {
                message_type: 8,
                code: 0,
            },
            (Service::Ping, Family::V6) => Transport::Icmpv6 {
                message_type: 128,
                code: 0,
            },
        };
        let packet = Packet::new(source, destination.into(), 64, transport);
        let snapshot = Snapshot {
            gate: self,
            generation: self.generation(),
            table: self.table()?,
        };
        Ok(decide::decide(&snapshot, &packet))
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

/// The gate with the generation that decides now. Publications come from the owner of the `Gate`
/// too, so none happens while this looks.
struct Snapshot<'a> {
    gate: &'a Gate,
    generation: Option<usize>,
    table: MappedArray<Line>,
}

impl decide::Gate for Snapshot<'_> {
    type Stamps<'a>
        = Rested
    where
        Self: 'a;

    fn control(&self) -> &Control {
        self.gate
            .control
            .get(0)
            .expect("invariant: the control map has one value")
    }

    fn policy(&self) -> Option<&PolicyBlock> {
        self.gate.policy.get(self.generation?)
    }

    fn port_set(&self, index: usize) -> Option<&PortSet> {
        self.gate.ports.get(self.generation? * PORT_SETS + index)
    }

    fn line(&self, index: u32) -> Option<&Line> {
        let first = self.generation? * self.gate.lines_per_generation;
        self.table.get(first + index as usize)
    }

    fn ban_expiry_ns(&self, key: &BanKey) -> Option<u64> {
        self.gate.bans_map().ok()?.get(key, 0).ok()
    }

    fn stamps(&self, _kind: Charge, _index: u32) -> Option<Rested> {
        Some(Rested)
    }

    fn now_ns(&self) -> u64 {
        boot_ns()
    }

    fn is_reply(&self, _packet: &Packet) -> bool {
        false
    }
}

/// A set in which nobody has sent anything, and which remembers nothing.
struct Rested;

impl StampSet for Rested {
    fn load(&self, _way: usize) -> u64 {
        0
    }

    fn compare_exchange(&self, _way: usize, _old: u64, _new: u64) -> bool {
        true
    }
}

//! The decision on the host, over the very tables that the kernel uses.

use std::{borrow::Borrow, net::IpAddr, sync::atomic::AtomicU64};

use aya::maps::MapData;
use filter_common::{
    abi::{self, BanKey, Control, PORT_SETS, PolicyBlock, PortSet},
    country::Class,
    decide::{self, Charge},
    exception, flow,
    limit::StampSet,
    packet::{Address, Family, IcmpMessage, Packet, TcpFlags, Transport, protocol},
    table::{self, Line},
    verdict::{Decision, Verdict},
};

use super::{
    Gate, KernelError,
    bans::{BanMap, boot_ns},
    mapped::MappedArray,
};
use crate::{
    compile::{CompiledPolicy, action_in_place_of},
    policy::Action,
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
        Ok(self.oracle()?.decide(source, destination, service))
    }

    /// As [`Self::decide`], and the exception that has a say in it.
    pub fn explain(
        &self,
        source: IpAddr,
        destination: IpAddr,
        service: Service,
    ) -> Result<(Decision, Option<abi::Exception>), KernelError> {
        let oracle = self.oracle()?;
        let snapshot = oracle.snapshot(Planned::Running);
        let packet = packet(source, destination, service);
        let decision = decide::decide(&snapshot, &packet);
        // Only of the stages behind the exceptions it can be said that one decided.
        let exception = decision.class.and_then(|_| {
            let policy = decide::Gate::policy(&snapshot)?;
            let class = table::lookup(&decide::Gate::table(&snapshot)?, &packet.source())?;
            exception::first(policy, &packet, class, boot_ns()).copied()
        });
        Ok((decision, exception))
    }

    /// Decides as the gate does; cheaper than [`Gate::decide`] for many packets.
    pub fn oracle(&self) -> Result<Oracle<'_>, KernelError> {
        Ok(Oracle {
            gate: self,
            table: self.table()?,
            bans: self.bans_map()?,
        })
    }

    /// The policy in force with other actions, to be judged before they come in force.
    pub fn policy_with(&self, actions: &[(Class, Action)]) -> Option<Box<PolicyBlock>> {
        let mut policy = Box::new(*self.policy.get(self.generation()?)?);
        for (class, action) in actions {
            let place = &mut policy.actions[usize::from(class.0)];
            *place = action_in_place_of(*place, *action);
        }
        Some(policy)
    }
}

/// A gate as it stands, to be asked about packets.
pub struct Oracle<'a> {
    gate: &'a Gate,
    table: MappedArray<Line>,
    bans: BanMap<&'a MapData>,
}

/// What may come in force.
#[derive(Clone, Copy)]
pub enum Planned<'a> {
    /// What is.
    Running,
    /// What a trial falls back to.
    Before,
    /// Other actions in the running policy, see [`Gate::policy_with`].
    Actions(&'a PolicyBlock),
    /// Another policy, with its table.
    Compiled(&'a CompiledPolicy),
}

impl Oracle<'_> {
    fn snapshot<'a>(&'a self, planned: Planned<'a>) -> Snapshot<'a, &'a MapData> {
        let generation = match planned {
            Planned::Before => self.gate.generation_before(),
            _ => self.gate.generation(),
        };
        let standing = Snapshot::of_generation(
            generation,
            &self.gate.control,
            &self.gate.policy,
            &self.gate.ports,
            &self.table,
            &self.bans,
        );
        match planned {
            Planned::Running | Planned::Before => standing,
            Planned::Actions(policy) => Snapshot {
                policy: Some(policy),
                ..standing
            },
            Planned::Compiled(compiled) => Snapshot {
                policy: Some(&compiled.policy),
                ports: Some(&compiled.ports[..]),
                table: Some(&compiled.lines),
                ..standing
            },
        }
    }

    /// As [`Gate::decide`].
    pub fn decide(&self, source: IpAddr, destination: IpAddr, service: Service) -> Decision {
        self.decide_under(Planned::Running, source, destination, service)
    }

    /// The same under what may come, with the bans that are in force now.
    pub fn decide_under(
        &self,
        planned: Planned<'_>,
        source: IpAddr,
        destination: IpAddr,
        service: Service,
    ) -> Decision {
        let snapshot = self.snapshot(planned);
        decide::decide(&snapshot, &packet(source, destination, service))
    }

    /// Until when what passes now goes on to pass, when rules that end have a say in it: nanoseconds of
    /// CLOCK_BOOTTIME. `None`: for ever, or it does not pass now. `and_then`: what else comes to a decision.
    pub fn passes_until(
        &self,
        planned: Planned<'_>,
        source: IpAddr,
        destination: IpAddr,
        service: Service,
        and_then: impl Fn(Decision) -> Decision,
    ) -> Option<u64> {
        let mut snapshot = self.snapshot(planned);
        let packet = packet(source, destination, service);
        let mut passes = |time: Option<u64>| {
            snapshot.time = time;
            and_then(decide::decide(&snapshot, &packet)).verdict == Verdict::Pass
        };
        if !passes(None) {
            return None;
        }
        let policy = self.snapshot(planned).policy?;
        let exceptions = policy.exceptions.iter();
        let mut ends: Vec<u64> = exceptions
            .take(policy.exception_count as usize)
            .map(|it| it.until_ns)
            .filter(|end| (boot_ns()..abi::exception::NO_END).contains(end))
            .collect();
        ends.sort_unstable();
        ends.into_iter().find(|end| !passes(Some(*end)))
    }
}

/// A packet as [`Gate::decide`] asks about.
pub fn packet(source: IpAddr, destination: IpAddr, service: Service) -> Packet {
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
    Packet::new(source, destination.into(), 64, transport)
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

/// What a gate decides by, of one generation. A publication while this looks is the daemon's alone to
/// prevent, as it does; others look again when the generation has changed.
pub(super) struct Snapshot<'a, M> {
    control: &'a MappedArray<Control>,
    policy: Option<&'a PolicyBlock>,
    ports: Option<&'a [PortSet]>,
    table: Option<&'a [Line]>,
    bans: &'a BanMap<M>,
    /// Nanoseconds of CLOCK_BOOTTIME; `None`: now.
    time: Option<u64>,
}

impl<'a, M> Snapshot<'a, M> {
    /// One of the generations in the maps of a gate.
    pub(super) fn of_generation(
        generation: Option<usize>,
        control: &'a MappedArray<Control>,
        policy: &'a MappedArray<PolicyBlock>,
        ports: &'a MappedArray<PortSet>,
        table: &'a MappedArray<Line>,
        bans: &'a BanMap<M>,
    ) -> Self {
        let lines = control.read(0).lines_per_generation as usize;
        Self {
            control,
            policy: generation.and_then(|generation| policy.get(generation)),
            ports: generation.map(|generation| ports.slice(generation * PORT_SETS, PORT_SETS)),
            table: generation.map(|generation| table.slice(generation * lines, lines)),
            bans,
            time: None,
        }
    }
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
        self.policy
    }

    fn port_set(&self, index: usize) -> Option<&PortSet> {
        self.ports?.get(index)
    }

    fn table(&self) -> Option<&[Line]> {
        self.table
    }

    fn ban_expiry_ns(&self, key: &BanKey) -> Option<u64> {
        self.bans.get(key, 0).ok()
    }

    fn stamps(&self, _kind: Charge, _index: u32) -> Option<Rested> {
        Some(Rested)
    }

    fn now_ns(&self) -> u64 {
        self.time.unwrap_or_else(boot_ns)
    }

    fn recent_ns(&self) -> u64 {
        self.now_ns()
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

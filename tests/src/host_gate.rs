//! The memory of a gate as plain values: the oracle that the kernel's decisions are compared with.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use filter_common::{
    abi::{
        BanKey, Control, FLOW_SETS, NO_BAN_LENGTH, PORT_SETS, PolicyBlock, PortSet, reply_ports,
    },
    ban::ban_key,
    decide::{Charge, Gate, decide},
    flow,
    frame::FrameBytes,
    limit::{StampSet, WAYS},
    packet::{Address, Packet, Transport},
    parse::{parse, parse_quoted},
    table::Line,
    track::{self, FlowMemory},
    verdict::{Decision, Reason},
};
use filter_userspace::compile::CompiledPolicy;
use ipnetwork::IpNetwork;

type StampArray = Vec<[AtomicU64; WAYS]>;

/// One generation of a gate, with a clock that the test sets.
pub struct HostGate {
    pub control: Control,
    /// `None`: nothing is published.
    pub policy: Option<Box<PolicyBlock>>,
    pub ports: Box<[PortSet; PORT_SETS]>,
    pub lines: Vec<Line>,
    /// Prefix → expiry, nanoseconds of the clock.
    pub bans: HashMap<BanKey, u64>,
    pub packet_stamps: StampArray,
    pub connection_stamps: StampArray,
    /// Hash and word of each flow, by set.
    pub flows: Vec<[AtomicU64; 2 * flow::WAYS]>,
    /// Nanoseconds; the test moves it.
    pub now_ns: u64,
}

/// A gate, and the frame that it decides on.
struct OneFrame<'a, F: ?Sized> {
    gate: &'a HostGate,
    frame: &'a F,
}

impl HostGate {
    /// A gate that has published `compiled`, without bans, every source rested.
    pub fn new(compiled: &CompiledPolicy) -> Self {
        let mut gate = Self {
            control: Control {
                published: 1,
                interface_count: 1,
                limiter_seed: [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344],
                ..Control::EMPTY
            },
            policy: None,
            ports: Box::new([PortSet([0; 1024]); PORT_SETS]),
            lines: Vec::new(),
            bans: HashMap::new(),
            packet_stamps: stamps(compiled.policy.packet_set_mask),
            connection_stamps: stamps(compiled.policy.connection_set_mask),
            flows: (0..FLOW_SETS).map(|_| Default::default()).collect(),
            now_ns: 0,
        };
        gate.publish(compiled);
        gate
    }

    /// Replaces table, policy and ports; bans and stamps stay, as in the kernel. A policy that uses more
    /// of the stamps than the first one would find them missing.
    pub fn publish(&mut self, compiled: &CompiledPolicy) {
        self.lines.clone_from(&compiled.lines);
        self.ports.clone_from(&compiled.ports);
        self.policy = Some(compiled.policy.clone());
    }

    /// Bans a prefix until the clock shows `expiry_ns`.
    ///
    /// # Panics
    /// When the bans of a family have more than [`filter_common::abi::MAX_BAN_LENGTHS`] lengths.
    pub fn ban(&mut self, prefix: IpNetwork, expiry_ns: u64) {
        let (lengths, address) = match prefix {
            IpNetwork::V4(v4) => (
                &mut self.control.ban_lengths_v4,
                Address::v4(v4.ip().octets()),
            ),
            IpNetwork::V6(v6) => (
                &mut self.control.ban_lengths_v6,
                Address::v6(v6.ip().octets()),
            ),
        };
        if !lengths.contains(&prefix.prefix()) {
            let free = lengths.iter().position(|length| *length == NO_BAN_LENGTH);
            lengths[free.expect("room for one more length")] = prefix.prefix();
        }
        self.bans
            .insert(ban_key(&address, prefix.prefix()), expiry_ns);
    }

    /// Remembers that this host sent a packet.
    pub fn send(&mut self, packet: &Packet) {
        let now = flow::tick(self.now_ns);
        track::sent(&HostFlows { gate: self, now }, packet);
        let (protocol, port) = match packet.transport() {
            Transport::Tcp { src_port, .. } => (reply_ports::TCP, src_port),
            Transport::Udp { src_port, .. } => (reply_ports::UDP, src_port),
            _ => return,
        };
        for set in &mut self.control.reply_ports {
            set[protocol].0[usize::from(port) / 64] |= 1 << (port % 64);
        }
    }

    /// What becomes of a frame in enforce mode.
    pub fn decide<F: FrameBytes + ?Sized>(&self, frame: &F) -> Decision {
        match parse(frame) {
            Ok(Some(packet)) => decide(&OneFrame { gate: self, frame }, &packet),
            Ok(None) => Decision::new(Reason::NotIp, None),
            Err(error) => Decision::new(error.reason(), None),
        }
    }
}

/// The flow table of a gate, to be written.
struct HostFlows<'a> {
    gate: &'a HostGate,
    now: u32,
}

impl FlowMemory for HostFlows<'_> {
    type Flows<'a>
        = &'a [AtomicU64; 2 * flow::WAYS]
    where
        Self: 'a;
    type Heard<'a>
        = &'a [AtomicU64; flow::HEARD_WAYS]
    where
        Self: 'a;

    fn control(&self) -> &Control {
        &self.gate.control
    }

    fn flow_set(&self, index: u32) -> Option<Self::Flows<'_>> {
        self.gate.flows.get(index as usize)
    }

    /// Nobody else has begun anything here.
    fn heard_set(&self, _index: u32) -> Option<Self::Heard<'_>> {
        None
    }

    fn now(&self) -> u32 {
        self.now
    }

    /// [`HostGate::send`] does that.
    fn open_port(&self, _kind: flow::Kind, _port: u16) {}
}

fn stamps(set_mask: u32) -> StampArray {
    (0..=set_mask)
        .map(|_| [const { AtomicU64::new(0) }; WAYS])
        .collect()
}

impl<F: FrameBytes + ?Sized> Gate for OneFrame<'_, F> {
    type Stamps<'a>
        = HostStamps<'a>
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
        &self.gate.control
    }

    fn policy(&self) -> Option<&PolicyBlock> {
        self.gate.policy.as_deref()
    }

    fn port_set(&self, index: usize) -> Option<&PortSet> {
        self.gate.ports.get(index)
    }

    fn table(&self) -> Option<&[Line]> {
        Some(&self.gate.lines)
    }

    fn ban_expiry_ns(&self, key: &BanKey) -> Option<u64> {
        self.gate.bans.get(key).copied()
    }

    fn stamps(&self, kind: Charge, index: u32) -> Option<HostStamps<'_>> {
        let array = match kind {
            Charge::Packet => &self.gate.packet_stamps,
            Charge::NewConnection => &self.gate.connection_stamps,
        };
        array.get(index as usize).map(HostStamps)
    }

    fn now_ns(&self) -> u64 {
        self.gate.now_ns
    }

    fn recent_ns(&self) -> u64 {
        self.gate.now_ns
    }

    fn flow_set(&self, index: u32) -> Option<Self::Flows<'_>> {
        self.gate.flows.get(index as usize)
    }

    fn quoted(&self, offset: u16) -> Option<Packet> {
        parse_quoted(self.frame, offset.into())
    }
}

/// One set of a limiter array, on real atomics.
#[derive(Clone, Copy)]
pub struct HostStamps<'a>(&'a [AtomicU64; WAYS]);

impl StampSet for HostStamps<'_> {
    fn load(&self, way: usize) -> u64 {
        self.0[way].load(Ordering::SeqCst)
    }

    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool {
        self.0[way]
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

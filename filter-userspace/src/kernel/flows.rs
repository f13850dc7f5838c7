//! The flow table from the host's side: kept over restarts, filled with what is open already, and the
//! port sets that spare most packets the question.

use std::{
    mem::offset_of,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{EbpfLoader, maps::MapData};
use filter_common::{
    abi::{ABI_VERSION, Control, FLOW_SETS, HEARD_SETS, PortSet, REPLY_PORT_SETS, reply_ports},
    flow::{self, HEARD_WAYS, Kind, WAYS, state},
    packet::{Address, Packet, TcpFlags, Transport},
    track::{self, FlowMemory},
};

use super::{
    Gate, KernelError, Pinned,
    bans::boot_ns,
    load::array,
    mapped::MappedArray,
    pins::{self, PinPaths},
    sockets::{self, OpenSocket, Protocol},
};

pub(super) const FLOWS: &str = "FLOWS";
pub(super) const HEARD: &str = "HEARD";

type FlowWords = [u64; 2 * WAYS];
type HeardWords = [u64; HEARD_WAYS];

/// Flows that have not ended, by protocol.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FlowCount {
    pub tcp: u64,
    pub udp: u64,
    pub echo: u64,
}

/// The flow maps of an earlier load, with which this one goes on: no connection is forgotten.
pub(super) struct KeptFlows {
    paths: [(&'static str, PathBuf); 2],
    seed: [u64; 2],
    trackers_since: u32,
}

impl KeptFlows {
    /// `None`: there are none, or they are of another build; the log says why.
    pub(super) fn find(paths: &PinPaths) -> Option<Self> {
        match Self::open(paths) {
            Ok(kept) => kept,
            Err(reason) => {
                tracing::warn!(
                    "the flow table starts anew, filled from the open sockets: {reason}"
                );
                None
            }
        }
    }

    fn open(paths: &PinPaths) -> Result<Option<Self>, String> {
        let of = |name| paths.map(name);
        if !of(FLOWS).exists() {
            return Ok(None);
        }
        let text = |error: KernelError| error.to_string();
        let version = pins::abi_version_of(&paths.maps_directory()).map_err(text)?;
        if version != ABI_VERSION {
            return Err(format!(
                "the maps here are of ABI version {version}, this cerco speaks {ABI_VERSION}"
            ));
        }
        let control = pins::pinned_control(paths).map_err(text)?.read(0);
        for (name, value_bytes, len) in [
            (FLOWS, size_of::<FlowWords>(), FLOW_SETS),
            (HEARD, size_of::<HeardWords>(), HEARD_SETS),
        ] {
            pins::check_array(&of(name), name, value_bytes, len)?;
        }
        Ok(Some(Self {
            paths: [(FLOWS, of(FLOWS)), (HEARD, of(HEARD))],
            seed: control.flow_seed,
            trackers_since: control.trackers_since,
        }))
    }

    /// Makes `loader` use these maps.
    pub(super) fn give_to(&self, loader: &mut EbpfLoader<'_>) {
        for (name, path) in &self.paths {
            loader.map_pin_path(name, path.clone());
        }
    }

    /// `control` with what these flows were hashed with, and since when the trackers have stood.
    pub(super) fn go_on(&self, control: Control) -> Control {
        Control {
            flow_seed: self.seed,
            trackers_since: self.trackers_since,
            ..control
        }
    }
}

impl Gate {
    /// Writes the port sets anew from the flow table and puts them in use, so that ports whose flows are
    /// over are not asked about any more. No flow is missed meanwhile: the programs in the kernel add to both
    /// pairs of sets, after they have laid a flow down.
    pub fn renew_reply_ports(&self) -> Result<FlowCount, KernelError> {
        let flows: MappedArray<FlowWords> = MappedArray::new(array(&self.ebpf, FLOWS)?, FLOWS)?;
        let in_use = self
            .control
            .word(0, offset_of!(Control, reply_ports_in_use));
        let next = (in_use.load(Ordering::Acquire) as usize + 1) % REPLY_PORT_SETS;
        for protocol in [reply_ports::TCP, reply_ports::UDP] {
            for port in (0..=u16::MAX).step_by(u64::BITS as usize) {
                self.reply_port_word(next, protocol, port)
                    .store(0, Ordering::Release);
            }
        }
        let count = count_alive(&flows, &self.control, |protocol, port| {
            self.reply_port_word(next, protocol, port)
                .fetch_or(1 << (port % 64), Ordering::AcqRel);
        });
        in_use.store(next as u32, Ordering::Release);
        Ok(count)
    }

    /// Notes that all trackers stand, and that from now on the gate keeps out who is only answered; unless that is so
    /// since an earlier load, whose flows are kept.
    pub(super) fn note_first_trackers(&self) {
        if self.control.read(0).trackers_since == 0 {
            self.note_trackers();
        }
    }

    /// Notes it of all from now on.
    pub(super) fn note_trackers(&self) {
        let now = flow::tick(boot_ns());
        self.store(offset_of!(Control, trackers_since), now);
    }

    /// Makes this gate, and the one that it is about to replace, ask for an answer whatever the port is: from the
    /// first tracker that is replaced to the last link, what this host opens is noted for one of both only, and
    /// should this process be killed in between, that lasts. A packet that would be denied costs more meanwhile.
    ///
    /// [`Gate::renew_reply_ports`] ends it.
    pub(super) fn ask_at_every_port(&self) -> Result<(), KernelError> {
        let earlier = pins::pinned_control(&self.paths)?;
        for control in [&self.control, &earlier] {
            let first = offset_of!(Control, reply_ports);
            let bytes = size_of::<[[PortSet; 2]; REPLY_PORT_SETS]>();
            for offset in (first..first + bytes).step_by(size_of::<u64>()) {
                control
                    .double_word(0, offset)
                    .store(u64::MAX, Ordering::Release);
            }
        }
        Ok(())
    }

    fn reply_port_word(&self, set: usize, protocol: usize, port: u16) -> &AtomicU64 {
        let offset = offset_of!(Control, reply_ports)
            + (2 * set + protocol) * size_of::<PortSet>()
            + usize::from(port) / 64 * size_of::<u64>();
        self.control.double_word(0, offset)
    }

    /// Records the connections of this host's own sockets, so that a gate that is new cuts none off. Returns
    /// how many there were.
    pub(super) fn record_open_sockets(&self) -> Result<usize, KernelError> {
        let opened = sockets::opened_here()
            .map_err(KernelError::program("list this host's open connections"))?;
        self.record_sent(opened.iter().flat_map(segments))?;
        Ok(opened.len())
    }

    /// As if this host had just sent these packets through an interface of the gate.
    ///
    /// Their ports count from the next [`Gate::renew_reply_ports`] on.
    pub fn record_sent(
        &self,
        packets: impl IntoIterator<Item = Packet>,
    ) -> Result<(), KernelError> {
        let memory = HostMemory {
            gate: self,
            flows: MappedArray::new(array(&self.ebpf, FLOWS)?, FLOWS)?,
            heard: MappedArray::new(array(&self.ebpf, HEARD)?, HEARD)?,
            now: flow::tick(boot_ns()),
        };
        for packet in packets {
            track::sent(&memory, &packet);
        }
        Ok(())
    }
}

/// What such a socket had to send.
fn segments(socket: &OpenSocket) -> Vec<Packet> {
    let packet = |transport| {
        Packet::new(
            Address::from(socket.ours.ip()),
            Address::from(socket.theirs.ip()),
            64,
            transport,
        )
    };
    let (src_port, dst_port) = (socket.ours.port(), socket.theirs.port());
    match socket.protocol {
        Protocol::Tcp => [TcpFlags::SYN, TcpFlags::ACK]
            .map(|flags| {
                packet(Transport::Tcp {
                    src_port,
                    dst_port,
                    flags: TcpFlags(flags),
                })
            })
            .to_vec(),
        Protocol::Udp => vec![packet(Transport::Udp { src_port, dst_port })],
    }
}

/// Counts the flows that have not ended; `at_port` hears of the port of each that has one, by its number in
/// [`reply_ports`].
fn count_alive(
    flows: &MappedArray<FlowWords>,
    control: &MappedArray<Control>,
    at_port: impl Fn(usize, u16),
) -> FlowCount {
    let timeouts = control.read(0).flow_timeouts;
    let now = flow::tick(boot_ns());
    let mut count = FlowCount::default();
    for set in 0..FLOW_SETS as usize {
        for way in 0..WAYS {
            let offset = (2 * way + 1) * size_of::<u64>();
            let word = flows.double_word(set, offset).load(Ordering::Acquire);
            let found = flow::Found { way, word };
            if !found.is_alive(&timeouts, now) {
                continue;
            }
            match found.state() {
                state::SYN_SENT | state::ESTABLISHED | state::FIN | state::RESET => {
                    count.tcp += 1;
                    at_port(reply_ports::TCP, flow::our_port(word));
                }
                state::UDP | state::UDP_STREAM => {
                    count.udp += 1;
                    at_port(reply_ports::UDP, flow::our_port(word));
                }
                state::ECHO => count.echo += 1,
                _ => {}
            }
        }
    }
    count
}

impl Pinned {
    /// The flows of this host that have not ended; `None` when nothing is pinned that tracks them: replies are not
    /// let in, or the kernel is one before 6.6, where that does not show.
    pub fn flows(&self) -> Result<Option<FlowCount>, KernelError> {
        if self.paths.trackers()?.is_empty() {
            return Ok(None);
        }
        let map = MapData::from_pin(self.paths.map(FLOWS))
            .map_err(KernelError::map("open pinned", FLOWS))?;
        let flows = MappedArray::new(&map, FLOWS)?;
        Ok(Some(count_alive(&flows, &self.control, |_, _| {})))
    }
}

/// The flow table, to be written from here.
struct HostMemory<'a> {
    gate: &'a Gate,
    flows: MappedArray<FlowWords>,
    heard: MappedArray<HeardWords>,
    now: u32,
}

impl FlowMemory for HostMemory<'_> {
    type Flows<'a>
        = &'a [AtomicU64; 2 * WAYS]
    where
        Self: 'a;
    type Heard<'a>
        = &'a [AtomicU64; HEARD_WAYS]
    where
        Self: 'a;

    fn control(&self) -> &Control {
        self.gate
            .control
            .get(0)
            .expect("invariant: the control map has one value")
    }

    fn flow_set(&self, index: u32) -> Option<Self::Flows<'_>> {
        Some(self.flows.atomics(index as usize))
    }

    fn heard_set(&self, index: u32) -> Option<Self::Heard<'_>> {
        Some(self.heard.atomics(index as usize))
    }

    fn now(&self) -> u32 {
        self.now
    }

    /// The port sets are written from the whole table afterwards, see [`Gate::renew_reply_ports`].
    fn open_port(&self, _kind: Kind, _port: u16) {}
}

//! The only modules that name aya: load, publish, attach, pins.
//!
//! A start always loads the program and its maps anew, fills them, and then replaces the program on
//! the link that an earlier daemon left pinned. Nothing is adopted, so no old layout can be misread,
//! and no frame passes between the old program and the new one.

mod attach;
mod bans;
mod batch;
mod bpf;
mod bpffs;
mod counters;
mod error;
mod ethtool;
mod events;
mod flows;
mod follow;
mod inventory;
mod link_watch;
mod links;
mod live;
mod load;
mod mapped;
mod members;
mod memory;
mod netlink;
mod observed;
mod oracle;
mod pins;
mod places;
mod program_size;
mod publish;
mod rival;
mod sockets;
mod table_map;
mod test_run;
mod trackers;
mod unfinished;

use std::{path::PathBuf, time::Duration};

use ipnetwork::IpNetwork;

pub use attach::{detach_all, interface_index};
pub use bans::boot_ns;
pub use bpffs::{PinPlace, pin_place};
pub use counters::{Count, InterfaceCounters};
pub use error::KernelError;
pub use ethtool::{Channels, Ethtool};
pub use events::{EVENTS_PER_SECOND, EventReader};
pub use flows::FlowCount;
pub use inventory::{
    StandingLink, StandingTracker, link_number, program_holder, program_names, standing_links,
    standing_trackers, tcx_programs,
};
pub use link_watch::{Heard, LinkWatch};
pub use links::{
    Direction, Link, TcProgram, XdpFeatures, XdpPrograms, addresses, links, numbers_of,
    tc_programs, xdp_features,
};
pub use live::{EmptyProgram, Live};
pub use load::{Gate, Loader, Logger, OBJECT};
pub use mapped::MappedArray;
pub use observed::{Destination, ObservedTime};
pub use oracle::{Oracle, Planned, Service, packet};
pub use pins::Pinned;
pub use places::{NamedTwice, Place, name_before, named_twice};
pub use program_size::ProgramSize;
pub use publish::Trial;
pub use table_map::TableMap;
pub use test_run::TestRun;
pub use trackers::{TRACKER_TAKEN_OFF, TrackerFault, tracker_name};

/// What a drop means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Drops are counted and pass.
    Observe,
    /// Drops drop.
    Enforce,
}

/// Which way of attaching the config asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachPreference {
    /// Native, else generic.
    Auto,
    Native,
    Generic,
}

/// Where the program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachMode {
    /// In the network driver, before the kernel has built an skb.
    Native,
    /// In the network stack, for drivers without XDP.
    Generic,
}

/// One interface behind the gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attachment {
    pub interface: String,
    pub ifindex: u32,
    pub mode: AttachMode,
    /// Why it is not native, when native was tried first.
    pub fallback_reason: Option<String>,
}

/// One ban that has not expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ban {
    pub prefix: IpNetwork,
    pub remaining: Duration,
}

/// The interfaces, and the directory that everything of this gate is pinned under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GateOptions {
    pub interfaces: Vec<String>,
    /// Room in the counters for interfaces that come later, see [`Gate::attach_interface`].
    pub spare_slots: usize,
    /// A directory on a BPF file system, for instance `/sys/fs/bpf/cerco`.
    pub pins: PathBuf,
    pub mode: Mode,
    pub replies: Replies,
}

/// Where the programs behind the gate hang.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrackerPreference {
    /// On TCX links, and on kernels without them (before Linux 6.6) in the clsact qdisc.
    Auto,
    Clsact,
}

/// Whether answers to this host's own connections are let in, and for how long after the last packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replies {
    pub enabled: bool,
    pub attach: TrackerPreference,
    pub timeouts: FlowTimeouts,
}

impl Default for Replies {
    fn default() -> Self {
        Self {
            enabled: true,
            attach: TrackerPreference::Auto,
            timeouts: FlowTimeouts::default(),
        }
    }
}

/// Seconds after its last packet in which a flow ends; the defaults are those of Linux's connection tracking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowTimeouts {
    pub tcp_syn_sent: u32,
    pub tcp_established: u32,
    pub tcp_fin: u32,
    pub tcp_reset: u32,
    pub udp: u32,
    pub udp_stream: u32,
    pub icmp_echo: u32,
}

impl Default for FlowTimeouts {
    fn default() -> Self {
        Self {
            tcp_syn_sent: 120,
            tcp_established: 432_000,
            tcp_fin: 120,
            tcp_reset: 10,
            udp: 30,
            udp_stream: 120,
            icmp_echo: 30,
        }
    }
}

impl FlowTimeouts {
    /// As the kernel side reads them.
    pub fn ticks(&self) -> [u32; 16] {
        use filter_common::flow::{state, ticks};
        let mut timeouts = [0; 16];
        for (state, seconds) in [
            (state::SYN_SENT, self.tcp_syn_sent),
            (state::ESTABLISHED, self.tcp_established),
            (state::FIN, self.tcp_fin),
            (state::RESET, self.tcp_reset),
            (state::UDP, self.udp),
            (state::UDP_STREAM, self.udp_stream),
            (state::ECHO, self.icmp_echo),
            // As long as the shortest flow that has fragments.
            (state::FRAGMENTS, self.udp),
        ] {
            timeouts[usize::from(state)] = ticks(seconds);
        }
        timeouts
    }
}

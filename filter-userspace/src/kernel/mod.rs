//! The only modules that name aya. (Placeholder signatures: the real module is written beside yours.)
use crate::{compile::CompiledPolicy, policy::Action};
use filter_common::{
    country::Class,
    verdict::{Decision, Reason},
};
use ipnetwork::IpNetwork;
use std::{
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime},
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Observe,
    Enforce,
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachPreference {
    Auto,
    Native,
    Generic,
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachMode {
    Native,
    Generic,
}

#[derive(Clone, Debug)]
pub struct Attachment {
    pub interface: String,
    pub ifindex: u32,
    pub mode: AttachMode,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

/// Sums over all CPUs, per interface.
#[derive(Clone, Debug)]
pub struct InterfaceCounters {
    pub interface: String,
    /// `[reason as usize]`: what really happened (enforced).
    pub enforced: Vec<Count>,
    /// `[reason as usize]`: what observe mode would have dropped.
    pub would_drop: Vec<Count>,
    /// `[class]`.
    pub class_passed: Vec<Count>,
    pub class_dropped: Vec<Count>,
    pub class_would_drop: Vec<Count>,
}

#[derive(Clone, Debug)]
pub struct Ban {
    pub prefix: IpNetwork,
    pub remaining: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("…")]
    Todo,
}

/// The program and its maps in the kernel, opened for change.
pub struct Gate {
    _private: (),
}

impl Gate {
    /// Loads program and maps (sized for `compiled`), publishes `compiled`, sets the mode; nothing is attached yet.
    /// Bans of pins under `pins` from an earlier run are carried over.
    pub fn load(
        compiled: &CompiledPolicy,
        mode: Mode,
        pins: &Path,
        interfaces: &[String],
    ) -> Result<Self, KernelError> {
        let _ = (compiled, mode, pins, interfaces);
        todo!()
    }
    /// Attaches to every interface, or replaces the program on links pinned by an earlier run, and pins.
    pub fn attach(&mut self, preference: AttachPreference) -> Result<Vec<Attachment>, KernelError> {
        let _ = preference;
        todo!()
    }
    pub fn attachments(&self) -> &[Attachment] {
        todo!()
    }
    /// Writes the spare generation, reads it back, flips. On error the running policy stays.
    pub fn publish(&mut self, compiled: &CompiledPolicy) -> Result<(), KernelError> {
        let _ = compiled;
        todo!()
    }
    pub fn mode(&self) -> Result<Mode, KernelError> {
        todo!()
    }
    pub fn set_mode(&self, mode: Mode) -> Result<(), KernelError> {
        let _ = mode;
        todo!()
    }
    /// One array write; no rebuild.
    pub fn set_action(&self, class: Class, action: Action) -> Result<(), KernelError> {
        let _ = (class, action);
        todo!()
    }
    pub fn ban(&self, prefix: IpNetwork, duration: Duration) -> Result<(), KernelError> {
        let _ = (prefix, duration);
        todo!()
    }
    /// False when there was no such ban.
    pub fn unban(&self, prefix: IpNetwork) -> Result<bool, KernelError> {
        let _ = prefix;
        todo!()
    }
    pub fn bans(&self) -> Result<Vec<Ban>, KernelError> {
        todo!()
    }
    /// Deletes expired bans; the kernel ignores them already.
    pub fn sweep_bans(&self) -> Result<usize, KernelError> {
        todo!()
    }
    pub fn counters(&self) -> Result<Vec<InterfaceCounters>, KernelError> {
        todo!()
    }
    /// The decision for a packet from `source` (TCP SYN or UDP to `port`, or ICMP echo without one), by the tables in the kernel.
    pub fn decide(
        &self,
        source: IpAddr,
        protocol: u8,
        port: Option<u16>,
    ) -> Result<Decision, KernelError> {
        let _ = (source, protocol, port);
        todo!()
    }
    /// Kernel memory of all maps, bytes.
    pub fn map_memory(&self) -> Result<u64, KernelError> {
        todo!()
    }
}

/// What stands in the kernel when no daemon runs: read from the pins.
pub struct Pinned {
    _private: (),
}
impl Pinned {
    /// `Ok(None)`: nothing is pinned there.
    pub fn open(pins: &Path) -> Result<Option<Self>, KernelError> {
        let _ = pins;
        todo!()
    }
    pub fn attachments(&self) -> &[Attachment] {
        todo!()
    }
    pub fn mode(&self) -> Result<Mode, KernelError> {
        todo!()
    }
    pub fn counters(&self) -> Result<Vec<InterfaceCounters>, KernelError> {
        todo!()
    }
    pub fn bans(&self) -> Result<Vec<Ban>, KernelError> {
        todo!()
    }
    /// Class → name, as stamped into the pins at publication, and the time of it.
    pub fn class_names(&self) -> Result<Vec<String>, KernelError> {
        todo!()
    }
    pub fn published_at(&self) -> Result<SystemTime, KernelError> {
        todo!()
    }
}
/// Detaches every cerco link under `pins` and removes the pins. Returns the interfaces freed.
pub fn detach_all(pins: &Path) -> Result<Vec<String>, KernelError> {
    let _ = pins;
    todo!()
}
#[allow(unused)]
fn _uses(_: Reason) {}

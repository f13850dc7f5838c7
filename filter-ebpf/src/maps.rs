//! The maps, and the gate's memory on top of them.
//!
//! Every array that the packet path reads is mapped by the daemon (BPF_F_MMAPABLE), which also starts
//! its values on a page, so that lines and sets are cache lines.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, PerCpuArray},
    helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns},
    macros::btf_map,
};
use filter_common::{
    abi::{
        BanKey, Control, Counters, GENERATIONS, MAX_BANS, MAX_INTERFACES, PORT_SETS, PolicyBlock,
        PortSet, RecentTime,
    },
    decide::{Charge, Gate},
    limit::{StampSet, WAYS},
    packet::Packet,
    table::Line,
};

use crate::table::KernelTable;

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

#[btf_map]
static CONTROL: Array<Control, 1, MMAPABLE> = Array::new();
#[btf_map]
static POLICY: Array<PolicyBlock, GENERATIONS, MMAPABLE> = Array::new();
#[btf_map]
static PORTS: Array<PortSet, { GENERATIONS * PORT_SETS }, MMAPABLE> = Array::new();
/// Both generations in one value, so that a look-up here is made once a packet and the table is plain
/// memory from then on ([`crate::table`]). The loader makes this map itself.
#[btf_map]
static TABLE: Array<Line, 1, MMAPABLE> = Array::new();
#[btf_map]
static BANS: HashMap<BanKey, u64, MAX_BANS, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
/// The loader sets the number of sets, here and below.
#[btf_map]
static PACKET_STAMPS: Array<[u64; WAYS], 1, MMAPABLE> = Array::new();
#[btf_map]
static CONN_STAMPS: Array<[u64; WAYS], 1, MMAPABLE> = Array::new();
#[btf_map]
static COUNTERS: PerCpuArray<Counters, MAX_INTERFACES> = PerCpuArray::new();

/// The switches; `None` when the map is missing.
#[inline(always)] // One map address.
pub fn control() -> Option<*mut Control> {
    CONTROL.get_ptr_mut(0)
}

/// This CPU's counters of the interface in `slot`.
#[inline(always)] // One map address.
pub fn counters(slot: u32) -> Option<*mut Counters> {
    COUNTERS.get_ptr_mut(slot)
}

/// The gate as one packet sees it: with one generation, read once.
pub struct KernelGate {
    control: &'static Control,
    clock: *mut RecentTime,
    /// 0: nothing is published; else the number of the generation, plus 1.
    published: u32,
}

impl KernelGate {
    #[inline(always)] // Two registers.
    pub fn new(control: &'static Control, published: u32, clock: *mut RecentTime) -> Self {
        Self {
            control,
            clock,
            published,
        }
    }
}

impl Gate for KernelGate {
    type Stamps<'a> = KernelStamps;
    type Table<'a> = KernelTable;

    #[inline(always)] // A register.
    fn control(&self) -> &Control {
        self.control
    }

    #[inline(always)] // One map look-up.
    fn policy(&self) -> Option<&PolicyBlock> {
        POLICY.get(self.published.checked_sub(1)?)
    }

    #[inline(always)] // One map look-up.
    fn port_set(&self, index: usize) -> Option<&PortSet> {
        PORTS.get((self.published - 1) * PORT_SETS as u32 + index as u32)
    }

    #[inline(always)] // One map look-up.
    fn table(&self) -> Option<KernelTable> {
        let generation = self.published.wrapping_sub(1);
        Some(KernelTable::new(TABLE.get_ptr(0)?, generation))
    }

    #[inline(always)] // One map look-up.
    fn ban_expiry_ns(&self, key: &BanKey) -> Option<u64> {
        // SAFETY: the value is one aligned word that is written whole; a ban that goes while it is
        // read was about to expire.
        unsafe { BANS.get(key).copied() }
    }

    #[inline(always)] // One map look-up.
    fn stamps(&self, kind: Charge, index: u32) -> Option<KernelStamps> {
        let set = match kind {
            Charge::Packet => PACKET_STAMPS.get_ptr_mut(index),
            Charge::NewConnection => CONN_STAMPS.get_ptr_mut(index),
        };
        set.map(KernelStamps)
    }

    #[inline(always)] // One helper call.
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper has no arguments (since 5.8).
        unsafe { bpf_ktime_get_boot_ns() }
    }

    #[inline(always)] // Two loads and a comparison, but for one packet a tick.
    fn recent_ns(&self) -> u64 {
        // SAFETY: a helper without arguments (since 5.6), which the verifier turns into a load.
        let jiffies = unsafe { bpf_jiffies64() };
        // SAFETY: a field of this CPU's own map value.
        unsafe {
            if (*self.clock).jiffies != jiffies {
                (*self.clock).now_ns = bpf_ktime_get_boot_ns();
                (*self.clock).jiffies = jiffies;
            }
            (*self.clock).now_ns
        }
    }

    #[inline(always)] // A constant.
    fn is_reply(&self, _packet: &Packet) -> bool {
        // No program records this host's own connections yet.
        false
    }
}

/// One set of a limiter array.
#[derive(Clone, Copy)]
pub struct KernelStamps(*mut [u64; WAYS]);

impl StampSet for KernelStamps {
    #[inline(always)] // One load.
    fn load(&self, way: usize) -> u64 {
        // SAFETY: the pointer is a map value of WAYS words, and the mask keeps `way` below WAYS. Other
        // CPUs may write the word, hence volatile: it is read once and whole.
        unsafe { core::ptr::read_volatile(self.0.cast::<u64>().add(way & (WAYS - 1))) }
    }

    #[inline(always)] // One instruction.
    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool {
        use core::intrinsics::{AtomicOrdering, atomic_cxchg};
        // The BPF target has no compare-exchange in `core::sync::atomic`, but the instruction
        // (kernels since 5.12).
        // SAFETY: as in `load`; map values are aligned to 8 bytes.
        unsafe {
            let word = self.0.cast::<u64>().add(way & (WAYS - 1));
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                word, old, new,
            )
            .1
        }
    }
}

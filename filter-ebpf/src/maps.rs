//! The maps, and the gate's memory on top of them.
//!
//! Every array that the packet path reads is mapped by the daemon (BPF_F_MMAPABLE), which also starts
//! its values on a page, so that lines and sets are cache lines.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, PerCpuArray, RingBuf},
    helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns},
    macros::btf_map,
    programs::XdpContext,
};
use filter_common::{
    abi::{
        BanKey, Control, Counters, EVENT_BYTES, Event, FLOW_SETS, GENERATIONS, HEARD_SETS,
        MAX_BANS, MAX_INTERFACES, PORT_SETS, PolicyBlock, PortSet, RecentTime, Tracking,
    },
    country::Class,
    decide::{Charge, Gate},
    flow::{self, FlowSet, HEARD_WAYS, HeardSet},
    limit::{SourceKey, StampSet, WAYS},
    observed::Observed,
    packet::Packet,
    parse::parse_quoted,
    table::Line,
};

use crate::{
    frame::{XdpFrame, by_way_of},
    subprograms,
    table::KernelTable,
};

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
/// Hash and word of each flow of a set.
#[btf_map]
static FLOWS: Array<[u64; 2 * flow::WAYS], { FLOW_SETS as usize }, MMAPABLE> = Array::new();
#[btf_map]
static HEARD: Array<[u64; HEARD_WAYS], { HEARD_SETS as usize }, MMAPABLE> = Array::new();
/// What the programs behind the gate need for one packet.
#[btf_map]
static TRACKING: PerCpuArray<Tracking, 1> = PerCpuArray::new();
#[btf_map]
static COUNTERS: PerCpuArray<Counters, MAX_INTERFACES> = PerCpuArray::new();
/// Shared by all CPUs, and written in observe mode only.
#[btf_map]
static OBSERVED: Array<Observed, 1, MMAPABLE> = Array::new();

/// What is read as it comes: see [`Event`].
#[btf_map]
pub static EVENTS: RingBuf<Event, EVENT_BYTES> = RingBuf::new();

/// The switches; `None` when the map is missing.
#[inline(always)] // One map address.
pub fn control() -> Option<*mut Control> {
    CONTROL.get_ptr_mut(0)
}

/// The policy of a generation; `published` as in [`KernelGate`].
#[inline(always)] // One map address.
pub fn policy(published: u32) -> Option<&'static PolicyBlock> {
    POLICY.get(published.checked_sub(1)?)
}

/// This CPU's counters of the interface in `slot`.
#[inline(always)] // One map address.
pub fn counters(slot: u32) -> Option<*mut Counters> {
    COUNTERS.get_ptr_mut(slot)
}

/// What observe mode let pass.
#[inline(always)] // One map address.
pub fn observed() -> Option<*mut Observed> {
    OBSERVED.get_ptr_mut(0)
}

/// This CPU's place for the programs behind the gate.
#[inline(always)] // One map address.
pub fn tracking() -> Option<*mut Tracking> {
    TRACKING.get_ptr_mut(0)
}

/// Nanoseconds of CLOCK_BOOTTIME, up to a timer tick late.
///
/// # Safety
/// `clock` is a field of this CPU's own map value.
#[inline(always)] // Two loads and a comparison, but for one packet a tick.
pub unsafe fn recent_ns(clock: *mut RecentTime) -> u64 {
    // SAFETY: a helper without arguments (since 5.6), which the verifier turns into a load.
    let jiffies = unsafe { bpf_jiffies64() };
    // SAFETY: the caller's promise.
    unsafe {
        if (*clock).jiffies != jiffies {
            (*clock).now_ns = bpf_ktime_get_boot_ns();
            (*clock).jiffies = jiffies;
        }
        (*clock).now_ns
    }
}

/// A set of the flow table.
#[inline(always)] // One map address.
pub fn flow_set(index: u32) -> Option<KernelFlows> {
    FLOWS.get_ptr_mut(index).map(KernelFlows)
}

/// A set of the tuples whose other side wrote first.
#[inline(always)] // One map address.
pub fn heard_set(index: u32) -> Option<KernelHeard> {
    HEARD.get_ptr_mut(index).map(KernelHeard)
}

/// The gate as one packet sees it: with one generation, read once.
pub struct KernelGate<'a> {
    /// Where a quoted packet can be read.
    ctx: &'a XdpContext,
    control: &'static Control,
    counters: *mut Counters,
    /// 0: nothing is published; else the number of the generation, plus 1.
    published: u32,
}

impl<'a> KernelGate<'a> {
    #[inline(always)] // Two registers.
    pub fn new(
        ctx: &'a XdpContext,
        control: &'static Control,
        counters: *mut Counters,
        published: u32,
    ) -> Self {
        Self {
            ctx,
            control,
            counters,
            published,
        }
    }
}

impl Gate for KernelGate<'_> {
    type Stamps<'a>
        = KernelStamps
    where
        Self: 'a;
    type Table<'a>
        = KernelTable
    where
        Self: 'a;
    type Flows<'a>
        = KernelFlows
    where
        Self: 'a;

    #[inline(always)] // A register.
    fn control(&self) -> &Control {
        self.control
    }

    #[inline(always)] // One map look-up.
    fn policy(&self) -> Option<&PolicyBlock> {
        policy(self.published)
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
        // SAFETY: a field of this CPU's own map value.
        unsafe { recent_ns(&raw mut (*self.counters).clock) }
    }

    #[inline(always)] // One map look-up.
    fn flow_set(&self, index: u32) -> Option<KernelFlows> {
        flow_set(index)
    }

    #[inline(always)] // One caller.
    fn quoted(&self, offset: u16) -> Option<Packet> {
        // SAFETY: a field of this CPU's own map value.
        let frame = XdpFrame::new(self.ctx, unsafe { &raw mut (*self.counters).number });
        parse_quoted(&frame, offset.into())
    }

    #[inline(always)] // A store and a load.
    fn forget(&self, value: u64) -> u64 {
        // SAFETY: a field of this CPU's own map value.
        unsafe { by_way_of(&raw mut (*self.counters).number, value) }
    }

    #[inline(always)] // A call.
    fn charge(
        &self,
        set: KernelStamps,
        source: SourceKey,
        interval: u64,
        tolerance: u64,
        now_ns: u64,
    ) -> bool {
        subprograms::charged(set.0, source.word(), interval, tolerance, now_ns) != 0
    }

    #[inline(always)] // A call.
    fn exception(&self, _packet: &Packet, class: Class) -> u16 {
        let published_and_class = u64::from(self.published) << 8 | u64::from(class.0);
        subprograms::excepted(self.counters, published_and_class) as u16
    }

    #[inline(always)] // A call.
    fn is_reply(&self, _packet: &Packet) -> bool {
        subprograms::answers(self.ctx.ctx, self.control, self.counters) != 0
    }
}

/// One set of the flow table.
#[derive(Clone, Copy)]
pub struct KernelFlows(*mut [u64; 2 * flow::WAYS]);

impl KernelFlows {
    #[inline(always)] // An address.
    fn place(self, index: usize) -> *mut u64 {
        // SAFETY: the pointer is a map value of as many words, and the mask keeps the index inside.
        unsafe { self.0.cast::<u64>().add(index & (2 * flow::WAYS - 1)) }
    }
}

impl FlowSet for KernelFlows {
    #[inline(always)] // One load.
    fn hash(&self, way: usize) -> u64 {
        // SAFETY: see `place`. Other CPUs may write the word, hence volatile: it is read once and whole.
        unsafe { self.place(2 * way).read_volatile() }
    }

    #[inline(always)] // One store.
    fn store_hash(&self, way: usize, hash: u64) {
        // SAFETY: as above; the exchanges before and after it keep it in its place.
        unsafe { self.place(2 * way).write_volatile(hash) }
    }

    #[inline(always)] // One load.
    fn word(&self, way: usize) -> u64 {
        // SAFETY: as above.
        unsafe { self.place(2 * way + 1).read_volatile() }
    }

    #[inline(always)] // One instruction.
    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool {
        // SAFETY: as above.
        unsafe { compare_exchange(self.place(2 * way + 1), old, new) }
    }
}

/// One set of the tuples whose other side wrote first.
#[derive(Clone, Copy)]
pub struct KernelHeard(*mut [u64; HEARD_WAYS]);

impl HeardSet for KernelHeard {
    #[inline(always)] // One load.
    fn load(&self, way: usize) -> u64 {
        // SAFETY: the pointer is a map value of HEARD_WAYS words, and the mask keeps `way` inside; volatile
        // as in `KernelFlows`.
        unsafe {
            self.0
                .cast::<u64>()
                .add(way & (HEARD_WAYS - 1))
                .read_volatile()
        }
    }

    #[inline(always)] // One store.
    fn store(&self, way: usize, word: u64) {
        // SAFETY: as above.
        unsafe {
            self.0
                .cast::<u64>()
                .add(way & (HEARD_WAYS - 1))
                .write_volatile(word);
        }
    }
}

/// The BPF target has no compare-exchange in `core::sync::atomic`, but the instruction (kernels since 5.12).
///
/// # Safety
/// `word` is an aligned word of a map value.
#[inline(always)] // One instruction.
unsafe fn compare_exchange(word: *mut u64, old: u64, new: u64) -> bool {
    use core::intrinsics::{AtomicOrdering, atomic_cxchg};
    // SAFETY: the caller's promise.
    unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new)
            .1
    }
}

/// One set of a limiter array.
#[derive(Clone, Copy)]
pub struct KernelStamps(pub *mut [u64; WAYS]);

impl StampSet for KernelStamps {
    #[inline(always)] // One load.
    fn load(&self, way: usize) -> u64 {
        // SAFETY: the pointer is a map value of WAYS words, and the mask keeps `way` below WAYS. Other
        // CPUs may write the word, hence volatile: it is read once and whole.
        unsafe { core::ptr::read_volatile(self.0.cast::<u64>().add(way & (WAYS - 1))) }
    }

    #[inline(always)] // One instruction.
    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool {
        // SAFETY: as in `load`; map values are aligned to 8 bytes.
        unsafe { compare_exchange(self.0.cast::<u64>().add(way & (WAYS - 1)), old, new) }
    }
}

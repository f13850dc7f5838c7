//! The programs behind the gate: they remember what this host sends, and what of it is answered. They change
//! no packet and no verdict.

use aya_ebpf::{
    bindings::TC_ACT_UNSPEC, helpers::bpf_ktime_get_boot_ns, macros::classifier,
    programs::TcContext,
};
use filter_common::{
    abi::{Control, REPLY_PORT_SETS, Tracking, reply_ports},
    flow::{self, Kind},
    packet::Packet,
    parse::{parse_into, parse_plain},
    track::{self, FlowMemory},
};

use crate::{
    frame::by_way_of,
    maps::{self, KernelFlows, KernelHeard},
    skb::SkbFrame,
};

/// Sees what leaves, behind any address translation.
#[classifier]
pub fn cerco_out(ctx: TcContext) -> i32 {
    if let Some((memory, packet)) = read(&ctx) {
        track::sent(&memory, packet);
    }
    TC_ACT_UNSPEC
}

/// Sees what the gate has let in, before any address translation.
#[classifier]
pub fn cerco_in(ctx: TcContext) -> i32 {
    if let Some((memory, packet)) = read(&ctx) {
        track::received(&memory, packet);
    }
    TC_ACT_UNSPEC
}

/// The packet, laid into a map for the verifier's sake. `None`: it is none of ours, or a map is missing, which
/// cannot happen.
#[inline(always)] // Two callers, one in each program.
fn read(ctx: &TcContext) -> Option<(KernelMemory, &'static Packet)> {
    let (control, tracking) = (maps::control()?, maps::tracking()?);
    // SAFETY: a field of a map value of this CPU, which runs one packet at a time.
    let frame = SkbFrame::new(ctx, unsafe { &raw mut (*tracking).number });
    // SAFETY: the place belongs to this CPU, which runs one packet at a time.
    let place =
        |packet: Packet| unsafe { crate::lay_down((&raw mut (*tracking).packet).cast(), packet) };
    let packet = match parse_plain(&frame) {
        Some(packet) => place(packet),
        None => parse_into(&frame, place).ok()??,
    };
    Some((KernelMemory { control, tracking }, packet))
}

/// The maps, to be written.
struct KernelMemory {
    control: *mut Control,
    tracking: *mut Tracking,
}

impl FlowMemory for KernelMemory {
    type Flows<'a> = KernelFlows;
    type Heard<'a> = KernelHeard;

    #[inline(always)] // A register.
    fn control(&self) -> &Control {
        // SAFETY: a map value; what is written of it is written through the pointer.
        unsafe { &*self.control }
    }

    #[inline(always)] // One map look-up.
    fn flow_set(&self, index: u32) -> Option<KernelFlows> {
        maps::flow_set(index)
    }

    #[inline(always)] // One map look-up.
    fn heard_set(&self, index: u32) -> Option<KernelHeard> {
        maps::heard_set(index)
    }

    #[inline(always)] // One helper call.
    fn now(&self) -> u32 {
        // SAFETY: the helper has no arguments (since 5.8).
        flow::tick(unsafe { bpf_ktime_get_boot_ns() })
    }

    #[inline(always)] // A store and a load.
    fn forget(&self, value: u64) -> u64 {
        // SAFETY: a field of this CPU's own map value.
        unsafe { by_way_of(&raw mut (*self.tracking).number, value) }
    }

    #[inline(always)] // One caller in each program.
    fn open_port(&self, kind: Kind, port: u16) {
        use core::intrinsics::{AtomicOrdering, atomic_or};
        let protocol = match kind {
            Kind::Tcp => reply_ports::TCP,
            Kind::Udp => reply_ports::UDP,
            Kind::Echo | Kind::Fragments => return,
        };
        for set in 0..REPLY_PORT_SETS {
            // SAFETY: a word of a map value: a port has 16 bits, and the word's index ten.
            unsafe {
                let word =
                    &raw mut (*self.control).reply_ports[set][protocol].0[usize::from(port) / 64];
                atomic_or::<u64, u64, { AtomicOrdering::Relaxed }>(word, 1 << (port % 64));
            }
        }
    }
}

//! Where the packets went that observe mode let pass.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use filter_common::{
    abi::{Control, Counters, elsewhere_slot},
    observed::Destination,
};

use crate::{interface_slot, maps, packet_place};

/// Counts the packet that was laid down at its [`Destination`].
///
/// Decides on nothing: without the map nothing is counted. See [`crate::subprograms`].
#[unsafe(no_mangle)]
#[inline(never)] // Enforce mode never gets here; `cerco` keeps its registers.
pub extern "C" fn count_observed(
    ctx: *mut xdp_md,
    control: *const Control,
    counters: *mut Counters,
    frame_len: u64,
) -> u32 {
    if control.is_null() || counters.is_null() {
        return 0;
    }
    let ctx = XdpContext::new(ctx);
    // SAFETY: map values of this run; `cerco` has laid the packet down.
    let (control, packet) = unsafe { (&*control, &*packet_place(counters)) };
    // As the counters that are shown, these know nothing of test runs.
    let slot = interface_slot(control, ctx.ingress_ifindex() as u32);
    if slot == elsewhere_slot(control.interface_count) {
        return 0;
    }
    let Some(observed) = maps::observed() else {
        return 0;
    };
    // SAFETY: a map value, and the index of a destination lies inside. Other CPUs add to it as well.
    unsafe {
        let count = &raw mut (*observed).destinations[Destination::of(packet).index()];
        add(&raw mut (*count).packets, 1);
        add(&raw mut (*count).bytes, frame_len);
    }
    0
}

/// # Safety
/// `word` is an aligned word of a map value.
#[inline(always)] // One instruction.
unsafe fn add(word: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, value) };
}

//! Events: a few of the frames that are dropped, each with its first bytes, for whoever wants to see them.
//!
//! A flood must not drown the reader, nor a common reason a rare one. So each reason has a budget of its own on
//! each CPU for each window of time, and the reader says when a window begins. Nothing here changes a verdict.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_RB_NO_WAKEUP, xdp_md},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns, generated},
    programs::XdpContext,
};
use filter_common::{
    abi::{Control, Counters, EVENT_HEAD, Event, event_flag},
    bits,
};

use crate::{Outcome, maps::EVENTS};

/// Makes an event of a frame that was dropped, while there is a budget for its reason.
#[inline(always)] // Two loads and a comparison, of which nearly all frames of a flood pay no more.
pub fn consider(
    ctx: &XdpContext,
    control: *const Control,
    counters: *mut Counters,
    outcome: Outcome,
    observed: bool,
    frame_len: u64,
) {
    // SAFETY: map values; the daemon writes the word whole, and the mask in `reason` keeps the index inside.
    let (window, spent) = unsafe {
        (
            (&raw const (*control).event_window).read_volatile(),
            (&raw const (*counters).sampling[outcome.reason()].spent).read(),
        )
    };
    if window != spent {
        let len_and_observed = frame_len << 1 | observed as u64;
        make_event(ctx.ctx, control, counters, outcome.0, len_and_observed);
    }
}

/// See [`crate::subprograms`]. `outcome` is an [`Outcome`]; `len_and_observed`: bytes of the frame, and in the lowest
/// bit whether observe mode let it pass.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn make_event(
    ctx: *mut xdp_md,
    control: *const Control,
    counters: *mut Counters,
    outcome: u64,
    len_and_observed: u64,
) -> u32 {
    if control.is_null() || counters.is_null() {
        return 0;
    }
    let (ctx, outcome) = (XdpContext::new(ctx), Outcome(outcome));
    let reason = outcome.reason();
    // SAFETY: map values, of which this CPU runs one packet at a time; the mask in `reason` keeps the index inside.
    let (sampling, frames) = unsafe {
        let counts = &raw const (*counters).reasons[reason];
        let frames = (*counts)[0].packets + (*counts)[1].packets;
        (&mut (*counters).sampling[reason], frames)
    };
    // SAFETY: as in `consider`.
    let (window, budget) = unsafe {
        (
            (&raw const (*control).event_window).read_volatile(),
            (&raw const (*control).event_budget).read_volatile(),
        )
    };
    if sampling.window != window {
        sampling.window = window;
        sampling.used = 0;
    }
    if sampling.used >= budget {
        sampling.spent = window;
        return 0;
    }
    sampling.used += 1;
    let Some(mut entry) = EVENTS.reserve(0) else {
        sampling.lost += 1;
        return 0;
    };
    let frame_len = len_and_observed >> 1;
    let head_len = frame_len.min(EVENT_HEAD as u64);
    // Without the first byte, as the verifier of Linux 6.1 learns nothing from a comparison with 0. Opaque, so that
    // the bound is tested on the very register that the helper's is made of, and before that is made: a bound goes
    // from one register to another only since Linux 6.10.
    let rest_len = bits::unknown(head_len.wrapping_sub(1));
    let event: *mut Event = entry.as_mut_ptr();
    // SAFETY: the entry has room for an event, and the length that the helper gets was tested.
    let is_copied = unsafe {
        (&raw mut (*event).time_ns).write(bpf_ktime_get_boot_ns());
        (&raw mut (*event).stands_for).write(frames - sampling.frames);
        (&raw mut (*event).ifindex).write(ctx.ingress_ifindex() as u32);
        (&raw mut (*event).frame_len).write(frame_len as u32);
        (&raw mut (*event).head_len).write(head_len as u16);
        (&raw mut (*event).reason).write(reason as u8);
        (&raw mut (*event).class).write(outcome.class().unwrap_or(0) as u8);
        let mut flags = 0;
        if outcome.class().is_some() {
            flags |= event_flag::HAS_CLASS;
        }
        if len_and_observed & 1 != 0 {
            flags |= event_flag::OBSERVED;
        }
        (&raw mut (*event).flags).write(flags);
        (&raw mut (*event).cpu).write(bpf_get_smp_processor_id() as u16);
        rest_len < EVENT_HEAD as u64
            && generated::bpf_xdp_load_bytes(
                ctx.as_ptr().cast(),
                0,
                (&raw mut (*event).head).cast(),
                bits::unknown(rest_len) as u32 + 1,
            ) == 0
    };
    if !is_copied {
        // Cannot happen: every frame has its first bytes.
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
        sampling.lost += 1;
        return 0;
    }
    // The reader comes by itself when the window is over.
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    sampling.frames = frames;
    sampling.made += 1;
    0
}

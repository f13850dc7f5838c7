//! Frames with a new source each: from a trace, or drawn.
//!
//! `send_*` redirect a frame into a link (to be run with BPF_F_TEST_XDP_LIVE_FRAMES); `then_*` call
//! the program under test on it (to be run with BPF_PROG_TEST_RUN, which hands the same buffer to
//! every run).
#![no_std]
#![no_main]

mod end;

#[path = "../../src/bench/shared.rs"]
mod shared;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, xdp_action},
    btf_maps::{Array, ProgramArray},
    helpers::{bpf_ktime_get_ns, bpf_redirect},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use shared::{CLOCK_EVERY, Clock, Feed, TRACE_LEN, TraceV4, TraceV6};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
const LAST: u32 = TRACE_LEN - 1;

/// From the time to live to the end of the source address.
const V4_OFFSET: usize = 22;
const V6_SOURCE_OFFSET: usize = 22;

#[btf_map]
static FEED: Array<Feed, 1, MMAPABLE> = Array::new();
#[btf_map]
static TRACE_V4: Array<TraceV4, { TRACE_LEN as usize }, MMAPABLE> = Array::new();
#[btf_map]
static TRACE_V6: Array<TraceV6, { TRACE_LEN as usize }, MMAPABLE> = Array::new();
#[btf_map]
static CLOCK: Array<Clock, 1, MMAPABLE> = Array::new();
/// The program under test, at 0.
#[btf_map]
static NEXT: ProgramArray<1> = ProgramArray::new();
/// The same for programs that do not take frames in several buffers: the kernel keeps both kinds apart.
#[btf_map]
static NEXT_WHOLE: ProgramArray<1> = ProgramArray::new();

#[xdp]
pub fn send_v4(ctx: XdpContext) -> u32 {
    timed(&ctx, traced_v4).map_or(xdp_action::XDP_ABORTED, redirect)
}

#[xdp]
pub fn send_v6(ctx: XdpContext) -> u32 {
    timed(&ctx, traced_v6).map_or(xdp_action::XDP_ABORTED, redirect)
}

#[xdp]
pub fn send_drawn_v4(ctx: XdpContext) -> u32 {
    timed(&ctx, drawn_v4).map_or(xdp_action::XDP_ABORTED, redirect)
}

#[xdp(frags)]
pub fn then_v4(ctx: XdpContext) -> u32 {
    timed(&ctx, traced_v4).map_or(xdp_action::XDP_ABORTED, |_| call(&ctx, &NEXT))
}

#[xdp(frags)]
pub fn then_v6(ctx: XdpContext) -> u32 {
    timed(&ctx, traced_v6).map_or(xdp_action::XDP_ABORTED, |_| call(&ctx, &NEXT))
}

#[xdp(frags)]
pub fn then_drawn_v4(ctx: XdpContext) -> u32 {
    timed(&ctx, drawn_v4).map_or(xdp_action::XDP_ABORTED, |_| call(&ctx, &NEXT))
}

#[xdp]
pub fn then_whole_v4(ctx: XdpContext) -> u32 {
    timed(&ctx, traced_v4).map_or(xdp_action::XDP_ABORTED, |_| call(&ctx, &NEXT_WHOLE))
}

#[xdp]
pub fn then_whole_v6(ctx: XdpContext) -> u32 {
    timed(&ctx, traced_v6).map_or(xdp_action::XDP_ABORTED, |_| call(&ctx, &NEXT_WHOLE))
}

/// Takes the number of the next frame and lets `fill` write its source; returns what was fed to it.
#[inline(always)] // The verifier ties the bounds check to the pointer.
fn write(ctx: &XdpContext, fill: impl Fn(&Feed, *mut u8) -> Option<()>) -> Option<Feed> {
    let feed = FEED.get_ptr_mut(0)?;
    // SAFETY: a map value; one CPU runs this program at a time.
    let now = unsafe { *feed };
    // SAFETY: as above.
    unsafe { (*feed).next = now.next + 1 };
    let place = ctx.data() + V4_OFFSET;
    if place + 16 > ctx.data_end() {
        return None;
    }
    fill(&now, place as *mut u8)?;
    Some(now)
}

/// As [`write`], returns the link, and reads the clock now and then: what test runs take is told in
/// whole nanoseconds by the kernel, and with its preparations by a clock around the system call.
#[inline(always)] // See `write`.
fn timed(ctx: &XdpContext, fill: impl Fn(&Feed, *mut u8) -> Option<()>) -> Option<u32> {
    let feed = write(ctx, fill)?;
    if feed.next & (CLOCK_EVERY - 1) == 0 {
        let clock = CLOCK.get_ptr_mut(0)?;
        // SAFETY: a helper without arguments, and a map value; one CPU runs this program at a time.
        unsafe {
            let now = bpf_ktime_get_ns();
            if (*clock).count == 0 {
                (*clock).first_ns = now;
            }
            (*clock).last_ns = now;
            (*clock).count += 1;
        }
    }
    Some(feed.ifindex)
}

#[inline(always)] // See `write`.
fn traced_v4(feed: &Feed, place: *mut u8) -> Option<()> {
    let entry = *TRACE_V4.get((feed.next & feed.mask) as u32 & LAST)?;
    // SAFETY: `write` has tested that 16 bytes from `place` on are inside the frame.
    unsafe { place.cast::<u64>().write_unaligned(entry) };
    Some(())
}

#[inline(always)] // See `write`.
fn traced_v6(feed: &Feed, place: *mut u8) -> Option<()> {
    const { assert!(V4_OFFSET == V6_SOURCE_OFFSET) };
    let entry = *TRACE_V6.get((feed.next & feed.mask) as u32 & LAST)?;
    // SAFETY: as above.
    unsafe { place.cast::<TraceV6>().write_unaligned(entry) };
    Some(())
}

/// The number of the frame, scrambled so that all addresses come once before one comes again; the
/// header checksum is left as it is, which XDP programs do not ask about.
#[inline(always)] // See `write`.
fn drawn_v4(feed: &Feed, place: *mut u8) -> Option<()> {
    // Multiplications by odd numbers and xor-shifts are bijections of 32 bits (the finalizer of
    // MurmurHash3, Appleby 2008).
    let mut word = (feed.next & feed.mask) as u32;
    word = (word ^ word >> 16).wrapping_mul(0x85eb_ca6b);
    word = (word ^ word >> 13).wrapping_mul(0xc2b2_ae35);
    word ^= word >> 16;
    // SAFETY: as above; the source stands four bytes further.
    unsafe { place.add(4).cast::<u32>().write_unaligned(word) };
    Some(())
}

#[inline(always)] // One call.
fn redirect(ifindex: u32) -> u32 {
    // SAFETY: a helper without pointers.
    unsafe { bpf_redirect(ifindex, 0) as u32 }
}

/// Only returns when there is no program under test.
#[inline(always)] // One call.
fn call(ctx: &XdpContext, next: &ProgramArray<1>) -> u32 {
    // SAFETY: the loader put an XDP program there, or nothing.
    unsafe { next.tail_call(ctx, 0) };
    xdp_action::XDP_ABORTED
}

//! The XDP program: parse, decide, count, one exit.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "compare-exchange has no stable form on the BPF target"
)]

mod frame;
mod maps;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use aya_log_ebpf::{info, warn};
use filter_common::{
    abi::{Control, Count, MAX_INTERFACES, REASON_SLOTS, logged, outcome},
    decide::decide,
    frame::FrameBytes as _,
    parse::parse,
    verdict::{Decision, Reason, Verdict},
};

use crate::{frame::XdpFrame, maps::KernelGate};

#[xdp(frags)]
pub fn cerco(ctx: XdpContext) -> u32 {
    let Some(control) = maps::control() else {
        // Cannot happen: an array always has its only value. Without it nothing is known, so the
        // frame passes: a fault of cerco must not cut the host off.
        return xdp_action::XDP_PASS;
    };
    // SAFETY: `control` is a map value; the daemon writes whole aligned words.
    let published = unsafe { core::ptr::read_volatile(&raw const (*control).published) };
    // SAFETY: as above. The reference is read-only here; `logged` is written through the pointer.
    let gate = KernelGate::new(unsafe { &*control }, published);

    let frame = XdpFrame::new(&ctx);
    let decision = match parse(&frame) {
        Ok(Some(packet)) => decide(&gate, &packet),
        Ok(None) => Decision::new(Reason::NotIp, None),
        Err(error) => Decision::new(error.reason(), None),
    };
    log_rare(&ctx, control, &decision);
    conclude(&ctx, control, &decision, frame.frame_len() as u64)
}

/// Counts the decision and turns it into the action: the only place that does.
#[inline(always)] // One caller.
fn conclude(
    ctx: &XdpContext,
    control: *mut Control,
    decision: &Decision,
    frame_len: u64,
) -> u32 {
    // SAFETY: a map value, read as one aligned word.
    let observes = unsafe { core::ptr::read_volatile(&raw const (*control).observe) } != 0;
    let (action, outcome) = match decision.verdict {
        Verdict::Pass => (xdp_action::XDP_PASS, outcome::PASSED),
        Verdict::Drop if observes => (xdp_action::XDP_PASS, outcome::WOULD_DROP),
        Verdict::Drop => (xdp_action::XDP_DROP, outcome::DROPPED),
    };
    // SAFETY: a map value; the daemon changes it before it attaches an interface.
    let slot = interface_slot(unsafe { &*control }, ctx.ingress_ifindex() as u32);
    // A missing counter changes no verdict.
    if let Some(counters) = maps::counters(slot) {
        // SAFETY: a per-CPU map value; no other CPU writes it, and this one runs one packet at a
        // time (XDP runs with bottom halves off). The masks keep both indices inside.
        unsafe {
            let observed = (outcome == outcome::WOULD_DROP) as usize;
            let reason = decision.reason as usize & (REASON_SLOTS - 1);
            count(&raw mut (*counters).reasons[reason][observed], frame_len);
            if let Some(class) = decision.class {
                count(
                    &raw mut (*counters).classes[class.0 as usize][outcome],
                    frame_len,
                );
            }
        }
    }
    action
}

/// # Safety
/// `counter` is valid, and nobody else uses it at the moment.
#[inline(always)] // Four instructions.
unsafe fn count(counter: *mut Count, frame_len: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        (*counter).packets += 1;
        (*counter).bytes += frame_len;
    }
}

/// The counter slot of an interface; a frame from one that the daemon did not name counts in slot 0.
#[inline(always)] // Most hosts leave the loop in its first turn.
fn interface_slot(control: &Control, ifindex: u32) -> u32 {
    for slot in 0..MAX_INTERFACES {
        if slot as u32 >= control.interface_count {
            break;
        }
        if control.interfaces[slot] == ifindex {
            return slot as u32;
        }
    }
    0
}

/// The program's few messages, each sent once for each load.
#[inline(always)] // Two tests on the hot path; the messages themselves are calls.
fn log_rare(ctx: &XdpContext, control: *mut Control, decision: &Decision) {
    // SAFETY: a map value; losing a race here repeats a message.
    let said = unsafe { core::ptr::read_volatile(&raw const (*control).logged) };
    let mut says = 0;
    if said & logged::STARTED == 0 {
        says |= logged::STARTED;
    }
    if decision.reason as u8 == Reason::TableEmpty as u8 && said & logged::TABLE_EMPTY == 0 {
        says |= logged::TABLE_EMPTY;
    }
    if says != 0 {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut (*control).logged, said | says) };
        if says & logged::STARTED != 0 {
            info!(ctx, "first frame seen: the gate decides");
        }
        if says & logged::TABLE_EMPTY != 0 {
            warn!(ctx, "no table is published: everything passes");
        }
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier refuses an endless loop, so a panic that could be reached does not load.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

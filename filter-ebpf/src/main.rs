//! The XDP program: parse, decide, count, one exit.
#![no_std]
#![no_main]
#![feature(core_intrinsics, asm_experimental_arch)]
#![expect(
    internal_features,
    reason = "compare-exchange has no stable form on the BPF target"
)]

mod frame;
mod maps;
mod table;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use aya_log_ebpf::{info, warn};
use filter_common::{
    abi::{
        Control, Count, Counters, MAX_INTERFACES, REASON_SLOTS, elsewhere_slot, logged, outcome,
    },
    decide::decide,
    frame::FrameBytes as _,
    packet::Packet,
    parse::{parse_into, parse_plain},
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
    // SAFETY: a map value; the daemon changes it before it attaches an interface.
    let slot = interface_slot(unsafe { &*control }, ctx.ingress_ifindex() as u32);
    let Some(counters) = maps::counters(slot) else {
        // Cannot happen either: the daemon makes a value for each interface that it attaches.
        log_rare(&ctx, control, logged::MAP_MISSING);
        return xdp_action::XDP_PASS;
    };
    // SAFETY: as above; the reference is read-only here, and `logged` is written through the pointer.
    let gate = KernelGate::new(unsafe { &*control }, published, unsafe {
        &raw mut (*counters).clock
    });
    // SAFETY: a field of a map value of this CPU, which runs one packet at a time.
    let frame = XdpFrame::new(&ctx, unsafe { &raw mut (*counters).number });
    // SAFETY: the place belongs to this CPU, which runs one packet at a time.
    let place = |packet| unsafe { lay_down(counters, packet) };
    let (parsed, frame_len) = match parse_plain(&frame) {
        // All that the packet is lies in the first buffer.
        Some(packet) => (Ok(Some(place(packet))), frame.first_len()),
        None => (parse_into(&frame, place), frame.frame_len()),
    };
    let decision = match parsed {
        Ok(Some(packet)) => decide(&gate, packet),
        Ok(None) => Decision::new(Reason::NotIp, None),
        Err(error) => Decision::new(error.reason(), None),
    };
    log_rare(&ctx, control, logged::STARTED);
    if decision.reason as u8 == Reason::TableEmpty as u8 {
        log_rare(&ctx, control, logged::TABLE_EMPTY);
    }
    conclude(control, counters, &decision, frame_len as u64)
}

/// Lays the packet into this CPU's slot, see [`filter_common::abi::Counters::packet`].
///
/// # Safety
/// `counters` is valid, and nobody else uses its slot while the result lives.
#[inline(always)] // A few stores.
unsafe fn lay_down<'a>(counters: *mut Counters, packet: Packet) -> &'a Packet {
    // SAFETY: the slot is large enough and aligned (asserted beside its type). The store is volatile,
    // so that the compiler does not keep the fields in registers.
    unsafe {
        let place = (&raw mut (*counters).packet).cast::<Packet>();
        place.write_volatile(packet);
        &*place
    }
}

/// Counts the decision and turns it into the action: the only place that does.
#[inline(always)] // One caller.
fn conclude(
    control: *mut Control,
    counters: *mut Counters,
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
    // SAFETY: a per-CPU map value; no other CPU writes it, and this one runs one packet at a time (XDP
    // runs with bottom halves off). The masks keep both indices inside.
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

/// The counter slot of an interface; that of a frame from elsewhere lies behind both halves of the map.
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
    elsewhere_slot(control.interface_count)
}

/// The program's few messages, each sent once for each load. `message` is one of [`logged`].
#[inline(always)] // A test on the hot path; the message itself is a call.
fn log_rare(ctx: &XdpContext, control: *mut Control, message: u32) {
    // SAFETY: a map value; losing a race here repeats a message.
    let said = unsafe { core::ptr::read_volatile(&raw const (*control).logged) };
    if said & message == 0 {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut (*control).logged, said | message) };
        send(ctx, message);
    }
}

#[inline(never)] // Runs a handful of times in the life of a program.
fn send(ctx: &XdpContext, message: u32) -> u32 {
    match message {
        logged::STARTED => info!(ctx, "first frame seen: the gate decides"),
        logged::TABLE_EMPTY => warn!(ctx, "no table is published: everything passes"),
        _ => warn!(ctx, "a map is missing: everything passes"),
    }
    0
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

//! The XDP program: parse, decide, count, one exit.
#![no_std]
#![no_main]
#![feature(core_intrinsics, asm_experimental_arch)]
#![expect(
    internal_features,
    reason = "compare-exchange has no stable form on the BPF target"
)]

mod events;
mod frame;
mod maps;
mod observed;
mod skb;
mod subprograms;
mod table;
mod track;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use aya_log_ebpf::{info, warn};
use filter_common::{
    abi::{
        Control, Count, Counters, InForce, MAX_INTERFACES, MAX_MEMBERS, PolicyBlock, REASON_SLOTS,
        elsewhere_slot, logged, outcome,
    },
    bits,
    country::Class,
    decide::{AtOnce, at_once, step_by_step, within_limit},
    frame::FrameBytes as _,
    observed::has_destination,
    packet::Packet,
    parse::parse_plain,
    verdict::{Decision, Reason, Verdict},
};

use crate::{frame::XdpFrame, maps::KernelGate, subprograms::not_plain};

#[xdp(frags)]
pub fn cerco(ctx: XdpContext) -> u32 {
    let Some(control) = maps::control() else {
        // Cannot happen: an array always has its only value. Without it nothing is known, so the
        // frame passes: a fault of cerco must not cut the host off.
        return xdp_action::XDP_PASS;
    };
    // SAFETY: a map value; the daemon changes it before it attaches an interface.
    let slot = interface_slot(unsafe { &*control }, ctx.ingress_ifindex() as u32);
    let Some(counters) = maps::counters(slot) else {
        // Cannot happen either: the daemon makes a value for each interface that it attaches.
        log_rare(&ctx, control, logged::MAP_MISSING);
        return xdp_action::XDP_PASS;
    };
    log_rare(&ctx, control, logged::STARTED);
    // SAFETY: map values, of which the daemon writes whole aligned words.
    let InForce { published, observe } =
        unsafe { (*control).in_force(|| maps::recent_ns(&raw mut (*counters).clock)) };
    // SAFETY: a field of a map value of this CPU, which runs one packet at a time.
    let frame = XdpFrame::new(&ctx, unsafe { &raw mut (*counters).number });
    let (outcome, frame_len) = match parse_plain(&frame) {
        Some(packet) => {
            // SAFETY: the place belongs to this CPU, which runs one packet at a time.
            let packet = unsafe { lay_down(packet_place(counters), packet) };
            // SAFETY: as in `gate`.
            let gate = unsafe { gate(&ctx, control, counters, published) };
            let outcome = match at_once(&gate, packet) {
                AtOnce::Decided(decision) => Outcome::of(&decision),
                AtOnce::Limited {
                    policy,
                    class,
                    limit,
                } => limited(
                    &ctx,
                    control,
                    counters,
                    policy,
                    u64::from(limit) << 8 | u64::from(class.0),
                ),
                AtOnce::Unclear => Outcome::OPEN,
            };
            // All that the packet is lies in the first buffer.
            (outcome, frame.first_len())
        }
        None => (Outcome(not_plain(ctx.ctx, counters)), frame.frame_len()),
    };
    // Called in one place, so that the verifier follows it once.
    let outcome = match outcome.is_open() {
        true => laid_down(&ctx, control, counters, published),
        false => outcome,
    };
    if outcome.reason() == Reason::TableEmpty as usize {
        log_rare(&ctx, control, logged::TABLE_EMPTY);
    }
    conclude(
        &ctx,
        control,
        observe != 0,
        counters,
        outcome,
        frame_len as u64,
    )
}

/// A [`Decision`] in one register: reason, verdict, whether there is a class, class; a byte each.
#[derive(Clone, Copy)]
struct Outcome(u64);

impl Outcome {
    /// The packet was laid down and is not decided on.
    const OPEN: Self = Self(1 << 32);

    #[inline(always)] // A test.
    fn is_open(self) -> bool {
        self.0 == Self::OPEN.0
    }

    #[inline(always)] // Constants, most of it.
    fn of(decision: &Decision) -> Self {
        let drops = matches!(decision.verdict, Verdict::Drop) as u64;
        let class = decision
            .class
            .map_or(0, |class| 1 << 16 | u64::from(class.0) << 24);
        Self(decision.reason as u64 | drops << 8 | class)
    }

    // Opaque below: the compiler knows what the functions of this program return and would leave out the masks, which
    // the verifier of Linux 6.1 needs.
    #[inline(always)] // A mask, which also proves the bound.
    fn reason(self) -> usize {
        bits::unknown(self.0) as usize & (REASON_SLOTS - 1)
    }

    #[inline(always)] // A test.
    fn drops(self) -> bool {
        self.0 >> 8 & 1 != 0
    }

    #[inline(always)] // A test and a shift.
    fn class(self) -> Option<usize> {
        (self.0 >> 16 & 1 != 0).then_some((bits::unknown(self.0) >> 24 & 0xff) as usize)
    }
}

/// # Safety
/// `control` and `counters` are the map values of this run.
#[inline(always)] // Four registers.
unsafe fn gate(
    ctx: &XdpContext,
    control: *const Control,
    counters: *mut Counters,
    published: u32,
) -> KernelGate<'_> {
    // SAFETY: the caller's promise; the reference is read-only, and what the kernel side writes is written
    // through pointers.
    KernelGate::new(ctx, unsafe { &*control }, counters, published)
}

/// Stage 8 for the packet that was laid down. `limit_and_class`: the class in the lower byte, the limit
/// above.
#[inline(never)] // With a register file of its own.
fn limited(
    ctx: &XdpContext,
    control: *const Control,
    counters: *mut Counters,
    policy: &PolicyBlock,
    limit_and_class: u64,
) -> Outcome {
    let (limit, class) = ((limit_and_class >> 8) as u8, Class(limit_and_class as u8));
    // No generation is looked at: the policy is at hand.
    // SAFETY: as in `gate`; `cerco` has laid the packet down.
    let (gate, packet) = unsafe { (gate(ctx, control, counters, 0), &*packet_place(counters)) };
    let reason = within_limit(&gate, policy, packet, limit);
    Outcome::of(&Decision::new(reason, Some(class)))
}

/// Decides on the packet that was laid down.
#[inline(never)] // See `limited`.
fn laid_down(
    ctx: &XdpContext,
    control: *const Control,
    counters: *mut Counters,
    published: u32,
) -> Outcome {
    // SAFETY: as in `limited`.
    let (gate, packet) = unsafe {
        (
            gate(ctx, control, counters, published),
            &*packet_place(counters),
        )
    };
    Outcome::of(&step_by_step(&gate, packet))
}

/// Where this CPU lays a packet, see [`filter_common::abi::Counters::packet`].
///
/// # Safety
/// `counters` is valid.
#[inline(always)] // An address.
unsafe fn packet_place(counters: *mut Counters) -> *mut Packet {
    // SAFETY: the caller's promise; the slot is large enough and aligned (asserted beside its type).
    unsafe { (&raw mut (*counters).packet).cast() }
}

/// Lays the packet into a slot of this CPU's.
///
/// # Safety
/// `place` has room for a packet, and nobody else uses it while the result lives.
#[inline(always)] // A few stores.
unsafe fn lay_down<'a>(place: *mut Packet, packet: Packet) -> &'a Packet {
    // SAFETY: the caller's promise. The stores are volatile, so that the compiler does not keep the fields in
    // registers; word by word, or it would go by the stack.
    unsafe {
        for (index, word) in packet.words().into_iter().enumerate() {
            place.cast::<u64>().add(index).write_volatile(word);
        }
        &*place
    }
}

/// Counts the decision and turns it into the action: the only place that does.
#[inline(always)] // One caller.
fn conclude(
    ctx: &XdpContext,
    control: *const Control,
    observes: bool,
    counters: *mut Counters,
    outcome: Outcome,
    frame_len: u64,
) -> u32 {
    let (action, end) = match outcome.drops() {
        false => (xdp_action::XDP_PASS, outcome::PASSED),
        true if observes => (xdp_action::XDP_PASS, outcome::WOULD_DROP),
        true => (xdp_action::XDP_DROP, outcome::DROPPED),
    };
    // SAFETY: a per-CPU map value; no other CPU writes it, and this one runs one packet at a time (XDP
    // runs with bottom halves off). Masks keep both indices inside.
    unsafe {
        let observed = (end == outcome::WOULD_DROP) as usize;
        count(
            &raw mut (*counters).reasons[outcome.reason()][observed],
            frame_len,
        );
        if let Some(class) = outcome.class() {
            count(&raw mut (*counters).classes[class][end], frame_len);
        }
    }
    if end == outcome::WOULD_DROP && has_destination(outcome.reason()) {
        observed::count_observed(ctx.ctx, control, counters, frame_len);
    }
    if outcome.drops() {
        events::consider(ctx, control, counters, outcome, observes, frame_len);
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

/// The counter slot of an interface, for a member of a bond that of the bond; that of a frame from elsewhere lies
/// behind both halves of the map.
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
    for member in 0..MAX_MEMBERS {
        if control.members[member] == ifindex {
            return u32::from(control.member_slots[member]);
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

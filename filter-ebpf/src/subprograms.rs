//! Parts of the program that are called from more than one place.
//!
//! Each is a global function, which the verifier looks at once and apart from those that call it; a function of the
//! usual kind it would follow anew at each call, in each state that can lead there. What it knows of the arguments is
//! their types, so a pointer may be null to it: no caller passes that, and what then
//! happens is that the frame passes. They return numbers, as the verifier wants it, and use each argument: the
//! compiler passes anything at all for one that is not used, and the verifier looks at what is passed.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use filter_common::{
    abi::{Control, Counters, exception},
    country::Class,
    exception::find,
    limit::{SourceKey, WAYS, charge},
    parse::parse_into,
    reply::is_reply,
    verdict::{Decision, Reason},
};

use crate::{
    Outcome,
    frame::XdpFrame,
    gate, lay_down,
    maps::{self, KernelStamps, recent_ns},
    packet_place,
};

/// Reads a frame that is not of the plain shape, and decides on it when it holds no packet. Returns an [`Outcome`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn not_plain(ctx: *mut xdp_md, counters: *mut Counters) -> u64 {
    if counters.is_null() {
        return Outcome::of(&Decision::new(Reason::TableEmpty, None)).0;
    }
    let ctx = XdpContext::new(ctx);
    // SAFETY: as in `cerco`.
    let frame = XdpFrame::new(&ctx, unsafe { &raw mut (*counters).number });
    // SAFETY: the place belongs to this CPU, which runs one packet at a time.
    let place = |packet| unsafe { lay_down(packet_place(counters), packet) };
    let outcome = match parse_into(&frame, place) {
        Ok(Some(_)) => Outcome::OPEN,
        Ok(None) => Outcome::of(&Decision::new(Reason::NotIp, None)),
        Err(error) => Outcome::of(&Decision::new(error.reason(), None)),
    };
    outcome.0
}

/// What the exceptions say of the packet that was laid down. `published_and_class`: the class in the lower byte, the
/// number of the generation above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn excepted(counters: *mut Counters, published_and_class: u64) -> u64 {
    if counters.is_null() {
        return exception::NOTHING.into();
    }
    let class = Class(published_and_class as u8);
    let Some(policy) = maps::policy((published_and_class >> 8) as u32) else {
        return exception::NOTHING.into();
    };
    // SAFETY: the map value of this run; `cerco` has laid the packet down.
    let (packet, now_ns) = unsafe {
        (
            &*packet_place(counters),
            recent_ns(&raw mut (*counters).clock),
        )
    };
    find(policy, packet, class, now_ns).into()
}

/// Stage 7 for the packet that was laid down: 1 when it is a reply.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn answers(
    ctx: *mut xdp_md,
    control: *const Control,
    counters: *mut Counters,
) -> u32 {
    if control.is_null() || counters.is_null() {
        return 1;
    }
    let ctx = XdpContext::new(ctx);
    // SAFETY: as in `excepted`.
    let (gate, packet) = unsafe { (gate(&ctx, control, counters, 0), &*packet_place(counters)) };
    is_reply(&gate, packet).into()
}

/// [`charge`]: 1 when the source conforms. `set`: a set of stamps in a map; `source`: its [`SourceKey::word`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn charged(
    set: *mut [u64; WAYS],
    source: u64,
    interval: u64,
    tolerance: u64,
    now_ns: u64,
) -> u32 {
    if set.is_null() {
        return 1;
    }
    let source = SourceKey::from_word(source);
    charge(KernelStamps(set), source, interval, tolerance, now_ns).into()
}

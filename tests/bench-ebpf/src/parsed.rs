//! cerco's parser, for programs that go on differently from there.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map, programs::XdpContext};
use filter_common::{packet::Packet, parse::{parse_into, parse_plain}};

use crate::frame::XdpFrame;

/// A word for `FrameBytes::forget_bounds`, then the packet.
#[btf_map]
static SCRATCH: PerCpuArray<[u64; 8], 1> = PerCpuArray::new();

/// The packet, laid into this CPU's scratch memory as in cerco's program: the verifier forgets which
/// way the parser took.
#[inline(always)] // A BPF subprogram could not return the result by value.
pub fn parsed(ctx: &XdpContext) -> Option<&Packet> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    let frame = XdpFrame::new(ctx, scratch.cast());
    let place = |packet| {
        const { assert!(size_of::<Packet>() == 40) };
        // SAFETY: the value belongs to this CPU, which runs one packet at a time.
        unsafe {
            let place = scratch.cast::<u64>().add(1).cast::<Packet>();
            place.write_volatile(packet);
            &*place
        }
    };
    match parse_plain(&frame) {
        Some(packet) => Some(place(packet)),
        None => parse_into(&frame, place).ok()?,
    }
}

//! XDP programs that drop: what cerco is compared with on the packet path.
#![no_std]
#![no_main]

#[path = "../../../filter-ebpf/src/frame.rs"]
mod frame;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{LpmTrie, PerCpuArray, lpm_trie::Key},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use filter_common::{
    packet::{Address, Packet},
    parse::parse,
};

use crate::frame::XdpFrame;

/// Blocked prefixes; the loader sets the sizes.
#[btf_map]
static BLOCKED_V4: LpmTrie<[u8; 4], u32, 1> = LpmTrie::new();
#[btf_map]
static BLOCKED_V6: LpmTrie<[u8; 16], u32, 1> = LpmTrie::new();
/// A word for `FrameBytes::forget_bounds`.
#[btf_map]
static SCRATCH: PerCpuArray<[u64; 8], 1> = PerCpuArray::new();

/// The least that a program can do.
#[xdp(frags)]
pub fn drop_all(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// cerco's parser, and then everything is dropped.
#[xdp(frags)]
pub fn parse_only(ctx: XdpContext) -> u32 {
    match parsed(&ctx) {
        // The address decides about the action, so that the compiler keeps the parser.
        Some(packet) if packet.source.left_aligned() == (0, 0) => xdp_action::XDP_PASS,
        _ => xdp_action::XDP_DROP,
    }
}

/// As a GeoIP filter with the kernel's own structure would do it.
#[xdp(frags)]
pub fn lpm_trie(ctx: XdpContext) -> u32 {
    let blocked = match parsed(&ctx).map(|packet| packet.source) {
        Some(Address::V4(octets)) => BLOCKED_V4.get(&Key::new(32, octets)).is_some(),
        Some(Address::V6(octets)) => BLOCKED_V6.get(&Key::new(128, octets)).is_some(),
        None => false,
    };
    if blocked {
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_PASS
    }
}

/// The packet, laid into this CPU's scratch memory as in cerco's program: the verifier forgets which
/// way the parser took.
#[inline(always)] // A BPF subprogram could not return the result by value.
fn parsed(ctx: &XdpContext) -> Option<&Packet> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    let frame = XdpFrame::new(ctx, scratch.cast());
    let packet = parse(&frame).ok()??;
    // SAFETY: the value has 64 bytes and belongs to this CPU, which runs one packet at a time.
    unsafe {
        const { assert!(size_of::<Packet>() <= 56) };
        let place = scratch.cast::<u64>().add(1).cast::<Packet>();
        place.write_volatile(packet);
        Some(&*place)
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

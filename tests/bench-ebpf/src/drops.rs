//! XDP programs that drop: what cerco is compared with on the packet path.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the frame is that of the gate")]

mod end;

#[path = "../../../filter-ebpf/src/frame.rs"]
mod frame;
mod parsed;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{LpmTrie, PerCpuArray, lpm_trie::Key},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use filter_common::packet::Family;

use crate::parsed::parsed;

/// Blocked prefixes, keys in network byte order; the loader sets the sizes.
#[btf_map]
static BLOCKED_V4: LpmTrie<[u8; 4], u32, 1> = LpmTrie::new();
#[btf_map]
static BLOCKED_V6: LpmTrie<[u64; 2], u32, 1> = LpmTrie::new();
/// A key of `BLOCKED_V6`.
#[btf_map]
static KEY: PerCpuArray<[u64; 3], 1> = PerCpuArray::new();

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
        Some(packet) if packet.source().left_aligned() == (0, 0) => xdp_action::XDP_PASS,
        _ => xdp_action::XDP_DROP,
    }
}

/// As a GeoIP filter with the kernel's own structure would do it.
#[xdp(frags)]
pub fn lpm_trie(ctx: XdpContext) -> u32 {
    let blocked = match parsed(&ctx) {
        Some(packet) => {
            let (hi, lo) = packet.source().left_aligned();
            match packet.family() {
                Family::V4 => {
                    let octets = ((hi >> 32) as u32).to_be_bytes();
                    BLOCKED_V4.get(&Key::new(32, octets)).is_some()
                }
                Family::V6 => {
                    let key = Key::new(128, [hi.to_be(), lo.to_be()]);
                    in_scratch(key).is_some_and(|key| BLOCKED_V6.get(key).is_some())
                }
            }
        }
        None => false,
    };
    if blocked {
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_PASS
    }
}

/// Lays a key into memory that may be written at any offset; the stack takes whole words alone.
#[inline(always)] // A few stores.
fn in_scratch(key: Key<[u64; 2]>) -> Option<&'static Key<[u64; 2]>> {
    let scratch = KEY.get_ptr_mut(0)?.cast::<Key<[u64; 2]>>();
    // SAFETY: the value has room for the key and belongs to this CPU, which runs one packet at a time.
    unsafe {
        scratch.write_volatile(key);
        Some(&*scratch)
    }
}

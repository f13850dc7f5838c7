//! A limiter as it is usually written: one entry of an LRU hash for each source.
//!
//! It does the least that such a limiter can do. It knows IPv4 alone, so that its key is one word, and
//! does not guard a stamp against other CPUs.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the frame is that of the gate")]

mod end;

#[path = "../../../filter-ebpf/src/frame.rs"]
mod frame;
#[path = "../../src/bench/lru_layout.rs"]
mod lru_layout;
mod parsed;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, xdp_action},
    btf_maps::{Array, LruHashMap, PerCpuArray},
    helpers::bpf_ktime_get_boot_ns,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lru_layout::{DROPPED, LruCounts, LruLimit, SOURCES, WATCHED};

use crate::parsed::parsed;

#[btf_map]
static LIMIT: Array<LruLimit, 1, { BPF_F_MMAPABLE as usize }> = Array::new();
/// Source → theoretical arrival time of its next packet, see `filter_common::limit`; nanoseconds.
#[btf_map]
static STAMPS: LruHashMap<u32, u64, SOURCES> = LruHashMap::new();
#[btf_map]
static COUNTS: PerCpuArray<LruCounts, 1> = PerCpuArray::new();

#[xdp(frags)]
pub fn lru_limit(ctx: XdpContext) -> u32 {
    limit(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

#[inline(always)] // One caller.
fn limit(ctx: &XdpContext) -> Option<u32> {
    let limit = LIMIT.get(0)?;
    // IPv4 fills the top half of the upper word.
    let (hi, _) = parsed(ctx)?.source().left_aligned();
    let source = (hi >> 32) as u32;
    let mut fate = if conforms(limit, source) { 0 } else { DROPPED };
    let action = match fate {
        0 => xdp_action::XDP_PASS,
        _ => xdp_action::XDP_DROP,
    };
    if source == limit.watched {
        fate += WATCHED;
    }
    let counts = COUNTS.get_ptr_mut(0)?;
    // SAFETY: a per-CPU map value, and this CPU runs one packet at a time.
    unsafe { (*counts)[fate & 3] += 1 };
    Some(action)
}

#[inline(always)] // One caller.
fn conforms(limit: &LruLimit, source: u32) -> bool {
    // SAFETY: the helper has no arguments (since 5.8).
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let Some(stamp) = STAMPS.get_ptr_mut(source) else {
        // A failure would mean that the kernel found nothing to evict; the source is new, and passes.
        let _ = STAMPS.insert(source, now + limit.interval_ns, 0);
        return true;
    };
    // SAFETY: a map value of one aligned word. An entry that is evicted meanwhile is not freed.
    let arrival = unsafe { *stamp }.max(now);
    if arrival - now > limit.tolerance_ns {
        return false;
    }
    // SAFETY: as above.
    unsafe { *stamp = arrival + limit.interval_ns };
    true
}

//! Look-ups alone, for BPF_PROG_TEST_RUN: each run walks over a part of the trace.
//!
//! A run makes thousands of look-ups, so that the kernel's clock (whole nanoseconds of the mean run)
//! and the way into a program do not count. Every program comes twice: `*_chained` cannot begin a
//! look-up before the one before it has ended, as the processor would otherwise do.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod end;

#[path = "../../src/bench/lookup_layout.rs"]
mod lookup_layout;
#[path = "../../../filter-ebpf/src/table.rs"]
mod kernel_table;

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, xdp_action},
    btf_maps::{Array, LpmTrie, lpm_trie::Key},
    helpers::generated::bpf_loop,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use filter_common::{
    packet::Address,
    table::{self, Line},
};
use kernel_table::KernelTable;
use lookup_layout::{
    ADDRESSES, BLOCK_ENTRIES, BLOCKS_V4, BLOCKS_V6, FIRST_ENTRIES, IS_BLOCK_V4, IS_BLOCK_V6,
    NO_CLASS, Walk, checksum_step,
};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// An address in network byte order, as in a frame. A type of its own, since the loader does not
/// know the size of an array of arrays.
#[repr(transparent)]
pub struct Octets<const N: usize>([u8; N]);

#[btf_map]
static WALK: Array<Walk, 1, MMAPABLE> = Array::new();
#[btf_map]
static TRACE_V4: Array<[Octets<4>; ADDRESSES], 1> = Array::new();
#[btf_map]
static TRACE_V6: Array<[Octets<16>; ADDRESSES], 1> = Array::new();

/// cerco's table, as `filter-ebpf/src/maps.rs` has it.
#[btf_map]
static TABLE: Array<Line, 1, MMAPABLE> = Array::new();

/// The loader sets the sizes.
#[btf_map]
static TRIE_V4: LpmTrie<[u8; 4], u32, 1> = LpmTrie::new();
#[btf_map]
static TRIE_V6: LpmTrie<[u8; 16], u32, 1> = LpmTrie::new();

#[btf_map]
static FIRST_V4: Array<[u16; FIRST_ENTRIES], 1> = Array::new();
#[btf_map]
static BLOCK_V4: Array<[u16; BLOCKS_V4 * BLOCK_ENTRIES], 1> = Array::new();
#[btf_map]
static FIRST_V6: Array<[u32; FIRST_ENTRIES], 1> = Array::new();
#[btf_map]
static BLOCK_V6: Array<[u32; BLOCKS_V6 * BLOCK_ENTRIES], 1> = Array::new();

macro_rules! programs {
    ($($name:ident, $chained:ident: $trace:ident, $lookup:path;)*) => {
        $(
            #[xdp]
            pub fn $name(_ctx: XdpContext) -> u32 {
                extern "C" fn step(_turn: u64, _context: *mut c_void) -> i64 {
                    take_step(false, |index| Some($lookup(&$trace.get(0)?[index].0)))
                }
                walk(step)
            }

            #[xdp]
            pub fn $chained(_ctx: XdpContext) -> u32 {
                extern "C" fn step(_turn: u64, _context: *mut c_void) -> i64 {
                    take_step(true, |index| Some($lookup(&$trace.get(0)?[index].0)))
                }
                walk(step)
            }
        )*
    };
}

programs! {
    no_lookup_v4, no_lookup_v4_c: TRACE_V4, first_byte;
    no_lookup_v6, no_lookup_v6_c: TRACE_V6, first_byte;
    cerco_v4, cerco_v4_c: TRACE_V4, cerco_class_v4;
    cerco_v6, cerco_v6_c: TRACE_V6, cerco_class_v6;
    trie_v4, trie_v4_c: TRACE_V4, trie_class_v4;
    trie_v6, trie_v6_c: TRACE_V6, trie_class_v6;
    dir_v4, dir_v4_c: TRACE_V4, dir_class_v4;
    dir_v6, dir_v6_c: TRACE_V6, dir_class_v6;
}

/// Calls `step` as often as the walk says.
#[inline(always)] // The verifier puts the loop in place of the helper when it sees one callback.
fn walk(step: extern "C" fn(u64, *mut c_void) -> i64) -> u32 {
    let Some(walk) = WALK.get(0) else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: the callback takes no context. Helper since 5.17.
    let done = unsafe {
        bpf_loop(
            walk.count as u32,
            step as *mut c_void,
            core::ptr::null_mut(),
            0,
        )
    };
    if done == walk.count as i64 {
        xdp_action::XDP_PASS
    } else {
        xdp_action::XDP_ABORTED
    }
}

/// One look-up; returns 0 to go on.
#[inline(always)] // Once in each callback.
fn take_step(chained: bool, class_at: impl Fn(usize) -> Option<u64>) -> i64 {
    let Some(walk) = WALK.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: a map value; one CPU runs these programs, and the process looks in between.
    let walk = unsafe { &mut *walk };
    let mut index = walk.next;
    walk.next += 1;
    if chained {
        index += walk.class & walk.zero;
    }
    let Some(class) = class_at((index & walk.mask) as usize & (ADDRESSES - 1)) else {
        return 1;
    };
    walk.class = class;
    walk.checksum = checksum_step(walk.checksum, class);
    0
}

/// What the loop costs without a look-up, which still reads the address.
#[inline(always)] // So is every look-up below, as in cerco's program.
fn first_byte<const N: usize>(address: &[u8; N]) -> u64 {
    address[0] as u64
}

#[inline(always)] // See `first_byte`.
fn cerco_class_v4(address: &[u8; 4]) -> u64 {
    cerco_class(&Address::v4(*address))
}

#[inline(always)] // See `first_byte`.
fn cerco_class_v6(address: &[u8; 16]) -> u64 {
    cerco_class(&Address::v6(*address))
}

#[inline(always)] // See `first_byte`.
fn cerco_class(address: &Address) -> u64 {
    TABLE
        .get_ptr(0)
        .map(|value| KernelTable::new(value, 0))
        .and_then(|table| table::lookup(&table, address))
        .map_or(NO_CLASS, |class| class.0 as u64)
}

#[inline(always)] // See `first_byte`.
fn trie_class_v4(address: &[u8; 4]) -> u64 {
    TRIE_V4
        .get(&Key::new(32, *address))
        .map_or(0, |class| *class as u64)
}

#[inline(always)] // See `first_byte`.
fn trie_class_v6(address: &[u8; 16]) -> u64 {
    TRIE_V6
        .get(&Key::new(128, *address))
        .map_or(0, |class| *class as u64)
}

#[inline(always)] // See `first_byte`.
fn dir_class_v4(address: &[u8; 4]) -> u64 {
    let (Some(first), Some(blocks)) = (FIRST_V4.get(0), BLOCK_V4.get(0)) else {
        return NO_CLASS;
    };
    let address = u32::from_be_bytes(*address);
    let mut entry = first[(address >> 8) as usize];
    if entry & IS_BLOCK_V4 != 0 {
        let block = (entry & !IS_BLOCK_V4) as usize;
        entry = blocks[block * BLOCK_ENTRIES | (address & 0xff) as usize];
    }
    entry as u64
}

#[inline(always)] // See `first_byte`.
fn dir_class_v6(address: &[u8; 16]) -> u64 {
    let (Some(first), Some(blocks)) = (FIRST_V6.get(0), BLOCK_V6.get(0)) else {
        return NO_CLASS;
    };
    let [a, b, c, rest @ ..] = address;
    let mut entry = first[u32::from_be_bytes([0, *a, *b, *c]) as usize];
    for byte in rest {
        if entry & IS_BLOCK_V6 == 0 {
            break;
        }
        let block = entry as usize & (BLOCKS_V6 - 1);
        entry = blocks[block * BLOCK_ENTRIES | *byte as usize];
    }
    entry as u64
}

//! The frame of an XDP run. Only this module and `skb` dereference packet pointers.

use core::intrinsics::is_val_statically_known;

use aya_ebpf::{EbpfContext as _, helpers::generated, programs::XdpContext};
use filter_common::{
    bits,
    frame::{FrameBytes, Word},
};

/// No header starts behind this offset: two VLAN tags, the IPv6 header and eight extension headers
/// of at most 2,048 bytes. The verifier wants to see a bound below 64 KiB (MAX_PACKET_OFF).
pub const MAX_OFFSET: usize = 0x7fff;

/// Words of a frame whose bytes lie between two packet pointers, as the kernel gave them.
#[inline(always)] // The verifier ties the bounds check to this very pointer.
pub fn read_between<W: Word, const N: usize>(
    data: usize,
    data_end: usize,
    offset: usize,
) -> Option<[W; N]> {
    // What is added is the very register that was tested: a second copy, loaded from the stack, would have no bound to
    // Linux 6.1.
    let offset = match is_val_statically_known(offset) {
        true => offset,
        false => bits::unknown(offset as u64) as usize,
    };
    if offset > MAX_OFFSET {
        return None;
    }
    let start = data + offset;
    if start + size_of::<[W; N]>() > data_end {
        return None;
    }
    // SAFETY: the bytes end before `data_end`, as was tested above, and any bytes are words.
    let words = unsafe { core::ptr::read_unaligned(start as *const [W; N]) };
    Some(words.map(W::to_host))
}

/// `value`, by way of a map, so that the verifier loses sight of it.
///
/// # Safety
/// `word` is a word of a map value that nobody else uses at the moment.
#[inline(always)] // A store and a load.
pub unsafe fn by_way_of(word: *mut u64, value: u64) -> u64 {
    // SAFETY: the caller's promise. Volatile, so that the load happens: the verifier does not track what
    // maps hold.
    unsafe {
        word.write_volatile(value);
        word.read_volatile()
    }
}

/// The frame of one XDP run.
pub struct XdpFrame<'a> {
    ctx: &'a XdpContext,
    /// A word in a map of this CPU's own.
    scratch: *mut u64,
}

impl<'a> XdpFrame<'a> {
    /// `scratch`: a word in a map value that nobody else uses while the frame lives.
    #[inline(always)] // Keeps the context in its register.
    pub fn new(ctx: &'a XdpContext, scratch: *mut u64) -> Self {
        Self { ctx, scratch }
    }
}

impl FrameBytes for XdpFrame<'_> {
    #[inline(always)] // A helper call.
    fn frame_len(&self) -> usize {
        // SAFETY: the context is the one that the kernel passed in (helper since 5.18).
        unsafe { generated::bpf_xdp_get_buff_len(self.ctx.as_ptr().cast()) as usize }
    }

    #[inline(always)] // A subtraction.
    fn first_len(&self) -> usize {
        self.ctx.data_end() - self.ctx.data()
    }

    #[inline(always)] // See `read`.
    fn read_first<W: Word, const N: usize>(&self, offset: usize) -> Option<[W; N]> {
        read_between(self.ctx.data(), self.ctx.data_end(), offset)
    }

    #[inline(always)] // The verifier ties the bounds check to this very pointer.
    fn read<W: Word, const N: usize>(&self, offset: usize) -> Option<[W; N]> {
        match self.read_first(offset) {
            Some(words) => Some(words),
            None => self.copy(offset),
        }
    }

    /// Also for drivers that leave less than all headers in the first buffer.
    #[inline(always)] // A generic cannot be a BPF subprogram: it returns an array by value.
    fn copy<W: Word, const N: usize>(&self, offset: usize) -> Option<[W; N]> {
        // The helper takes an offset of 32 bits.
        if offset > MAX_OFFSET {
            return None;
        }
        let mut words = [W::default(); N];
        // SAFETY: the buffer is as long as is said; the helper checks the offset (since 5.18).
        let status = unsafe {
            generated::bpf_xdp_load_bytes(
                self.ctx.as_ptr().cast(),
                offset as u32,
                words.as_mut_ptr().cast(),
                size_of::<[W; N]>() as u32,
            )
        };
        (status == 0).then_some(words.map(W::to_host))
    }

    #[inline(always)] // A store and a load.
    fn forget_bounds(&self, value: usize) -> usize {
        // SAFETY: the caller of `new` gave the word to this frame.
        unsafe { by_way_of(self.scratch, value as u64) as usize }
    }
}

//! The frame of a run behind the gate, where the kernel has made an skb of it.

use aya_ebpf::{EbpfContext as _, helpers::generated, programs::TcContext};
use filter_common::frame::{FrameBytes, Word};

use crate::frame::{MAX_OFFSET, by_way_of, read_between};

/// The frame of one run behind the gate, from its Ethernet header on.
pub struct SkbFrame<'a> {
    ctx: &'a TcContext,
    /// A word in a map of this CPU's own.
    scratch: *mut u64,
}

impl<'a> SkbFrame<'a> {
    /// As [`XdpFrame::new`].
    #[inline(always)] // Keeps the context in its register.
    pub fn new(ctx: &'a TcContext, scratch: *mut u64) -> Self {
        Self { ctx, scratch }
    }
}

impl FrameBytes for SkbFrame<'_> {
    #[inline(always)] // A load.
    fn frame_len(&self) -> usize {
        self.ctx.len() as usize
    }

    #[inline(always)] // A subtraction.
    fn first_len(&self) -> usize {
        self.ctx.data_end() - self.ctx.data()
    }

    #[inline(always)] // See `read`.
    fn read_first<W: Word, const N: usize>(&self, offset: usize) -> Option<[W; N]> {
        read_between(self.ctx.data(), self.ctx.data_end(), offset)
    }

    #[inline(always)] // A generic cannot be a BPF subprogram: it returns an array by value.
    fn read<W: Word, const N: usize>(&self, offset: usize) -> Option<[W; N]> {
        // The helper takes an offset of 32 bits.
        if offset > MAX_OFFSET {
            return None;
        }
        let mut words = [W::default(); N];
        // SAFETY: the buffer is as long as is said; the helper checks the offset (since 4.5).
        let status = unsafe {
            generated::bpf_skb_load_bytes(
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

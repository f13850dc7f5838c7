//! The address table, as plain memory inside one map value.

use filter_common::{
    bits,
    table::{LINE_BYTES, Line, Memory},
};

/// Bytes of one generation. The loader sets it; the verifier takes it as the constant that it is from then
/// on. The map's value has two of them, and a line behind.
#[unsafe(no_mangle)]
static GENERATION_BYTES: u64 = 0;

/// The table of one generation.
pub struct KernelTable {
    start: *const u8,
    /// The line behind them is readable, too: what starts inside may end there.
    bytes: u64,
}

impl KernelTable {
    /// `value`: the value of the table's map. `generation`: the lowest bit says which.
    #[inline(always)] // Two registers.
    pub fn new(value: *const Line, generation: u32) -> Self {
        // SAFETY: the static is there; volatile, because the loader changes it behind the compiler's back.
        let bytes = unsafe { core::ptr::read_volatile(&raw const GENERATION_BYTES) };
        // A mask of all ones or none; the verifier of Linux 6.1 does not follow a product.
        let offset = bits::unknown(0u64.wrapping_sub(u64::from(generation & 1))) & bytes;
        Self {
            // SAFETY: the value has two generations of this many bytes.
            start: unsafe { value.cast::<u8>().add(offset as usize) },
            bytes,
        }
    }

    #[inline(always)] // A comparison and an addition.
    fn place<T>(&self, offset: u64) -> Option<*const T> {
        const { assert!(size_of::<T>() <= LINE_BYTES) };
        if offset >= self.bytes {
            return None;
        }
        let mut place = self.start;
        // SAFETY: an addition that stays inside the value, as tested. The compiler would make it before
        // the test, whose outcome the verifier would then not apply to the sum.
        unsafe {
            core::arch::asm!(
                "{place} += {offset}",
                place = inout(reg) place,
                offset = in(reg) offset,
                options(nomem, nostack)
            );
        }
        Some(place.cast())
    }
}

impl Memory for KernelTable {
    #[inline(always)] // Three instructions, as all below.
    fn line(&self, index: u32) -> Option<&Line> {
        let place = self.place::<Line>(u64::from(index) * LINE_BYTES as u64)?;
        // SAFETY: lines start at multiples of their size, and the value on a page; any words are a line.
        Some(unsafe { &*place })
    }

    #[inline(always)] // See `line`.
    fn word(&self, index: u32) -> Option<u32> {
        let place = self.place::<u32>(u64::from(index) * 4)?;
        // SAFETY: inside the value and aligned; any bytes are a word.
        Some(unsafe { *place })
    }

    #[inline(always)] // See `line`.
    fn double_word(&self, index: u32) -> Option<u64> {
        let place = self.place::<u64>(u64::from(index) * 8)?;
        // SAFETY: as above.
        let word = unsafe { *place };
        Some(if cfg!(target_endian = "big") {
            word.rotate_left(32)
        } else {
            word
        })
    }

    #[inline(always)] // See `line`.
    fn byte(&self, index: u32) -> Option<u8> {
        let index = if cfg!(target_endian = "big") {
            index ^ 3
        } else {
            index
        };
        // SAFETY: as above.
        Some(unsafe { *self.place::<u8>(u64::from(index))? })
    }
}

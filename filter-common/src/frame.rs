//! The bytes of one frame, as the parser sees them.

/// An unsigned integer, as headers are made of. Any bytes are a valid value.
pub trait Word: Copy + Default {
    /// From the byte order of the network to that of the host.
    fn to_host(self) -> Self;

    /// `bytes`: as many as the integer has, in network byte order.
    fn from_network(bytes: &[u8]) -> Self;
}

macro_rules! impl_word {
    ($($int:ty),*) => {
        $(impl Word for $int {
            #[inline(always)] // One instruction.
            fn to_host(self) -> Self {
                <$int>::from_be(self)
            }

            fn from_network(bytes: &[u8]) -> Self {
                bytes
                    .iter()
                    .fold(0, |word: u64, byte| word << 8 | u64::from(*byte)) as Self
            }
        })*
    };
}

impl_word!(u16, u32, u64);

/// Read access to a frame from its first byte, the destination MAC.
///
/// In the kernel the bytes lie behind pointers that the verifier watches, so there is no slice to
/// hand out; each read is checked on its own.
pub trait FrameBytes {
    /// The bytes of the whole frame, also those that a driver keeps in further buffers.
    fn frame_len(&self) -> usize;

    /// `N` words of network byte order from `offset` on, in host byte order; `None` when they do not all
    /// lie inside the frame.
    fn read<W: Word, const N: usize>(&self, offset: usize) -> Option<[W; N]>;

    /// As [`FrameBytes::read`], in one way for all buffers: in the kernel a call, but no two ways for the verifier.
    fn copy<W: Word, const N: usize>(&self, offset: usize) -> Option<[W; N]> {
        self.read(offset)
    }

    /// The bytes of the first buffer, at most [`FrameBytes::frame_len`].
    fn first_len(&self) -> usize;

    /// As [`FrameBytes::read`], from the first buffer alone.
    fn read_first<W: Word, const N: usize>(&self, offset: usize) -> Option<[W; N]>;

    /// Returns `value`.
    ///
    /// In the kernel it also makes the verifier forget the bounds of `value`. Ways through the parser
    /// that differ in nothing else are then one to it; without this each extension header would
    /// multiply their number.
    fn forget_bounds(&self, value: usize) -> usize {
        value
    }
}

impl FrameBytes for [u8] {
    fn frame_len(&self) -> usize {
        self.len()
    }

    fn first_len(&self) -> usize {
        self.len()
    }

    fn read_first<W: Word, const N: usize>(&self, offset: usize) -> Option<[W; N]> {
        self.read(offset)
    }

    fn read<W: Word, const N: usize>(&self, offset: usize) -> Option<[W; N]> {
        let end = offset.checked_add(size_of::<[W; N]>())?;
        let bytes = self.get(offset..end)?;
        let mut words = [W::default(); N];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(size_of::<W>())) {
            *word = W::from_network(bytes);
        }
        Some(words)
    }
}

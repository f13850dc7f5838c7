//! The bytes of one frame, as the parser sees them.

/// Read access to a frame from its first byte, the destination MAC.
///
/// In the kernel the bytes lie behind pointers that the verifier watches, so there is no slice to
/// hand out; each read is checked on its own.
pub trait FrameBytes {
    /// The bytes of the whole frame, also those that a driver keeps in further buffers.
    fn frame_len(&self) -> usize;

    /// `N` bytes from `offset` on, or `None` when they do not all lie inside the frame.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

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

    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let end = offset.checked_add(N)?;
        self.get(offset..end)?.try_into().ok()
    }
}

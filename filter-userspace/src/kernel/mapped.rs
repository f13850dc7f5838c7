//! BPF arrays in this process's memory.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd as _},
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64},
};

use aya::{Pod, maps::MapData};

use super::KernelError;

/// A BPF array with BPF_F_MMAPABLE, mapped whole. The kernel reads it while this process writes, and
/// the other way round: words that change under running packets are reached as atomics.
pub struct MappedArray<T> {
    values: NonNull<T>,
    len: usize,
    mapped_bytes: usize,
    _values: PhantomData<T>,
}

// SAFETY: the mapping belongs to this value alone, and its memory to no thread.
unsafe impl<T: Pod + Send> Send for MappedArray<T> {}

impl<T: Pod> MappedArray<T> {
    /// Maps `map`, whose values are `T`s at a distance of `size_of::<T>()`.
    pub fn new(map: &MapData, name: &'static str) -> Result<Self, KernelError> {
        let info = map.info().map_err(KernelError::map("inspect", name))?;
        Self::of_len(map, name, info.value_size(), info.max_entries() as usize)
    }

    /// Maps `map`, whose only value is a row of `T`s.
    pub fn of_one_value(map: &MapData, name: &'static str) -> Result<Self, KernelError> {
        let info = map.info().map_err(KernelError::map("inspect", name))?;
        let bytes = info.value_size() as usize;
        if info.max_entries() != 1 || !bytes.is_multiple_of(size_of::<T>()) {
            let error = format!(
                "it has {} values of {bytes} bytes, one row of {} bytes each was expected",
                info.max_entries(),
                size_of::<T>()
            );
            return Err(KernelError::map("inspect", name)(io::Error::other(error)));
        }
        Self::of_len(map, name, size_of::<T>() as u32, bytes / size_of::<T>())
    }

    fn of_len(
        map: &MapData,
        name: &'static str,
        value_bytes: u32,
        len: usize,
    ) -> Result<Self, KernelError> {
        if value_bytes as usize != size_of::<T>() || !size_of::<T>().is_multiple_of(8) {
            return Err(KernelError::map("inspect", name)(io::Error::other(
                format!(
                    "its values have {value_bytes} bytes, {} were expected",
                    size_of::<T>()
                ),
            )));
        }
        let mapped_bytes = (len * size_of::<T>()).next_multiple_of(page_size());
        // SAFETY: a new shared mapping of a file descriptor that is open; the kernel checks its size.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(KernelError::map("map into memory", name)(
                io::Error::last_os_error(),
            ));
        }
        let values = NonNull::new(address.cast()).expect("invariant: mmap never returns null");
        Ok(Self {
            values,
            len,
            mapped_bytes,
            _values: PhantomData,
        })
    }

    /// The byte at `offset` inside value `index`.
    pub(super) fn byte(&self, index: usize, offset: usize) -> &AtomicU8 {
        // SAFETY: `place` tested the bounds; a byte needs no alignment.
        unsafe { AtomicU8::from_ptr(self.place::<u8>(index, offset)) }
    }

    /// The 32-bit word at `offset` inside value `index`.
    pub(super) fn word(&self, index: usize, offset: usize) -> &AtomicU32 {
        // SAFETY: `place` tested bounds and alignment.
        unsafe { AtomicU32::from_ptr(self.place::<u32>(index, offset)) }
    }

    /// The 64-bit word at `offset` inside value `index`.
    pub(super) fn double_word(&self, index: usize, offset: usize) -> &AtomicU64 {
        // SAFETY: `place` tested bounds and alignment.
        unsafe { AtomicU64::from_ptr(self.place::<u64>(index, offset)) }
    }

    fn place<W>(&self, index: usize, offset: usize) -> *mut W {
        assert!(index < self.len, "invariant: callers index inside the map");
        assert!(
            offset + size_of::<W>() <= size_of::<T>() && offset.is_multiple_of(align_of::<W>()),
            "invariant: callers name a field of the value"
        );
        // SAFETY: inside the mapping, as just tested.
        unsafe {
            self.values
                .as_ptr()
                .add(index)
                .cast::<u8>()
                .add(offset)
                .cast()
        }
    }

    /// A copy of value `index`, for values that nobody writes at the time.
    pub fn read(&self, index: usize) -> T {
        self.slice(index, 1)[0]
    }

    /// A reference into the shared memory, for code that only ever reads values which nobody writes
    /// at that time.
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        // SAFETY: inside the mapping; any bytes are a valid `Pod`.
        (index < self.len).then(|| unsafe { &*self.values.as_ptr().add(index) })
    }

    /// Copies `values` to the places from `start` on.
    pub fn write(&self, start: usize, values: &[T]) {
        let end = start + values.len();
        assert!(end <= self.len, "invariant: callers write inside the map");
        // SAFETY: both sides are `values.len()` long, and process memory never overlaps the mapping.
        unsafe {
            std::ptr::copy_nonoverlapping(
                values.as_ptr(),
                self.values.as_ptr().add(start),
                values.len(),
            );
        }
    }

    /// The values from `start` on, `len` of them.
    pub(super) fn slice(&self, start: usize, len: usize) -> &[T] {
        assert!(
            start + len <= self.len,
            "invariant: callers read inside the map"
        );
        // SAFETY: inside the mapping, see `get`.
        unsafe { std::slice::from_raw_parts(self.values.as_ptr().add(start), len) }
    }
}

/// The first word of an array with BPF_F_MMAPABLE, whatever its values are.
pub(super) fn first_word(map: &MapData) -> io::Result<u32> {
    // SAFETY: a new shared mapping of a file descriptor that is open; arrays are whole pages.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            page_size(),
            libc::PROT_READ,
            libc::MAP_SHARED,
            map.fd().as_fd().as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is a page, aligned to pages, and taken away once the word is read.
    unsafe {
        let word = address.cast::<u32>().read_volatile();
        libc::munmap(address, page_size());
        Ok(word)
    }
}

impl<const N: usize> MappedArray<[u64; N]> {
    /// The words of value `index`, which the kernel and others may write at any time.
    pub(super) fn atomics(&self, index: usize) -> &[AtomicU64; N] {
        let place = self.place::<[u64; N]>(index, 0);
        // SAFETY: `place` tested bounds and alignment, an `AtomicU64` has the layout of a `u64` where that is
        // aligned to 8 bytes, and nobody has plain references into such a map.
        unsafe { &*place.cast::<[AtomicU64; N]>() }
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; no reference outlives `self`.
        unsafe { libc::munmap(self.values.as_ptr().cast(), self.mapped_bytes) };
    }
}

fn page_size() -> usize {
    // SAFETY: no arguments that could be wrong.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

//! Many entries of a hash map in one system call (BPF_MAP_LOOKUP_BATCH, Linux 5.6).

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{Pod, maps::MapData};

/// Entries that are asked for at a time; a bucket of the map must fit, and they hold one entry each.
const ENTRIES: usize = 4096;

/// All entries of a hash map with keys `K` and values `V`, in no order.
///
/// An iteration takes two system calls for each entry, and starts over when its key is deleted.
pub(super) fn entries<K: Pod, V: Pod>(map: &MapData) -> io::Result<Vec<(K, V)>> {
    let info = map.info().map_err(io::Error::other)?;
    if info.key_size() as usize != size_of::<K>() || info.value_size() as usize != size_of::<V>() {
        return Err(io::Error::other("its entries have another size"));
    }
    let mut entries = Vec::new();
    let mut keys: Vec<K> = Vec::with_capacity(ENTRIES);
    let mut values: Vec<V> = Vec::with_capacity(ENTRIES);
    // Where to go on: the kernel's own, a bucket number for hash maps.
    let mut place = None;
    loop {
        let mut next_place = 0u32;
        let mut attributes = Attributes {
            in_batch: place
                .as_ref()
                .map_or(0, |place: &u32| &raw const *place as u64),
            out_batch: &raw mut next_place as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: ENTRIES as u32,
            map_fd: map.fd().as_fd().as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        let outcome = lookup_batch(&mut attributes);
        let is_last = match outcome {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        // SAFETY: the kernel has written `count` keys and values, at most ENTRIES as asked for, and any
        // bytes are a valid `Pod`.
        unsafe {
            keys.set_len(attributes.count as usize);
            values.set_len(attributes.count as usize);
        }
        entries.extend(keys.drain(..).zip(values.drain(..)));
        if is_last {
            return Ok(entries);
        }
        place = Some(next_place);
    }
}

/// The part of `union bpf_attr` that batch commands read; pointers as integers.
#[repr(C)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    /// In: room for entries. Out: entries written.
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

fn lookup_batch(attributes: &mut Attributes) -> io::Result<()> {
    const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
    // SAFETY: the pointers in `attributes` are to buffers of the caller that outlive the call.
    let status = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_BATCH,
            &raw mut *attributes,
            size_of::<Attributes>(),
        )
    };
    match status {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

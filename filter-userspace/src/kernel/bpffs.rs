//! The BPF file system: is it there, and may we use this directory?

use std::{
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _, fs::MetadataExt as _},
    path::Path,
};

use super::KernelError;

/// The usual mount point.
const MOUNT_POINT: &str = "/sys/fs/bpf";
/// BPF_FS_MAGIC, include/uapi/linux/magic.h.
const MAGIC: i64 = 0xcafe_4a11;

/// Makes sure that `directory` exists on a BPF file system, belongs to root and is closed to others.
///
/// Mounts /sys/fs/bpf when `directory` lies under it and nothing is mounted there yet.
pub(super) fn prepare(directory: &Path) -> Result<(), KernelError> {
    if !is_bpffs(nearest_existing(directory)) && directory.starts_with(MOUNT_POINT) {
        mount()?;
    }
    if !is_bpffs(nearest_existing(directory)) {
        return Err(KernelError::NotBpffs {
            path: directory.to_path_buf(),
        });
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(KernelError::pin("create", directory))?;
    check_owner(directory)
}

/// Refuses a directory that someone else could have filled.
pub(super) fn check_owner(directory: &Path) -> Result<(), KernelError> {
    let metadata =
        fs::symlink_metadata(directory).map_err(KernelError::pin("inspect", directory))?;
    // SAFETY: no arguments.
    let own_uid = unsafe { libc::geteuid() };
    if !metadata.is_dir() || metadata.uid() != own_uid || metadata.mode() & 0o022 != 0 {
        return Err(KernelError::pin("trust", directory)(io::Error::other(
            "it must be a directory of this user that nobody else may write to",
        )));
    }
    Ok(())
}

/// Swaps two names in one step. bpffs can since Linux 5.16 (simple_rename_exchange() in fs/libfs.c).
pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (one, other) = (name(one)?, name(other)?);
    // SAFETY: two strings that end in 0 and outlive the call. Not every C library has a function for it.
    let status = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            other.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What lies where the pins belong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PinPlace {
    Writable,
    ReadOnly,
    /// `cerco run` mounts the file system, where it has the right to.
    NotMounted,
    /// Some other file system.
    NotBpffs,
}

/// Looks at the file system of `directory`, or of the nearest directory above that exists.
pub fn pin_place(directory: &Path) -> PinPlace {
    let nearest = nearest_existing(directory);
    match is_bpffs(nearest) {
        true if is_read_only(nearest) => PinPlace::ReadOnly,
        true => PinPlace::Writable,
        false if directory.starts_with(MOUNT_POINT) => PinPlace::NotMounted,
        false => PinPlace::NotBpffs,
    }
}

fn nearest_existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(Path::new("/"))
}

fn is_bpffs(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: an all-zero statfs is valid, and the kernel fills it.
    unsafe {
        let mut buffer: libc::statfs = std::mem::zeroed();
        libc::statfs(path.as_ptr(), &raw mut buffer) == 0 && buffer.f_type as i64 == MAGIC
    }
}

fn is_read_only(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: an all-zero statvfs is valid, and the call fills it.
    unsafe {
        let mut buffer: libc::statvfs = std::mem::zeroed();
        libc::statvfs(path.as_ptr(), &raw mut buffer) == 0 && buffer.f_flag & libc::ST_RDONLY != 0
    }
}

fn mount() -> Result<(), KernelError> {
    // SAFETY: constant strings; the file system takes no data.
    let status = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            c"/sys/fs/bpf".as_ptr(),
            c"bpf".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
            std::ptr::null(),
        )
    };
    if status != 0 {
        return Err(KernelError::pin("mount a BPF file system on", MOUNT_POINT)(
            io::Error::last_os_error(),
        ));
    }
    Ok(())
}

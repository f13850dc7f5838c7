//! The commands of bpf(2) that aya has no call for: a program by its number, a program of two
//! instructions, a test run of either; an array of a size that is known late; pins, a pinned program on a
//! pinned link, and the end of a link.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

use super::TestRun;

/// Numbers of `enum bpf_cmd`, include/uapi/linux/bpf.h.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
const BPF_LINK_DETACH: libc::c_long = 34;

/// A loaded program by its number. Needs CAP_SYS_ADMIN.
pub(super) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    open_by_id(BPF_PROG_GET_FD_BY_ID, id)
}

/// Opens a link by its number. Needs CAP_SYS_ADMIN.
pub(super) fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    open_by_id(BPF_LINK_GET_FD_BY_ID, id)
}

fn open_by_id(command: libc::c_long, id: u32) -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` that the commands read.
    #[repr(C)]
    struct Attributes {
        id: u32,
        next_id: u32,
        open_flags: u32,
    }
    let mut attributes = Attributes {
        id,
        next_id: 0,
        open_flags: 0,
    };
    // SAFETY: the structure is what the commands read.
    let fd = unsafe { bpf(command, &mut attributes) }?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An array with one value of `value_bytes` that can be mapped into memory.
///
/// `name`: 15 bytes of it are used (BPF_OBJ_NAME_LEN).
pub(super) fn create_shared_array(name: &str, value_bytes: u32) -> io::Result<OwnedFd> {
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    const BPF_F_MMAPABLE: u32 = 1 << 10;
    /// The part of `union bpf_attr` that an array needs.
    #[repr(C)]
    struct Attributes {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        inner_map_fd: u32,
        numa_node: u32,
        map_name: [u8; 16],
    }
    let mut map_name = [0; 16];
    for (place, byte) in map_name[..15].iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    let mut attributes = Attributes {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: size_of::<u32>() as u32,
        value_size: value_bytes,
        max_entries: 1,
        map_flags: BPF_F_MMAPABLE,
        inner_map_fd: 0,
        numa_node: 0,
        map_name,
    };
    // SAFETY: the structure is what the command reads.
    let fd = unsafe { bpf(BPF_MAP_CREATE, &mut attributes) }?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The part of `union bpf_attr` that the commands about pins read.
#[repr(C)]
struct PinAttributes {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Gives an object a name on a BPF file system.
pub(super) fn pin(object: &OwnedFd, path: &Path) -> io::Result<()> {
    pin_command(BPF_OBJ_PIN, path, object.as_raw_fd() as u32).map(|_| ())
}

/// Opens what is pinned at `path`.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let fd = pin_command(BPF_OBJ_GET, path, 0)?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn pin_command(command: libc::c_long, path: &Path, bpf_fd: u32) -> io::Result<i32> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = PinAttributes {
        pathname: path.as_ptr() as u64,
        bpf_fd,
        file_flags: 0,
    };
    // SAFETY: the structure is what the commands read; the path outlives the call.
    unsafe { bpf(command, &mut attributes) }
}

/// Takes a link off its interface, whoever else has it open or pinned.
///
/// Since Linux 5.9, for XDP and TCX links among others.
pub(super) fn detach_link(link: &OwnedFd) -> io::Result<()> {
    /// The `link_detach` part of `union bpf_attr`.
    #[repr(C)]
    struct Attributes {
        link_fd: u32,
    }
    let mut attributes = Attributes {
        link_fd: link.as_raw_fd() as u32,
    };
    // SAFETY: the structure is what the command reads.
    unsafe { bpf(BPF_LINK_DETACH, &mut attributes) }.map(|_| ())
}

/// Puts another program on a link, with no packet in between.
pub(super) fn update_link(link: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    /// The `link_update` part of `union bpf_attr`.
    #[repr(C)]
    struct Attributes {
        link_fd: u32,
        new_prog_fd: u32,
        flags: u32,
        old_prog_fd: u32,
    }
    let mut attributes = Attributes {
        link_fd: link.as_raw_fd() as u32,
        new_prog_fd: program.as_raw_fd() as u32,
        flags: 0,
        old_prog_fd: 0,
    };
    // SAFETY: the structure is what the command reads.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attributes) }.map(|_| ())
}

/// Loads the smallest XDP program there is: `return XDP_PASS`.
pub(super) fn load_empty_program() -> io::Result<OwnedFd> {
    const BPF_PROG_TYPE_XDP: u32 = 6;
    const XDP_PASS: u8 = 2;
    /// The part of `union bpf_attr` that a program without maps, BTF or a log needs.
    #[repr(C)]
    struct Attributes {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
    }
    /// Opcode, both registers (r0, whatever the order of their halves), offset, immediate.
    fn instruction(opcode: u8, immediate: i32) -> [u8; 8] {
        let [a, b, c, d] = immediate.to_ne_bytes();
        [opcode, 0, 0, 0, a, b, c, d]
    }
    const MOV64_IMMEDIATE: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    // r0 = XDP_PASS; exit
    let instructions = [
        instruction(MOV64_IMMEDIATE, i32::from(XDP_PASS)),
        instruction(EXIT, 0),
    ];
    let mut attributes = Attributes {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: *b"cerco_empty\0\0\0\0\0",
    };
    // SAFETY: the structure is what the command reads; instructions and licence outlive the call.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &mut attributes) }?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Runs an XDP program `repeat` times over `frame`, on this CPU.
///
/// The kernel takes the mean over all runs, in whole nanoseconds and rounded down. It lets other tasks
/// run in between when they are due, and takes their time out (net/bpf/test_run.c).
pub(super) fn test_run(program: &OwnedFd, frame: &[u8], repeat: u32) -> io::Result<TestRun> {
    /// The `test` part of `union bpf_attr`.
    #[repr(C)]
    struct Attributes {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
        flags: u32,
        cpu: u32,
        batch_size: u32,
        _pad: u32,
    }
    let mut attributes = Attributes {
        prog_fd: program.as_raw_fd() as u32,
        retval: 0,
        data_size_in: frame.len() as u32,
        data_size_out: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        repeat,
        duration: 0,
        ctx_size_in: 0,
        ctx_size_out: 0,
        ctx_in: 0,
        ctx_out: 0,
        flags: 0,
        cpu: 0,
        batch_size: 0,
        _pad: 0,
    };
    // SAFETY: the structure is what the command reads and writes; the frame outlives the call.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attributes) }?;
    Ok(TestRun {
        action: attributes.retval,
        duration: Duration::from_nanos(u64::from(attributes.duration)),
    })
}

/// # Safety
/// `A` is the part of `union bpf_attr` that the command uses, and what it points to lives.
unsafe fn bpf<A>(command: libc::c_long, attributes: &mut A) -> io::Result<i32> {
    let size = size_of::<A>();
    // SAFETY: the caller's promise.
    let status = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(status as i32)
}

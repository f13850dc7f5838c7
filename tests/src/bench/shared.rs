//! What the programs of the benchmark share with the process that loads them; they include this file
//! by path.

/// Where the next frame's source comes from.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    /// Frames made so far.
    pub next: u64,
    /// Entries of the trace in use, a power of two, less one; or, for programs that draw addresses,
    /// one less than the number of addresses.
    pub mask: u64,
    /// Where frames are sent.
    pub ifindex: u32,
    pub _pad: u32,
}

/// Entries that a trace has room for.
pub const TRACE_LEN: u32 = 1 << 20;

/// One entry of an IPv4 trace: the bytes 22 to 29 of the frame, from the time to live to the end of
/// the source address, so with the header checksum that belongs to the source.
pub type TraceV4 = u64;
/// One entry of an IPv6 trace: the source address as it stands in the frame.
pub type TraceV6 = [u64; 2];

/// The clock when frames number 0, [`CLOCK_EVERY`], … of a test run were made.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Nanoseconds of the first reading; 0: there was none.
    pub first_ns: u64,
    /// Nanoseconds of the last one.
    pub last_ns: u64,
    /// Readings.
    pub count: u64,
}

/// A power of two, so large that reading the clock costs nothing.
pub const CLOCK_EVERY: u64 = 1 << 12;

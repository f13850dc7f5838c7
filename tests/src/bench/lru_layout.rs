//! What the LRU limiter shares with the process that loads it; they include this file by path.

/// Sources that the map holds: as many as cerco's limiter.
pub const SOURCES: usize = 1 << 20;

/// What every source may send.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LruLimit {
    /// Nanoseconds between packets at the limit.
    pub interval_ns: u64,
    /// Nanoseconds that a source may run ahead: (burst - 1) × interval.
    pub tolerance_ns: u64,
    /// A source that is counted apart, host byte order; 0: none.
    pub watched: u32,
    pub _pad: u32,
}

/// Packets by source and fate: everybody's passed and dropped ones, then those of the watched source.
pub type LruCounts = [u64; 4];
pub const WATCHED: usize = 2;
pub const DROPPED: usize = 1;

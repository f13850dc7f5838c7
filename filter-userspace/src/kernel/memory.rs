//! What the maps cost.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::maps::Map;

use super::{Gate, KernelError};

impl Gate {
    /// Kernel memory of all maps, bytes: the `memlock` of their fdinfo.
    pub fn map_memory(&self) -> Result<u64, KernelError> {
        let mut total = 0;
        for (_, map) in self.ebpf.maps() {
            let (Map::Array(data)
            | Map::HashMap(data)
            | Map::PerCpuArray(data)
            | Map::RingBuf(data)) = map
            else {
                continue;
            };
            let path = format!("/proc/self/fdinfo/{}", data.fd().as_fd().as_raw_fd());
            let text = fs::read_to_string(&path).map_err(KernelError::pin("read", path))?;
            total += text
                .lines()
                .find_map(|line| line.strip_prefix("memlock:"))
                .and_then(|bytes| bytes.trim().parse::<u64>().ok())
                .unwrap_or(0);
        }
        Ok(total)
    }
}

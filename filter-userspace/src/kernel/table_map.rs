//! The map of the address table, made here because aya's loader sizes maps by their entries alone: the
//! table is one value, whose size depends on the database.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aya::EbpfLoader;
use filter_common::{abi::GENERATIONS, table::Line};

use super::{KernelError, bpf, bpffs, load::load_hint, pins::remove_directory};
use crate::faults::{Step, reached};

/// The map's name in the object.
pub(super) const TABLE: &str = "TABLE";
/// The constant of the program that holds its size.
const GENERATION_BYTES: &str = "GENERATION_BYTES";

/// A table map, pinned for as long as the loader needs to find it.
pub struct TableMap {
    pin: PathBuf,
    /// Directories that did not exist before, innermost first.
    made: Vec<PathBuf>,
    generation_bytes: u64,
}

impl TableMap {
    /// Room for two generations of `lines_per_generation` lines. `directory` is for this alone, on a BPF
    /// file system, and is made anew: what is in it was left by a start that was killed.
    ///
    /// Needs Linux 6.0: before, a value had at most 4 MiB (KMALLOC_MAX_SIZE in kernel/bpf/arraymap.c).
    pub fn create(directory: &Path, lines_per_generation: usize) -> Result<Self, KernelError> {
        // One line more: what starts inside a generation may end there.
        let bytes = (GENERATIONS * lines_per_generation + 1) * size_of::<Line>();
        let bytes = u32::try_from(bytes).map_err(|_| KernelError::TableOutgrown {
            needed: lines_per_generation,
            capacity: u32::MAX as usize / size_of::<Line>() / GENERATIONS - 1,
        })?;
        let map = bpf::create_shared_array(TABLE, bytes).map_err(|error| KernelError::Load {
            reason: format!("the map of the address table: {error}"),
            hint: error.raw_os_error().map_or("", load_hint),
        })?;
        remove_directory(directory)?;
        let table = Self {
            pin: directory.join(TABLE),
            made: directory
                .ancestors()
                .take_while(|directory| !directory.exists())
                .map(Path::to_path_buf)
                .collect(),
            generation_bytes: (lines_per_generation * size_of::<Line>()) as u64,
        };
        bpffs::prepare(directory)?;
        bpf::pin(&map, &table.pin).map_err(KernelError::pin("pin a map at", &table.pin))?;
        reached(Step::LoadTable);
        Ok(table)
    }

    /// Makes `loader` use this map, and tells the program its size.
    pub fn give_to<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        // aya takes a map that is pinned there as it is, whatever its size.
        loader
            .map_pin_path(TABLE, self.pin.as_path())
            .override_global(GENERATION_BYTES, &self.generation_bytes, true);
    }
}

impl Drop for TableMap {
    fn drop(&mut self) {
        // Whoever loaded the program has the map; what cannot be removed is in nobody's way.
        let _ = fs::remove_file(&self.pin);
        for directory in &self.made {
            // Only while it is empty.
            let _ = fs::remove_dir(directory);
        }
    }
}

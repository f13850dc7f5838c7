//! What the programs cost the verifier and the kernel.

use aya::programs::{ProgramError, ProgramInfo};

use super::{
    Gate, KernelError,
    load::{PROGRAM, program},
    trackers::{TRACKERS, tracker},
};

/// A loaded program as the kernel counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramSize {
    pub program: &'static str,
    /// Instructions that the verifier walked through, on all ways together; it gives up at 1,000,000.
    pub verified_instructions: u32,
    /// Bytes of BPF bytecode after the verifier has rewritten it.
    pub translated_bytes: u32,
}

impl Gate {
    /// The gate's own program first, then those behind it, if they are loaded. `None`: the kernel does not tell.
    pub fn program_sizes(&mut self) -> Result<Option<Vec<ProgramSize>>, KernelError> {
        let mut sizes = vec![size(PROGRAM, program(&mut self.ebpf)?.info())?];
        if self.replies.enabled {
            for (name, _, _) in TRACKERS {
                sizes.push(size(name, tracker(&mut self.ebpf, name)?.info())?);
            }
        }
        Ok(sizes.into_iter().collect())
    }
}

fn size(
    program: &'static str,
    info: Result<ProgramInfo, ProgramError>,
) -> Result<Option<ProgramSize>, KernelError> {
    let info = info.map_err(|source| KernelError::ProgramInfo { source })?;
    let sizes = (info.verified_instruction_count(), info.size_translated());
    Ok(match sizes {
        (Some(verified_instructions), Some(translated_bytes)) => Some(ProgramSize {
            program,
            verified_instructions,
            translated_bytes,
        }),
        _ => None,
    })
}

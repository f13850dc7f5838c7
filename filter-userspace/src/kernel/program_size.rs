//! What the program costs the verifier and the kernel.

use super::{Gate, KernelError, load::program};

/// The loaded program as the kernel counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramSize {
    /// Instructions that the verifier walked through, on all ways together; it gives up at 1,000,000.
    pub verified_instructions: u32,
    /// Bytes of BPF bytecode after the verifier has rewritten it.
    pub translated_bytes: u32,
}

impl Gate {
    /// `None`: the kernel does not tell.
    pub fn program_size(&mut self) -> Result<Option<ProgramSize>, KernelError> {
        let info = program(&mut self.ebpf)?
            .info()
            .map_err(|source| KernelError::ProgramInfo { source })?;
        let sizes = (info.verified_instruction_count(), info.size_translated());
        Ok(match sizes {
            (Some(verified_instructions), Some(translated_bytes)) => Some(ProgramSize {
                verified_instructions,
                translated_bytes,
            }),
            _ => None,
        })
    }
}

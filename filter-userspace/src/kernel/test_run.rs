//! The loaded program over a frame that never was on a wire (BPF_PROG_TEST_RUN).

use std::time::Duration;

use aya::programs::{ProgramFd, TestRun as _, TestRunOptions};

use super::{Gate, KernelError, load::program};

/// What the program did with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TestRun {
    /// An `xdp_action`: 1 drops, 2 passes.
    pub action: u32,
    /// The mean time of one run.
    pub duration: Duration,
}

impl Gate {
    /// The loaded program.
    pub fn program_fd(&mut self) -> Result<&ProgramFd, KernelError> {
        program(&mut self.ebpf)?
            .fd()
            .map_err(|source| KernelError::Load {
                reason: source.to_string(),
                hint: "",
            })
    }

    /// Runs the program `repeat` times over `frame`, which [`Gate::elsewhere`] counts.
    ///
    /// The kernel refuses frames of less than 14 bytes. What goes beyond a page, with room for its own,
    /// lies in further buffers, as with a large MTU.
    pub fn test_run(&mut self, frame: &[u8], repeat: u32) -> Result<TestRun, KernelError> {
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat,
            ..TestRunOptions::default()
        };
        let result = program(&mut self.ebpf)?
            .test_run(options)
            .map_err(|source| KernelError::TestRun {
                frame_len: frame.len(),
                source,
            })?;
        Ok(TestRun {
            action: result.return_value,
            duration: result.duration,
        })
    }
}

//! The program on the links of a standing gate, for test runs, and what decides in its maps.

use std::{os::fd::OwnedFd, path::Path};

use aya::maps::MapData;
use filter_common::{
    abi::{MAX_INTERFACES, PORT_SETS, PolicyBlock, PortSet},
    decide,
    parse::parse,
    table::Line,
    verdict::{Decision, Reason},
};

use super::{
    Ban, InterfaceCounters, KernelError, Mode, Pinned, TestRun, bpf, load::published_generation,
    mapped::MappedArray, oracle::Snapshot, pins, table_map::TABLE,
};

/// Of the loopback device in every network namespace (LOOPBACK_IFINDEX, include/net/net_namespace.h).
/// The kernel says that a test run's frame came in there.
const LOOPBACK_IFINDEX: u32 = 1;

/// The program of a standing gate, opened by its pins: with or without a daemon.
pub struct Live {
    pinned: Pinned,
    ports: MappedArray<PortSet>,
    table: MappedArray<Line>,
    program: OwnedFd,
    program_id: u32,
    /// The generation that decided when this was opened.
    generation: Option<usize>,
}

impl Live {
    /// `Ok(None)`: nothing is pinned there, or no link holds a program. Needs root.
    pub fn open(pins: &Path) -> Result<Option<Self>, KernelError> {
        let Some(pinned) = Pinned::open(pins)? else {
            return Ok(None);
        };
        let Some(program_id) = pins::linked_program(pins)? else {
            return Ok(None);
        };
        let program = bpf::program_by_id(program_id).map_err(KernelError::program(
            "open the program that is loaded (root has the right to)",
        ))?;
        Ok(Some(Self {
            ports: MappedArray::new(&pins::open_map(pins, "PORTS")?, "PORTS")?,
            table: MappedArray::of_one_value(&pins::open_map(pins, TABLE)?, TABLE)?,
            generation: published_generation(&pinned.control),
            program,
            program_id,
            pinned,
        }))
    }

    /// The kernel's number of the program.
    pub fn program_id(&self) -> u32 {
        self.program_id
    }

    /// The names of the interfaces that the gate stands on.
    pub fn interfaces(&self) -> Vec<String> {
        let attached = self.pinned.attachments().iter();
        attached.map(|it| it.interface.clone()).collect()
    }

    pub fn mode(&self) -> Mode {
        self.pinned.mode()
    }

    /// Whether a test run counts as traffic of the loopback interface, because the gate stands there.
    pub fn guards_loopback(&self) -> bool {
        let control = self.pinned.control.read(0);
        let count = (control.interface_count as usize).min(MAX_INTERFACES);
        control.interfaces[..count].contains(&LOOPBACK_IFINDEX)
    }

    /// False once a policy was published after this was opened: what was read may be overwritten.
    pub fn is_current(&self) -> bool {
        published_generation(&self.pinned.control) == self.generation
    }

    /// The policy that decides.
    pub fn policy(&self) -> Option<&PolicyBlock> {
        self.pinned.policy.get(self.generation?)
    }

    /// The table that decides.
    pub fn table(&self) -> Option<&[Line]> {
        let lines = self.pinned.control.read(0).lines_per_generation as usize;
        Some(self.table.slice(self.generation? * lines, lines))
    }

    /// The port sets that decide.
    pub fn ports(&self) -> Option<&[PortSet]> {
        Some(self.ports.slice(self.generation? * PORT_SETS, PORT_SETS))
    }

    fn snapshot(&self) -> Snapshot<'_, MapData> {
        Snapshot::of_generation(
            self.generation,
            &self.pinned.control,
            &self.pinned.policy,
            &self.ports,
            &self.table,
            &self.pinned.ban_map,
        )
    }

    pub fn bans(&self) -> Result<Vec<Ban>, KernelError> {
        self.pinned.bans()
    }

    /// What the policy says about a frame, in enforce mode, from a source that is at rest.
    pub fn decide(&self, frame: &[u8]) -> Decision {
        match parse(frame) {
            Ok(Some(packet)) => decide::decide(&self.snapshot(), &packet),
            Ok(None) => Decision::new(Reason::NotIp, None),
            Err(error) => Decision::new(error.reason(), None),
        }
    }

    /// Runs the program `repeat` times over `frame`. It decides, charges limits and counts as ever;
    /// what it counts is [`Live::elsewhere`], unless [`Live::guards_loopback`].
    pub fn test_run(&self, frame: &[u8], repeat: u32) -> Result<TestRun, KernelError> {
        bpf::test_run(&self.program, frame, repeat)
            .map_err(KernelError::program("run the loaded program over a frame"))
    }

    /// What test runs have counted.
    pub fn elsewhere(&self) -> Result<InterfaceCounters, KernelError> {
        self.pinned.elsewhere()
    }
}

/// A program that only returns: what is left of a test run's time is that of the test run.
pub struct EmptyProgram(OwnedFd);

impl EmptyProgram {
    pub fn load() -> Result<Self, KernelError> {
        bpf::load_empty_program()
            .map(Self)
            .map_err(KernelError::program("load an empty program"))
    }

    pub fn test_run(&self, frame: &[u8], repeat: u32) -> Result<TestRun, KernelError> {
        bpf::test_run(&self.0, frame, repeat)
            .map_err(KernelError::program("run the empty program over a frame"))
    }
}

//! What can go wrong between cerco and the kernel.

use std::{io, path::PathBuf};

/// Each variant says what was attempted; the message names the way out where there is one.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("failed to load the XDP program: {reason}{hint}")]
    Load { reason: String, hint: &'static str },
    #[error("the BPF object holds no {kind} `{name}`: this build of cerco is broken")]
    ObjectIncomplete {
        kind: &'static str,
        name: &'static str,
    },
    #[error("failed to {operation} map {map}: {source}")]
    Map {
        operation: &'static str,
        map: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "the new table needs {needed} lines, the kernel's has room for {capacity}: the gate has to be loaded anew"
    )]
    TableOutgrown { needed: usize, capacity: usize },
    #[error(
        "the table in the kernel differs from what was written, at line {line}: it was not published"
    )]
    ReadBack { line: usize },
    #[error(
        "a change is on trial; `cerco confirm` keeps it, `cerco rollback` undoes it, before the next one"
    )]
    OnTrial,
    #[error("no change is on trial")]
    NoTrial,
    #[error("the time of the trial is over: the policy of before is in force again")]
    TrialOver,
    #[error("interface `{interface}` does not exist; `ip -brief link` lists those that do")]
    NoInterface { interface: String },
    #[error("failed to attach to `{interface}`{mode}: {reason}{hint}")]
    Attach {
        interface: String,
        mode: &'static str,
        reason: String,
        hint: String,
    },
    #[error(
        "the kernel attached to `{interface}` without a BPF link, so that the gate would fall with the daemon: detached again; Linux 6.1 or later is needed"
    )]
    NotPersistent { interface: String },
    #[error(
        "the gate was detached, every packet passes: only a restart of the daemon puts it up again"
    )]
    TakenDown,
    #[error(
        "failed to watch what `{interface}` sends: {reason}; answers to this host's own connections are judged like everything else there"
    )]
    Track { interface: String, reason: String },
    #[error("failed to {operation} {}: {source}", path.display())]
    Pin {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{} is not on a BPF file system; `mount -t bpf bpf /sys/fs/bpf` mounts one", path.display()
    )]
    NotBpffs { path: PathBuf },
    #[error(
        "the maps pinned under {} are of ABI version {found}, this cerco speaks {expected}; `cerco run` replaces them", path.display()
    )]
    AbiMismatch {
        path: PathBuf,
        found: u32,
        expected: u32,
    },
    #[error(
        "bans of {family} have {} prefix lengths already (/{}); /{refused} would be one more: unban one of those lengths first", lengths.len(), join(lengths)
    )]
    TooManyBanLengths {
        family: &'static str,
        lengths: Vec<u8>,
        refused: u8,
    },
    #[error("all {capacity} bans are in use; `cerco bans` lists them")]
    TooManyBans { capacity: usize },
    #[error(
        "at most {} interfaces can stand behind one gate",
        filter_common::abi::MAX_INTERFACES
    )]
    TooManyInterfaces,
    #[error(
        "all {slots} places for interfaces are in use; restart the daemon, which forgets those that have no default route any more"
    )]
    NoSlot { slots: usize },
    #[error(
        "the loaded program was put up by a cerco that counts test runs as traffic; restart the daemon first"
    )]
    NoElsewhere,
    #[error("failed to run the program over a frame of {frame_len} bytes: {source}")]
    TestRun {
        frame_len: usize,
        #[source]
        source: aya::programs::ProgramError,
    },
    #[error("failed to ask the kernel about the loaded program: {source}")]
    ProgramInfo {
        #[source]
        source: aya::programs::ProgramError,
    },
    #[error("failed to {operation}: {source}")]
    Program {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("failed to make random numbers: {source}")]
    Random {
        #[source]
        source: io::Error,
    },
}

fn join(lengths: &[u8]) -> String {
    let texts: Vec<String> = lengths.iter().map(u8::to_string).collect();
    texts.join(", /")
}

impl KernelError {
    /// For the closures of `map_err`.
    pub(super) fn map<E>(operation: &'static str, map: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |source| Self::Map {
            operation,
            map,
            source: Box::new(source),
        }
    }

    /// For the closures of `map_err`.
    pub(super) fn pin(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Pin {
            operation,
            path,
            source,
        }
    }

    /// Whether a signal broke the operation off, as when the process was stopped meanwhile.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Program { source, .. } if source.kind() == io::ErrorKind::Interrupted)
    }

    /// For the closures of `map_err`.
    pub(super) fn program(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Program { operation, source }
    }
}

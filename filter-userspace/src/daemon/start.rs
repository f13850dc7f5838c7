//! From a database and a policy to a gate that can be attached.

use std::sync::mpsc;

use anyhow::Context;
use tracing::info;

use crate::{
    both::both,
    compile::{CompiledPolicy, compile, probable_lines},
    geo::{Database, GeoError},
    kernel::{Gate, GateOptions, KernelError, Loader},
    policy::Policy,
};

/// What a start has made.
pub struct Loaded {
    pub database: Database,
    pub compiled: CompiledPolicy,
    /// Filled and not attached.
    pub gate: Gate,
}

/// Reads the database, compiles the policy, and loads the gate.
///
/// Until it stands, a booting host has no gate, so two cores share the work: one reads and compiles,
/// the other gets the program past the kernel's verifier, which takes as long. For that the table has to
/// be sized before it is compiled: by `lines`, where somebody knows, else by a guess from the database.
/// When that was too small, the gate is loaded once more.
pub fn load(
    read_database: impl FnOnce() -> Result<Database, GeoError>,
    lines: Option<usize>,
    policy: &Policy,
    options: &GateOptions,
) -> anyhow::Result<Loaded> {
    let (tell, told) = mpsc::channel();
    let read_and_compile = || {
        // Dropped at the end, so that the other side never waits for a database that cannot be read.
        let tell = tell;
        let database = read_database()?;
        // Nobody is there any more when the size was known before and the gate is loaded.
        let _ = tell.send(probable_lines(policy, &database));
        let compiled = compile(policy, &database);
        Ok::<_, GeoError>((database, compiled))
    };
    let load_empty = move || {
        let loader = Loader::new();
        let lines = lines.or_else(|| told.recv().ok())?;
        Some(Gate::load_empty(loader, lines, options))
    };
    let (read, gate) = both(read_and_compile, load_empty).context("cannot start a thread")?;
    let (database, compiled) = read.context("cannot read the country database")?;
    let gate = gate.expect("invariant: who has read a database has told its size");
    let compiled = compiled.context("cannot compile the policy")?;
    let gate = gate.and_then(|mut gate| match gate.fill(&compiled) {
        Ok(()) => Ok(gate),
        Err(error @ KernelError::TableOutgrown { .. }) => {
            info!("loading once more: {error}");
            drop(gate);
            Gate::load(&compiled, options)
        }
        Err(error) => Err(error),
    });
    Ok(Loaded {
        database,
        compiled,
        gate: gate.context("cannot load the gate into the kernel")?,
    })
}

//! From a database and a policy to a gate that can be attached.

use anyhow::Context;
use tracing::info;

use crate::{
    both::both,
    compile::{CompiledPolicy, compile, probable_lines},
    geo::{Database, GeoError},
    kernel::{Gate, GateOptions, KernelError, Loader},
    policy::Policy,
};

const NO_THREAD: &str = "cannot start a thread";

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
/// the other gets the program past the kernel's verifier. The table is sized before it is compiled;
/// when that guess was too small, the gate is loaded once more.
pub fn load(
    read_database: impl FnOnce() -> Result<Database, GeoError>,
    policy: &Policy,
    options: &GateOptions,
) -> anyhow::Result<Loaded> {
    let (database, loader) = both(read_database, Loader::new).context(NO_THREAD)?;
    let database = database.context("cannot read the country database")?;
    let lines = probable_lines(policy, &database);
    let (compiled, gate) = both(
        || compile(policy, &database),
        || Gate::load_empty(loader, lines, options),
    )
    .context(NO_THREAD)?;
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

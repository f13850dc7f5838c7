//! Brings a machine to the point where everything here builds and runs.
//!
//! Says each thing before it installs it, and installs nothing that is there.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    apt::{self, Package},
    dashboard, ebpf, linker, nginx, old_kernel, prometheus,
    toolchain::{self, Missing, Rust, Source, Toolchain},
    workspace,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// `cargo xtask setup`: build and run time; proves the result and says what is used.
    Everything,
    /// What a build needs; silent when nothing is missing.
    ToBuild,
    /// What the demo needs as well; silent when nothing is missing.
    ToRun,
    /// What the tests need as well; silent when nothing is missing.
    ToTest,
}

/// Commands that tests and demo run, and the package of each.
const RUN_COMMANDS: &[(&str, &str, &str)] = &[
    (
        "ip",
        "iproute2",
        "network namespaces and veth pairs of tests and demo",
    ),
    ("man", "man-db", "a test renders the manual pages"),
    (
        "nft",
        "nftables",
        "a test puts a container behind the host's address",
    ),
    (
        "tmux",
        "tmux",
        "a test looks at the live view in a real terminal",
    ),
    ("tshark", "tshark", "a test opens a capture with it"),
    (
        "minisign",
        "minisign",
        "a test verifies the signature of a report with it",
    ),
];

/// Commands that only tests run: too large for who wants to see the demo.
const TEST_COMMANDS: &[(&str, &str, &str)] = &[(
    "qemu-system-x86_64",
    "qemu-system-x86",
    "a test boots Linux 6.1 in a virtual machine",
)];

/// A component is a few megabytes; a machine that cannot reach rustup's server may wait for ever.
const COMPONENT_LIMIT: Duration = Duration::from_secs(60);
const TOOLCHAIN_LIMIT: Duration = Duration::from_secs(15 * 60);

pub fn run(wanted: Wanted) -> Result<()> {
    let (rust, new_rust) = match toolchain::find_rust() {
        Ok(rust) => (rust, false),
        Err(missing) => (install_rust(&missing)?, true),
    };
    let (mut linker, new_linker) = match toolchain::find_linker(&rust) {
        Ok(linker) => (linker, false),
        Err(reason) => (install_linker(&rust, &reason)?, true),
    };
    if wanted != Wanted::ToBuild {
        install_commands(RUN_COMMANDS)?;
    }
    if matches!(wanted, Wanted::ToTest | Wanted::Everything) {
        if old_kernel::RUNS_HERE {
            install_commands(TEST_COMMANDS)?;
        }
        old_kernel::unpack(&workspace::target_dir()?.join("tools"))?;
    }
    if matches!(wanted, Wanted::ToTest | Wanted::Everything) {
        install_node()?;
        install_browser()?;
    }
    let server = match wanted {
        Wanted::ToBuild => None,
        Wanted::ToRun | Wanted::ToTest | Wanted::Everything => Some(nginx_path()?),
    };
    let monitor = match wanted {
        Wanted::ToBuild | Wanted::ToRun => None,
        Wanted::ToTest | Wanted::Everything => Some(prometheus_folder()?),
    };
    if wanted == Wanted::Everything || new_rust || new_linker {
        linker = prove(&rust, linker)?;
        eprintln!(
            "setup: the eBPF program builds with {rust} and {}",
            linker.display()
        );
        if let Some(server) = server {
            eprintln!("setup: tests and demo use {}", server.display());
        }
        if let Some(monitor) = monitor {
            eprintln!("setup: tests use prometheus in {}", monitor.display());
        }
    }
    Ok(())
}

/// Path of the web server for tests and demo.
pub fn nginx_path() -> Result<PathBuf> {
    nginx::find_or_unpack(&workspace::target_dir()?.join("tools"))
}

/// Folder of `prometheus` and `promtool` for the tests.
pub fn prometheus_folder() -> Result<PathBuf> {
    prometheus::find_or_unpack(&workspace::target_dir()?.join("tools"))
}

/// A program in `PATH`, or where Debian keeps root's tools: users often lack those in `PATH`.
pub fn system_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn install_commands(commands: &[(&str, &str, &'static str)]) -> Result<()> {
    for &(command, package, purpose) in commands {
        if system_program(command).is_none() {
            apt::install(&[Package {
                name: package.to_owned(),
                purpose,
            }])?;
        }
    }
    Ok(())
}

/// Node.js and npm, which make the dashboard's bundle. One that is too old is somebody's choice, and stays.
pub fn install_node() -> Result<()> {
    let Some(fault) = dashboard::node_fault() else {
        return Ok(());
    };
    let purpose = "they make the bundle of the dashboard, and drive the browser of its tests";
    if system_program("node").is_some() && system_program("npm").is_some() {
        bail!("{fault} ({purpose}): install a newer one, as from https://nodejs.org");
    }
    apt::install(&["nodejs", "npm"].map(|name| Package {
        name: name.to_owned(),
        purpose,
    }))?;
    match dashboard::node_fault() {
        None => Ok(()),
        Some(fault) => {
            bail!("{fault} ({purpose}): install a newer one, as from https://nodejs.org")
        }
    }
}

fn install_browser() -> Result<()> {
    if system_program("chromium").is_some() {
        return Ok(());
    }
    apt::install(&[Package {
        name: "chromium".to_owned(),
        purpose: "a test looks at the dashboard in it, without a window",
    }])
}

fn install_linker(rust: &Rust, reason: &str) -> Result<PathBuf> {
    linker::install(rust, reason)?;
    toolchain::find_linker(rust).map_err(|reason| anyhow::anyhow!("{reason}"))
}

/// Tries each way to a compiler with its source, and ends with all that failed.
fn install_rust(missing: &Missing) -> Result<Rust> {
    for reason in &missing.0 {
        eprintln!("setup: {reason}");
    }
    let wanted = env::var(toolchain::TOOLCHAIN_VAR)
        .ok()
        .filter(|name| !name.is_empty());
    let mut failures = Vec::new();
    let sources = toolchain::candidates(wanted.as_deref());
    for source in &sources {
        let result = match source {
            Source::Rustup(name) => add_source_to(name),
            Source::Distribution => install_distribution_rust(),
        };
        match result {
            Ok(()) => match toolchain::find_rust() {
                Ok(rust) => return Ok(rust),
                Err(missing) => failures.extend(missing.0),
            },
            Err(error) => {
                let failure = format!("{error:#}");
                if !missing.0.contains(&failure) {
                    eprintln!("setup: {failure}");
                }
                failures.push(failure);
            }
        }
    }
    // Last, since it downloads a whole compiler into the user's home.
    if let (Some(rustup), Some(Source::Rustup(name))) =
        (toolchain::program("rustup"), sources.first())
    {
        eprintln!("setup: installing {name} with rustup (a compiler that has its library source)");
        let mut command = Command::new(rustup);
        command.args(["toolchain", "install", name, "--profile", "minimal"]);
        command.args(["--component", "rust-src", "--no-self-update"]);
        match workspace::run_within(&mut command, TOOLCHAIN_LIMIT) {
            Ok(()) => match toolchain::find_rust() {
                Ok(rust) => return Ok(rust),
                Err(missing) => failures.extend(missing.0),
            },
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    bail!(
        "found no way to a compiler for eBPF:\n  - {}",
        failures.join("\n  - ")
    )
}

/// Adds the library source to a toolchain of rustup that is there without it.
fn add_source_to(name: &str) -> Result<()> {
    let rustup = toolchain::program("rustup").context("rustup is not installed")?;
    let mut which = Command::new(&rustup);
    which
        .args(["which", "--toolchain", name, "rustc"])
        .env("RUSTUP_AUTO_INSTALL", "0");
    if workspace::output(&mut which).is_err() {
        bail!("rustup has no toolchain {name}");
    }
    eprintln!(
        "setup: adding rust-src to rustup's {name} (eBPF needs the library source of its compiler)"
    );
    let mut add = Command::new(&rustup);
    add.args(["component", "add", "rust-src", "--toolchain", name]);
    workspace::run_within(&mut add, COMPONENT_LIMIT)
}

/// A compiler and its library source, as two packages of one version.
fn install_distribution_rust() -> Result<()> {
    if !apt::is_available() {
        bail!("this system has no apt-get");
    }
    let pair = match distribution_pair(apt::candidate) {
        Some(pair) => pair,
        None => {
            apt::update()?;
            let (major, minor) = toolchain::MIN_RUST;
            distribution_pair(apt::candidate)
                .with_context(|| format!("the distribution has no Rust {major}.{minor} or newer"))?
        }
    };
    let purpose = "Rust and its library source; the eBPF program needs both, in one version";
    apt::install(&pair.map(|name| Package {
        name: name.to_owned(),
        purpose,
    }))
}

/// The first pair of packages whose versions agree and are new enough.
///
/// `candidate`: the version of a package that apt would install. Debian's stable releases keep
/// `rustc` for years and carry a newer one, for building browsers, as `rustc-web`.
fn distribution_pair(candidate: impl Fn(&str) -> Option<String>) -> Option<[&'static str; 2]> {
    [["rustc", "rust-src"], ["rustc-web", "rust-web-src"]]
        .into_iter()
        .find(|[compiler, source]| {
            let version = candidate(compiler);
            version.is_some()
                && version == candidate(source)
                && version.and_then(|version| apt::number(&version)) >= Some(toolchain::MIN_RUST)
        })
}

/// Builds the eBPF program. A linker of the user's own that fails is replaced by one of ours.
fn prove(rust: &Rust, linker: PathBuf) -> Result<PathBuf> {
    let target_dir = workspace::target_dir()?.join("ebpf");
    let attempt = |linker: &Path| build_ebpf(rust, linker, &target_dir);
    let Err(error) = attempt(&linker) else {
        return Ok(linker);
    };
    let own = toolchain::linker_root(rust).is_some_and(|root| linker.starts_with(root));
    if own {
        return Err(error);
    }
    eprintln!("setup: {error:#}");
    let linker = install_linker(rust, &format!("{} did not do", linker.display()))?;
    attempt(&linker)?;
    Ok(linker)
}

fn build_ebpf(rust: &Rust, linker: &Path, target_dir: &Path) -> Result<()> {
    let toolchain = Toolchain {
        rust: rust.clone(),
        linker: linker.to_owned(),
    };
    let target = ebpf::Target {
        triple: if cfg!(target_endian = "big") {
            "bpfeb-unknown-none"
        } else {
            "bpfel-unknown-none"
        },
        kernel_arch: env::consts::ARCH.to_owned(),
    };
    let crate_dir = workspace::root().join("filter-ebpf");
    workspace::output(&mut ebpf::command(
        &toolchain, &target, &crate_dir, target_dir,
    ))
    .context("the eBPF program does not build")?;
    let object = ebpf::object(&target, target_dir, "cerco");
    fs::metadata(&object).with_context(|| format!("no object at {}", object.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::distribution_pair;

    #[test]
    fn pair_of_packages_is_new_enough_and_of_one_version() {
        type Versions = [(&'static str, &'static str)];
        let web = Some(["rustc-web", "rust-web-src"]);
        let plain = Some(["rustc", "rust-src"]);
        let cases: [(&str, &Versions, _); 6] = [
            (
                "Debian 12",
                &[
                    ("rustc", "1.63.0+dfsg1-2"),
                    ("rust-src", "1.63.0+dfsg1-2"),
                    ("rustc-web", "1.96.0+dfsg1-1~deb12u2"),
                    ("rust-web-src", "1.96.0+dfsg1-1~deb12u2"),
                ],
                web,
            ),
            (
                "a new release",
                &[("rustc", "1.96.0-1"), ("rust-src", "1.96.0-1")],
                plain,
            ),
            ("no source", &[("rustc-web", "1.96.0-1")], None),
            (
                "versions differ",
                &[("rustc", "1.96.0-1"), ("rust-src", "1.95.0-1")],
                None,
            ),
            (
                "too old",
                &[("rustc", "1.94.1-1"), ("rust-src", "1.94.1-1")],
                None,
            ),
            ("empty lists", &[], None),
        ];
        for (name, versions, expected) in cases {
            let candidate = |package: &str| {
                versions
                    .iter()
                    .find(|(name, _)| *name == package)
                    .map(|(_, v)| (*v).to_owned())
            };
            assert_eq!(distribution_pair(candidate), expected, "{name}");
        }
    }
}

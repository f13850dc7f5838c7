//! Finds the compiler and the linker for the eBPF program.
//!
//! The program is built with `-Zbuild-std=core`, so it needs a compiler *and* the library source of
//! exactly that compiler. Two such pairs are common: rustup's nightly with its `rust-src`
//! component, and a distribution's rustc with its source package, where `RUSTC_BOOTSTRAP=1` opens
//! the unstable flags. Stable Rust from rustup is neither.
//!
//! Uses std only: `filter-userspace/build.rs` includes this file by path, and nothing should be
//! compiled before a build script only to find a compiler.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The release of bpf-linker that this repository is tested with; `setup` installs it.
pub const BPF_LINKER_VERSION: &str = "0.13.0";

/// Oldest compiler, (major, minor), that takes `filter-common`: the workspace's `rust-version`.
pub const MIN_RUST: (u32, u32) = (1, 95);

/// Chooses the compiler: `distribution`, or the name of a rustup toolchain (`nightly-2026-05-20`).
pub const TOOLCHAIN_VAR: &str = "CERCO_EBPF_TOOLCHAIN";

/// Where a distribution's package puts its compiler.
const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A toolchain of rustup, by its name; a nightly, so unstable flags are open.
    Rustup(String),
    /// A package of the distribution; a stable release, so `RUSTC_BOOTSTRAP=1` is needed.
    Distribution,
}

/// A compiler that has its own library source beside it and knows the BPF targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rust {
    pub source: Source,
    pub rustc: PathBuf,
    pub version: RustVersion,
}

/// What `rustc -vV` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RustVersion {
    /// `1.96.0` or `1.97.0-nightly`.
    pub release: String,
    /// (major, minor) of `release`.
    pub number: (u32, u32),
    /// First nine digits, or `unknown` when it was built from a tarball without git.
    pub commit: String,
    pub llvm_major: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    pub rust: Rust,
    pub linker: PathBuf,
}

/// Everything that is missing, one reason a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub Vec<String>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the eBPF program cannot be built on this machine yet:")?;
        for reason in &self.0 {
            writeln!(f, "  - {reason}")?;
        }
        write!(f, "to install what is missing, run: cargo xtask setup")
    }
}

impl fmt::Display for Rust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = &self.version.release;
        match &self.source {
            Source::Rustup(name) => write!(f, "rustup's {name} ({release})"),
            Source::Distribution => write!(f, "the distribution's Rust {release}"),
        }
    }
}

/// The first usable compiler: rustup's nightly, then the distribution's.
pub fn find_rust() -> Result<Rust, Missing> {
    let wanted = env::var(TOOLCHAIN_VAR).ok().filter(|name| !name.is_empty());
    let mut reasons = Vec::new();
    for source in candidates(wanted.as_deref()) {
        let found = match &source {
            Source::Rustup(name) => rustup_rustc(name),
            Source::Distribution => Ok(PathBuf::from(DISTRIBUTION_RUSTC)),
        };
        match found.and_then(|rustc| inspect(source, rustc)) {
            Ok(rust) => return Ok(rust),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(Missing(reasons))
}

/// The places to look in, best first. `wanted`: the value of [`TOOLCHAIN_VAR`].
///
/// Nightly goes first because it needs no root and is what most people who write eBPF in Rust have.
pub fn candidates(wanted: Option<&str>) -> Vec<Source> {
    match wanted {
        None => vec![Source::Rustup("nightly".to_owned()), Source::Distribution],
        Some("distribution") => vec![Source::Distribution],
        Some(name) => vec![Source::Rustup(name.to_owned())],
    }
}

/// The real compiler of a rustup toolchain, not rustup's proxy: what runs it later must not depend
/// on `RUSTUP_TOOLCHAIN` or on a directory override.
fn rustup_rustc(name: &str) -> Result<PathBuf, String> {
    let rustup = program("rustup").ok_or_else(|| "rustup is not installed".to_owned())?;
    // `rustup which` would install an absent toolchain when RUSTUP_AUTO_INSTALL allows it; only
    // `setup` installs things, and says so first.
    let found = run(Command::new(rustup)
        .args(["which", "--toolchain", name, "rustc"])
        .env("RUSTUP_AUTO_INSTALL", "0"));
    match found {
        Ok(path) => Ok(PathBuf::from(path.trim())),
        Err(_) => Err(format!("rustup has no toolchain {name}")),
    }
}

/// Checks that `rustc` is new enough, has its library source and knows the BPF targets.
fn inspect(source: Source, rustc: PathBuf) -> Result<Rust, String> {
    let shown = rustc.display();
    if !rustc.is_file() {
        return Err(format!(
            "{shown} does not exist (package rustc or rustc-web)"
        ));
    }
    let text = run(Command::new(&rustc).arg("-vV"))?;
    let version = parse_version(&text)
        .ok_or_else(|| format!("cannot read the version that {shown} prints"))?;
    if version.number < MIN_RUST {
        let (major, minor) = MIN_RUST;
        return Err(format!(
            "{shown} is {}, older than {major}.{minor}",
            version.release
        ));
    }
    let sysroot = run(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
    if !library.join("Cargo.lock").is_file() {
        return Err(match &source {
            Source::Rustup(name) => {
                format!("rustup's {name} has no library source (component rust-src)")
            }
            Source::Distribution => format!(
                "{shown} {} has no library source (package rust-src or rust-web-src)",
                version.release
            ),
        });
    }
    // Debian links to ../../../src/rustc-1.96.0, and its two packages can be of different versions.
    let real = fs::canonicalize(&library).unwrap_or(library);
    if let Some(other) = source_version(&real).filter(|found| *found != version.release) {
        return Err(format!(
            "{shown} is {}, its library source is {other}",
            version.release
        ));
    }
    // The target list alone does not tell whether this LLVM was built with the BPF backend; asking
    // for its CPUs makes rustc open it.
    run(Command::new(&rustc).args(["--print", "target-cpus", "--target", "bpfel-unknown-none"]))
        .map_err(|_| format!("{shown} {} has no BPF target", version.release))?;
    Ok(Rust {
        source,
        rustc,
        version,
    })
}

/// The version that the name of Debian's source folder carries: `…/rustc-1.96.0/library` → `1.96.0`.
fn source_version(library: &Path) -> Option<&str> {
    library
        .parent()?
        .file_name()?
        .to_str()?
        .strip_prefix("rustc-")
}

pub fn parse_version(text: &str) -> Option<RustVersion> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
    };
    let release = field("release:")?;
    let mut numbers = release.split('.');
    let number = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    let llvm_major = field("LLVM version:")?.split('.').next()?.parse().ok()?;
    let commit = field("commit-hash:")?.chars().take(9).collect();
    Some(RustVersion {
        release,
        number,
        commit,
        llvm_major,
    })
}

/// A bpf-linker that starts: the one that `setup` built for this compiler, else the user's own.
pub fn find_linker(rust: &Rust) -> Result<PathBuf, String> {
    let own = linker_root(rust).map(|root| root.join("bin/bpf-linker"));
    let mut broken = None;
    for linker in own
        .filter(|path| path.is_file())
        .into_iter()
        .chain(program("bpf-linker"))
    {
        // It links LLVM dynamically, so an update of the compiler can leave it without its library.
        match run(Command::new(&linker).arg("--version")) {
            Ok(_) => return Ok(linker),
            Err(reason) => broken = Some(reason),
        }
    }
    Err(broken.unwrap_or_else(|| "bpf-linker is not installed".to_owned()))
}

/// The folder of the bpf-linker that belongs to `rust`, in the user's cache.
///
/// One for each compiler, since bpf-linker reads that compiler's bitcode with that compiler's LLVM.
/// Not in Cargo's bin: a linker bound to one compiler must not replace one that serves the user's
/// other projects. Not in `target`: `cargo clean` would cost minutes.
pub fn linker_root(rust: &Rust) -> Option<PathBuf> {
    let cache = match env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => env::home_dir()?.join(".cache"),
    };
    let RustVersion {
        release, commit, ..
    } = &rust.version;
    Some(cache.join(format!(
        "cerco/bpf-linker-{BPF_LINKER_VERSION}-rustc-{release}-{commit}"
    )))
}

/// Looks for an executable in `PATH`, then in Cargo's bin (a login shell may not have it in `PATH`).
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    env::split_paths(&path)
        .chain(cargo_home.map(|home| home.join("bin")))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Runs to the end and returns standard output, or what went wrong in one line.
fn run(command: &mut Command) -> Result<String, String> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| format!("failed to start {shown}: {source}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let first = stderr.lines().next().unwrap_or("it printed nothing");
    Err(format!("{shown} does not run ({}): {first}", output.status))
}

#[cfg(test)]
#[path = "toolchain_tests.rs"]
mod tests;

//! The command that builds eBPF programs, the same for `filter-userspace/build.rs` and
//! `tests/build.rs` (which include this file by path) and for `cargo xtask setup`, so that what setup
//! proves is what a build does.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::toolchain::{Source, Toolchain};

/// When set to 1, warnings in `filter-ebpf` and `filter-common` fail the build.
pub const DENY_WARNINGS_VAR: &str = "CERCO_DENY_WARNINGS";

/// What the program is built for.
pub struct Target {
    /// `bpfel-unknown-none`, or `bpfeb-unknown-none` for big-endian hosts.
    pub triple: &'static str,
    /// Architecture of the kernel that will run it, in rustc's words: registers of traced
    /// functions and a few map layouts differ. See `AYA_BPF_TARGET_ARCH` of aya-build.
    pub kernel_arch: String,
}

/// Where the kernel permits misaligned loads in BPF programs (CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS);
/// elsewhere its verifier refuses them.
const READS_MISALIGNED_WORDS: &[&str] = &["x86_64", "aarch64"];

/// Where [`command`] leaves the object of the binary `name`.
pub fn object(target: &Target, target_dir: &Path, name: &str) -> PathBuf {
    target_dir.join(target.triple).join("release").join(name)
}

/// `crate_dir`: the folder of the programs' package. `target_dir`: a folder of its own, never the outer
/// Cargo's: that one holds a lock on its folder while it waits for us.
pub fn command(
    toolchain: &Toolchain,
    target: &Target,
    crate_dir: &Path,
    target_dir: &Path,
) -> Command {
    let rust = &toolchain.rust;
    // The Cargo of the same toolchain, when it has one; Debian packs it separately, and any Cargo
    // that can build this workspace can also build core.
    let beside = rust.rustc.with_file_name("cargo");
    let cargo = match env::var_os("CARGO") {
        _ if beside.is_file() => beside,
        Some(outer) => PathBuf::from(outer),
        None => PathBuf::from("cargo"),
    };
    let mut command = Command::new(cargo);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(belongs_to_outer_build) {
            command.env_remove(name);
        }
    }
    let mut rustflags = vec![
        format!("-Clinker={}", toolchain.linker.display()),
        "-Clink-arg=--btf".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        // 32-bit instructions and jumps (kernels since 5.1), which save pairs of shifts: a seventh less
        // for the verifier to walk.
        "-Ctarget-cpu=v3".to_owned(),
    ];
    if READS_MISALIGNED_WORDS.contains(&target.kernel_arch.as_str()) {
        // Headers start two bytes behind a word. Without this each address is put together from
        // single bytes, and what was stored byte by byte is slow to load as a word again.
        rustflags.push("-Clink-arg=--cpu-features=+allows-misaligned-mem-access".to_owned());
    }
    command
        .current_dir(crate_dir)
        // Quiet, so that standard error holds diagnostics and nothing else.
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "-Zbuild-std=core",
        ])
        .args(["--target", target.triple, "--target-dir"])
        .arg(target_dir)
        .env("RUSTC", &rust.rustc)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\x1f"))
        .env("AYA_BPF_TARGET_ARCH", &target.kernel_arch)
        // Empty means none, and beats a wrapper from the user's Cargo configuration.
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_WORKSPACE_WRAPPER", "");
    if rust.source == Source::Distribution {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    if env::var_os(DENY_WARNINGS_VAR).is_some_and(|value| value == "1") {
        command.args(["-Zwarnings", "--config", "build.warnings='deny'"]);
    }
    command
}

/// Whether an environment variable describes the build around us, and would bend the inner one:
/// clippy-driver as a wrapper, flags for the host, another target, the package's own variables.
///
/// How to reach the registry, and the job server that keeps both builds inside one `-j`, stay.
pub fn belongs_to_outer_build(name: &str) -> bool {
    const KEPT: &[&str] = &[
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "RUSTUP_HOME",
        "RUST_BACKTRACE",
    ];
    const REMOVED: &[&str] = &[
        "AYA_",
        "CARGO",
        "CLIPPY_",
        "DEBUG",
        "HOST",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUST",
        "TARGET",
        "__CARGO",
    ];
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    starts(REMOVED) && !starts(KEPT)
}

#[cfg(test)]
mod tests {
    use super::belongs_to_outer_build;

    #[test]
    fn only_what_bends_the_inner_build_is_removed() {
        let cases = [
            ("RUSTFLAGS", true),
            ("CARGO_ENCODED_RUSTFLAGS", true),
            ("RUSTC", true),
            ("RUSTC_WRAPPER", true),
            ("RUSTC_WORKSPACE_WRAPPER", true),
            ("RUSTC_BOOTSTRAP", true),
            ("RUSTUP_TOOLCHAIN", true),
            ("CARGO", true),
            ("CARGO_BUILD_TARGET", true),
            ("CARGO_TARGET_DIR", true),
            ("CARGO_PROFILE_RELEASE_LTO", true),
            ("CARGO_FEATURE_DEFAULT", true),
            ("CLIPPY_ARGS", true),
            ("TARGET", true),
            ("CARGO_HOME", false),
            ("CARGO_MAKEFLAGS", false),
            ("CARGO_NET_OFFLINE", false),
            ("CARGO_REGISTRIES_CRATES_IO_PROTOCOL", false),
            ("RUSTUP_HOME", false),
            ("PATH", false),
            ("HOME", false),
            ("LD_LIBRARY_PATH", false),
        ];
        for (name, expected) in cases {
            assert_eq!(belongs_to_outer_build(name), expected, "{name}");
        }
    }
}

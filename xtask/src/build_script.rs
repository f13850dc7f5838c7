//! What build scripts do with eBPF packages; each includes this file, `ebpf.rs` and `toolchain.rs` by
//! path.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::{
    ebpf,
    toolchain::{self, Missing, Toolchain},
};

/// Builds the package in `crate_dir` for the target of the build around us, and returns where the
/// binaries `names` lie.
pub fn compile(
    crate_dir: &Path,
    names: &[&str],
    features: &[&str],
) -> Result<Vec<PathBuf>, String> {
    let toolchain = find_toolchain().map_err(|missing| missing.to_string())?;
    // An update of either must build anew.
    println!("cargo::rerun-if-changed={}", toolchain.rust.rustc.display());
    println!("cargo::rerun-if-changed={}", toolchain.linker.display());
    for name in [toolchain::TOOLCHAIN_VAR, ebpf::DENY_WARNINGS_VAR] {
        println!("cargo::rerun-if-env-changed={name}");
    }

    let target = ebpf::Target {
        triple: if is_big_endian()? {
            "bpfeb-unknown-none"
        } else {
            "bpfel-unknown-none"
        },
        kernel_arch: variable("CARGO_CFG_TARGET_ARCH")?,
    };
    let target_dir = shared_target_dir(Path::new(&variable("OUT_DIR")?));
    let mut command = ebpf::command(&toolchain, &target, crate_dir, &target_dir);
    if !features.is_empty() {
        command.args(["--features", &features.join(",")]);
    }
    let output = command
        .output()
        .map_err(|source| format!("failed to start {command:?}: {source}"))?;
    let diagnostics = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!(
            "{} did not build with {} and {} ({})\n{diagnostics}\
             if the tools rather than the code are at fault, run: cargo xtask setup",
            crate_dir.display(),
            toolchain.rust,
            toolchain.linker.display(),
            output.status,
        ));
    }
    for line in diagnostics.lines() {
        println!("cargo::warning={line}");
    }
    Ok(names
        .iter()
        .map(|name| ebpf::object(&target, &target_dir, name))
        .collect())
}

/// Byte order of the target of the build around us.
pub fn is_big_endian() -> Result<bool, String> {
    Ok(variable("CARGO_CFG_TARGET_ENDIAN")? == "big")
}

fn find_toolchain() -> Result<Toolchain, Missing> {
    match toolchain::find_rust() {
        Ok(rust) => match toolchain::find_linker(&rust) {
            Ok(linker) => Ok(Toolchain { rust, linker }),
            Err(reason) => Err(Missing(vec![reason])),
        },
        Err(mut missing) => {
            if toolchain::program("bpf-linker").is_none() {
                missing.0.push("bpf-linker is not installed".to_owned());
            }
            Err(missing)
        }
    }
}

/// A folder inside the outer target folder that debug, release and clippy builds share: compiling
/// `core` takes longer than the program. Cargo marks the top of a target folder with a CACHEDIR.TAG.
fn shared_target_dir(out_dir: &Path) -> PathBuf {
    out_dir
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .unwrap_or(out_dir)
        .join("ebpf")
}

/// A variable that Cargo sets for build scripts.
pub fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|source| format!("cargo gave no usable {name}: {source}"))
}

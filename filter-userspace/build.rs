//! Builds the eBPF program and leaves it in `OUT_DIR/cerco.bpf.o`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[path = "../xtask/src/ebpf.rs"]
mod ebpf;
#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

use toolchain::{Missing, Toolchain};

/// A prebuilt object, for packagers who have no eBPF toolchain.
const OBJECT_VAR: &str = "CERCO_EBPF_OBJECT";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Cargo shows standard error last, so this is what stands at the end of the screen.
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    // Asked when this runs, and watched by relative paths: in a target folder that was copied from
    // another checkout, what was known at compile time would build and watch that one's program.
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = package
        .parent()
        .expect("invariant: this crate is a folder of the workspace");
    for path in [
        "Cargo.toml",
        "filter-common/Cargo.toml",
        "filter-common/src",
        "filter-ebpf/Cargo.lock",
        "filter-ebpf/Cargo.toml",
        "filter-ebpf/src",
        "xtask/src/ebpf.rs",
        "xtask/src/toolchain.rs",
    ] {
        println!("cargo::rerun-if-changed=../{path}");
    }
    for name in [
        OBJECT_VAR,
        toolchain::TOOLCHAIN_VAR,
        ebpf::DENY_WARNINGS_VAR,
    ] {
        println!("cargo::rerun-if-env-changed={name}");
    }

    let big_endian = variable("CARGO_CFG_TARGET_ENDIAN")? == "big";
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let object = match env::var_os(OBJECT_VAR).filter(|path| !path.is_empty()) {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", Path::new(&path).display());
            PathBuf::from(path)
        }
        None => compile(root, big_endian, &out_dir)?,
    };
    let bytes = fs::read(&object)
        .map_err(|source| format!("failed to read {}: {source}", object.display()))?;
    check_elf(&bytes, big_endian).map_err(|reason| format!("{}: {reason}", object.display()))?;
    let copy = out_dir.join("cerco.bpf.o");
    fs::write(&copy, bytes)
        .map_err(|source| format!("failed to write {}: {source}", copy.display()))
}

fn compile(root: &Path, big_endian: bool, out_dir: &Path) -> Result<PathBuf, String> {
    let toolchain = find_toolchain().map_err(|missing| {
        format!("{missing}\n(or give a prebuilt object in the environment variable {OBJECT_VAR})")
    })?;
    // An update of either must build anew.
    println!("cargo::rerun-if-changed={}", toolchain.rust.rustc.display());
    println!("cargo::rerun-if-changed={}", toolchain.linker.display());

    let target = ebpf::Target {
        triple: if big_endian {
            "bpfeb-unknown-none"
        } else {
            "bpfel-unknown-none"
        },
        kernel_arch: variable("CARGO_CFG_TARGET_ARCH")?,
    };
    let target_dir = shared_target_dir(out_dir);
    let mut command = ebpf::command(&toolchain, &target, &root.join("filter-ebpf"), &target_dir);
    let output = command
        .output()
        .map_err(|source| format!("failed to start {command:?}: {source}"))?;
    let diagnostics = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!(
            "filter-ebpf did not build with {} and {} ({})\n{diagnostics}\
             if the tools rather than the code are at fault, run: cargo xtask setup",
            toolchain.rust,
            toolchain.linker.display(),
            output.status,
        ));
    }
    for line in diagnostics.lines() {
        println!("cargo::warning={line}");
    }
    Ok(ebpf::object(&target, &target_dir))
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

/// Refuses a file that no kernel of the target could load, before it is embedded.
fn check_elf(bytes: &[u8], big_endian: bool) -> Result<(), String> {
    // ELF header: magic, class (1 byte), byte order at offset 5; e_machine at offset 18.
    const EM_BPF: u16 = 247;
    let order = if big_endian { 2 } else { 1 };
    let Some((b"\x7fELF", rest)) = bytes.split_first_chunk::<4>() else {
        return Err("not an ELF file".to_owned());
    };
    if rest.get(1) != Some(&order) {
        return Err("its byte order is not that of the target".to_owned());
    }
    let Some(&[first, second]) = bytes.get(18..20) else {
        return Err("the ELF header is cut off".to_owned());
    };
    let machine = if big_endian {
        [first, second]
    } else {
        [second, first]
    };
    if u16::from_be_bytes(machine) != EM_BPF {
        return Err("an ELF file, but not for BPF".to_owned());
    }
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|source| format!("cargo gave no usable {name}: {source}"))
}

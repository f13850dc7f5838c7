//! Builds the eBPF programs of the benchmark and leaves them in `OUT_DIR/NAME.bpf.o`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[path = "../xtask/src/build_script.rs"]
mod build_script;
#[path = "../xtask/src/ebpf.rs"]
mod ebpf;
#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

/// The binaries of the package.
const OBJECTS: &[&str] = &["traffic", "drops", "lookups", "lru"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let package = PathBuf::from(build_script::variable("CARGO_MANIFEST_DIR")?);
    for path in [
        "bench-ebpf/Cargo.lock",
        "bench-ebpf/Cargo.toml",
        "bench-ebpf/src",
        "src/bench/lookup_layout.rs",
        "src/bench/lru_layout.rs",
        "src/bench/shared.rs",
        "../filter-common/Cargo.toml",
        "../filter-common/src",
        "../filter-ebpf/src/frame.rs",
        "../xtask/src/build_script.rs",
        "../xtask/src/ebpf.rs",
        "../xtask/src/toolchain.rs",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    let out_dir = build_script::variable("OUT_DIR")?;
    let objects = build_script::compile(&package.join("bench-ebpf"), OBJECTS, &[])?;
    for (object, name) in objects.iter().zip(OBJECTS) {
        let copy = Path::new(&out_dir).join(format!("{name}.bpf.o"));
        fs::copy(object, &copy).map_err(|source| {
            format!(
                "failed to copy {} to {}: {source}",
                object.display(),
                copy.display()
            )
        })?;
    }
    Ok(())
}

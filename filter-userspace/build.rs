//! Builds the eBPF program and leaves it in `OUT_DIR/cerco.bpf.o`; embeds the bundle of the dashboard, if there is
//! one.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::ExitCode,
};

#[path = "../xtask/src/build_script.rs"]
mod build_script;
#[path = "../xtask/src/bundle.rs"]
mod bundle;
#[path = "../xtask/src/ebpf.rs"]
mod ebpf;
#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

use build_script::variable;

/// A prebuilt object, for packagers who have no eBPF toolchain.
const OBJECT_VAR: &str = "CERCO_EBPF_OBJECT";

fn main() -> ExitCode {
    match build().and_then(|()| embed_dashboard()) {
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
        "xtask/src/build_script.rs",
        "xtask/src/bundle.rs",
        "xtask/src/ebpf.rs",
        "xtask/src/toolchain.rs",
    ] {
        println!("cargo::rerun-if-changed=../{path}");
    }
    println!("cargo::rerun-if-env-changed={OBJECT_VAR}");

    let big_endian = build_script::is_big_endian()?;
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let object = match env::var_os(OBJECT_VAR).filter(|path| !path.is_empty()) {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", Path::new(&path).display());
            PathBuf::from(path)
        }
        None => {
            // Cargo's own variable: it runs this anew for other features.
            let features: &[&str] = match env::var_os("CARGO_FEATURE_OTHER_ABI") {
                Some(_) => &["other-abi"],
                None => &[],
            };
            let built = build_script::compile(&root.join("filter-ebpf"), &["cerco"], features);
            let objects = built.map_err(|reason| {
                format!(
                    "{reason}\n(or give a prebuilt object in the environment variable {OBJECT_VAR})"
                )
            })?;
            objects
                .into_iter()
                .next()
                .expect("invariant: one name, one object")
        }
    };
    let bytes = fs::read(&object)
        .map_err(|source| format!("failed to read {}: {source}", object.display()))?;
    check_elf(&bytes, big_endian).map_err(|reason| format!("{}: {reason}", object.display()))?;
    let copy = out_dir.join("cerco.bpf.o");
    fs::write(&copy, bytes)
        .map_err(|source| format!("failed to write {}: {source}", copy.display()))
}

/// Writes `OUT_DIR/dashboard_assets.rs`: the files of the bundle, or none.
fn embed_dashboard() -> Result<(), String> {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = package
        .parent()
        .expect("invariant: this crate is a folder of the workspace");
    for path in bundle::INPUTS.into_iter().chain([bundle::FOLDER]) {
        println!("cargo::rerun-if-changed=../{path}");
    }
    let state = bundle::state(root).map_err(|it| format!("cannot read the dashboard: {it}"))?;
    if state == bundle::State::Stale {
        println!(
            "cargo::warning=the dashboard that is embedded is not that of its sources: `cargo xtask dashboard` \
             makes it anew"
        );
    }
    let folder = root.join(bundle::FOLDER);
    let list = match state {
        bundle::State::Missing => String::new(),
        _ => read(&folder.join(bundle::LIST))
            .and_then(|bytes| String::from_utf8(bytes).map_err(|it| it.to_string()))?,
    };
    let mut entries = String::new();
    for line in list.lines() {
        let [path, kind, name] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(format!("{}: odd line {line:?}", bundle::LIST));
        };
        let file = folder.join(name);
        let mut hasher = DefaultHasher::new();
        read(&file)?.hash(&mut hasher);
        let etag = format!("\"{:016x}\"", hasher.finish());
        entries += &format!(
            "    Embedded {{ path: {path:?}, kind: {kind:?}, etag: {etag:?}, gzip: include_bytes!({file:?}) }},\n"
        );
    }
    let path = PathBuf::from(variable("OUT_DIR")?).join("dashboard_assets.rs");
    fs::write(
        &path,
        format!("const EMBEDDED: &[Embedded] = &[\n{entries}];\n"),
    )
    .map_err(|source| format!("failed to write {}: {source}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|source| format!("failed to read {}: {source}", path.display()))
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

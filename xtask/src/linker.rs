//! Builds bpf-linker from its published source, against the LLVM of one compiler.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    apt::{self, Package},
    toolchain::{self, BPF_LINKER_VERSION, Rust},
    workspace,
};

/// The LLVM releases that bpf-linker of [`BPF_LINKER_VERSION`] has features for.
const KNOWN_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// `reason`: why the linker that is there, if any, will not do.
pub fn install(rust: &Rust, reason: &str) -> Result<()> {
    let llvm = rust.version.llvm_major;
    if !KNOWN_LLVM.contains(&llvm) {
        bail!(
            "{rust} has LLVM {llvm}; bpf-linker {BPF_LINKER_VERSION} knows {} to {}. Choose another \
             compiler with {}, for example a dated nightly of rustup",
            KNOWN_LLVM.start(),
            KNOWN_LLVM.end(),
            toolchain::TOOLCHAIN_VAR
        );
    }
    let root = toolchain::linker_root(rust)
        .context("neither HOME nor XDG_CACHE_HOME tells where to put bpf-linker")?;
    eprintln!(
        "setup: building bpf-linker {BPF_LINKER_VERSION} with cargo into {} (links eBPF programs with \
         the LLVM {llvm} of {rust}; one or two minutes; {reason})",
        root.display()
    );
    let prefix = llvm_prefix(rust, &root)?;
    let feature = format!("llvm-{llvm}");
    workspace::run(
        workspace::cargo()
            .args([
                "install",
                "--quiet",
                "bpf-linker",
                "--version",
                BPF_LINKER_VERSION,
            ])
            .args(["--locked", "--force", "--no-track"])
            .args(["--no-default-features", "--features", &feature, "--root"])
            .arg(&root)
            .env("LLVM_PREFIX", prefix)
            // LLVM does the work, and it is built already: optimising this part costs a minute and
            // gains nothing that can be felt.
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS"),
    )
    .context("failed to build bpf-linker")
}

/// A folder whose `lib` holds the libLLVM to link against.
fn llvm_prefix(rust: &Rust, root: &Path) -> Result<PathBuf> {
    if let Some(library) = own_llvm(rust) {
        link_library(&library, &root.join("lib"))?;
        return Ok(root.to_owned());
    }
    // A compiler that contains its LLVM leaves nothing to link against.
    let llvm = rust.version.llvm_major;
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    if !prefix.join("lib/libLLVM.so").exists() {
        apt::install(&[Package {
            name: format!("llvm-{llvm}-dev"),
            purpose: "the LLVM of the compiler, for bpf-linker",
        }])?;
    }
    Ok(prefix)
}

/// The libLLVM that the compiler itself is linked to. No other can be a better match, and it costs
/// no download; LLVM's -dev package would be 400 MB, and Ubuntu lacks it for a new nightly.
fn own_llvm(rust: &Rust) -> Option<PathBuf> {
    let listing = workspace::output(Command::new("ldd").arg(&rust.rustc)).ok()?;
    llvm_in_listing(&listing)
}

fn llvm_in_listing(ldd: &str) -> Option<PathBuf> {
    ldd.lines().find_map(|line| {
        let (name, rest) = line.trim().split_once(" => ")?;
        let (path, _address) = rest.rsplit_once(" (")?;
        name.starts_with("libLLVM").then(|| PathBuf::from(path))
    })
}

/// Links `library` into `folder` under the name that the linker asks for (`-lLLVM`) and under its
/// own, which is what the loader asks for: bpf-linker gets `folder` as its run path.
fn link_library(library: &Path, folder: &Path) -> Result<()> {
    let own_name = library.file_name().context("libLLVM has no file name")?;
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    for name in ["libLLVM.so".as_ref(), own_name] {
        let link = folder.join(name);
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link)
                .with_context(|| format!("failed to remove {}", link.display()))?;
        }
        symlink(library, &link).with_context(|| format!("failed to make {}", link.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_is_found_in_what_ldd_prints() {
        let debian = "\tlinux-vdso.so.1 (0x00007fb26e5f5000)\n\
                      \tlibLLVM.so.22.1 => /lib/x86_64-linux-gnu/libLLVM.so.22.1 (0x00007fb25f800000)\n";
        let rustup = "\tlibLLVM.so.22.1-rust-1.97.0-nightly => /home/an a/bin/../lib/libLLVM.so.22.1-rust-1.97.0-nightly (0x0)\n";
        let broken = "\tlibLLVM.so.22.1 => not found\n";
        let cases = [
            (debian, Some("/lib/x86_64-linux-gnu/libLLVM.so.22.1")),
            (
                rustup,
                Some("/home/an a/bin/../lib/libLLVM.so.22.1-rust-1.97.0-nightly"),
            ),
            (broken, None),
            ("\tstatically linked\n", None),
        ];
        for (listing, expected) in cases {
            assert_eq!(
                llvm_in_listing(listing),
                expected.map(PathBuf::from),
                "{listing}"
            );
        }
    }
}

use std::path::{Path, PathBuf};

use super::*;

const NIGHTLY: &str = "\
rustc 1.97.0-nightly (e50aa6fba 2026-05-19)
binary: rustc
commit-hash: e50aa6fba4e63ab34c72bf9acfd2c307c1155d1a
commit-date: 2026-05-19
host: x86_64-unknown-linux-gnu
release: 1.97.0-nightly
LLVM version: 22.1.4
";

/// A compiler built from a tarball without git does not know its commit.
const TARBALL: &str = "\
rustc 1.96.0 (built from a source tarball)
binary: rustc
commit-hash: unknown
commit-date: unknown
host: aarch64-unknown-linux-gnu
release: 1.96.0
LLVM version: 22.1
";

#[test]
fn rustc_version_is_read() {
    let expected = [
        (
            NIGHTLY,
            RustVersion {
                release: "1.97.0-nightly".to_owned(),
                number: (1, 97),
                commit: "e50aa6fba".to_owned(),
                llvm_major: 22,
            },
        ),
        (
            TARBALL,
            RustVersion {
                release: "1.96.0".to_owned(),
                number: (1, 96),
                commit: "unknown".to_owned(),
                llvm_major: 22,
            },
        ),
    ];
    for (text, version) in expected {
        assert_eq!(parse_version(text), Some(version), "{text}");
    }
}

#[test]
fn incomplete_rustc_version_is_refused() {
    for missing in ["release:", "LLVM version:", "commit-hash:"] {
        let text: String = NIGHTLY
            .lines()
            .filter(|line| !line.starts_with(missing))
            .map(|l| format!("{l}\n"))
            .collect();
        assert_eq!(parse_version(&text), None, "without {missing}");
    }
    assert_eq!(
        parse_version(&NIGHTLY.replace("1.97.0-nightly\nLLVM", "nightly\nLLVM")),
        None
    );
}

#[test]
fn versions_compare_as_numbers() {
    let old = parse_version(&TARBALL.replace("1.96.0", "1.9.0")).unwrap();
    assert!(old.number < MIN_RUST, "1.9 is older than 1.95");
}

#[test]
fn nightly_is_looked_at_before_the_distribution() {
    let rustup = |name: &str| Source::Rustup(name.to_owned());
    let cases = [
        (None, vec![rustup("nightly"), Source::Distribution]),
        (Some("distribution"), vec![Source::Distribution]),
        (Some("nightly"), vec![rustup("nightly")]),
        (
            Some("nightly-2026-05-20"),
            vec![rustup("nightly-2026-05-20")],
        ),
    ];
    for (wanted, expected) in cases {
        assert_eq!(candidates(wanted), expected, "{wanted:?}");
    }
}

#[test]
fn source_folder_of_debian_tells_its_version() {
    let cases = [
        ("/usr/src/rustc-1.96.0/library", Some("1.96.0")),
        (
            "/home/a/.rustup/toolchains/nightly/lib/rustlib/src/rust/library",
            None,
        ),
        ("/", None),
    ];
    for (path, expected) in cases {
        assert_eq!(source_version(Path::new(path)), expected, "{path}");
    }
}

#[test]
fn absent_compiler_names_the_path_and_the_package() {
    let reason = inspect(Source::Distribution, PathBuf::from("/nonexistent/rustc"));
    assert_eq!(
        reason,
        Err("/nonexistent/rustc does not exist (package rustc or rustc-web)".to_owned())
    );
}

#[test]
fn oldest_compiler_is_that_of_the_workspace() {
    let (major, minor) = MIN_RUST;
    assert_eq!(format!("{major}.{minor}"), env!("CARGO_PKG_RUST_VERSION"));
}

#[test]
fn message_lists_every_missing_thing_and_the_command() {
    let missing = Missing(vec!["first".to_owned(), "second".to_owned()]);
    assert_eq!(
        missing.to_string(),
        "the eBPF program cannot be built on this machine yet:\n  - first\n  - second\n\
         to install what is missing, run: cargo xtask setup"
    );
}

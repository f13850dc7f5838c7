//! `cerco` with other layouts in its maps, for the tests of upgrades. A name of its own, so that it never takes the
//! place of the real one in the target folder.

use std::process::ExitCode;

fn main() -> ExitCode {
    filter_userspace::cli::main()
}

//! Builds, tests, demonstrates and measures cerco, and first installs what is missing for that.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

mod apt;
mod bench;
mod build;
mod bundle;
mod dashboard;
mod demo;
mod ebpf;
#[cfg(test)]
mod failure_table;
mod geo_snapshot;
mod linker;
mod nginx;
mod old_kernel;
mod prometheus;
mod root;
mod screenshots;
mod setup;
mod test;
mod toolchain;
mod workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and demonstrates cerco")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing to build the eBPF program and to run tests and demo
    Setup,
    /// Build the `cerco` binary
    Build {
        /// Build without optimisation
        #[arg(long)]
        debug: bool,
    },
    /// Run every test; those on network namespaces run as root
    Test {
        /// Passed on to `cargo test`
        #[arg(last = true, value_name = "ARGS")]
        arguments: Vec<String>,
    },
    /// Attack a web server from Europe and North America, with the gate off and on
    Demo {
        /// Passed on to the demo; `cargo xtask demo -- --help` lists them
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGS"
        )]
        arguments: Vec<String>,
    },
    /// Measure cerco beside what else could be installed; ten minutes, `--quick` for one
    Bench {
        /// Passed on to the benchmark; `cargo xtask bench -- --help` lists them
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGS"
        )]
        arguments: Vec<String>,
    },
    /// Make the bundle of the dashboard, which builds embed; needs Node.js
    Dashboard,
    /// Take the pictures of the documentation, of an attack in namespaces
    Screenshots {
        /// Passed on; `cargo xtask screenshots -- --help` lists them
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGS"
        )]
        arguments: Vec<String>,
    },
    /// Make the embedded snapshot of the GeoIP database anew
    GeoSnapshot {
        /// Read this database file instead of fetching one
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup => setup::run(setup::Wanted::Everything),
        Task::Build { debug } => build::run(debug),
        Task::Test { arguments } => test::run(&arguments),
        Task::Demo { arguments } => demo::run(&arguments),
        Task::Bench { arguments } => bench::run(&arguments),
        Task::Dashboard => dashboard::run(),
        Task::Screenshots { arguments } => screenshots::run(&arguments),
        Task::GeoSnapshot { from } => geo_snapshot::run(from),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! `cerco detach --force`: everything out of the kernel.

use serde::Serialize;

use super::{Context, Failure};
use crate::kernel;

/// Take the gate out of the kernel: every packet passes; needs no daemon
///
/// The way out of a lock-out. A daemon that runs should be stopped first, and must be restarted
/// to put the gate up again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  systemctl stop cerco; cerco detach --force")]
pub struct Args {
    /// Say that you mean it
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Detached {
    interfaces: Vec<String>,
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if !args.force {
        return Err(Failure::bad_usage(
            "this opens the gate for every packet; repeat it with --force if you mean it",
        ));
    }
    let pins = context.paths().pins;
    let interfaces =
        kernel::detach_all(&pins).map_err(|error| Failure::failed(error.to_string()))?;
    context
        .output
        .show(&Detached { interfaces }, |detached, _| {
            if detached.interfaces.is_empty() {
                format!("no gate stands under {}\n", pins.display())
            } else {
                let names = detached.interfaces.join(", ");
                format!("the gate is gone from {names}: every packet passes\n")
            }
        })
}

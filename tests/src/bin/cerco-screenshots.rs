//! Pictures of the dashboard and of `cerco top`, taken of a real attack in namespaces: `cargo xtask screenshots`.

use anyhow::{Context, Result, bail};
use clap::Parser;
use integration_tests::{daemon::Cerco, site::Site, storm::Storm};
use std::{path::PathBuf, thread, time::Duration};

const DASHBOARD: &str = "[dashboard]\nenabled = true\n";
/// Frames a second; a veth in native mode takes more, but two cores do all of it here.
const PER_SECOND: f64 = 4_000.0;

#[derive(Parser)]
#[command(about = "Takes the pictures of the documentation")]
struct Arguments {
    /// Where the pictures go
    #[arg(default_value = "docs/images")]
    folder: PathBuf,
    /// Only let the attack go on so long, and say where it is seen
    #[arg(long, value_parser = humantime::parse_duration)]
    stay: Option<Duration>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let site = Site::new().context("cannot make the namespaces")?;
    let config = format!(
        "interfaces = [\"eth0\"]\nmode = \"enforce\"\n[policy]\nprivate = \"allow\"\n[policy.countries]\n\
         MO = \"allow\"\nHK = \"allow:residents\"\n[limits.residents]\npackets_per_second = 5\n{DASHBOARD}"
    );
    let cerco = Cerco::start(&site.host, &config)?;
    cerco.cli(&["ban", "198.51.100.0/24", "--for", "6h"])?;
    let limit = arguments.stay.unwrap_or(Duration::from_secs(420));
    let _storm = Storm::begin(&site, PER_SECOND, limit)?;
    if let Some(stay) = arguments.stay {
        eprintln!("nsenter --net={}", site.host.path());
        eprintln!("config {}", cerco.config_path().display());
        thread::sleep(stay);
        return Ok(());
    }
    bail!(
        "pictures of {} are not taken yet",
        arguments.folder.display()
    );
}

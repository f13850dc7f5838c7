//! Reads geoip databases and says what is in them, how long it took, and what memory it needs.
//!
//! `cargo run --release --example geo-read -- builtin FILE.mmdb FILE.csv …`; a list of prefixes
//! needs its country in front: `MO=list.txt`.

use std::path::Path;
use std::time::Instant;

use filter_userspace::countries;
use filter_userspace::geo::{self, ReadOptions};

fn main() -> anyhow::Result<()> {
    for argument in std::env::args().skip(1) {
        let (options, path) = match argument.split_once('=') {
            Some((country, path)) => {
                let country = Some(countries::parse(country)?);
                (ReadOptions { country }, path)
            }
            None => (ReadOptions::default(), argument.as_str()),
        };
        let start = Instant::now();
        let database = match path {
            "builtin" => geo::builtin(),
            path => geo::read_file(Path::new(path), &options),
        };
        let elapsed = start.elapsed();
        match database {
            Ok(database) => println!(
                "{path}: {:?}\n  {} + {} ranges, {} + {} addresses, {} countries, {elapsed:.1?}",
                database.info,
                database.v4.len(),
                database.v6.len(),
                database.covered_v4(),
                database.covered_v6(),
                database.countries().len(),
            ),
            Err(error) => println!("{error} ({elapsed:.1?})"),
        }
        let status = std::fs::read_to_string("/proc/self/status")?;
        for line in status
            .lines()
            .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"))
        {
            println!("  {line}");
        }
    }
    Ok(())
}

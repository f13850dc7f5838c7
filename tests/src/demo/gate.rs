//! cerco as the demo uses it: the configuration, and the numbers that it reports.
//!
//! The only module of the demo that knows the shape of cerco's JSON.

use super::{
    countries::{HOME, NEIGHBOUR},
    topology::HOST_LINK,
};
use crate::{daemon::Cerco, netns::NetNs};
use anyhow::{Context, Result, bail};
use filter_common::country::CountryCode;
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

/// Longer than any run: the history of the gate begins with it.
const REPORTED: &str = "1h";

/// The gate, closed to everybody but Macau and, within limits, China.
#[derive(Debug)]
pub struct Gate {
    cerco: Cerco,
}

/// Packets of one country since the gate came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub passed: u64,
    pub dropped: u64,
}

#[derive(Deserialize)]
struct Status {
    mode: String,
    interfaces: Vec<Interface>,
}

#[derive(Deserialize)]
struct Interface {
    interface: String,
    attach_mode: String,
}

#[derive(Deserialize)]
struct Countries {
    countries: Vec<CountryRow>,
}

#[derive(Deserialize)]
struct CountryRow {
    /// A country's two letters, or a longer word for what is no country.
    class: String,
    passed_packets: u64,
    dropped_packets: u64,
}

/// What the report as JSON says, as far as it can be compared.
#[derive(Deserialize)]
pub struct Reported {
    pub countries: Vec<ReportedLine>,
    pub allowed: ReportedAllowed,
}

#[derive(Deserialize)]
pub struct ReportedLine {
    pub class: String,
    passed_packets: u64,
    dropped_packets: u64,
}

impl ReportedLine {
    /// Turned away, and let in.
    pub fn packets(&self) -> (u64, u64) {
        (self.dropped_packets, self.passed_packets)
    }
}

#[derive(Deserialize)]
pub struct ReportedAllowed {
    /// Packets of allowed countries that were turned away.
    pub denied_packets: Option<u64>,
}

impl Gate {
    /// Puts the gate up and proves that it is what the report will say: enforcing, in the driver.
    pub fn start(host: &NetNs, database: Option<&Path>) -> Result<Self> {
        let cerco = Cerco::start(host, &config_text(database))?;
        let gate = Self { cerco };
        let status: Status = gate.query(&["status", "--json"])?;
        if status.mode != "enforce" {
            bail!("cerco is in mode {}, not enforce", status.mode);
        }
        match status.interfaces.as_slice() {
            [only] if only.interface == HOST_LINK && only.attach_mode == "native" => Ok(gate),
            other => bail!(
                "cerco is not on {HOST_LINK} in native mode, but on: {}",
                other
                    .iter()
                    .map(|other| format!("{} ({})", other.interface, other.attach_mode))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }

    /// Packets by country, as cerco counts them.
    pub fn traffic(&self) -> Result<BTreeMap<CountryCode, Traffic>> {
        let answer: Countries = self.query(&["countries", "--json"])?;
        Ok(answer
            .countries
            .into_iter()
            .filter_map(|row| {
                let code = CountryCode::parse(&row.class)?;
                let traffic = Traffic {
                    passed: row.passed_packets,
                    dropped: row.dropped_packets,
                };
                Some((code, traffic))
            })
            .collect())
    }

    /// Writes the report of all that the gate has seen to `path`, as HTML.
    pub fn write_report(&self, path: &Path) -> Result<()> {
        let path = path.to_str().context("the report's path is no UTF-8")?;
        let args = [
            "report", "--since", REPORTED, "--format", "html", "-o", path,
        ];
        self.cerco
            .cli(&args)
            .context("failed to write the report")?;
        Ok(())
    }

    /// The same as numbers.
    pub fn report(&self) -> Result<Reported> {
        self.query(&["report", "--since", REPORTED, "--format", "json"])
    }

    /// The daemon's process id.
    pub fn pid(&self) -> Option<u32> {
        self.cerco.pid()
    }

    fn query<T: for<'de> Deserialize<'de>>(&self, args: &[&str]) -> Result<T> {
        let text = self.cerco.cli(args)?;
        serde_json::from_str(&text)
            .with_context(|| format!("failed to understand cerco {}: {text}", args.join(" ")))
    }
}

fn config_text(database: Option<&Path>) -> String {
    let database = database.map_or_else(|| "builtin".to_owned(), |path| path.display().to_string());
    format!(
        r#"interfaces = ["{HOST_LINK}"]
mode = "enforce"
attach = "native"

[geo]
database = "{database}"

[policy]
default = "deny"
unknown = "deny"

[policy.countries]
{HOME} = "allow"
{NEIGHBOUR} = "allow:residents"

[limits.residents]
packets_per_second = 200
burst_packets = 400
new_connections_per_second = 20
"#
    )
}

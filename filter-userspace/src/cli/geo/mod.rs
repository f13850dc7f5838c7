//! `cerco geo`: the country database that the config names. Needs no daemon.

use std::{net::IpAddr, time::SystemTime};

use serde::Serialize;

use super::{
    ATTRIBUTION, Context, Failure,
    table::{self, grouped},
};
use crate::{config, countries, daemon::age, geo::Database};

/// Ask the country database of the config
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco geo lookup 192.0.2.1 2001:db8::1
  cerco geo status")]
pub struct Args {
    #[command(subcommand)]
    verb: GeoVerb,
}

#[derive(Debug, clap::Subcommand)]
enum GeoVerb {
    /// Say which country addresses belong to
    Lookup {
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<IpAddr>,
    },
    /// Say what the database is, and how old
    Status,
}

#[derive(Serialize)]
struct Found {
    lookups: Vec<Lookup>,
}

#[derive(Serialize)]
struct Lookup {
    address: IpAddr,
    country: Option<String>,
    name: Option<&'static str>,
    first: Option<IpAddr>,
    last: Option<IpAddr>,
}

#[derive(Serialize)]
struct GeoStatus {
    source: String,
    format: String,
    built: Option<String>,
    age: Option<String>,
    networks_v4: u64,
    networks_v6: u64,
    attribution: Option<&'static str>,
    warning: Option<String>,
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let (config, _) = config::load(context.global.config.as_deref())
        .map_err(|report| Failure::bad_usage(format!("the config is wrong\n{report}")))?;
    let database = config
        .read_database()
        .map_err(|error| Failure::bad_usage(error.to_string()))?;
    match args.verb {
        GeoVerb::Lookup { addresses } => {
            let found = Found {
                lookups: addresses.iter().map(|a| look_up(*a, &database)).collect(),
            };
            context
                .output
                .show(&found, |found, _| render_lookups(found))
        }
        GeoVerb::Status => {
            let info = &database.info;
            let now = SystemTime::now();
            let status = GeoStatus {
                source: info.source.to_string(),
                format: info.format.to_string(),
                built: info.build_time.map(age::date),
                age: info.build_time.map(|time| age::built(time, now)),
                networks_v4: info.networks_v4,
                networks_v6: info.networks_v6,
                attribution: info.attribution,
                warning: age::warning(info.build_time, now),
            };
            context
                .output
                .show(&status, |status, _| render_status(status))
        }
    }
}

fn look_up(address: IpAddr, database: &Database) -> Lookup {
    let address = address.to_canonical();
    let found = database.lookup(address);
    Lookup {
        address,
        country: found.country.map(|country| country.to_string()),
        name: found.country.and_then(countries::name),
        first: found.country.map(|_| found.first),
        last: found.country.map(|_| found.last),
    }
}

fn render_lookups(found: &Found) -> String {
    let rows: Vec<Vec<String>> = found
        .lookups
        .iter()
        .map(|lookup| {
            let range = match (lookup.first, lookup.last) {
                (Some(first), Some(last)) => format!("{first} to {last}"),
                _ => String::new(),
            };
            vec![
                lookup.address.to_string(),
                lookup
                    .country
                    .clone()
                    .unwrap_or_else(|| "unknown".to_owned()),
                lookup.name.unwrap_or("").to_owned(),
                range,
            ]
        })
        .collect();
    table::render(&["address", "country", "name", "range"], &[], &rows)
}

fn render_status(status: &GeoStatus) -> String {
    let mut text = format!(
        "source       {}\nformat       {}\nage          {}\nnetworks     {} IPv4, {} IPv6\n\
         attribution  {}\n",
        status.source,
        status.format,
        status
            .age
            .as_deref()
            .unwrap_or("unknown: the file does not say"),
        grouped(status.networks_v4),
        grouped(status.networks_v6),
        status.attribution.unwrap_or("none given"),
    );
    if let Some(warning) = &status.warning {
        text += &format!("warning      {}\n", table::wrapped(warning, 80, 13));
    }
    if status.attribution.is_none() && status.source == "builtin" {
        text += &format!("             {ATTRIBUTION}\n");
    }
    text
}

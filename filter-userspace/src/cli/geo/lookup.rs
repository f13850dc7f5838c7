//! `cerco geo lookup`: which country addresses belong to. Needs no daemon.

use std::net::IpAddr;

use serde::Serialize;

use super::{super::table, Context, Failure, load_config};
use crate::{countries, geo::Database};

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

pub fn run(addresses: &[IpAddr], context: &Context) -> Result<(), Failure> {
    let database = load_config(context)?
        .read_database()
        .map_err(|error| Failure::bad_usage(error.to_string()))?;
    let found = Found {
        lookups: addresses.iter().map(|a| look_up(*a, &database)).collect(),
    };
    context.output.show(&found, |found, _| render(found))
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

fn render(found: &Found) -> String {
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

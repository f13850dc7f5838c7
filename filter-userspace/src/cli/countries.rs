//! `cerco countries`: traffic by country.

use serde::Serialize;

use super::{
    Context, Failure,
    output::Output,
    table::{self, cut, grouped},
};
use crate::{
    control::{
        protocol::{ModeWord, Request},
        reply::Countries,
    },
    countries,
};

/// Show the traffic by country, most drops first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco countries
  cerco countries --json | jq '.countries[0]'
  cerco countries --list            all codes, for the config")]
pub struct Args {
    /// Print the codes and names of all countries; needs no daemon
    #[arg(long)]
    list: bool,
}

#[derive(Serialize)]
struct Listed {
    countries: Vec<ListedCountry>,
}

#[derive(Serialize)]
struct ListedCountry {
    code: String,
    name: &'static str,
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if args.list {
        let countries = countries::all()
            .into_iter()
            .map(|country| ListedCountry {
                code: country.code.to_string(),
                name: country.name,
            })
            .collect();
        return context.output.show(&Listed { countries }, |listed, _| {
            let line = |country: &ListedCountry| format!("{}  {}\n", country.code, country.name);
            listed.countries.iter().map(line).collect()
        });
    }
    let countries: Countries = context.ask(Request::Countries)?;
    context.output.show(&countries, render)
}

pub fn render(countries: &Countries, _: &Output) -> String {
    if countries.countries.is_empty() {
        return "no packet was classed yet\n".to_owned();
    }
    let rows: Vec<Vec<String>> = countries
        .countries
        .iter()
        .map(|line| {
            vec![
                line.class.clone(),
                cut(line.name.as_deref().unwrap_or(""), 18),
                grouped(line.passed_packets),
                grouped(line.dropped_packets),
                grouped(line.would_drop_packets),
                cut(line.action.as_deref().unwrap_or(""), 14),
            ]
        })
        .collect();
    let header = [
        "source",
        "name",
        "passed",
        "dropped",
        "would drop",
        "action",
    ];
    let mut text = table::render(&header, &[2, 3, 4], &rows);
    if countries.mode == ModeWord::Observe {
        text += "observing: packets under `would drop` passed; `cerco enforce` drops them\n";
    }
    text
}

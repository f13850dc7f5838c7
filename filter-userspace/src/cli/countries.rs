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
        reply::{Countries, CountryTotal},
    },
    countries,
    daemon::view::class_totals,
    kernel::{KernelError, Pinned},
};
use filter_common::country::CountryCode;

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
    context.ask_or_read(Request::Countries, from_pins, render)
}

/// What the pins tell: no actions, which only the daemon knows by country.
fn from_pins(pinned: &Pinned) -> Result<Countries, KernelError> {
    let names = pinned.class_names();
    let lines = class_totals(&pinned.counters()?, |class| {
        names[usize::from(class.0)].clone()
    });
    Ok(Countries {
        mode: pinned.mode().into(),
        countries: lines
            .into_iter()
            .map(|(_, line)| {
                let code = CountryCode::parse(&line.class);
                let name = code.and_then(countries::name).map(str::to_owned);
                CountryTotal { name, ..line }
            })
            .collect(),
    })
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

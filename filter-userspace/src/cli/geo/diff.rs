//! `cerco geo diff`: what another database would change.

use std::{cmp::Reverse, net::IpAddr, path::PathBuf};

use filter_common::country::CountryCode;
use ipnetwork::IpNetwork;
use serde::Serialize;

use super::{
    super::{
        output::{Output, Paint},
        table::{self, grouped, scaled, wrapped},
    },
    Context, Failure, in_force, load_config,
};
use crate::{
    cause,
    config::Config,
    countries,
    daemon::age,
    doubts::{allows, follows_its_country, judged},
    generations::{Store, sites},
    geo::{
        self, Address, Database, Range,
        compare::{self, Comparison, Space},
        covering_prefixes,
    },
    policy::Policy,
    sessions,
};

/// Rows of countries without --all.
const SHOWN_COUNTRIES: usize = 15;

/// Show what another database would change
///
/// Compares the database in force with a file, with one that is kept, or with what the config names.
/// Runtime rules are not looked at.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cerco geo diff                    with what the config names now
  cerco geo diff new.mmdb
  cerco geo diff 4                  with generation 4: what a rollback would do
  cerco geo diff --prefixes=MO      every prefix that MO gains or loses")]
pub struct Args {
    /// A file, or the number of a generation
    #[arg(value_name = "FILE|N")]
    with: Option<PathBuf>,
    /// All countries, not only those that the policy names and the largest changes
    #[arg(long)]
    all: bool,
    /// List every prefix that changes; with a code, those of one country
    #[arg(long, value_name = "COUNTRY", num_args = 0..=1, require_equals = true)]
    prefixes: Option<Option<String>>,
}

#[derive(Serialize)]
pub struct Diff {
    before: Side,
    after: Side,
    /// What a reload would say against it.
    doubts: Vec<String>,
    /// IPv4 addresses, and networks of /48, that would be let in and were not.
    opened_v4: u64,
    opened_sites_v6: u64,
    closed_v4: u64,
    closed_sites_v6: u64,
    /// Those that the policy names, then the largest change first.
    countries: Vec<CountryDiff>,
    /// Countries with smaller changes, which are not among `countries`.
    more_countries: usize,
    /// Connections to this host whose address would be let in or shut out.
    sessions: Vec<Flip>,
    /// Trusted prefixes whose country changes; they pass before and after.
    trusted: Vec<Flip>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefixes: Option<Vec<Flip>>,
}

#[derive(Serialize)]
struct Side {
    source: String,
    built: Option<String>,
    networks_v4: u64,
    networks_v6: u64,
    addresses_v4: u64,
    sites_v6: u64,
}

#[derive(Serialize)]
struct CountryDiff {
    country: String,
    name: Option<&'static str>,
    /// Whether the policy names it.
    named: bool,
    action: String,
    addresses_v4: [u64; 2],
    lost_v4: u64,
    gained_v4: u64,
    sites_v6: [u64; 2],
    lost_sites_v6: u64,
    gained_sites_v6: u64,
}

/// An address or prefix, and its country before and after.
#[derive(Serialize)]
struct Flip {
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    before: Option<String>,
    after: Option<String>,
    passes_before: bool,
    passes_after: bool,
}

pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let config = load_config(context)?;
    let only = match args.prefixes.as_ref().and_then(Option::as_ref) {
        None => None,
        Some(code) => {
            let known = countries::parse(code);
            Some(known.map_err(|error| Failure::bad_usage(error.to_string()))?)
        }
    };
    let before = in_force::read(context, &config)?;
    let after = other(args.with.as_ref(), context, &config)?;
    let mut diff = compare(&before, &after, &config);
    if !args.all {
        diff.cut_countries();
    }
    if args.prefixes.is_some() {
        diff.prefixes = Some(changed_prefixes(&before, &after, &config.policy, only));
    }
    context.output.show(&diff, render)
}

fn other(with: Option<&PathBuf>, context: &Context, config: &Config) -> Result<Database, Failure> {
    let Some(with) = with else {
        return config
            .read_database()
            .map_err(|error| Failure::bad_usage(error.to_string()));
    };
    // A file whose name is a number can be named as ./4.
    if let Some(number) = with.to_str().and_then(|text| text.parse().ok()) {
        let store = Store::at(&context.paths().state);
        return match store.read(number) {
            Ok((database, _)) => Ok(database),
            Err(error) => Err(Failure::bad_usage(cause::chain(&error))),
        };
    }
    geo::read_file(with, &config.read_options())
        .map_err(|error| Failure::bad_usage(error.to_string()))
}

pub fn compare(before: &Database, after: &Database, config: &Config) -> Diff {
    let policy = &config.policy;
    let comparison = Comparison::of(before, after);
    let mut countries: Vec<CountryDiff> = comparison
        .changed_countries()
        .into_iter()
        .map(|code| CountryDiff::of(code, &comparison, policy))
        .collect();
    countries.sort_by_key(|line| {
        let changed = line.lost_v4.saturating_add(line.gained_v4);
        let sites = line.lost_sites_v6.saturating_add(line.gained_sites_v6);
        (Reverse(line.named), Reverse(changed), Reverse(sites))
    });
    let (opened_v4, closed_v4) = opened_and_closed(&before.v4, &after.v4, policy);
    let (opened_v6, closed_v6) = opened_and_closed(&before.v6, &after.v6, policy);
    let doubts = judged(Some(before), after, config, policy, None);
    Diff {
        before: Side::of(before),
        after: Side::of(after),
        doubts: doubts.iter().map(ToString::to_string).collect(),
        opened_v4: saturated(opened_v4),
        opened_sites_v6: sites(opened_v6),
        closed_v4: saturated(closed_v4),
        closed_sites_v6: sites(closed_v6),
        countries,
        more_countries: 0,
        sessions: flipped_sessions(before, after, policy),
        trusted: changed_trusted(before, after, policy),
        prefixes: None,
    }
}

impl Diff {
    fn cut_countries(&mut self) {
        let named = self.countries.iter().filter(|line| line.named).count();
        let shown = named.max(SHOWN_COUNTRIES).min(self.countries.len());
        self.more_countries = self.countries.len() - shown;
        self.countries.truncate(shown);
    }
}

impl Side {
    fn of(database: &Database) -> Self {
        let info = &database.info;
        Self {
            source: info.source.to_string(),
            built: info.build_time.map(age::date),
            networks_v4: info.networks_v4,
            networks_v6: info.networks_v6,
            addresses_v4: database.covered_v4(),
            sites_v6: sites(database.covered_v6()),
        }
    }
}

impl CountryDiff {
    fn of(code: CountryCode, comparison: &Comparison, policy: &Policy) -> Self {
        let v4: Space = comparison.v4.of_country(code);
        let v6: Space = comparison.v6.of_country(code);
        Self {
            country: code.to_string(),
            name: countries::name(code),
            named: policy.countries.contains_key(&code),
            action: policy.action_word(policy.action_for(code)),
            addresses_v4: [saturated(v4.before), saturated(v4.after)],
            lost_v4: saturated(v4.lost),
            gained_v4: saturated(v4.gained),
            sites_v6: [sites(v6.before), sites(v6.after)],
            lost_sites_v6: sites(v6.lost),
            gained_sites_v6: sites(v6.gained),
        }
    }
}

impl Flip {
    fn of(
        what: String,
        (before, after): (Option<CountryCode>, Option<CountryCode>),
        passes: impl Fn(Option<CountryCode>) -> bool,
    ) -> Self {
        Self {
            what,
            port: None,
            before: before.map(|code| code.to_string()),
            after: after.map(|code| code.to_string()),
            passes_before: passes(before),
            passes_after: passes(after),
        }
    }
}

fn saturated(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Addresses that are let in after and not before, and the other way round.
fn opened_and_closed<A: Address + Into<u128>>(
    before: &[Range<A>],
    after: &[Range<A>],
    policy: &Policy,
) -> (u128, u128) {
    let (mut opened, mut closed) = (0u128, 0u128);
    for run in compare::changes(before, after) {
        let size = compare::size(run.first, run.last);
        match (allows(policy, run.before), allows(policy, run.after)) {
            (false, true) => opened = opened.saturating_add(size),
            (true, false) => closed = closed.saturating_add(size),
            _ => {}
        }
    }
    (opened, closed)
}

fn flipped_sessions(before: &Database, after: &Database, policy: &Policy) -> Vec<Flip> {
    let country = |database: &Database, address| database.lookup(address).country;
    sessions::inbound()
        .into_iter()
        .filter(|session| policy.scope.holds_tcp(session.port))
        .filter(|session| follows_its_country(policy, session.address))
        .map(|session| {
            let address: IpAddr = session.address;
            let change = (country(before, address), country(after, address));
            Flip {
                port: Some(session.port),
                ..Flip::of(address.to_string(), change, |it| allows(policy, it))
            }
        })
        .filter(|flip| flip.passes_before != flip.passes_after)
        .collect()
}

fn changed_trusted(before: &Database, after: &Database, policy: &Policy) -> Vec<Flip> {
    let ends = |prefix: &IpNetwork| [prefix.network(), prefix.broadcast()];
    policy
        .trusted
        .iter()
        .filter_map(|prefix| {
            let changes = ends(prefix).map(|address| {
                let [before, after] = [before, after].map(|it| it.lookup(address).country);
                (before, after)
            });
            let change = changes
                .into_iter()
                .find(|(before, after)| before != after)?;
            Some(Flip::of(prefix.to_string(), change, |_| true))
        })
        .collect()
}

/// Every prefix whose country changes, or those that `only` gains or loses.
fn changed_prefixes(
    before: &Database,
    after: &Database,
    policy: &Policy,
    only: Option<CountryCode>,
) -> Vec<Flip> {
    let mut flips = prefixes_of(&before.v4, &after.v4, policy, only);
    flips.extend(prefixes_of(&before.v6, &after.v6, policy, only));
    flips
}

fn prefixes_of<A: Address>(
    before: &[Range<A>],
    after: &[Range<A>],
    policy: &Policy,
    only: Option<CountryCode>,
) -> Vec<Flip> {
    compare::changes(before, after)
        .filter(|run| only.is_none() || run.before == only || run.after == only)
        .flat_map(|run| {
            let prefixes = covering_prefixes(run.first, run.last);
            prefixes.into_iter().map(move |prefix| {
                let change = (run.before, run.after);
                Flip::of(prefix.to_string(), change, |it| allows(policy, it))
            })
        })
        .collect()
}

pub fn render(diff: &Diff, output: &Output) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text += &format!("{name:<11} {}\n", wrapped(value, 80, 12));
    };
    line("in force", &side(&diff.before));
    line("compared", &side(&diff.after));
    let space = |v4: u64, v6: u64| {
        format!(
            "{} IPv4 addresses, {} IPv6 networks of /48",
            grouped(v4),
            grouped(v6)
        )
    };
    line("let in", &space(diff.opened_v4, diff.opened_sites_v6));
    line("shut out", &space(diff.closed_v4, diff.closed_sites_v6));
    for flip in &diff.sessions {
        let port = flip.port.unwrap_or_default();
        let what = match flip.passes_after {
            true => "would be let in",
            false => "would be cut off",
        };
        line(
            &output.paint(Paint::Bad, "connection"),
            &format!("{} to port {port} {what}: {}", flip.what, change(flip)),
        );
    }
    for flip in &diff.trusted {
        line(
            "trusted",
            &format!("{}: {}, and passes all the same", flip.what, change(flip)),
        );
    }
    for doubt in &diff.doubts {
        line(&output.paint(Paint::Bad, "refused"), doubt);
    }
    if diff.doubts.is_empty() {
        line("a reload", &output.paint(Paint::Good, "would take it"));
    }
    if !diff.countries.is_empty() {
        text += "\n";
        text += &country_table(&diff.countries);
    }
    if diff.more_countries > 0 {
        text += &format!("and {} more: see --all\n", diff.more_countries);
    }
    if let Some(prefixes) = &diff.prefixes {
        text += "\n";
        for flip in prefixes {
            text += &format!("{:<18}  {}\n", flip.what, change(flip));
        }
    }
    text
}

fn side(side: &Side) -> String {
    let built = side
        .built
        .as_ref()
        .map_or("of unknown age".to_owned(), |date| format!("built {date}"));
    format!(
        "{}, {built}; {} IPv4 and {} IPv6 networks",
        side.source,
        grouped(side.networks_v4),
        grouped(side.networks_v6)
    )
}

fn change(flip: &Flip) -> String {
    let word = |code: &Option<String>| code.clone().unwrap_or_else(|| "unknown".to_owned());
    format!("{} -> {}", word(&flip.before), word(&flip.after))
}

fn country_table(countries: &[CountryDiff]) -> String {
    let signed = |sign: char, count: u64| match count {
        0 => String::new(),
        count => format!("{sign}{}", scaled(count)),
    };
    let rows: Vec<Vec<String>> = countries
        .iter()
        .map(|line| {
            vec![
                line.country.clone(),
                line.action.clone(),
                scaled(line.addresses_v4[1]),
                signed('-', line.lost_v4),
                signed('+', line.gained_v4),
                scaled(line.sites_v6[1]),
                signed('-', line.lost_sites_v6),
                signed('+', line.gained_sites_v6),
            ]
        })
        .collect();
    let header = [
        "country", "action", "IPv4", "lost", "gained", "IPv6 /48", "lost", "gained",
    ];
    table::render(&header, &[2, 3, 4, 5, 6, 7], &rows)
}

#[cfg(test)]
mod tests;

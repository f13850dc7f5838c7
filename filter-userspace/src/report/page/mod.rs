//! The report as one HTML file that needs nothing else: no script, no font, no picture from elsewhere.

mod chart;
mod tables;
mod world;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{map::WorldMap, numbers::Report, words};

const STYLE: &str = include_str!("style.css");
/// Whatever gets into the page, nothing is loaded and nothing runs.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The whole document.
///
/// Fails only when the map that is built in cannot be read.
pub fn render(report: &Report) -> serde_json::Result<String> {
    let map = WorldMap::builtin()?;
    let title = title(report);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "cerco " (report.version) };
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p.period {
                        (words::time(report.period.since)) " to " (words::time(report.period.until)) " UTC"
                        @if let Some(class) = &report.country { ", " (words::sources_of(class)) }
                    }
                    p.made {
                        "Made on " (words::time(report.generated)) " UTC by cerco " (report.version)
                        " on " (report.host) "."
                    }
                }
                main {
                    (summary(report))
                    section {
                        h2 { "Timeline" }
                        (chart::figure(report))
                    }
                    section {
                        h2 { "World map" }
                        (world::figure(report, &map))
                    }
                    (tables::all(report))
                    (in_force(report))
                    (changes(report))
                    (methods(report))
                }
                footer {
                    @for line in &report.attributions { p { (line) } }
                    p {
                        "If this file came with another that ends in .minisig, `minisign -V` and the public key "
                        "of who made it show whether it is unchanged."
                    }
                }
            }
        }
    };
    Ok(page.into_string())
}

fn title(report: &Report) -> String {
    format!("Incident report: {}", report.host)
}

fn summary(report: &Report) -> Markup {
    html! {
        section.summary {
            h2 { "Summary" }
            @for warning in &report.warnings { p.warning { strong { "Note: " } (warning) "." } }
            ul {
                @for sentence in &report.sentences { li { (sentence) } }
            }
        }
    }
}

fn in_force(report: &Report) -> Markup {
    let in_force = &report.in_force;
    let standings = [
        ("At the beginning", &in_force.at_begin),
        ("At the end", &in_force.at_end),
    ];
    html! {
        section {
            h2 { "Policy and database in force" }
            div.wide { table.short {
                caption { "What was in force, by the log of changes" }
                thead { tr {
                    th scope="col" { "When" } th scope="col" { "Mode" }
                    th scope="col" { "SHA-256 of the policy" } th scope="col" { "Database" }
                    th scope="col" { "SHA-256 of the database" }
                } }
                tbody { @for (when, standing) in standings { tr {
                    th scope="row" { (when) }
                    @match standing {
                        Some(standing) => {
                            td { (standing.mode) } td.hash { (standing.policy_sha256) }
                            td { (standing.database) } td.hash { (standing.database_sha256) }
                        }
                        None => { td colspan="4" { "not known: the history does not go back so far" } }
                    }
                } } }
            } }
            @if let Some(fault) = &in_force.fault {
                p.warning { strong { "Note: " } "the rules could not be read: " (fault) "." }
            }
            @match in_force.rules_are_of_the_end {
                Some(true) => p { "The rules below were in force at the end of the period." },
                Some(false) => p.warning { strong { "Note: " } "the rules below are those of the time of this report; at the end of the period others were in force." },
                None => p { "The rules below are those of the time of this report." },
            }
            (tables::rules(in_force))
            @if let Some(database) = &in_force.database {
                p {
                    "Country database at the time of this report: " (database.source)
                    @if let Some(built) = &database.built { ", built " (built) }
                    ", " (words::counted(database.networks_v4, "network")) " of IPv4 and "
                    (words::grouped(database.networks_v6)) " of IPv6; SHA-256 "
                    span.hash { (database.sha256) } "."
                }
            }
            @if let Some(networks) = &report.networks.database {
                p {
                    "Database of networks: " (networks.words()) ", " (networks.path) "; SHA-256 "
                    span.hash { (networks.sha256) } "."
                }
            }
            @if let Some(fault) = &report.networks.fault {
                p.warning { strong { "Note: " } "sources have no network names: " (fault) "." }
            }
        }
    }
}

fn changes(report: &Report) -> Markup {
    let changes = &report.changes;
    html! {
        section {
            h2 { "Changes in this time" }
            @if changes.is_empty() && !report.period.is_known() {
                p { (words::NOTHING_KNOWN) }
            } @else if changes.is_empty() {
                p { "Nobody changed policy, mode or database, and the daemon neither started nor stopped." }
            } @else {
                (tables::changes(changes))
            }
        }
    }
}

fn methods(report: &Report) -> Markup {
    html! {
        section {
            h2 { "How the numbers were obtained, and how exact they are" }
            div.wide { table.words {
                caption { "Each kind of number in this report" }
                thead { tr {
                    th scope="col" { "Number" } th scope="col" { "How it was obtained" }
                    th scope="col" { "How exact it is" }
                } }
                tbody { @for method in &report.methods { tr {
                    th scope="row" { (method.number) } td { (method.how) } td { (method.exact) }
                } } }
            } }
        }
    }
}

#[cfg(test)]
mod tests;

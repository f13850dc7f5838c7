//! The tables: each with a caption, heads that repeat on paper, and a sum where one can be made.

use maud::{Markup, html};

use super::super::{
    numbers::Report,
    policy::InForce,
    words::{self, between, counted, grouped, share},
};
use crate::{
    cli::table::bytes,
    control::reply::unix_seconds,
    history::{
        changes::Change,
        reply::{Fates, Line},
    },
};

pub fn all(report: &Report) -> Markup {
    let not_by_country = html! {
        p { "Not known by country: a report without --country has it, for all countries together." }
    };
    html! {
        section { h2 { "By country" } (countries(report)) }
        section {
            h2 { "By reason" }
            @if report.country.is_some() { (not_by_country) } @else { (reasons(report)) }
        }
        section {
            h2 { "By network card" }
            (of_lines("Exact numbers of packets, by interface of the host", "Interface", &report.interfaces, &report.total))
        }
        section {
            h2 { "By protocol and port" }
            @if report.country.is_some() { (not_by_country) } @else { (protocols(report)) (ports(report)) }
        }
        section { h2 { "Most frequent sources" } (sources(report)) }
    }
}

/// A table of so few rows is not cut by the end of a page.
const SHORT: usize = 15;

/// The class of a table with `rows`.
fn short(rows: usize) -> Option<&'static str> {
    (rows <= SHORT).then_some("short")
}

/// Heads of the columns that [`fates`] fills.
fn heads(total: &Fates) -> Markup {
    html! {
        th.number scope="col" { "Turned away" }
        th.number scope="col" { "Share" }
        @if total.would_drop_packets > 0 { th.number scope="col" { "Would have been" } }
        th.number scope="col" { "Let in" }
        th.number scope="col" { "Bytes turned away" }
    }
}

fn fates(fates: &Fates, total: &Fates) -> Markup {
    html! {
        td.number { (grouped(fates.dropped_packets)) }
        td.number { (share(fates.denied_packets(), total.denied_packets())) }
        @if total.would_drop_packets > 0 { td.number { (grouped(fates.would_drop_packets)) } }
        td.number { (grouped(fates.passed_packets)) }
        td.number { (bytes(fates.dropped_bytes)) }
    }
}

fn sum(total: &Fates, columns: u32) -> Markup {
    html! {
        tfoot { tr { th scope="row" colspan=(columns) { "All" } (fates(total, total)) } }
    }
}

fn countries(report: &Report) -> Markup {
    let rest = &report.without_country;
    html! {
        div.wide { table class=[short(report.countries.len())] {
            caption { "Exact numbers of packets, by country of the source's address" }
            thead { tr {
                th scope="col" { "Country" } th scope="col" { "Code" } th scope="col" { "Policy of now" } (heads(&report.total))
            } }
            tbody {
                @for line in &report.countries { tr {
                    th scope="row" { (line.name) }
                    td { @if words::is_country(&line.class) { (line.class) } }
                    td { (line.action.as_deref().unwrap_or("not known")) }
                    (fates(&line.fates, &report.total))
                } }
                @if rest.packets() > 0 { tr {
                    th scope="row" { "No address was looked up" } td {} td {}
                    (fates(rest, &report.total))
                } }
            }
            (sum(&report.total, 3))
        } }
        @if rest.packets() > 0 {
            p.note {
                "No address is looked up for malformed packets, for what is not IP, for what a network needs to work, "
                "and for ports that the gate does not guard."
            }
        }
    }
}

fn reasons(report: &Report) -> Markup {
    html! {
        div.wide { table class=[short(report.reasons.len())] {
            caption { "Exact numbers of packets, by the reason of the decision; each packet has one" }
            thead { tr { th scope="col" { "Reason" } th scope="col" { "Meaning" } (heads(&report.total)) } }
            tbody { @for line in &report.reasons { tr {
                th scope="row" { (line.reason) } td { (line.meaning) } (fates(&line.fates, &report.total))
            } } }
            (sum(&report.total, 2))
        } }
    }
}

fn of_lines(caption: &str, head: &str, lines: &[Line], total: &Fates) -> Markup {
    html! {
        div.wide { table class=[short(lines.len())] {
            caption { (caption) }
            thead { tr { th scope="col" { (head) } (heads(total)) } }
            tbody { @for line in lines { tr {
                th scope="row" { (line.name) } (fates(&line.fates, total))
            } } }
            (sum(total, 1))
        } }
    }
}

/// What a table of the sample says above itself.
fn sampled(report: &Report, what: &str) -> String {
    let sample = &report.sample;
    format!(
        "{what} of denied packets: an estimate from {}, which stand for {}",
        counted(sample.events, "event"),
        counted(sample.frames, "packet")
    )
}

fn protocols(report: &Report) -> Markup {
    let sum: u64 = report
        .sample
        .protocols
        .iter()
        .map(|it| it.fates.denied_packets())
        .sum();
    html! {
        table class=[short(report.sample.protocols.len())] {
            caption { (sampled(report, "Protocols")) }
            thead { tr {
                th scope="col" { "Protocol" } th.number scope="col" { "Packets" } th.number scope="col" { "Share" }
            } }
            tbody { @for line in &report.sample.protocols { tr {
                th scope="row" { (line.name) }
                td.number { (grouped(line.fates.denied_packets())) }
                td.number { (share(line.fates.denied_packets(), sum)) }
            } } }
            tfoot { tr { th scope="row" { "All of the sample" } td.number { (grouped(sum)) } td.number { (share(sum, sum)) } } }
        }
    }
}

fn ports(report: &Report) -> Markup {
    html! {
        table class=[short(report.sample.ports.len())] {
            caption { (sampled(report, "The most frequent ports")) }
            thead { tr { th scope="col" { "Port of this host" } th.number scope="col" { "Packets" } } }
            tbody { @for line in &report.sample.ports { tr {
                th scope="row" { (line.port) } td.number { (between(line.at_least, line.at_most)) }
            } } }
        }
        (others("port", "got", report.sample.other_ports_at_most))
        (bounds(!report.sample.ports.is_empty()))
    }
}

fn sources(report: &Report) -> Markup {
    let named = report.networks.database.is_some();
    html! {
        @if report.sample.sources.is_empty() {
            p { "The sample has no source." }
        } @else {
            div.wide { table {
                caption { (sampled(report, "The most frequent sources")) }
                thead { tr {
                    th scope="col" { "Source" } th scope="col" { "Country" }
                    @if named { th scope="col" { "Network" } }
                    th.number scope="col" { "Packets" }
                } }
                tbody { @for line in &report.sample.sources { tr {
                    th.address scope="row" { (line.source) }
                    td { (line.country) }
                    @if named { td {
                        @match &line.network { Some(network) => (network), None => "not known" }
                    } }
                    td.number { (between(line.at_least, line.at_most)) }
                } } }
            } }
            (others("source", "sent", report.sample.other_sources_at_most))
            (bounds(true))
            p.note {
                "A source is an IPv4 address or an IPv6 network of /64. Addresses can be forged, and many belong to people "
                "who do not know what their devices do: an address alone convicts nobody."
            }
        }
    }
}

fn others(what: &str, verb: &str, at_most: u64) -> Markup {
    html! {
        @if at_most > 0 {
            p.note {
                "By this estimate no " (what) " that is missing here " (verb) " more than "
                (counted(at_most, "packet")) "."
            }
        }
    }
}

/// What two numbers in a line mean, where there are lines.
fn bounds(has_lines: bool) -> Markup {
    html! {
        @if has_lines {
            p.note {
                "“900 to 1,100” means that 900 packets were seen for certain, and 1,100 are an estimate: packets that "
                "were not seen are shared out among those seen just before."
            }
        }
    }
}

pub fn rules(in_force: &InForce) -> Markup {
    let defaults = [
        ("all other countries", &in_force.default),
        ("addresses without a country", &in_force.unknown),
        ("private addresses", &in_force.private),
    ];
    html! {
        @if in_force.default.is_some() {
            div.wide { table class=[short(in_force.rules.len())] {
                caption { "The rules" }
                thead { tr {
                    th scope="col" { "Action" } th scope="col" { "For whom" } th scope="col" { "Limit" }
                    th scope="col" { "From" } th scope="col" { "Until" } th scope="col" { "Comment" }
                } }
                tbody {
                    @for rule in &in_force.rules { tr {
                        td { (rule.rule) @if let Some(why) = &rule.suspended { " (not in force: " (why) ")" } }
                        th scope="row" {
                            (target(&rule.target))
                            @if let Some(port) = &rule.port { ", port " (port) }
                        }
                        td { (rule.limit.as_deref().unwrap_or_default()) }
                        td { (rule.origin) }
                        td { @if let Some(unix) = unix_seconds::of(rule.expires) { (words::time(unix)) " UTC" } }
                        td { (rule.comment.as_deref().unwrap_or_default()) }
                    } }
                    @for (whom, action) in defaults {
                        @if let Some(action) = action { tr {
                            td { (action) } th scope="row" { (whom) } td {} td { "config" } td {} td {}
                        } }
                    }
                }
            } }
        }
    }
}

fn target(target: &str) -> String {
    match words::is_country(target) {
        true => format!("{} ({target})", words::class(target)),
        false => target.to_owned(),
    }
}

pub fn changes(changes: &[Change]) -> Markup {
    html! {
        div.wide { table.words {
            caption { "Each change, who made it, and what was in force after it; times in UTC" }
            thead { tr {
                th.number scope="col" { "No." } th scope="col" { "Time" } th scope="col" { "Kind" }
                th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "In force after it" }
            } }
            tbody { @for (number, change) in (1..).zip(changes) { tr {
                td.number { (number) }
                th scope="row" { (words::time(change.unix)) }
                td { (change.kind.word()) } td { (change.who) } td { (change.what) }
                td { @if !change.after.policy_sha256.is_empty() {
                    (change.after.mode) ", policy " span.hash { (change.after.policy_sha256) }
                    ", database " span.hash { (change.after.database_sha256) }
                } }
            } } }
        } }
    }
}

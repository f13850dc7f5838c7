//! The world map: how many packets came from each country, and which countries are allowed.

use maud::{Markup, html};

use super::super::{
    map::{Scale, WorldMap},
    numbers::Report,
    sentences,
    words::{self, counted, grouped},
};

/// Half the size of a dot that stands for a small country, and of the ring around an allowed one.
const DOT: f64 = 3.5;
const RING: f64 = 7.0;

pub fn figure(report: &Report, map: &WorldMap) -> Markup {
    let packets = |code: &str| {
        let line = report.countries.iter().find(|it| it.class == code);
        line.map_or(0, |it| it.fates.denied_packets())
    };
    let codes = map.countries.keys();
    let scale = Scale::of(codes.map(|code| packets(code)));
    let shade = |code: &str| {
        let class = scale.and_then(|scale| Some(scale.shade(scale.class(packets(code))?)));
        class.map_or("none".to_owned(), |shade| format!("s{shade}"))
    };
    let title = |code: &str| {
        let name = words::class(code);
        match packets(code) {
            0 => format!("{name}: none"),
            count => format!("{name}: {}", counted(count, "packet")),
        }
    };
    let allowed = report.allowed.countries.as_deref().unwrap_or_default();
    let description = description(report);
    html! {
        figure {
            svg.map role="img" aria-labelledby="map-title map-text"
                viewBox=(format!("0 0 {} {}", map.width, map.height)) {
                title id="map-title" { "World map: packets turned away, by country" }
                desc id="map-text" { (description) }
                @for (code, shape) in &map.countries {
                    @if !shape.path.is_empty() {
                        path class=(shade(code)) d=(shape.path) { title { (title(code)) } }
                    }
                }
                // Over the land, since a small country may lie inside a large one.
                @for (code, shape) in &map.countries {
                    @if shape.dot && packets(code) > 0 {
                        circle class=(shade(code)) cx=(shape.x) cy=(shape.y) r=(DOT) {
                            title { (title(code)) }
                        }
                    }
                }
                @for code in allowed {
                    @if let Some(shape) = map.countries.get(code) {
                        circle.allowed cx=(shape.x) cy=(shape.y) r=(RING) {
                            title { (words::class(code)) ": allowed" }
                        }
                    }
                }
            }
            ul.legend {
                li { svg.key viewBox="0 0 16 12" aria-hidden="true" { rect.none width="16" height="12" {} } "none" }
                @if let Some(scale) = scale {
                    @for (class, first, last) in scale.classes() {
                        li {
                            svg.key viewBox="0 0 16 12" aria-hidden="true" {
                                rect class=(format!("s{}", scale.shade(class))) width="16" height="12" {}
                            }
                            (grouped(first)) " to " (grouped(last))
                        }
                    }
                }
                @if !allowed.is_empty() {
                    li {
                        svg.key viewBox="-8 -8 16 16" aria-hidden="true" { circle.allowed r="6" {} }
                        "an allowed country"
                    }
                }
            }
            figcaption {
                "Packets that " (sentences::verb(&report.total)) ", by the country of their source. "
                @if scale.is_some_and(|scale| scale.classes().count() > 1) { "Each shade is ten times the one before. " }
                "Small countries are dots."
            }
        }
    }
}

fn description(report: &Report) -> String {
    let first: Vec<String> = report
        .countries
        .iter()
        .filter(|it| words::is_country(&it.class) && it.fates.denied_packets() > 0)
        .take(10)
        .map(|it| format!("{} {}", it.name, grouped(it.fates.denied_packets())))
        .collect();
    match first.is_empty() {
        true => "No country has packets that were turned away.".to_owned(),
        false => format!(
            "Packets from {}. Most came from {}. The table by country has all of them.",
            counted(report.denied_countries, "country"),
            words::list(&first)
        ),
    }
}

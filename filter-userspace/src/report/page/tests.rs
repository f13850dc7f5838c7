use super::*;
use crate::{
    history::{HOUR, MINUTE, changes::Kind, reply::Fates},
    report::{
        numbers::{Material, Report, fixture},
        time::Peak,
    },
};

fn page(report: &Report) -> String {
    render(report).unwrap()
}

#[test]
fn page_needs_nothing_from_elsewhere() {
    let page = page(&fixture::report());
    for loads in [
        "src=",
        "href=",
        "url(",
        "@import",
        "<script",
        "<link",
        "<img",
        "<iframe",
        "<object",
        "javascript:",
    ] {
        assert!(!page.contains(loads), "{loads}");
    }
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"));
    assert!(page.contains("default-src 'none'; style-src 'unsafe-inline'"));
}

#[test]
fn page_shows_the_numbers_and_the_sentences() {
    let report = fixture::report();
    let page = page(&report);
    for sentence in &report.sentences {
        let escaped = sentence.replace('<', "&lt;");
        assert!(page.contains(&format!("<li>{escaped}</li>")), "{sentence}");
    }
    for text in [
        "<td class=\"number\">3,142,377</td>",
        "<td class=\"number\">900 to 1,100</td>",
        "“900 to 1,100” means that 900 packets were seen for certain",
        "By this estimate no source that is missing here sent more than 50 packets.",
        "<th scope=\"row\">Germany</th>",
        "<title>United States: 2,000,000 packets</title>",
        fixture::POLICY,
        fixture::DATABASE,
        "IP Geolocation by DB-IP",
        "Natural Earth",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn hostile_words_stay_words() {
    let hostile = "</style></svg><script>alert(1)</script>\"'&";
    let mut report = fixture::report();
    report.host = hostile.into();
    report.changes[0].what = hostile.into();
    report.changes[0].who = hostile.into();
    report.warnings.push(hostile.into());
    report.networks.fault = Some(hostile.into());
    report.in_force.rules[0].comment = Some(hostile.into());
    report.in_force.rules[0].target = hostile.into();
    report.countries[0].name = hostile.into();
    report.countries[0].class = hostile.into();
    report.interfaces[0].name = hostile.into();
    report.sample.sources[0].source = hostile.into();
    report.sample.ports[0].port = hostile.into();
    report.attributions.push(hostile.into());
    report.sentences.push(hostile.into());
    let page = page(&report);
    assert!(!page.contains("<script"));
    assert!(!page.contains("</style></svg>"));
    // Once in each place but the few that are shown twice.
    assert!(
        page.matches("&lt;script&gt;alert(1)&lt;/script&gt;")
            .count()
            >= 14
    );
    assert_eq!(page.matches("</style>").count(), 1);
}

#[test]
fn headings_and_tables_are_in_order_for_who_hears_the_page() {
    let page = page(&fixture::report());
    assert_eq!(page.matches("<h1").count(), 1);
    let levels: Vec<&str> = page
        .split("<h")
        .skip(1)
        .filter_map(|it| it.get(..1))
        .collect();
    let levels: Vec<&&str> = levels.iter().filter(|it| "123456".contains(**it)).collect();
    assert_eq!(*levels[0], "1");
    assert!(levels[1..].iter().all(|it| **it == "2"), "{levels:?}");
    let tables = page.matches("<table").count();
    assert_eq!(page.matches("<caption").count(), tables);
    assert_eq!(page.matches("<thead").count(), tables);
    for head in page.split("<th ").skip(1) {
        let tag = head.split('>').next().unwrap();
        assert!(tag.contains("scope="), "{tag}");
    }
    assert!(!page.contains("<th>"));
    for picture in page.split("<svg").skip(1) {
        let tag = picture.split('>').next().unwrap();
        assert!(
            tag.contains("role=\"img\"") && tag.contains("aria-labelledby=")
                || tag.contains("aria-hidden=\"true\""),
            "{tag}"
        );
    }
}

#[test]
fn chart_calls_nothing_the_busiest_minute_that_may_not_be() {
    let report = fixture::report();
    assert!(page(&report).contains("The busiest minute is in the summary: 3,113,587 packets"));
    let with = |seconds, certain| {
        let peak = report.peak.map(|it| Peak {
            seconds,
            certain,
            ..it
        });
        page(&Report {
            peak,
            ..report.clone()
        })
    };
    assert!(with(MINUTE, false).contains("The busiest known minute is in the summary: 3,113,587"));
    assert!(!with(HOUR, false).contains("minute is in the summary"));
}

#[test]
fn report_of_nothing_is_a_page_too() {
    let report = Report::new(quiet());
    let page = page(&report);
    assert!(
        page.contains("turned nothing away"),
        "{:?}",
        report.sentences
    );
    assert!(page.contains("The sample has no source."));
    assert!(page.contains("Nothing was turned away."));
    assert!(page.contains("Nobody changed policy"));
    assert!(!page.contains("NaN"));
}

/// Two days without a frame.
fn quiet() -> Material {
    let mut material = fixture::material();
    let history = &mut material.history;
    history.total = Fates::default();
    history.points.clear();
    history.reasons.clear();
    history.countries.clear();
    history.interfaces.clear();
    history.sampled = Default::default();
    history.changes.clear();
    material
}

#[test]
fn time_before_the_history_is_not_called_quiet() {
    let mut material = quiet();
    let begins = material.history.until + HOUR;
    material.history.begins = Some(begins);
    material.log = vec![fixture::change(begins, Kind::Daemon, "started")];
    let report = Report::new(material);
    assert!(!report.period.is_known());
    let page = page(&report);
    assert_eq!(page.matches(words::NOTHING_KNOWN).count(), 3);
    assert!(!page.contains("Nothing was turned away."));
    assert!(!page.contains("Nobody changed"));
}

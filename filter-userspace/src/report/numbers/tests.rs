use super::{fixture::*, *};
use crate::{
    control::reply::RuleLine,
    history::{MINUTE, changes::Kind},
};

#[test]
fn sentences_say_what_happened() {
    let report = Report::new(material());
    assert_eq!(
        report.sentences,
        [
            "From 24 Nov 2026 00:00 to 26 Nov 2026 00:00 UTC (48 hours) the gate of web1 turned away \
             3,142,377 packets (179.8 MiB).",
            "That is 1,091 a minute on average, and at the peak 3,113,587 in the minute from \
             24 Nov 20:34.",
            "They came from 3 countries: United States (63.6 %), Germany (36.3 %) and China (< 0.1 %); the \
             others were without a look at their address (< 0.1 %).",
            "They came from at least 12,345 different sources: so many were seen in the sample, whose \
             error is 1.6 %.",
            "From the allowed countries (China and Macao) 370 packets were turned away (China 370). All \
             of them because their source sent more than its limit. Besides, 7 packets were turned away \
             before their address was looked at (malformed); they may be anybody's.",
            "In all 370 packets were turned away because an allowed source sent more than its limit.",
            "14,400 packets (1.4 MiB) were let in.",
        ]
    );
}

#[test]
fn tables_add_up_to_the_total() {
    let report = Report::new(material());
    let sum = |lines: &[Fates]| {
        let sum = |of: fn(&Fates) -> u64| lines.iter().map(of).sum::<u64>();
        [
            sum(|it| it.passed_packets),
            sum(|it| it.passed_bytes),
            sum(|it| it.dropped_packets),
            sum(|it| it.dropped_bytes),
        ]
    };
    let total = sum(&[report.total]);
    let mut countries: Vec<Fates> = report.countries.iter().map(|it| it.fates).collect();
    countries.push(report.without_country);
    let reasons: Vec<Fates> = report.reasons.iter().map(|it| it.fates).collect();
    assert_eq!(sum(&countries), total);
    assert_eq!(sum(&reasons), total);
    assert_eq!(report.without_country.dropped_packets, 7);
    let bars = &report.timeline.bars;
    assert_eq!(
        bars.iter().map(|it| it.dropped_packets).sum::<u64>(),
        total[2]
    );
    assert_eq!((bars.len(), report.timeline.step_seconds), (288, 600));
}

/// The sentence about allowed countries.
fn about_allowed(change_it: impl FnOnce(&mut Material)) -> String {
    let mut material = material();
    change_it(&mut material);
    let report = Report::new(material);
    report.sentences[report.sentences.len() - 3].clone()
}

#[test]
fn allowed_who_were_turned_away_are_told_as_far_as_it_is_known() {
    let nobody = |malformed: u64, malformed_would: u64| {
        about_allowed(|it| {
            it.history.countries[2] = line("CN", 9_000, 0, 0);
            let denied = fates(0, 3_142_000 + malformed, malformed_would);
            it.history.total = Fates {
                // Beside those of countries: what is not IP passes, and is nobody who was turned away.
                passed_packets: 14_400,
                ..denied
            };
        })
    };
    assert_eq!(
        nobody(0, 0),
        "Nobody from the allowed countries (China and Macao) was turned away."
    );
    assert_eq!(
        nobody(7, 0),
        "Nobody from the allowed countries (China and Macao) was turned away, as far as addresses were \
         looked at: 7 packets were turned away before that (malformed) and may be anybody's."
    );
    assert_eq!(
        nobody(0, 1),
        "Nobody from the allowed countries (China and Macao) was turned away, or would have been, as far as \
         addresses were looked at: 1 packet would have been turned away before that (malformed) and may be \
         anybody's."
    );
    assert!(
        about_allowed(|it| it.history.countries.push(line("private", 0, 5, 0))).starts_with(
            "From the allowed countries (China and Macao) and other allowed sources 375 packets were turned \
             away (China 370 and Private addresses 5)."
        )
    );
    // A ban may have been the cause.
    assert_eq!(
        about_allowed(|it| it.history.reasons.push(line("banned", 0, 1, 0))),
        "From the allowed countries (China and Macao) 370 packets were turned away (China 370). Of all \
         countries together 370 packets were turned away of sources that sent more than their limit, and \
         1 packet was turned away of banned sources; the counters do not know reasons by country. Besides, \
         7 packets were turned away before their address was looked at (malformed); they may be anybody's."
    );
    // So may another policy.
    let another = about_allowed(|it| {
        let mut other = change(BEGIN + 200, Kind::Policy, "allow CN");
        other.after.policy_sha256 = DATABASE.into();
        it.log.push(other);
    });
    assert!(
        another.ends_with(
            "The policy or the database changed in this time; this goes by the policy of now."
        ),
        "{another}"
    );
    assert!(
        another.contains("do not know reasons by country"),
        "{another}"
    );
    // The same, when it changed after the period.
    let later = about_allowed(|it| {
        let mut other = change(BEGIN + 3 * DAY, Kind::Policy, "allow CN");
        other.after.policy_sha256 = DATABASE.into();
        it.log.push(other);
    });
    assert!(!later.contains("All of them because"), "{later}");
    assert!(
        later.ends_with("This goes by the policy of now, which is not the one of that time."),
        "{later}"
    );
    // A rule about a port denies who is allowed elsewhere.
    let on_a_port = about_allowed(|it| {
        let denied = RuleLine {
            port: Some("22/tcp".parse().unwrap()),
            ..rule("deny", "CN", None)
        };
        it.rules.as_mut().unwrap().rules.push(denied);
    });
    assert!(
        on_a_port.contains(
            "others may have come to a port that a rule denies; the counters do not know reasons by country."
        ),
        "{on_a_port}"
    );
    assert_eq!(
        about_allowed(|it| it.rules = Err("the config is wrong".into())),
        "Whether somebody who is allowed was turned away cannot be said: the policy could not be read."
    );
    let open = about_allowed(|it| {
        it.rules = Ok(Rules {
            default: "allow".into(),
            rules: Vec::new(),
            ..rules()
        });
    });
    assert!(
        open.starts_with("From the countries that are allowed 3,142,370 packets were turned away"),
        "{open}"
    );
}

#[test]
fn packets_of_no_country_are_told_beside_the_countries() {
    let of = |countries: Vec<Line>| {
        let mut material = material();
        material.history.total = fates(1, 1_000, 0);
        material.history.countries = countries;
        Report::new(material).sentences
    };
    let sentences = of(vec![line("rule_deny", 0, 950, 0), line("US", 1, 50, 0)]);
    assert_eq!(
        sentences[2],
        "They came from 1 country: United States (5.0 %); the others were of sources in networks that a \
         rule denies (95.0 %)."
    );
    assert_eq!(sentences.last().unwrap(), "1 packet (100 B) was let in.");
    assert_eq!(
        of(vec![line("unknown", 1, 1_000, 0)])[2],
        "No country was counted for any of them: they were of sources that are unknown to the database (100.0 %)."
    );
}

#[test]
fn one_packet_is_told_as_one() {
    let one = about_allowed(|it| it.history.countries[2] = line("CN", 9_000, 1, 0));
    assert!(
        one.starts_with(
            "From the allowed countries (China and Macao) 1 packet was turned away (China 1)."
        ),
        "{one}"
    );
}

#[test]
fn observed_packets_are_not_called_turned_away() {
    let mut material = material();
    material.history.total = fates(3_000, 0, 500);
    material.history.reasons = vec![
        line("country_denied", 0, 0, 490),
        line("packet_limit", 0, 0, 10),
    ];
    material.history.countries = vec![line("US", 0, 0, 490), line("CN", 5, 0, 10)];
    let sentences = Report::new(material).sentences;
    assert!(
        sentences[0].ends_with(
            "the gate of web1 would have turned away 500 packets (29.3 KiB); it only observed, so all of \
             them passed."
        ),
        "{sentences:#?}"
    );
    assert!(
        sentences[4].starts_with(
            "From the allowed countries (China and Macao) 10 packets would have been turned away"
        ),
        "{sentences:#?}"
    );
    assert_eq!(
        sentences.last().unwrap(),
        "3,000 packets (293.0 KiB) were let in, besides those that would have been turned away."
    );
}

#[test]
fn report_of_one_country_says_what_is_not_known_of_it() {
    let mut material = material();
    material.history.country = Some("CN".into());
    material.history.total = fates(9_000, 370, 0);
    material.history.reasons = Vec::new();
    material.history.countries.retain(|it| it.name == "CN");
    material.history.sampled.distinct_sources = None;
    let report = Report::new(material);
    assert_eq!(
        report.sentences[2],
        "China (CN) is allowed by the policy of now: its sources are turned away when they are banned or \
         send more than their limit. Which of the two it was the counters do not know by country. Malformed \
         packets are turned away before their address is looked at, and are not known by country."
    );
    assert_eq!(report.without_country, Fates::default());
    assert!(
        report
            .methods
            .iter()
            .any(|it| it.how.contains("Not known by country"))
    );
}

/// The sentences of a report about one class alone, of whose packets some were denied.
fn about_class(class: &str, change_it: impl FnOnce(&mut Material)) -> Vec<String> {
    let mut material = material();
    material.history.country = Some(class.into());
    material.history.total = fates(9_000, 370, 0);
    material.history.reasons = Vec::new();
    material.history.countries = vec![line(class, 9_000, 370, 0)];
    change_it(&mut material);
    Report::new(material).sentences
}

#[test]
fn report_of_one_class_does_not_judge_by_a_later_policy() {
    let later = about_class("MO", |it| {
        let mut other = change(BEGIN + DAY, Kind::Policy, "allow MO");
        other.after.policy_sha256 = DATABASE.into();
        it.log.push(other);
    });
    let told = "Macao (MO) is allowed by the policy of now. Why packets were turned away the counters do \
                not know by country. Malformed packets are turned away before their address is looked at, and \
                are not known by country. The policy or the database changed in this time; this goes by \
                the policy of now.";
    assert!(later.contains(&told.to_owned()), "{later:#?}");
    let on_a_port = about_class("MO", |it| {
        let denied = RuleLine {
            port: Some("22/tcp".parse().unwrap()),
            ..rule("deny", "MO", None)
        };
        it.rules.as_mut().unwrap().rules.push(denied);
    });
    let told = "or come to a port that a rule denies to them. Which of these it was";
    assert!(
        on_a_port.iter().any(|it| it.contains(told)),
        "{on_a_port:#?}"
    );
    let unknown = about_class("unknown", |_| {});
    assert!(
        unknown[0].ends_with("of sources that are unknown to the database."),
        "{unknown:#?}"
    );
    let told = "Sources that are unknown to the database are not allowed by the policy of now. Malformed \
                packets are turned away before their address is looked at, and are not known by country.";
    assert!(unknown.contains(&told.to_owned()), "{unknown:#?}");
}

#[test]
fn quiet_country_has_its_line_all_the_same() {
    let mut material = material();
    material.history.country = Some("MO".into());
    material.history.total = Fates::default();
    material.history.countries = Vec::new();
    material.history.points = Vec::new();
    let report = Report::new(material);
    assert_eq!(report.countries[0].action.as_deref(), Some("allow"));
    assert_eq!(
        report.sentences[1],
        "Macao (MO) is allowed by the policy of now, and nobody from there was turned away, as far as \
         addresses were looked at. Malformed packets are turned away before their address is looked at, and \
         are not known by country."
    );
}

#[test]
fn time_before_the_history_is_not_averaged_over() {
    let mut material = material();
    // It began 30 seconds after 21:00; hours are all that it says of its beginning.
    let begin = BEGIN + 21 * HOUR;
    material.history.begins = Some(begin);
    material.history.since = begin;
    material.history.points.retain(|it| it.unix >= begin + 300);
    material.log = vec![change(begin + 90, Kind::Daemon, "started")];
    let report = Report::new(material);
    assert_eq!(report.period.begins, Some(begin + 60));
    assert_eq!(report.period.since, begin + 60);
    assert_eq!(report.period.minutes, 27 * 60 - 1);
    assert!(
        report.sentences.iter().any(|it| it
            == "Nothing is known of the time from 24 Nov 2026 00:00 to 24 Nov 2026 21:01 UTC: nobody \
                counted then."),
        "{:#?}",
        report.sentences
    );
    // The same, asked for within the hour in which it began.
    let mut within = super::fixture::material();
    within.history.begins = Some(begin);
    within.history.since = begin;
    within.asked_since = begin + 30;
    within.log = vec![change(begin + 90, Kind::Daemon, "started")];
    within.history.points.retain(|it| it.unix >= begin + 300);
    assert_eq!(Report::new(within).period.begins, Some(begin + 60));
    // All of the time lies before it.
    let mut before = super::fixture::material();
    before.history.begins = Some(BEGIN + 9 * DAY);
    before.history.since = BEGIN + 2 * DAY - MINUTE;
    before.history.points.clear();
    before.log = vec![change(BEGIN + 9 * DAY, Kind::Daemon, "started")];
    let report = Report::new(before);
    assert_eq!((report.period.since, report.period.minutes), (BEGIN, 2880));
    assert_eq!(
        report.sentences,
        [
            "Nothing is known of the time from 24 Nov 2026 00:00 to 26 Nov 2026 00:00 UTC: nobody counted at \
          web1 then."
        ]
    );
    // A quiet beginning of a time that is known is no lack of knowledge.
    let mut quiet = super::fixture::material();
    quiet.history.points.retain(|it| it.unix > BEGIN + 5 * HOUR);
    assert_eq!(Report::new(quiet).period.begins, None);
}

#[test]
fn period_that_goes_on_ends_with_this_minute() {
    let mut material = material();
    material.now = BEGIN + DAY + 30;
    let period = Report::new(material).period;
    assert_eq!(period.until, BEGIN + DAY + MINUTE);
    assert!(period.goes_on);
    assert_eq!(period.minutes, 1441);
}

#[test]
fn sample_is_of_the_time_that_the_history_says() {
    let mut material = material();
    material.history.sampled.since = BEGIN + HOUR;
    material.history.sampled.until = BEGIN + DAY + 1_860;
    let report = Report::new(material);
    let sample = &report.sample;
    assert_eq!(
        (sample.since, sample.until),
        (BEGIN + HOUR, BEGIN + DAY + 1_860)
    );
    let method = report
        .methods
        .iter()
        .find(|it| it.number == "Protocols and ports");
    let how = &method.unwrap().how;
    assert!(
        how.contains("the hours from 24 Nov 2026 01:00 to 25 Nov 2026 00:31 UTC")
            && how.contains("Protocols are of the period itself"),
        "{how}"
    );
}

#[test]
fn licences_are_honoured() {
    let report = Report::new(material());
    assert_eq!(
        report.attributions,
        [
            "IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0",
            MAP_ATTRIBUTION
        ]
    );
}

#[test]
fn changes_that_are_not_listed_are_told() {
    assert_eq!(Report::new(material()).warnings, [""; 0]);
    let mut many = material();
    many.history.earlier_changes = 5;
    assert_eq!(
        Report::new(many).warnings,
        ["the changes are the newest ones of the period; 5 changes before them are not listed"]
    );
}

#[test]
fn time_without_a_gate_is_no_quiet_time() {
    let mut material = material();
    let detached = crate::history::changes::gate::Told::Detached.words();
    material
        .log
        .push(change(BEGIN + DAY, Kind::Daemon, &detached));
    let report = Report::new(material);
    assert_eq!(
        report.warnings,
        ["no gate stood from 25 Nov 2026 00:00 UTC on: every packet passed, and none was counted"]
    );
    let exact = &report.methods[0].exact;
    assert!(
        exact.ends_with("the notes above the summary say when that was."),
        "{exact}"
    );
}

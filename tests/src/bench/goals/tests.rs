use super::*;
use crate::bench::{
    names::{peer, what},
    part::Part,
    row::{RUNS, Subject},
    trace::Draw,
};

const PLAIN: Pick = Pick {
    what: what::PATH_NO_SET,
    peer: peer::PLAIN_DROP,
    family: Some("IPv4"),
    trace: Some(Draw::Many.label()),
};
const CERCO: Pick = Pick {
    what: what::PATH,
    peer: peer::CERCO,
    ..PLAIN
};

fn row(pick: Pick, samples: &[f64]) -> Row {
    let subject = Subject {
        part: Part::Path,
        what: pick.what,
        peer: pick.peer,
        family: pick.family.unwrap_or("both"),
        trace: pick.trace.unwrap_or(""),
        unit: "ns/packet",
    };
    Row::new(subject, samples)
}

fn goal(measure: Measure, limit: Limit) -> Goal {
    Goal {
        id: "x",
        text: "a goal",
        measure,
        limit,
        unit: "",
        runs: RUNS,
    }
}

/// (measured, best, met)
fn outcome(goal: &Goal, rows: &[Row]) -> (Option<f64>, Option<f64>, Option<bool>) {
    let judged = goal.judge(rows);
    (judged.measured, judged.best, judged.met)
}

#[test]
fn ratio_of_medians_decides() {
    let rows = [
        row(CERCO, &[160.0, 200.0, 300.0, 240.0, 180.0]),
        row(PLAIN, &[160.0; 5]),
    ];
    let ratio = Measure::Ratio(CERCO, PLAIN);
    for (limit, met) in [
        (Limit::AtMost(1.25), true),
        (Limit::AtMost(1.15), false),
        (Limit::Below(1.25), false),
        (Limit::AtLeast(1.25), true),
        (Limit::AtLeast(1.3), false),
        (Limit::Between(1.2, 1.3), true),
        (Limit::Between(0.9, 1.1), false),
    ] {
        let expected = (Some(1.25), Some(1.0), Some(met));
        assert_eq!(outcome(&goal(ratio, limit), &rows), expected, "{limit:?}");
    }
}

#[test]
fn difference_is_in_the_unit_of_the_rows() {
    let rows = [row(CERCO, &[90.0; 5]), row(PLAIN, &[40.0; 5])];
    let difference = goal(Measure::Difference(CERCO, PLAIN), Limit::AtMost(60.0));
    let expected = (Some(50.0), Some(50.0), Some(true));
    assert_eq!(outcome(&difference, &rows), expected);
}

#[test]
fn every_sample_counts_where_the_median_does_not() {
    let rows = [row(CERCO, &[0.0, 0.0, 0.0, 0.0, 1.0])];
    let median = goal(Measure::Median(CERCO), Limit::AtMost(0.0));
    assert_eq!(outcome(&median, &rows), (Some(0.0), Some(0.0), Some(true)));
    let every = goal(Measure::Every(CERCO), Limit::AtMost(0.0));
    assert_eq!(outcome(&every, &rows), (Some(1.0), Some(0.0), Some(false)));
    let rows = [row(CERCO, &[0.8, 1.0, 1.0, 1.0, 1.0])];
    let both_sides = goal(Measure::Every(CERCO), Limit::Between(0.9, 1.1));
    let expected = (Some(1.0), Some(0.8), Some(false));
    assert_eq!(outcome(&both_sides, &rows), expected);
}

#[test]
fn missing_rows_and_few_runs_are_neither_met_nor_missed() {
    let ratio = goal(Measure::Ratio(CERCO, PLAIN), Limit::AtMost(9.0));
    let missing = ratio.judge(&[row(CERCO, &[1.0; 5])]);
    assert_eq!((missing.measured, missing.met), (None, None));
    let reason = "no row packet path, no set, plain drop, IPv4, 1M sources";
    assert_eq!(missing.reason.as_deref(), Some(reason));
    let few = ratio.judge(&[row(CERCO, &[1.0; 5]), row(PLAIN, &[1.0; 4])]);
    assert_eq!((few.measured, few.met), (Some(1.0), None));
    assert_eq!(few.reason.as_deref(), Some("4 runs, 5 are needed"));
}

#[test]
fn least_favourable_row_stands_for_several() {
    let any = Pick {
        family: None,
        ..CERCO
    };
    let v6 = Pick {
        family: Some("IPv6"),
        ..CERCO
    };
    let rows = [row(v6, &[9.0; 5]), row(CERCO, &[3.0; 5])];
    let judged = goal(Measure::Median(any), Limit::AtMost(5.0)).judge(&rows);
    assert_eq!((judged.measured, judged.met), (Some(9.0), Some(false)));
    assert_eq!(judged.rows[0].family, "IPv6");
}

#[test]
fn one_goal_that_is_not_measured_is_enough_to_miss_them_all() {
    let goals = judge(&[]);
    assert!(goals.iter().all(|goal| goal.met.is_none()));
    assert!(!all_met(&goals));
    let mut met = goals;
    for goal in &mut met {
        goal.met = Some(true);
    }
    assert!(all_met(&met));
    met[3].met = None;
    assert!(!all_met(&met));
}

#[test]
fn goals_have_names_of_their_own() {
    let mut ids: Vec<_> = GOALS.iter().map(|goal| goal.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), GOALS.len());
}

/// The limits of the issue, written out.
#[test]
fn limits_are_those_that_were_asked_for() {
    use Limit::{AtLeast, AtMost, Below, Between};
    let expected = [
        ("lookup-ipv4", AtLeast(50.0)),
        ("lookup-ipv6", AtLeast(15.0)),
        ("path-ipv4-plain", AtMost(1.15)),
        ("path-ipv4-xdp-filter", Below(1.0)),
        ("path-ipv4-nftables", AtMost(1.0 / 6.0)),
        ("path-ipv4-iptables", AtMost(1.0 / 6.0)),
        ("path-ipv6-few", AtMost(1.5)),
        ("path-ipv6-many", AtMost(1.5)),
        ("limited-ipv4-few", AtMost(60.0)),
        ("limited-ipv4-many", AtMost(60.0)),
        ("limited-ipv6-few", AtMost(60.0)),
        ("limited-ipv6-many", AtMost(60.0)),
        ("limiter-spoofed", AtMost(1.3)),
        ("limiter-lru", AtLeast(6.0)),
        ("limiter-heavy", Between(0.9, 1.1)),
        ("limiter-quiet", Below(0.1)),
        ("load-builtin", AtMost(150.0)),
        ("load-mmdb", AtMost(600.0)),
        ("load-nft", AtLeast(10.0)),
        ("toggle", AtMost(1.0)),
        ("bans", AtMost(1_000.0)),
        ("kernel-memory", AtMost(48.0)),
        ("daemon-rss", AtMost(40.0)),
        ("daemon-cpu", AtMost(0.5)),
        ("growth-ipv4", AtMost(1.5)),
        ("growth-ipv6", AtMost(1.5)),
        ("swap", AtMost(0.0)),
    ];
    let limits: Vec<_> = GOALS.iter().map(|goal| (goal.id, goal.limit)).collect();
    assert_eq!(limits, expected);
}

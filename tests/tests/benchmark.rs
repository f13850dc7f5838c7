//! The benchmark's packet path, with few frames and a small world: that everybody whom it measures
//! drops what it should is checked by the benchmark itself, which fails otherwise.

use std::collections::BTreeSet;

use filter_userspace::geo::{self, Database, Range};
use integration_tests::bench::{
    self,
    context::{ALLOWED, Amount, Context},
    names::{family, peer, what},
    part::Part,
    trace::Draw,
};

/// Of the ranges of blocked countries, every so manieth is kept.
const STEP: usize = 100;

/// All of the allowed countries, and a part of the others: sets of the whole world take long to load.
fn small_world() -> Database {
    fn thinned<A: Copy>(ranges: &[Range<A>]) -> Vec<Range<A>> {
        let kept = ranges.iter().enumerate().filter(|(index, range)| {
            ALLOWED.contains(&range.country.as_str()) || index % STEP == 0
        });
        kept.map(|(_, range)| *range).collect()
    }
    let world = geo::builtin().unwrap();
    Database {
        v4: thinned(&world.v4),
        v6: thinned(&world.v6),
        info: world.info,
    }
}

#[test]
fn everybody_on_the_packet_path_drops_what_is_blocked_or_is_named_as_missing() {
    let context = Context::with(small_world(), Amount::Tiny);
    let report = bench::run(&context, &[Part::Path]).unwrap();

    let measured = |name: &str| {
        let rows = report.rows.iter();
        rows.filter(|row| row.what == what::PATH && row.peer == name)
            .map(|row| (row.family.as_str(), row.trace.as_str()))
            .collect::<BTreeSet<_>>()
    };
    let both = [Draw::Few.label(), Draw::Many.label()];
    let everywhere: BTreeSet<_> = [family::V4, family::V6]
        .into_iter()
        .flat_map(|family| both.map(|trace| (family, trace)))
        .collect();
    assert_eq!(measured(peer::CERCO), everywhere);
    for name in [
        peer::LPM_TRIE,
        peer::XDP_FILTER,
        peer::NFTABLES,
        peer::NFTABLES_ALLOWLIST,
        peer::IPTABLES,
        peer::IPTABLES_ALLOWLIST,
    ] {
        match report.missing.iter().find(|it| it.rows == name) {
            Some(missing) => {
                // Only a package that is not installed is an excuse.
                assert!(missing.reason.contains("does not start"), "{missing:?}");
                assert_eq!(measured(name), BTreeSet::new(), "{name}");
            }
            None => assert_eq!(measured(name), everywhere, "{name}"),
        }
    }
    for row in &report.rows {
        let is_difference = row.what.ends_with("over plain drop");
        assert!(row.best > 0.0 || is_difference, "{row:?}");
        assert_eq!((row.runs, row.part), (1, Part::Path), "{row:?}");
    }

    let goal = |id| report.goals.iter().find(|goal| goal.id == id).unwrap();
    let plain = goal("path-ipv4-plain");
    assert!(plain.measured.is_some() && plain.met.is_none(), "{plain:?}");
    assert_eq!(plain.reason.as_deref(), Some("1 runs, 5 are needed"));
    assert_eq!(goal("lookup-ipv4").measured, None);
    assert!(!report.goals_met);
}

/// The benchmark fails by itself when a structure answers wrongly, or a frame ends otherwise than its
/// row claims.
#[test]
fn lookups_and_programs_are_measured_with_the_right_answers_for_every_goal() {
    let context = Context::with(small_world(), Amount::Tiny);
    let report = bench::run(&context, &[Part::Lookup, Part::Program]).unwrap();
    for goal in &report.goals {
        let is_ours = goal.id.starts_with("lookup-") || goal.id.starts_with("limited-");
        assert_eq!(goal.measured.is_some(), is_ours, "{goal:?}");
    }
    for missing in &report.missing {
        // xdp-filter may not be installed.
        let expected = ["cerco, reply", peer::XDP_FILTER];
        assert!(expected.contains(&missing.rows.as_str()), "{missing:?}");
    }
}

#[test]
fn limiter_is_fair_to_a_million_quiet_sources_beside_a_heavy_one() {
    let context = Context::with(small_world(), Amount::Tiny);
    let report = bench::run(&context, &[Part::Limiter]).unwrap();
    for goal in &report.goals {
        assert_eq!(
            goal.measured.is_some(),
            goal.id.starts_with("limiter-"),
            "{goal:?}"
        );
    }
    for id in ["limiter-heavy", "limiter-quiet"] {
        let goal = report.goals.iter().find(|goal| goal.id == id).unwrap();
        assert_eq!(goal.met, Some(true), "{goal:?}");
    }
}

use super::*;
use crate::control::reply::ReplyFault;

fn eth0() -> Link {
    Link {
        index: 7,
        name: "eth0".into(),
        ..Link::default()
    }
}

fn program(direction: Direction, name: &str, id: u32, is_tcx: bool) -> TcProgram {
    TcProgram {
        direction,
        name: name.into(),
        id: Some(id),
        is_tcx,
    }
}

fn pin(direction: Direction, ifindex: Option<u32>, program: Option<u32>) -> StandingTracker {
    StandingTracker {
        interface: "eth0".into(),
        direction,
        ifindex,
        program,
    }
}

fn told(faults: &[&str]) -> RepliesStatus {
    RepliesStatus {
        enabled: true,
        open: None,
        faults: faults
            .iter()
            .map(|interface| ReplyFault {
                interface: (*interface).to_owned(),
                reason: "it was taken off".into(),
            })
            .collect(),
    }
}

const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;

#[test]
fn own_trackers_are_those_on_the_pinned_links() {
    use Tracker::{Missing, Stands};
    let both = [pin(IN, Some(7), Some(31)), pin(OUT, Some(7), Some(32))];
    let tcx_in = program(IN, "cerco_in", 31, true);
    let tcx_out = program(OUT, "cerco_out", 32, true);
    let namesake = program(IN, "cerco_in", 99, true);
    let filter_in = program(IN, "cerco_in", 41, false);
    let filter_out = program(OUT, "cerco_out", 42, false);
    let foreign = program(IN, "from_netdev", 31, false);
    let seen = |pinned: &[StandingTracker], knows_tcx, programs: &[&TcProgram]| {
        let mut programs: Vec<TcProgram> = programs.iter().copied().cloned().collect();
        let trackers = Trackers::Pinned(pinned);
        let tracking = take_own(&eth0(), &trackers, Some(knows_tcx), &mut programs);
        (tracking, programs)
    };
    // The pins, whether the kernel knows TCX, what hangs there; then both trackers, and what is foreign.
    type Case<'a> = (
        &'a str,
        &'a [StandingTracker],
        bool,
        &'a [&'a TcProgram],
        [Tracker; 2],
        &'a [&'a TcProgram],
    );
    let while_taken_over = [
        pin(IN, Some(7), Some(31)),
        pin(IN, Some(7), Some(99)),
        pin(OUT, Some(7), Some(32)),
    ];
    let cases: [Case; 10] = [
        (
            "another build takes over",
            &while_taken_over,
            true,
            &[&tcx_in, &namesake, &tcx_out],
            [Stands, Stands],
            &[],
        ),
        (
            "both stand",
            &both,
            true,
            &[&tcx_in, &tcx_out],
            [Stands, Stands],
            &[],
        ),
        (
            "others stand beside them",
            &both,
            true,
            &[&foreign, &namesake, &tcx_in, &tcx_out, &filter_in],
            [Stands, Stands],
            &[&foreign, &namesake, &filter_in],
        ),
        (
            "a pin was removed",
            &both[..1],
            true,
            &[&tcx_in],
            [Stands, Missing],
            &[],
        ),
        (
            "a name alone is none where links can be had",
            &[],
            true,
            &[&namesake, &filter_out],
            [Missing, Missing],
            &[&namesake, &filter_out],
        ),
        (
            "a link was detached",
            &[pin(IN, None, Some(31)), pin(OUT, Some(7), Some(32))],
            true,
            &[&tcx_out],
            [Missing, Stands],
            &[],
        ),
        (
            "a link is on another interface",
            &[pin(IN, Some(8), Some(31)), pin(OUT, Some(7), Some(32))],
            true,
            &[&tcx_in, &tcx_out],
            [Missing, Stands],
            &[&tcx_in],
        ),
        (
            "another program is on the link",
            &[pin(IN, Some(7), Some(50)), pin(OUT, Some(7), Some(32))],
            true,
            &[&program(IN, "pass", 50, true), &tcx_out],
            [Tracker::Other("pass".into(), 50), Stands],
            &[],
        ),
        (
            "filters, before Linux 6.6",
            &[],
            false,
            &[&filter_in, &filter_out, &foreign],
            [Stands, Stands],
            &[&foreign],
        ),
        (
            "a filter on the wrong way",
            &[],
            false,
            &[&program(OUT, "cerco_in", 41, false), &filter_out],
            [Missing, Stands],
            &[&program(OUT, "cerco_in", 41, false)],
        ),
    ];
    for (name, pinned, knows_tcx, programs, trackers, left) in cases {
        let left: Vec<TcProgram> = left.iter().copied().cloned().collect();
        assert_eq!(
            seen(pinned, knows_tcx, programs),
            (Tracking::Seen(trackers), left),
            "{name}"
        );
    }
}

#[test]
fn who_may_not_see_the_pins_learns_what_the_daemon_says() {
    let ask = |told: Option<&RepliesStatus>| {
        let mut programs = vec![
            program(IN, "cerco_in", 41, false),
            program(IN, "cerco_in", 31, true),
        ];
        let trackers = Trackers::Unseen(told);
        let tracking = take_own(&eth0(), &trackers, None, &mut programs);
        assert_eq!(programs, [program(IN, "cerco_in", 31, true)]);
        tracking
    };
    assert_eq!(ask(None), Tracking::Unseen);
    assert_eq!(ask(Some(&told(&[]))), Tracking::Told);
    assert_eq!(ask(Some(&told(&["eth1"]))), Tracking::Told);
    assert_eq!(
        ask(Some(&told(&["eth1", "eth0"]))),
        Tracking::Fault("it was taken off".into())
    );
}

#[test]
fn missing_tracker_is_a_warning_and_switched_off_is_a_note() {
    use Tracker::{Missing, Other, Stands};
    let judge = |config_enabled, daemon_enabled, tracking: Tracking| {
        Replies {
            config_enabled,
            daemon_enabled,
            interfaces: vec![("eth0".into(), tracking)],
        }
        .judge(&Commands::new(None))
    };
    let stand = || Tracking::Seen([Stands, Stands]);
    let fine = [Finding::ok(
        "replies",
        "Answers to this host's own connections are let in on eth0.",
    )
    .on("eth0")];
    let warning = |why: &str| {
        let words = format!("Answers to this host's own connections may be denied on eth0: {why}.");
        [Finding::warning("replies", words)
            .mend("systemctl restart cerco")
            .on("eth0")]
    };
    let off = Finding::note(
        "replies",
        "Answers to this host's own connections are denied like everything else: [replies] enabled \
         = false.",
    )
    .mend(
        "sensible-editor /etc/cerco/cerco.toml && systemctl restart cerco    # [replies] enabled = \
         true, if it is not meant",
    );
    let differs = |config: bool, daemon: bool| {
        Finding::warning(
            "config_in_force",
            format!("The config says [replies] enabled = {config}, the daemon was started with {daemon}."),
        )
        .mend("systemctl restart cerco")
    };
    assert_eq!(judge(Some(true), Some(true), stand()), fine);
    // Without a daemon, and with a config that cannot be used.
    assert_eq!(judge(Some(true), None, stand()), fine);
    assert_eq!(judge(None, None, stand()), fine);
    assert_eq!(judge(Some(true), Some(true), Tracking::Told), fine);
    assert_eq!(judge(Some(true), None, Tracking::Unseen), []);
    assert_eq!(
        judge(Some(true), Some(true), Tracking::Seen([Stands, Missing])),
        warning("`cerco_out` is missing there")
    );
    assert_eq!(
        judge(
            Some(true),
            Some(true),
            Tracking::Seen([Other("pass".into(), 50), Missing])
        ),
        warning(
            "the program `pass` (number 50) is in the place of `cerco_in`, `cerco_out` is missing \
             there"
        )
    );
    assert_eq!(
        judge(Some(true), Some(true), Tracking::Fault("no".into())),
        warning("no")
    );
    let none = || Tracking::Seen([Missing, Missing]);
    assert_eq!(
        judge(Some(false), Some(false), none()),
        std::slice::from_ref(&off)
    );
    assert_eq!(judge(Some(false), None, none()), std::slice::from_ref(&off));
    assert_eq!(
        judge(Some(true), Some(false), none()),
        [differs(true, false), off]
    );
    assert_eq!(
        judge(Some(false), Some(true), stand()),
        [&[differs(false, true)], &fine[..]].concat()
    );
}

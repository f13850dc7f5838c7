use std::time::UNIX_EPOCH;

use super::*;
use crate::{
    control::reply::{AttachedInterface, DatabaseStatus},
    kernel::{AttachMode, XdpPrograms},
};

fn link(native: Option<u32>, generic: Option<u32>) -> Link {
    Link {
        index: 7,
        name: "eth0".into(),
        xdp: XdpPrograms {
            native,
            generic,
            offloaded: None,
        },
        ..Link::default()
    }
}

fn pinned(ifindex: Option<u32>, program: Option<u32>) -> [StandingLink; 1] {
    [StandingLink {
        interface: "eth0".into(),
        mode: AttachMode::Native,
        ifindex,
        program,
    }]
}

fn status() -> Status {
    Status {
        daemon: true,
        version: env!("CARGO_PKG_VERSION").into(),
        pid: Some(4711),
        uptime_seconds: Some(1),
        mode: ModeWord::Enforce,
        trial: None,
        interfaces: vec![AttachedInterface {
            interface: "eth0".into(),
            attach_mode: "native".into(),
            fallback_reason: None,
        }],
        database: Some(DatabaseStatus {
            source: "builtin".into(),
            format: "builtin".into(),
            built: None,
            networks_v4: 1,
            networks_v6: 1,
            attribution: None,
            warning: Some("the database is too old".into()),
            generation: None,
            held_since: None,
            refused: None,
        }),
        published: Some(UNIX_EPOCH),
        allowed_countries: None,
        default_action: None,
        table_bytes: None,
        kernel_bytes: None,
        replies: None,
        totals: Vec::new(),
        bans: 0,
        runtime_rules: None,
        warnings: Vec::new(),
        last_reload_error: None,
        history: None,
    }
}

fn gate(daemon: Daemon) -> Gate {
    Gate {
        pins_fault: None,
        interfaces: Vec::new(),
        told_elsewhere: vec!["eth0 is called ".into()],
        unnamed: Vec::new(),
        daemon,
        mode: None,
        config_mode: None,
        mode_set_before: None,
        compared: Compared::Nothing,
        now: UNIX_EPOCH + LONG_OBSERVED * 10,
    }
}

fn answering() -> Gate {
    gate(Daemon::Answers(Box::new(status())))
}

fn judged(gate: &Gate) -> Vec<Finding> {
    gate.judge(&Commands::new(None))
}

fn answers() -> Finding {
    Finding::ok("daemon", "The daemon answers.")
}

#[test]
fn program_on_an_interface_is_the_gate_only_when_its_pin_says_so() {
    let programs = Programs {
        names: HashMap::from([(5, "xdp_pass".to_owned())]),
        link: |id, ifindex| ((id, ifindex) == (6, 7)).then_some(99),
        holder: |id| (id == 6).then(|| (1234, "xdp-filter".to_owned())),
    };
    let other = |id, name: &str, is_generic, bpf_link| {
        Standing::Other(OtherProgram {
            id,
            name: name.into(),
            is_generic,
            bpf_link,
            holder: (id == 6).then(|| (1234, "xdp-filter".to_owned())),
        })
    };
    let (mut names_it, mut lost) = (status(), status());
    names_it.warnings = vec!["no gate stands on eth1 any more".into()];
    lost.warnings = vec!["no gate stands on eth0 any more, every packet passes there".into()];
    let gate = pinned(Some(7), Some(5));
    type Case<'a> = (
        Link,
        Option<&'a [StandingLink]>,
        Option<&'a Status>,
        Standing,
    );
    let cases: [Case; 11] = [
        (link(None, None), Some(&gate), None, Standing::Nothing),
        (link(Some(5), None), Some(&gate), None, Standing::Native),
        (link(None, Some(5)), Some(&gate), None, Standing::Generic),
        (
            link(Some(5), None),
            Some(&[]),
            None,
            other(5, "xdp_pass", false, None),
        ),
        (
            link(None, Some(6)),
            Some(&gate),
            None,
            other(6, "", true, Some(99)),
        ),
        (
            // The pin is of an interface of that name that went away.
            link(Some(5), None),
            Some(&pinned(None, Some(5))),
            None,
            other(5, "xdp_pass", false, None),
        ),
        (
            link(Some(5), None),
            Some(&pinned(Some(8), Some(5))),
            None,
            other(5, "xdp_pass", false, None),
        ),
        (link(Some(5), None), None, None, Standing::Unseen(5)),
        (link(Some(5), None), None, Some(&names_it), Standing::Native),
        (link(Some(5), None), None, Some(&lost), Standing::Unseen(5)),
        (link(None, None), None, Some(&names_it), Standing::Nothing),
    ];
    for (number, (link, pinned, status, expected)) in cases.into_iter().enumerate() {
        assert_eq!(
            standing(&link.name, &link, pinned, status, &programs),
            expected,
            "case {number}"
        );
    }
}

#[test]
fn interface_without_the_gate_is_a_fault() {
    let on = |standing| stands("eth0", Some(&standing), &Commands::new(None));
    let other = |is_generic, bpf_link| {
        Standing::Other(OtherProgram {
            id: 42,
            name: "xdp_pass".into(),
            is_generic,
            bpf_link,
            holder: bpf_link.map(|_| (1234, "xdp-filter".to_owned())),
        })
    };
    assert_eq!(
        on(Standing::Native),
        Finding::ok("gate", "The gate stands on eth0 (native).")
    );
    assert_eq!(
        on(Standing::Generic),
        Finding::ok("gate", "The gate stands on eth0 (generic).")
    );
    assert_eq!(
        on(Standing::Nothing),
        Finding::fault("gate", "No gate stands on eth0: every packet passes there.")
            .mend("systemctl restart cerco")
    );
    assert_eq!(
        stands("eth0", None, &Commands::new(None)),
        Finding::fault(
            "gate",
            "eth0 is in the config, and no interface has that name."
        )
        .mend("ip -brief link")
    );
    assert_eq!(
        on(Standing::Unseen(42)),
        Finding::unknown(
            "gate",
            "The XDP program number 42 stands on eth0; root can see whether it is the gate."
        )
        .mend("sudo cerco doctor")
    );
    let taken = |how: &str, command: &str| {
        Finding::fault(
            "other_xdp_program",
            format!(
                "The program `xdp_pass` (number 42) stands on eth0 in {how}, where the gate \
                 should: every packet passes the gate by."
            ),
        )
        .mend(format!("{command} && systemctl restart cerco"))
    };
    assert_eq!(
        on(other(false, None)),
        taken("native mode", "ip link set dev eth0 xdpdrv off")
    );
    assert_eq!(
        on(other(true, None)),
        taken("generic mode", "ip link set dev eth0 xdpgeneric off")
    );
    assert_eq!(
        on(other(false, Some(9))),
        taken(
            "native mode, held by process 1234 (xdp-filter)",
            "bpftool link detach id 9"
        )
    );
}

#[test]
fn gate_that_the_config_does_not_name_and_pins_that_cannot_be_seen_are_told() {
    let mut gate = answering();
    gate.unnamed = vec!["eth1".into()];
    gate.pins_fault = Some(PinsFault::NotPermitted);
    assert_eq!(
        judged(&gate),
        [
            Finding::warning(
                "gate",
                "The gate stands on eth1, which the config does not name."
            )
            .mend("systemctl restart cerco")
            .on("eth1"),
            Finding::unknown(
                "pins",
                "What stands in the kernel was not looked at: only root may see the pins."
            )
            .mend("sudo cerco doctor"),
            answers(),
        ]
    );
    gate.unnamed = Vec::new();
    let pins = PathBuf::from("/sys/fs/bpf/cerco");
    gate.pins_fault = Some(PinsFault::Unreadable(pins, "failed to trust it".into()));
    assert_eq!(
        judged(&gate)[0],
        Finding::fault(
            "pins",
            "The pins cannot be used, by this command and the next start: failed to trust it."
        )
        .mend("ls -ld /sys/fs/bpf/cerco")
    );
}

#[test]
fn daemon_that_does_not_answer_is_told_apart_from_one_that_may_not_be_asked() {
    assert_eq!(
        judged(&gate(Daemon::Silent)),
        [Finding::warning(
            "daemon",
            "No daemon answers: a gate that stands filters on, and rules and bans end in time, \
             but nothing can be changed."
        )
        .mend("systemctl start cerco")]
    );
    assert_eq!(
        judged(&gate(Daemon::NotPermitted)),
        [Finding::unknown(
            "daemon",
            "Only root and the group `cerco` may ask the daemon whether it runs."
        )
        .mend("sudo cerco doctor")]
    );
    assert_eq!(
        judged(&gate(Daemon::Confused("it speaks schema 9".into()))),
        [
            Finding::warning("daemon", "The daemon cannot be asked: it speaks schema 9.")
                .mend("systemctl restart cerco")
        ]
    );
    assert_eq!(judged(&answering()), [answers()]);
}

#[test]
fn what_the_daemon_says_is_passed_on_once() {
    let mut said = status();
    said.version = "0.0.9".into();
    said.last_reload_error = Some("2026-06-01T00:00:00Z: bad\nmore".into());
    said.warnings = vec![
        // Of these three other findings tell.
        "the database is too old".into(),
        "no gate stands on eth0 any more".into(),
        "eth0 is called eth1 now".into(),
        "the metrics port is taken".into(),
    ];
    assert_eq!(
        judged(&gate(Daemon::Answers(Box::new(said)))),
        [
            answers(),
            Finding::warning(
                "version",
                format!(
                    "The daemon is of version 0.0.9, this command of {}.",
                    env!("CARGO_PKG_VERSION")
                )
            )
            .mend("systemctl restart cerco"),
            Finding::warning(
                "reload",
                "The last reload was refused, the earlier policy runs: 2026-06-01T00:00:00Z: bad."
            )
            .mend("cerco check && cerco reload"),
            Finding::warning(
                "daemon_warning",
                "The daemon warns: the metrics port is taken."
            )
            .mend("cerco status"),
        ]
    );
}

#[test]
fn gate_that_only_observes_is_noted_and_after_a_fortnight_warned_of() {
    let mode = |mode, set_before: Option<Duration>| {
        let mut gate = answering();
        gate.mode = Some(mode);
        gate.config_mode = Some(mode);
        gate.mode_set_before = set_before.map(|age| gate.now - age);
        judged(&gate)[1..].to_vec()
    };
    assert_eq!(
        mode(ModeWord::Enforce, None),
        [Finding::ok("mode", "What the policy denies is dropped.")]
    );
    let short =
        Finding::note("mode", "The gate only observes: nothing is dropped.").mend("cerco enforce");
    assert_eq!(mode(ModeWord::Observe, None), std::slice::from_ref(&short));
    let second = Duration::from_secs(1);
    assert_eq!(
        mode(ModeWord::Observe, Some(LONG_OBSERVED - second)),
        [short]
    );
    assert_eq!(
        mode(ModeWord::Observe, Some(LONG_OBSERVED)),
        [Finding::warning(
            "mode",
            "The gate has only observed for 14 days and more: nothing is dropped."
        )
        .mend("cerco enforce")]
    );
}

#[test]
fn config_is_compared_with_what_runs() {
    let compared = |daemon, compared| {
        let mut gate = gate(daemon);
        gate.compared = compared;
        judged(&gate).pop().unwrap()
    };
    let answers = || Daemon::Answers(Box::new(status()));
    assert_eq!(
        compared(answers(), Compared::With(Vec::new())),
        Finding::ok("config_in_force", "What is in the config is in force.")
    );
    let different = Finding::warning(
        "config_in_force",
        "What runs is not what config and database say now; different are: limits, [protect].",
    );
    let both = || Compared::With(vec!["limits", "[protect]"]);
    assert_eq!(
        compared(answers(), both()),
        different.clone().mend("cerco check && cerco reload")
    );
    assert_eq!(
        compared(Daemon::Silent, both()),
        different.mend("cerco check && systemctl restart cerco")
    );
    assert_eq!(
        compared(
            answers(),
            Compared::Not("only root can read the tables".into(), "sudo x".into())
        ),
        Finding::unknown(
            "config_in_force",
            "Whether the config is in force was not looked at: only root can read the tables."
        )
        .mend("sudo x")
    );
    let mut gate = answering();
    gate.mode = Some(ModeWord::Enforce);
    gate.config_mode = Some(ModeWord::Observe);
    assert_eq!(
        judged(&gate).pop().unwrap(),
        Finding::note(
            "config_in_force",
            "The gate is in mode enforce, set at runtime; the config says observe."
        )
        .mend("cerco observe")
    );
}

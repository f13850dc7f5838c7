use std::time::Duration;

use filter_common::country::CountryCode;

use super::*;
use crate::{
    compile::compile,
    config, geo,
    policy::{Action, Exception, Gets, Port, Subject},
};

fn cut_off(peer: &str, users: &[&str], what: Kind) -> CutOff {
    CutOff {
        session: Standing {
            peer: peer.parse().unwrap(),
            port: 22,
            local: None,
            users: users.iter().map(|user| (*user).to_owned()).collect(),
            what,
        },
        why: "US".into(),
    }
}

#[test]
fn refusal_names_every_session_and_both_ways_out() {
    let own = cut_off("203.0.113.7", &[], Kind::Own);
    let other = cut_off("2001:db8:2::7", &["anna", "bob"], Kind::Login);
    let trusted = cut_off("203.0.113.7", &[], Kind::Trusted);
    let way_out = "or repeat it with --force; the way out, from the console:\n          cerco detach \
                   --force";
    let refused = refusal("enforcing", std::slice::from_ref(&own));
    assert_eq!(
        refused.message,
        "enforcing would lock out your SSH session:\n  203.0.113.7 to port 22 (US), your own"
    );
    assert_eq!(
        refused.hint.unwrap(),
        format!("let in:   cerco trust 203.0.113.7\n{way_out}")
    );
    let refused = refusal("the new config", &[own.clone(), other.clone(), trusted]);
    assert_eq!(
        refused.message,
        "the new config would lock out your SSH session and 2 others:\n  \
         203.0.113.7 to port 22 (US), your own\n  \
         2001:db8:2::7 to port 22 (US), anna, bob\n  \
         203.0.113.7 to port 22 (US), trusted until now"
    );
    assert_eq!(
        refused.hint.unwrap(),
        format!(
            "let in:   cerco trust 203.0.113.7\n          cerco trust 2001:db8:2::7\n{way_out}"
        )
    );
    for (cut_off, whom) in [
        (vec![other.clone()], "a session"),
        (vec![own, other.clone()], "your SSH session and another one"),
        (vec![other; 12], "12 sessions"),
    ] {
        let message = refusal("the ban", &cut_off).message;
        let first = message.lines().next();
        assert_eq!(first, Some(&*format!("the ban would lock out {whom}:")));
    }
}

#[test]
fn long_lists_are_cut_and_fit_the_screen() {
    let longest = cut_off(
        "2001:db8:1111:2222:3333:4444:5555:6666",
        &["administrator"],
        Kind::Own,
    );
    let many = vec![longest; 300];
    let lines = listed(&many, "`cerco enforce` would cut off ");
    assert_eq!(lines.len(), SHOWN + 1);
    assert_eq!(
        lines[SHOWN],
        "`cerco enforce` would cut off 290 more sessions"
    );
    for line in refusal("removing `allow 2001:db8::/32`", &many)
        .message
        .lines()
    {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn bans_reach_all_but_the_trusted_and_what_is_not_looked_at() {
    let peer = "203.0.113.7".parse().unwrap();
    let bans = ["198.51.100.0/24", "203.0.113.0/24"].map(|ban| ban.parse().unwrap());
    for reason in Reason::ALL.iter().take(Reason::TruncatedEthernet as usize) {
        let decision = Decision::new(*reason, Some(Class::UNKNOWN));
        let spared = ["essential", "out_of_scope", "trusted", "table_empty"];
        let expected = match spared.contains(&reason.label()) {
            true => decision,
            false => Decision::new(Reason::Banned, Some(Class::UNKNOWN)),
        };
        assert_eq!(with_bans(decision, &bans, peer), expected);
        assert_eq!(with_bans(decision, &bans[..1], peer), decision);
    }
}

#[test]
fn rules_that_end_or_name_a_port_have_a_say_over_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("database.csv");
    std::fs::write(&path, "198.51.100.0,198.51.100.255,MO\n").unwrap();
    let database = geo::read_file(&path, &geo::ReadOptions::default()).unwrap();
    let denied = |country: &str, gets, service, until_ns| {
        let text = format!("interfaces = [\"eth0\"]\n[policy.countries]\nMO = \"{country}\"\n");
        let (config, _) = config::parse("cerco.toml".as_ref(), &text).unwrap();
        let policy = Policy {
            exceptions: vec![Exception {
                subject: Subject::Country(CountryCode::parse("MO").unwrap()),
                service,
                gets: Gets::Action(gets),
                until_ns,
            }],
            ..config.policy
        };
        let compiled = compile(&policy, &database).unwrap();
        denied_class(&policy, &compiled, ("198.51.100.7".parse().unwrap(), 22))
    };
    let mo = Some("MO".to_owned());
    assert_eq!(denied("allow", Action::Deny, Some(Port::Tcp(22)), None), mo);
    assert_eq!(
        denied("allow", Action::Deny, Some(Port::Tcp(80)), None),
        None
    );
    assert_eq!(
        denied("deny", Action::Allow, Some(Port::Tcp(22)), None),
        None
    );
    assert_eq!(denied("deny", Action::Allow, Some(Port::Tcp(80)), None), mo);
    assert_eq!(
        denied("deny", Action::Allow, None, Some(1)),
        mo,
        "it is over"
    );
}

#[test]
fn sessions_that_end_later_are_listed_as_short_as_the_others() {
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_651_200);
    let ending = |peer: &str, users: &[&str], what| Ending {
        session: cut_off(peer, users, what).session,
        end,
    };
    assert_eq!(for_a_time(&[]), Vec::<String>::new());
    let one = ending("203.0.113.7", &["anna", "bob"], Kind::Own);
    assert_eq!(
        for_a_time(&[one]),
        [
            "let in until 2026-11-26T00:00:00Z only: 203.0.113.7 to port 22, anna, bob, your own (`cerco trust 203.0.113.7`)"
        ]
    );
    let many: Vec<Ending> = (0..12)
        .map(|_| ending("203.0.113.7", &[], Kind::Login))
        .collect();
    let lines = for_a_time(&many);
    assert_eq!(lines.len(), SHOWN + 1);
    assert_eq!(lines[SHOWN], "let in for a time only: 2 more sessions");
}

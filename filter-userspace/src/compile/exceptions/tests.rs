use std::path::Path;

use filter_common::packet::{Packet, Transport};

use super::*;
use crate::{
    compile::{CompiledPolicy, compile},
    config, geo,
};

const MO: Class = Class(77);

fn policy(rules: &str, exceptions: Vec<Exception>) -> Policy {
    let text = format!("interfaces = [\"eth0\"]\n{rules}");
    let (config, _) = config::parse(Path::new("cerco.toml"), &text).unwrap();
    Policy {
        exceptions,
        ..config.policy
    }
}

fn prefix(text: &str) -> Subject {
    Subject::Prefix(text.parse().unwrap())
}

fn mo() -> Subject {
    Subject::Country(CountryCode::parse("MO").unwrap())
}

fn exception(subject: Subject, gets: Gets) -> Exception {
    Exception {
        subject,
        service: None,
        gets,
        until_ns: Some(1_000),
    }
}

const ALLOW: Gets = Gets::Action(Action::Allow);
const DENY: Gets = Gets::Action(Action::Deny);

/// Subject, port and what it gets, in words.
fn words(policy: &Policy) -> Vec<String> {
    let entries = list(policy, |code| (code.as_str() == "MO").then_some(MO)).unwrap();
    entries
        .iter()
        .map(|entry| {
            let yields = match entry.subject & exception::YIELDS {
                0 => "",
                _ => ", yields",
            };
            let subject = match entry.subject & !exception::YIELDS {
                exception::PREFIX_V4 => {
                    let address = std::net::Ipv4Addr::from((entry.network[0] >> 32) as u32);
                    format!("{address}/{}", entry.mask[0].count_ones())
                }
                exception::PREFIX_V6 => {
                    let bits = u128::from(entry.network[0]) << 64 | u128::from(entry.network[1]);
                    let length = entry.mask[0].count_ones() + entry.mask[1].count_ones();
                    format!("{}/{length}", std::net::Ipv6Addr::from(bits))
                }
                class => format!("class {class}"),
            };
            let port = match entry.service {
                0 => String::new(),
                service => format!(" {}:{}", service >> 16, service & 0xffff),
            };
            let gets = match (entry.gets, exception::class_and_action(entry.gets)) {
                (exception::NOTHING, _) => "nothing".to_owned(),
                (_, (class, action)) => format!("{} {action}", class.0),
            };
            format!("{subject}{port}: {gets}{yields}")
        })
        .collect()
}

#[test]
fn every_kind_of_exception_has_its_entry() {
    let port = |subject, port| Exception {
        service: Some(port),
        ..exception(subject, ALLOW)
    };
    let exceptions = vec![
        exception(mo(), Gets::Action(Action::Limit(3))),
        port(mo(), Port::Tcp(80)),
        exception(prefix("203.0.113.0/24"), DENY),
        port(prefix("203.0.113.0/24"), Port::Udp(53)),
        exception(prefix("2001:db8::/33"), ALLOW),
        exception(prefix("192.0.2.0/24"), Gets::Trust),
    ];
    assert_eq!(
        words(&policy("", exceptions)),
        [
            "192.0.2.0/24: 1 1",
            "2001:db8::/33: 2 1, yields",
            "203.0.113.0/24 17:53: 2 1, yields",
            "203.0.113.0/24: 3 0, yields",
            "class 77 6:80: 77 1",
            "class 77: 77 5",
        ]
    );
}

#[test]
fn longer_rules_inside_a_prefix_stay_what_they_are() {
    let rules = "[trusted]\nprefixes = [\"203.0.113.64/26\"]\n[rules]\n\
                 allow = [\"203.0.113.7/32\", \"198.51.100.0/24\", \"203.0.0.0/16\"]\n\
                 deny = [\"203.0.113.0/25\", \"203.0.113.0/24\"]\n";
    let exceptions = vec![
        exception(prefix("203.0.113.0/24"), ALLOW),
        // Inside it and longer than one of its holes.
        exception(prefix("203.0.113.0/28"), DENY),
    ];
    assert_eq!(
        words(&policy(rules, exceptions)),
        [
            "203.0.113.7/32: nothing",
            "203.0.113.0/28: 3 0",
            "203.0.113.64/26: nothing",
            "203.0.113.0/25: nothing",
            "203.0.113.0/24: 2 1",
        ]
    );
}

#[test]
fn prefix_that_no_rule_holds_yields_to_any_number_of_rules_inside_it() {
    let inside: Vec<String> = (0..200)
        .map(|last| format!("\"203.0.113.{last}\""))
        .collect();
    let rules = format!("[rules]\ndeny = [{}]\n", inside.join(", "));
    let exceptions = vec![exception(prefix("0.0.0.0/0"), ALLOW)];
    assert_eq!(
        words(&policy(&rules, exceptions)),
        ["0.0.0.0/0: 2 1, yields"]
    );
}

#[test]
fn trusted_prefixes_go_over_what_lies_inside_them_but_not_over_themselves() {
    let rules = "[trusted]\nprefixes = [\"203.0.113.0/24\"]\n";
    let inside = policy(rules, vec![exception(prefix("203.0.113.7/32"), DENY)]);
    assert_eq!(words(&inside), Vec::<String>::new());
    let same = policy(rules, vec![exception(prefix("203.0.113.0/24"), DENY)]);
    assert_eq!(words(&same), ["203.0.113.0/24: 3 0"]);
    // Trust goes over every rule, so it leaves no holes.
    let rules = "[rules]\ndeny = [\"203.0.113.7/32\"]\n";
    let trust = policy(
        rules,
        vec![exception(prefix("203.0.113.0/24"), Gets::Trust)],
    );
    assert_eq!(words(&trust), ["203.0.113.0/24: 1 1"]);
}

#[test]
fn list_that_is_full_is_taken_and_a_longer_one_refused() {
    let exceptions = |count: u8| {
        (0..count)
            .map(|last| exception(prefix(&format!("203.0.113.{last}/32")), DENY))
            .collect()
    };
    assert_eq!(words(&policy("", exceptions(64))).len(), 64);
    let error = list(&policy("", exceptions(65)), |_| None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the runtime rules that end or name a port need 65 entries with the rules inside their \
         prefixes; 64 are possible"
    );
}

#[test]
fn end_is_kept_and_bounded() {
    let ends = [None, Some(1_000), Some(u64::MAX)].map(|until_ns| {
        let rule = Exception {
            until_ns,
            ..exception(mo(), ALLOW)
        };
        list(&policy("", vec![rule]), |_| Some(MO)).unwrap()[0].until_ns
    });
    assert_eq!(ends, [exception::NO_END, 1_000, exception::NO_END]);
}

#[test]
fn entry_is_traced_back_to_its_rule() {
    let rule = |until_ns| Exception {
        until_ns,
        ..exception(prefix("203.0.113.0/24"), DENY)
    };
    let entry = list(&policy("", vec![rule(Some(5))]), |_| None).unwrap()[0];
    assert!(is_made_of(&entry, &rule(Some(9)), |_| None));
    let other = Exception {
        service: Some(Port::Tcp(80)),
        ..rule(Some(5))
    };
    assert!(!is_made_of(&entry, &other, |_| None));
}

/// Class and action of `address`, at `now_ns`.
fn decided(compiled: &CompiledPolicy, address: Address, now_ns: u64) -> (Class, u8) {
    let packet = Packet::new(address, address, 64, Transport::Other { protocol: 47 });
    compiled.class_and_action(&packet, now_ns).unwrap()
}

/// A prefix of a space so small that prefixes meet inside each other, and are the same now and then.
fn drawn_prefix(random: &mut fastrand::Rng) -> IpNetwork {
    let length = random.u8(4..=8);
    match random.bool() {
        true => {
            let bits = u32::from(random.u8(..) >> (8 - length) << (8 - length));
            IpNetwork::new((0xc633_6400 | bits).to_be_bytes().into(), 24 + length)
        }
        false => {
            let bits = u128::from(random.u8(..) >> (8 - length) << (8 - length));
            IpNetwork::new(
                (0x2001_0db8_u128 << 96 | bits).to_be_bytes().into(),
                120 + length,
            )
        }
    }
    .unwrap()
}

#[test]
fn live_exceptions_say_what_painted_rules_would_and_dead_ones_nothing() {
    const NOW: u64 = 1_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("database.csv");
    std::fs::write(
        &path,
        "198.51.100.0,198.51.100.99,MO\n198.51.100.120,198.51.100.255,CN\n2001:db8::,2001:db8::80,MO\n",
    )
    .unwrap();
    let database = geo::read_file(&path, &geo::ReadOptions::default()).unwrap();
    let base = policy("[policy.countries]\nMO = \"allow\"\n", Vec::new());
    let mut random = fastrand::Rng::with_seed(0xce2c0);
    for turn in 0..60 {
        let mut configured = base.clone();
        for _ in 0..random.usize(..6) {
            let prefix = drawn_prefix(&mut random);
            match random.u8(..3) {
                0 => configured.trusted.push(prefix),
                1 => configured.allow.push(prefix),
                _ => configured.deny.push(prefix),
            }
        }
        let mut painted = configured.clone();
        let mut excepted = configured.clone();
        let mut over = configured.clone();
        for _ in 0..random.usize(1..4) {
            let prefix = drawn_prefix(&mut random);
            let gets = *[ALLOW, DENY, Gets::Trust].get(random.usize(..3)).unwrap();
            if excepted
                .exceptions
                .iter()
                .any(|it| it.subject == Subject::Prefix(prefix))
            {
                continue;
            }
            for list in [&mut painted.trusted, &mut painted.allow, &mut painted.deny] {
                list.retain(|other| *other != prefix);
            }
            match gets {
                Gets::Trust => painted.trusted.push(prefix),
                Gets::Action(Action::Allow) => painted.allow.push(prefix),
                Gets::Action(_) => painted.deny.push(prefix),
            }
            let rule = |until_ns| Exception {
                until_ns: Some(until_ns),
                ..exception(Subject::Prefix(prefix), gets)
            };
            excepted.exceptions.push(rule(NOW + 1));
            over.exceptions.push(rule(NOW));
        }
        let [configured, painted, excepted, over] = [configured, painted, excepted, over]
            .map(|policy| compile(&policy, &database).unwrap());
        for last in 0..=255 {
            for address in [
                Address::v4([198, 51, 100, last]),
                Address::v6_from_words(0x2001_0db8 << 32, last.into()),
            ] {
                let [configured, painted, excepted, over] =
                    [&configured, &painted, &excepted, &over]
                        .map(|compiled| decided(compiled, address, NOW));
                assert_eq!(excepted, painted, "{address:?} in turn {turn}");
                assert_eq!(over, configured, "{address:?} in turn {turn}");
            }
        }
    }
}

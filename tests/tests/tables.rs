//! The compiled table against an oracle that is made from the database and the policy alone: every
//! boundary of the builtin database, and ten million random addresses.

use std::{collections::HashMap, net::IpAddr};

use filter_common::{
    country::{Class, CountryCode},
    packet::Address,
};
use filter_userspace::{
    compile::{CompiledPolicy, builtin_lines, compile, probable_lines},
    geo::{self, Database},
    policy::Policy,
};
use integration_tests::policies::{deny_all, prefixes};
use ipnetwork::IpNetwork;

const RANDOM_ADDRESSES: usize = 10_000_000;

const PRIVATE: [&str; 7] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// Prefixes of all lengths, nested, equal, at both ends of the space and inside countries.
fn policy() -> Policy {
    Policy {
        allow: prefixes(&[
            "0.0.0.0/32",
            "1.1.0.0/16",
            "8.8.8.8/32",
            "10.20.0.0/16",
            "100.0.0.0/7",
            "198.51.100.0/24",
            "223.255.255.128/25",
            "::/128",
            "2001:db8::/32",
            "2a00::/12",
            "2001:4860:4860::8888/128",
            "2a02:8000::/33",
        ]),
        deny: prefixes(&[
            "1.1.1.0/24",
            "1.1.1.1/32",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "255.255.255.255/32",
            "10.20.30.0/23",
            "2001:db8:1::/48",
            "2a00:1450::/29",
            "2a02:8000::/65",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
        ]),
        trusted: prefixes(&[
            "1.1.1.2/31",
            "192.0.2.0/24",
            "203.0.113.77/32",
            "255.255.255.254/31",
            "2001:db8:1:2::/64",
            "2001:db8:1:2:3:4:5:6/128",
            "2a00:1450:4001::/48",
        ]),
        ..deny_all()
    }
}

/// One family of the database with the classes of its countries, addresses left-aligned.
struct Ranges {
    ranges: Vec<(u128, u128, Class)>,
    /// The number of the first range that ends at or behind each value of the upper 16 bits.
    first_at: Vec<usize>,
}

impl Ranges {
    fn new(ranges: Vec<(u128, u128, Class)>) -> Self {
        let first_at = (0..1u128 << 16)
            .map(|top| ranges.partition_point(|(_, last, _)| *last < top << 112))
            .collect();
        Self { ranges, first_at }
    }

    fn class_of(&self, address: u128) -> Class {
        let from = self.first_at[(address >> 112) as usize];
        let to = self
            .first_at
            .get((address >> 112) as usize + 1)
            .map_or(self.ranges.len(), |next| (next + 1).min(self.ranges.len()));
        let near = &self.ranges[from..to];
        match near.get(near.partition_point(|(_, last, _)| *last < address)) {
            Some((first, _, class)) if *first <= address => *class,
            _ => Class::UNKNOWN,
        }
    }
}

struct Oracle {
    v4: Ranges,
    v6: Ranges,
    rules: Vec<(u128, u128, bool, u8, Class)>,
    trusted: Vec<(u128, u128, bool)>,
    private: Vec<(u128, u128, bool)>,
}

impl Oracle {
    fn new(policy: &Policy, database: &Database, compiled: &CompiledPolicy) -> Self {
        let classes: HashMap<CountryCode, Class> = compiled
            .countries
            .iter()
            .enumerate()
            .map(|(index, code)| (*code, Class(Class::FIRST_COUNTRY + index as u8)))
            .collect();
        let v4 = database.v4.iter().map(|range| {
            let first = u128::from(range.first) << 96;
            let last = (u128::from(range.last) << 96) + ((1 << 96) - 1);
            (first, last, classes[&range.country])
        });
        let v6 = database
            .v6
            .iter()
            .map(|range| (range.first, range.last, classes[&range.country]));
        let spans = |prefixes: &[IpNetwork]| prefixes.iter().map(span).collect();
        let rule = |class: Class| {
            move |prefix: &IpNetwork| {
                let (first, last, is_v4) = span(prefix);
                (first, last, is_v4, prefix.prefix(), class)
            }
        };
        Self {
            v4: Ranges::new(v4.collect()),
            v6: Ranges::new(v6.collect()),
            rules: (policy.allow.iter().map(rule(Class::RULE_ALLOW)))
                .chain(policy.deny.iter().map(rule(Class::RULE_DENY)))
                .collect(),
            trusted: spans(&policy.trusted),
            private: spans(&prefixes(&PRIVATE)),
        }
    }

    /// Trusted beats rules, rules beat private space, private space beats the database; the longest
    /// rule wins, and of two equal ones that which denies.
    fn class_of(&self, address: u128, is_v4: bool) -> Class {
        let holds = |list: &[(u128, u128, bool)]| {
            list.iter().any(|(first, last, family)| {
                *family == is_v4 && (*first..=*last).contains(&address)
            })
        };
        if holds(&self.trusted) {
            return Class::TRUSTED;
        }
        let mut best: Option<(u8, Class)> = None;
        for (first, last, family, prefix_len, class) in &self.rules {
            let is_better = best.is_none_or(|(best_len, _)| {
                *prefix_len > best_len || (*prefix_len == best_len && *class == Class::RULE_DENY)
            });
            if *family == is_v4 && (*first..=*last).contains(&address) && is_better {
                best = Some((*prefix_len, *class));
            }
        }
        if let Some((_, class)) = best {
            return class;
        }
        if holds(&self.private) {
            return Class::PRIVATE;
        }
        if is_v4 { &self.v4 } else { &self.v6 }.class_of(address)
    }
}

/// First and last address, left-aligned, and whether they are IPv4.
fn span(prefix: &IpNetwork) -> (u128, u128, bool) {
    let (start, bits, is_v4) = match prefix.ip() {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, prefix.prefix(), true),
        IpAddr::V6(v6) => (u128::from(v6), prefix.prefix(), false),
    };
    let size_less_one = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
    (start, start | size_less_one, is_v4)
}

/// Fails with the address when the table and the oracle differ.
fn check(compiled: &CompiledPolicy, oracle: &Oracle, aligned: u128, is_v4: bool) {
    let address = if is_v4 {
        Address::v4(((aligned >> 96) as u32).to_be_bytes())
    } else {
        Address::v6(aligned.to_be_bytes())
    };
    // IPv4 has no bits behind its 32.
    let aligned = if is_v4 { aligned >> 96 << 96 } else { aligned };
    assert_eq!(
        compiled.lookup(&address),
        Some(oracle.class_of(aligned, is_v4)),
        "{address:?}"
    );
}

#[test]
fn table_equals_the_linear_oracle_at_every_boundary_and_at_ten_million_random_addresses() {
    let database = geo::builtin().unwrap();
    let policy = policy();
    let compiled = compile(&policy, &database).unwrap();
    let oracle = Oracle::new(&policy, &database, &compiled);
    println!(
        "{} ranges + {} ranges in a table of {:.2} MiB",
        database.v4.len(),
        database.v6.len(),
        compiled.table_bytes() as f64 / f64::from(1 << 20),
    );
    assert!(database.v4.len() > 200_000 && database.v6.len() > 200_000);

    let one_v4 = 1u128 << 96;
    let rules = oracle.rules.iter().map(|rule| (rule.0, rule.1, rule.2));
    let spans: Vec<(u128, u128, bool)> = rules
        .chain(oracle.trusted.iter().copied())
        .chain(oracle.private.iter().copied())
        .chain(
            oracle
                .v4
                .ranges
                .iter()
                .map(|range| (range.0, range.1, true)),
        )
        .chain(
            oracle
                .v6
                .ranges
                .iter()
                .map(|range| (range.0, range.1, false)),
        )
        .collect();
    let mut boundaries = 0;
    for &(first, last, is_v4) in &spans {
        let step = if is_v4 { one_v4 } else { 1 };
        for edge in [first, last] {
            for address in [edge.wrapping_sub(step), edge, edge.wrapping_add(step)] {
                check(&compiled, &oracle, address, is_v4);
                boundaries += 1;
            }
        }
    }

    // Half of the addresses are uniform, half lie inside ranges, since most of IPv6 is empty.
    let mut random = fastrand::Rng::with_seed(0xce2c0);
    for round in 0..RANDOM_ADDRESSES {
        let (address, is_v4) = if round % 2 == 0 {
            (random.u128(..), round % 4 == 0)
        } else {
            let (first, last, is_v4) = spans[random.usize(..spans.len())];
            (random.u128(first..=last), is_v4)
        };
        check(&compiled, &oracle, address, is_v4);
    }
    println!("{boundaries} boundaries and {RANDOM_ADDRESSES} random addresses, 0 differences");
}

#[test]
fn same_input_compiles_to_the_same_lines() {
    let database = geo::builtin().unwrap();
    let (once, again) = (
        compile(&policy(), &database).unwrap(),
        compile(&policy(), &database).unwrap(),
    );
    assert!(once.lines == again.lines, "compile is not deterministic");
    assert!(once.policy.actions == again.policy.actions);
}

#[test]
fn probable_lines_hold_the_real_world_and_parts_of_it() {
    let whole = geo::builtin().unwrap();
    for part in [1, 7, 70, 700] {
        let mut database = whole.clone();
        database.v4 = database.v4.into_iter().step_by(part).collect();
        database.v6 = database.v6.into_iter().step_by(part).collect();
        for policy in [deny_all(), policy()] {
            let lines = compile(&policy, &database).unwrap().lines.len();
            let probable = probable_lines(&policy, &database);
            println!("1/{part}: {lines} lines, {probable} were probable");
            if part == 1 {
                let known = builtin_lines(&policy);
                assert!(known.abs_diff(probable) < probable / 20, "{known}");
            }
            // Room for the next database, and no more than a MiB and a third too much.
            assert!((lines * 11 / 10..lines * 4 / 3 + 16 * 1024).contains(&probable));
        }
    }
}

use super::*;
use crate::{
    config,
    geo::{ReadOptions, Source, read_bytes},
};

fn database(name: &str, text: &str) -> Database {
    let source = Source::File(name.into());
    read_bytes(text.as_bytes().to_vec(), source, &ReadOptions::default()).unwrap()
}

fn config() -> Config {
    let text = "interfaces = [\"eth0\"]\n[policy.countries]\nMO = \"allow\"\nPT = \"deny\"\n\
                [trusted]\nprefixes = [\"203.0.113.0/24\"]\n";
    let (config, _) = config::parse("cerco.toml".as_ref(), text).unwrap();
    config
}

fn sides() -> [Database; 2] {
    [
        database(
            "old.csv",
            "192.0.2.0/24,MO\n198.51.100.0/24,US\n203.0.113.0/24,MO\n2001:db8::/32,MO\n",
        ),
        database(
            "new.csv",
            "192.0.2.0/25,MO\n192.0.2.128/25,US\n198.51.100.0/25,MO\n203.0.113.0/24,CN\n\
             2001:db8::/33,MO\n",
        ),
    ]
}

#[test]
fn diff_reads_well_in_80_columns() {
    let [before, after] = sides();
    let mut diff = compare(&before, &after, &config());
    // Whoever is connected to the machine of this test.
    diff.sessions = vec![Flip {
        port: Some(443),
        ..Flip::of(
            "192.0.2.200".into(),
            (CountryCode::parse("MO"), CountryCode::parse("US")),
            |country| country == CountryCode::parse("MO"),
        )
    }];
    diff.doubts = vec!["MO loses 50 % of its IPv4 space".into()];
    diff.prefixes = Some(changed_prefixes(&before, &after, &config().policy, None));
    diff.more_countries = 3;
    let expected = "\
in force    old.csv, of unknown age; 3 IPv4 and 1 IPv6 networks
compared    new.csv, of unknown age; 4 IPv4 and 1 IPv6 networks
let in      128 IPv4 addresses, 0 IPv6 networks of /48
shut out    384 IPv4 addresses, 32,768 IPv6 networks of /48
connection  192.0.2.200 to port 443 would be cut off: MO -> US
trusted     203.0.113.0/24: MO -> CN, and passes all the same
refused     MO loses 50 % of its IPv4 space

country  action  IPv4  lost  gained  IPv6 /48    lost  gained
MO       allow    256  -384    +128     32.8k  -32.8k
US       deny     128  -256    +128         0
CN       deny     256          +256         0
and 3 more: see --all

192.0.2.128/25      MO -> US
198.51.100.0/25     US -> MO
198.51.100.128/25   US -> unknown
203.0.113.0/24      MO -> CN
2001:db8:8000::/33  MO -> unknown
";
    let text = render(&diff, &Output::plain());
    assert_eq!(text, expected);
    assert!(text.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn prefixes_of_one_country_are_those_that_it_gains_or_loses() {
    let [before, after] = sides();
    let of = |code| {
        let flips = changed_prefixes(&before, &after, &config().policy, CountryCode::parse(code));
        flips.into_iter().map(|flip| flip.what).collect::<Vec<_>>()
    };
    assert_eq!(of("CN"), ["203.0.113.0/24"]);
    assert_eq!(of("PT"), Vec::<String>::new());
    assert_eq!(of("US").len(), 3);
}

#[test]
fn nothing_differs_from_itself() {
    let [before, _] = sides();
    let mut diff = compare(&before, &before, &config());
    diff.cut_countries();
    assert_eq!(
        render(&diff, &Output::plain()),
        "\
in force    old.csv, of unknown age; 3 IPv4 and 1 IPv6 networks
compared    old.csv, of unknown age; 3 IPv4 and 1 IPv6 networks
let in      0 IPv4 addresses, 0 IPv6 networks of /48
shut out    0 IPv4 addresses, 0 IPv6 networks of /48
a reload    would take it
"
    );
}

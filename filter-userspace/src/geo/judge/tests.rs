use std::time::{Duration, UNIX_EPOCH};

use super::super::merge::Merger;
use super::super::mmdb_writer::{Writer, flat};
use super::super::{ReadOptions, Source, read_bytes};
use super::*;

fn code(text: &str) -> CountryCode {
    CountryCode::parse(text).unwrap()
}

const COUNTRIES: [&str; 4] = ["MO", "CN", "US", "FR"];

/// The date of [`world`], seconds since 1970.
const BUILT: u64 = 1_780_000_000;

/// 400 IPv4 networks of /16 from 1.0.0.0 on and as many IPv6 networks of /32 from 2001:: on, every
/// fourth of one country.
fn world() -> Database {
    read(&mmdb(|index| Some(COUNTRIES[index % 4])))
}

fn mmdb(country: impl Fn(usize) -> Option<&'static str>) -> Vec<u8> {
    mmdb_of(400, country)
}

fn mmdb_of(networks: usize, country: impl Fn(usize) -> Option<&'static str>) -> Vec<u8> {
    let mut writer = Writer::new(6, 24);
    for index in 0..networks {
        let Some(country) = country(index) else {
            continue;
        };
        let [a, b] = (0x0100 + index as u16).to_be_bytes();
        writer.insert_v4([a, b, 0, 0], 16, &flat(country));
        writer.insert((0x2001_0000 + index as u128) << 96, 32, &flat(country));
    }
    writer.finish()
}

fn read(bytes: &[u8]) -> Database {
    let source = Source::File("db".into());
    read_bytes(bytes.to_vec(), source, &ReadOptions::default()).unwrap()
}

fn later(mut database: Database, days: u64) -> Database {
    let built = UNIX_EPOCH + Duration::from_secs(BUILT + days * 86_400);
    database.info.build_time = Some(built);
    database
}

fn texts(doubts: &[Doubt]) -> Vec<String> {
    doubts.iter().map(ToString::to_string).collect()
}

/// What [`judge`] says about `after` in the place of [`world`], for a policy that names MO and CN.
fn against_the_world(after: &Database) -> Vec<Doubt> {
    let expected = Expected {
        countries: &[code("CN"), code("MO")],
        ..Expected::default()
    };
    judge(Some(&world()), after, &expected)
}

#[test]
fn next_edition_with_small_changes_is_trusted() {
    let cases: [(&str, Vec<u8>); 5] = [
        (
            "MO gets much that nobody had",
            mmdb_of(460, |index| {
                Some(if index < 400 {
                    COUNTRIES[index % 4]
                } else {
                    "MO"
                })
            }),
        ),
        ("nothing", mmdb(|index| Some(COUNTRIES[index % 4]))),
        (
            "a tenth of US to FR",
            mmdb(|index| {
                Some(if index % 40 == 2 {
                    "FR"
                } else {
                    COUNTRIES[index % 4]
                })
            }),
        ),
        (
            "a fifth of MO to nobody",
            mmdb(|index| (index % 20 != 4).then_some(COUNTRIES[index % 4])),
        ),
        (
            "a fifth of what MO had comes from US",
            mmdb(|index| {
                Some(if index % 20 == 2 {
                    "MO"
                } else {
                    COUNTRIES[index % 4]
                })
            }),
        ),
    ];
    for (name, bytes) in cases {
        let doubts = against_the_world(&later(read(&bytes), 30));
        assert_eq!(texts(&doubts), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn each_kind_of_wrong_database_is_doubted_by_name() {
    use UpdateFailure::*;
    type Case = (
        &'static str,
        fn(usize) -> Option<&'static str>,
        &'static [UpdateFailure],
        &'static str,
    );
    let cases: &[Case] = &[
        (
            "half of it",
            |index| (index < 200).then_some(COUNTRIES[index % 4]),
            &[Networks, Space, Networks, Space, CutOff, CutOff] as &[UpdateFailure],
            "no IPv4 network lies behind 1.199.255.255, where the last good one has 200: is the \
             file cut off?",
        ),
        (
            "every other network",
            |index| (index % 8 < 4 || index > 390).then_some(COUNTRIES[index % 4]),
            &[Networks, Space, Networks, Space],
            "205 IPv4 networks instead of 400",
        ),
        (
            "one network",
            |index| (index == 399).then_some("FR"),
            &[Networks, Space, Networks, Space, CountryGone, CountryGone],
            "1 IPv4 networks instead of 400",
        ),
        (
            "countries turned round",
            |index| Some(COUNTRIES[3 - index % 4]),
            &[Reassigned, Reassigned],
            "100 % of the known IPv4 space changes its country",
        ),
        (
            "MO loses half to US",
            |index| {
                Some(if index % 8 == 4 {
                    "US"
                } else {
                    COUNTRIES[index % 4]
                })
            },
            &[],
            "MO loses 50 % of its IPv4 space",
        ),
        (
            "MO takes half of US",
            |index| {
                Some(if index % 8 == 6 {
                    "MO"
                } else {
                    COUNTRIES[index % 4]
                })
            },
            &[],
            "MO takes IPv4 space from other countries, 50 % of what it had",
        ),
        (
            "MO is gone",
            |index| Some(COUNTRIES[index % 4]).map(|it| if it == "MO" { "FR" } else { it }),
            &[Reassigned, Reassigned, CountryGone],
            "no network is in MO, which the policy names",
        ),
    ];
    for (name, country, sizes, words) in cases {
        let doubts = against_the_world(&later(read(&mmdb(country)), 30));
        let texts = texts(&doubts);
        assert!(texts.iter().any(|text| text == words), "{name}: {texts:?}");
        let about_sizes: Vec<_> = doubts
            .iter()
            .map(Doubt::failure)
            .filter(|failure| *failure != CountrySpace)
            .collect();
        assert_eq!(about_sizes, *sizes, "{name}: {texts:?}");
    }
}

#[test]
fn dates_must_not_go_back_and_one_date_has_one_content() {
    let world = world();
    let older = read(&mmdb(|index| Some(COUNTRIES[index % 4])));
    let mut older = later(older, 0);
    older.info.build_time = Some(UNIX_EPOCH + Duration::from_secs(BUILT - 1));
    assert_eq!(
        texts(&against_the_world(&older)),
        ["it is older (2026-05-28T20:26:39Z) than the last good one (2026-05-28T20:26:40Z)"]
    );
    let same_date = read(&mmdb(|index| {
        Some(if index == 7 {
            "US"
        } else {
            COUNTRIES[index % 4]
        })
    }));
    assert_eq!(same_date.info.build_time, world.info.build_time);
    let doubts = against_the_world(&same_date);
    assert_eq!(doubts.len(), 1, "{doubts:?}");
    assert_eq!(doubts[0].failure(), UpdateFailure::SameDate);
    // Without dates nothing can be said about them.
    let mut undated = same_date.clone();
    undated.info.build_time = None;
    assert_eq!(against_the_world(&undated), []);
}

/// The last row of what looks fine and is not. A flip changes the date of the file by nothing, so
/// that all of those that can be read are found; in a file of another date those that change much.
#[test]
fn every_flipped_bit_of_a_tree_is_refused_and_in_a_newer_file_every_large_change() {
    let bytes = mmdb(|index| Some(COUNTRIES[index % 4]));
    let world = world();
    let tree_len = bytes
        .windows(16)
        .position(|window| window == [0; 16])
        .unwrap();
    let (mut read_well, mut trusted_when_newer) = (0, 0);
    for bit in (0..tree_len * 8).step_by(5) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let source = Source::File("db".into());
        let Ok(database) = read_bytes(flipped, source, &ReadOptions::default()) else {
            continue;
        };
        let comparison = Comparison::of(&world, &database);
        if comparison.changed_countries().is_empty() {
            continue;
        }
        read_well += 1;
        let doubts = against_the_world(&database);
        assert!(!doubts.is_empty(), "bit {bit}");
        if against_the_world(&later(database, 30)).is_empty() {
            trusted_when_newer += 1;
            for (family, space) in [("IPv4", comparison.v4), ("IPv6", comparison.v6)] {
                let moved = space.reassigned + space.all.lost;
                assert!(moved <= space.all.before * 2 / 5, "bit {bit}, {family}");
            }
        }
    }
    println!("{read_well} flips passed verify(), {trusted_when_newer} of them under a newer date");
    assert!(read_well > 100, "{read_well}");
}

#[test]
fn text_that_is_cut_off_anywhere_is_doubted() {
    let mut text = String::new();
    for index in 0..400_u32 {
        let country = COUNTRIES[index as usize % 4];
        let [a, b] = (0x0100 + index as u16).to_be_bytes();
        text += &format!("{a}.{b}.0.0,{a}.{b}.255.255,{country},name\n");
    }
    let before = read(text.as_bytes());
    for len in 1..text.len() {
        let source = Source::File("db".into());
        let cut = text.as_bytes()[..len].to_vec();
        if let Ok(after) = read_bytes(cut, source, &ReadOptions::default()) {
            let doubts = judge(Some(&before), &after, &Expected::default());
            assert!(!doubts.is_empty(), "{len} of {}", text.len());
        }
    }
    assert_eq!(judge(Some(&before), &before, &Expected::default()), []);
}

#[test]
fn what_is_written_by_hand_may_change_as_its_writer_likes() {
    let list = |text: &str| read(text.as_bytes());
    let before = list("192.0.2.0/24,MO\n198.51.100.0/24,CN\n203.0.113.0/24,US\n");
    let after = list("10.0.0.0/8,MO\n192.0.2.0/24,US\n");
    let expected = Expected {
        countries: &[code("MO"), code("US")],
        ..Expected::default()
    };
    assert_eq!(judge(Some(&before), &after, &expected), []);
    // But not lose a country that the policy names.
    let expected = Expected {
        countries: &[code("CN"), code("FR")],
        ..Expected::default()
    };
    let doubts = judge(Some(&before), &after, &expected);
    assert_eq!(
        texts(&doubts),
        ["no network is in CN, which the policy names"]
    );
}

#[test]
fn first_database_must_know_the_named_countries() {
    let expected = Expected {
        countries: &[code("MO"), code("DE")],
        ..Expected::default()
    };
    let doubts = judge(None, &world(), &expected);
    assert_eq!(
        texts(&doubts),
        ["no network is in DE, which the policy names"]
    );
}

#[test]
fn canaries_must_sing_also_without_a_last_good_one() {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let canaries = [
        (address("1.0.0.1"), code("MO")),
        (address("2001:1::1"), code("CN")),
        (address("1.2.0.1"), code("MO")),
        (address("9.9.9.9"), code("US")),
    ];
    let expected = Expected {
        canaries: &canaries,
        ..Expected::default()
    };
    for before in [None, Some(world())] {
        let doubts = judge(before.as_ref(), &world(), &expected);
        assert_eq!(
            texts(&doubts),
            [
                "1.2.0.1 is US, but [geo.canaries] says MO",
                "9.9.9.9 is unknown, but [geo.canaries] says US",
            ]
        );
        assert_eq!(doubts[0].failure(), UpdateFailure::Canary);
    }
}

#[test]
fn session_is_cut_off_only_where_it_was_let_in_before() {
    let sessions = ["1.0.0.1", "1.1.0.1", "1.4.0.1"].map(|text| text.parse().unwrap());
    let allowed = |country: Option<CountryCode>| country == Some(code("MO"));
    let expected = Expected {
        sessions: &sessions,
        allowed: &allowed,
        ..Expected::default()
    };
    // 1.0.0.0/16 goes from MO to nobody, 1.1.0.0/16 was CN before and is, 1.4.0.0/16 stays MO.
    let after = read(&mmdb(|index| (index > 0).then_some(COUNTRIES[index % 4])));
    let doubts = judge(Some(&world()), &later(after, 30), &expected);
    assert_eq!(
        texts(&doubts),
        ["it would cut off the SSH session from 1.0.0.1 (MO until now, then unknown)"]
    );
}

/// The real world, and what a month may do to it.
#[test]
fn world_is_trusted_after_itself_and_not_after_a_tenth_is_missing_at_the_end() {
    let world = super::super::builtin().unwrap();
    let expected = Expected {
        countries: &[code("CN"), code("MO")],
        ..Expected::default()
    };
    assert_eq!(judge(Some(&world), &world, &expected), []);
    let mut cut = world.clone();
    cut.v6.truncate(cut.v6.len() * 9 / 10);
    let doubts = judge(Some(&world), &cut, &expected);
    assert!(
        doubts
            .iter()
            .any(|doubt| doubt.failure() == UpdateFailure::CutOff),
        "{doubts:?}"
    );
    let mut empty = world.clone();
    empty.v4 = Merger::new().finish();
    let doubts = texts(&judge(Some(&world), &empty, &expected));
    let words = "no IPv4 network is left, where the last good one has 355800: is the file cut off?";
    assert!(doubts.iter().any(|doubt| doubt == words), "{doubts:?}");
}

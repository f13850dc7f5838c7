//! Every frame is counted once and judged by one policy, whatever changes meanwhile.

use integration_tests::{
    frames::{Extension, Frame, Network, TPID_CUSTOMER, Transport, VlanTag},
    guarded::{ELSEWHERE, Guarded, LINK, Visitor, toml_prefixes},
    places::{self, Family, address_in},
    poll,
    raw::Backpressure,
    tap::{Count, Tap},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

const PORT: u16 = 7;
/// Frames handed over in one system call.
const BATCH: usize = 120;
/// A flood that lasts longer has something wrong with it.
const FLOOD_LIMIT: Duration = Duration::from_secs(180);

fn config(rules: &str) -> String {
    format!(
        "mode = \"enforce\"\nattach = \"native\"\n\
         [policy]\ndefault = \"deny\"\nunknown = \"deny\"\nprivate = \"deny\"\n\
         [policy.countries]\nMO = \"allow\"\nPT = \"allow\"\nJP = \"allow\"\nBR = \"allow\"\n{rules}"
    )
}

/// One frame for each of many reasons, in both families, and the reason.
fn one_of_each(net: &Guarded) -> Vec<(Vec<u8>, &'static str)> {
    let mut frames = Vec::new();
    for family in Family::BOTH {
        let resident = address_in("MO", family, 10, 0);
        let mut bad_udp = net.udp_frame(resident, PORT, b"").bytes();
        let len = bad_udp.len();
        bad_udp[len - 4..len - 2].copy_from_slice(&7_u16.to_be_bytes());
        let mut too_many_tags = net.udp_frame(resident, PORT, b"");
        too_many_tags.vlan_tags = vec![
            VlanTag {
                tpid: TPID_CUSTOMER,
                control: 1
            };
            3
        ];
        let cut = net.udp_frame(resident, PORT, b"").bytes();
        let udp = |source| net.udp_frame(source, PORT, b"some text").bytes();
        let (cut_reason, essential) = match family {
            Family::V4 => (
                "bad_ipv4_total_len",
                Transport::Raw {
                    protocol: 1,
                    bytes: [&[3, 4], [0; 34].as_slice()].concat(),
                },
            ),
            Family::V6 => (
                "bad_ipv6_payload_len",
                Transport::Raw {
                    protocol: 58,
                    bytes: [&[2, 0], [0; 46].as_slice()].concat(),
                },
            ),
        };
        frames.extend([
            (udp(resident), "allowed"),
            (udp(address_in("DE", family, 10, 0)), "country_denied"),
            (udp(places::unknown_address(family)), "unknown_denied"),
            (udp(places::private_address(family)), "private_denied"),
            (udp(address_in("MO", family, 10, 1)), "rule_denied"),
            (udp(address_in("DE", family, 10, 1)), "rule_allowed"),
            (udp(address_in("DE", family, 10, 2)), "trusted"),
            (udp(address_in("MO", family, 10, 2)), "banned"),
            (net.frame(resident, essential).bytes(), "essential"),
            (bad_udp, "bad_udp_len"),
            (too_many_tags.bytes(), "too_many_vlan_tags"),
            (cut[..cut.len() - 1].to_vec(), cut_reason),
        ]);
    }
    let (visitor, _) = net.macs();
    frames.push((
        [&ELSEWHERE.0, &visitor.0, [0x88, 0xcc].as_slice(), &[0; 46]].concat(),
        "not_ip",
    ));
    for (frame, _) in &mut frames {
        frame[..6].copy_from_slice(&ELSEWHERE.0);
    }
    frames
}

#[test]
fn a_million_frames_are_counted_once_each_while_everything_changes() {
    const FRAMES: u64 = 1_000_000;
    const CHANGES: u32 = 10;
    let lists = |who: fn(Family) -> IpAddr| toml_prefixes(&Family::BOTH.map(who));
    let rules = format!(
        "[trusted]\nprefixes = [{}]\n[rules]\nallow = [{}]\ndeny = [{}]\n",
        lists(|family| address_in("DE", family, 10, 2)),
        lists(|family| address_in("DE", family, 10, 1)),
        lists(|family| address_in("MO", family, 10, 1)),
    );
    let net = Guarded::start(Visitor::Mute, 1500, &config(&rules));
    for family in Family::BOTH {
        let banned = address_in("MO", family, 10, 2).to_string();
        net.cerco.cli(&["ban", &banned, "--for", "1h"]).unwrap();
    }
    let kinds = one_of_each(&net);
    let frames: Vec<&[u8]> = kinds
        .iter()
        .map(|(frame, _)| frame.as_slice())
        .cycle()
        .take(kinds.len() * (BATCH / kinds.len()))
        .collect();
    let per_batch = (frames.len() / kinds.len()) as u64;

    let sender = net.sender();
    let (stop, reloads, toggles) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let start = Instant::now();
    let batches = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                net.cerco.cli(&["reload"]).unwrap();
                reloads.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                net.cerco.cli(&["observe"]).unwrap();
                net.cerco.cli(&["enforce", "--yes", "--force"]).unwrap();
                toggles.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut batches: u64 = 0;
        let enough = |batches| {
            batches * frames.len() as u64 >= FRAMES
                && reloads.load(Ordering::Relaxed) >= CHANGES
                && toggles.load(Ordering::Relaxed) >= CHANGES
        };
        while !enough(batches) && start.elapsed() < FLOOD_LIMIT {
            sender
                .send_all(&frames, &mut Backpressure::default())
                .unwrap();
            batches += 1;
        }
        stop.store(true, Ordering::Relaxed);
        batches
    });

    let sent = batches * frames.len() as u64;
    println!("{sent} frames, {reloads:?} reloads, {toggles:?} times to and fro");
    assert!(sent >= FRAMES, "only {sent} frames in {FLOOD_LIMIT:?}");
    for changes in [&reloads, &toggles] {
        assert!(changes.load(Ordering::Relaxed) >= CHANGES);
    }
    poll::until("count all frames", Duration::from_secs(10), || {
        (net.counts().total_packets() >= sent).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: sent {sent}, counted {:?}", net.counts()));
    let counts = net.counts();
    assert_eq!(counts.total_packets(), sent, "{counts:?}");
    // In enforce mode and in observe mode, together: which frame met which mode is chance.
    let mut expected: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (frame, reason) in &kinds {
        let (packets, bytes) = expected.entry(reason).or_default();
        *packets += batches * per_batch;
        *bytes += batches * per_batch * frame.len() as u64;
    }
    for (reason, (packets, bytes)) in &expected {
        let would = format!("would {reason}");
        let counted = (
            counts.packets(reason) + counts.packets(&would),
            counts.bytes(reason) + counts.bytes(&would),
        );
        assert_eq!(counted, (*packets, *bytes), "{reason}");
        let is_drop =
            !["allowed", "rule_allowed", "trusted", "essential", "not_ip"].contains(reason);
        assert_eq!(
            counts.packets(&would) > 0,
            is_drop,
            "{reason} in observe mode"
        );
        assert!(counts.packets(reason) > 0, "{reason} in enforce mode");
    }

    // What has a source address and got as far as the policy is counted by country as well.
    let each = batches * per_batch;
    let by_class = BTreeMap::from([
        // Allowed and banned, in both families.
        ("MO", 4 * each),
        ("DE", 2 * each),
        ("private", 2 * each),
        ("rule_allow", 2 * each),
        ("rule_deny", 2 * each),
        ("trusted", 2 * each),
        ("unknown", 2 * each),
    ]);
    let answer = net.cerco.cli(&["countries", "--json"]).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let counted: BTreeMap<&str, u64> = answer["countries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let outcomes = ["passed_packets", "dropped_packets", "would_drop_packets"];
            let packets = outcomes.map(|outcome| row[outcome].as_u64().unwrap());
            (row["class"].as_str().unwrap(), packets.iter().sum())
        })
        .filter(|(_, packets)| *packets > 0)
        .collect();
    assert_eq!(counted, by_class);
}

/// Extension headers put the address behind more of the program's work; they must not matter.
fn with_extension(mut frame: Frame) -> Frame {
    if let Network::V6 { extensions, .. } = &mut frame.network {
        extensions.push(Extension::options(60, 0));
    }
    frame
}

#[test]
fn no_frame_meets_a_half_written_policy() {
    const RELOADS: u32 = 50;
    /// Sources in each family that are let in, and as many that are not.
    const SOURCES: u32 = 8;
    // The second policy denies prefixes of other countries, so that every line of the table behind
    // them moves; the sources of the flood are judged alike by both.
    let others: Vec<IpAddr> = ["GB", "SE", "NL", "IT", "ES", "PL", "US", "CA", "AU", "NZ"]
        .iter()
        .flat_map(|country| {
            Family::BOTH.into_iter().flat_map(move |family| {
                (0..200).map(move |index| address_in(country, family, 256, index))
            })
        })
        .collect();
    let policies = [
        config(""),
        config(&format!("[rules]\ndeny = [{}]\n", toml_prefixes(&others))),
    ];
    let net = Guarded::start(Visitor::Mute, 1500, &policies[0]);
    let sources = |countries: [&str; 4]| -> BTreeSet<IpAddr> {
        countries
            .iter()
            .flat_map(|country| {
                Family::BOTH.into_iter().flat_map(move |family| {
                    (0..SOURCES / 4).map(move |index| address_in(country, family, 4, index))
                })
            })
            .collect()
    };
    let (allowed, denied) = (
        sources(["MO", "PT", "JP", "BR"]),
        sources(["DE", "FR", "CZ", "MX"]),
    );
    let mut allowed_tap = Tap::open(&net.host, LINK, &Count::From(&allowed)).unwrap();
    let mut denied_tap = Tap::open(&net.host, LINK, &Count::From(&denied)).unwrap();
    let frames: Vec<Vec<u8>> = allowed
        .iter()
        .zip(&denied)
        .flat_map(|(allowed, denied)| [*allowed, *denied])
        .map(|source| {
            let mut frame = with_extension(net.udp_frame(source, PORT, b""));
            frame.destination = ELSEWHERE;
            frame.bytes()
        })
        .collect();
    let batch: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();

    let sender = net.sender();
    let reloads = AtomicU32::new(0);
    let start = Instant::now();
    let batches = thread::scope(|scope| {
        let reloader = scope.spawn(|| {
            for policy in policies.iter().cycle().skip(1).take(RELOADS as usize) {
                net.reload(policy);
                reloads.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut batches: u64 = 0;
        while !reloader.is_finished() && start.elapsed() < FLOOD_LIMIT {
            sender
                .send_all(&batch, &mut Backpressure::default())
                .unwrap();
            batches += 1;
        }
        batches
    });
    assert_eq!(reloads.load(Ordering::Relaxed), RELOADS);
    let each = batches * allowed.len() as u64;
    println!(
        "{} frames over {RELOADS} reloads in {:?}",
        2 * each,
        start.elapsed()
    );
    poll::until("count all frames", Duration::from_secs(10), || {
        (net.counts().total_packets() >= 2 * each).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", net.counts()));
    assert_eq!(
        net.counts().by_reason(),
        [("allowed", each), ("country_denied", each)].into()
    );
    assert_eq!(
        allowed_tap.total().unwrap(),
        each,
        "allowed frames at the host"
    );
    assert_eq!(denied_tap.total().unwrap(), 0, "denied frames at the host");
}

//! Bans: how far they reach, and that they end without anybody's help.

use integration_tests::{
    guarded::{Guarded, LINK, Visitor, only},
    places::{Family, address_in},
    poll,
    raw::RawSocket,
    site::ended,
    tap::{Count, Tap},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

const PORT: u16 = 7;

const CONFIG: &str = "mode = \"enforce\"\nattach = \"native\"\n\
                      [policy]\ndefault = \"deny\"\nunknown = \"deny\"\n\
                      [policy.countries]\nMO = \"allow\"\n";

/// Sends one frame and says under which reason it was counted.
fn fate(net: &Guarded, sender: &RawSocket, source: IpAddr) -> String {
    let before = net.counts();
    sender
        .send(&net.udp_frame(source, PORT, b"").bytes())
        .unwrap();
    poll::until("count a frame", Duration::from_secs(5), || {
        let delta = net.counts().since(&before);
        delta
            .by_reason()
            .keys()
            .next()
            .map(|name| (*name).to_owned())
    })
    .unwrap()
}

const DURATION: Duration = Duration::from_secs(8);

/// A ban of [`DURATION`], which began at some moment between the two instants.
struct WatchedBan {
    source: IpAddr,
    tap: Tap,
    not_before: Instant,
    not_after: Instant,
    /// How many frames it has kept out.
    seen_banned: u32,
}

impl WatchedBan {
    /// Sends a frame. Its fate must fit the time, however slow this machine is at the moment.
    fn is_over(&mut self, net: &Guarded, sender: &RawSocket) -> bool {
        let (source, sent) = (self.source, Instant::now());
        let fate = fate(net, sender, source);
        if fate == "banned" {
            let age = sent.duration_since(self.not_after);
            assert!(age <= DURATION, "{source}: still banned after {age:?}");
            let let_in = self.tap.total().unwrap();
            assert_eq!(let_in, 0, "{source}: let in while banned");
            self.seen_banned += 1;
            return false;
        }
        assert_eq!(fate, "allowed", "{source}");
        let age = self.not_before.elapsed();
        assert!(age >= DURATION, "{source}: banned for {age:?} only");
        true
    }
}

#[test]
fn ban_ends_by_itself_while_no_daemon_runs() {
    let mut net = Guarded::start(Visitor::Mute, 1500, CONFIG);
    let sender = net.sender();
    let residents = Family::BOTH.map(|family| address_in("MO", family, 10, 0));
    let long_banned = Family::BOTH.map(|family| address_in("MO", family, 10, 1));
    let strangers = Family::BOTH.map(|family| address_in("DE", family, 10, 0));
    for source in long_banned {
        net.cerco
            .cli(&["ban", &source.to_string(), "--for", "1h"])
            .unwrap();
    }
    let mut bans = residents.map(|source| {
        let tap = Tap::open(&net.host, LINK, &Count::From(&only(source))).unwrap();
        let not_before = Instant::now();
        net.cerco
            .cli(&[
                "ban",
                &source.to_string(),
                "--for",
                &format!("{}s", DURATION.as_secs()),
            ])
            .unwrap();
        WatchedBan {
            source,
            tap,
            not_before,
            not_after: Instant::now(),
            seen_banned: 0,
        }
    });
    net.cerco.kill().unwrap();
    poll::until("see both bans end", Duration::from_secs(30), || {
        let over = bans.each_mut().map(|ban| ban.is_over(&net, &sender));
        (over == [true, true]).then_some(())
    })
    .unwrap();
    for mut ban in bans {
        let source = ban.source;
        assert!(ban.seen_banned > 0, "{source}: over at first sight");
        assert!(ban.tap.total().unwrap() > 0, "{source} gets in again");
    }
    // The rest of the gate stands as it stood.
    assert_eq!(net.cerco.pid(), None);
    for (stranger, banned) in strangers.into_iter().zip(long_banned) {
        assert_eq!(fate(&net, &sender, stranger), "country_denied");
        assert_eq!(fate(&net, &sender, banned), "banned");
    }
    let flood: Vec<Vec<u8>> = (0..1_000)
        .map(|index| {
            let source = if index % 2 == 0 {
                strangers[0]
            } else {
                residents[1]
            };
            net.udp_frame(source, PORT, b"").bytes()
        })
        .collect();
    let expected = [("allowed", 500), ("country_denied", 500)];
    net.assert_counts("with the daemon dead", &sender, &flood, &expected);
}

#[test]
fn ban_of_a_prefix_covers_it_exactly_and_can_be_lifted() {
    let net = Guarded::start(Visitor::Mute, 1500, CONFIG);
    let sender = net.sender();
    // The /25 and /49 of an address, and its twin in the other half of the prefix above.
    let twins = |family| -> (String, IpAddr, IpAddr, String) {
        match address_in("MO", family, 10, 3) {
            IpAddr::V4(address) => {
                let bits = address.to_bits();
                let prefix = |bits: u32| format!("{}/25", Ipv4Addr::from_bits(bits));
                (
                    prefix(bits & !0x7f),
                    address.into(),
                    Ipv4Addr::from_bits(bits ^ 0x80).into(),
                    format!("{}/24", Ipv4Addr::from_bits(bits & !0xff)),
                )
            }
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                let network = |len: u32| {
                    let kept = bits >> (128 - len) << (128 - len);
                    format!("{}/{len}", Ipv6Addr::from_bits(kept))
                };
                (
                    network(49),
                    address.into(),
                    Ipv6Addr::from_bits(bits ^ 1 << (128 - 49)).into(),
                    network(48),
                )
            }
        }
    };
    for family in Family::BOTH {
        let (narrow, inside, outside, wide) = twins(family);
        let fates = || (fate(&net, &sender, inside), fate(&net, &sender, outside));
        let both = |inside: &str, outside: &str| (inside.to_owned(), outside.to_owned());
        assert_eq!(fates(), both("allowed", "allowed"), "{family:?}");
        net.cerco.cli(&["ban", &narrow, "--for", "1h"]).unwrap();
        assert_eq!(fates(), both("banned", "allowed"), "{narrow}");
        net.cerco.cli(&["ban", &wide, "--for", "1h"]).unwrap();
        assert_eq!(fates(), both("banned", "banned"), "{narrow} and {wide}");
        net.cerco.cli(&["unban", &narrow]).unwrap();
        assert_eq!(fates(), both("banned", "banned"), "{wide}");
        net.cerco.cli(&["unban", &wide]).unwrap();
        assert_eq!(fates(), both("allowed", "allowed"), "{family:?}: lifted");
    }
}

#[test]
fn file_of_prefixes_is_banned_whole_or_not_at_all() {
    let net = Guarded::start(Visitor::Mute, 1500, CONFIG);
    let sender = net.sender();
    let [v4, v6] = Family::BOTH.map(|family| address_in("MO", family, 10, 5));
    let file = net.cerco.state().join("list.txt");
    let ban = |list: &str, peer: &str| {
        std::fs::write(&file, list).unwrap();
        let path = file.to_str().unwrap();
        let mut command = net
            .cerco
            .cli_command(&["ban", "--file", path, "--for", "1h"]);
        ended(command.env("SSH_CONNECTION", peer))
    };
    let fates = || [v4, v6].map(|source| fate(&net, &sender, source));

    let nine_lengths: String = (16..25).map(|len| format!("9.0.0.0/{len}\n")).collect();
    let ssh = format!("{v4} 50000 203.0.113.10 22");
    let refused = [
        (
            "a typing error",
            format!("{v4}\n{v6}\n192.0.2.1/24\n"),
            "",
            "list.txt:3: \"192.0.2.1/24\" has bits behind its prefix length",
        ),
        (
            "a length too many",
            format!("{v4}\n{v6}\n{nine_lengths}"),
            "",
            "bans of IPv4 have 8 prefix lengths already",
        ),
        (
            "the SSH session",
            format!("{v6}\n{v4}\n"),
            &ssh,
            "would lock out your SSH session",
        ),
    ];
    for (name, list, peer, expected) in refused {
        let ended = ban(&list, peer);
        assert_ne!(ended.code, 0, "{name}");
        assert!(ended.stderr.contains(expected), "{name}: {ended:?}");
        assert_eq!(fates(), ["allowed", "allowed"], "{name}");
        assert_eq!(net.cerco.json(&["status"])["bans"], 0, "{name}");
    }
    // More than one system call gives back, and the same prefix twice.
    let many: String = (0..10_000)
        .map(|host| format!("9.1.{}.{}\n", host / 256, host % 256))
        .collect();
    let list = format!("# mine\n{v4} ; why\n{v6}\n{v4}\n\n{many}");
    let ended = ban(&list, "");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stdout.contains("10003 prefixes: in force for 1h"),
        "{ended:?}"
    );
    assert_eq!(fates(), ["banned", "banned"]);
    let bans = net.cerco.json(&["bans"]);
    assert_eq!(bans["bans"].as_array().unwrap().len(), 10_002);
    assert_eq!(net.cerco.json(&["status"])["bans"], 10_002);
    // The lengths that were tried above are free again: seven beside those of the addresses.
    let seven_lengths: String = (16..23).map(|len| format!("9.0.0.0/{len}\n")).collect();
    let ended = ban(&seven_lengths, "");
    assert_eq!(ended.code, 0, "{ended:?}");
}

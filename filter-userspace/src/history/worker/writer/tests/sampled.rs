//! What events tell.

use super::*;

#[test]
fn sketches_of_several_runs_are_one_answer() {
    let place = Place::new();
    let sighting = |source: [u8; 4], port, stands_for| Sighting {
        interface: "eth0".to_owned(),
        would_drop: false,
        reason: if port == 80 {
            "banned"
        } else {
            "country_denied"
        }
        .to_owned(),
        cpu: 0,
        class: Some(if port == 80 { "US" } else { "JP" }.to_owned()),
        packet: Some(SeenPacket {
            source: source.into(),
            protocol: 6,
            port: Some(port),
        }),
        stands_for,
    };
    for run in 0..3_u8 {
        let now = DAWN + u64::from(run) * 1500;
        let mut writer = place.run(now);
        let mut seen = vec![sighting([203, 0, 113, 1], 80, 100)];
        seen.extend((0..50).map(|host| sighting([10, run, 0, host], 443, 2)));
        writer.see(seen, now);
        writer.flush(now);
    }
    let mut writer = place.run(DAWN + 4000);
    let asked = query(DAWN, Step::Hour);
    let history = writer.answer(&asked, DAWN + 4000).unwrap();
    let sampled = &history.sampled;
    assert_eq!((sampled.events, sampled.frames), (153, 600));
    assert_eq!(sampled.sources[0].source, "203.0.113.1");
    assert_eq!(
        (sampled.sources[0].at_least, sampled.sources[0].at_most),
        (3, 300)
    );
    // As many frames, of which more were seen.
    let ports: Vec<(&str, u64, u64)> = sampled
        .ports
        .iter()
        .map(|it| (it.port.as_str(), it.at_least, it.at_most))
        .collect();
    assert_eq!(ports, [("443/tcp", 150, 300), ("80/tcp", 3, 300)]);
    assert_eq!(sampled.other_ports_at_most, 0);
    let distinct = sampled.distinct_sources.unwrap();
    assert!(distinct.abs_diff(151) <= 8, "{distinct}");
    assert_eq!(sampled.protocols.len(), 1);
    assert_eq!(
        (
            sampled.protocols[0].name.as_str(),
            sampled.protocols[0].fates.dropped_packets
        ),
        ("6", 600)
    );
    // The totals know nothing of samples.
    assert_eq!(history.total, Fates::default());
    let us = Query {
        country: Some("US".to_owned()),
        since: DAWN + 90,
        until: Some(DAWN + 3660),
        ..asked.clone()
    };
    let us = writer.answer(&us, DAWN + 4000).unwrap();
    // Whole hours, as far as they are over.
    let expected = Sampled {
        since: DAWN,
        until: DAWN + 4020,
        events: 3,
        frames: 300,
        sources: vec![sampled.sources[0].clone()],
        distinct_error: sampled.distinct_error,
        ..Sampled::default()
    };
    assert_eq!(us.sampled, expected);
    let mo = Query {
        country: Some("MO".to_owned()),
        ..asked
    };
    let mo = writer.answer(&mo, DAWN + 4000).unwrap().sampled;
    assert_eq!((mo.events, mo.frames, mo.sources), (0, 0, vec![]));
}

/// The end of a burst is told of by the first event after it, which may be of somebody else.
#[test]
fn burst_is_not_the_next_sources() {
    let place = Place::new();
    let mut writer = place.run(DAWN);
    let innocent = Sighting {
        class: Some("MO".to_owned()),
        packet: Some(SeenPacket {
            source: [198, 51, 100, 7].into(),
            protocol: 17,
            port: Some(53),
        }),
        ..sighting(50_001)
    };
    writer.see(vec![sighting(1); 100], DAWN);
    writer.see(vec![innocent], DAWN + 1);
    let asked = query(DAWN, Step::Hour);
    let sampled = writer.answer(&asked, DAWN + 2).unwrap().sampled;
    assert_eq!((sampled.events, sampled.frames), (101, 50_101));
    let source = |source: &str, class: &str, at_least, at_most| SourceLine {
        source: source.to_owned(),
        class: class.to_owned(),
        at_least,
        at_most,
    };
    assert_eq!(
        sampled.sources,
        [
            source("203.0.113.1", "US", 100, 50_100),
            source("198.51.100.7", "MO", 1, 1)
        ]
    );
    let ports: Vec<(&str, u64, u64)> = sampled
        .ports
        .iter()
        .map(|it| (it.port.as_str(), it.at_least, it.at_most))
        .collect();
    assert_eq!(ports, [("80/tcp", 100, 50_100), ("53/udp", 1, 1)]);
    let protocols: Vec<(&str, u64)> = sampled
        .protocols
        .iter()
        .map(|it| (it.name.as_str(), it.fates.dropped_packets))
        .collect();
    assert_eq!(protocols, [("6", 50_100), ("17", 1)]);
    let mo = Query {
        country: Some("MO".to_owned()),
        ..asked
    };
    let mo = writer.answer(&mo, DAWN + 2).unwrap().sampled;
    assert_eq!((mo.events, mo.frames), (1, 1));
}

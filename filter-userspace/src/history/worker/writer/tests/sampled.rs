//! What events tell.

use super::*;

#[test]
fn sketches_of_several_runs_are_one_answer() {
    let place = Place::new();
    let sighting = |source: [u8; 4], port, stands_for| Sighting {
        interface: "eth0".to_owned(),
        would_drop: false,
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
        (300, 300)
    );
    assert_eq!(sampled.ports[0].port, "80/tcp");
    assert_eq!(
        (sampled.ports[1].at_least, sampled.other_ports_at_most),
        (300, 0)
    );
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

//! Sampled drops: what followers, listings and capture files show of them.

use filter_common::abi::EVENT_HEAD;
use filter_userspace::kernel::EVENTS_PER_SECOND;
use integration_tests::{
    daemon::Cerco,
    follower::Follower,
    poll,
    raw::{Backpressure, RawSocket},
    site::{ABROAD, LINK, MACAU, Site, ended},
};
use pcap_file::pcapng::{
    PcapNgReader,
    blocks::{
        block_common::Block, enhanced_packet::EnhancedPacketOption, opt_common::CommonOption,
    },
};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::Command,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(20);

fn recent(cerco: &Cerco, more: &[&str]) -> Vec<Value> {
    let events = cerco.json(&[&["events"], more].concat());
    events["events"].as_array().unwrap().clone()
}

/// Waits until the daemon has read so many events.
#[track_caller]
fn wait_for_events(cerco: &Cerco, count: usize) -> Vec<Value> {
    poll::until("read the events", LIMIT, || {
        let events = recent(cerco, &[]);
        (events.len() >= count).then_some(events)
    })
    .unwrap()
}

/// The sum of what the events of a reason stand for.
fn stands_for(events: &[Value], reason: &str) -> u64 {
    let of_reason = events.iter().filter(|it| it["reason"] == reason);
    of_reason.map(|it| it["stands_for"].as_u64().unwrap()).sum()
}

/// The events that a follower was told of so far.
fn events_told(follower: &Follower) -> Vec<Value> {
    let lines = follower.lines();
    for line in lines.iter() {
        assert_eq!(line["schema"], 1, "{line}");
        assert_eq!(line.get("missed"), None, "{line}");
    }
    lines.iter().map(|line| line["event"].clone()).collect()
}

/// Sends a frame that is wanted until one arrives.
fn wait_for_the_first(follower: &Follower, site: &Site, source: &str) {
    poll::until("see a follower get events", LIMIT, || {
        site.send(source, 1).unwrap();
        // Longer than a window, so that what was sent before is not told of any more.
        let came = || (!events_told(follower).is_empty()).then_some(());
        poll::until("see an event", Duration::from_millis(300), came).ok()
    })
    .unwrap();
}

/// Moves this thread to a CPU, where mostly the frames are taken that it sends: events are counted by CPU.
fn go_to(cpu: usize) {
    // SAFETY: the set is ours and large enough; the call is about the calling thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &set), 0);
    }
}

#[test]
fn each_dropped_frame_of_a_quiet_minute_is_an_event() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    assert_eq!(
        cerco.cli(&["events"]).unwrap(),
        "no frame was dropped since the daemon started, or none of these\n"
    );
    site.send(ABROAD[0], 3).unwrap();
    site.send(MACAU[0], 3).unwrap();
    site.send_to(443, ABROAD[1], 1).unwrap();
    let truncated = &site.syn_from(ABROAD[0])[..20];
    let socket = RawSocket::open_sender(&site.world, LINK).unwrap();
    socket.send(truncated).unwrap();
    let events = wait_for_events(&cerco, 5);
    assert_eq!(events.len(), 5, "{events:#?}");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
    for event in &events {
        let age = now.abs_diff(event["unix_us"].as_u64().unwrap());
        assert!(age < 20_000_000, "{event}");
    }
    let without_time = |event: &Value| {
        let mut event = event.clone();
        event.as_object_mut().unwrap().remove("unix_us");
        event
    };
    assert_eq!(
        without_time(&events[0]),
        serde_json::from_str::<Value>(
            "{\"interface\":\"eth0\",\"verdict\":\"drop\",\"reason\":\"country_denied\",\
             \"class\":\"US\",\"source\":\"203.0.113.7\",\"destination\":\"192.0.2.1\",\
             \"protocol\":6,\"source_port\":40000,\"destination_port\":80,\"frame_bytes\":54,\
             \"stands_for\":1}"
        )
        .unwrap()
    );
    assert_eq!(events[3]["source"], ABROAD[1]);
    assert_eq!(events[3]["destination_port"], 443);
    assert_eq!(events[4]["reason"], "truncated_ipv4");
    assert_eq!(events[4]["class"], Value::Null);
    assert_eq!(events[4].get("source"), None, "{}", events[4]);
    assert_eq!(recent(&cerco, &["--reason", "truncated_ipv4"]).len(), 1);
    assert_eq!(recent(&cerco, &["--country", "us"]).len(), 4);
    assert_eq!(recent(&cerco, &["--country", "unknown"]).len(), 0);
    let text = cerco
        .cli(&["events", "--reason", "country_denied"])
        .unwrap();
    let first = text.lines().next().unwrap();
    assert!(
        first.ends_with(" country_denied US 203.0.113.7:40000 > 192.0.2.1:80/tcp"),
        "{text}"
    );
}

#[test]
fn observe_mode_says_what_would_be_dropped() {
    let site = Site::new().unwrap();
    let config = site.config_with("mode = \"observe\"", "");
    let cerco = Cerco::start(&site.host, &config).unwrap();
    site.send(ABROAD[0], 1).unwrap();
    let events = wait_for_events(&cerco, 1);
    assert_eq!(events[0]["verdict"], "would_drop");
    assert!(cerco.cli(&["events"]).unwrap().contains("(would drop) US"));
}

#[test]
fn flood_is_sampled_and_drowns_no_rare_reason() {
    const FLOOD: usize = 200_000;
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    cerco.cli(&["ban", MACAU[1], "--for", "1h"]).unwrap();
    let follower = Follower::begin(&cerco, &[]);
    let began = Instant::now();
    wait_for_the_first(&follower, &site, ABROAD[0]);
    // Those before it had the follower no place in the stream for; the last one that was sent has it, too.
    poll::until("be told of the last one", LIMIT, || {
        let kept = recent(&cerco, &[]).last().cloned();
        (events_told(&follower).last().cloned() == kept).then_some(())
    })
    .unwrap();
    let told = stands_for(&events_told(&follower), "country_denied");
    let flood = site.syn_from(ABROAD[0]);
    let rare = site.syn_from(MACAU[1]);
    let socket = RawSocket::open_sender(&site.world, LINK).unwrap();
    let mut backpressure = Backpressure::default();
    for part in 0..20 {
        let frames = vec![flood.as_slice(); FLOOD / 20];
        socket.send_all(&frames, &mut backpressure).unwrap();
        if part % 4 == 0 {
            socket.send(&rare).unwrap();
        }
    }
    let all = told + FLOOD as u64;
    // An event says what its CPU dropped before it, so one on each CPU, under a new budget, tells of the rest.
    let cpus = aya::util::nr_cpus().unwrap();
    let mut sent = 0;
    poll::until("be told of all frames", LIMIT, || {
        for cpu in 0..cpus {
            go_to(cpu);
            site.send(ABROAD[0], 1).unwrap();
            sent += 1;
        }
        let all_told =
            || (stands_for(&events_told(&follower), "country_denied") == all + sent).then_some(());
        poll::until("be told of them", Duration::from_millis(500), all_told).ok()
    })
    .unwrap();
    let events = events_told(&follower);
    let of = |reason: &str| events.iter().filter(|it| it["reason"] == reason).count() as u64;
    assert_eq!(of("banned"), 5, "none of the rare ones is lost");
    assert_eq!(stands_for(&events, "banned"), 5);
    // A thousand a second, windows that have begun included.
    let most = EVENTS_PER_SECOND * (began.elapsed().as_secs() + 2);
    assert!(
        of("country_denied") < most,
        "{} events",
        of("country_denied")
    );
    assert!(recent(&cerco, &[]).len() <= 1_000);
}

#[test]
fn follower_is_told_when_the_daemon_goes_and_gets_only_what_it_asked_for() {
    let site = Site::new().unwrap();
    let mut cerco = site.start().unwrap();
    let mut follower = Follower::begin(&cerco, &["--country", "US"]);
    cerco.cli(&["deny", "MO"]).unwrap();
    site.send(MACAU[0], 5).unwrap();
    wait_for_the_first(&follower, &site, ABROAD[0]);
    let events = events_told(&follower);
    assert!(events.iter().all(|it| it["class"] == "US"), "{events:?}");
    cerco.stop().unwrap();
    let status = poll::until("see the follower end", LIMIT, || follower.ended());
    assert_eq!(status.unwrap().code(), Some(1));
}

/// One frame of a capture.
struct Frame {
    time: Duration,
    data: Vec<u8>,
    length: u32,
    comment: String,
}

/// The names of interfaces, and the frames.
fn read_capture(file: &[u8]) -> (Vec<String>, Vec<Frame>) {
    let mut reader = PcapNgReader::new(file).unwrap();
    let (mut interfaces, mut frames) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.unwrap().0 {
            Block::InterfaceDescription(block) => interfaces.push(format!("{:?}", block.options)),
            Block::EnhancedPacket(block) => {
                let comment = match block.options.first() {
                    Some(EnhancedPacketOption::Common(CommonOption::Comment(text))) => {
                        text.to_string()
                    }
                    other => panic!("{other:?}"),
                };
                frames.push(Frame {
                    time: block.timestamp,
                    data: block.data.to_vec(),
                    length: block.original_len,
                    comment,
                });
            }
            other => panic!("{other:?}"),
        }
    }
    (interfaces, frames)
}

#[test]
fn capture_holds_the_frames_that_were_dropped_and_why() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let path = site.path("attack.pcapng");
    let args = ["capture", "-w", path.to_str().unwrap(), "--count", "4"];
    let mut long = site.syn_from(ABROAD[1]);
    let payload = 500usize;
    // The payload length of IPv6 grows with it.
    let length = u16::from_be_bytes([long[18], long[19]]) + payload as u16;
    long[18..20].copy_from_slice(&length.to_be_bytes());
    long.extend(vec![0x55; payload]);
    let mut capture = cerco.cli_command(&args).spawn().unwrap();
    let socket = RawSocket::open_sender(&site.world, LINK).unwrap();
    let frame = site.syn_from(ABROAD[0]);
    let status = poll::until("fill the capture", LIMIT, || {
        socket.send(&frame).unwrap();
        socket.send(&long).unwrap();
        capture.try_wait().unwrap()
    })
    .unwrap();
    assert_eq!(status.code(), Some(0));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (interfaces, frames) = read_capture(&fs::read(&path).unwrap());
    assert_eq!(interfaces, ["[IfName(\"eth0\")]"]);
    assert_eq!(frames.len(), 4);
    for frame_read in &frames {
        let Frame {
            time,
            data,
            length,
            comment,
        } = frame_read;
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        assert!(
            now.saturating_sub(*time) < Duration::from_secs(60),
            "{time:?}"
        );
        let expected = match data.len() == EVENT_HEAD {
            true => (&long[..EVENT_HEAD], long.len()),
            false => (&frame[..], frame.len()),
        };
        assert_eq!((data.as_slice(), *length as usize), expected);
        let begin = "country_denied, US (United States), dropped";
        assert!(comment.starts_with(begin), "{comment}");
    }
    assert!(frames.iter().any(|it| it.data.len() == EVENT_HEAD));
    // What somebody has captured is not written over.
    let again = cerco.try_cli(&args);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("move it away"), "{}", again.stderr);
    // tshark reads it: frames, their comments and their layers.
    let tshark = ended(Command::new("tshark").arg("-r").arg(&path).args([
        "-T",
        "fields",
        "-e",
        "frame.comment",
        "-e",
        "tcp.dstport",
        "-e",
        "frame.len",
    ]));
    assert_eq!(tshark.code, 0, "{tshark:?}");
    let lines: Vec<&str> = tshark.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{tshark:?}");
    for line in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        assert!(fields[0].starts_with("country_denied, US"), "{line}");
        assert_eq!(fields[1], "80");
    }
}

#[test]
fn capture_stops_at_its_time_and_its_size() {
    let site = Site::new().unwrap();
    let cerco = site.start().unwrap();
    let path = site.path("quiet.pcapng");
    let quiet = cerco.try_cli(&["capture", "-w", path.to_str().unwrap(), "--for", "1s"]);
    assert_eq!((quiet.code, quiet.stderr.trim()), (0, "0 frames captured"));
    assert_eq!(read_capture(&fs::read(&path).unwrap()).1.len(), 0);
    let path = site.path("small.pcapng");
    let mut capture = cerco
        .cli_command(&["capture", "-w", path.to_str().unwrap(), "--size", "2k"])
        .spawn()
        .unwrap();
    poll::until("fill the capture", LIMIT, || {
        site.send(ABROAD[0], 1).unwrap();
        capture.try_wait().unwrap()
    })
    .unwrap();
    let file = fs::read(&path).unwrap();
    assert!(file.len() <= 2_048, "{}", file.len());
    assert!(read_capture(&file).1.len() > 3);
}

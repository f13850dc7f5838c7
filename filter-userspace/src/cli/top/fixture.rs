//! What the tests of this verb show.

use std::time::Instant;

use super::model::Sample;
use crate::{
    control::{
        protocol::ModeWord,
        reply::{AttachedInterface, CountryTotal, ReasonTotal},
    },
    events::{Event, PacketLine},
};

/// An event of `stands_for` packets from `source` to a port of 192.0.2.1, which country US gets dropped for.
pub fn event(unix_us: u64, source: &str, port: u16, stands_for: u64) -> Event {
    Event {
        unix_us,
        interface: "eth0".to_owned(),
        verdict: "drop".to_owned(),
        reason: "country_denied".to_owned(),
        class: Some("US".to_owned()),
        packet: Some(PacketLine {
            source: source.parse().unwrap(),
            destination: "192.0.2.1".parse().unwrap(),
            protocol: 6,
            source_port: Some(40_000),
            destination_port: Some(port),
        }),
        frame_bytes: 60,
        stands_for,
        cpu: 0,
        head: None,
    }
}

/// US has sent `dropped` packets of 60 bytes in vain, MO a tenth with success.
pub fn sample(at: Instant, dropped: u64) -> Sample {
    let reason = |reason: &str, verdict: &str, packets| ReasonTotal {
        reason: reason.to_owned(),
        verdict: verdict.to_owned(),
        packets,
        bytes: packets * 60,
        packets_per_second: None,
    };
    let country = |class: &str, name: &str, dropped, passed| CountryTotal {
        class: class.to_owned(),
        name: Some(name.to_owned()),
        action: None,
        passed_packets: passed,
        dropped_packets: dropped,
        would_drop_packets: 0,
        passed_bytes: passed * 60,
        dropped_bytes: dropped * 60,
        would_drop_bytes: 0,
    };
    Sample {
        at,
        unix_us: 1_800_000_000_000_000,
        daemon: true,
        mode: ModeWord::Enforce,
        trial: None,
        interfaces: vec![AttachedInterface {
            interface: "eth0".to_owned(),
            attach_mode: "native".to_owned(),
            fallback_reason: None,
        }],
        totals: vec![
            reason("allowed", "pass", dropped / 10),
            reason("country_denied", "drop", dropped),
            reason("country_denied", "would_drop", 0),
        ],
        countries: vec![
            country("US", "United States", dropped, 0),
            country("MO", "Macao", 0, dropped / 10),
        ],
        warnings: Vec::new(),
    }
}

//! Allowed sources that speak softly while the flood roars: every frame of theirs must arrive.

use super::{
    interrupt,
    plan::Plan,
    topology::{self, Topology, WORLD_LINK},
};
use crate::{frames::Frame, raw::RawSocket};
use anyhow::Result;
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Between two datagrams. With 32 guests each sends 31 packets a second, far below any limit of
/// the demo's policy.
const PACE: Duration = Duration::from_millis(1);

/// Sends single datagrams, guest after guest, until `stop` is set; how many were sent.
pub fn chat(topology: &Topology, plan: &Plan, stop: &AtomicBool) -> Result<u64> {
    let frames: Vec<Vec<u8>> = plan
        .guests
        .iter()
        .map(|guest| {
            let mut target = Topology::server(*guest);
            // QUIC's port: closed here, but a visitor's browser would try it.
            target.set_port(443);
            Frame::udp(
                (topology.router_mac, SocketAddr::new(*guest, 50_443)),
                (topology.host_mac, target),
                b"hello",
            )
            .bytes()
        })
        .collect();
    topology::use_flood_queue()?;
    let socket = RawSocket::open_sender(&topology.world, WORLD_LINK)?;
    let start = Instant::now();
    let mut sent = 0;
    for frame in frames.iter().cycle() {
        if stop.load(Ordering::Relaxed) || interrupt::requested() {
            break;
        }
        let due = start + PACE * u32::try_from(sent).unwrap_or(u32::MAX);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        socket.send(frame)?;
        sent += 1;
    }
    Ok(sent)
}

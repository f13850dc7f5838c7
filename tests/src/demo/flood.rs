//! The flood: SYN and UDP frames from addresses of many countries, as fast as planned.

use super::{
    countries::ATTACKERS,
    interrupt,
    plan::{Plan, draw},
    stamp::Stamp,
    topology::{self, Topology, WORLD_LINK},
};
use crate::{
    frames::Frame,
    raw::{Backpressure, RawSocket},
};
use anyhow::Result;
use fastrand::Rng;
use filter_common::country::CountryCode;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

/// Frames handed to the kernel in one call.
const BATCH: usize = 64;
/// Ports of the UDP part: DNS, NTP and QUIC, the usual ones.
const UDP_PORTS: [u16; 3] = [53, 123, 443];
/// One frame of so many is UDP, the others are SYNs to the web server.
const UDP_ONE_OF: u8 = 3;

/// What was really sent.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    pub by_country: BTreeMap<CountryCode, u64>,
    pub duration: Duration,
    /// How often the link was full and the sender waited.
    pub refusals: u64,
}

impl Sent {
    pub fn packets(&self) -> u64 {
        self.by_country.values().sum()
    }
}

/// Sends the planned flood from the world's end of the host's cable; `progress` is told the
/// number of frames sent so far.
pub fn flood(topology: &Topology, plan: &Plan, mut progress: impl FnMut(u64)) -> Result<Sent> {
    topology::use_flood_queue()?;
    let socket = RawSocket::open_sender(&topology.world, WORLD_LINK)?;
    let mut stamps = stamps(topology);
    let mut rng = Rng::with_seed(plan.seed ^ 0xf100d);
    let mut counts = vec![0_u64; ATTACKERS.len()];
    let mut batch: Vec<Vec<u8>> = vec![Vec::new(); BATCH];
    let mut backpressure = Backpressure::default();
    let start = Instant::now();
    let mut sent = 0;
    while sent < plan.flood_packets && start.elapsed() < plan.flood_limit {
        interrupt::check()?;
        let count = BATCH.min(usize::try_from(plan.flood_packets - sent).unwrap_or(BATCH));
        for frame in &mut batch[..count] {
            let country = rng.usize(..ATTACKERS.len());
            let source = draw(&plan.world, ATTACKERS[country].0, &mut rng);
            let kind = rng.usize(..stamps.v4.len());
            let family = match source {
                IpAddr::V4(_) => &mut stamps.v4,
                IpAddr::V6(_) => &mut stamps.v6,
            };
            let port = rng.u16(1024..);
            frame.clear();
            frame.extend_from_slice(family[kind].frame_from(source, port));
            counts[country] += 1;
        }
        let frames: Vec<&[u8]> = batch[..count].iter().map(Vec::as_slice).collect();
        socket.send_all(&frames, &mut backpressure)?;
        sent += count as u64;
        progress(sent);
        let due = Duration::from_secs_f64(sent as f64 / plan.flood_packets_per_second as f64);
        let early = due.saturating_sub(start.elapsed());
        // Shorter rests cost more than they give: the kernel rounds them up.
        if early > Duration::from_millis(1) {
            thread::sleep(early);
        }
    }
    Ok(Sent {
        by_country: ATTACKERS
            .iter()
            .zip(counts)
            .map(|((code, _), count)| (*code, count))
            .collect(),
        duration: start.elapsed(),
        refusals: backpressure.refusals,
    })
}

/// One stamp for each kind of frame, UDP and SYN in the planned proportion.
struct Stamps {
    v4: Vec<Stamp>,
    v6: Vec<Stamp>,
}

fn stamps(topology: &Topology) -> Stamps {
    let kinds = |any: IpAddr| {
        let from = (topology.router_mac, SocketAddr::new(any, 1));
        let server = Topology::server(any);
        let syns = UDP_PORTS.len() * usize::from(UDP_ONE_OF - 1);
        let syn = (0..syns).map(|_| Frame::tcp_syn(from, (topology.host_mac, server)));
        let udp = UDP_PORTS.iter().map(|port| {
            let to = SocketAddr::new(server.ip(), *port);
            Frame::udp(from, (topology.host_mac, to), b"0123456789abcdef")
        });
        syn.chain(udp).map(|frame| Stamp::new(&frame)).collect()
    };
    Stamps {
        v4: kinds([0, 0, 0, 0].into()),
        v6: kinds([0; 16].into()),
    }
}

//! Counts the bots' packets by country where they enter the host's cable.

use super::{
    plan::Plan,
    topology::{Topology, WORLD_LINK},
};
use crate::{raw::RawSocket, tap};
use anyhow::Result;
use filter_common::country::CountryCode;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Room for the frames of one burst, in bytes.
const BUFFER: libc::c_int = 16 << 20;
/// How long the watch goes on without a bot's packet after it was told to stop.
const QUIET: Duration = Duration::from_millis(100);

/// A socket that sees what leaves the world towards the host. It must be open before the first
/// bot starts.
pub fn open(topology: &Topology) -> Result<RawSocket> {
    let socket = RawSocket::open(&topology.world, WORLD_LINK)?;
    tap::keep_outgoing(&socket)?;
    socket.set_option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER)?;
    Ok(socket)
}

/// Counts until `stop` is set and no bot speaks any more.
pub fn count(
    socket: &RawSocket,
    plan: &Plan,
    stop: &AtomicBool,
) -> Result<BTreeMap<CountryCode, u64>> {
    let mut by_country = BTreeMap::new();
    // Enough for Ethernet and IPv6 header; the rest of the frame is cut off.
    let mut start = [0; 64];
    let mut last_bot = Instant::now();
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        if let Some((len, _)) = socket.receive_any(&mut start, Instant::now() + QUIET)? {
            // The client's packets go this way, too, and never cease.
            let country = source(&start[..len]).and_then(|from| plan.bot_countries.get(&from));
            if let Some(code) = country {
                *by_country.entry(*code).or_default() += 1;
                last_bot = Instant::now();
            }
        }
        if stopping && last_bot.elapsed() >= QUIET {
            return Ok(by_country);
        }
    }
}

fn source(frame: &[u8]) -> Option<IpAddr> {
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let octets: [u8; 4] = frame.get(26..30)?.try_into().ok()?;
            Some(octets.into())
        }
        [0x86, 0xdd] => {
            let octets: [u8; 16] = frame.get(22..38)?.try_into().ok()?;
            Some(octets.into())
        }
        _ => None,
    }
}

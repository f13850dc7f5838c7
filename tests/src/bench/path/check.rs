//! Before the time is taken: does every peer drop what it should, and nothing else?

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use fastrand::Rng;
use filter_userspace::geo::Found;

use super::peer::Peer;
use crate::bench::{
    context::{ALLOWED, Context},
    trace::Draw,
    traffic::{Sources, Traffic},
};

/// Addresses of each kind, blocked and not; both together make a trace.
const OF_EACH: usize = 1 << 13;

/// Sends the same mixed addresses to each peer that knows countries, and compares how many it dropped
/// with what the database says about each address. The others must drop all of them.
pub fn all(context: &Context, peers: &[Peer], traffic: &mut Traffic) -> Result<()> {
    let mut rng = Rng::with_seed(OF_EACH as u64);
    let mut v4: Vec<u32> = context.blocked.draw_v4(Draw::Many)[..OF_EACH].to_vec();
    v4.extend(&context.allowed.draw_v4(Draw::Many)[..OF_EACH]);
    rng.shuffle(&mut v4);
    let mut v6: Vec<u128> = context.blocked.draw_v6(Draw::Many)[..OF_EACH].to_vec();
    v6.extend(&context.allowed.draw_v6(Draw::Many)[..OF_EACH]);
    rng.shuffle(&mut v6);

    let v4_blocked = blocked(
        context,
        v4.iter().map(|bits| IpAddr::from(bits.to_be_bytes())),
    );
    let v6_blocked = blocked(
        context,
        v6.iter().map(|bits| IpAddr::from(bits.to_be_bytes())),
    );
    let frame = peers
        .first()
        .context("no peers")?
        .site
        .cable
        .frame(Sources::TraceV4);
    traffic.set_v4(frame, &v4)?;
    compare(peers, traffic, Sources::TraceV4, v4.len(), v4_blocked)?;
    traffic.set_v6(&v6)?;
    compare(peers, traffic, Sources::TraceV6, v6.len(), v6_blocked)
}

/// How many of the addresses the database puts into a country that is not allowed.
fn blocked(context: &Context, addresses: impl Iterator<Item = IpAddr>) -> u64 {
    let is_blocked = |address| {
        let Found { country, .. } = context.database.lookup(address);
        country.is_none_or(|country| !ALLOWED.contains(&country.as_str()))
    };
    addresses.filter(|address| is_blocked(*address)).count() as u64
}

fn compare(
    peers: &[Peer],
    traffic: &mut Traffic,
    sources: Sources,
    count: usize,
    blocked: u64,
) -> Result<()> {
    for peer in peers.iter().filter(|peer| peer.knows_countries) {
        peer.send(traffic, sources, count as u32, blocked)
            .with_context(|| format!("{} disagrees with the database", peer.name))?;
    }
    Ok(())
}

//! Before the time is taken: does every peer drop what it should, and nothing else?

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use filter_userspace::geo::Found;

use super::peer::Peer;
use crate::bench::{
    context::{ALLOWED, Context},
    trace::Draw,
    traffic::{Sources, Traffic},
};

/// Addresses of each kind and family; a trace, so a power of two.
const OF_EACH: usize = 1 << 13;

/// Sends addresses that are blocked, and then addresses that are not, to each peer that knows
/// countries, and compares how many it dropped with what the database says about each of them. Since
/// that is all or none of a kind, equal numbers mean that no address was judged wrongly.
pub fn all(context: &Context, peers: &[Peer], traffic: &mut Traffic) -> Result<()> {
    let cable = &peers.first().context("no peers")?.site.cable;
    for prefixes in [&context.blocked, &context.allowed] {
        let v4 = prefixes.draw_v4(Draw::Many);
        let v4 = v4.get(..OF_EACH).context("a short trace")?;
        traffic.set_v4(cable.frame(Sources::TraceV4), v4)?;
        let addresses = v4.iter().map(|bits| bits.to_be_bytes().into());
        compare(
            peers,
            traffic,
            Sources::TraceV4,
            blocked(context, addresses),
        )?;

        let v6 = prefixes.draw_v6(Draw::Many);
        let v6 = v6.get(..OF_EACH).context("a short trace")?;
        traffic.set_v6(v6)?;
        let addresses = v6.iter().map(|bits| bits.to_be_bytes().into());
        compare(
            peers,
            traffic,
            Sources::TraceV6,
            blocked(context, addresses),
        )?;
    }
    Ok(())
}

/// How many of the addresses the database does not put into an allowed country.
fn blocked(context: &Context, addresses: impl Iterator<Item = IpAddr>) -> u64 {
    let is_blocked = |address| {
        let Found { country, .. } = context.database.lookup(address);
        country.is_none_or(|country| !ALLOWED.contains(&country.as_str()))
    };
    addresses.filter(|address| is_blocked(*address)).count() as u64
}

fn compare(peers: &[Peer], traffic: &mut Traffic, sources: Sources, blocked: u64) -> Result<()> {
    for peer in peers.iter().filter(|peer| peer.knows_countries) {
        peer.send(traffic, sources, OF_EACH as u32, blocked)
            .with_context(|| format!("{} disagrees with the database", peer.name))?;
    }
    Ok(())
}

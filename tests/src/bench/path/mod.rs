//! The packet path: frames over a link, all dropped, by cerco and by what else could be installed.
//!
//! All peers block the same space, all countries but those of [`context::ALLOWED`], and stand side by
//! side for as long as this part takes. Each round sends to each of them once, so that whatever
//! disturbs this machine disturbs all alike.
//!
//! [`context::ALLOWED`]: super::context::ALLOWED

mod check;
mod iptables;
mod link;
mod nftables;
mod peer;
mod site;
mod xdp;
mod xdp_filter;

use anyhow::{Context as _, Result, ensure};
use aya::programs::XdpMode;
use filter_userspace::compile::compile;

use self::peer::Peer;
use super::{
    context::Context,
    names::{family, peer as name, what},
    packages,
    part::Part,
    row::{Row, Subject},
    trace::{Draw, Prefixes},
    traffic::{Sources, Traffic},
};
use crate::demo::interrupt;

/// Frames that an XDP program gets in a round: all of the longest trace.
const FRAMES: u32 = 1 << 20;
/// For tries and for sets outside of XDP, whose time is large beside the noise. A round goes on in the trace where
/// the one before it ended, so all sources come all the same.
const FRAMES_FOR_SETS: u32 = 1 << 18;
/// For those whose cost does not depend on the length of the trace.
const FRAMES_WITHOUT_SET: u32 = 1 << 17;
/// For an ipset of IPv6 networks, which tries every prefix length in use, at 20 µs a frame.
const FRAMES_FOR_SLOWEST: u32 = 1 << 15;

pub fn measure(context: &Context) -> Result<Vec<Row>> {
    let peers = peers(context)?;
    let mut traffic = Traffic::load()?;
    context.step("checking every peer against the database")?;
    check::all(context, &peers, &mut traffic)?;
    let mut rows = Vec::new();
    for (sources, family) in [
        (Sources::TraceV4, family::V4),
        (Sources::TraceV6, family::V6),
    ] {
        for draw in [Draw::Few, Draw::Many] {
            context.step(&format!("{family}, {}", draw.label()))?;
            set_trace(&mut traffic, &peers, &context.blocked, sources, draw)?;
            let samples = rounds(context, &peers, &mut traffic, sources, draw)?;
            rows.extend(rows_of(&peers, &samples, family, draw));
        }
    }
    Ok(rows)
}

/// What each peer takes, and then how much more than the plain drop that is.
fn rows_of(peers: &[Peer], samples: &[Vec<f64>], family: &'static str, draw: Draw) -> Vec<Row> {
    let measured = || {
        let pairs = peers.iter().zip(samples);
        pairs.filter(|(_, samples)| !samples.is_empty())
    };
    let row = |what, peer: &Peer, samples: &[f64]| {
        let subject = Subject {
            part: Part::Path,
            what,
            peer: peer.name,
            family,
            trace: draw.label(),
            unit: "ns/packet",
        };
        Row::new(subject, samples)
    };
    let mut rows: Vec<Row> = measured()
        .map(|(peer, samples)| row(peer.what, peer, samples))
        .collect();
    let plain = rows.iter().find(|row| row.peer == name::PLAIN_DROP);
    if let Some(plain) = plain.cloned() {
        let others = rows.iter().filter(|row| row.peer != name::PLAIN_DROP);
        let over: Vec<Row> = others.map(|row| over(row, &plain)).collect();
        rows.extend(over);
    }
    rows
}

/// How much more: best by best, median by median.
fn over(row: &Row, plain: &Row) -> Row {
    let what = match row.what.as_str() {
        what::PATH => what::PATH_OVER,
        _ => what::PATH_NO_SET_OVER,
    };
    Row {
        what: what.to_owned(),
        best: row.best - plain.best,
        median: row.median - plain.median,
        worst: row.worst - plain.worst,
        ..row.clone()
    }
}

/// All that can be had here. What cannot is told to the context.
fn peers(context: &Context) -> Result<Vec<Peer>> {
    context.step("putting up cerco")?;
    let compiled = compile(&context.policy(), &context.database)?;
    let blocked = &context.blocked;
    let mut peers = vec![
        xdp::drop_all(XdpMode::Driver).context("no plain drop to compare with")?,
        xdp::cerco(&compiled).context("cerco does not stand")?,
    ];
    let mut add = |name: &str, package: Option<&str>, build: &dyn Fn() -> Result<Peer>| {
        context.step(&format!("putting up {name}"))?;
        match package.and_then(packages::missing) {
            Some(reason) => context.missing(Part::Path, name, reason),
            None => match build() {
                Ok(peer) => peers.push(peer),
                Err(error) => context.missing(Part::Path, name, format!("{error:#}")),
            },
        }
        Ok::<(), anyhow::Error>(())
    };
    let allowed = &context.allowed;
    add(name::PARSE_ONLY, None, &xdp::parse_only)?;
    add(name::LPM_TRIE, None, &|| xdp::lpm_trie(blocked))?;
    add(name::GENERIC_DROP, None, &|| xdp::drop_all(XdpMode::Skb))?;
    let package = Some("xdp-tools");
    add(name::XDP_FILTER, package, &|| xdp_filter::denying(allowed))?;
    add(name::XDP_FILTER_LISTED, package, &|| {
        xdp_filter::listing(blocked)
    })?;
    add("xdp-filter, no set", package, &xdp_filter::empty)?;
    let large = |build: &dyn Fn() -> Result<Peer>| {
        ensure!(
            context.has_time_for_large_sets(),
            "loading its set takes long; not with --quick"
        );
        build()
    };
    let package = Some("nftables");
    add(name::NFTABLES, package, &|| {
        large(&|| nftables::with_set(blocked))
    })?;
    add(name::NFTABLES_ALLOWLIST, package, &|| {
        nftables::with_allowlist(allowed)
    })?;
    add("nftables, no set", package, &nftables::without_set)?;
    let package = Some("ipset");
    add(name::IPTABLES, package, &|| {
        large(&|| iptables::with_set(blocked))
    })?;
    add(name::IPTABLES_ALLOWLIST, package, &|| {
        iptables::with_allowlist(allowed)
    })?;
    add("iptables, no set", Some("iptables"), &iptables::without_set)?;
    Ok(peers)
}

fn set_trace(
    traffic: &mut Traffic,
    peers: &[Peer],
    prefixes: &Prefixes,
    sources: Sources,
    draw: Draw,
) -> Result<()> {
    // Frames differ from cable to cable in their link-layer addresses only.
    let cable = &peers.first().context("no peers")?.site.cable;
    match sources {
        Sources::TraceV6 => traffic.set_v6(&prefixes.draw_v6(draw)),
        _ => traffic.set_v4(cable.frame(sources), &prefixes.draw_v4(draw)),
    }
}

/// Nanoseconds for each packet: by peer, and then by round.
fn rounds(
    context: &Context,
    peers: &[Peer],
    traffic: &mut Traffic,
    sources: Sources,
    draw: Draw,
) -> Result<Vec<Vec<f64>>> {
    let mut samples = vec![Vec::new(); peers.len()];
    for _ in 0..context.rounds {
        for (peer, samples) in peers.iter().zip(&mut samples) {
            interrupt::check()?;
            if peer.only.is_some_and(|only| only != draw) {
                continue;
            }
            let count = context.count(frames(peer, sources, draw));
            samples.push(peer.send(traffic, sources, count, count.into())?);
        }
    }
    Ok(samples)
}

fn frames(peer: &Peer, sources: Sources, draw: Draw) -> u32 {
    let asks_a_set = peer.what == what::PATH;
    match peer.name {
        name::NFTABLES | name::NFTABLES_ALLOWLIST | name::IPTABLES | name::IPTABLES_ALLOWLIST => {
            if peer.name == name::IPTABLES && asks_a_set && sources == Sources::TraceV6 {
                FRAMES_FOR_SLOWEST
            } else if asks_a_set && draw == Draw::Many {
                FRAMES_FOR_SETS
            } else {
                FRAMES_WITHOUT_SET
            }
        }
        name::GENERIC_DROP => FRAMES_WITHOUT_SET,
        name::LPM_TRIE => FRAMES_FOR_SETS,
        _ => FRAMES,
    }
}

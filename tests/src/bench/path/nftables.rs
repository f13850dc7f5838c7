//! nftables at the earliest hook that it has: netdev ingress, before the IP stack.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use ipnetwork::IpNetwork;

use super::{
    peer::{Evidence, Peer},
    site::Site,
};
use crate::bench::{
    cable::LINK,
    names::{peer, what},
    trace::Prefixes,
};

/// Drops what is in the set of `blocked`.
pub fn with_set(blocked: &Prefixes) -> Result<Peer> {
    let rules = "ip saddr @v4 drop; ip6 saddr @v6 drop;";
    Ok(Peer {
        what: what::PATH,
        knows_countries: true,
        ..load(peer::NFTABLES, Some(blocked), rules)?
    })
}

/// Drops what is not in the set of `allowed`: the same space, told from its other side.
pub fn with_allowlist(allowed: &Prefixes) -> Result<Peer> {
    let rules = "ip saddr != @v4 drop; ip6 saddr != @v6 drop;";
    Ok(Peer {
        what: what::PATH,
        knows_countries: true,
        ..load(peer::NFTABLES_ALLOWLIST, Some(allowed), rules)?
    })
}

/// One rule that drops everything.
pub fn without_set() -> Result<Peer> {
    load(peer::NFTABLES, None, "drop;")
}

fn load(name: &'static str, prefixes: Option<&Prefixes>, rules: &str) -> Result<Peer> {
    let site = Site::build()?;
    let script = script(prefixes, rules).context("failed to write the rules")?;
    site.feed("nft", &["-f", "-"], &script)?;
    Ok(Peer::new(name, site, Evidence::NeverAtIp))
}

/// Counters cost time, so the rules have none.
fn script(prefixes: Option<&Prefixes>, rules: &str) -> Result<String, std::fmt::Error> {
    let mut script = String::from("table netdev bench {\n");
    if let Some(prefixes) = prefixes {
        for (name, kind, prefixes) in [
            ("v4", "ipv4_addr", &prefixes.v4),
            ("v6", "ipv6_addr", &prefixes.v6),
        ] {
            write!(script, "set {name} {{ type {kind}; flags interval; ")?;
            elements(&mut script, prefixes)?;
            script.push_str("}\n");
        }
    }
    write!(
        script,
        "chain in {{ type filter hook ingress device \"{LINK}\" priority 0; policy accept; {rules} }}\n}}\n"
    )?;
    Ok(script)
}

fn elements(script: &mut String, prefixes: &[IpNetwork]) -> std::fmt::Result {
    if prefixes.is_empty() {
        return Ok(());
    }
    script.push_str("elements = { ");
    for prefix in prefixes {
        write!(script, "{prefix},")?;
    }
    script.push_str(" }; ");
    Ok(())
}

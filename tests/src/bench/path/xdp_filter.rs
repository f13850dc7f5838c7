//! xdp-filter of xdp-tools. It knows single addresses, no prefixes: no set of countries fits into it,
//! so it is measured at what comes closest, and is faster there than any use for countries could be.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{Map, MapData, PerCpuHashMap, PerCpuValues},
    util::nr_cpus,
};

use super::{
    peer::{Evidence, Peer},
    site::Site,
};
use crate::bench::{
    cable::LINK,
    names::{peer, what},
    trace::{Draw, Prefixes},
};

/// Entries that each of its maps has room for (xdp-tools 1.3, xdp-filter/common_kern_user.h).
const ADDRESSES: usize = 10_000;
/// `MAP_FLAG_SRC`: the entry is about source addresses.
const SOURCE: u64 = 1;

/// Everything is denied but the addresses of a list, which is full of addresses in `allowed`.
pub fn denying(allowed: &Prefixes) -> Result<Peer> {
    let site = load("deny")?;
    let v4 = allowed.draw_v4(Draw::Many);
    let v6 = allowed.draw_v6(Draw::Many);
    list(&site, &v4, &v6)?;
    Ok(Peer {
        what: what::PATH,
        ..Peer::new(peer::XDP_FILTER, site, Evidence::XdpDrops)
    })
}

/// Everything is allowed but the addresses of a list, which are those of the trace.
pub fn listing(blocked: &Prefixes) -> Result<Peer> {
    let site = load("allow")?;
    let v4 = blocked.draw_v4(Draw::Few);
    let v6 = blocked.draw_v6(Draw::Few);
    list(&site, &v4, &v6)?;
    Ok(Peer {
        what: what::PATH,
        only: Some(Draw::Few),
        ..Peer::new(peer::XDP_FILTER_LISTED, site, Evidence::XdpDrops)
    })
}

/// Everything is denied, and the list is empty.
pub fn empty() -> Result<Peer> {
    let site = load("deny")?;
    Ok(Peer::new(peer::XDP_FILTER, site, Evidence::XdpDrops))
}

fn load(policy: &str) -> Result<Site> {
    let site = Site::build()?;
    let arguments = ["load", "--mode", "native", "--policy", policy];
    let features = ["--features", "ipv4,ipv6", LINK];
    site.feed("xdp-filter", &[&arguments[..], &features].concat(), "")?;
    Ok(site)
}

/// Through the maps that it has pinned, since its command takes one address at a time.
fn list(site: &Site, v4: &[u32], v6: &[u128]) -> Result<()> {
    site.run(|| -> Result<()> {
        let v4 = v4.iter().map(|address| address.to_be_bytes());
        let v6 = v6.iter().map(|address| address.to_be_bytes());
        insert("filter_ipv4", v4)?;
        insert("filter_ipv6", v6)
    })?
}

fn insert<K: Pod + Ord>(name: &str, addresses: impl Iterator<Item = K>) -> Result<()> {
    let path = Path::new("/sys/fs/bpf/xdp-filter").join(name);
    let map =
        MapData::from_pin(&path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut map = PerCpuHashMap::<_, K, u64>::try_from(Map::PerCpuHashMap(map))?;
    let cpus = nr_cpus().map_err(|(file, source)| {
        anyhow::Error::new(source).context(format!("failed to read {file}"))
    })?;
    // A trace may hold an address twice.
    let mut distinct = BTreeSet::new();
    for address in addresses {
        if distinct.len() == ADDRESSES {
            break;
        }
        if distinct.insert(address) {
            let values = PerCpuValues::try_from(vec![SOURCE; cpus])?;
            map.insert(address, values, 0)
                .with_context(|| format!("failed to fill {}", path.display()))?;
        }
    }
    Ok(())
}

//! The sample of denied packets, with the names of the networks that sources belong to.

use serde::Serialize;

use super::{
    networks::{Network, Networks, NetworksError},
    numbers::{NetworksUsed, Sample},
    words,
};
use crate::{
    cause,
    history::reply::{Line, Sampled},
    protocols,
};

/// A source and the denied frames from it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Source {
    /// An IPv4 address or an IPv6 /64.
    pub source: String,
    /// Two letters, or another class.
    pub class: String,
    pub country: String,
    /// Whose network it is, where a database of them is configured and knows it.
    pub network: Option<Network>,
    /// Packets that were seen.
    pub at_least: u64,
    /// An estimate; see [`Sampled`].
    pub at_most: u64,
}

/// The database, and what the report says of it.
pub fn used(networks: Option<Result<Networks, NetworksError>>) -> (Option<Networks>, NetworksUsed) {
    match networks {
        None => (
            None,
            NetworksUsed {
                database: None,
                fault: None,
            },
        ),
        Some(Err(error)) => (
            None,
            NetworksUsed {
                database: None,
                fault: Some(cause::chain(&error)),
            },
        ),
        Some(Ok(networks)) => {
            let used = NetworksUsed {
                database: Some(networks.about().clone()),
                fault: None,
            };
            (Some(networks), used)
        }
    }
}

pub fn sample(sampled: &Sampled, networks: Option<&Networks>) -> Sample {
    let sources = sampled.sources.iter().map(|line| {
        // `2001:db8::/64`: its first address.
        let address = line.source.split('/').next().unwrap_or_default().parse();
        Source {
            source: line.source.clone(),
            class: line.class.clone(),
            country: words::class(&line.class),
            network: networks
                .zip(address.ok())
                .and_then(|(networks, address)| networks.of(address)),
            at_least: line.at_least,
            at_most: line.at_most,
        }
    });
    let protocols = sampled.protocols.iter().map(|line| Line {
        name: line
            .name
            .parse()
            .map_or_else(|_| line.name.clone(), protocols::name),
        fates: line.fates,
    });
    Sample {
        since: sampled.since,
        until: sampled.until,
        events: sampled.events,
        frames: sampled.frames,
        protocols: protocols.collect(),
        ports: sampled.ports.clone(),
        other_ports_at_most: sampled.other_ports_at_most,
        sources: sources.collect(),
        other_sources_at_most: sampled.other_sources_at_most,
    }
}

//! What both runs of the demo have in common: who sends, from which addresses, and how much.

use super::{
    addresses::World,
    countries::{ATTACKERS, HOME, NEIGHBOUR},
};
use fastrand::Rng;
use filter_common::country::CountryCode;
use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// The attack and the visitors, the same for the run with the gate off and the run with it on.
#[derive(Debug)]
pub struct Plan {
    pub world: World,
    pub seed: u64,
    /// Frames of the flood, SYN and UDP.
    pub flood_packets: u64,
    /// Frames a second; the flood takes longer where the machine is slower.
    pub flood_packets_per_second: u64,
    /// The flood ends here, finished or not.
    pub flood_limit: Duration,
    /// Sources of the real TCP connections, one after the other; some come twice.
    pub bots: Vec<IpAddr>,
    pub bot_countries: HashMap<IpAddr, CountryCode>,
    pub client_v4: Ipv4Addr,
    pub client_v6: Ipv6Addr,
    /// Allowed sources that send single datagrams at a moderate rate during the flood.
    pub guests: BTreeSet<IpAddr>,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Amounts {
    pub flood_packets: u64,
    pub bot_connections: usize,
}

/// Share of the flood's sources that are IPv6, in percent.
pub const IPV6_PERCENT: u8 = 30;

const FLOOD_PACKETS_PER_SECOND: u64 = 250_000;
const FLOOD_LIMIT: Duration = Duration::from_secs(50);
/// For each of the two allowed countries and each family. Few enough for the filter of a tap.
const GUESTS_PER_KIND: usize = 8;

impl Plan {
    pub fn new(world: World, seed: u64, amounts: Amounts) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut guests = BTreeSet::new();
        for code in [HOME, NEIGHBOUR] {
            for _ in 0..GUESTS_PER_KIND {
                guests.insert(IpAddr::V4(world.country(code).draw_v4(&mut rng)));
                guests.insert(IpAddr::V6(world.country(code).draw_v6(&mut rng)));
            }
        }
        let mut client_v4 = world.country(HOME).draw_v4(&mut rng);
        // The first and last address of a /24 look like a network and a broadcast address.
        while matches!(client_v4.octets()[3], 0 | 255) || guests.contains(&client_v4.into()) {
            client_v4 = world.country(HOME).draw_v4(&mut rng);
        }
        let mut client_v6 = world.country(HOME).draw_v6(&mut rng);
        while guests.contains(&client_v6.into()) {
            client_v6 = world.country(HOME).draw_v6(&mut rng);
        }

        let mut bots = Vec::with_capacity(amounts.bot_connections);
        let mut bot_countries = HashMap::new();
        // Every bot connects twice, the second time after all others.
        while bots.len() < amounts.bot_connections / 2 {
            let (code, _) = ATTACKERS[rng.usize(..ATTACKERS.len())];
            let address = draw(&world, code, &mut rng);
            if bot_countries.insert(address, code).is_none() {
                bots.push(address);
            }
        }
        bots.extend_from_within(..);
        Self {
            world,
            seed,
            flood_packets: amounts.flood_packets,
            flood_packets_per_second: FLOOD_PACKETS_PER_SECOND,
            flood_limit: FLOOD_LIMIT,
            bots,
            bot_countries,
            client_v4,
            client_v6,
            guests,
        }
    }
}

/// An address of a country, in the demo's mix of families.
pub fn draw(world: &World, code: CountryCode, rng: &mut Rng) -> IpAddr {
    let country = world.country(code);
    if rng.u8(..100) < IPV6_PERCENT {
        country.draw_v6(rng).into()
    } else {
        country.draw_v4(rng).into()
    }
}

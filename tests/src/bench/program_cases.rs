//! The ways that a packet can end, and the frames and sources that make it end so.

use std::{collections::BTreeMap, net::Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use filter_common::{
    packet::{Address, Packet, Transport},
    parse::parse,
    verdict::Reason,
};
use filter_userspace::geo::Database;

use super::{
    names::peer,
    trace::{Draw, Prefixes},
};
use crate::policies;

/// Whose sources get what, the same in all gates.
pub const ALLOWED: &str = "CN";
/// Allowed too, but some of it may be banned.
pub const ALLOWED_AND_BANNED: &str = "TW";
/// Far above what anybody sends.
pub const LIMITED: &str = "JP";
/// One packet, and no more.
pub const OVER_LIMIT: &str = "KR";
pub const TRUSTED: &str = "MO";

/// Which gate decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setup {
    /// Everything is in scope, and nobody is banned.
    Plain,
    /// One UDP port is in scope, another one than the frames go to.
    OnePort,
    /// 100,000 addresses are banned.
    Bans,
    /// The host has written to some of the sources from the port that the frames go to.
    Connected,
}

/// Where the sources come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    Country(&'static str),
    /// Every country but the five above.
    Denied,
    /// What the database does not know.
    Unknown,
    Banned,
}

/// What is changed in an ordinary frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Nothing,
    /// An IHL of 4 (RFC 791 §3.1).
    HeaderLen,
    /// ARP.
    EtherType,
}

/// One way that a packet can end.
#[derive(Debug)]
pub struct Case {
    /// The name of the row.
    pub peer: &'static str,
    pub setup: Setup,
    /// How every frame must end.
    pub reason: Reason,
    origin: Origin,
    change: Change,
}

/// In the order of the report.
pub static CASES: &[Case] = {
    use Origin::{Banned, Country, Denied, Unknown};
    use Setup::{Bans, Connected, OnePort, Plain};
    &[
        case(
            "cerco, denied by country",
            Plain,
            Denied,
            Reason::CountryDenied,
        ),
        case(
            "cerco, unknown and denied",
            Plain,
            Unknown,
            Reason::UnknownDenied,
        ),
        case("cerco, allowed", Plain, Country(ALLOWED), Reason::Allowed),
        case(
            peer::CERCO_LIMITED,
            Plain,
            Country(LIMITED),
            Reason::Allowed,
        ),
        case(
            "cerco, over the limit (1k)",
            Plain,
            Country(OVER_LIMIT),
            Reason::PacketLimit,
        ),
        case("cerco, trusted", Plain, Country(TRUSTED), Reason::Trusted),
        case("cerco, out of scope", OnePort, Denied, Reason::OutOfScope),
        Case {
            change: Change::HeaderLen,
            ..case("cerco, malformed", Plain, Denied, Reason::BadIpv4HeaderLen)
        },
        Case {
            change: Change::EtherType,
            ..case("cerco, not IP", Plain, Denied, Reason::NotIp)
        },
        case("cerco, banned", Bans, Banned, Reason::Banned),
        case(
            "cerco, denied among 100,000 bans",
            Bans,
            Denied,
            Reason::CountryDenied,
        ),
        case(
            "cerco, allowed among 100,000 bans",
            Bans,
            Country(ALLOWED),
            Reason::Allowed,
        ),
        case("cerco, reply", Connected, Denied, Reason::Reply),
        case(
            "cerco, denied, to a port in use",
            Connected,
            Unknown,
            Reason::UnknownDenied,
        ),
    ]
};

const fn case(peer: &'static str, setup: Setup, origin: Origin, reason: Reason) -> Case {
    Case {
        peer,
        setup,
        reason,
        origin,
        change: Change::Nothing,
    }
}

impl Case {
    /// Whether the case is there for IPv6 too.
    pub fn has_v6(&self) -> bool {
        self.change == Change::Nothing
    }

    /// The case that a goal compares with the parser alone.
    pub fn is_limited(&self) -> bool {
        self.peer == peer::CERCO_LIMITED
    }

    /// The flows that the host has to have opened.
    pub fn flows(&self, frame: &[u8], sources: impl Iterator<Item = Address>) -> Vec<Packet> {
        let answer = match parse(frame) {
            Ok(Some(packet)) if self.reason == Reason::Reply => packet,
            _ => return Vec::new(),
        };
        let Transport::Udp { src_port, dst_port } = answer.transport() else {
            return Vec::new();
        };
        let question = Transport::Udp {
            src_port: dst_port,
            dst_port: src_port,
        };
        sources
            .map(|source| Packet::new(answer.destination(), source, 64, question))
            .collect()
    }

    /// The case in which xdp-filter, which denies by default here, has something to say beside.
    pub fn is_denied(&self) -> bool {
        self.reason == Reason::CountryDenied && self.setup == Setup::Plain
    }

    /// Where no address is read, the trace does not matter; and a million sources do not all fit the
    /// limiter and the flow table, which forget some of them.
    pub fn draws(&self) -> &'static [Draw] {
        let remembers_sources = matches!(self.reason, Reason::PacketLimit | Reason::Reply);
        if self.change == Change::Nothing && !remembers_sources {
            &[Draw::Few, Draw::Many]
        } else {
            &[Draw::Few]
        }
    }

    /// `ordinary` with what makes it end so.
    pub fn frame(&self, ordinary: &[u8]) -> Vec<u8> {
        let mut frame = ordinary.to_vec();
        match self.change {
            Change::Nothing => {}
            Change::HeaderLen => frame[14] = 0x44,
            Change::EtherType => frame[12..14].copy_from_slice(&0x0806_u16.to_be_bytes()),
        }
        frame
    }

    /// How many of `drawn` addresses are used. Who is over the limit must not be forgotten: of 4,096
    /// sources five meet in one set of four in every tenth run, of 1,024 in one of ten thousand.
    fn distinct(&self, drawn: usize) -> usize {
        match self.reason {
            Reason::PacketLimit => drawn.min(1_024),
            _ => drawn,
        }
    }

    /// Addresses in host byte order.
    pub fn sources_v4(&self, sets: &SourceSets, draw: Draw, banned: &[u32]) -> Result<Vec<u32>> {
        match self.origin {
            Origin::Banned => repeated(banned, draw),
            Origin::Unknown => repeated(&sets.unknown_v4, draw),
            Origin::Country(code) => {
                let drawn = sets.country(code)?.draw_v4(draw);
                repeated(&drawn[..self.distinct(drawn.len())], draw)
            }
            Origin::Denied => Ok(sets.denied.draw_v4(draw)),
        }
    }

    /// As [`Case::sources_v4`].
    pub fn sources_v6(&self, sets: &SourceSets, draw: Draw, banned: &[u128]) -> Result<Vec<u128>> {
        match self.origin {
            Origin::Banned => repeated(banned, draw),
            Origin::Unknown => repeated(&sets.unknown_v6, draw),
            Origin::Country(code) => {
                let drawn = sets.country(code)?.draw_v6(draw);
                repeated(&drawn[..self.distinct(drawn.len())], draw)
            }
            Origin::Denied => Ok(sets.denied.draw_v6(draw)),
        }
    }
}

/// A trace of as many places as `draw` has, from fewer addresses.
fn repeated<A: Copy>(addresses: &[A], draw: Draw) -> Result<Vec<A>> {
    ensure!(!addresses.is_empty(), "there are no such addresses");
    Ok(addresses
        .iter()
        .copied()
        .cycle()
        .take(draw.count())
        .collect())
}

/// The address space by what the gates make of it.
pub struct SourceSets {
    countries: BTreeMap<&'static str, Prefixes>,
    denied: Prefixes,
    unknown_v4: Vec<u32>,
    unknown_v6: Vec<u128>,
}

impl SourceSets {
    pub fn of(database: &Database) -> Self {
        let codes = [ALLOWED, ALLOWED_AND_BANNED, LIMITED, OVER_LIMIT, TRUSTED];
        let named = codes.map(policies::country);
        let of_country = |code| {
            let wanted = policies::country(code);
            (code, Prefixes::of(database, |country| country == wanted))
        };
        let denied = Prefixes::of(database, |country| !named.contains(&country));
        let is_known_v6 = |address: &u128| {
            let address = Ipv6Addr::from(*address);
            database.lookup(address.into()).country.is_some()
        };
        let (mut unknown_v4, mut unknown_v6) =
            (denied.draw_v4(Draw::Uniform), denied.draw_v6(Draw::Uniform));
        unknown_v4.retain(|address| is_unknown_v4(database, *address));
        unknown_v6.retain(|address| !is_known_v6(address));
        Self {
            countries: codes.into_iter().map(of_country).collect(),
            denied,
            unknown_v4,
            unknown_v6,
        }
    }

    fn country(&self, code: &str) -> Result<&Prefixes> {
        let prefixes = self.countries.get(code);
        prefixes.with_context(|| format!("{code} has no part in this"))
    }
}

/// Neither in the database nor private.
fn is_unknown_v4(database: &Database, address: u32) -> bool {
    let address = std::net::Ipv4Addr::from(address);
    let [a, b, ..] = address.octets();
    // RFC 6598: shared address space.
    let is_private =
        address.is_private() || address.is_link_local() || (a == 100 && b & 0xc0 == 64);
    !is_private && database.lookup(address.into()).country.is_none()
}

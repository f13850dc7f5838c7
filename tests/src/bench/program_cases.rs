//! The ways that a packet can end, and the frames and sources that make it end so.

use anyhow::{Result, ensure};
use filter_common::{country::CountryCode, verdict::Reason};
use filter_userspace::geo::Database;

use super::{
    program::ALLOWED_AND_LIMITED,
    trace::{Draw, Prefixes},
};
use crate::policies;

/// Whose sources get what, the same in all gates.
pub const ALLOWED: &str = "CN";
pub const LIMITED: &str = "JP";
/// Far above what anybody sends.
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
}

/// Where the sources come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    Country(&'static str),
    /// Every country but the four above.
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
    /// The part of the benchmark.
    pub what: &'static str,
    pub setup: Setup,
    /// How every frame must end.
    pub reason: Reason,
    /// Whether xdp-filter, which denies by default here, has something to say beside.
    pub is_denied: bool,
    from: From,
    change: Change,
}

const fn case(what: &'static str, setup: Setup, from: From, reason: Reason) -> Case {
    Case {
        what,
        setup,
        reason,
        is_denied: false,
        from,
        change: Change::Nothing,
    }
}

static CASES: &[Case] = &[
    Case {
        is_denied: true,
        ..case(
            "program: denied by country",
            Setup::Plain,
            From::Denied,
            Reason::CountryDenied,
        )
    },
    case(
        "program: unknown, denied",
        Setup::Plain,
        From::Unknown,
        Reason::UnknownDenied,
    ),
    case(
        "program: allowed",
        Setup::Plain,
        From::Country(ALLOWED),
        Reason::Allowed,
    ),
    case(
        ALLOWED_AND_LIMITED,
        Setup::Plain,
        From::Country(LIMITED),
        Reason::Allowed,
    ),
    case(
        "program: over the limit",
        Setup::Plain,
        From::Country(OVER_LIMIT),
        Reason::PacketLimit,
    ),
    case(
        "program: trusted",
        Setup::Plain,
        From::Country(TRUSTED),
        Reason::Trusted,
    ),
    case(
        "program: out of scope",
        Setup::OnePort,
        From::Denied,
        Reason::OutOfScope,
    ),
    Case {
        change: Change::HeaderLen,
        ..case(
            "program: malformed",
            Setup::Plain,
            From::Denied,
            Reason::BadIpv4HeaderLen,
        )
    },
    Case {
        change: Change::EtherType,
        ..case(
            "program: not IP",
            Setup::Plain,
            From::Denied,
            Reason::NotIp,
        )
    },
    case(
        "program: banned",
        Setup::Bans,
        From::Banned,
        Reason::Banned,
    ),
    case(
        "program: denied, with 100,000 bans",
        Setup::Bans,
        From::Denied,
        Reason::CountryDenied,
    ),
    case(
        "program: allowed, with 100,000 bans",
        Setup::Bans,
        From::Country(TRUSTED_NOT_BANNED),
        Reason::Allowed,
    ),
];

/// Allowed as well, and nobody of it is banned.
pub const TRUSTED_NOT_BANNED: &str = "TW";

/// In the order of the report.
pub fn cases() -> &'static [Case] {
    CASES
}

impl Case {
    /// Whether the case is there for IPv6 too.
    pub fn has_v6(&self) -> bool {
        self.change == Change::Nothing
    }

    /// Where no address is read, the trace does not matter.
    pub fn draws(&self) -> &'static [Draw] {
        match self.change {
            Change::Nothing => &[Draw::Few, Draw::Many],
            Change::HeaderLen | Change::EtherType => &[Draw::Few],
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

    /// Addresses in host byte order. Fails when the database has too few of them.
    pub fn sources_v4(&self, database: &Database, draw: Draw, banned: &[u32]) -> Result<Vec<u32>> {
        let sources: Vec<u32> = match self.from {
            From::Banned => banned.iter().copied().cycle().take(draw.len()).collect(),
            From::Unknown => {
                let all = Prefixes::of(database, |_| true);
                let uniform = all.draw_v4(Draw::Uniform);
                let unknown = |address: &u32| is_unknown_v4(database, *address);
                let some: Vec<u32> = uniform.into_iter().filter(unknown).collect();
                ensure!(!some.is_empty(), "the database knows every address");
                some.iter().copied().cycle().take(draw.len()).collect()
            }
            From::Country(_) | From::Denied => self.prefixes(database).draw_v4(draw),
        };
        Ok(sources)
    }

    /// As [`Case::sources_v4`].
    pub fn sources_v6(
        &self,
        database: &Database,
        draw: Draw,
        banned: &[u128],
    ) -> Result<Vec<u128>> {
        let sources: Vec<u128> = match self.from {
            From::Banned => banned.iter().copied().cycle().take(draw.len()).collect(),
            From::Unknown => {
                let all = Prefixes::of(database, |_| true);
                let uniform = all.draw_v6(Draw::Uniform);
                let unknown = |address: &u128| {
                    let address = std::net::Ipv6Addr::from(*address);
                    database.lookup(address.into()).country.is_none()
                };
                let some: Vec<u128> = uniform.into_iter().filter(unknown).collect();
                ensure!(!some.is_empty(), "the database knows every address");
                some.iter().copied().cycle().take(draw.len()).collect()
            }
            From::Country(_) | From::Denied => self.prefixes(database).draw_v6(draw),
        };
        Ok(sources)
    }

    fn prefixes(&self, database: &Database) -> Prefixes {
        let named = [ALLOWED, LIMITED, OVER_LIMIT, TRUSTED, TRUSTED_NOT_BANNED]
            .map(policies::country);
        match self.from {
            From::Country(code) => {
                let wanted = policies::country(code);
                Prefixes::of(database, |country| country == wanted)
            }
            _ => Prefixes::of(database, |country: CountryCode| !named.contains(&country)),
        }
    }
}

/// Neither known, nor private, nor multicast (whose sources essential traffic may have).
fn is_unknown_v4(database: &Database, address: u32) -> bool {
    let address = std::net::Ipv4Addr::from(address);
    let [a, b, ..] = address.octets();
    let is_special = address.is_private()
        || address.is_link_local()
        || (a == 100 && b & 0xc0 == 64)
        || a >= 224
        || a == 0;
    !is_special && database.lookup(address.into()).country.is_none()
}

//! Is this the next edition of the last good database, or something else?
//!
//! A file can be whole and valid and still be wrong: half of the world, one network, the edition of
//! last year, one bit turned over. What can be known of that is how it differs from what was good.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use filter_common::country::CountryCode;

use super::compare::{Comparison, Family};
use super::range::Address;
use super::{Database, Format, Range, UpdateFailure};

/// How much may change from one edition to the next: a fifth, both ways.
const TOLERATED_PART: u128 = 5;

/// A database with fewer networks is written by hand, line by line. Adding one network to five is no
/// reason to doubt, so parts and proportions are not looked at.
const WRITTEN_BY_HAND: u64 = 100;

/// What must be true of a database, whatever it replaces.
#[derive(Default)]
pub struct Expected<'e> {
    /// The countries that the policy names.
    pub countries: &'e [CountryCode],
    /// `[geo.canaries]`.
    pub canaries: &'e [(IpAddr, CountryCode)],
    /// Sessions that must not be cut off, as far as the database decides about their addresses.
    pub sessions: &'e [IpAddr],
    /// The countries that are let in, and `None` if addresses of no country are.
    pub allowed: &'e dyn Allowed,
}

/// Whether addresses of a country, or of none, are let in.
pub trait Allowed {
    fn allows(&self, country: Option<CountryCode>) -> bool;
}

impl<F: Fn(Option<CountryCode>) -> bool> Allowed for F {
    fn allows(&self, country: Option<CountryCode>) -> bool {
        self(country)
    }
}

impl Default for &dyn Allowed {
    fn default() -> Self {
        &|_: Option<CountryCode>| true
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FamilyName {
    V4,
    V6,
}

impl fmt::Display for FamilyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// One reason not to trust a database.
#[derive(Clone, PartialEq, Debug)]
pub enum Doubt {
    Older {
        before: SystemTime,
        after: SystemTime,
    },
    SameDate {
        built: SystemTime,
    },
    Unterminated,
    CutOff {
        family: FamilyName,
        last: Option<IpAddr>,
        ranges: usize,
    },
    Networks {
        family: FamilyName,
        before: u64,
        after: u64,
    },
    Space {
        family: FamilyName,
        /// Of what there was; negative when it shrinks, `None` when there was nothing.
        percent: Option<f64>,
    },
    CountryGone {
        country: CountryCode,
    },
    CountryLoses {
        country: CountryCode,
        family: FamilyName,
        percent: f64,
    },
    CountryTakes {
        country: CountryCode,
        family: FamilyName,
        percent: f64,
    },
    Reassigned {
        family: FamilyName,
        percent: f64,
    },
    Canary {
        address: IpAddr,
        expected: CountryCode,
        found: Option<CountryCode>,
    },
    Lockout {
        address: IpAddr,
        before: Option<CountryCode>,
        after: Option<CountryCode>,
    },
}

impl Doubt {
    pub const fn failure(&self) -> UpdateFailure {
        match self {
            Self::Older { .. } => UpdateFailure::Older,
            Self::SameDate { .. } => UpdateFailure::SameDate,
            Self::Unterminated | Self::CutOff { .. } => UpdateFailure::CutOff,
            Self::Networks { .. } => UpdateFailure::Networks,
            Self::Space { .. } => UpdateFailure::Space,
            Self::CountryGone { .. } => UpdateFailure::CountryGone,
            Self::CountryLoses { .. } | Self::CountryTakes { .. } => UpdateFailure::CountrySpace,
            Self::Reassigned { .. } => UpdateFailure::Reassigned,
            Self::Canary { .. } => UpdateFailure::Canary,
            Self::Lockout { .. } => UpdateFailure::Lockout,
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = |time: &SystemTime| humantime::format_rfc3339_seconds(*time).to_string();
        match self {
            Self::Older { before, after } => write!(
                f,
                "it is older ({}) than the last good one ({})",
                date(after),
                date(before)
            ),
            Self::SameDate { built } => write!(
                f,
                "it differs from the last good one, but was built at the same second ({})",
                date(built)
            ),
            Self::Unterminated => f.write_str(
                "its last line has no end, which the last good one's had: is the file cut off?",
            ),
            Self::CutOff {
                family,
                last,
                ranges,
            } => {
                match last {
                    Some(last) => write!(f, "no {family} network lies behind {last}")?,
                    None => write!(f, "no {family} network is left")?,
                }
                write!(
                    f,
                    ", where the last good one has {ranges}: is the file cut off?"
                )
            }
            Self::Networks {
                family,
                before,
                after,
            } => write!(f, "{after} {family} networks instead of {before}"),
            Self::Space { family, percent } => match percent {
                None => write!(f, "it knows {family}, which the last good one did not"),
                Some(percent) => write!(f, "its {family} space changes by {percent:+.0} %"),
            },
            Self::CountryGone { country } => {
                write!(f, "no network is in {country}, which the policy names")
            }
            Self::CountryLoses {
                country,
                family,
                percent,
            } => write!(f, "{country} loses {percent:.0} % of its {family} space"),
            Self::CountryTakes {
                country,
                family,
                percent,
            } => write!(
                f,
                "{country} takes {family} space from other countries, {percent:.0} % of what it had"
            ),
            Self::Reassigned { family, percent } => write!(
                f,
                "{percent:.0} % of the known {family} space changes its country"
            ),
            Self::Canary {
                address,
                expected,
                found,
            } => write!(
                f,
                "{address} is {}, but [geo.canaries] says {expected}",
                word(*found)
            ),
            Self::Lockout {
                address,
                before,
                after,
            } => write!(
                f,
                "it would cut off the SSH session from {address} ({} until now, then {})",
                word(*before),
                word(*after)
            ),
        }
    }
}

fn word(country: Option<CountryCode>) -> String {
    country.map_or_else(|| "unknown".to_owned(), |country| country.to_string())
}

/// Every reason not to put `after` in the place of `before`, the most telling first. Without a
/// `before` only what must be true of every database is looked at.
pub fn judge(before: Option<&Database>, after: &Database, expected: &Expected<'_>) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    if let Some(before) = before {
        let comparison = Comparison::of(before, after);
        judge_date(before, after, &comparison, &mut doubts);
        if !written_by_hand(before) || !written_by_hand(after) {
            judge_size(before, after, &comparison, &mut doubts);
            judge_countries(&comparison, expected.countries, &mut doubts);
        }
        judge_end(before, after, &mut doubts);
        judge_sessions(before, after, expected, &mut doubts);
        let gone = |country: &CountryCode| {
            let [v4, v6] = [&comparison.v4, &comparison.v6].map(|it| it.of_country(*country));
            v4.after + v6.after == 0 && v4.before + v6.before > 0
        };
        let gone = expected.countries.iter().copied().filter(gone);
        doubts.extend(gone.map(|country| Doubt::CountryGone { country }));
    } else {
        let known = after.countries();
        let missing = expected.countries.iter().copied();
        let missing = missing.filter(|country| !known.contains(country));
        doubts.extend(missing.map(|country| Doubt::CountryGone { country }));
    }
    for &(address, expected) in expected.canaries {
        let found = after.lookup(address).country;
        if found != Some(expected) {
            doubts.push(Doubt::Canary {
                address,
                expected,
                found,
            });
        }
    }
    doubts
}

fn written_by_hand(database: &Database) -> bool {
    database.info.networks_v4 + database.info.networks_v6 < WRITTEN_BY_HAND
}

fn judge_date(
    before: &Database,
    after: &Database,
    comparison: &Comparison,
    doubts: &mut Vec<Doubt>,
) {
    let (Some(built_before), Some(built_after)) = (before.info.build_time, after.info.build_time)
    else {
        return;
    };
    if built_after < built_before {
        doubts.push(Doubt::Older {
            before: built_before,
            after: built_after,
        });
    }
    // The date of this format is a second, so two editions never share it; those of others are days.
    let both_mmdb = [before, after].map(|it| it.info.format) == [Format::Mmdb; 2];
    if both_mmdb && built_after == built_before && !comparison.changed_countries().is_empty() {
        doubts.push(Doubt::SameDate { built: built_after });
    }
}

/// A text that is cut off between two lines is a valid text, and lacks what stood last.
fn judge_end(before: &Database, after: &Database, doubts: &mut Vec<Doubt>) {
    if after.info.unterminated && !before.info.unterminated {
        doubts.push(Doubt::Unterminated);
    }
    if written_by_hand(before) {
        return;
    }
    let mut judge = |family, (last, ranges): (Option<IpAddr>, usize)| {
        if ranges > 0 {
            doubts.push(Doubt::CutOff {
                family,
                last,
                ranges,
            });
        }
    };
    judge(FamilyName::V4, behind_the_end(&before.v4, &after.v4));
    judge(FamilyName::V6, behind_the_end(&before.v6, &after.v6));
}

/// The last address of `after`, and how many ranges of `before` lie behind it.
fn behind_the_end<A: Address>(before: &[Range<A>], after: &[Range<A>]) -> (Option<IpAddr>, usize) {
    match after.last() {
        None => (None, before.len()),
        Some(end) => {
            let up_to_end = before.partition_point(|range| range.first <= end.last);
            (Some(end.last.to_ip()), before.len() - up_to_end)
        }
    }
}

fn judge_size(
    before: &Database,
    after: &Database,
    comparison: &Comparison,
    doubts: &mut Vec<Doubt>,
) {
    let families = [
        (
            FamilyName::V4,
            &comparison.v4,
            before.info.networks_v4,
            after.info.networks_v4,
        ),
        (
            FamilyName::V6,
            &comparison.v6,
            before.info.networks_v6,
            after.info.networks_v6,
        ),
    ];
    for (family, space, before, after) in families {
        if is_too_much(before.abs_diff(after).into(), before.into()) {
            doubts.push(Doubt::Networks {
                family,
                before,
                after,
            });
        }
        let all = space.all;
        if is_too_much(all.before.abs_diff(all.after), all.before) {
            let change = all.after as f64 - all.before as f64;
            doubts.push(Doubt::Space {
                family,
                percent: (all.before > 0).then(|| change * 100.0 / all.before as f64),
            });
        }
        let known_to_both = all.before - all.lost;
        if is_too_much(space.reassigned, known_to_both) {
            doubts.push(Doubt::Reassigned {
                family,
                percent: percent(space.reassigned, known_to_both),
            });
        }
    }
}

/// A country that is let in and loses its space is cut off; one that takes the space of others lets
/// them in. Space that nobody had is not counted: registries give it out every day.
fn judge_countries(comparison: &Comparison, named: &[CountryCode], doubts: &mut Vec<Doubt>) {
    let families: [(FamilyName, &Family); 2] = [
        (FamilyName::V4, &comparison.v4),
        (FamilyName::V6, &comparison.v6),
    ];
    for &country in named {
        for (family, space) in families {
            let space = space.of_country(country);
            // A country that is gone is another doubt, and one that comes is none.
            if space.before == 0 || space.after == 0 {
                continue;
            }
            if is_too_much(space.lost, space.before) {
                doubts.push(Doubt::CountryLoses {
                    country,
                    family,
                    percent: percent(space.lost, space.before),
                });
            }
            if is_too_much(space.taken, space.before) {
                doubts.push(Doubt::CountryTakes {
                    country,
                    family,
                    percent: percent(space.taken, space.before),
                });
            }
        }
    }
}

fn judge_sessions(
    before: &Database,
    after: &Database,
    expected: &Expected<'_>,
    doubts: &mut Vec<Doubt>,
) {
    for &address in expected.sessions {
        let [before, after] = [before, after].map(|it| it.lookup(address).country);
        if expected.allowed.allows(before) && !expected.allowed.allows(after) {
            doubts.push(Doubt::Lockout {
                address,
                before,
                after,
            });
        }
    }
}

/// Exactly a fifth is still tolerated.
const fn is_too_much(change: u128, of: u128) -> bool {
    change > of / TOLERATED_PART
}

fn percent(part: u128, whole: u128) -> f64 {
    part as f64 * 100.0 / whole as f64
}

#[cfg(test)]
mod tests;

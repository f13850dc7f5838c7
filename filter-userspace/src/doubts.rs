//! What speaks against a database under a policy, on this host, at this moment.

use std::net::IpAddr;

use filter_common::country::CountryCode;

use crate::{
    config::Config,
    geo::{
        Database,
        judge::{Doubt, Expected, judge},
    },
    logins,
    policy::{Action, Policy},
};

/// Every doubt about `after`, for `policy`.
pub fn judged(
    before: Option<&Database>,
    after: &Database,
    config: &Config,
    policy: &Policy,
    ssh_peer: Option<(IpAddr, u16)>,
) -> Vec<Doubt> {
    let countries: Vec<CountryCode> = policy.countries.keys().copied().collect();
    // Who only tries passwords is not logged in, or he could keep a database out for as long as he likes.
    let sessions: Vec<IpAddr> = logins::gather(ssh_peer)
        .into_iter()
        .filter(|session| policy.scope.holds_tcp(session.port))
        .map(|session| session.peer)
        .filter(|address| follows_its_country(policy, *address))
        .collect();
    let allowed = |country| allows(policy, country);
    let expected = Expected {
        countries: &countries,
        canaries: &config.canaries,
        sessions: &sessions,
        allowed: &allowed,
    };
    judge(before, after, &expected)
}

/// Whether addresses of `country`, or of none, are let in.
pub fn allows(policy: &Policy, country: Option<CountryCode>) -> bool {
    let action = country.map_or(policy.unknown, |country| policy.action_for(country));
    action != Action::Deny
}

/// Whether the database has a say about an address: rules and trusted prefixes do without it.
pub fn follows_its_country(policy: &Policy, address: IpAddr) -> bool {
    let mut lists = [&policy.trusted, &policy.allow, &policy.deny]
        .into_iter()
        .flatten();
    !lists.any(|prefix| prefix.contains(address))
}

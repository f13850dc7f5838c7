//! Whether somebody was turned away whom the policy allows, as far as the counters know it.

use serde::Serialize;

use super::{numbers::CountryLine, policy::Actions, words};
use crate::history::reply::{Fates, History, Line};

/// Whether somebody was turned away whom the policy allows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Allowed {
    /// The countries that are allowed; `None`: all that no rule denies, or not known.
    pub countries: Option<Vec<String>>,
    /// Classes that are allowed and had packets denied, most first; `None`: it is not known who is allowed.
    pub denied: Option<Vec<Line>>,
    pub denied_packets: Option<u64>,
    /// Packets beyond a limit, from all sources.
    pub limited: Fates,
    pub banned: Fates,
    /// Whether a rule denies single ports, and so turns away packets also of who is allowed elsewhere.
    pub some_ports_denied: bool,
    /// Whether the limits alone turned them away: there was no ban and no rule that denies single ports, and
    /// the policy was that of now all the time.
    pub only_limited: bool,
}

impl Allowed {
    /// `is_of_now`: the policy was that of now all the time. Reasons are not known by country, nor the other
    /// way round.
    pub fn of(
        history: &History,
        countries: &[CountryLine],
        actions: Option<&Actions>,
        is_of_now: bool,
    ) -> Self {
        let of_reasons = |is_meant: fn(&str) -> bool| {
            let mut sum = Fates::default();
            for line in history.reasons.iter().filter(|it| is_meant(&it.name)) {
                sum.dropped_packets += line.fates.dropped_packets;
                sum.dropped_bytes += line.fates.dropped_bytes;
                sum.would_drop_packets += line.fates.would_drop_packets;
                sum.would_drop_bytes += line.fates.would_drop_bytes;
            }
            sum
        };
        let limited = of_reasons(words::is_limit);
        let banned = of_reasons(|name| name == "banned");
        let denied = actions.map(|actions| {
            let denied = countries
                .iter()
                .filter(|it| it.fates.denied_packets() > 0 && actions.is_allowed(&it.class));
            let lines = denied.map(|it| Line {
                name: it.class.clone(),
                fates: it.fates,
            });
            lines.collect::<Vec<_>>()
        });
        let denied_packets = denied
            .as_ref()
            .map(|lines| lines.iter().map(|it| it.fates.denied_packets()).sum());
        let some_ports_denied = actions.is_some_and(|it| it.some_ports_denied);
        Self {
            countries: actions.and_then(Actions::allowlist),
            // Reasons are not known by country.
            only_limited: history.country.is_none()
                && is_of_now
                && !some_ports_denied
                && banned.denied_packets() == 0
                && denied_packets.is_some_and(|it| it <= limited.denied_packets()),
            denied,
            denied_packets,
            some_ports_denied,
            limited,
            banned,
        }
    }
}

//! How each number was obtained, and how exact it is.

use serde::Serialize;

use super::{numbers::Report, words};
use crate::history::DAY;

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Method {
    pub number: &'static str,
    pub how: String,
    pub exact: String,
}

pub fn methods(report: &Report) -> Vec<Method> {
    let mut methods = vec![
        Method {
            number: "Packets and bytes by verdict, reason, country and interface",
            how: "Counters in the kernel, which every packet raises once when it is decided on; the \
                  daemon reads them each minute and keeps the differences in its history."
                .into(),
            exact: format!(
                "Exact. They add up to what `cerco status` and the metrics counted in this time, also over \
                 restarts of the daemon. A packet is what arrived at the network card as one frame.{}",
                match report.has_gaps {
                    true => {
                        " What came while no gate stood, or is lost with one, is in no number: the notes \
                         above the summary say when that was."
                    }
                    false => "",
                }
            ),
        },
        times(report),
        Method {
            number: "Average a minute",
            how: format!(
                "All packets of the period that were turned away or would have been, by its {}.",
                words::counted(report.period.minutes, "minute")
            ),
            exact: "Exact, but for the last minute, which may not have been over.".into(),
        },
        peak(report),
        Method {
            number: "Countries",
            how: "The kernel looks the source address of each packet up in the country database that \
                  was in force then."
                .into(),
            exact: "The counts are exact; whether an address is really used in that country is as good \
                    as the database. An attacker can forge the source of packets that begin a connection, and of \
                    UDP: the country is that of the address, not always that of the sender."
                .into(),
        },
    ];
    if report.country.is_some() {
        methods.push(Method {
            number: "Reasons, protocols, ports, number of sources",
            how: "Not known by country: the counters know each by itself.".into(),
            exact: "A report without `--country` has them, for all countries together.".into(),
        });
    } else {
        methods.extend(sampled(report));
    }
    methods.push(sources(report));
    methods.push(Method {
        number: "Who is allowed",
        how:
            "The rules of the config and those made at runtime, as they were when this was written."
                .into(),
        exact: match (
            report.in_force.changed,
            report.in_force.rules_are_of_the_end,
        ) {
            (false, Some(true)) => {
                "The same policy was in force all the time: its hash did not change."
            }
            (_, Some(true)) => {
                "In the period another policy or database was in force, too: see the changes."
            }
            (_, Some(false)) => "Not the policy of the period: it changed later. See the hashes.",
            (_, None) => "The history does not say whether the policy of the period was the same.",
        }
        .into(),
    });
    if report.networks.database.is_some() {
        methods.push(Method {
            number: "Names of networks",
            how:
                "The source's address, looked up in the configured database of autonomous systems \
                  when this was written."
                    .into(),
            exact: "As good as that database; the network may have changed hands since.".into(),
        });
    }
    methods
}

fn times(report: &Report) -> Method {
    let exact = match report.period.minutes_from {
        None => {
            "To the minute. While the daemon is busy a minute may hold some seconds of the next."
                .to_owned()
        }
        Some(from) if from >= report.period.until => {
            "To the hour: the single minutes are no longer \
             kept, or were not asked for."
                .to_owned()
        }
        Some(from) => format!(
            "To the minute from {} UTC on, before that to the hour.",
            words::time(from)
        ),
    };
    let unseen = match report.timeline.unseen.is_empty() {
        true => String::new(),
        false => " Times in which no daemon looked are listed under the chart; what came then is \
                  counted at their end."
            .to_owned(),
    };
    Method {
        number: "Times",
        how: "The clock of the host, in UTC. What is counted in a minute is what came since the look \
              before."
            .into(),
        exact: exact + &unseen,
    }
}

fn peak(report: &Report) -> Method {
    let exact = match report.peak {
        None if !report.period.is_known() => words::NOTHING_KNOWN,
        None if report.denied_packets() == 0 => "Nothing was turned away.",
        None => "Not known: no time of it has numbers of its own.",
        Some(peak) if peak.certain => "As exact as the minutes: see Times.",
        Some(_) => {
            "At least so many: where single minutes are not known, the average of the longer \
                    time counts."
        }
    };
    Method {
        number: "Peak",
        how: "The minute with the most packets turned away.".into(),
        exact: exact.into(),
    }
}

/// What the sample is about but for protocols; the last hour may not be over.
fn hours(report: &Report) -> String {
    format!(
        "the hours from {} to {} UTC",
        words::time(report.sample.since),
        words::time(report.sample.until)
    )
}

fn sampled(report: &Report) -> Vec<Method> {
    let sample = &report.sample;
    vec![
        Method {
            number: "Protocols and ports",
            how: format!(
                "A sample: of {} in {}, which stand for {} packets in all. The kernel limits how many it tells \
                 of, so that a flood drowns nobody; packets of a reason that were not seen are shared out \
                 among those of it that were seen just before. Protocols are of the period itself.",
                words::counted(sample.events, "event"),
                hours(report),
                words::grouped(sample.frames)
            ),
            exact:
                "An estimate, but for the smaller number of two: of `900 to 1,100` packets to a port 900 were seen \
                    for certain. Ports are counted in bounded memory."
                    .into(),
        },
        Method {
            number: "Different sources",
            how: format!(
                "A count of the different addresses in the same sample (HyperLogLog), over {}.",
                hours(report)
            ),
            exact: format!(
                "At least so many: a flood of a million forged addresses shows only those that were \
                 sampled. Its standard error is {:.1} %. A source is an IPv4 address or an IPv6 /64.",
                report.distinct_sources.map_or(0.0, |it| it.error) * 100.0
            ),
        },
    ]
}

fn sources(report: &Report) -> Method {
    let often = match report.sample.until - report.sample.since > DAY {
        true => " In each hour the most frequent ones are kept.",
        false => "",
    };
    Method {
        number: "Most frequent sources",
        how: format!(
            "The same sample of {}, counted in bounded memory (space-saving).{often}",
            hours(report)
        ),
        exact: format!(
            "The smaller number of two is certain: so many were seen. The larger one is an estimate, in which \
             packets that were not seen are shared out; by it no source that is missing sent more than {}.",
            words::grouped(report.sample.other_sources_at_most)
        ),
    }
}

//! Each metric family: its name, type, unit and meaning, and where its values come from.
//!
//! `docs/metrics.md` lists them; a test holds the two together.

use std::fmt;

use filter_common::verdict::{Reason, Verdict};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::{Snapshot, process::Process};
use crate::kernel::{AttachMode, Count, Mode};

/// The label of what happened to the packets of one counter.
const VERDICTS: [&str; 3] = ["pass", "drop", "would_drop"];

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.traffic(&mut encoder)?;
        self.interfaces(&mut encoder)?;
        self.policy(&mut encoder)?;
        self.database(&mut encoder)?;
        self.replies(&mut encoder)?;
        self.history(&mut encoder)?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        encoder
            .encode_descriptor("cerco_build", "The running version", None, MetricType::Info)?
            .encode_info(&version)?;
        process(&mut encoder, &self.process)
    }
}

impl Snapshot {
    fn traffic(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let packets = Unit::Other("packets".to_owned());
        counters(
            encoder,
            "cerco",
            "Frames by interface, verdict and reason",
            Some(&packets),
            self.by_reason(|count| count.packets),
        )?;
        counters(
            encoder,
            "cerco",
            "Bytes of frames by interface, verdict and reason",
            Some(&Unit::Bytes),
            self.by_reason(|count| count.bytes),
        )?;
        let countries = self.countries.iter().flat_map(|(code, totals)| {
            VERDICTS.iter().zip(totals).map(move |(verdict, total)| {
                ([("country", code.as_str()), ("verdict", *verdict)], *total)
            })
        });
        counters(
            encoder,
            "cerco_country",
            "Frames by country of the source and verdict",
            Some(&packets),
            countries,
        )
    }

    fn interfaces(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let interfaces = || {
            let attached = self.attached.iter();
            attached.map(|(interface, mode)| (interface.as_str(), *mode))
        };
        gauges(
            encoder,
            "cerco_interface_attached",
            "1 where the gate stands, 0 where it should and does not",
            interfaces().map(|(name, mode)| ([("interface", name)], mode.is_some().into())),
        )?;
        let modes = [
            ("native", AttachMode::Native),
            ("generic", AttachMode::Generic),
        ];
        gauges(
            encoder,
            "cerco_interface_attach_mode",
            "1 for the way in which the gate is attached, 0 for the other",
            interfaces().flat_map(|(name, attached)| {
                modes.map(|(word, mode)| {
                    let labels = [("interface", name), ("mode", word)];
                    (labels, (attached == Some(mode)).into())
                })
            }),
        )
    }

    fn policy(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        gauges(
            encoder,
            "cerco_mode",
            "1 for the mode in force, 0 for the other",
            [
                ([("mode", "observe")], u64::from(self.mode == Mode::Observe)),
                ([("mode", "enforce")], u64::from(self.mode == Mode::Enforce)),
            ],
        )?;
        gauge(
            encoder,
            "cerco_trial_pending",
            "1 while a change waits to be confirmed or undone",
            None,
            u64::from(self.trial_pending),
        )?;
        if let Some(published) = self.published {
            gauge(
                encoder,
                "cerco_policy_published_timestamp",
                "When the policy in force was put there, since 1970",
                Some(&Unit::Seconds),
                published,
            )?;
        }
        counter(
            encoder,
            "cerco_reload_failures",
            "Reloads that were refused, the running policy staying in force",
            self.reload_failures,
        )?;
        gauge(
            encoder,
            "cerco_runtime_rules",
            "Rules made at runtime, which the config does not have",
            None,
            self.runtime_rules,
        )?;
        gauge(encoder, "cerco_bans", "Bans in force", None, self.bans)
    }

    fn database(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        if let Some(built) = self.database_built {
            gauge(
                encoder,
                "cerco_database_build_timestamp",
                "When the database in force was built, since 1970",
                Some(&Unit::Seconds),
                built,
            )?;
        }
        gauges(
            encoder,
            "cerco_database_networks",
            "Networks in the database in force",
            [
                ([("family", "ipv4")], self.networks_v4),
                ([("family", "ipv6")], self.networks_v6),
            ],
        )?;
        gauge(
            encoder,
            "cerco_table",
            "Size of the address tables in force",
            Some(&Unit::Bytes),
            self.table_bytes,
        )?;
        let failures = self.database_failures.iter();
        counters(
            encoder,
            "cerco_database_update_failures",
            "Databases that did not come into force or could not be kept, by reason",
            None,
            failures.map(|(reason, count)| ([("reason", *reason)], *count)),
        )?;
        gauge(
            encoder,
            "cerco_database_refused",
            "1 while the last good database stands in for one that was refused",
            None,
            u64::from(self.database_refused),
        )?;
        gauge(
            encoder,
            "cerco_database_held",
            "1 while a rollback holds the database, whatever the config names",
            None,
            u64::from(self.database_held),
        )
    }

    fn replies(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        gauge(
            encoder,
            "cerco_replies_enabled",
            "1 when answers to connections of this host are let in",
            None,
            u64::from(self.replies_enabled),
        )?;
        gauges(
            encoder,
            "cerco_flows",
            "Connections of this host that have not ended, counted once a minute",
            [
                ([("protocol", "tcp")], self.flows.tcp),
                ([("protocol", "udp")], self.flows.udp),
                ([("protocol", "icmp")], self.flows.echo),
            ],
        )?;
        gauge(
            encoder,
            "cerco_tracker_faults",
            "Interfaces on which answers to connections of this host may be denied",
            None,
            self.tracker_faults,
        )
    }

    fn history(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let Some((bytes, is_faulty)) = self.history else {
            return Ok(());
        };
        gauge(
            encoder,
            "cerco_history",
            "Size of the file that `cerco history` reads",
            Some(&Unit::Bytes),
            bytes,
        )?;
        gauge(
            encoder,
            "cerco_history_fault",
            "1 while the history cannot be written, as on a full disk",
            None,
            u64::from(is_faulty),
        )
    }

    /// Every reason of every interface, also those at zero: a rate needs the zero before the first.
    fn by_reason(
        &self,
        of: impl Fn(&Count) -> u64 + Copy,
    ) -> impl Iterator<Item = ([(&str, &str); 3], u64)> {
        self.interfaces.iter().flat_map(move |counters| {
            Reason::ALL.iter().flat_map(move |reason| {
                let value = |counts: &[Count]| counts.get(*reason as usize).map_or(0, of);
                let (done, would) = match reason.verdict() {
                    Verdict::Pass => ("pass", None),
                    Verdict::Drop => ("drop", Some(value(&counters.would_drop))),
                };
                let labels = move |verdict| {
                    [
                        ("interface", counters.interface.as_str()),
                        ("verdict", verdict),
                        ("reason", reason.label()),
                    ]
                };
                let would = would.map(|value| (labels("would_drop"), value));
                [(labels(done), value(&counters.enforced))]
                    .into_iter()
                    .chain(would)
            })
        })
    }
}

/// What every client library of Prometheus tells of its process, under the names that all of them use.
fn process(encoder: &mut DescriptorEncoder, process: &Process) -> fmt::Result {
    let cpu = ConstCounter::new(process.cpu_seconds);
    cpu.encode(encoder.encode_descriptor(
        "process_cpu",
        "Time that the daemon has computed, in user and system mode",
        Some(&Unit::Seconds),
        MetricType::Counter,
    )?)?;
    gauge(
        encoder,
        "process_start_time",
        "When the daemon was started, since 1970",
        Some(&Unit::Seconds),
        process.started,
    )?;
    if let Some(resident) = process.resident_bytes {
        gauge(
            encoder,
            "process_resident_memory",
            "Memory of the daemon, without the tables in the kernel",
            Some(&Unit::Bytes),
            resident,
        )?;
    }
    match process.open_fds {
        Some(open) => gauge(
            encoder,
            "process_open_fds",
            "Files, sockets and maps that the daemon has open",
            None,
            open,
        ),
        None => Ok(()),
    }
}

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counter(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: u64) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(value).encode(encoder)
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// One gauge without labels; an empty label set would be written as `{}`.
fn gauge<N: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: N,
) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    ConstGauge::new(value).encode(encoder)
}

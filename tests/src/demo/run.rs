//! One run of the attack, with the gate off or on.

use super::{
    bots, client,
    countries::ATTACKERS,
    cpu::CpuTime,
    flood,
    gate::Gate,
    guests, incident,
    plan::Plan,
    progress::Progress,
    server::Server,
    summary::{Client, CountryRow, CpuSeconds, Run},
    topology::{HOST_LINK, Topology},
    watch,
};
use crate::{
    poll,
    tap::{Count, Tap},
};
use anyhow::{Context, Result, anyhow};
use filter_common::country::CountryCode;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long the host may take to work through what is in its queues when the senders are done.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// Is the gate up in this run?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateState {
    Off,
    On,
}

/// What went on while the client made its requests.
struct Attack {
    flood: flood::Sent,
    bots: bots::Outcome,
    guests_sent: u64,
    /// Flood and bots together.
    sent: BTreeMap<CountryCode, u64>,
}

/// Two counters behind the gate, which cerco has no part in.
struct Taps {
    guests: Tap,
    denied: Tap,
}

/// What a run is given.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub plan: &'a Plan,
    pub state: GateState,
    pub database: Option<&'a Path>,
    /// Where cerco's report goes, if there is a gate.
    pub report: &'a Path,
}

/// Builds the small internet, attacks, counts, and takes everything down again.
pub fn run(attempt: &Attempt<'_>, progress: &Progress) -> Result<Run> {
    let Attempt {
        plan,
        state,
        database,
        report,
    } = *attempt;
    progress.step("building the network");
    let topology = Topology::build(plan)?;
    let server = Server::start(&topology.host)?;
    let gate = match state {
        GateState::Off => None,
        GateState::On => {
            progress.step("putting up the gate");
            Some(Gate::start(&topology.host, database)?)
        }
    };
    client::prove_service(&topology.client, plan)?;

    let mut taps = Taps {
        guests: Tap::open(&topology.host, HOST_LINK, &Count::From(&plan.guests))?,
        denied: Tap::open(
            &topology.host,
            HOST_LINK,
            &Count::NotFrom(&Topology::not_denied(plan)),
        )?,
    };
    let gate_pid = gate.as_ref().and_then(Gate::pid);
    let cpu_before = CpuTime::now(server.pid(), gate_pid);
    let start = Instant::now();

    let stop_client = AtomicBool::new(false);
    let (attack, requests) = thread::scope(|scope| {
        let client = scope.spawn(|| client::visit(&topology.client, plan, &stop_client));
        let attack = attack(&topology, plan, progress);
        stop_client.store(true, Ordering::Relaxed);
        let requests = client
            .join()
            .map_err(|_| anyhow!("the client's thread panicked"))
            .flatten();
        (attack, requests)
    });
    let (attack, requests) = (attack?, requests?);
    let attack_packets = attack.sent.values().sum();

    progress.step("counting");
    let (guests_arrived, denied_passed) =
        settle(&mut taps, gate.as_ref(), attack.guests_sent, attack_packets)?;
    let duration_s = start.elapsed().as_secs_f64();
    let cpu = CpuTime::now(server.pid(), gate_pid) - cpu_before;
    let by_country = by_country(gate.as_ref(), &attack.sent, denied_passed)?;
    let report_equal = match &gate {
        Some(gate) => {
            progress.step("writing the report");
            Some(incident::write(gate, report, &by_country, attack_packets)?)
        }
        None => None,
    };
    progress.done();

    let of_family = |ipv6: bool| {
        let requests: Vec<_> = requests.iter().filter(|r| r.ipv6 == ipv6).collect();
        Client {
            tried: requests.len() as u64,
            ok: requests.iter().filter(|r| r.latency.is_some()).count() as u64,
            p50_ms: percentile_ms(requests.iter().filter_map(|r| r.latency), 50),
            p99_ms: percentile_ms(requests.iter().filter_map(|r| r.latency), 99),
        }
    };
    let latencies = || requests.iter().filter_map(|request| request.latency);
    let client_ok = latencies().count() as u64;
    let client_tried = requests.len() as u64;
    Ok(Run {
        attack_packets,
        flood_packets: attack.flood.packets(),
        flood_packets_asked: plan.flood_packets,
        flood_s: attack.flood.duration.as_secs_f64(),
        flood_waits: attack.flood.refusals,
        denied_passed,
        denied_dropped: by_country.iter().map(|row| row.dropped).sum(),
        allowed_sent: attack.guests_sent,
        allowed_arrived: guests_arrived,
        allowed_dropped: attack.guests_sent.abs_diff(guests_arrived),
        client_tried,
        client_ok,
        client_failed: client_tried - client_ok,
        client_p50_ms: percentile_ms(latencies(), 50),
        client_p99_ms: percentile_ms(latencies(), 99),
        client_ipv4: of_family(false),
        client_ipv6: of_family(true),
        bot_connections_tried: attack.bots.tried,
        bot_connections_connected: attack.bots.connected,
        bot_connections_served: attack.bots.served,
        by_country_equal: by_country
            .iter()
            .all(|row| row.passed.map(|passed| passed + row.dropped) == Some(row.sent)),
        by_country,
        report_equal,
        cpu_seconds: CpuSeconds {
            softirq: cpu.softirq,
            nginx: cpu.nginx,
            cerco: cpu.cerco,
            demo: cpu.demo,
            machine: cpu.machine,
        },
        duration_s,
    })
}

/// Both waves, one after the other.
fn attack(topology: &Topology, plan: &Plan, progress: &Progress) -> Result<Attack> {
    // Open from the start: where the flood borrows the address of a bot, the host's answer reaches
    // that bot, and its reset is a packet of the attack, too.
    let watcher = watch::open(topology)?;
    let stop_watch = AtomicBool::new(false);
    let (flood, bots, routed) = thread::scope(|scope| {
        let routed = scope.spawn(|| watch::count(&watcher, plan, &stop_watch));
        let flood = flood_beside_guests(topology, plan, progress);
        progress.step("second wave: TCP connections");
        let bots = flood.is_ok().then(|| {
            bots::attack(&topology.attackers, plan, |tried| {
                progress.share(tried, plan.bots.len() as u64);
            })
        });
        stop_watch.store(true, Ordering::Relaxed);
        let routed = routed
            .join()
            .map_err(|_| anyhow!("the watcher's thread panicked"))
            .flatten();
        (flood, bots, routed)
    });
    let (flood, guests_sent) = flood?;
    let mut sent = flood.by_country.clone();
    for (code, packets) in routed? {
        *sent.entry(code).or_default() += packets;
    }
    Ok(Attack {
        flood,
        bots: bots.transpose()?.unwrap_or_default(),
        guests_sent,
        sent,
    })
}

/// The first wave; how many packets the guests sent meanwhile.
fn flood_beside_guests(
    topology: &Topology,
    plan: &Plan,
    progress: &Progress,
) -> Result<(flood::Sent, u64)> {
    progress.step("first wave: SYN and UDP packets");
    let stop_guests = AtomicBool::new(false);
    let (flood, guests_sent) = thread::scope(|scope| {
        let guests = scope.spawn(|| guests::chat(topology, plan, &stop_guests));
        // A thread of its own, because it moves to one CPU and stays there.
        let flood = scope.spawn(|| {
            flood::flood(topology, plan, |sent| {
                progress.share(sent, plan.flood_packets);
            })
        });
        let flood = flood
            .join()
            .map_err(|_| anyhow!("the flood's thread panicked"))
            .flatten();
        stop_guests.store(true, Ordering::Relaxed);
        let sent = guests
            .join()
            .map_err(|_| anyhow!("the guests' thread panicked"))
            .flatten();
        (flood, sent)
    });
    Ok((flood?, guests_sent?))
}

/// Waits until everything that was sent is accounted for, or no more is to be hoped for; guests'
/// and denied frames behind the gate.
fn settle(
    taps: &mut Taps,
    gate: Option<&Gate>,
    guests_sent: u64,
    attack_packets: u64,
) -> Result<(u64, u64)> {
    let mut look = || -> Result<(u64, u64, u64)> {
        let guests = taps.guests.total()?;
        let denied = taps.denied.total()?;
        let dropped = match gate {
            Some(gate) => gate
                .traffic()?
                .values()
                .map(|traffic| traffic.dropped)
                .sum(),
            None => 0,
        };
        Ok((guests, denied, dropped))
    };
    // The deadline passing is no error here: the report says what is missing.
    let _ = poll::until("account for all packets", SETTLE_LIMIT, || match look() {
        Ok((guests, denied, dropped)) => {
            (guests >= guests_sent && denied + dropped >= attack_packets).then_some(())
        }
        // The look below reports it.
        Err(_) => Some(()),
    });
    let (guests, denied, _) = look().context("failed to count behind the gate")?;
    Ok((guests, denied))
}

fn by_country(
    gate: Option<&Gate>,
    sent: &BTreeMap<CountryCode, u64>,
    arrived_without_gate: u64,
) -> Result<Vec<CountryRow>> {
    let traffic = gate.map(Gate::traffic).transpose()?;
    let all_arrived = arrived_without_gate == sent.values().sum::<u64>();
    let mut rows: Vec<CountryRow> = ATTACKERS
        .iter()
        .map(|(code, name)| {
            let sent = sent.get(code).copied().unwrap_or(0);
            let (passed, dropped) = match &traffic {
                Some(traffic) => {
                    let counted = traffic.get(code).copied().unwrap_or_default();
                    (Some(counted.passed), counted.dropped)
                }
                None => (all_arrived.then_some(sent), 0),
            };
            CountryRow {
                code: code.to_string(),
                name,
                sent,
                passed,
                dropped,
            }
        })
        .collect();
    rows.sort_by(|a, b| b.sent.cmp(&a.sent).then(a.code.cmp(&b.code)));
    Ok(rows)
}

/// The smallest latency that at least `percent` of all stay within, in milliseconds.
fn percentile_ms(latencies: impl Iterator<Item = Duration>, percent: usize) -> Option<f64> {
    let mut sorted: Vec<Duration> = latencies.collect();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted
        .get(rank - 1)
        .map(|latency| latency.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_a_latency_that_was_measured() {
        let upto = |count: u64| (1..=count).map(Duration::from_millis);
        assert_eq!(percentile_ms(upto(0), 50), None);
        assert_eq!(percentile_ms(upto(1), 99), Some(1.0));
        assert_eq!(percentile_ms(upto(100), 50), Some(50.0));
        assert_eq!(percentile_ms(upto(100), 99), Some(99.0));
        assert_eq!(percentile_ms(upto(101), 99), Some(100.0));
    }
}

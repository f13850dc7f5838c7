//! The gates that part 2 measures: cerco's own program with real policies.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use filter_common::limit::{MAX_TOLERANCE_TICKS, TICK_NS, sets_for};
use filter_userspace::{
    compile::{CompiledPolicy, LIMITER_SETS, REMEMBERED_PACKETS_PER_SECOND, compile},
    geo::Database,
    kernel::{Gate, GateOptions, InterfaceCounters, Mode, Replies},
    policy::{Action, Limit, Policy, Scope},
};
use ipnetwork::IpNetwork;

use super::{
    program_cases::{ALLOWED, ALLOWED_AND_BANNED, Case, LIMITED, OVER_LIMIT, Setup, TRUSTED},
    trace::{Draw, Prefixes},
};
use crate::policies;

/// Bans of each family; both together are what the goal for bans asks for.
const BANS: usize = 50_000;
/// Longer than the benchmark.
const BAN: Duration = Duration::from_secs(3_600);

/// A port that frames do not go to.
const OTHER_PORT: u16 = 53;

/// One gate for each [`Setup`], loaded and not attached.
pub struct Gates {
    plain: Gate,
    one_port: Gate,
    bans: Gate,
    connected: Gate,
    banned_v4: Vec<u32>,
    banned_v6: Vec<u128>,
}

impl Gates {
    pub fn load(database: &Database) -> Result<Self> {
        let plain = compiled(&policy(database, Scope::default()), database)?;
        let one_port = Scope {
            udp: vec![(OTHER_PORT, OTHER_PORT)],
            ..Scope::default()
        };
        let scoped = compiled(&policy(database, one_port), database)?;
        let mut gates = Self {
            one_port: load(&scoped)?,
            bans: load(&plain)?,
            connected: load(&plain)?,
            plain: load(&plain)?,
            banned_v4: Vec::new(),
            banned_v6: Vec::new(),
        };
        gates.ban(database)?;
        Ok(gates)
    }

    /// Bans sources that would be allowed otherwise.
    fn ban(&mut self, database: &Database) -> Result<()> {
        let allowed = policies::country(ALLOWED_AND_BANNED);
        let prefixes = Prefixes::of(database, |country| country == allowed);
        let distinct: BTreeSet<u32> = prefixes.draw_v4(Draw::Many).into_iter().collect();
        self.banned_v4 = distinct.into_iter().take(BANS).collect();
        let distinct: BTreeSet<u128> = prefixes.draw_v6(Draw::Many).into_iter().collect();
        self.banned_v6 = distinct.into_iter().take(BANS).collect();
        // In the order of the addresses, the trace would walk through neighbours.
        let mut rng = fastrand::Rng::with_seed(7);
        rng.shuffle(&mut self.banned_v4);
        rng.shuffle(&mut self.banned_v6);
        let v4 = self.banned_v4.iter().copied().map(Ipv4Addr::from);
        let v6 = self.banned_v6.iter().copied().map(Ipv6Addr::from);
        for address in v4.map(IpAddr::V4).chain(v6.map(IpAddr::V6)) {
            self.bans
                .ban(IpNetwork::from(address), BAN)
                .with_context(|| format!("failed to ban {address}"))?;
        }
        Ok(())
    }

    pub fn banned_v4(&self) -> &[u32] {
        &self.banned_v4
    }

    pub fn banned_v6(&self) -> &[u128] {
        &self.banned_v6
    }

    /// The gate that decides about the case.
    pub fn of(&mut self, case: &Case) -> &mut Gate {
        match case.setup {
            Setup::Plain => &mut self.plain,
            Setup::OnePort => &mut self.one_port,
            Setup::Bans => &mut self.bans,
            Setup::Connected => &mut self.connected,
        }
    }

    /// Packets by reason that the case's gate has counted.
    pub fn counted(&mut self, case: &Case) -> Result<Vec<u64>> {
        counted(self.of(case))
    }
}

/// Packets by reason.
pub fn counted(gate: &Gate) -> Result<Vec<u64>> {
    let counters = counters(gate)?;
    let packets = counters.enforced.iter().map(|count| count.packets);
    Ok(packets.collect())
}

/// What test runs have counted.
pub fn counters(gate: &Gate) -> Result<InterfaceCounters> {
    Ok(gate.elsewhere()?)
}

/// Loads a gate that stands on no interface, and so leaves nothing behind.
pub fn load(compiled: &CompiledPolicy) -> Result<Gate> {
    Gate::load(
        compiled,
        &GateOptions {
            interfaces: vec!["lo".to_owned()],
            spare_slots: 0,
            pins: PathBuf::from("/sys/fs/bpf/cerco-bench-unused"),
            mode: Mode::Enforce,
            replies: Replies::default(),
        },
    )
    .context("failed to load the gate")
}

fn policy(database: &Database, scope: Scope) -> Policy {
    let trusted = policies::country(TRUSTED);
    let trusted = Prefixes::of(database, |country| country == trusted);
    let limit = |name: &str| Limit {
        name: name.to_owned(),
        packets_per_second: Some(1_000_000),
        burst_packets: 1_000_000,
        new_connections_per_second: None,
        burst_connections: 1,
        ipv4_prefix_len: 32,
        ipv6_prefix_len: 64,
    };
    Policy {
        countries: [
            (ALLOWED, Action::Allow),
            (ALLOWED_AND_BANNED, Action::Allow),
            (LIMITED, Action::Limit(0)),
            (OVER_LIMIT, Action::Limit(1)),
        ]
        .into_iter()
        .map(|(code, action)| (policies::country(code), action))
        .collect(),
        limits: vec![limit("wide"), limit("narrow")],
        scope,
        trusted: trusted.v4.into_iter().chain(trusted.v6).collect(),
        ..policies::deny_all()
    }
}

/// A limit that nobody reaches needs few stamps, which would all lie in the nearest cache. This takes as
/// many as a limit of 200 packets a second, so that the cost is that of limits in use.
pub fn use_stamps_of_common_limit(compiled: &mut CompiledPolicy) {
    let interval = 1_000_000_000 / TICK_NS / 200;
    let sets = sets_for(interval, REMEMBERED_PACKETS_PER_SECOND, LIMITER_SETS);
    compiled.policy.packet_set_mask = sets - 1;
}

/// The second limit lets a packet through in an hour, which no config can ask for: so the counts of
/// the case are exact.
fn compiled(policy: &Policy, database: &Database) -> Result<CompiledPolicy> {
    let mut compiled = compile(policy, database).context("failed to compile the policy")?;
    let narrow = &mut compiled.policy.limits[1];
    narrow.packet_interval = MAX_TOLERANCE_TICKS;
    narrow.packet_tolerance = 0;
    use_stamps_of_common_limit(&mut compiled);
    Ok(compiled)
}

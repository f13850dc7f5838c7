//! The small internet of the demo: four network namespaces, no uplink.
//!
//! ```text
//!  host ── eth0 ═══ host0 ── world ── client0 ═══ eth0 ── client      (Macau)
//!  nginx, cerco               │
//!                             └────── bots0 ═════ eth0 ── attackers   (Europe, North America)
//! ```
//!
//! `world` routes. It knows the client's and the bots' addresses; what the host answers to all
//! others, which were only written into frames, disappears in a blackhole route.

use super::plan::Plan;
use crate::{
    error::check,
    netns::NetNs,
    veth::{End, Mac, Veth, add_queue},
};
use anyhow::{Context, Result};
use std::{
    collections::BTreeSet,
    fmt::Write,
    mem::size_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The web server's addresses (RFC 5737, RFC 3849).
pub const HOST_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x80, 0, 0, 0, 0, 0x10);
pub const HTTP_PORT: u16 = 80;
/// The link that the gate guards, in the host's namespace.
pub const HOST_LINK: &str = "eth0";
/// The other end of the cable, in the world's namespace.
pub const WORLD_LINK: &str = "host0";

const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x80, 0, 0, 0, 0, 1);

const MTU: u32 = 1500;

/// Queues of the host's cable: the flood uses only number 1, so that it fills the way of at most
/// half of the visitors' frames.
const HOST_QUEUES: u32 = 2;

/// How many frames of visitors and bots may wait for room in the host's cable.
const WAITING_FRAMES: u32 = 10_000;

/// Moves the calling thread to a CPU whose raw frames go into the flood's queue of the host's
/// cable.
///
/// On a machine with one CPU everything shares queue 0, and this does nothing.
pub fn use_flood_queue() -> Result<()> {
    // SAFETY: an all-zero cpu_set_t is valid, it is a bit set.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: pointer and length describe `allowed`; 0 stands for the calling thread.
    check(
        unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut allowed) },
        || "read the CPUs that this thread may use".into(),
    )?;
    let odd = (1..libc::CPU_SETSIZE as usize)
        .step_by(2)
        // SAFETY: the index is below the size of the set.
        .find(|cpu| unsafe { libc::CPU_ISSET(*cpu, &allowed) });
    let Some(cpu) = odd else { return Ok(()) };
    // SAFETY: as above.
    let mut only: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the index is below the size of the set.
    unsafe { libc::CPU_SET(cpu, &mut only) };
    // SAFETY: pointer and length describe `only`; 0 stands for the calling thread.
    check(
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const only) },
        || format!("move this thread to CPU {cpu}"),
    )?;
    Ok(())
}

/// The namespaces and cables; everything disappears with this value.
#[derive(Debug)]
pub struct Topology {
    _cables: [Veth; 3],
    pub host: NetNs,
    pub world: NetNs,
    pub client: NetNs,
    pub attackers: NetNs,
    pub router_mac: Mac,
    pub host_mac: Mac,
}

impl Topology {
    pub fn build(plan: &Plan) -> Result<Self> {
        let host = NetNs::new()?;
        let world = NetNs::new_router()?;
        let client = NetNs::new()?;
        let attackers = NetNs::new()?;

        let to_host = Veth::with_queues(
            &End {
                netns: &world,
                name: WORLD_LINK,
                addresses: &[&format!("{ROUTER_V4}/24"), &format!("{ROUTER_V6}/64")],
            },
            &End {
                netns: &host,
                name: HOST_LINK,
                addresses: &[&format!("{HOST_V4}/24"), &format!("{HOST_V6}/64")],
            },
            MTU,
            HOST_QUEUES,
        )?;
        // What is lost here would look like the gate's doing.
        add_queue(&world, WORLD_LINK, WAITING_FRAMES)?;
        host.ip(&format!("route add default via {ROUTER_V4}"))?;
        host.ip(&format!("-6 route add default via {ROUTER_V6}"))?;

        let to_client = Veth::new(
            &End {
                netns: &world,
                name: "client0",
                addresses: &["198.18.0.1/30", "fe80::1/64"],
            },
            &End {
                netns: &client,
                name: "eth0",
                addresses: &[
                    &format!("{}/32", plan.client_v4),
                    &format!("{}/128", plan.client_v6),
                ],
            },
            MTU,
        )?;
        client.ip("route add default via 198.18.0.1 dev eth0 onlink")?;
        client.ip("-6 route add default via fe80::1 dev eth0")?;

        let to_attackers = Veth::new(
            &End {
                netns: &world,
                name: "bots0",
                addresses: &["198.18.0.5/30", "fe80::1/64"],
            },
            &End {
                netns: &attackers,
                name: "eth0",
                addresses: &["198.18.0.6/30", "fe80::2/64"],
            },
            MTU,
        )?;
        attackers.ip("route add default via 198.18.0.5")?;
        attackers.ip("-6 route add default via fe80::1 dev eth0")?;

        world
            .ip_batch(&world_routes(plan))
            .context("failed to route the client and the bots")?;
        attackers
            .ip_batch(&bot_addresses(plan))
            .context("failed to give the bots their addresses")?;
        Ok(Self {
            router_mac: to_host.a_mac,
            host_mac: to_host.b_mac,
            _cables: [to_host, to_client, to_attackers],
            host,
            world,
            client,
            attackers,
        })
    }

    /// The web server's address in the family of `like`.
    pub fn server(like: IpAddr) -> SocketAddr {
        match like {
            IpAddr::V4(_) => (HOST_V4, HTTP_PORT).into(),
            IpAddr::V6(_) => (HOST_V6, HTTP_PORT).into(),
        }
    }

    /// All addresses whose frames may pass the gate: the visitors', and the router's own, which
    /// neighbour discovery needs.
    pub fn not_denied(plan: &Plan) -> BTreeSet<IpAddr> {
        let mut addresses = plan.guests.clone();
        addresses.extend([
            IpAddr::V4(plan.client_v4),
            plan.client_v6.into(),
            ROUTER_V4.into(),
            ROUTER_V6.into(),
        ]);
        addresses
    }
}

fn world_routes(plan: &Plan) -> String {
    let mut lines = format!(
        "route add blackhole default\n\
         route add blackhole ::/0\n\
         route add {}/32 dev client0\n\
         route add {}/128 dev client0\n",
        plan.client_v4, plan.client_v6
    );
    for bot in plan.bot_countries.keys() {
        let line = match bot {
            IpAddr::V4(bot) => writeln!(lines, "route add {bot}/32 via 198.18.0.6"),
            IpAddr::V6(bot) => writeln!(lines, "route add {bot}/128 via fe80::2 dev bots0"),
        };
        line.expect("invariant: writing to a String cannot fail");
    }
    lines
}

/// AnyIP: a local route makes an address the namespace's own without putting it on a link.
fn bot_addresses(plan: &Plan) -> String {
    let mut lines = String::new();
    for bot in plan.bot_countries.keys() {
        let line = match bot {
            IpAddr::V4(bot) => writeln!(lines, "route add local {bot}/32 dev lo"),
            IpAddr::V6(bot) => writeln!(lines, "route add local {bot}/128 dev lo"),
        };
        line.expect("invariant: writing to a String cannot fail");
    }
    lines
}

//! The visitor from Macau: requests at a steady pace over both families.

use super::{http, interrupt, plan::Plan, topology::Topology};
use crate::netns::NetNs;
use anyhow::{Context, Result};
use std::{
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// When a visitor gives up.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two requests; the families take turns.
const PACE: Duration = Duration::from_millis(20);

/// One request: its family, and how long the answer took, if it came.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub ipv6: bool,
    pub latency: Option<Duration>,
}

/// Proves that the page can be had over both families while nothing else goes on.
pub fn prove_service(netns: &NetNs, plan: &Plan) -> Result<()> {
    for client in [IpAddr::V4(plan.client_v4), plan.client_v6.into()] {
        let server = Topology::server(client);
        netns
            .run(|| http::fetch(server, PATIENCE))?
            .with_context(|| format!("failed to fetch the page from {client} before the attack"))?;
    }
    Ok(())
}

/// Sends requests until `stop` is set.
///
/// Every request has its own thread and starts when it is due, whether or not earlier ones are
/// answered: a server that stalls cannot slow down the clock that measures it.
pub fn visit(netns: &NetNs, plan: &Plan, stop: &AtomicBool) -> Result<Vec<Request>> {
    let requests = Mutex::new(Vec::new());
    let clients = [IpAddr::V4(plan.client_v4), plan.client_v6.into()];
    netns.run(|| {
        // Threads inherit the namespace of the thread that starts them.
        thread::scope(|scope| {
            let start = Instant::now();
            for (number, client) in (0_u32..).zip(clients.iter().cycle()) {
                let due = start + PACE * number;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if stop.load(Ordering::Relaxed) || interrupt::requested() {
                    break;
                }
                let requests = &requests;
                scope.spawn(move || {
                    let latency = http::fetch(Topology::server(*client), PATIENCE).ok();
                    let request = Request {
                        ipv6: client.is_ipv6(),
                        latency,
                    };
                    requests
                        .lock()
                        .expect("invariant: no thread panics while it holds the lock")
                        .push(request);
                });
            }
        });
    })?;
    Ok(requests
        .into_inner()
        .expect("invariant: no thread panics while it holds the lock"))
}

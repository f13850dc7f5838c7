//! A scrape of the metrics: four interfaces, and traffic from every country.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use anyhow::{Result, ensure};
use filter_userspace::geo;

use super::{MS, Samples, repeat};
use crate::{
    daemon::Cerco,
    frames::Frame,
    http,
    netns::NetNs,
    raw::RawSocket,
    veth::{End, Veth},
};

const LINKS: [&str; 4] = ["eth0", "eth1", "eth2", "eth3"];
/// Countries with IPv4 ranges in the builtin database, at least.
const COUNTRIES: usize = 240;
/// As Prometheus asks.
const ACCEPT: &str = "Accept: application/openmetrics-text;version=1.0.0\r\n";

/// Milliseconds from the connection to the last byte, `runs` times ten scrapes.
pub fn time(runs: usize) -> Result<Samples> {
    let (host, world) = (NetNs::new()?, NetNs::new()?);
    let mut cables = Vec::new();
    for name in LINKS {
        let end = |netns| End {
            netns,
            name,
            addresses: &[],
        };
        cables.push(Veth::new(&end(&world), &end(&host), 1500)?);
    }
    let config = format!("interfaces = {LINKS:?}\nmode = \"enforce\"\n");
    let _cerco = Cerco::start(&host, &config)?;
    let mut sources = BTreeMap::new();
    for range in geo::builtin()?.v4 {
        sources.entry(range.country).or_insert(range.first);
    }
    for (name, cable) in LINKS.into_iter().zip(&cables) {
        let socket = RawSocket::open_sender(&world, name)?;
        for source in sources.values() {
            let from = (
                cable.a_mac,
                SocketAddr::new((*source).to_be_bytes().into(), 40_000),
            );
            let to = (cable.b_mac, SocketAddr::from(([203, 0, 113, 10], 443)));
            socket.send(&Frame::tcp_syn(from, to).bytes())?;
        }
    }
    let scrape = || {
        let request = "GET /metrics HTTP/1.1";
        http::ask(&host, Cerco::METRICS, request, ACCEPT)
    };
    let seen = |prefix: &str| {
        let body = scrape()?.body;
        let lines = body.lines().filter(|line| line.starts_with(prefix));
        anyhow::Ok(lines.filter(|line| !line.ends_with(" 0")).count())
    };
    let countries = seen("cerco_country_packets_total")?;
    ensure!(countries >= COUNTRIES, "traffic of {countries} countries");
    for name in LINKS {
        let prefix = format!("cerco_packets_total{{interface=\"{name}\",verdict=\"drop\"");
        ensure!(seen(&prefix)? > 0, "no traffic on {name}");
    }
    let samples = repeat(runs * 10, || {
        let begin = Instant::now();
        let answer = scrape()?;
        let taken = begin.elapsed().as_secs_f64() * MS;
        ensure!(answer.body.ends_with("# EOF\n"), "half a scrape");
        Ok(taken)
    })?;
    let what = "scrape of the metrics, 4 interfaces, every country";
    Ok(Samples::new("cerco", what, "ms", samples))
}

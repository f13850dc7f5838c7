//! An attack from all over the world, as the builtin database knows it, with visitors in it: for pictures.

use crate::{
    error::{Error, Result},
    frames::Frame,
    raw::RawSocket,
    site::{LINK, Site},
};
use fastrand::Rng;
use filter_common::country::CountryCode;
use filter_userspace::geo::{self, Database};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Where frames come from, and how many of a thousand.
const ORIGINS: &[(&str, u32)] = &[
    ("US", 190),
    ("RU", 110),
    ("BR", 90),
    ("VN", 80),
    ("ID", 70),
    ("IN", 60),
    ("NL", 50),
    ("DE", 45),
    ("UA", 35),
    ("TR", 30),
    ("FR", 25),
    ("GB", 25),
    ("MX", 20),
    ("AR", 18),
    ("ZA", 15),
    ("EG", 12),
    ("TH", 12),
    ("PL", 10),
    ("IT", 10),
    ("RO", 9),
    ("IR", 8),
    ("PK", 8),
    ("NG", 7),
    ("CO", 6),
    ("KR", 6),
    ("JP", 5),
    ("CA", 5),
    ("AU", 4),
    ("BD", 4),
    ("KZ", 3),
    ("PE", 3),
    ("CL", 2),
    ("KE", 2),
    ("MA", 2),
    ("NZ", 1),
    ("IS", 1),
    ("MN", 1),
    ("GL", 1),
    ("MO", 12),
    ("HK", 3),
];
/// Of so many sources of a country one sends half of what comes from there.
const SOURCES: usize = 400;
const PORTS: [u16; 8] = [443, 443, 443, 80, 80, 22, 3389, 8080];
const HOST: [u8; 4] = [192, 0, 2, 1];
const BURST: usize = 64;

/// Dropping it ends the attack.
#[derive(Debug)]
pub struct Storm {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    /// Sends some `per_second` frames a second, now more and now fewer, for `limit` at most.
    pub fn begin(site: &Site, per_second: f64, limit: Duration) -> Result<Self> {
        let database = geo::builtin()
            .map_err(|error| Error::os("read the database", io::Error::other(error)))?;
        let mut rng = Rng::with_seed(19);
        let sources = sources(&database, &mut rng);
        let socket = RawSocket::open_sender(&site.world, LINK)?;
        let ends = (site.veth.a_mac, site.veth.b_mac);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let frame = move |rng: &mut Rng| {
            let origin = weighted(rng);
            let of_country = &sources[&origin];
            let index = match rng.bool() {
                true => rng.usize(..2.min(of_country.len())),
                false => rng.usize(..of_country.len()),
            };
            let source = SocketAddr::new(of_country[index].into(), rng.u16(1024..));
            let port = PORTS[rng.usize(..PORTS.len())];
            let host = SocketAddr::new(IpAddr::from(HOST), port);
            match rng.u8(..10) {
                0 => Frame::udp((ends.0, source), (ends.1, host), b"?").bytes(),
                _ => Frame::tcp_syn((ends.0, source), (ends.1, host)).bytes(),
            }
        };
        let thread = thread::spawn(move || {
            let began = Instant::now();
            while !stopped.load(Ordering::Relaxed) && began.elapsed() < limit {
                let seconds = began.elapsed().as_secs_f64();
                let wave = 0.55 + 0.3 * (seconds / 17.0).sin() + 0.15 * (seconds / 5.0).sin();
                let surge = if seconds % 90.0 > 60.0 { 1.8 } else { 1.0 };
                for _ in 0..BURST {
                    if socket.send(&frame(&mut rng)).is_err() {
                        return;
                    }
                }
                let rate = per_second * wave * surge;
                thread::sleep(Duration::from_secs_f64(BURST as f64 / rate));
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already.
            let _ = thread.join();
        }
    }
}

fn weighted(rng: &mut Rng) -> CountryCode {
    let all: u32 = ORIGINS.iter().map(|(_, weight)| weight).sum();
    let mut left = rng.u32(..all);
    let found = ORIGINS.iter().find(|(_, weight)| {
        let is_it = left < *weight;
        left = left.saturating_sub(*weight);
        is_it
    });
    code(found.unwrap_or(&ORIGINS[0]).0)
}

fn code(letters: &str) -> CountryCode {
    CountryCode::parse(letters).expect("a constant code")
}

fn sources(database: &Database, rng: &mut Rng) -> BTreeMap<CountryCode, Vec<Ipv4Addr>> {
    ORIGINS
        .iter()
        .map(|(letters, _)| {
            let country = code(letters);
            let ranges: Vec<_> = database
                .v4
                .iter()
                .filter(|it| it.country == country)
                .collect();
            let drawn = (0..SOURCES)
                .map(|_| {
                    let range = ranges[rng.usize(..ranges.len())];
                    Ipv4Addr::from_bits(rng.u32(range.first..=range.last))
                })
                .collect();
            (country, drawn)
        })
        .collect()
}

//! The daemon as a process: until it enforces, what it holds, and what it takes when idle.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{ALLOWED, MS, Samples};
use crate::{
    daemon::Cerco,
    frames::Frame,
    http,
    netns::NetNs,
    places::{Family, address_in},
    raw::RawSocket,
    veth::{End, Veth},
};

const LINK: &str = "eth0";
const HOST: &str = "203.0.113.10";
/// Time between two frames, and so how exactly the first one dropped is known.
const STEP: Duration = Duration::from_micros(500);
/// The payload starts behind these headers.
const HEADERS: usize = 14 + 20 + 8;

/// A host to be guarded, and a cable to it.
pub struct Host {
    pub netns: NetNs,
    far: NetNs,
    veth: Veth,
}

impl Host {
    pub fn build() -> Result<Self> {
        let (netns, far) = (NetNs::new()?, NetNs::new()?);
        // Nobody but this program sends anything.
        far.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        let end = |netns, addresses| End {
            netns,
            name: LINK,
            addresses,
        };
        let address = format!("{HOST}/32");
        let veth = Veth::new(&end(&far, &[]), &end(&netns, &[&address]), 1500)?;
        Ok(Self { netns, far, veth })
    }

    /// Starts a daemon that enforces. `database`: what the config says, `builtin` or a path.
    pub fn start(&self, database: &str) -> Result<Cerco> {
        let [a, b] = ALLOWED;
        let config = format!(
            "interfaces = [\"{LINK}\"]\nmode = \"enforce\"\nattach = \"native\"\n\
             [policy]\ndefault = \"deny\"\nunknown = \"deny\"\n\
             [policy.countries]\n{a} = \"allow\"\n{b} = \"allow\"\n\
             [geo]\ndatabase = \"{database}\"\n"
        );
        Ok(Cerco::start(&self.netns, &config)?)
    }

    /// A frame from a denied country every [`STEP`] while `body` runs, numbered; when each was sent.
    fn with_stream<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<(T, Vec<Instant>)> {
        let source: IpAddr = address_in("DE", Family::V4, 1, 0);
        let ends = (
            (self.veth.a_mac, SocketAddr::new(source, 40_000)),
            (self.veth.b_mac, SocketAddr::new(HOST.parse()?, 9)),
        );
        let sender = RawSocket::open_sender(&self.far, LINK)?;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let stream = scope.spawn(|| -> Result<Vec<Instant>> {
                let mut sent = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let number = (sent.len() as u32).to_be_bytes();
                    let frame = Frame::udp(ends.0, ends.1, &number).bytes();
                    sent.push(Instant::now());
                    sender.send(&frame)?;
                    thread::sleep(STEP);
                }
                Ok(sent)
            });
            let result = body();
            stop.store(true, Ordering::Relaxed);
            let sent = stream
                .join()
                .expect("invariant: the stream does not panic")?;
            Ok((result?, sent))
        })
    }

    /// Starts a daemon on a host without a gate and returns the time from before its exec until the
    /// first frame that it dropped was sent, and until it said that it is ready; milliseconds both.
    fn time_start(&self, database: &str) -> Result<(f64, f64)> {
        let behind = RawSocket::open(&self.netns, LINK)?;
        behind.set_option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(64 << 20_i32))?;
        let ((begin, ready, cerco), sent) = self.with_stream(|| {
            // Some frames that must get through, or nothing was measured.
            thread::sleep(STEP * 20);
            let begin = Instant::now();
            let cerco = self.start(database)?;
            Ok((begin, begin.elapsed(), cerco))
        })?;
        let mut arrived = vec![false; sent.len()];
        while let Some(frame) = behind.receive(Instant::now())? {
            if let Some(number) = frame.get(HEADERS..).and_then(<[u8]>::first_chunk)
                && let Some(arrived) = arrived.get_mut(u32::from_be_bytes(*number) as usize)
            {
                *arrived = true;
            }
        }
        let first = arrived.iter().position(|arrived| !arrived);
        let first = first.context("no frame was dropped")?;
        ensure!(
            sent[first] > begin && !arrived[first..].contains(&true),
            "frames were lost that no gate had dropped"
        );
        drop(cerco);
        Ok((
            (sent[first] - begin).as_secs_f64() * MS,
            ready.as_secs_f64() * MS,
        ))
    }
}

/// From the exec of the daemon to the first dropped frame, and to READY=1.
pub fn exec_to_first_drop(database: &str, runs: usize) -> Result<[Samples; 2]> {
    let mut times = Vec::new();
    for _ in 0..runs {
        times.push(Host::build()?.time_start(database)?);
    }
    let (drops, ready) = times.into_iter().unzip();
    let name = match database {
        "builtin" => database,
        _ => "database file",
    };
    let what = |until| format!("daemon with {name}, exec to {until}");
    Ok([
        Samples::new("cerco", what("first dropped frame"), "ms", drops),
        Samples::new("cerco", what("ready"), "ms", ready),
    ])
}

/// Resident memory of the daemon now, and the most that it ever had; MiB.
pub fn memory(cerco: &Cerco) -> Result<[Samples; 2]> {
    let pid = cerco.pid().context("the daemon does not run")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |key: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("a process without memory")?.parse::<f64>()? / 1024.0)
    };
    Ok([
        Samples::new("cerco", "daemon RSS", "MiB", vec![mib("VmRSS:")?]),
        Samples::new(
            "cerco",
            "daemon RSS at its peak",
            "MiB",
            vec![mib("VmHWM:")?],
        ),
    ])
}

/// What the idle daemon takes of one core over `duration`, its metrics scraped once a second; percent.
pub fn idle_cpu(host: &NetNs, cerco: &Cerco, duration: Duration) -> Result<Samples> {
    const INTERVAL: Duration = Duration::from_secs(1);
    let pid = cerco.pid().context("the daemon does not run")?;
    // The first scrape after a start may still find pages that were given back.
    scrape(host)?;
    let (begin, before) = (Instant::now(), cpu_ns(pid)?);
    let mut next = begin;
    while begin.elapsed() < duration {
        scrape(host)?;
        next += INTERVAL;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let busy_ns = cpu_ns(pid)? - before;
    let percent = 100.0 * busy_ns as f64 / begin.elapsed().as_nanos() as f64;
    let what = "CPU of the idle daemon, scraped once a second";
    Ok(Samples::new("cerco", what, "% of one core", vec![percent]))
}

fn scrape(host: &NetNs) -> Result<()> {
    let answer = http::ask(host, Cerco::METRICS, "GET /metrics HTTP/1.1", "")?;
    ensure!(
        answer.head.starts_with("HTTP/1.1 200"),
        "no metrics: {answer:?}"
    );
    Ok(())
}

/// Nanoseconds that the threads of a process have run, from `schedstat` (proc_pid_schedstat(5)).
fn cpu_ns(pid: u32) -> Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split_whitespace().next();
        total += first.context("an empty schedstat")?.parse::<u64>()?;
    }
    Ok(total)
}

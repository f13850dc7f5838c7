//! What a sysadmin could load instead: sets of nftables and of ipset that hold the same blocked space.
//!
//! Each is loaded in two ways. *As published*: every prefix of every blocked country, as lists of
//! countries come, so that one country can be taken out again. *Joined*: as if all blocked countries
//! were one, which leaves some thousand ranges, since nearly everything is blocked; then no country
//! can be toggled without making the list anew. Both are as fast for the peer as they can be made: in
//! order, without overlaps, in one transaction, for ipset with the size of the hash given in advance,
//! and for nftables with `auto-merge` where there is something to merge: it takes seconds then, and
//! more than a minute without.

use std::{
    fmt::Write as _,
    fs::{self, File},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use filter_userspace::geo::{Address, Database, Range, covering_prefixes};
use ipnetwork::IpNetwork;

use super::{ALLOWED, MS, Samples};
use crate::netns::NetNs;

/// What loads a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tool {
    /// `nft -f`: interval sets, asked for at the input hook.
    Nftables,
    /// `ipset restore`: `hash:net`.
    Ipset,
}

impl Tool {
    /// The Debian package that it is in.
    pub const fn package(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Ipset => "ipset",
        }
    }
}

/// A list and what loads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    pub tool: Tool,
    /// See the head of this file.
    pub joined: bool,
}

impl Peer {
    pub const ALL: [Self; 4] = [
        Self::new(Tool::Nftables, false),
        Self::new(Tool::Nftables, true),
        Self::new(Tool::Ipset, false),
        Self::new(Tool::Ipset, true),
    ];

    const fn new(tool: Tool, joined: bool) -> Self {
        Self { tool, joined }
    }

    pub const fn label(self) -> &'static str {
        match (self.tool, self.joined) {
            (Tool::Nftables, false) => "nft -f, as published",
            (Tool::Nftables, true) => "nft -f, joined",
            (Tool::Ipset, false) => "ipset restore, as published",
            (Tool::Ipset, true) => "ipset restore, joined",
        }
    }

    const fn name(self) -> &'static str {
        match self.tool {
            Tool::Nftables => "nftables",
            Tool::Ipset => "ipset",
        }
    }

    /// The command that reads the list from standard input.
    fn command(self, netns: &NetNs) -> Command {
        let (program, args): (_, &[&str]) = match self.tool {
            Tool::Nftables => ("nft", &["-f", "-"]),
            Tool::Ipset => ("ipset", &["restore"]),
        };
        let mut command = netns.command(program);
        command.args(args);
        command
    }

    fn list(self, database: &Database) -> Result<String> {
        let v4 = blocked(&database.v4, self.joined);
        let v6 = blocked(&database.v6, self.joined);
        match (self.tool, self.joined) {
            (Tool::Nftables, false) => nft_file("auto-merge;", &prefixes(&v4), &prefixes(&v6)),
            (Tool::Nftables, true) => nft_file("", &intervals(&v4), &intervals(&v6)),
            (Tool::Ipset, _) => ipset_file(&prefixes(&v4), &prefixes(&v6)),
        }
    }
}

/// Times `peer` and says what the kernel holds for its sets afterwards.
pub fn load(peer: Peer, database: &Database, runs: usize) -> Result<Vec<Samples>> {
    let list = tempfile::NamedTempFile::new().context("failed to make a file for a list")?;
    fs::write(list.path(), peer.list(database)?)?;
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let netns = NetNs::new()?;
        let mut command = peer.command(&netns);
        command
            .stdin(File::open(list.path())?)
            .stderr(Stdio::piped());
        let before = kernel_memory_mib()?;
        let begin = Instant::now();
        let output = command.output().with_context(|| peer.label())?;
        times.push(begin.elapsed().as_secs_f64() * MS);
        ensure!(
            output.status.success(),
            "{}: {}",
            peer.label(),
            String::from_utf8_lossy(&output.stderr)
        );
        memory.push(match peer.tool {
            Tool::Ipset => ipset_memory_mib(&netns)?,
            Tool::Nftables => kernel_memory_mib()? - before,
        });
        check(peer, &netns)?;
    }
    let what = |kind| format!("{}: {kind}", peer.label());
    Ok(vec![
        Samples::new(peer.name(), what("load"), "ms", times),
        Samples::new(peer.name(), what("kernel memory"), "MiB", memory),
    ])
}

/// A denied address is in the set, and one of an allowed country is not.
fn check(peer: Peer, netns: &NetNs) -> Result<()> {
    use crate::places::{Family, address_in};
    for (country, expected) in [("DE", true), ("FR", true), (ALLOWED[0], false)] {
        for (family, set) in [(Family::V4, "v4"), (Family::V6, "v6")] {
            let address = address_in(country, family, 1, 0).to_string();
            let output = match peer.tool {
                Tool::Ipset => netns
                    .command("ipset")
                    .args(["test", set, &address])
                    .output(),
                Tool::Nftables => netns
                    .command("nft")
                    .args(["get", "element", "inet", "blocked", set])
                    .arg(format!("{{ {address} }}"))
                    .output(),
            }?;
            ensure!(
                output.status.success() == expected,
                "{}: {address} of {country} is wrong: {output:?}",
                peer.label()
            );
        }
    }
    Ok(())
}

/// The ranges of all countries but those allowed; `joined`: as if they were one country.
fn blocked<A: Address>(ranges: &[Range<A>], joined: bool) -> Vec<(A, A)> {
    let mut blocked: Vec<(A, A)> = Vec::new();
    for range in ranges {
        if ALLOWED.contains(&range.country.as_str()) {
            continue;
        }
        match blocked.last_mut() {
            Some((_, last)) if joined && last.successor() == Some(range.first) => {
                *last = range.last;
            }
            _ => blocked.push((range.first, range.last)),
        }
    }
    blocked
}

fn prefixes<A: Address>(ranges: &[(A, A)]) -> Vec<String> {
    let prefixes = ranges
        .iter()
        .flat_map(|(first, last)| covering_prefixes(*first, *last));
    prefixes.map(|it: IpNetwork| it.to_string()).collect()
}

fn intervals<A: Address>(ranges: &[(A, A)]) -> Vec<String> {
    let interval = |(first, last): &(A, A)| format!("{}-{}", first.to_ip(), last.to_ip());
    ranges.iter().map(interval).collect()
}

fn nft_file(merge: &str, v4: &[String], v6: &[String]) -> Result<String> {
    let mut file = String::from("table inet blocked {\n");
    for (set, kind, entries) in [("v4", "ipv4_addr", v4), ("v6", "ipv6_addr", v6)] {
        writeln!(
            file,
            "set {set} {{ type {kind}; flags interval; {merge} elements = {{"
        )?;
        for entry in entries {
            writeln!(file, "{entry},")?;
        }
        writeln!(file, "}} }}")?;
    }
    file.push_str(
        "chain input { type filter hook input priority raw; policy accept;\n\
         ip saddr @v4 drop\nip6 saddr @v6 drop\n}\n}\n",
    );
    Ok(file)
}

fn ipset_file(v4: &[String], v6: &[String]) -> Result<String> {
    let mut file = String::new();
    for (set, family, entries) in [("v4", "inet", v4), ("v6", "inet6", v6)] {
        let count = entries.len();
        writeln!(
            file,
            "create {set} hash:net family {family} hashsize {} maxelem {count}",
            count.next_power_of_two() / 2
        )?;
        for entry in entries {
            writeln!(file, "add {set} {entry}")?;
        }
    }
    Ok(file)
}

/// `Size in memory` of both sets.
fn ipset_memory_mib(netns: &NetNs) -> Result<f64> {
    let output = netns.command("ipset").args(["list", "-t"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let sizes = text
        .lines()
        .filter_map(|line| line.strip_prefix("Size in memory: "));
    let bytes: f64 = sizes.map(|size| size.trim().parse().unwrap_or(0.0)).sum();
    if bytes == 0.0 {
        bail!("ipset names no sizes:\n{text}");
    }
    Ok(bytes / f64::from(1 << 20))
}

/// What the kernel has taken for itself: the sets of nftables have no figure of their own. Other work
/// on the machine shows in it as well.
fn kernel_memory_mib() -> Result<f64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let field = |key: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib
            .with_context(|| format!("no {key} in /proc/meminfo"))?
            .parse()?)
    };
    Ok((field("SUnreclaim:")? + field("VmallocUsed:")? + field("Percpu:")?) / 1024.0)
}

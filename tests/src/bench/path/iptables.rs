//! iptables in the raw table, its earliest, with sets of ipset.

use std::{fmt::Write as _, process::Command};

use anyhow::{Context as _, Result};

use super::{
    peer::{Evidence, Peer},
    site::Site,
};
use crate::bench::{
    names::{peer, what},
    trace::Prefixes,
};

const FAMILIES: [(&str, &str, &str); 2] =
    [("iptables", "v4", "inet"), ("ip6tables", "v6", "inet6")];

/// Drops what is in the set of `blocked`.
pub fn with_set(blocked: &Prefixes) -> Result<Peer> {
    let site = Site::build()?;
    fill(&site, blocked)?;
    rule(&site, &|set| vec!["-m", "set", "--match-set", set, "src"])?;
    Ok(Peer {
        what: what::PATH,
        knows_countries: true,
        ..Peer::new(peer::IPTABLES, site, evidence())
    })
}

/// Drops what is not in the set of `allowed`: the same space, told from its other side.
pub fn with_allowlist(allowed: &Prefixes) -> Result<Peer> {
    let site = Site::build()?;
    fill(&site, allowed)?;
    rule(&site, &|set| {
        vec!["-m", "set", "!", "--match-set", set, "src"]
    })?;
    Ok(Peer {
        what: what::PATH,
        knows_countries: true,
        ..Peer::new(peer::IPTABLES_ALLOWLIST, site, evidence())
    })
}

/// One rule that drops everything.
pub fn without_set() -> Result<Peer> {
    let site = Site::build()?;
    rule(&site, &|_| Vec::new())?;
    Ok(Peer::new(peer::IPTABLES, site, evidence()))
}

fn fill(site: &Site, prefixes: &Prefixes) -> Result<()> {
    let script = script(prefixes).context("failed to write the sets")?;
    site.feed("ipset", &["restore"], &script)
}

fn script(prefixes: &Prefixes) -> Result<String, std::fmt::Error> {
    let mut script = String::new();
    for ((_, set, family), prefixes) in FAMILIES.iter().zip([&prefixes.v4, &prefixes.v6]) {
        // Room for all from the start, so that the table need not grow and buckets stay short.
        let (size, most) = (prefixes.len().next_power_of_two(), prefixes.len().max(1));
        writeln!(
            script,
            "create {set} hash:net family {family} hashsize {size} maxelem {most}"
        )?;
        for prefix in prefixes {
            writeln!(script, "add {set} {prefix}")?;
        }
    }
    Ok(script)
}

fn rule<'a>(site: &Site, matches: &dyn Fn(&'a str) -> Vec<&'a str>) -> Result<()> {
    for (program, set, _) in FAMILIES {
        let mut command = site.command(program);
        command.args(["-t", "raw", "-A", "PREROUTING"]);
        command.args(matches(set)).args(["-j", "DROP"]);
        run(&mut command)?;
    }
    Ok(())
}

fn evidence() -> Evidence {
    Evidence::Own(Box::new(|site| {
        let mut dropped = 0;
        for (program, ..) in FAMILIES {
            let mut command = site.command(program);
            command.args(["-t", "raw", "-L", "PREROUTING", "-v", "-x", "-n"]);
            dropped += counted(&run(&mut command)?).context("the rule has no counter")?;
        }
        Ok(dropped)
    }))
}

/// The first column of the line with the target.
fn counted(listing: &str) -> Option<u64> {
    let line = listing.lines().find(|line| line.contains(" DROP "))?;
    line.split_whitespace().next()?.parse().ok()
}

fn run(command: &mut Command) -> Result<String> {
    Ok(crate::error::run_to_end(command, "drop with iptables")?)
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn packets_stand_in_the_first_column() {
        let listing = "Chain PREROUTING (policy ACCEPT 7 packets, 8 bytes)\n    \
                       pkts      bytes target     prot opt in     out     source\n    \
                       1048576  2000 DROP       0    --  *      *       0.0.0.0/0\n";
        assert_eq!(counted(listing), Some(1_048_576));
        assert_eq!(counted("Chain PREROUTING (policy ACCEPT)\n"), None);
    }
}

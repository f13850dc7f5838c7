//! What the receiving end says that it has seen.

use std::{fs, io};

use anyhow::{Context as _, Result};

use super::site::Site;
use crate::{bench::cable::LINK, veth};

/// Frames since the link was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// By the link.
    pub received: u64,
    /// By IPv4 or IPv6.
    pub reached_ip: u64,
}

impl Seen {
    pub fn read(site: &Site) -> Result<Self> {
        let read = |path: &str| -> Result<String, io::Error> { fs::read_to_string(path) };
        site.cable.receiver.run(|| -> Result<Self> {
            // /proc/net is the process's; the thread's is the one of this namespace.
            let links = read("/proc/thread-self/net/dev")?;
            let v4 = read("/proc/thread-self/net/snmp")?;
            let v6 = read("/proc/thread-self/net/snmp6")?;
            Ok(Self {
                received: received(&links).context("no counters of the link")?,
                reached_ip: ipv4_received(&v4).context("no counters of IPv4")?
                    + ipv6_received(&v6).context("no counters of IPv6")?,
            })
        })?
    }
}

/// Frames that XDP programs in the driver have dropped.
pub fn xdp_drops(site: &Site) -> Result<u64> {
    let stats = veth::ethtool_stats(&site.cable.receiver, LINK)?;
    Ok(stats
        .iter()
        .filter(|(name, _)| name.starts_with("rx_queue_") && name.ends_with("_xdp_drops"))
        .map(|(_, value)| value)
        .sum())
}

/// `LINK: bytes packets …`, the first half received.
fn received(links: &str) -> Option<u64> {
    let fields = links
        .lines()
        .find_map(|line| line.trim().strip_prefix(LINK)?.strip_prefix(':'))?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// A line of names, and below it one of values.
fn ipv4_received(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let column = lines.next()?.split(' ').position(|it| it == "InReceives")?;
    lines.next()?.split(' ').nth(column)?.parse().ok()
}

fn ipv6_received(snmp6: &str) -> Option<u64> {
    let line = snmp6
        .lines()
        .find_map(|line| line.strip_prefix("Ip6InReceives"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_in_what_the_kernel_shows() {
        let links = "Inter-|   Receive    |  Transmit\n \
                     face |bytes    packets errs drop fifo\n    \
                     lo:       1       2    0    0    0\n  \
                     eth0: 6000     100    7    0    0\n";
        assert_eq!(received(links), Some(100));
        let snmp =
            "Ip: Forwarding DefaultTTL InReceives InHdrErrors\nIp: 2 64 31 5\nIcmp: InMsgs\n";
        assert_eq!(ipv4_received(snmp), Some(31));
        let snmp6 = "Ip6InReceives                   \t17\nIp6InHdrErrors \t0\n";
        assert_eq!(ipv6_received(snmp6), Some(17));
        assert_eq!(received("lo: 1 2\n"), None);
        assert_eq!(ipv4_received("Ip: InReceives\n"), None);
        assert_eq!(ipv6_received(""), None);
    }
}

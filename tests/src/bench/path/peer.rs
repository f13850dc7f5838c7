//! Somebody who drops frames, and the proof that the frames were dropped.

use std::{any::Any, time::Duration};

use anyhow::{Result, ensure};

use super::{
    link::{self, Seen},
    site::Site,
};
use crate::{
    bench::{
        names::what,
        trace::Draw,
        traffic::{Sources, Traffic},
    },
    poll,
};

/// How long frames may be on their way after the sender has returned.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);

/// Reads how many frames a filter says that it has dropped.
type Counter = dyn Fn(&Site) -> Result<u64>;

/// Where the number of dropped frames is read.
pub enum Evidence {
    /// The driver's counter of XDP drops.
    XdpDrops,
    /// What the link received and IP has not seen.
    NeverAtIp,
    /// A counter of the peer's own.
    Own(Box<Counter>),
}

/// A filter at the end of a cable.
pub struct Peer {
    pub name: &'static str,
    /// [`what::PATH`] or [`what::PATH_NO_SET`].
    pub what: &'static str,
    pub site: Site,
    pub evidence: Evidence,
    /// Whether it drops by the set of all blocked prefixes, and so passes the others.
    pub knows_countries: bool,
    /// The only trace that it drops.
    pub only: Option<Draw>,
    /// Whatever must live as long as the filter.
    pub guard: Option<Box<dyn Any>>,
}

impl Peer {
    /// A peer without the set.
    pub fn new(name: &'static str, site: Site, evidence: Evidence) -> Self {
        Self {
            name,
            what: what::PATH_NO_SET,
            site,
            evidence,
            knows_countries: false,
            only: None,
            guard: None,
        }
    }

    /// Sends `count` frames, of which `dropped` must be dropped; nanoseconds for each frame.
    pub fn send(
        &self,
        traffic: &mut Traffic,
        sources: Sources,
        count: u32,
        dropped: u64,
    ) -> Result<f64> {
        let before = self.counts()?;
        let nanoseconds = self.site.cable.send(traffic, sources, count)?;
        let expected = (u64::from(count), dropped);
        let mut seen = (0, 0);
        // Whether the wait ended in time does not matter: the comparison says what is missing.
        let _ = poll::until("count the frames", SETTLE_LIMIT, || {
            seen = self.counts().map_or(seen, |(received, dropped)| {
                (received - before.0, dropped - before.1)
            });
            (seen.0 >= expected.0).then_some(())
        });
        ensure!(
            seen == expected,
            "{}: of {count} frames {} arrived and {} were dropped; {dropped} should have been",
            self.name,
            seen.0,
            seen.1
        );
        Ok(nanoseconds)
    }

    /// Frames received, and frames dropped.
    fn counts(&self) -> Result<(u64, u64)> {
        let seen = Seen::read(&self.site)?;
        let dropped = match &self.evidence {
            Evidence::XdpDrops => link::xdp_drops(&self.site)?,
            Evidence::NeverAtIp => seen.received.saturating_sub(seen.reached_ip),
            Evidence::Own(read) => read(&self.site)?,
        };
        Ok((seen.received, dropped))
    }
}

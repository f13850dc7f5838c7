//! Bans: asked for, listed, swept.

use std::time::Duration;

use ipnetwork::IpNetwork;
use tracing::{info, warn};

use super::{
    memory,
    state::{Daemon, failed},
};
use crate::{
    control::{protocol::Refusal, reply::Done},
    kernel::KernelError,
};

impl Daemon {
    pub(super) fn ban(&mut self, prefix: IpNetwork, duration: Duration) -> Result<Done, Refusal> {
        refuse_host_bits(&[prefix])?;
        let cut_off = self.ban_is_safe(&[prefix])?;
        self.ban_count = None;
        self.gate.ban(prefix, duration).map_err(failed)?;
        let mut done = self.banned(&prefix.to_string(), &[prefix], duration);
        done.warnings.extend(cut_off);
        Ok(done)
    }

    pub(super) fn ban_all(
        &mut self,
        prefixes: &[IpNetwork],
        duration: Duration,
    ) -> Result<Done, Refusal> {
        refuse_host_bits(prefixes)?;
        let cut_off = self.ban_is_safe(prefixes)?;
        self.ban_count = None;
        self.gate.ban_all(prefixes, duration).map_err(failed)?;
        // The list itself was megabytes.
        memory::give_back();
        let mut done = self.banned(&format!("{} prefixes", prefixes.len()), prefixes, duration);
        done.warnings.extend(cut_off);
        Ok(done)
    }

    fn banned(&self, what: &str, prefixes: &[IpNetwork], duration: Duration) -> Done {
        const SHOWN: usize = 10;
        let trusted = |prefix: &IpNetwork| {
            let mut trusted = self.policy.trusted.iter();
            Some((*prefix, trusted.find(|it| it.contains(prefix.ip()))?))
        };
        let mut out_of_reach = prefixes.iter().filter_map(trusted);
        let mut warnings: Vec<String> = out_of_reach
            .by_ref()
            .take(SHOWN)
            .map(|(prefix, trusted)| {
                format!("{prefix} lies in the trusted {trusted}, which no ban reaches")
            })
            .collect();
        match out_of_reach.count() {
            0 => {}
            more => warnings.push(format!("{more} more lie in trusted prefixes")),
        }
        let duration = humantime::format_duration(duration);
        let message = format!("ban {what}: in force for {duration}");
        info!("{message}");
        Done { message, warnings }
    }

    pub(super) fn unban(&mut self, prefix: IpNetwork) -> Result<Done, Refusal> {
        self.ban_count = None;
        if !self.gate.unban(prefix).map_err(failed)? {
            return Err(Refusal::failed(format!(
                "there is no ban of exactly {prefix}; `cerco bans` lists them"
            )));
        }
        let message = format!("ban {prefix}: ended");
        info!("{message}");
        Ok(Done {
            message,
            warnings: Vec::new(),
        })
    }

    pub fn sweep_bans(&mut self) {
        self.ban_count = None;
        match self.gate.sweep_bans() {
            Ok(0) => {}
            Ok(count) => info!("{count} bans are over"),
            Err(error) => warn!("failed to sweep bans: {error}"),
        }
    }

    /// The number of bans for scrapes. Reading a hundred thousand of them takes 30 ms, so it does not
    /// see those that have ended since the last sweep.
    pub(super) fn counted_bans(&mut self) -> Result<u64, KernelError> {
        let count = match self.ban_count {
            Some(count) => count,
            None => self.gate.ban_count()? as u64,
        };
        self.ban_count = Some(count);
        Ok(count)
    }
}

/// The command line refuses these already; other speakers of the protocol may not.
fn refuse_host_bits(prefixes: &[IpNetwork]) -> Result<(), Refusal> {
    match prefixes.iter().find(|it| it.network() != it.ip()) {
        Some(prefix) => Err(Refusal::bad_request(format!(
            "{prefix} has bits behind its prefix length"
        ))),
        None => Ok(()),
    }
}

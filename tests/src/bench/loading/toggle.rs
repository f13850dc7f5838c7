//! One country toggled on a gate that stands.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use filter_userspace::{kernel::Service, policy::Action};

use super::{MS, Samples, enforcing, repeat};
use crate::{daemon::Cerco, places::Family, places::address_in, policies::country};

/// Long enough for a clock of nanoseconds; one toggle alone takes some ten of them.
const TOGGLES: u32 = 1_000;
const US: f64 = 1e6;

/// What the change itself takes in the daemon: microseconds for one country.
pub fn in_kernel(runs: usize) -> Result<Samples> {
    let stand = enforcing::Stand::build()?;
    let (_, loaded) = stand.load_builtin(&enforcing::policy())?;
    let class = loaded.compiled.class_of(country("DE"));
    let class = class.context("the policy knows no DE")?;
    let source = address_in("DE", Family::V4, 1, 0);
    let passes = || -> Result<bool> {
        let destination = "203.0.113.10".parse()?;
        let decision = loaded.gate.decide(source, destination, Service::Tcp(443))?;
        Ok(decision.reason.verdict() == filter_common::verdict::Verdict::Pass)
    };
    let samples = repeat(runs, || {
        for (action, expected) in [(Action::Allow, true), (Action::Deny, false)] {
            loaded.gate.set_action(class, action);
            ensure!(
                passes()? == expected,
                "{action:?} had no effect on {source}"
            );
        }
        let begin = Instant::now();
        for index in 0..TOGGLES {
            let action = [Action::Allow, Action::Deny][index as usize % 2];
            loaded.gate.set_action(class, action);
        }
        Ok(begin.elapsed().as_secs_f64() * US / f64::from(TOGGLES))
    })?;
    Ok(Samples::new("cerco", "one country toggled", "us", samples))
}

/// The same as a sysadmin does it: from the start of `cerco allow DE` to its end, which includes
/// that `runtime.json` is on the disk.
pub fn by_command(cerco: &Cerco, runs: usize) -> Result<Samples> {
    let mut verb = ["allow", "deny"].into_iter().cycle();
    let samples = repeat(runs, || {
        let verb = verb.next().context("a cycle ends")?;
        let begin = Instant::now();
        cerco.cli(&[verb, "DE"])?;
        Ok(begin.elapsed().as_secs_f64() * MS)
    })?;
    let what = "one country toggled, by the command line";
    Ok(Samples::new("cerco", what, "ms", samples))
}

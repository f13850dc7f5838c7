//! What config, runtime rules and database say now, against what lies in the kernel.

use std::path::Path;

use filter_common::{
    abi::{Exception, PolicyBlock, PortSet, Scope, action, scope_flag},
    country::Class,
    table::Line,
};

use super::{commands::Commands, gate::Compared};
use crate::{
    compile::CompiledPolicy,
    kernel::{self, Live},
};

/// The published generation, and what would be published now.
struct Pair<'a> {
    runs: &'a PolicyBlock,
    ports: &'a [PortSet],
    lines: &'a [Line],
    written: &'a CompiledPolicy,
    /// Nanoseconds of CLOCK_BOOTTIME.
    now_ns: u64,
}

/// Compares the policy that runs with `written`, which was compiled a moment ago.
pub fn compare(
    pins: &Path,
    is_root: bool,
    written: &CompiledPolicy,
    commands: &Commands,
) -> Compared {
    let restart = || "systemctl restart cerco".to_owned();
    if !is_root {
        return Compared::Not(
            "only root can read the tables".to_owned(),
            commands.as_root(),
        );
    }
    let live = match Live::open(pins) {
        Ok(Some(live)) => live,
        Ok(None) => return Compared::Nothing,
        Err(error) => return Compared::Not(error.to_string(), restart()),
    };
    let (Some(runs), Some(ports), Some(lines)) = (live.policy(), live.ports(), live.table()) else {
        return Compared::Not("no policy is published".to_owned(), restart());
    };
    let differences = Pair {
        runs,
        ports,
        lines,
        written,
        now_ns: kernel::boot_ns(),
    }
    .differences();
    match live.is_current() {
        true => Compared::With(differences),
        false => Compared::Not(
            "a new policy was published meanwhile".to_owned(),
            commands.cerco("doctor"),
        ),
    }
}

impl Pair<'_> {
    fn differences(&self) -> Vec<&'static str> {
        let written = &*self.written.policy;
        let table = self.lines.get(..self.written.lines.len());
        let same = [
            (
                "the actions of countries",
                actions(self.runs) == actions(written),
            ),
            (
                "the rules that end or name a port",
                exceptions(self.runs, self.now_ns).eq(exceptions(written, self.now_ns)),
            ),
            ("limits", self.runs.limits == written.limits),
            (
                "[protect]",
                scope(self.runs) == scope(written) && self.ports == &self.written.ports[..],
            ),
            (
                "the networks of database and rules",
                table == Some(self.written.lines.as_slice()),
            ),
        ];
        same.into_iter()
            .filter(|(_, is_same)| !is_same)
            .map(|(what, _)| what)
            .collect()
    }
}

// Exceptions have a comparison of their own; here they show as marks.

fn actions(policy: &PolicyBlock) -> [u8; Class::COUNT] {
    policy.actions.map(|it| it & !action::HAS_EXCEPTIONS)
}

fn scope(policy: &PolicyBlock) -> Scope {
    let flags = policy.scope.flags & !scope_flag::PREFIX_EXCEPTIONS;
    Scope {
        flags,
        ..policy.scope
    }
}

/// Those that are not over, with no word on their ends: these are kept on another clock, which somebody may have set.
fn exceptions(policy: &PolicyBlock, now_ns: u64) -> impl Iterator<Item = Exception> {
    let in_use = policy
        .exceptions
        .iter()
        .take(policy.exception_count as usize);
    in_use
        .filter(move |it| it.until_ns > now_ns)
        .map(|it| Exception { until_ns: 0, ..*it })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{compile::compile, config, geo};

    fn compiled(more: &str, networks: &str) -> CompiledPolicy {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("database.csv");
        std::fs::write(&database, networks).unwrap();
        let text = format!("interfaces = [\"eth0\"]\n[policy.countries]\nMO = \"allow\"\n{more}");
        let (config, _) = config::parse(Path::new("cerco.toml"), &text).unwrap();
        let database = geo::read_file(&database, &geo::ReadOptions::default()).unwrap();
        compile(&config.policy, &database).unwrap()
    }

    #[test]
    fn every_part_of_a_policy_is_compared() {
        const NETWORKS: &str = "198.51.100.0,198.51.100.255,MO\n";
        let runs = compiled("", NETWORKS);
        let cases: [(&str, &str, &[&str]); 5] = [
            ("", NETWORKS, &[]),
            ("CN = \"allow\"\n", NETWORKS, &["the actions of countries"]),
            (
                "CN = \"allow:few\"\n[limits.few]\npackets_per_second = 5\n",
                NETWORKS,
                &["the actions of countries", "limits"],
            ),
            ("[protect]\ntcp = [80]\n", NETWORKS, &["[protect]"]),
            (
                "",
                "198.51.100.0,198.51.100.255,CN\n",
                &["the networks of database and rules"],
            ),
        ];
        for (more, networks, expected) in cases {
            let written = compiled(more, networks);
            let pair = Pair {
                runs: &runs.policy,
                ports: &runs.ports[..],
                lines: &runs.lines,
                written: &written,
                now_ns: 0,
            };
            assert_eq!(pair.differences(), expected, "{more}{networks}");
        }
    }
}

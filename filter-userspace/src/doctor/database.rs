//! The country database: can it be read, and of when is it?

use std::{path::Path, time::SystemTime};

use super::{commands::Commands, finding::Finding};
use crate::{config::DatabaseSource, daemon::age};

pub struct DatabaseFacts<'a> {
    pub source: &'a DatabaseSource,
    pub read: Result<&'a DatabaseRead, String>,
    /// This user may not read it.
    pub is_closed: bool,
    pub now: SystemTime,
}

pub struct DatabaseRead {
    /// As it says itself.
    pub built: Option<SystemTime>,
    /// When the file was changed last.
    pub changed: Option<SystemTime>,
    pub networks: u64,
}

impl DatabaseFacts<'_> {
    pub fn judge(&self, commands: &Commands) -> Finding {
        const CHECK: &str = "database";
        let read = match &self.read {
            Ok(read) => read,
            Err(fault) if self.is_closed => {
                return Finding::unknown(CHECK, format!("This user cannot read it: {fault}."))
                    .mend(commands.as_root());
            }
            Err(fault) => {
                return Finding::fault(CHECK, format!("The database cannot be used: {fault}."))
                    .mend(commands.cerco("check"));
            }
        };
        if read.networks == 0 {
            return Finding::fault(
                CHECK,
                "The database holds no network: every address is unknown to it.",
            )
            .mend(commands.cerco("check"));
        }
        let (time, how) = match (read.built, read.changed) {
            (Some(built), _) => (built, age::built(built, self.now)),
            (None, Some(changed)) => (
                changed,
                format!("of unknown age, the file is of {}", age::date(changed)),
            ),
            (None, None) => {
                return Finding::note(CHECK, "The database does not say of when it is.")
                    .mend(commands.cerco("geo status"));
            }
        };
        // What is built in the future is the clock's matter.
        let is_old = time < self.now && age::warning(Some(time), self.now).is_some();
        if !is_old {
            return Finding::ok(CHECK, format!("The database is new enough ({how})."));
        }
        let words = format!("The database is too old to trust ({how}).");
        match self.source {
            DatabaseSource::Builtin => Finding::warning(CHECK, words)
                .mend(commands.edit_and_reload("[geo] database = a newer file, or a newer cerco")),
            DatabaseSource::File(path) => {
                Finding::warning(CHECK, words).mend(replace(path, commands))
            }
        }
    }
}

fn replace(path: &Path, commands: &Commands) -> String {
    format!(
        "install -m 644 NEWER-FILE {} && {}",
        path.display(),
        commands.cerco("reload")
    )
}

/// A file's own time.
pub fn changed(source: &DatabaseSource) -> Option<SystemTime> {
    match source {
        DatabaseSource::Builtin => None,
        DatabaseSource::File(path) => std::fs::metadata(path).ok()?.modified().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn file() -> DatabaseSource {
        DatabaseSource::File("/var/lib/geo.mmdb".into())
    }

    /// Ages in days.
    fn judged(source: &DatabaseSource, built: Option<u32>, changed: Option<u32>) -> Finding {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_272_000);
        DatabaseFacts {
            source,
            read: Ok(&DatabaseRead {
                built: built.map(|days| now - DAY * days),
                changed: changed.map(|days| now - DAY * days),
                networks: 7,
            }),
            is_closed: false,
            now,
        }
        .judge(&Commands::new(None))
    }

    #[test]
    fn database_is_old_after_45_days() {
        assert_eq!(
            judged(&file(), Some(45), None),
            Finding::ok(
                "database",
                "The database is new enough (built 2026-04-17, 45 days ago)."
            )
        );
        assert_eq!(
            judged(&file(), Some(46), Some(0)),
            Finding::warning(
                "database",
                "The database is too old to trust (built 2026-04-16, 46 days ago)."
            )
            .mend("install -m 644 NEWER-FILE /var/lib/geo.mmdb && cerco reload")
        );
        assert_eq!(
            judged(&file(), None, Some(100)),
            Finding::warning(
                "database",
                "The database is too old to trust (of unknown age, the file is of 2026-02-21)."
            )
            .mend("install -m 644 NEWER-FILE /var/lib/geo.mmdb && cerco reload")
        );
        assert_eq!(
            judged(&file(), None, None),
            Finding::note("database", "The database does not say of when it is.")
                .mend("cerco geo status")
        );
        assert_eq!(
            judged(&DatabaseSource::Builtin, Some(100), None),
            Finding::warning(
                "database",
                "The database is too old to trust (built 2026-02-21, 100 days ago)."
            )
            .mend(
                "sensible-editor /etc/cerco/cerco.toml && cerco reload    # [geo] database = a newer file, or a newer \
                 cerco"
            )
        );
    }

    #[test]
    fn database_that_cannot_be_used_is_a_fault() {
        let facts = |read, is_closed| {
            DatabaseFacts {
                source: &file(),
                read,
                is_closed,
                now: SystemTime::UNIX_EPOCH,
            }
            .judge(&Commands::new(Some(Path::new("/etc/a.toml"))))
        };
        assert_eq!(
            facts(
                Err("failed to open /var/lib/geo.mmdb: no such file".into()),
                false
            ),
            Finding::fault(
                "database",
                "The database cannot be used: failed to open /var/lib/geo.mmdb: no such file."
            )
            .mend("cerco check -c /etc/a.toml")
        );
        assert_eq!(
            facts(
                Ok(&DatabaseRead {
                    built: None,
                    changed: None,
                    networks: 0
                }),
                false
            ),
            Finding::fault(
                "database",
                "The database holds no network: every address is unknown to it."
            )
            .mend("cerco check -c /etc/a.toml")
        );
        assert_eq!(
            facts(Err("failed to open it: permission denied".into()), true),
            Finding::unknown(
                "database",
                "This user cannot read it: failed to open it: permission denied."
            )
            .mend("sudo cerco doctor -c /etc/a.toml")
        );
    }
}

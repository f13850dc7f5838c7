//! Which database is in force, and why not another one.
//!
//! A database comes into force when it was read whole, is valid, and looks like the next edition of the
//! last good one. The last good one is kept as a file, so that a start has it too.

mod refusal;
mod status;

use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing::{error, info, warn};

use self::refusal::{RefusedFor, refusal_of};
use super::{
    start::{self, Loaded},
    trial::is_unconfirmed,
};
use crate::{
    cause,
    compile::CompileError,
    config::{Config, DatabaseSource},
    control::{
        protocol::Refusal,
        reply::{Done, RefusedDatabase},
    },
    doubts::judged,
    generations::{About, Current, Generation, Store, StoreError},
    geo::{self, Database, Digest, GeoError, Source, UpdateFailure},
    kernel::GateOptions,
    policy::Policy,
};
pub use status::{about_status, generation_lines};

/// What a human says to a database that is doubted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acceptance {
    /// Nothing: the doubts decide, and a hold holds.
    Judged,
    /// Take it all the same, if it has this digest.
    Accepted(Option<Digest>),
}

struct LastGood {
    number: u64,
    database: Database,
    about: About,
}

#[derive(Debug)]
pub struct Databases {
    store: Store,
    current: Current,
    refused: Option<RefusedDatabase>,
    failures: [u64; UpdateFailure::ALL.len()],
    not_kept: Option<String>,
    update_failed: Option<RefusedDatabase>,
    /// Doubts about a first database, which nothing could be put in the place of.
    doubts: Vec<String>,
}

impl Databases {
    pub fn open(config: &Config) -> Self {
        let store = Store::at(&config.paths.state);
        let current = store.current();
        Self {
            store,
            current,
            refused: None,
            failures: [0; UpdateFailure::ALL.len()],
            not_kept: None,
            update_failed: None,
            doubts: Vec::new(),
        }
    }

    /// Loads the gate with the database of the config, or with the last good one.
    pub fn load(
        &mut self,
        config: &Config,
        policy: &Policy,
        options: &GateOptions,
    ) -> anyhow::Result<Loaded> {
        let lines = match self.current.held_since {
            None => config.known_lines(policy),
            Some(_) => None,
        };
        let failed = match start::load(|| self.at_start(config, policy), lines, policy, options) {
            Err(failed) if failed.is::<CompileError>() => failed,
            outcome => return outcome,
        };
        let Some(last_good) = self.last_good() else {
            return Err(failed);
        };
        self.refuse_table(config, &cause::chain(failed.as_ref()));
        self.current.in_force = Some(last_good.number);
        start::load(|| Ok(last_good.database), None, policy, options)
    }

    /// The database to start with. Fails only when there is no last good one.
    fn at_start(&mut self, config: &Config, policy: &Policy) -> Result<Database, GeoError> {
        if self.current.held_since.is_some() {
            match self.last_good() {
                Some(held) if Some(held.number) == self.current.in_force => {
                    return Ok(held.database);
                }
                _ => {
                    error!("the database that was held is not kept any more: the hold is over");
                    self.current.held_since = None;
                }
            }
        }
        let path = match &config.database {
            // It is part of this program: there is nothing to compare it with on the way to a gate.
            DatabaseSource::Builtin => return geo::builtin(),
            DatabaseSource::File(path) => path,
        };
        let (bytes, digest) = match geo::read_file_bytes(path) {
            Ok(read) => read,
            Err(error) => return self.last_good_instead(config, error),
        };
        let source = Source::File(path.clone());
        let last_good = match self.last_good() {
            // The same file as ever: what was made of it when it was judged is quicker to read.
            Some(mut last_good) if last_good.about.is_of(digest, config.database_country) => {
                last_good.database.info.source = source;
                self.doubts = doubts_of_any(config, policy, &last_good.database);
                return Ok(last_good.database);
            }
            other => other,
        };
        if is_unconfirmed(&config.paths.state, digest)
            && let Some(last_good) = last_good
        {
            let reason = "it was tried and nobody has confirmed it; `cerco reload` takes it";
            let refused = RefusedFor::one(UpdateFailure::Unconfirmed, reason.to_owned());
            return Ok(self.stands_in(last_good, config, refused));
        }
        let database = match geo::read_bytes(bytes, source, &config.read_options()) {
            Ok(database) => database,
            Err(error) => return self.last_good_instead(config, error),
        };
        let Some(last_good) = last_good else {
            self.doubts = doubts_of_any(config, policy, &database);
            return Ok(database);
        };
        let doubts = judged(Some(&last_good.database), &database, config, policy, None);
        match refusal_of(&doubts) {
            None => Ok(database),
            Some(refused) => Ok(self.stands_in(last_good, config, refused)),
        }
    }

    fn last_good_instead(
        &mut self,
        config: &Config,
        error: GeoError,
    ) -> Result<Database, GeoError> {
        let Some(last_good) = self.last_good() else {
            return Err(error);
        };
        Ok(self.stands_in(last_good, config, error.into()))
    }

    /// The last good database in the place of the config's, which was refused.
    fn stands_in(&mut self, last_good: LastGood, config: &Config, refused: RefusedFor) -> Database {
        self.refuse(config, refused);
        self.current.in_force = Some(last_good.number);
        last_good.database
    }

    /// The database that was in force last, or the newest that can be read.
    fn last_good(&self) -> Option<LastGood> {
        let mut numbers: Vec<u64> = self.current.in_force.into_iter().collect();
        let kept = self.store.list();
        numbers.extend(kept.iter().rev().map(|generation| generation.number));
        numbers.dedup();
        numbers
            .into_iter()
            .find_map(|number| match self.store.read(number) {
                Ok((database, about)) => Some(LastGood {
                    number,
                    database,
                    about,
                }),
                Err(error) => {
                    error!("{error}");
                    None
                }
            })
    }

    /// The database for a reload; `None`: the running one stays.
    pub fn at_reload(
        &mut self,
        running: &Database,
        running_config: &Config,
        (config, policy): (&Config, &Policy),
        acceptance: Acceptance,
        ssh_peer: Option<(IpAddr, u16)>,
    ) -> Result<Option<Database>, Refusal> {
        if self.current.held_since.is_some() && acceptance == Acceptance::Judged {
            return Ok(None);
        }
        let outcome =
            candidate(running, running_config, config, acceptance).and_then(|candidate| {
                let Some(database) = &candidate else {
                    return Ok(None);
                };
                if config.database == DatabaseSource::Builtin {
                    return Ok(candidate);
                }
                let doubts = judged(Some(running), database, config, policy, ssh_peer);
                match (refusal_of(&doubts), acceptance) {
                    (Some(refused), Acceptance::Judged) => Err(refused),
                    (Some(doubted), Acceptance::Accepted(_)) => {
                        warn!("database accepted all the same: {}", doubted.message());
                        Ok(candidate)
                    }
                    (None, _) => Ok(candidate),
                }
            });
        outcome.map_err(|refused| {
            let message = refused.told(config, self.generation());
            self.refuse(config, refused);
            Refusal::failed(message)
        })
    }

    /// Notes that `config`'s database did not come into force.
    fn refuse(&mut self, config: &Config, refused: RefusedFor) {
        self.failures[refused.failure.index()] += 1;
        let source = source_of(config).to_string();
        error!(
            reason = refused.failure.label(),
            "database {source} refused, the last good one stays: {}",
            refused.message()
        );
        self.refused = Some(RefusedDatabase {
            source,
            reason: refused.failure.label().to_owned(),
            message: refused.message(),
            at: Some(SystemTime::now()),
        });
    }

    /// Notes that no table could be made of a database that was read.
    pub fn refuse_table(&mut self, config: &Config, message: &str) {
        let refused = RefusedFor::one(UpdateFailure::Table, message.to_owned());
        self.refuse(config, refused);
    }

    /// Notes how an update has ended that another process tried.
    pub fn note_update(&mut self, failure: Option<RefusedDatabase>) -> Result<Done, Refusal> {
        let message = match &failure {
            None => "the update is noted".to_owned(),
            Some(failed) => {
                let reason = UpdateFailure::labelled(&failed.reason).ok_or_else(|| {
                    Refusal::bad_request(format!("no failure is called {:?}", failed.reason))
                })?;
                self.failures[reason.index()] += 1;
                error!(
                    reason = reason.label(),
                    "update of the database from {} failed: {}", failed.source, failed.message
                );
                "the failure is noted".to_owned()
            }
        };
        self.update_failed = failure;
        Ok(Done {
            message,
            warnings: Vec::new(),
        })
    }

    /// Keeps the database that is in force, unless it is kept already.
    pub fn keep(&mut self, database: &Database, config: &Config) {
        self.not_kept = self.try_keep(database, config).err().map(|error| {
            self.failures[UpdateFailure::NotKept.index()] += 1;
            let text = format!(
                "the database in force is not kept for the next start: {}",
                cause::chain(&error)
            );
            error!(reason = UpdateFailure::NotKept.label(), "{text}");
            text
        });
    }

    fn try_keep(&mut self, database: &Database, config: &Config) -> Result<(), StoreError> {
        let country = match config.database {
            DatabaseSource::Builtin => None,
            DatabaseSource::File(_) => config.database_country,
        };
        let digest = database.info.digest.unwrap_or_else(geo::builtin_digest);
        let kept = self.store.list();
        let same = kept.iter().rev().find(|it| it.about.is_of(digest, country));
        let number = match (&database.info.source, same) {
            (Source::Kept { generation, .. }, _) => *generation,
            (_, Some(same)) => same.number,
            (_, None) => {
                // Until it is kept, what was in force before is the last good one of the next start.
                let about = About::of(database, country, Some(SystemTime::now()));
                let number = self.store.keep(database, &about)?;
                info!("database kept as generation {number}");
                number
            }
        };
        let in_force = Current {
            in_force: Some(number),
            held_since: self.current.held_since,
        };
        if self.store.current() != in_force || self.current != in_force {
            self.store.set_current(&in_force)?;
        }
        self.current = in_force;
        self.store.prune(config.keep_databases, Some(number))
    }

    /// After a reload: what was refused before does not matter any more.
    pub fn taken(&mut self, acceptance: Acceptance) {
        if acceptance != Acceptance::Judged {
            self.current.held_since = None;
        }
        if self.current.held_since.is_none() {
            self.refused = None;
            self.doubts.clear();
        }
    }

    /// The kept database for a rollback.
    pub fn for_rollback(&self, generation: Option<u64>) -> Result<(u64, Database), Refusal> {
        let kept = self.store.list();
        let number = match generation {
            Some(number) => number,
            None => before(&kept, self.current.in_force)
                .ok_or_else(|| Refusal::bad_request("no other database is kept"))?,
        };
        let (database, _) = self
            .store
            .read(number)
            .map_err(|error| Refusal::bad_request(cause::chain(&error)))?;
        Ok((number, database))
    }

    /// From now on the database in force stays, whatever the config names.
    pub fn hold(&mut self) {
        // Whole seconds, as the file has them.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.map_or(0, |since| since.as_secs());
        self.current.held_since = Some(UNIX_EPOCH + Duration::from_secs(seconds));
    }
}

/// The newest before the one in force; if there is none, the newest other one.
pub fn before(kept: &[Generation], in_force: Option<u64>) -> Option<u64> {
    let numbers = || kept.iter().rev().map(|generation| generation.number);
    numbers()
        .find(|number| in_force.is_none_or(|in_force| *number < in_force))
        .or_else(|| numbers().find(|number| Some(*number) != in_force))
}

/// Reads what `config` names; `None` when that is what runs.
fn candidate(
    running: &Database,
    running_config: &Config,
    config: &Config,
    acceptance: Acceptance,
) -> Result<Option<Database>, RefusedFor> {
    let path = match &config.database {
        DatabaseSource::Builtin if running.info.source == Source::Builtin => return Ok(None),
        DatabaseSource::Builtin => return Ok(geo::builtin().map(Some)?),
        DatabaseSource::File(path) => path,
    };
    let (bytes, digest) = geo::read_file_bytes(path)?;
    if let Acceptance::Accepted(Some(shown)) = acceptance
        && shown != digest
    {
        let reason = format!(
            "{} has changed since it was shown (SHA-256 {digest}); look at it again",
            path.display()
        );
        return Err(RefusedFor::one(UpdateFailure::Unreadable, reason));
    }
    let source = Source::File(path.clone());
    let is_same = running.info.source == source
        && running.info.digest == Some(digest)
        && running_config.database_country == config.database_country;
    if is_same {
        return Ok(None);
    }
    Ok(Some(geo::read_bytes(
        bytes,
        source,
        &config.read_options(),
    )?))
}

/// What no database should be, where there is no other to take.
fn doubts_of_any(config: &Config, policy: &Policy, database: &Database) -> Vec<String> {
    let doubts = judged(None, database, config, policy, None);
    let source = &database.info.source;
    doubts
        .iter()
        .map(|doubt| format!("the database {source} is in force, but {doubt}"))
        .collect()
}

fn source_of(config: &Config) -> Source {
    match &config.database {
        DatabaseSource::Builtin => Source::Builtin,
        DatabaseSource::File(path) => Source::File(path.clone()),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    /// [`Databases::load`] tells a database of which no table can be made from a kernel that refuses.
    #[test]
    fn what_cannot_be_compiled_is_known_behind_its_context() {
        let failed = || Err::<(), _>(CompileError::TooManyLimits { found: 65 });
        let error = failed().context("cannot compile the policy").unwrap_err();
        assert!(error.is::<CompileError>());
        let kernel = Err::<(), _>(std::io::Error::other("no")).context("cannot load the gate");
        assert!(!kernel.unwrap_err().is::<CompileError>());
    }

    #[test]
    fn rollback_without_a_number_goes_to_the_one_before() {
        let kept = |numbers: &[u64]| -> Vec<Generation> {
            let database = geo::builtin().unwrap();
            let about = About::of(&database, None, None);
            let generation = |number: &u64| Generation {
                number: *number,
                about: about.clone(),
            };
            numbers.iter().map(generation).collect()
        };
        for (numbers, in_force, expected) in [
            (&[3, 4, 5][..], Some(5), Some(4)),
            (&[3, 4, 5], Some(4), Some(3)),
            // None is before it; the newest other one is better than nothing.
            (&[3, 4, 5], Some(3), Some(5)),
            (&[3, 4, 5], None, Some(5)),
            (&[3], Some(3), None),
            (&[], None, None),
        ] {
            assert_eq!(before(&kept(numbers), in_force), expected, "{numbers:?}");
        }
    }
}

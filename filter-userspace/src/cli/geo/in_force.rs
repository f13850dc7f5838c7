//! Finds the database in force, which the daemon has in memory and the state directory as a file.

use super::{Context, Failure};
use crate::{
    cause,
    cli::failure::NO_DAEMON,
    config::{Config, DatabaseSource},
    control::{protocol::Request, reply::GeoStatus},
    generations::Store,
    geo::{self, Database},
};

/// What the daemon says of its database; `None` when none answers.
pub fn ask(context: &Context) -> Result<Option<GeoStatus>, Failure> {
    match context.ask::<GeoStatus>(Request::GeoStatus) {
        Ok(status) => Ok(Some(status)),
        Err(failure) if failure.code == NO_DAEMON => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The database in force; without a daemon the one that was in force last.
pub fn read(context: &Context, config: &Config) -> Result<Database, Failure> {
    let status = ask(context)?;
    let store = Store::at(&context.paths().state);
    let generation = match &status {
        Some(status) if status.sha256 == geo::builtin_digest() => return builtin(),
        Some(status) => status.generation,
        None => store.current().in_force,
    };
    match (generation, status) {
        (Some(number), _) => store
            .read(number)
            .map(|(database, _)| database)
            .map_err(|error| Failure::failed(cause::chain(&error))),
        (None, Some(status)) => Err(Failure::failed(format!(
            "the database in force is not kept: {}",
            status.not_kept.as_deref().unwrap_or("not yet")
        ))),
        (None, None) if config.database == DatabaseSource::Builtin => builtin(),
        (None, None) => Err(Failure::failed(format!(
            "no daemon answers, and no database is kept in {}",
            store.directory().display()
        ))),
    }
}

fn builtin() -> Result<Database, Failure> {
    geo::builtin().map_err(|error| Failure::failed(cause::chain(&error)))
}

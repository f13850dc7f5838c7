//! What would be in force after a reload: config, database and rules made at runtime, compiled.

use std::{path::Path, time::SystemTime};

use super::{
    commands::Commands,
    database::{self, DatabaseFacts, DatabaseRead},
    files,
    finding::Finding,
};
use crate::{
    cause,
    compile::{CompiledPolicy, compile},
    config::{Config, DatabaseSource},
    daemon::{moment::Moment, overlay::Overlay},
    geo::GeoError,
    policy::Policy,
};

/// What the config asks for, with the rules made at runtime.
pub struct Intended {
    /// The database; `None` without a config.
    pub read: Option<Result<DatabaseRead, GeoError>>,
    pub compiled: Option<(Policy, CompiledPolicy)>,
    compile_fault: Option<String>,
}

impl Intended {
    pub fn read(config: Option<&Config>, state: &Path) -> Self {
        let mut intended = Self {
            read: None,
            compiled: None,
            compile_fault: None,
        };
        let Some(config) = config else {
            return intended;
        };
        let database = match config.read_database() {
            Ok(database) => database,
            Err(error) => {
                intended.read = Some(Err(error));
                return intended;
            }
        };
        intended.read = Some(Ok(DatabaseRead {
            built: database.info.build_time,
            changed: database::changed(&config.database),
            networks: database.info.networks_v4 + database.info.networks_v6,
        }));
        let mut overlay = Overlay::load(&state.join("runtime.json")).unwrap_or_default();
        overlay.expire(SystemTime::now());
        let (policy, _) = overlay.apply(&config.policy, Moment::now());
        match compile(&policy, &database) {
            Ok(compiled) => intended.compiled = Some((policy, compiled)),
            Err(error) => intended.compile_fault = Some(cause::chain(&error)),
        }
        intended
    }

    pub fn judge(
        &self,
        config: Option<&Config>,
        commands: &Commands,
        now: SystemTime,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let (Some(config), Some(read)) = (config, &self.read) {
            let facts = DatabaseFacts {
                source: &config.database,
                read: read.as_ref().map_err(|error| cause::chain(error)),
                is_closed: match &config.database {
                    DatabaseSource::Builtin => false,
                    DatabaseSource::File(path) => files::is_closed(path),
                },
                now,
            };
            findings.push(facts.judge(commands));
        }
        findings.extend(self.compile_fault.as_ref().map(|fault| {
            Finding::fault(
                "policy",
                format!("The policy cannot be put in force: {fault}."),
            )
            .mend(commands.cerco("check"))
        }));
        findings
    }
}

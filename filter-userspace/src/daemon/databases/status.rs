//! What is told of the databases: to `status`, `geo status` and the metrics.

use std::time::SystemTime;

use super::{Databases, source_of};
use crate::{
    config::Config,
    control::reply::{GenerationLine, GeoStatus, RefusedDatabase},
    daemon::age,
    generations::{Generation, sites},
    geo::{self, Database, UpdateFailure},
};

impl Databases {
    pub fn not_kept(&self) -> Option<&str> {
        self.not_kept.as_deref()
    }

    pub const fn held_since(&self) -> Option<SystemTime> {
        self.current.held_since
    }

    /// The number of the database in force, if it is kept.
    pub fn generation(&self) -> Option<u64> {
        match self.not_kept {
            Some(_) => None,
            None => self.current.in_force,
        }
    }

    pub const fn refused(&self) -> Option<&RefusedDatabase> {
        self.refused.as_ref()
    }

    /// Every reason with how often it was one.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = UpdateFailure::ALL.iter().map(|failure| failure.label());
        labels.zip(self.failures)
    }

    /// What `status` has to warn of.
    pub fn warnings(&self, config: &Config) -> Vec<String> {
        let mut warnings = self.doubts.clone();
        warnings.extend(self.hold_warning(config));
        if let Some(refused) = &self.refused {
            let at = refused.at.map_or_else(String::new, |at| {
                format!(" at {}", humantime::format_rfc3339_seconds(at))
            });
            warnings.push(format!(
                "the database {} was refused{at} ({}) and the last good one is in force; `cerco geo \
                 status` says why",
                refused.source, refused.reason
            ));
        }
        if let Some(failed) = &self.update_failed {
            warnings.push(format!(
                "the last update of the database failed ({}); `cerco geo status` says why",
                failed.reason
            ));
        }
        warnings.extend(self.not_kept.clone());
        warnings
    }

    pub fn hold_warning(&self, config: &Config) -> Option<String> {
        let since = humantime::format_rfc3339_seconds(self.current.held_since?);
        let generation = self
            .current
            .in_force
            .map_or_else(String::new, |number| format!(" (generation {number})"));
        Some(format!(
            "the database is held{generation} since {since}: {} is not read; `cerco geo accept` ends \
             that",
            source_of(config)
        ))
    }

    pub fn status(&self, database: &Database) -> GeoStatus {
        let kept = self.store.list();
        GeoStatus {
            daemon: true,
            generation: self.generation(),
            held_since: self.current.held_since,
            refused: self.refused.clone(),
            not_kept: self.not_kept.clone(),
            update_failed: self.update_failed.clone(),
            generations: generation_lines(kept, self.generation()),
            ..about_status(database)
        }
    }
}

/// What a database says about itself, for [`GeoStatus`]; nothing about what is kept.
pub fn about_status(database: &Database) -> GeoStatus {
    let info = &database.info;
    let now = SystemTime::now();
    GeoStatus {
        daemon: false,
        source: info.source.to_string(),
        format: info.format.to_string(),
        generation: None,
        built: info.build_time.map(age::date),
        age: info.build_time.map(|time| age::built(time, now)),
        sha256: info.digest.unwrap_or_else(geo::builtin_digest),
        networks_v4: info.networks_v4,
        networks_v6: info.networks_v6,
        addresses_v4: database.covered_v4(),
        sites_v6: sites(database.covered_v6()),
        attribution: info.attribution.map(str::to_owned),
        warning: age::warning(info.build_time, now),
        held_since: None,
        refused: None,
        update_failed: None,
        not_kept: None,
        generations: Vec::new(),
    }
}

pub fn generation_lines(kept: Vec<Generation>, in_force: Option<u64>) -> Vec<GenerationLine> {
    kept.into_iter()
        .map(|Generation { number, about }| GenerationLine {
            generation: number,
            in_force: Some(number) == in_force,
            about,
        })
        .collect()
}

//! Back to a database that was in force before.

use std::time::SystemTime;

use tracing::info;

use super::{
    age,
    lockout::Change,
    state::{Daemon, compile_and_check},
};
use crate::{
    control::{protocol::Refusal, reply::Done},
    kernel::Planned,
};

impl Daemon {
    /// Puts a kept database in force under the policy that runs, and holds it: the next reload would
    /// go forward again, to that which somebody has just gone back from.
    pub(super) fn roll_back_database(&mut self, generation: Option<u64>) -> Result<Done, Refusal> {
        let (number, database) = self.databases.for_rollback(generation)?;
        let compiled = compile_and_check(&self.policy, &database)?;
        let cut_off = self.is_safe(&Change {
            what: &format!("generation {number}"),
            mode: self.gate.mode(),
            policy: &self.policy,
            planned: Planned::Compiled(&compiled),
            bans: &[],
        })?;
        self.publish(&compiled)?;
        self.database = database;
        self.hold(compiled);
        self.published = SystemTime::now();
        self.databases.hold();
        self.databases.keep(&self.database, &self.config);
        let built = self.database.info.build_time;
        let built = built.map_or("of unknown age".to_owned(), |time| {
            age::built(time, SystemTime::now())
        });
        let now = format!("generation {number} is in force again ({built})");
        info!("{now}; it is held until `cerco geo accept`");
        let message = format!("{now}\nreloads and restarts keep it until `cerco geo accept`");
        Ok(Done {
            message,
            warnings: cut_off
                .into_iter()
                .chain(self.databases.not_kept().map(str::to_owned))
                .chain(self.database_warning())
                .collect(),
        })
    }
}

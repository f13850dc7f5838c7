//! Back to a database that was in force before.

use std::{net::IpAddr, time::SystemTime};

use tracing::info;

use super::{
    age, lockout,
    state::{Daemon, compile_and_check},
};
use crate::{
    control::{protocol::Refusal, reply::Done},
    kernel::Mode,
};

impl Daemon {
    /// Puts a kept database in force under the policy that runs, and holds it: the next reload would
    /// go forward again, to that which somebody has just gone back from.
    pub(super) fn roll_back_database(
        &mut self,
        generation: Option<u64>,
        ssh_peer: Option<(IpAddr, u16)>,
    ) -> Result<Done, Refusal> {
        let (number, database) = self.databases.for_rollback(generation)?;
        let compiled = compile_and_check(&self.policy, &database)?;
        if self.gate.mode() == Mode::Enforce
            && let Some(peer) = ssh_peer
        {
            lockout::refuse(&self.policy, &compiled, peer)?;
        }
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
            warnings: self
                .databases
                .not_kept()
                .map(str::to_owned)
                .into_iter()
                .chain(self.database_warning())
                .collect(),
        })
    }
}

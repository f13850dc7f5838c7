//! What the daemon tells the dashboard, all of it read only.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::debug;

use super::state::{Daemon, failed};
use crate::{
    control::protocol::Refusal,
    dashboard::{Question, State},
    events::Filter,
    kernel,
};

impl Daemon {
    /// Answers a question of the dashboard; one about the history is passed on.
    pub fn answer_dashboard(&mut self, question: Question) {
        // A viewer that left meanwhile needs no answer.
        let gone = || debug!("nobody waits for the answer to the dashboard any more");
        match question {
            Question::State(answer) => {
                if answer.send(self.dashboard_state()).is_err() {
                    gone();
                }
            }
            Question::RecentEvents(answer) => {
                let events = self.recent_events(&Filter::default()).events;
                if answer.send(Ok(events)).is_err() {
                    gone();
                }
            }
            Question::History(query, answer) => self.ask_history(query, |reply| {
                // As above; the history's thread says it.
                let _ = answer.send(reply);
            }),
        }
    }

    fn dashboard_state(&mut self) -> Result<State, Refusal> {
        let boot_ns = kernel::boot_ns();
        let counters = self.gate.counters().map_err(failed)?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(State {
            unix_ms: milliseconds(since_1970.unwrap_or_default()),
            boot_ms: milliseconds(Duration::from_nanos(boot_ns)),
            gate: self.gate_name().to_owned(),
            // Flows are counted by a sweep each minute: here someone asks each second.
            status: self.status_of(&counters)?,
            countries: self.countries_of(&counters),
            standing: self.standing(),
        })
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

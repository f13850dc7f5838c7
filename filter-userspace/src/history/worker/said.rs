//! Changes that the history tells of itself, and those of others in words.

use std::{
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    super::{
        changes::{Change, Kind, Standing, gate::Told},
        who,
    },
    Noted,
};

pub(super) fn named(noted: Noted) -> Change {
    Change {
        unix: noted.unix,
        kind: noted.kind,
        who: who::words(noted.actor, noted.login),
        what: noted.what,
        after: noted.after,
    }
}

pub(super) fn clock_change(unix: u64, seconds: i64) -> Change {
    let direction = match seconds > 0 {
        true => "forward",
        false => "back",
    };
    let by = humantime::format_duration(Duration::from_secs(seconds.unsigned_abs()));
    Change {
        unix,
        kind: Kind::History,
        who: "the daemon".to_owned(),
        what: format!("the clock of this host was set {direction} by {by}"),
        after: Standing::default(),
    }
}

pub(super) fn killed_change(now: u64, last_look: u64) -> Change {
    let last_look = UNIX_EPOCH + Duration::from_secs(last_look);
    Change {
        unix: now,
        kind: Kind::History,
        who: "the daemon".to_owned(),
        what: format!(
            "the daemon before this one ended without a word after {}",
            humantime::format_rfc3339_seconds(last_look)
        ),
        after: Standing::default(),
    }
}

/// A detach, or the host's boot, took the counters along that were read last, `last_look` seconds after 1970.
pub(super) fn another_gate_change(now: u64, last_look: u64) -> Change {
    let since = UNIX_EPOCH + Duration::from_secs(last_look);
    Change {
        unix: now,
        kind: Kind::History,
        who: "the daemon".to_owned(),
        what: Told::Another { since }.words(),
        after: Standing::default(),
    }
}

pub(super) fn moved_change(now: u64, broken: &Path) -> Change {
    Change {
        unix: now,
        kind: Kind::History,
        who: "the daemon".to_owned(),
        what: format!(
            "the file of the history was broken and is now {}; this one begins here",
            broken.display()
        ),
        after: Standing::default(),
    }
}

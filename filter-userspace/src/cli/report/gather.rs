//! Asks for all that a report is made of.

use std::fs;

use super::super::{Context, Failure, failure::NO_DAEMON, geo, history};
use crate::{
    config,
    control::{protocol::Request, reply::Rules},
    daemon::{overlay::Overlay, view},
    history::{
        DAY, HOUR, MINUTE, Part, Query, Step,
        changes::{Change, Kind},
        query::MAX_POINTS,
        reply::{History, Point},
        worker::STARTED,
    },
    report::{Material, Networks},
};

/// How far before the period what was in force is looked for, in seconds: at last as far as a history can go.
const LOOKED_BACK: [u64; 4] = [DAY, 8 * DAY, 100 * DAY, 3653 * DAY];

pub struct Asked {
    /// Seconds since 1970, as all of them.
    pub now: u64,
    pub since: u64,
    pub until: Option<u64>,
    pub country: Option<String>,
}

/// The material, and the failure that says that no daemon answered.
pub fn gather(context: &Context, asked: Asked) -> Result<(Material, Option<Failure>), Failure> {
    // Without an end each question would tell of another time.
    let until = asked.until.unwrap_or(asked.now);
    let length = until.saturating_sub(asked.since);
    let by = match length {
        // One step may begin before the time and one may end after it.
        _ if length / MINUTE + 2 <= MAX_POINTS => Step::Minute,
        _ if length / HOUR + 2 <= MAX_POINTS => Step::Hour,
        _ => Step::Day,
    };
    let query = Query {
        since: asked.since,
        // The minute of it is the last one; a report until midnight has none of the next day.
        until: Some(asked.until.map_or(asked.now, |it| it.saturating_sub(1))),
        by,
        country: asked.country,
        reason: None,
        part: Part::Whole,
    };
    let (history, without_daemon) = history::ask(context, query.clone())?;
    let minutes = match by {
        Step::Minute => Vec::new(),
        _ => minutes(context, &query, &history)?,
    };
    let networks = config::asn_database(context.global.config.as_deref());
    let material = Material {
        minutes,
        log: log(context, asked.since)?,
        rules: rules(context),
        // A report without it is better than none.
        database: geo::about(context).ok(),
        networks: networks.map(|path| Networks::open(&path)),
        host: host(),
        now: asked.now,
        asked_since: asked.since,
        history,
    };
    Ok((material, without_daemon))
}

/// The minutes of a time that one answer does not hold.
fn minutes(context: &Context, query: &Query, history: &History) -> Result<Vec<Point>, Failure> {
    let Some(kept) = history.store.minutes_since else {
        return Ok(Vec::new());
    };
    let mut points = Vec::new();
    let mut since = history.since.max(kept - kept % HOUR);
    while since < history.until {
        let end = (since + (MAX_POINTS - 2) * MINUTE).min(history.until);
        let piece = Query {
            since,
            // The minute of it is the last one.
            until: Some(end - MINUTE),
            by: Step::Minute,
            part: Part::Counted,
            ..query.clone()
        };
        points.extend(history::ask(context, piece)?.0.points);
        since = end;
    }
    Ok(points)
}

/// Changes from before `since` until now, so far back that what was in force then is among them, and the last start,
/// behind which stands where no gate stood.
fn log(context: &Context, since: u64) -> Result<Vec<Change>, Failure> {
    let mut log = Vec::new();
    for back in LOOKED_BACK {
        let query = Query {
            since: since.saturating_sub(back),
            until: None,
            by: Step::Day,
            country: None,
            reason: None,
            part: Part::Changes,
        };
        log = history::ask(context, query)?.0.changes;
        let is_start = |change: &Change| {
            change.unix < since && change.kind == Kind::Daemon && change.what.starts_with(STARTED)
        };
        if log.iter().any(is_start) {
            break;
        }
    }
    Ok(log)
}

/// The rules that the daemon goes by; without one, those of the files.
fn rules(context: &Context) -> Result<Rules, String> {
    match context.ask::<Rules>(Request::Rules) {
        Ok(rules) => Ok(rules),
        Err(failure) if failure.code == NO_DAEMON => {
            let loaded = config::load(context.global.config.as_deref());
            let (config, _) = loaded.map_err(|_| "the config is wrong: see `cerco check`")?;
            let path = context.paths().state.join("runtime.json");
            let mut overlay = Overlay::load(&path).map_err(|error| error.to_string())?;
            overlay.expire(std::time::SystemTime::now());
            Ok(view::rules(&config, &overlay))
        }
        Err(failure) => Err(failure.message),
    }
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "this host".to_owned(),
        name => name.to_owned(),
    }
}

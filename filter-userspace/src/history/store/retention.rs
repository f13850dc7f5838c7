//! What is kept, and what goes.

use rusqlite::Connection;

use super::{
    super::{HOUR, HistoryConfig},
    Store, StoreError, meta, put_meta, signed,
};

/// The file is cut back when it is fuller than this, in hundredths of its largest size.
const FULL: u64 = 90;
/// Hours that one transaction forgets at most, so that none takes long.
const FORGOTTEN_AT_ONCE: u64 = 24;
/// Minutes of this time are never given up for room.
const LAST_TO_GO: u64 = HOUR;
/// Pages that one transaction gives back to the disk at most: 10 MB.
const CUT_AT_ONCE: u64 = 2_560;

impl Store {
    /// Forgets what is too old and, when the file is too full, the oldest of what is left. Works in small
    /// steps; true: there is more to forget.
    pub fn forget(&mut self, now: u64, config: &HistoryConfig) -> Result<bool, StoreError> {
        let is_full = self.used_bytes()? * 100 > config.max_bytes * FULL;
        let more = self.forget_some(now, config, is_full).map_err(self.sql())?;
        let is_cut = self.cut_back(config.max_bytes)?;
        Ok(more || is_cut)
    }

    /// Gives free pages back to the disk when the file is larger than it may be, as after a change of the
    /// config. True: there is more to give back.
    fn cut_back(&self, max_bytes: u64) -> Result<bool, StoreError> {
        let excess = self.bytes()?.saturating_sub(max_bytes);
        let free = self.pragma("freelist_count")?;
        if excess == 0 || free == 0 {
            return Ok(false);
        }
        let pages = excess.div_ceil(self.page_size()?).min(CUT_AT_ONCE);
        let sql = self.sql();
        let vacuum = format!("PRAGMA incremental_vacuum({pages})");
        let mut statement = self.connection.prepare(&vacuum).map_err(&sql)?;
        // Each step frees one page.
        let mut freed = statement.query([]).map_err(&sql)?;
        while freed.next().map_err(&sql)?.is_some() {}
        drop(freed);
        drop(statement);
        self.limit(max_bytes)?;
        Ok(self.bytes()? > max_bytes && self.pragma("freelist_count")? > 0)
    }

    fn forget_some(
        &mut self,
        now: u64,
        config: &HistoryConfig,
        is_full: bool,
    ) -> rusqlite::Result<bool> {
        let hour = |unix: u64| unix - unix % HOUR;
        let transaction = self.connection.transaction()?;
        let mut more = false;
        let oldest_minute = oldest(&transaction, "minutes")?.map(hour);
        let mut minutes_from = hour(now.saturating_sub(config.keep_minutes));
        if let Some(oldest) = oldest_minute {
            let last_to_go = hour(now.saturating_sub(LAST_TO_GO));
            if is_full && oldest >= minutes_from && oldest < last_to_go {
                minutes_from = oldest + HOUR;
                more = true;
            }
            if oldest < minutes_from {
                // A clock that is wrong for a while, as before the first NTP answer, costs no more than this.
                let next = (oldest + FORGOTTEN_AT_ONCE * HOUR).min(minutes_from);
                transaction.execute("DELETE FROM minutes WHERE unix < ?1", [signed(next)])?;
                // Numbers that a wrong clock has put into 1970 say nothing about which minutes are whole.
                let stored: Option<i64> = meta(&transaction, "minutes_from")?;
                let minutes_from = stored.unwrap_or_default().max(signed(next));
                put_meta(&transaction, "minutes_from", minutes_from)?;
            }
        }
        let only_hours_left = !more;
        let mut hours_from = hour(now.saturating_sub(config.keep_hours));
        if let Some(oldest) = oldest(&transaction, "hours")? {
            if is_full && only_hours_left && oldest >= hours_from && oldest < hour(now) {
                hours_from = oldest + HOUR;
                more = true;
            }
            if oldest < hours_from {
                let next = (oldest + FORGOTTEN_AT_ONCE * HOUR).min(hours_from);
                for table in ["hours", "spans", "changes"] {
                    let delete = format!("DELETE FROM {table} WHERE unix < ?1");
                    transaction.execute(&delete, [signed(next)])?;
                }
                for table in ["sketches", "classes", "sources", "ports"] {
                    let delete = format!("DELETE FROM {table} WHERE hour < ?1");
                    transaction.execute(&delete, [signed(next)])?;
                }
            }
        }
        transaction.commit()?;
        Ok(more)
    }

    /// Makes room after a write that found none, if it was the largest size that was in the way.
    pub fn make_room(
        &mut self,
        error: &StoreError,
        now: u64,
        config: &HistoryConfig,
    ) -> Result<bool, StoreError> {
        Ok(error.is_full()
            && self.used_bytes()? * 100 > config.max_bytes * FULL
            && self.forget(now, config)?)
    }

    /// The oldest minute and the oldest hour.
    pub fn oldest(&self) -> Result<(Option<u64>, Option<u64>), StoreError> {
        let oldest = |table| oldest(&self.connection, table).map_err(self.sql());
        Ok((oldest("minutes")?, oldest("hours")?))
    }
}

fn oldest(connection: &Connection, table: &str) -> rusqlite::Result<Option<u64>> {
    let sql = format!("SELECT min(unix) FROM {table}");
    let oldest: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(oldest.map(|unix| unix.max(0) as u64))
}

//! How old a database is, in words.

use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Country databases are published monthly; half a month more is a month that was missed.
const TOO_OLD_DAYS: u64 = 45;

/// `2026-06-01`, in UTC.
pub fn date(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

/// `built 2026-06-01, 175 days ago`.
pub fn built(time: SystemTime, now: SystemTime) -> String {
    match days(time, now) {
        None => format!("built {}, in the future: check the clock", date(time)),
        Some(0) => format!("built {}, today", date(time)),
        Some(1) => format!("built {}, yesterday", date(time)),
        Some(days) => format!("built {}, {days} days ago", date(time)),
    }
}

/// What to tell the sysadmin about the age, if anything.
pub fn warning(built_at: Option<SystemTime>, now: SystemTime) -> Option<String> {
    let built_at = built_at?;
    match days(built_at, now) {
        Some(days) if days <= TOO_OLD_DAYS => None,
        _ => Some(format!(
            "the database is too old to trust ({}): `cerco geo update` fetches a newer file, and a \
             newer cerco has a newer one built in",
            built(built_at, now)
        )),
    }
}

fn days(time: SystemTime, now: SystemTime) -> Option<u64> {
    // A day of slack: a database of today, read west of its maker, is not from the future.
    let age = (now + DAY).duration_since(time).ok()?;
    Some((age.as_secs() / DAY.as_secs()).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn age_is_told_in_days_and_warned_of_after_45() {
        let built_at = UNIX_EPOCH + Duration::from_secs(1_780_272_000);
        let after = |days: u32| built_at + DAY * days;
        assert_eq!(
            built(built_at, after(175)),
            "built 2026-06-01, 175 days ago"
        );
        assert_eq!(built(built_at, after(1)), "built 2026-06-01, yesterday");
        assert_eq!(built(built_at, after(0)), "built 2026-06-01, today");
        assert_eq!(warning(Some(built_at), after(45)), None);
        let text = warning(Some(built_at), after(46)).unwrap();
        assert!(text.contains("46 days ago"), "{text}");
        let text = warning(Some(after(3)), built_at).unwrap();
        assert!(text.contains("check the clock"), "{text}");
        assert_eq!(warning(None, built_at), None);
    }
}

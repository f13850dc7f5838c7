//! Questions to the history, one at a time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, Semaphore, mpsc};

use super::{
    Question,
    body::Document,
    state::{ask, unanswered},
};
use crate::{
    control::protocol::Refusal,
    history::{Part, Query, Step},
};

/// Answers that are kept for who asks the same a moment later.
const KEPT: usize = 8;
const FRESH: Duration = Duration::from_secs(2);
/// Questions that wait; a viewer has two at most, since a chosen country has a history of its own.
const MAX_WAITING: usize = 16;

pub struct Histories {
    daemon: mpsc::Sender<Question>,
    waiting: Arc<Semaphore>,
    last: Arc<Mutex<Vec<(Instant, Query, Document)>>>,
}

impl Histories {
    pub fn new(daemon: mpsc::Sender<Question>) -> Self {
        Self {
            daemon,
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            last: Arc::default(),
        }
    }

    /// `None`: too many wait already.
    pub async fn get(&self, query: Query) -> Option<Result<Document, Refusal>> {
        let place = self.waiting.clone().try_acquire_owned().ok()?;
        // Held while the history answers, so that it has one question at a time from here.
        let mut last = self.last.clone().lock_owned().await;
        last.retain(|(taken, ..)| taken.elapsed() < FRESH);
        if let Some((.., document)) = last.iter().find(|(_, asked, _)| *asked == query) {
            return Some(Ok(document.clone()));
        }
        let daemon = self.daemon.clone();
        // A task of its own, since who asked may go away, and the history answers all the same.
        let asking = tokio::spawn(async move {
            let _place = place;
            let asked = query.clone();
            let history = ask(&daemon, |answer| Question::History(query, answer)).await?;
            let document = Document::of(&history).map_err(Refusal::failed)?;
            if last.len() == KEPT {
                last.remove(0);
            }
            last.push((Instant::now(), asked, document.clone()));
            Ok(document)
        });
        Some(asking.await.unwrap_or_else(|_| Err(unanswered())))
    }
}

/// Reads `since=…&until=…&by=…&country=…&reason=…`, all but the first and the third of which may be missing.
pub fn parse(query: &str) -> Result<Query, String> {
    let (mut since, mut until, mut by, mut country, mut reason) = (None, None, None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let seconds = || {
            let seconds: Option<u64> = value.parse().ok().filter(|it| *it <= MAX_UNIX);
            seconds.ok_or_else(|| format!("{key}: expected seconds since 1970"))
        };
        let word = || {
            let is_word = (1..=32).contains(&value.len())
                && value
                    .bytes()
                    .all(|it| it.is_ascii_alphanumeric() || it == b'_');
            let word = is_word.then(|| value.to_owned());
            word.ok_or_else(|| format!("{key}: expected one word"))
        };
        match key {
            "since" => since = Some(seconds()?),
            "until" => until = Some(seconds()?),
            "by" => {
                let step = match value {
                    "minute" => Step::Minute,
                    "hour" => Step::Hour,
                    "day" => Step::Day,
                    _ => return Err("by: expected minute, hour or day".to_owned()),
                };
                by = Some(step);
            }
            "country" => country = Some(word()?),
            "reason" => reason = Some(word()?),
            _ => return Err("known here: since, until, by, country, reason".to_owned()),
        }
    }
    Ok(Query {
        since: since.ok_or("since is missing")?,
        until,
        by: by.ok_or("by is missing")?,
        country,
        reason,
        part: Part::Whole,
    })
}

/// The year 10000, which is far from where numbers end.
const MAX_UNIX: u64 = 253_402_300_800;

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn history_has_one_question_though_who_asked_goes_away() {
        let (daemon, mut questions) = mpsc::channel(8);
        let histories = Histories::new(daemon);
        for since in 0..5 {
            let query = parse(&format!("since={since}&by=day")).unwrap();
            let left = timeout(Duration::from_millis(20), histories.get(query)).await;
            assert!(left.is_err());
        }
        let Some(Question::History(query, answer)) = questions.recv().await else {
            panic!("nothing was asked");
        };
        assert_eq!(query.since, 0);
        assert!(questions.try_recv().is_err(), "asked again");
        assert_eq!(histories.waiting.available_permits(), MAX_WAITING - 1);
        answer.send(Err(Refusal::failed("no"))).unwrap();
        let query = parse("since=7&by=day").unwrap();
        let next = timeout(Duration::from_millis(20), histories.get(query)).await;
        assert!(next.is_err());
        let asked = timeout(Duration::from_secs(10), questions.recv()).await;
        assert!(asked.is_ok_and(|it| it.is_some()));
    }

    #[test]
    fn questions_are_read_and_others_are_refused() {
        let full = "since=1700000000&until=1700003600&by=minute&country=US";
        let expected = Query {
            since: 1_700_000_000,
            until: Some(1_700_003_600),
            by: Step::Minute,
            country: Some("US".to_owned()),
            reason: None,
            part: Part::Whole,
        };
        assert_eq!(parse(full), Ok(expected.clone()));
        let least = Query {
            until: None,
            by: Step::Day,
            country: None,
            reason: Some("country_denied".to_owned()),
            ..expected
        };
        assert_eq!(
            parse("by=day&since=1700000000&reason=country_denied"),
            Ok(least)
        );
        for (query, fault) in [
            ("", "since is missing"),
            ("since=1", "by is missing"),
            ("since=-1&by=day", "since: expected seconds since 1970"),
            (
                "since=999999999999&by=day",
                "since: expected seconds since 1970",
            ),
            (
                "since=1&until=x&by=day",
                "until: expected seconds since 1970",
            ),
            ("since=1&by=week", "by: expected minute, hour or day"),
            ("since=1&by=day&country=", "country: expected one word"),
            ("since=1&by=day&country=%55S", "country: expected one word"),
            (
                "since=1&by=day&sql=1",
                "known here: since, until, by, country, reason",
            ),
        ] {
            assert_eq!(parse(query), Err(fault.to_owned()), "{query}");
        }
    }
}

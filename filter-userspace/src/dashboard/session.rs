//! Who has signed in, and who tried to.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::crypto::{CryptoProvider, GetRandomFailed, ring};
use sha2::{Digest as _, Sha256};

/// Sessions at a time; the one that was used the longest ago goes first.
const MAX_SESSIONS: usize = 64;
/// A session that nobody uses ends; a page that is open uses it each second.
pub const IDLE: Duration = Duration::from_secs(12 * 60 * 60);
/// The longest that one lasts, as on a screen on a wall.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Addresses whose failed attempts are remembered.
const MAX_PEERS: usize = 1024;
/// A failed attempt is answered after this time, each further one after twice the time of before.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(8);
/// Attempts are forgotten after this time.
const FORGOTTEN: Duration = Duration::from_secs(10 * 60);

struct Session {
    began: Instant,
    used: Instant,
}

/// Sessions by the SHA-256 of their ids: the table holds nothing that would let somebody in.
pub struct Sessions {
    provider: Arc<CryptoProvider>,
    open: HashMap<[u8; 32], Session>,
}

impl Sessions {
    pub fn new() -> Self {
        Self {
            provider: Arc::new(ring::default_provider()),
            open: HashMap::new(),
        }
    }

    /// A new session; its id, which only its holder knows.
    pub fn open(&mut self, now: Instant) -> Result<String, GetRandomFailed> {
        let mut id = [0; 32];
        self.provider.secure_random.fill(&mut id)?;
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        self.sweep(now);
        while self.open.len() >= MAX_SESSIONS {
            let oldest = self.open.iter().min_by_key(|(_, session)| session.used);
            let Some(key) = oldest.map(|(key, _)| *key) else {
                break;
            };
            self.open.remove(&key);
        }
        let session = Session {
            began: now,
            used: now,
        };
        self.open.insert(key(&id), session);
        Ok(id)
    }

    /// Whether `id` is that of a session; using it lets it last.
    pub fn is_open(&mut self, id: &str, now: Instant) -> bool {
        let key = key(id);
        match self.open.get_mut(&key) {
            Some(session) if lasts(session, now) => {
                session.used = now;
                true
            }
            Some(_) => {
                self.open.remove(&key);
                false
            }
            None => false,
        }
    }

    pub fn close(&mut self, id: &str) {
        self.open.remove(&key(id));
    }

    fn sweep(&mut self, now: Instant) {
        self.open.retain(|_, session| lasts(session, now));
    }
}

fn lasts(session: &Session, now: Instant) -> bool {
    now.saturating_duration_since(session.used) < IDLE
        && now.saturating_duration_since(session.began) < LIFETIME
}

fn key(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}

/// Failed attempts to sign in, by address.
#[derive(Default)]
pub struct Attempts {
    failed: HashMap<IpAddr, (u32, Instant)>,
}

impl Attempts {
    /// How long the answer to a failed attempt has to wait.
    pub fn failed(&mut self, peer: IpAddr, now: Instant) -> Duration {
        self.failed
            .retain(|_, (_, last)| now.saturating_duration_since(*last) < FORGOTTEN);
        if self.failed.len() >= MAX_PEERS && !self.failed.contains_key(&peer) {
            // So many at once are one attacker: all new ones wait the longest.
            return MAX_DELAY;
        }
        let (count, last) = self.failed.entry(peer).or_insert((0, now));
        let delay = FIRST_DELAY.saturating_mul(1 << (*count).min(10));
        *count = count.saturating_add(1);
        *last = now;
        delay.min(MAX_DELAY)
    }

    pub fn succeeded(&mut self, peer: IpAddr) {
        self.failed.remove(&peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_lasts_while_it_is_used_and_ends_all_the_same() {
        let mut sessions = Sessions::new();
        let start = Instant::now();
        let id = sessions.open(start).unwrap();
        assert_eq!(id.len(), 64);
        let other = sessions.open(start).unwrap();
        assert_ne!(id, other);
        let second = Duration::from_secs(1);
        assert!(sessions.is_open(&id, start + IDLE - second));
        assert!(!sessions.is_open(&other, start + IDLE));
        assert!(sessions.is_open(&id, start + (IDLE - second) * 2));
        assert!(!sessions.is_open(&other, start), "it is forgotten");
        let mut now = start;
        while now < start + LIFETIME {
            assert!(sessions.is_open(&id, now));
            now += IDLE / 2;
        }
        assert!(!sessions.is_open(&id, now));
        let closed = sessions.open(now).unwrap();
        sessions.close(&closed);
        assert!(!sessions.is_open(&closed, now));
        assert!(!sessions.is_open("", now));
    }

    #[test]
    fn one_session_too_many_ends_the_one_that_was_used_the_longest_ago() {
        let mut sessions = Sessions::new();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let ids: Vec<String> = (0..64).map(|i| sessions.open(at(i)).unwrap()).collect();
        assert!(sessions.is_open(&ids[0], at(100)));
        sessions.open(at(101)).unwrap();
        let open: Vec<bool> = ids.iter().map(|id| sessions.is_open(id, at(102))).collect();
        let expected: Vec<bool> = (0..64).map(|i| i != 1).collect();
        assert_eq!(open, expected);
    }

    #[test]
    fn each_failed_attempt_waits_longer_than_the_one_before() {
        let mut attempts = Attempts::default();
        let start = Instant::now();
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|it| it.parse().unwrap());
        let waits = |attempts: &mut Attempts, peer, count: usize| -> Vec<u64> {
            (0..count)
                .map(|_| attempts.failed(peer, start).as_secs())
                .collect()
        };
        assert_eq!(waits(&mut attempts, one, 6), [1, 2, 4, 8, 8, 8]);
        assert_eq!(waits(&mut attempts, two, 1), [1]);
        attempts.succeeded(one);
        assert_eq!(waits(&mut attempts, one, 1), [1]);
        let later = start + FORGOTTEN;
        assert_eq!(attempts.failed(two, later).as_secs(), 1);
        for number in 0..1024_u32 {
            attempts.failed(IpAddr::V4(number.into()), later);
        }
        assert_eq!(
            attempts
                .failed("2001:db8::1".parse().unwrap(), later)
                .as_secs(),
            8
        );
        assert_eq!(attempts.failed.len(), 1024);
    }
}

//! Credentials that were verified a short while ago, so that a client that comes back at once does
//! not cost another hash. Keeps keyed digests, never passwords; the key lives as long as the cache,
//! and the cache as long as the password file it is about.

use crate::hash::hmac_sha256;
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(crate) struct Cache {
    key: [u8; 32],
    lifetime: Duration,
    entries_maximum: usize,
    entries: Mutex<Entries>,
}

/// Oldest first, and so first to end: all live equally long.
#[derive(Default)]
struct Entries {
    by_age: VecDeque<(Instant, Digest)>,
    known: HashSet<Digest>,
}

type Digest = [u8; 32];

impl Cache {
    /// A cache that forgets after `lifetime`, and the oldest first when there are more than
    /// `entries_maximum`. Either may be zero: then nothing is remembered.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes.
    pub(crate) fn new(
        lifetime: Duration,
        entries_maximum: usize,
    ) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self {
            key,
            lifetime,
            entries_maximum,
            entries: Mutex::default(),
        })
    }

    /// Whether this user was let in with this password, not long before `now`.
    pub(crate) fn knows(&self, now: Instant, user: &str, password: &[u8]) -> bool {
        let digest = self.digest(user, password);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.forget_until(now);
        entries.known.contains(&digest)
    }

    /// This user was let in with this password.
    pub(crate) fn remember(&self, now: Instant, user: &str, password: &[u8]) {
        let Some(ends) = now.checked_add(self.lifetime).filter(|ends| *ends > now) else {
            return;
        };
        let digest = self.digest(user, password);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if self.entries_maximum > 0 && entries.known.insert(digest) {
            entries.by_age.push_back((ends, digest));
            if entries.by_age.len() > self.entries_maximum {
                entries.forget_oldest();
            }
        }
    }

    fn digest(&self, user: &str, password: &[u8]) -> Digest {
        let user_bytes = (user.len() as u64).to_le_bytes();
        hmac_sha256(&self.key, &[&user_bytes, user.as_bytes(), password])
    }
}

impl Entries {
    fn forget_until(&mut self, now: Instant) {
        while self.by_age.front().is_some_and(|(ends, _)| *ends <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, digest)) = self.by_age.pop_front() {
            self.known.remove(&digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_remembered_is_exact_and_ends() {
        let now = Instant::now();
        let cache = Cache::new(10 * SECOND, 100).unwrap();
        cache.remember(now, "alice", b"secret");
        for (user, password, known) in [
            ("alice", &b"secret"[..], true),
            ("alice", b"Secret", false),
            ("alices", b"ecret", false),
            ("alic", b"esecret", false),
            ("bob", b"secret", false),
        ] {
            assert_eq!(cache.knows(now, user, password), known, "{user}");
        }
        assert!(cache.knows(now + 9 * SECOND, "alice", b"secret"));
        // Being known does not make it live longer.
        cache.remember(now + 9 * SECOND, "alice", b"secret");
        assert!(!cache.knows(now + 10 * SECOND, "alice", b"secret"));
    }

    #[test]
    fn it_is_bounded_and_the_oldest_goes_first() {
        let now = Instant::now();
        let cache = Cache::new(10 * SECOND, 2).unwrap();
        for user in ["a", "b", "c"] {
            cache.remember(now, user, b"x");
        }
        let known = ["a", "b", "c"].map(|user| cache.knows(now, user, b"x"));
        assert_eq!(known, [false, true, true]);
        assert_eq!(cache.entries.lock().unwrap().by_age.len(), 2);
    }

    #[test]
    fn zero_remembers_nothing() {
        let now = Instant::now();
        for cache in [Cache::new(Duration::ZERO, 10), Cache::new(SECOND, 0)] {
            let cache = cache.unwrap();
            cache.remember(now, "a", b"x");
            assert!(!cache.knows(now, "a", b"x"));
        }
    }
}

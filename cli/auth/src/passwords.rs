//! Users with passwords: the file, the threads that hash, and what was verified a short while ago.

use crate::basis;
use crate::cache::Cache;
use crate::config::{Config, Problem};
use crate::counters::Counters;
use crate::hash::PasswordHash;
use crate::pool::Pool;
use crate::secret;
use crate::users::{User, Users};
use core::fmt;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a client may wait for its turn. Well within the 10 s that it has for CONNECT: hashing
/// for those who have gone would keep the threads from those who have not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Several mistakes of a file are named at once, but not thousands.
const MISTAKES_MAXIMUM: usize = 20;

const FILE: &str = "password_file";

pub(crate) struct Passwords {
    pub(crate) users: Users,
    /// What grants to them rest on: asked for everybody who is connected, at each reload.
    bases: BTreeMap<Box<str>, u64>,
    pub(crate) pool: Pool,
    /// Chooses whom unknown users are measured against.
    pub(crate) key: [u8; 32],
    cache: Cache,
    path: String,
}

impl Passwords {
    /// Reads the file and starts the threads; `None` when no file is configured.
    pub(crate) fn prepare(
        config: &Config,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<Problem>,
    ) -> Option<Self> {
        let path = config.password_file.clone()?;
        let users = read_users(&path, problems, warnings)?;
        let mut key = [0; 32];
        let lifetime = Duration::from_secs(config.password_cache_s.into());
        let entries = usize::try_from(config.password_cache_maximum).unwrap_or(usize::MAX);
        let queue = usize::from(config.password_queue_maximum);
        let cache = getrandom::fill(&mut key).and_then(|()| Cache::new(lifetime, entries));
        let pool = Pool::start(
            "whimbrel-password",
            config.password_threads,
            queue,
            PATIENCE,
        );
        match (cache, pool) {
            (Ok(cache), Ok(pool)) => Some(Self {
                bases: users
                    .iter()
                    .map(|user| (user.name.clone(), basis_of(user)))
                    .collect(),
                users,
                pool,
                key,
                cache,
                path,
            }),
            (Err(error), _) => {
                let message = format!("the system gives no random bytes: {error}");
                problems.push(Problem { key: FILE, message });
                None
            }
            (_, Err(error)) => {
                let message = format!("the system gives no threads for it: {error}");
                let key = "password_threads";
                problems.push(Problem { key, message });
                None
            }
        }
    }

    /// See [`basis_of`]; `None` for somebody who is not in the file.
    pub(crate) fn basis(&self, name: &str) -> Option<u64> {
        self.bases.get(name).copied()
    }

    /// Whether the user was let in with this password a short while ago.
    pub(crate) fn remembers(&self, name: &str, password: &[u8]) -> Option<&User> {
        // In this order, so that a name that is not there takes no less time.
        let is_known = self.cache.knows(Instant::now(), name, password);
        self.users.get(name).filter(|_| is_known)
    }

    /// Checks a password, for milliseconds. An unknown user costs what a wrong password costs.
    pub(crate) fn check(&self, name: &str, password: &[u8], counters: &Counters) -> Option<&User> {
        let user = self.users.get(name);
        let measure = user.or_else(|| self.users.stand_in(name, &self.key))?;
        counters.hashed.count();
        let is_right = measure.hash.verify(password);
        let user = user.filter(|_| is_right)?;
        self.cache.remember(Instant::now(), name, password);
        Some(user)
    }
}

/// What a grant to a user rests on: the password and the groups.
pub(crate) fn basis_of(user: &User) -> u64 {
    basis::of("password", user.to_string())
}

impl fmt::Display for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let for_scram = |user: &&User| matches!(user.hash, PasswordHash::ScramSha256(_));
        write!(
            f,
            "the password file {} ({} users, {} of them with keys for SCRAM)",
            self.path,
            self.users.iter().count(),
            self.users.iter().filter(for_scram).count()
        )
    }
}

fn read_users(
    path: &str,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Option<Users> {
    let mut problem = |message| problems.push(Problem { key: FILE, message });
    let secret = match secret::read(path) {
        Ok(secret) => secret,
        Err(message) => {
            let remedy = match std::path::Path::new(path).try_exists() {
                Ok(false) => format!("`whimbrel passwd set {path} USER` makes it"),
                // `whimbrel passwd` lets nobody else read it.
                Ok(true) | Err(_) => "let the user that runs the broker read it".to_owned(),
            };
            problem(format!("{message}; {remedy}"));
            return None;
        }
    };
    let mut warning = |message| warnings.push(Problem { key: FILE, message });
    if let Some(message) = secret.warning {
        warning(message);
    }
    match Users::parse(&secret.text) {
        Ok(users) => {
            let weak = users.iter().filter(|user| user.hash.is_weak());
            let names: Vec<&str> = weak.map(|user| &*user.name).collect();
            if let Some(first) = names.first() {
                warning(format!(
                    "{path}: {} of the hashes can be guessed quickly by whoever gets hold of them, such as \
                     that of \"{first}\"; set these passwords anew with `whimbrel passwd set`",
                    names.len()
                ));
            }
            Some(users)
        }
        Err(bad) => {
            for line in bad.iter().take(MISTAKES_MAXIMUM) {
                problem(match line.line {
                    0 => format!("{path}: {}", line.why),
                    number => format!("{path}:{number}: {}", line.why),
                });
            }
            if bad.len() > MISTAKES_MAXIMUM {
                problem(format!("{path}: and {} more", bad.len() - MISTAKES_MAXIMUM));
            }
            None
        }
    }
}

//! Who is let in, from the outside: a configuration with its files, credentials, a verdict.
//!
//! The names of the classes of attack are those of `tests/sockets`.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod class_06_escaping;
mod class_08_fail_closed;
mod class_18_effort;
mod order;
mod reload;
mod scram;

use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use whimbrel_auth::hash::{PasswordHash, SCRAM_ITERATIONS_MINIMUM};
use whimbrel_auth::users::{User, with_user};
use whimbrel_auth::{Authority, Config, Prepared};
use whimbrel_core::Peer;
use whimbrel_core::action::{Credentials, Verdict};
use whimbrel_core::codec::packet::Version;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::runtime::{Anonymous, Authenticator, Decision, ListenerConfig};

const PATIENCE: Duration = Duration::from_secs(20);

const WRONG: Verdict = Verdict::Refuse(ReasonCode::BAD_USER_NAME_OR_PASSWORD);
const NOT_AUTHORIZED: Verdict = Verdict::Refuse(ReasonCode::NOT_AUTHORIZED);
const UNAVAILABLE: Verdict = Verdict::Refuse(ReasonCode::SERVER_UNAVAILABLE);
const BUSY: Verdict = Verdict::Refuse(ReasonCode::SERVER_BUSY);

/// A file that is gone after the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }

    fn path(&self) -> Option<String> {
        Some(self.0.to_str().unwrap().to_owned())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A password file: each user has the password that the name is told with.
fn password_file(users: &[(&str, &str)]) -> String {
    users.iter().fold(String::new(), |text, (name, password)| {
        let hash = PasswordHash::new_scram(password.as_bytes(), SCRAM_ITERATIONS_MINIMUM);
        with_user(&text, &User::new(name, hash.unwrap(), &["staff"]).unwrap())
    })
}

fn prepared(config: &Config) -> Result<Prepared, Vec<String>> {
    let listener = ListenerConfig {
        allow_anonymous: Anonymous::Never,
        ..ListenerConfig::default()
    };
    Prepared::read(config, &[listener])
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn authority(config: &Config) -> Authority {
    Authority::new(prepared(config).unwrap_or_else(|problems| panic!("{problems:?}")))
}

/// From another machine, by the first listener.
fn stranger() -> Credentials {
    Credentials {
        peer: Peer {
            address: Some("192.0.2.1:1".parse().unwrap()),
            ..Peer::default()
        },
        version: Version::V5,
        client_id: "c1".to_owned(),
        username: None,
        password: None,
        method: None,
        data: None,
        continued: false,
        state: None,
    }
}

fn with_password(name: &str, password: &str) -> Credentials {
    Credentials {
        username: Some(name.to_owned()),
        password: Some(password.as_bytes().to_vec()),
        ..stranger()
    }
}

/// The verdict, whenever it comes.
fn verdict(authority: &Authority, credentials: Credentials) -> Verdict {
    match authority.authenticate(credentials) {
        Decision::Now(verdict) => verdict,
        Decision::Later(verdict) => wait(verdict),
    }
}

/// Waits for a future on this thread, as any runtime could.
fn wait<T>(mut future: Pin<Box<dyn Future<Output = T> + Send>>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let deadline = Instant::now() + PATIENCE;
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park_timeout(deadline - Instant::now()),
        }
    }
}

fn try_password(authority: &Authority, name: &str, password: &str) -> Verdict {
    verdict(authority, with_password(name, password))
}

/// Who was let in, and in which groups.
fn let_in(verdict: Verdict) -> (Option<String>, Vec<String>) {
    match verdict {
        Verdict::Accept(grant) => (grant.user, grant.groups),
        refused @ (Verdict::Continue { .. } | Verdict::Refuse(_)) => panic!("{refused:?}"),
    }
}

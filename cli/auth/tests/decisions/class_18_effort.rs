//! Class 18: guessing costs the broker a bounded effort, and tells nothing about who exists.

use crate::{BUSY, Temporary, WRONG, authority, password_file, try_password, wait, with_password};
use whimbrel_auth::Config;
use whimbrel_core::runtime::{Authenticator, Decision};

/// Enumeration: as many hashes for an unknown user as for a wrong password, and the same answer.
#[test]
fn an_unknown_user_costs_what_a_wrong_password_costs() {
    let users = [("alice", "secret"), ("bob", "hunter2")];
    let file = Temporary::new("effort-unknown", &password_file(&users));
    let authority = authority(&Config {
        password_file: file.path(),
        ..Config::default()
    });
    let cost = |name: &str| {
        let before = authority.statistics().hashed;
        assert_eq!(try_password(&authority, name, "guess"), WRONG);
        authority.statistics().hashed - before
    };
    for name in ["alice", "bob", "mallory", "", "alice\0", "%u"] {
        assert_eq!(cost(name), 1, "{name}");
    }
}

#[test]
fn a_password_is_hashed_once_in_a_while_and_a_wrong_one_always() {
    let file = Temporary::new("effort-cache", &password_file(&[("alice", "secret")]));
    let authority = authority(&Config {
        password_file: file.path(),
        ..Config::default()
    });
    for _ in 0..10 {
        crate::let_in(try_password(&authority, "alice", "secret"));
    }
    for _ in 0..3 {
        assert_eq!(try_password(&authority, "alice", "guess"), WRONG);
    }
    let statistics = authority.statistics();
    assert_eq!((statistics.hashed, statistics.remembered), (4, 9));
    assert_eq!((statistics.accepted, statistics.refused), (10, 3));
}

#[test]
fn a_flood_of_passwords_is_answered_with_server_busy() {
    const FLOOD: usize = 200;
    let file = Temporary::new("effort-flood", &password_file(&[("alice", "secret")]));
    let authority = authority(&Config {
        password_file: file.path(),
        password_threads: 1,
        password_queue_maximum: 4,
        ..Config::default()
    });
    let decide = |_| authority.authenticate(with_password("alice", "guess"));
    let decisions: Vec<Decision> = (0..FLOOD).map(decide).collect();
    let (mut busy, mut wrong) = (0, 0);
    for decision in decisions {
        // Everybody gets an answer.
        match decision {
            Decision::Now(verdict) => {
                assert_eq!(verdict, BUSY);
                busy += 1;
            }
            Decision::Later(verdict) => {
                assert_eq!(wait(verdict), WRONG);
                wrong += 1;
            }
        }
    }
    assert!(busy > 0, "one thread hashes all of it meanwhile");
    let statistics = authority.statistics();
    assert_eq!((statistics.busy, statistics.hashed), (busy, wrong));
}

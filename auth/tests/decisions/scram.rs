//! SCRAM-SHA-256 as the broker sees it: two messages, and what is kept between them. The messages
//! themselves are tested where they are made.

use crate::{NOT_AUTHORIZED, Temporary, authority, password_file, stranger, verdict};
use whimbrel_auth::{Authority, Config};
use whimbrel_core::action::{Credentials, Verdict};
use whimbrel_core::codec::reason::ReasonCode;

fn says(message: &[u8], state: Option<Vec<u8>>) -> Credentials {
    Credentials {
        method: Some("SCRAM-SHA-256".to_owned()),
        data: Some(message.to_vec()),
        continued: state.is_some(),
        state,
        ..stranger()
    }
}

fn begin(authority: &Authority, message: &[u8]) -> Verdict {
    verdict(authority, says(message, None))
}

#[test]
fn an_exchange_goes_on_with_what_was_kept_and_never_without() {
    let file = Temporary::new("scram", &password_file(&[("alice", "secret")]));
    let authority = authority(&Config {
        password_file: file.path(),
        ..Config::default()
    });
    let Verdict::Continue { data, state } = begin(&authority, b"n,,n=alice,r=abc") else {
        panic!("it goes on");
    };
    assert!(data.starts_with(b"r=abc"));
    let nonce = String::from_utf8(data).unwrap();
    let nonce = nonce.split(',').next().unwrap().to_owned();
    let wrong = format!("c=biws,{nonce},p={}=", "A".repeat(43));
    for state in [Some(state), Some(Vec::new()), Some(vec![0xff]), None] {
        let answer = verdict(&authority, says(wrong.as_bytes(), state));
        assert_eq!(answer, NOT_AUTHORIZED);
    }
}

#[test]
fn names_have_to_agree() {
    let file = Temporary::new("scram-names", &password_file(&[("alice", "secret")]));
    let authority = authority(&Config {
        password_file: file.path(),
        ..Config::default()
    });
    for (username, goes_on) in [(None, true), (Some("alice"), true), (Some("bob"), false)] {
        let credentials = Credentials {
            username: username.map(str::to_owned),
            ..says(b"n,,n=alice,r=abc", None)
        };
        let answer = verdict(&authority, credentials);
        assert_eq!(matches!(answer, Verdict::Continue { .. }), goes_on);
    }
}

#[test]
fn other_methods_are_refused() {
    let file = Temporary::new("scram-methods", &password_file(&[("alice", "secret")]));
    let authority = authority(&Config {
        password_file: file.path(),
        ..Config::default()
    });
    for method in [
        "",
        "SCRAM-SHA-1",
        "scram-sha-256",
        "PLAIN",
        "SCRAM-SHA-256-PLUS",
    ] {
        let credentials = Credentials {
            method: Some(method.to_owned()),
            ..says(b"n,,n=alice,r=abc", None)
        };
        let expected = Verdict::Refuse(ReasonCode::BAD_AUTHENTICATION_METHOD);
        assert_eq!(verdict(&authority, credentials), expected, "{method}");
    }
}

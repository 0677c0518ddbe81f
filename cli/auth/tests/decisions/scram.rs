//! SCRAM-SHA-256 as the broker sees it: two messages, and what is kept between them. The messages
//! themselves are tested where they are made.

use crate::{NOT_AUTHORIZED, Temporary, authority, password_file, stranger, verdict};
use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
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

/// What a client that knows the password sends last, and what the server has to answer.
fn last_messages(first: &str, server_first: &str, password: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let hmac = |key: &[u8], text: &[u8]| -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text);
        mac.finalize().into_bytes().into()
    };
    let fields: Vec<&str> = server_first.split(',').map(|field| &field[2..]).collect();
    let salt = Base64::decode_vec(fields[1]).unwrap();
    let mut salted = [0; 32];
    let iterations = fields[2].parse().unwrap();
    pbkdf2::pbkdf2_hmac::<Sha256>(password, &salt, iterations, &mut salted);
    let client_key = hmac(&salted, b"Client Key");
    let without_proof = format!("c=biws,r={}", fields[0]);
    let bare = first.strip_prefix("n,,").unwrap();
    let said = format!("{bare},{server_first},{without_proof}");
    let signature = hmac(&Sha256::digest(client_key), said.as_bytes());
    let proof: Vec<u8> = client_key
        .iter()
        .zip(signature)
        .map(|(a, b)| a ^ b)
        .collect();
    let proof = Base64::encode_string(&proof);
    let of_server = hmac(&hmac(&salted, b"Server Key"), said.as_bytes());
    let of_server = format!("v={}", Base64::encode_string(&of_server));
    (
        format!("{without_proof},p={proof}").into_bytes(),
        of_server.into_bytes(),
    )
}

#[test]
fn a_client_and_the_broker_show_each_other_that_they_know_the_password() {
    let file = Temporary::new("scram-whole", &password_file(&[("alice", "secret")]));
    let authority = authority(&Config {
        password_file: file.path(),
        ..Config::default()
    });
    for (password, is_right) in [("secret", true), ("guess", false)] {
        let first = "n,,n=alice,r=fyko+d2lbbFgONRv9qkxdawL";
        let Verdict::Continue { data, state } = begin(&authority, first.as_bytes()) else {
            panic!("it goes on");
        };
        let data = String::from_utf8(data).unwrap();
        let (last, expected) = last_messages(first, &data, password.as_bytes());
        match verdict(&authority, says(&last, Some(state))) {
            Verdict::Accept(grant) if is_right => {
                assert_eq!(grant.user.as_deref(), Some("alice"));
                assert_eq!(grant.groups, ["staff"]);
                assert_eq!(grant.data, Some(expected));
            }
            verdict @ (Verdict::Accept(_) | Verdict::Continue { .. } | Verdict::Refuse(_)) => {
                assert!(!is_right && verdict == NOT_AUTHORIZED, "{verdict:?}");
            }
        }
    }
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

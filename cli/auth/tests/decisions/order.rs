//! The order in which everything is asked that can tell.

use crate::{
    NOT_AUTHORIZED, Temporary, WRONG, authority, let_in, password_file, stranger, try_password,
    verdict, with_password,
};
use whimbrel_auth::{Authority, Config, Prepared};
use whimbrel_core::Peer;
use whimbrel_core::access::identity::Certificate;
use whimbrel_core::action::{Credentials, Verdict};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::runtime::{Anonymous, CertificateUser, ListenerConfig};

fn with_listener(config: &Config, listener: ListenerConfig) -> Authority {
    Authority::new(Prepared::read(config, &[listener]).unwrap())
}

#[test]
fn users_of_the_password_file_are_let_in_with_their_groups() {
    let file = Temporary::new("order-file", &password_file(&[("alice", "secret")]));
    let authority = authority(&Config {
        password_file: file.path(),
        ..Config::default()
    });
    let (user, groups) = let_in(try_password(&authority, "alice", "secret"));
    assert_eq!(user.as_deref(), Some("alice"));
    assert_eq!(groups, ["staff"]);
    for (name, password) in [
        ("alice", "Secret"),
        ("alice", ""),
        ("Alice", "secret"),
        ("bob", "secret"),
        ("", ""),
    ] {
        assert_eq!(try_password(&authority, name, password), WRONG, "{name}");
    }
}

#[test]
fn a_user_name_nobody_can_verify_opens_nothing() {
    for (anonymous, address, is_let_in) in [
        (Anonymous::LoopbackOnly, "127.0.0.1:1", true),
        (Anonymous::LoopbackOnly, "192.0.2.1:1", false),
        (Anonymous::Always, "192.0.2.1:1", true),
        (Anonymous::Never, "127.0.0.1:1", false),
    ] {
        let listener = ListenerConfig {
            allow_anonymous: anonymous,
            ..ListenerConfig::default()
        };
        let authority = with_listener(&Config::default(), listener);
        let peer = Peer {
            address: Some(address.parse().unwrap()),
            ..Peer::default()
        };
        for credentials in [stranger(), with_password("root", "guess")] {
            let asked = Credentials {
                peer: peer.clone(),
                ..credentials
            };
            let expected = if is_let_in {
                Verdict::accept()
            } else {
                NOT_AUTHORIZED
            };
            assert_eq!(
                verdict(&authority, asked),
                expected,
                "{anonymous:?} {address}"
            );
        }
        let method = Credentials {
            method: Some("SCRAM-SHA-256".to_owned()),
            peer,
            ..stranger()
        };
        let expected = Verdict::Refuse(ReasonCode::BAD_AUTHENTICATION_METHOD);
        assert_eq!(verdict(&authority, method), expected);
    }
}

/// A wrong password is no reason to be anonymous.
#[test]
fn whoever_shows_something_wrong_is_not_let_in_as_nobody() {
    let file = Temporary::new("order-wrong", &password_file(&[("alice", "secret")]));
    let config = Config {
        password_file: file.path(),
        ..Config::default()
    };
    let listener = ListenerConfig {
        allow_anonymous: Anonymous::Always,
        ..ListenerConfig::default()
    };
    let authority = with_listener(&config, listener);
    assert_eq!(verdict(&authority, stranger()), Verdict::accept());
    assert_eq!(try_password(&authority, "alice", "guess"), WRONG);
    for (username, password) in [(Some("alice"), None), (None, Some("secret"))] {
        let incomplete = Credentials {
            username: username.map(str::to_owned),
            password: password.map(|password| password.as_bytes().to_vec()),
            ..stranger()
        };
        assert_eq!(verdict(&authority, incomplete), WRONG);
    }
}

#[test]
fn a_certificate_names_the_user_where_the_listener_says_so() {
    let certificate = Certificate::new(
        Some("pump-7".to_owned()),
        Some("Acme".to_owned()),
        vec!["pump-7.example.org".to_owned()],
    );
    let certificate = Box::new(certificate.unwrap());
    let shows = |certificate: &Certificate| {
        let mut credentials = with_password("root", "guess");
        credentials.peer.certificate = Some(Box::new(certificate.clone()));
        credentials
    };
    let listener = |certificate_user| ListenerConfig {
        allow_anonymous: Anonymous::Never,
        certificate_user,
        ..ListenerConfig::default()
    };
    for (part, user) in [
        (CertificateUser::CommonName, "pump-7"),
        (CertificateUser::AlternativeName, "pump-7.example.org"),
        (CertificateUser::Organization, "Acme"),
    ] {
        let authority = with_listener(&Config::default(), listener(part));
        let (named, _) = let_in(verdict(&authority, shows(&certificate)));
        assert_eq!(named.as_deref(), Some(user));
        // A certificate without that part names nobody.
        let blank = Certificate::default();
        assert_eq!(verdict(&authority, shows(&blank)), NOT_AUTHORIZED);
        assert_eq!(verdict(&authority, stranger()), NOT_AUTHORIZED);
    }
    let authority = with_listener(&Config::default(), listener(CertificateUser::None));
    assert_eq!(verdict(&authority, shows(&certificate)), NOT_AUTHORIZED);
}

/// Of this secret: `0123456789abcdef0123456789abcdef`. It says: `{"sub":"robot","exp":4102444800}`.
pub(crate) const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJyb2JvdCIsImV4cCI6NDEwMjQ0NDgwMH0.\
                                Xx_ljtc7UiHbiuN09OhQGbRNeHAUpjxdPl_qVo_GRKk";

#[test]
fn tokens_come_before_the_password_file() {
    let secret = "0123456789abcdef0123456789abcdef";
    let token = TOKEN;
    let key = Temporary::new("order-jwt", secret);
    let file = Temporary::new("order-jwt-users", &password_file(&[("alice", "secret")]));
    let authority = authority(&Config {
        password_file: file.path(),
        jwt_secret_file: key.path(),
        ..Config::default()
    });
    let (user, _) = let_in(try_password(&authority, "whoever", token));
    assert_eq!(user.as_deref(), Some("robot"));
    let Verdict::Accept(grant) = verdict(&authority, with_password("x", token)) else {
        panic!("it was let in before");
    };
    assert!(grant.ends_at.is_some(), "a token ends");
    let changed = token.replace("eyJzdWIi", "eyJzdWIj");
    assert_eq!(try_password(&authority, "alice", &changed), WRONG);
    let_in(try_password(&authority, "alice", "secret"));
}

#[test]
fn a_listener_that_is_not_known_lets_nobody_in() {
    let listener = ListenerConfig {
        allow_anonymous: Anonymous::Always,
        ..ListenerConfig::default()
    };
    let authority = with_listener(&Config::default(), listener);
    let mut credentials = stranger();
    credentials.peer.listener = 1;
    assert_eq!(verdict(&authority, credentials), NOT_AUTHORIZED);
}

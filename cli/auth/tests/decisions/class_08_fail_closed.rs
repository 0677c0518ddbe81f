//! Class 8: whatever is missing, empty, malformed or silent lets nobody in.

use crate::class_06_escaping::{Answering, config_for};
use crate::{
    Temporary, UNAVAILABLE, WRONG, authority, let_in, password_file, prepared, try_password,
};
use std::net::TcpListener;
use whimbrel_auth::Config;

fn problem(config: Config) -> String {
    let problems = prepared(&config).err().expect("there is a problem");
    problems.join("\n")
}

#[test]
fn a_missing_empty_or_malformed_file_is_never_a_file_without_rules() {
    for (name, text, expected) in [
        ("fail-empty", "", "there are no users in it"),
        ("fail-comment", "# nobody yet\n", "there are no users in it"),
        (
            "fail-plain",
            "alice:secret\n",
            "fail-plain:1: user \"alice\": this is not",
        ),
        ("fail-nul", "alice\0:x\n", "fail-nul:1: "),
    ] {
        let file = Temporary::new(name, text);
        let found = problem(Config {
            password_file: file.path(),
            ..Config::default()
        });
        assert!(
            found.starts_with("authentication.password_file: "),
            "{found}"
        );
        assert!(found.contains(expected), "{found}");
        assert!(!found.contains("secret"), "a secret in a message: {found}");
    }
    let nowhere = Some("/nowhere/users".to_owned());
    for (key, config) in [
        (
            "password_file",
            Config {
                password_file: nowhere.clone(),
                ..Config::default()
            },
        ),
        (
            "jwt_key_file",
            Config {
                jwt_key_file: nowhere.clone(),
                ..Config::default()
            },
        ),
        (
            "jwt_secret_file",
            Config {
                jwt_secret_file: nowhere,
                ..Config::default()
            },
        ),
    ] {
        let found = problem(config);
        assert!(
            found.starts_with(&format!("authentication.{key}: ")),
            "{found}"
        );
        assert!(found.contains("there is no such file"), "{found}");
    }
}

#[test]
fn one_bad_file_among_good_ones_is_enough() {
    let good = Temporary::new("fail-good", &password_file(&[("alice", "secret")]));
    let bad = Temporary::new("fail-bad", "too short");
    let found = problem(Config {
        password_file: good.path(),
        jwt_secret_file: bad.path(),
        ..Config::default()
    });
    assert!(found.contains("32 at least"), "{found}");
}

#[test]
fn a_thousand_mistakes_are_not_a_thousand_lines() {
    let file = Temporary::new("fail-many", &"x\n".repeat(1_000));
    let found = problem(Config {
        password_file: file.path(),
        ..Config::default()
    });
    assert_eq!(found.lines().count(), 21);
    assert!(found.ends_with("and 980 more"), "{found}");
}

/// A service that is not there, says nothing, or says something else.
#[test]
fn a_service_that_does_not_answer_as_it_should_lets_nobody_in() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let gone = authority(&config_for(address));
    assert_eq!(try_password(&gone, "alice", "secret"), UNAVAILABLE);
    assert_eq!(gone.statistics().unavailable, 1);

    // It takes the question and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority_of_silent = authority(&Config {
        http_timeout_ms: 100,
        ..config_for(silent.local_addr().unwrap())
    });
    assert_eq!(
        try_password(&authority_of_silent, "alice", "secret"),
        UNAVAILABLE
    );

    let long = format!(r#"{{"result":"allow","x":"{}"}}"#, "x".repeat(70_000));
    for (status, body, expected) in [
        ("200 OK", "", UNAVAILABLE),
        ("200 OK", "ok", UNAVAILABLE),
        ("200 OK", "allow", UNAVAILABLE),
        ("200 OK", "{}", UNAVAILABLE),
        ("200 OK", "true", UNAVAILABLE),
        ("200 OK", r#"{"result":true}"#, UNAVAILABLE),
        ("200 OK", r#"{"result":"ALLOW"}"#, UNAVAILABLE),
        (
            "200 OK",
            r#"{"result":"allow","groups":"root"}"#,
            UNAVAILABLE,
        ),
        (
            "200 OK",
            r#"{"result":"allow","expires_at":"never"}"#,
            UNAVAILABLE,
        ),
        ("200 OK", &*long, UNAVAILABLE),
        ("200 OK", r#"{"result":"deny"}"#, WRONG),
        ("201 Created", r#"{"result":"allow"}"#, UNAVAILABLE),
        (
            "302 Found\r\nlocation: /elsewhere",
            r#"{"result":"allow"}"#,
            UNAVAILABLE,
        ),
        ("401 Unauthorized", r#"{"result":"allow"}"#, WRONG),
        ("403 Forbidden", "", WRONG),
        ("404 Not Found", r#"{"result":"allow"}"#, UNAVAILABLE),
        (
            "500 Internal Server Error",
            r#"{"result":"allow"}"#,
            UNAVAILABLE,
        ),
        ("nonsense", "", UNAVAILABLE),
    ] {
        let service = Answering::start(status, body);
        let authority = authority(&config_for(service.address));
        let found = try_password(&authority, "alice", "secret");
        assert_eq!(found, expected, "{status} {:.40}", body);
    }
}

#[test]
fn a_service_lets_in_with_what_it_says() {
    let service = Answering::start(
        "200 OK",
        r#"{"result":"allow","groups":["staff"],"expires_at":4102444800}"#,
    );
    let authority_of_service = authority(&config_for(service.address));
    let (user, groups) = let_in(try_password(&authority_of_service, "alice", "secret"));
    assert_eq!(
        (user.as_deref(), &*groups),
        (Some("alice"), &["staff".to_owned()][..])
    );
    let service = Answering::start("204 No Content", "");
    let (user, groups) = let_in(try_password(
        &authority(&config_for(service.address)),
        "bob",
        "x",
    ));
    assert_eq!((user.as_deref(), groups.len()), (Some("bob"), 0));
}

/// Who is in the file is never asked about elsewhere.
#[test]
fn a_wrong_password_is_not_taken_to_the_next() {
    let service = Answering::start("204 No Content", "");
    let file = Temporary::new("fail-next", &password_file(&[("alice", "secret")]));
    let authority = authority(&Config {
        password_file: file.path(),
        ..config_for(service.address)
    });
    assert_eq!(try_password(&authority, "alice", "guess"), WRONG);
    let_in(try_password(&authority, "alice", "secret"));
    let_in(try_password(
        &authority,
        "bob",
        "whatever the service takes",
    ));
}

#[test]
fn a_service_is_asked_over_a_url_that_is_one() {
    for (url, expected) in [
        ("", "should begin with"),
        ("ftp://x", "should begin with"),
        ("https://", "is not a URL"),
        ("http://a b/", "is not a URL"),
        ("http://user:secret@host/", "no place for a password"),
    ] {
        let found = problem(Config {
            http_url: Some(url.to_owned()),
            ..Config::default()
        });
        assert!(found.contains(expected), "{found}");
    }
    let plain = Config {
        http_url: Some("http://192.0.2.1/mqtt".to_owned()),
        ..Config::default()
    };
    let prepared = prepared(&plain).unwrap();
    assert!(prepared.warnings()[0].message.contains("use https"));
}

//! What says who somebody is: password files, and what clients show of SCRAM and tokens.

use super::script::Script;
use std::fs;
use std::sync::OnceLock;
use whimbrel_auth::hash::{PasswordHash, SCRAM_ITERATIONS_MINIMUM};
use whimbrel_auth::users::{User, Users, with_user, without_user};
use whimbrel_auth::{Authority, Config, Prepared};
use whimbrel_core::Peer;
use whimbrel_core::action::{Credentials, Verdict};
use whimbrel_core::codec::packet::Version;
use whimbrel_core::runtime::{Anonymous, Authenticator, Decision, ListenerConfig};

/// What a client may say in an exchange before this stops listening.
const MESSAGES: usize = 4;

/// Whose names are tried beside those of the input.
const USER: &str = "ada";

/// After the first byte: a password file as text, the messages of a SCRAM exchange, or a token. A
/// file is refused with the lines, or says the same after it was written again. Nobody is let in
/// who knows no secret, whatever it says.
pub fn credentials(data: &[u8]) {
    let mut script = Script::new(data);
    match script.below(3) {
        0 => {
            if let Ok(text) = str::from_utf8(script.take(usize::MAX)) {
                password_file(text);
            }
        }
        1 => exchange(&mut script),
        _ => {
            let name = script.choose(&["", USER, "jwt"]);
            let token = script.take(usize::MAX);
            let verdict = ask(Credentials {
                username: Some(name.to_owned()),
                password: Some(token.to_vec()),
                ..stranger()
            });
            assert!(
                !matches!(verdict, Some(Verdict::Accept(_))),
                "let in by {token:?}"
            );
        }
    }
}

fn password_file(text: &str) {
    let users = match Users::parse(text) {
        Ok(users) => users,
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a word");
            let lines = 1 + text.bytes().filter(|byte| *byte == b'\n').count();
            for mistake in mistakes {
                assert!(mistake.line <= lines && !mistake.why.to_string().contains('\n'));
            }
            return;
        }
    };
    let names = |users: &Users| -> Vec<String> {
        let names = users.iter().map(|user| user.name.to_string());
        names.collect()
    };
    for user in users.iter() {
        assert!(users.get(&user.name).is_some());
        // Setting what is there changes nobody.
        let again = Users::parse(&with_user(text, user)).expect("what was read can be written");
        assert_eq!(names(&again), names(&users));
        let without = without_user(text, &user.name).expect("it is there");
        // A file without anybody is refused.
        if let Ok(without) = Users::parse(&without) {
            assert!(without.get(&user.name).is_none());
            assert_eq!(without.iter().count() + 1, users.iter().count());
        }
    }
}

fn exchange(script: &mut Script<'_>) {
    let mut state = None;
    for number in 0..MESSAGES {
        let data = script.counted().to_vec();
        let verdict = ask(Credentials {
            method: Some("SCRAM-SHA-256".to_owned()),
            data: Some(data),
            continued: number > 0,
            state,
            ..stranger()
        });
        state = match verdict {
            Some(Verdict::Continue { state, .. }) => Some(state),
            Some(Verdict::Accept(grant)) => panic!("let in as {grant:?}"),
            Some(Verdict::Refuse(_)) | None => return,
        };
    }
}

/// The verdict, when it comes at once.
fn ask(credentials: Credentials) -> Option<Verdict> {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    match AUTHORITY.get_or_init(authority).authenticate(credentials) {
        Decision::Now(verdict) => Some(verdict),
        Decision::Later(_) => None,
    }
}

/// Knows one user, and the key of one token.
fn authority() -> Authority {
    const SOUND: &str = "this user is sound";
    let directory = std::env::temp_dir().join(format!("whimbrel-fuzz-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("the directory for temporary files can be written");
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).expect("a file can be written there");
        Some(path.display().to_string())
    };
    let hash = PasswordHash::new_scram(b"never guessed: 7c1f", SCRAM_ITERATIONS_MINIMUM);
    let user = User::new(USER, hash.expect(SOUND), &[]).expect(SOUND);
    let config = Config {
        password_file: write("users", &with_user("", &user)),
        jwt_secret_file: write("secret", "never guessed either: 52b93f83c0ffee"),
        ..Config::default()
    };
    let listener = ListenerConfig {
        allow_anonymous: Anonymous::Never,
        ..ListenerConfig::default()
    };
    let prepared = Prepared::read(&config, &[listener]);
    let _ = fs::remove_dir_all(&directory);
    let prepared = prepared.unwrap_or_else(|problems| panic!("{problems:?}"));
    Authority::new(prepared)
}

/// From another machine.
fn stranger() -> Credentials {
    Credentials {
        peer: Peer {
            address: Some(([192, 0, 2, 1], 1).into()),
            ..Peer::default()
        },
        version: Version::V5,
        client_id: "c".to_owned(),
        username: None,
        password: None,
        method: None,
        data: None,
        continued: false,
        state: None,
    }
}

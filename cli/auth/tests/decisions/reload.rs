//! What holds is replaced as a whole, or not at all.

use crate::{Temporary, WRONG, authority, let_in, password_file, prepared, try_password};
use whimbrel_auth::Config;

#[test]
fn what_was_prepared_holds_at_once_and_the_revoked_are_named() {
    let users = password_file(&[("alice", "secret"), ("bob", "b"), ("carol", "c")]);
    let file = Temporary::new("reload", &users);
    let config = Config {
        password_file: file.path(),
        ..Config::default()
    };
    let authority = authority(&config);
    let_in(try_password(&authority, "bob", "b"));

    // Alice stays as she is, Bob gets another password, Carol goes, Dave comes.
    let alice = users.lines().next().unwrap();
    let others = password_file(&[("bob", "new"), ("dave", "d")]);
    file.write(&format!("{alice}\n{others}"));
    // Nothing is taken over by itself.
    let_in(try_password(&authority, "carol", "c"));
    let revoked = authority.replace(prepared(&config).unwrap());
    let revoked: Vec<&str> = revoked.iter().map(|name| &**name).collect();
    assert_eq!(revoked, ["bob", "carol"]);
    let_in(try_password(&authority, "alice", "secret"));
    let_in(try_password(&authority, "bob", "new"));
    let_in(try_password(&authority, "dave", "d"));
    // What was verified a short while ago is forgotten too.
    assert_eq!(try_password(&authority, "bob", "b"), WRONG);
    assert_eq!(try_password(&authority, "carol", "c"), WRONG);
}

#[test]
fn without_a_file_all_its_users_are_revoked() {
    let file = Temporary::new("reload-none", &password_file(&[("alice", "secret")]));
    let authority = authority(&Config {
        password_file: file.path(),
        ..Config::default()
    });
    assert_eq!(
        authority
            .replace(prepared(&Config::default()).unwrap())
            .len(),
        1
    );
}

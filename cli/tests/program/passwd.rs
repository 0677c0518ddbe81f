//! `whimbrel passwd`, as it is typed.

use crate::harness::{Directory, whimbrel};
use std::io::Write;
use std::process::{Output, Stdio};

fn typed(arguments: &[&str], input: &str) -> Output {
    let mut child = whimbrel(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn done(arguments: &[&str], input: &str) -> String {
    let output = typed(arguments, input);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &[&str], input: &str) -> (i32, String) {
    let output = typed(arguments, input);
    let code = output.status.code().unwrap();
    (code, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn users_are_set_listed_verified_and_removed() {
    let directory = Directory::new("passwd");
    let file = directory.path().join("users.txt");
    let file = file.to_str().unwrap();
    let said = done(&["passwd", "set", file, "alice"], "secret\n");
    assert_eq!(said, format!("alice: added in {file}\n"));
    let scram = [
        "passwd",
        "set",
        file,
        "bob",
        "--scram",
        "--groups",
        "ops,night",
    ];
    done(&scram, "hunter2\r\n");
    let listed = done(&["passwd", "list", file], "");
    assert_eq!(listed, "alice\targon2id\t\nbob\tscram-sha-256\tops,night\n");

    for (user, password, expected) in [
        ("alice", "secret\n", Ok("alice: the password is right\n")),
        ("bob", "hunter2", Ok("bob: the password is right\n")),
        ("alice", "Secret\n", Err("alice: the password is wrong")),
        ("carol", "secret\n", Err("there is no user \"carol\"")),
    ] {
        let verify = ["passwd", "verify", file, user];
        match expected {
            Ok(said) => assert_eq!(done(&verify, password), said),
            Err(why) => {
                let (code, said) = refused(&verify, password);
                assert!(said.contains(why), "{said}");
                assert_eq!(code, 1);
            }
        }
    }

    // A new password keeps the groups, unless others are named.
    let said = done(&["passwd", "set", file, "bob"], "new\n");
    assert_eq!(said, format!("bob: changed in {file}\n"));
    let listed = done(&["passwd", "list", file], "");
    assert_eq!(listed, "alice\targon2id\t\nbob\targon2id\tops,night\n");

    done(&["passwd", "remove", file, "alice"], "");
    let (code, said) = refused(&["passwd", "remove", file, "alice"], "");
    assert!(said.contains("there is no user \"alice\""));
    assert_eq!(code, 1);
    assert!(!std::fs::read_to_string(file).unwrap().contains("alice"));
}

#[test]
fn what_cannot_be_a_password_or_a_name_changes_nothing() {
    let directory = Directory::new("passwd-misuse");
    let file = directory.write("users.txt", "# people\n");
    for (arguments, input, expected) in [
        (&["alice"][..], "\n", "the password is empty"),
        (&["alice"], "", "the password is empty"),
        (&["a:b"], "x\n", "cannot be a user name"),
        (&["#a"], "x\n", "cannot be a user name"),
        (&["alice", "--groups", "a b"], "x\n", "cannot be a group"),
        (
            &["alice", "--scram"],
            "schlüssel\n",
            "only the characters of ASCII",
        ),
    ] {
        let arguments = [&["passwd", "set", &file], arguments].concat();
        let (code, said) = refused(&arguments, input);
        assert!(said.contains(expected), "{said}");
        assert_eq!(code, 2, "{said}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "# people\n");
    }
}

/// A password in an argument is seen by others, and whoever gives one is told.
#[test]
fn a_visible_password_is_called_so() {
    let directory = Directory::new("passwd-visible");
    let file = directory.path().join("users.txt");
    let file = file.to_str().unwrap();
    let output = typed(
        &["passwd", "set", file, "alice", "--visible-password", "x"],
        "",
    );
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("other users of this machine could see this password"));
    let (code, _) = refused(&["passwd", "set", file, "alice", "--password", "x"], "");
    assert_eq!(code, 2);
}

#[test]
fn mistakes_of_others_are_named_and_left_alone() {
    let directory = Directory::new("passwd-mistakes");
    let file = directory.write("users.txt", "# people\nbob\n\ncarol:secret\n");
    let (code, said) = refused(&["passwd", "list", &file], "");
    assert!(
        said.contains(&format!("{file}:2: expected NAME:HASH")),
        "{said}"
    );
    assert!(
        said.contains(&format!("{file}:4: user \"carol\": this is not")),
        "{said}"
    );
    assert!(!said.contains("secret"));
    assert_eq!(code, 1);

    let output = typed(&["passwd", "set", &file, "alice"], "x\n");
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("note: a broker would not take this file over"),
        "{said}"
    );
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# people\nbob\n\ncarol:secret\nalice:$argon2id$"));
}

#[cfg(unix)]
mod files {
    use super::*;
    use std::fs::{Permissions, metadata, set_permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(file: &str) -> u32 {
        metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_for_its_owner_and_an_old_one_stays_as_it_is() {
        let directory = Directory::new("passwd-mode");
        let file = directory.path().join("users.txt");
        let file = file.to_str().unwrap();
        done(&["passwd", "set", file, "alice"], "x\n");
        assert_eq!(mode(file), 0o600);
        set_permissions(file, Permissions::from_mode(0o640)).unwrap();
        let link = directory.path().join("link");
        symlink(file, &link).unwrap();
        done(&["passwd", "set", link.to_str().unwrap(), "bob"], "x\n");
        assert_eq!(mode(file), 0o640);
        assert!(link.is_symlink());
        assert!(done(&["passwd", "list", file], "").contains("bob"));
    }

    #[test]
    fn a_file_that_cannot_be_replaced_stays_whole() {
        let directory = Directory::new("passwd-busy");
        let file = directory.path().join("users.txt");
        let file = file.to_str().unwrap();
        done(&["passwd", "set", file, "alice"], "x\n");
        let before = std::fs::read_to_string(file).unwrap();
        let draft = directory.write("users.txt.new", "");
        let (code, said) = refused(&["passwd", "set", file, "alice"], "y\n");
        assert!(
            said.contains("another command is changing the file"),
            "{said}"
        );
        assert_eq!(code, 1);
        assert_eq!(std::fs::read_to_string(file).unwrap(), before);
        assert!(
            std::path::Path::new(&draft).exists(),
            "it was somebody else's"
        );
    }

    /// What `mosquitto_passwd` of mosquitto 2.0.11 has written is read, and added to.
    #[test]
    fn the_file_is_mosquittos() {
        let directory = Directory::new("passwd-mosquitto");
        let file = &directory.write("users.txt", crate::mosquitto::PASSWORDS);
        done(&["passwd", "verify", file, "sensor"], "pass word:1\n");
        done(&["passwd", "verify", file, "roger"], "secret\n");
        done(&["passwd", "set", file, "bob"], "hunter2\n");
        let listed = done(&["passwd", "list", file], "");
        assert_eq!(
            listed,
            "roger\tpbkdf2-sha512, weak\t\nsensor\tpbkdf2-sha512, weak\t\nbob\targon2id\t\n"
        );
    }
}

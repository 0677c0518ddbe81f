//! The password file: `NAME:HASH`, or `NAME:HASH:GROUP,GROUP`, a user a line.
//!
//! A file that mosquitto reads is read unchanged; the third column is ours, and mosquitto passes
//! over it. Empty lines and lines that begin with `#` are passed over. Every other line has to be
//! right: a line that cannot be read is an error with its number, and so is a file without users.
//! Nothing that is wrong ever lets somebody in.

use crate::hash::{NotAHash, PasswordHash, hmac_sha256};
use core::fmt;
use std::collections::BTreeMap;
use thiserror::Error;

/// The users of a password file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    users: Vec<User>,
    /// Where in `users`.
    by_name: BTreeMap<Box<str>, usize>,
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What the client has to call itself.
    pub name: Box<str>,
    /// What is kept of the password.
    pub hash: PasswordHash,
    /// For access rules.
    pub groups: Vec<Box<str>>,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1; 0 is the file as a whole.
    pub line: usize,
    /// What is wrong with it.
    pub why: BadUser,
}

/// What is wrong with a line of a password file, or with a user who is to get one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadUser {
    /// The file has no users.
    #[error("there are no users in it, so nobody could log in; add one with `whimbrel passwd set`")]
    Nobody,
    /// No colon.
    #[error("expected NAME:HASH or NAME:HASH:GROUP,GROUP, found no colon")]
    NoColon,
    /// A fourth column.
    #[error("expected NAME:HASH or NAME:HASH:GROUP,GROUP, found more columns")]
    Columns,
    /// The name cannot be one.
    #[error(
        "\"{0}\" cannot be a user name: it is empty or too long, begins with #, begins or ends with \
         a space, or has a colon or a control character"
    )]
    Name(String),
    /// A group cannot be one.
    #[error(
        "\"{0}\" cannot be a group: it is empty or too long, or has a comma, a colon, a space or a \
         control character"
    )]
    Group(String),
    /// The user is there already.
    #[error("user \"{name}\" is in line {first} already; remove one of the two lines")]
    Twice {
        /// Who.
        name: String,
        /// Where first.
        first: usize,
    },
    /// The hash cannot be read.
    #[error("user \"{name}\": {why}")]
    Hash {
        /// Whose.
        name: String,
        /// Why.
        why: NotAHash,
    },
}

/// The longest user name that MQTT can carry, in bytes.
const NAME_BYTES_MAXIMUM: usize = u16::MAX as usize;

impl User {
    /// A user with checked name and groups.
    ///
    /// # Errors
    ///
    /// [`BadUser::Name`] or [`BadUser::Group`].
    pub fn new(name: &str, hash: PasswordHash, groups: &[&str]) -> Result<Self, BadUser> {
        check_names(name, groups)?;
        Ok(Self {
            name: name.into(),
            hash,
            groups: groups.iter().map(|group| Box::from(*group)).collect(),
        })
    }

    fn parse(line: &str) -> Result<Self, BadUser> {
        let mut columns = line.split(':').map(str::trim);
        let name = columns.next().unwrap_or_default();
        let hash = columns.next().ok_or(BadUser::NoColon)?;
        let groups = columns.next();
        if columns.next().is_some() {
            return Err(BadUser::Columns);
        }
        let groups: Vec<&str> = match groups {
            None | Some("") => Vec::new(),
            Some(groups) => groups.split(',').map(str::trim).collect(),
        };
        let hash = PasswordHash::parse(hash).map_err(|why| BadUser::Hash {
            name: shown(name),
            why,
        })?;
        Self::new(name, hash, &groups)
    }
}

/// The line of the file, without its end.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.hash)?;
        if !self.groups.is_empty() {
            write!(f, ":{}", self.groups.join(","))?;
        }
        Ok(())
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.why),
            line => write!(f, "line {line}: {}", self.why),
        }
    }
}

impl Users {
    /// Reads a password file.
    ///
    /// # Errors
    ///
    /// Every line that cannot be read, or that there are no users.
    pub fn parse(text: &str) -> Result<Self, Vec<BadLine>> {
        let mut users = Self::default();
        let mut bad = Vec::new();
        let mut lines = BTreeMap::new();
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            if is_passed_over(text) {
                continue;
            }
            match User::parse(text) {
                Ok(user) => {
                    if let Some(first) = lines.get(&user.name) {
                        let name = shown(&user.name);
                        let first = *first;
                        let why = BadUser::Twice { name, first };
                        bad.push(BadLine { line, why });
                        continue;
                    }
                    lines.insert(user.name.clone(), line);
                    users.insert(user);
                }
                Err(why) => bad.push(BadLine { line, why }),
            }
        }
        if bad.is_empty() && users.users.is_empty() {
            bad.push(BadLine {
                line: 0,
                why: BadUser::Nobody,
            });
        }
        if bad.is_empty() { Ok(users) } else { Err(bad) }
    }

    fn insert(&mut self, user: User) {
        self.by_name.insert(user.name.clone(), self.users.len());
        self.users.push(user);
    }

    /// The user of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&User> {
        self.users.get(*self.by_name.get(name)?)
    }

    /// Somebody against whose hash a password of an unknown user is checked in vain, so that it
    /// takes as long as for a known one. Which one is always the same for one name and cannot be
    /// foretold without the key: where the hashes of a file differ in cost, unknown names differ
    /// just as known ones do.
    #[must_use]
    pub fn stand_in(&self, name: &str, key: &[u8]) -> Option<&User> {
        let [a, b, c, d, e, f, g, h, ..] = hmac_sha256(key, &[name.as_bytes()]);
        let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let count = u64::try_from(self.users.len()).ok()?;
        let index = number.checked_rem(count)?;
        self.users.get(usize::try_from(index).ok()?)
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.users.iter()
    }
}

/// Whether a user may be called so, and be in groups that are called so.
///
/// # Errors
///
/// [`BadUser::Name`] or [`BadUser::Group`].
pub fn check_names(name: &str, groups: &[&str]) -> Result<(), BadUser> {
    let unfit = |text: &str, forbidden: &[char]| {
        text.is_empty()
            || text.len() > NAME_BYTES_MAXIMUM
            || text.contains(|c: char| c.is_control() || forbidden.contains(&c))
    };
    if unfit(name, &[':']) || name.trim() != name || name.starts_with('#') {
        return Err(BadUser::Name(shown(name)));
    }
    if let Some(group) = groups.iter().find(|group| unfit(group, &[':', ',', ' '])) {
        return Err(BadUser::Group(shown(group)));
    }
    Ok(())
}

/// The text of a password file with the line of a user replaced or, if there was none, added at the
/// end. Everything else stays as it was.
#[must_use]
pub fn with_user(text: &str, user: &User) -> String {
    let mut found = false;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        if !is_of(line, &user.name) {
            lines.push(line.to_owned());
        } else if !found {
            found = true;
            lines.push(user.to_string());
        }
    }
    if !found {
        lines.push(user.to_string());
    }
    lines.join("\n") + "\n"
}

/// The text of a password file without the lines of a user; `None` when there was none.
#[must_use]
pub fn without_user(text: &str, name: &str) -> Option<String> {
    let kept: Vec<&str> = text.lines().filter(|line| !is_of(line, name)).collect();
    (kept.len() < text.lines().count()).then(|| match &*kept.join("\n") {
        "" => String::new(),
        kept => format!("{kept}\n"),
    })
}

fn is_passed_over(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

fn is_of(line: &str, name: &str) -> bool {
    let first = line.split(':').next().unwrap_or_default();
    !is_passed_over(line) && first.trim() == name
}

/// For a message: of bounded length, and without control characters.
fn shown(text: &str) -> String {
    const SHORT: usize = 64;
    let mut shown: String = text.chars().take(SHORT).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$6$LxRr16jLTSnHmK9R$J5FRsvJK/8nwpUo3o+nl5pJVMutPCVFgWYjPVfzilkPX87QTjJ0fhpT9Wo4TMa8XHG5Jn9E9ad3Emc2jcLlsUw==";

    fn errors(text: &str) -> Vec<String> {
        let bad = Users::parse(text).expect_err(text);
        bad.iter().map(BadLine::to_string).collect()
    }

    #[test]
    fn names_hashes_and_groups_are_read() {
        let text = format!(
            "# people\n\nalice:{HASH}\r\n bob smith : {HASH} :operators, night-shift\nzoë:{HASH}:\n"
        );
        let users = Users::parse(&text).unwrap();
        let names: Vec<&str> = users.iter().map(|user| &*user.name).collect();
        assert_eq!(names, ["alice", "bob smith", "zoë"]);
        let groups = &users.get("bob smith").unwrap().groups;
        assert_eq!(**groups, [Box::from("operators"), Box::from("night-shift")]);
        assert!(users.get("Alice").is_none());
        assert!(users.get("alice ").is_none());
        for user in users.iter() {
            assert_eq!(User::parse(&user.to_string()).as_ref(), Ok(user));
        }
    }

    /// Attack class 8, CVE-2018-12551: lines that are not right counted as right.
    #[test]
    fn a_malformed_line_is_an_error_with_its_number_and_never_a_user() {
        for (line, expected) in [
            ("alice", "found no colon"),
            ("alice:", "user \"alice\": there is no password hash"),
            ("alice::operators", "there is no password hash"),
            ("alice:secret", "perhaps it is the password itself"),
            ("alice:$6$", "does not have its parts"),
            ("alice:$6$$", "cut off or mistyped"),
            (":$6$", "does not have its parts"),
            ("alice:$9$a$b", "is not known"),
        ] {
            let text = format!("bob:{HASH}\n{line}\n");
            let errors = errors(&text);
            assert_eq!(errors.len(), 1);
            assert!(errors[0].starts_with("line 2: "), "{errors:?}");
            assert!(errors[0].contains(expected), "{errors:?}");
        }
        for (name, expected) in [
            ("", "\"\" cannot be"),
            ("a\u{1b}[1m", "cannot be a user name"),
        ] {
            let errors = errors(&format!("{name}:{HASH}\n"));
            assert!(errors[0].contains(expected), "{errors:?}");
            assert!(!errors[0].contains('\u{1b}'));
        }
        assert!(errors(&format!("a:{HASH}:g:h"))[0].contains("more columns"));
        assert!(errors(&format!("a:{HASH}:g,,h"))[0].contains("\"\" cannot be a group"));
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let errors = errors(&format!("a:{HASH}\nb\na:{HASH}\nc:plain\n"));
        assert_eq!(errors.len(), 3);
        assert!(errors[1].contains("user \"a\" is in line 1 already"));
    }

    /// Attack class 8, CVE-2018-12550: an empty file let everybody in.
    #[test]
    fn an_empty_file_is_an_error() {
        for text in ["", "\n\n", "# nobody\n", "   \n"] {
            assert!(errors(text)[0].contains("there are no users"));
        }
    }

    #[test]
    fn an_edit_changes_one_line_and_leaves_the_rest_as_it_was() {
        let hash = PasswordHash::parse(HASH).unwrap();
        let user = User::new("bob", hash, &["ops"]).unwrap();
        let line = format!("bob:{HASH}:ops");
        let text = "# people\nalice:x\n bob :y\nbobby:z\nbob:again\n";
        let edited = with_user(text, &user);
        assert_eq!(edited, format!("# people\nalice:x\n{line}\nbobby:z\n"));
        assert_eq!(with_user("", &user), format!("{line}\n"));
        assert_eq!(with_user("a:x", &user), format!("a:x\n{line}\n"));
        assert_eq!(
            without_user(&edited, "bob").as_deref(),
            Some("# people\nalice:x\nbobby:z\n")
        );
        assert_eq!(without_user(&edited, "carol"), None);
        assert_eq!(without_user("a:x\n", "a").as_deref(), Some(""));
    }

    #[test]
    fn whom_an_unknown_user_is_measured_against_is_settled_by_name_and_key() {
        let lines: String = (0..50).map(|n| format!("user{n}:{HASH}\n")).collect();
        let users = Users::parse(&lines).unwrap();
        let stand_in = |name: &str, key: &[u8]| users.stand_in(name, key).unwrap().name.clone();
        assert_eq!(stand_in("mallory", b"k"), stand_in("mallory", b"k"));
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        assert!(
            names
                .iter()
                .any(|n| stand_in(n, b"k") != stand_in("a", b"k"))
        );
        assert!(names.iter().any(|n| stand_in(n, b"k") != stand_in(n, b"l")));
    }
}

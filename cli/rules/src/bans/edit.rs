//! Changes to the text of a list of bans. What is not changed stays as somebody has written it,
//! comments included.

use super::{Entry, read_bans};
use crate::Problem;
use core::fmt;
use toml::Value;
use whimbrel_core::UnixTime;
use whimbrel_core::access::ban::Ban;
use whimbrel_core::access::network::Network;
use whimbrel_core::access::rule::Name;

/// Whom a ban keeps out, by one of the names that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Banned {
    /// A verified user.
    User(Name),
    /// A client identifier.
    Client(Name),
    /// An address, or all that begin alike.
    Address(Network),
}

impl fmt::Display for Banned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {name}"),
            Self::Client(name) => write!(f, "client {name}"),
            Self::Address(network) => write!(f, "address {network}"),
        }
    }
}

/// Everybody whom a text keeps out and until when, in the order in which they are written; one that
/// is named twice is there twice. `MAX` is for ever.
///
/// # Errors
///
/// Every mistake in the text.
pub fn banned(text: &str) -> Result<Vec<(Banned, UnixTime)>, Vec<Problem>> {
    let entries = read_bans(text)?.into_iter();
    let of = |ban: &Ban| {
        let until = ban.until;
        names(ban).into_iter().map(move |name| (name, until))
    };
    Ok(entries.flat_map(|entry| of(&entry.ban)).collect())
}

/// The text with one more ban, until this time and no other: what named one of these before does so
/// no longer.
///
/// # Errors
///
/// As [`without_bans`].
pub fn with_ban(text: &str, ban: &[Banned], until: UnixTime) -> Result<String, Vec<Problem>> {
    if let Some(other) = read_bans(text)?
        .iter()
        .find(|entry| !entry.stands_alone(text))
    {
        return Err(vec![by_hand(other.line)]);
    }
    let without = without_bans(text, |name, _| ban.contains(name))?;
    let mut text = without.unwrap_or_else(|| text.to_owned());
    if !text.is_empty() {
        let end = if text.ends_with('\n') { "\n" } else { "\n\n" };
        text.push_str(end);
    }
    text.push_str(&written(ban, until));
    Ok(text)
}

/// The text without the names that `goes` says yes to, when it is told of each and of its end;
/// `None` when that is none of them. A ban of which nothing is left goes as a whole.
///
/// # Errors
///
/// Every mistake in the text, or that a ban is written in a form that only people can change.
pub fn without_bans(
    text: &str,
    goes: impl Fn(&Banned, UnixTime) -> bool,
) -> Result<Option<String>, Vec<Problem>> {
    let mut changed = String::new();
    let mut copied = 0;
    for entry in read_bans(text)? {
        let until = entry.ban.until;
        let (gone, left): (Vec<_>, Vec<_>) = names(&entry.ban)
            .into_iter()
            .partition(|name| goes(name, until));
        if gone.is_empty() {
            continue;
        }
        if !entry.stands_alone(text) {
            return Err(vec![by_hand(entry.line)]);
        }
        changed.push_str(&text[copied..entry.span.start]);
        if !left.is_empty() {
            changed.push_str(&written(&left, until));
        }
        // With what follows in its last line.
        let rest = &text[entry.span.end..];
        copied = entry.span.end + rest.find('\n').map_or(rest.len(), |end| end + 1);
        if left.is_empty() && changed.ends_with("\n\n") && text[copied..].starts_with('\n') {
            copied += 1;
        }
    }
    if copied == 0 {
        return Ok(None);
    }
    changed.push_str(&text[copied..]);
    let end = changed.trim_end().len();
    changed.truncate(end);
    if end > 0 {
        changed.push('\n');
    }
    Ok(Some(changed))
}

impl Entry {
    /// Whether it has a heading of its own, under which it ends.
    fn stands_alone(&self, text: &str) -> bool {
        text[self.span.start..].starts_with("[[")
    }
}

fn by_hand(line: usize) -> Problem {
    let message = "this ban is not written below a [[ban]] of its own; change the file by hand";
    let message = message.to_owned();
    Problem { line, message }
}

/// Every name of a ban.
fn names(ban: &Ban) -> Vec<Banned> {
    let users = ban.users.iter().cloned().map(Banned::User);
    let clients = ban.clients.iter().cloned().map(Banned::Client);
    let addresses = ban.addresses.iter().copied().map(Banned::Address);
    users.chain(clients).chain(addresses).collect()
}

/// A ban as a file has it.
fn written(ban: &[Banned], until: UnixTime) -> String {
    let mut text = "[[ban]]\n".to_owned();
    let mut list = |key: &str, name: &dyn Fn(&Banned) -> Option<String>| {
        let mut names: Vec<Value> = ban.iter().filter_map(name).map(Value::from).collect();
        let value = match names.len() {
            0 => return,
            1 => names.remove(0),
            _ => Value::from(names),
        };
        text.push_str(&format!("{key} = {value}\n"));
    };
    list("users", &|one| match one {
        Banned::User(name) => Some(name.to_string()),
        Banned::Client(_) | Banned::Address(_) => None,
    });
    list("clients", &|one| match one {
        Banned::Client(name) => Some(name.to_string()),
        Banned::User(_) | Banned::Address(_) => None,
    });
    list("addresses", &|one| match one {
        Banned::Address(network) => Some(network.to_string()),
        Banned::User(_) | Banned::Client(_) => None,
    });
    if until != UnixTime::MAX {
        text.push_str(&format!("until = {}\n", super::time::show_time(until)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_bans;

    const LATER: UnixTime = UnixTime(1_801_396_800_000);

    fn user(name: &str) -> Banned {
        Banned::User(Name::new(name))
    }

    fn client(name: &str) -> Banned {
        Banned::Client(Name::new(name))
    }

    #[test]
    fn what_is_added_is_read_and_the_rest_stays_as_it_was() {
        let address = Banned::Address("192.0.2.0/24".parse().unwrap());
        let odd = client("a \"quoted\\ n\u{e4}me*");
        let first = with_ban("", &[user("u"), odd.clone(), address.clone()], LATER).unwrap();
        assert_eq!(
            banned(&first).unwrap(),
            [(user("u"), LATER), (odd, LATER), (address, LATER)]
        );
        let commented = format!("# why\n{first}# the end");
        let second = with_ban(&commented, &[user("v")], UnixTime::MAX).unwrap();
        assert_eq!(second, format!("{commented}\n\n[[ban]]\nusers = \"v\"\n"));
        // Somebody who is there already is there once, with the new end.
        let third = with_ban(&second, &[user("v")], LATER).unwrap();
        assert_eq!(third, format!("{second}until = 2027-01-31T12:00:00Z\n"));
    }

    #[test]
    fn who_is_taken_away_leaves_the_others_and_the_comments() {
        let text = "# ours\n\n[[ban]]\nusers = [\"u\", \"v\"] # noisy\nuntil = 2027-01-31T12:00:00Z\n\n\
                    # theirs\n[[ban]]\nclients = \"c\" # gone\n\n# last\n";
        let without = |goes: &Banned| without_bans(text, |name, _| name == goes).unwrap();
        assert_eq!(
            without(&user("u")).unwrap(),
            "# ours\n\n[[ban]]\nusers = \"v\"\nuntil = 2027-01-31T12:00:00Z\n\n\
             # theirs\n[[ban]]\nclients = \"c\" # gone\n\n# last\n"
        );
        assert_eq!(
            without(&client("c")).unwrap(),
            "# ours\n\n[[ban]]\nusers = [\"u\", \"v\"] # noisy\nuntil = 2027-01-31T12:00:00Z\n\n\
             # theirs\n\n# last\n"
        );
        // A user is no client, and a name is not what it stands for.
        assert_eq!(without(&client("u")), None);
        assert_eq!(without(&user("u*")), None);
        let all = without_bans(text, |_, until| until <= UnixTime::MAX)
            .unwrap()
            .unwrap();
        assert_eq!(parse_bans(&all).unwrap(), []);
        assert_eq!(without_bans("", |_, _| true), Ok(None));
    }

    #[test]
    fn what_cannot_be_changed_is_told_and_left() {
        let inline = "ban = [{ users = \"u\" }, { users = \"v\" }]\n";
        let problems = without_bans(inline, |_, _| true).unwrap_err();
        assert!(problems[0].to_string().contains("by hand"), "{problems:?}");
        assert_eq!(without_bans(inline, |_, _| false), Ok(None));
        let broken = "[[ban]]\nuser = \"u\"\n";
        assert!(with_ban(broken, &[user("v")], LATER).is_err());
        // Appending to a list of the other form would not be TOML.
        assert!(with_ban(inline, &[user("w")], LATER).is_err());
    }
}

//! Rules as values: what is allowed or denied, to whom, on which topics. How they decide is told
//! in `docs/access.md`. Reading them from files is for others.

use crate::access::network::Network;
use crate::topic::filter::{FilterError, TopicFilter};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// What a client does with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Publish to it, by PUBLISH or by a will.
    Publish,
    /// Subscribe to it, alone or in a shared group.
    Subscribe,
    /// Be sent messages that were published to it.
    Receive,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Publish, Self::Subscribe, Self::Receive];

    /// The word for it in files and in commands.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Receive => "receive",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A set of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Operations(u8);

crate::state::state!(Operations(bits));

impl Operations {
    /// Every operation.
    pub const ALL: Self = Self(0b111);

    /// The same set with one more.
    #[must_use]
    pub const fn with(self, operation: Operation) -> Self {
        Self(self.0 | 1 << operation as u8)
    }

    /// Whether it is in the set.
    #[must_use]
    pub const fn has(self, operation: Operation) -> bool {
        self.0 & 1 << operation as u8 != 0
    }
}

impl FromIterator<Operation> for Operations {
    fn from_iter<T: IntoIterator<Item = Operation>>(operations: T) -> Self {
        operations.into_iter().fold(Self::default(), Self::with)
    }
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It may be done.
    Allow,
    /// It may not.
    Deny,
}

crate::state::state!(enum Effect { 0 Allow, 1 Deny });

/// One rule. It matches what is done when all its conditions do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub effect: Effect,
    /// With which operations.
    pub operations: Operations,
    /// On which topics: those that one of these matches.
    pub topics: Vec<Pattern>,
    /// To whom.
    pub who: Who,
    /// The line of the file it begins in, counted from 1; 0 when it comes from no file.
    pub line: u32,
}

crate::state::state!(Rule {
    effect,
    operations,
    topics,
    who,
    line
});

impl Rule {
    /// A rule for everybody, from no file.
    #[must_use]
    pub fn new(effect: Effect, operations: Operations, topics: Vec<Pattern>) -> Self {
        Self {
            effect,
            operations,
            topics,
            who: Who::default(),
            line: 0,
        }
    }
}

/// Whom a rule is about: everybody who fulfils each of these conditions. A condition that is not
/// there is fulfilled; one with several values by each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The verified user is one of these.
    pub users: Vec<Name>,
    /// The user is in one of these groups.
    pub groups: Vec<Name>,
    /// The client identifier is one of these. Clients choose theirs themselves.
    pub clients: Vec<Name>,
    /// It came by one of these listeners, by number as in [`Peer`](crate::Peer).
    pub listeners: Vec<u16>,
    /// Its address is in one of these networks. Clients without an address are in none.
    pub addresses: Vec<Network>,
    /// Its certificate has one of these as its common name or an alternative name.
    pub certificates: Vec<Name>,
    /// Its certificate names one of these organisations.
    pub organizations: Vec<Name>,
    /// Clients of these tenants.
    pub tenants: Vec<Name>,
    /// Whether it has shown who it is: `false` for anonymous clients alone, `true` for all others.
    pub authenticated: Option<bool>,
}

crate::state::state!(Who {
    users,
    groups,
    clients,
    listeners,
    addresses,
    certificates,
    organizations,
    tenants,
    authenticated
});

/// A name that a condition asks for: a whole one, or with `*` at its end all that begin so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    text: Box<str>,
    is_beginning: bool,
}

crate::state::state!(Name { text, is_beginning });

impl Name {
    /// Takes any text: none is wrong.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let beginning = text.strip_suffix('*');
        Self {
            text: beginning.unwrap_or(text).into(),
            is_beginning: beginning.is_some(),
        }
    }

    /// A whole name, whatever it ends with.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        Self {
            text: text.into(),
            is_beginning: false,
        }
    }

    /// The one name that it means; `None` when it means all that begin alike.
    #[must_use]
    pub fn whole(&self) -> Option<&str> {
        (!self.is_beginning).then_some(&self.text)
    }

    /// Whether it means this one.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.is_beginning {
            true => name.starts_with(&*self.text),
            false => *self.text == *name,
        }
    }
}

/// As it is written: with a `*` where it means all that begin alike.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        f.write_str(if self.is_beginning { "*" } else { "" })
    }
}

/// A topic filter in which `%u` stands for the user, `%c` for the client identifier and `%t` for
/// the tenant, alone in a level or as part of one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Box<str>,
    has_placeholders: bool,
}

crate::state::state!(Pattern {
    text,
    has_placeholders
});

/// What stands for a part of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Placeholder {
    /// `%u`
    User,
    /// `%c`
    Client,
    /// `%t`
    Tenant,
}

impl Placeholder {
    /// The one with this letter.
    const fn of(letter: u8) -> Option<Self> {
        match letter {
            b'u' => Some(Self::User),
            b'c' => Some(Self::Client),
            b't' => Some(Self::Tenant),
            _ => None,
        }
    }
}

impl Pattern {
    /// Checks a text as a pattern. A `%` that is followed by no letter of a placeholder is a `%`.
    ///
    /// # Errors
    ///
    /// It would be no topic filter with anything in the place of its placeholders.
    pub fn new(text: &str) -> Result<Self, FilterError> {
        let mut filled = String::with_capacity(text.len());
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Placeholder(_) => filled.push('x'),
            }
        }
        TopicFilter::plain(&filled)?;
        let has_placeholders = pieces(text).any(|piece| matches!(piece, Piece::Placeholder(_)));
        Ok(Self {
            text: text.into(),
            has_placeholders,
        })
    }

    /// Checks a text as a filter in which nothing stands for anything else.
    ///
    /// # Errors
    ///
    /// It is no topic filter.
    pub fn literal(text: &str) -> Result<Self, FilterError> {
        TopicFilter::plain(text)?;
        Ok(Self {
            text: text.into(),
            has_placeholders: false,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has a placeholder.
    #[must_use]
    pub const fn has_placeholders(&self) -> bool {
        self.has_placeholders
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A part of a pattern, or of one of its levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Stands for itself.
    Text(&'a str),
    /// Stands for something of the client.
    Placeholder(Placeholder),
}

/// Takes a text apart at its placeholders.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let found = rest.as_bytes().windows(2).enumerate();
        let first = found
            .filter(|(_, pair)| pair[0] == b'%')
            .find_map(|(at, pair)| Some((at, Placeholder::of(pair[1])?)));
        Some(match first {
            Some((0, placeholder)) => {
                rest = &rest[2..];
                Piece::Placeholder(placeholder)
            }
            Some((at, _)) => {
                let (text, later) = rest.split_at(at);
                rest = later;
                Piece::Text(text)
            }
            None => Piece::Text(core::mem::take(&mut rest)),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_filter_with_something_in_the_place_of_its_placeholders() {
        for (text, is_pattern) in [
            ("a/b", true),
            ("%u", true),
            ("dev-%c-x/#", true),
            ("%u%c/+/%t", true),
            ("100%/50%%", true),
            ("a/%u#", false),
            ("%c+/a", false),
            ("", false),
            ("a/#/b", false),
        ] {
            assert_eq!(Pattern::new(text).is_ok(), is_pattern, "{text}");
        }
        assert!(!Pattern::new("100%/a").unwrap().has_placeholders());
        assert!(Pattern::new("a/x%u").unwrap().has_placeholders());
    }
}

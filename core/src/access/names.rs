//! What a client calls topics, and where its topics must lie: prefixes made of who it is.
//!
//! The *required prefix* is where every topic of a client must begin, whatever the rules allow. The
//! *session topics* are what a device calls its own without knowing its name: what it says, such as
//! `v1/devices/me/telemetry`, means `v1/devices/pump-7/telemetry` to everybody else, and the other
//! way round.

use crate::access::rule::{Piece, pieces};
use crate::access::rules::{Fit, Subject, fit, value};
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use thiserror::Error;

/// The first levels of topics, in which `%u` stands for the user, `%c` for the client identifier
/// and `%t` for the tenant, alone in a level or as part of one. By default no levels, with which
/// every topic begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicPrefix(Box<str>);

crate::state::state!(TopicPrefix(text));

/// A text that topics cannot begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "topics cannot begin with this: write levels without wildcards, not beginning with `$`, and \
     without a `/` at the end, such as \"v1/devices/%c\""
)]
pub struct BadPrefix;

impl FromStr for TopicPrefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let mut filled = String::with_capacity(text.len());
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Placeholder(_) => filled.push('x'),
            }
        }
        let is_name = TopicName::new(&filled).is_ok_and(|name| !name.is_dollar());
        (is_name && !filled.ends_with('/'))
            .then(|| Self(text.into()))
            .ok_or(BadPrefix)
    }
}

impl fmt::Display for TopicPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TopicPrefix {
    /// Whether it depends on who a client is.
    pub(crate) fn has_placeholders(&self) -> bool {
        pieces(&self.0).any(|piece| matches!(piece, Piece::Placeholder(_)))
    }

    /// The levels of this client; `None` when it lacks something that stands in them, or that would
    /// make a wildcard or another level.
    fn of(&self, subject: &Subject<'_>) -> Option<Box<str>> {
        let mut levels = String::new();
        for (index, level) in self.0.split('/').enumerate() {
            if fit(level, subject, index == 0) != Fit::Text {
                return None;
            }
            if index > 0 {
                levels.push('/');
            }
            for piece in pieces(level) {
                match piece {
                    Piece::Text(text) => levels.push_str(text),
                    Piece::Placeholder(what) => levels.push_str(value(what, subject)?),
                }
            }
        }
        Some(levels.into())
    }
}

/// Where the topics of clients begin, and what clients may call their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicsConfig {
    /// Topics and filters of a client must lie below this; everything else is refused, whatever the
    /// rules allow. Default: they may be anything.
    pub required_prefix: Option<TopicPrefix>,
    /// What a client calls its own topics: `v1/devices/me`. Default: it has no such words.
    pub session_prefix: Option<TopicPrefix>,
    /// What that means: `v1/devices/%c`. Given with it, and only then.
    pub session_prefix_means: Option<TopicPrefix>,
}

crate::state::state!(TopicsConfig {
    required_prefix,
    session_prefix,
    session_prefix_means
});

impl TopicsConfig {
    /// Whether there is anything to be looked at.
    pub(crate) const fn is_on(&self) -> bool {
        self.required_prefix.is_some() || self.session_prefix.is_some()
    }

    /// Whether words and meaning are there together, and each client has its own.
    pub(crate) fn is_whole(&self) -> bool {
        match (&self.session_prefix, &self.session_prefix_means) {
            (None, None) => true,
            (Some(said), Some(means)) => !said.has_placeholders() && means.has_placeholders(),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// What it comes to for a client; `None` when there is no topic that it could name.
    #[must_use]
    pub fn of(&self, subject: &Subject<'_>) -> Option<Names> {
        let required = match &self.required_prefix {
            Some(prefix) => Some(prefix.of(subject)?),
            None => None,
        };
        let own = match (&self.session_prefix, &self.session_prefix_means) {
            (Some(said), Some(means)) => Some((said.0.clone(), means.of(subject)?)),
            _ => None,
        };
        Some(Names { required, own })
    }
}

/// Where the topics of one client begin, and what it calls its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    required: Option<Box<str>>,
    /// What it says, and what that means.
    own: Option<(Box<str>, Box<str>)>,
}

crate::state::state!(Names { required, own });

impl Names {
    /// What they take beside themselves, in bytes.
    pub(crate) fn footprint(&self) -> usize {
        let own = self
            .own
            .as_ref()
            .map_or(0, |(said, meant)| said.len() + meant.len());
        own + self.required.as_ref().map_or(0, |prefix| prefix.len())
    }

    /// Whether it may name this topic, or all that this filter matches.
    #[must_use]
    pub fn allow(&self, filter: TopicFilter<'_>) -> bool {
        match &self.required {
            None => true,
            Some(prefix) => below(prefix, filter.as_str()).is_some_and(|rest| !rest.is_empty()),
        }
    }

    /// What a topic or filter means that the client says; with the prefix of a shared subscription.
    #[must_use]
    pub fn meant<'a>(&self, said: &'a str) -> Cow<'a, str> {
        let Some((words, means)) = &self.own else {
            return said.into();
        };
        let share = match said.strip_prefix("$share/") {
            Some(rest) => rest
                .find('/')
                .map_or(said.len(), |at| said.len() - rest.len() + at + 1),
            None => 0,
        };
        let (share, filter) = said.split_at(share);
        match below(words, filter) {
            Some(rest) => [share, means, rest].concat().into(),
            None => said.into(),
        }
    }

    /// What a topic is called towards the client, if that is something else.
    pub(crate) fn called(&self, topic: &str) -> Option<String> {
        let (words, means) = self.own.as_ref()?;
        Some([words, below(means, topic)?].concat())
    }
}

/// What comes behind these levels, with its `/`; empty when it is these levels alone.
fn below<'a>(levels: &str, text: &'a str) -> Option<&'a str> {
    if levels.is_empty() {
        return Some(text);
    }
    let rest = text.strip_prefix(levels)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn prefix(text: &str) -> TopicPrefix {
        text.parse().unwrap()
    }

    fn subject<'a>(user: Option<&'a str>, client_id: &'a str) -> Subject<'a> {
        Subject {
            user,
            client_id,
            tenant: None,
            groups: &[],
            rules: &[],
            from: None,
        }
    }

    #[test]
    fn a_prefix_is_levels_without_wildcards() {
        for text in ["a", "a/%c", "%u/x-%c/y", "/a"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        for text in ["", "/", "a/", "a/+", "#", "$SYS", "a\0"] {
            assert_eq!(text.parse::<TopicPrefix>(), Err(BadPrefix), "{text:?}");
        }
    }

    #[test]
    fn nobody_gets_more_levels_by_what_he_is_called() {
        let of = |user, client| prefix("d/%u/%c").of(&subject(user, client));
        assert_eq!(of(Some("u"), "c").as_deref(), Some("d/u/c"));
        for bad in ["", "+", "#", "a/b", "a\0"] {
            assert_eq!(of(Some("u"), bad), None, "{bad:?}");
            assert_eq!(of(Some(bad), "c"), None, "{bad:?}");
        }
        assert_eq!(of(None, "c"), None);
        assert_eq!(prefix("%c/a").of(&subject(None, "$SYS")), None);
    }

    #[test]
    fn topics_lie_below_the_prefix_level_by_level() {
        let config = TopicsConfig {
            required_prefix: Some(prefix("d/%c")),
            ..TopicsConfig::default()
        };
        let names = config.of(&subject(None, "c")).unwrap();
        let allows = |text| names.allow(TopicFilter::plain(text).unwrap());
        for text in ["d/c/x", "d/c/#", "d/c/+/y", "d/c/"] {
            assert!(allows(text), "{text}");
        }
        for text in [
            "d/c", "d/cc/x", "d/+/x", "#", "+/c/x", "d", "d/C/x", "x/d/c/y",
        ] {
            assert!(!allows(text), "{text}");
        }
    }

    #[test]
    fn words_and_meaning_are_inverse() {
        let config = TopicsConfig {
            session_prefix: Some(prefix("v1/devices/me")),
            session_prefix_means: Some(prefix("v1/devices/%c")),
            ..TopicsConfig::default()
        };
        assert!(config.is_whole());
        let names = config.of(&subject(None, "pump")).unwrap();
        for (said, means) in [
            ("v1/devices/me/telemetry", "v1/devices/pump/telemetry"),
            ("v1/devices/me", "v1/devices/pump"),
            ("v1/devices/me/#", "v1/devices/pump/#"),
            ("$share/g/v1/devices/me/x", "$share/g/v1/devices/pump/x"),
        ] {
            assert_eq!(names.meant(said), means);
            if !said.starts_with('$') {
                assert_eq!(names.called(means).as_deref(), Some(said));
            }
        }
        for other in [
            "v1/devices/mean/x",
            "v1/devices/+/x",
            "me",
            "$share/g",
            "$share/v1/devices/me",
        ] {
            assert_eq!(names.meant(other), other);
            assert_eq!(names.called(other), None);
        }
    }
}

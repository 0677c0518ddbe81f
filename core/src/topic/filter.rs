//! Topic filters: where wildcards may stand, what they match, and the `$share` form.
//!
//! Responsible for the grammar and for the reference matcher of one filter and one name. The
//! indexes in this directory must agree with [`TopicFilter::matches`], and are tested against it.

use crate::error::Violation;
use crate::topic::name::{self, Levels, TextError, TopicName};
use core::fmt;
use thiserror::Error;

/// A topic filter: what is subscribed to. Not empty; wildcards stand only where they may.
///
/// Never the `$share/…` form of a shared subscription, unless [`TopicFilter::plain`] was asked to
/// take that literally: see [`TopicFilter::parse`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicFilter<'a> {
    text: &'a str,
    wildcards: bool,
}

/// The two parts of what a SUBSCRIBE or UNSUBSCRIBE names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParsedFilter<'a> {
    /// The share name, when this is a shared subscription.
    pub share: Option<ShareName<'a>>,
    /// What is matched.
    pub filter: TopicFilter<'a>,
}

impl<'a> TopicFilter<'a> {
    /// Parses a filter that may be shared: `a/b`, or `$share/{name}/a/b` (5.0).
    ///
    /// # Errors
    ///
    /// A [`FilterError`]: the peer that sent this text broke a rule.
    pub fn parse(text: &'a str) -> Result<ParsedFilter<'a>, FilterError> {
        let Some(shared) = text.strip_prefix("$share/") else {
            let filter = Self::plain(text)?;
            return Ok(ParsedFilter {
                share: None,
                filter,
            });
        };
        name::check_text(text)?; // the limits hold for the whole text, not for its parts
        let Some((share, filter)) = shared.split_once('/') else {
            return Err(FilterError::ShareWithoutFilter); // [MQTT-4.8.2-1]
        };
        let share = ShareName::new(share)?;
        if filter.is_empty() {
            return Err(FilterError::ShareWithoutFilter);
        }
        Ok(ParsedFilter {
            share: Some(share),
            filter: Self::plain(filter)?,
        })
    }

    /// Checks a text as a filter, with no meaning given to `$share` (3.1 and 3.1.1).
    ///
    /// # Errors
    ///
    /// A [`FilterError`]: the peer that sent this text broke a rule.
    pub fn plain(text: &'a str) -> Result<Self, FilterError> {
        let wildcards = name::check_text(text)?.wildcards;
        if wildcards {
            check_wildcards(text)?;
        }
        Ok(Self { text, wildcards })
    }

    /// For texts that were a filter when they were stored.
    pub(crate) const fn stored(text: &'a str, wildcards: bool) -> Self {
        Self { text, wildcards }
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.text
    }

    /// Whether more than one topic name can match.
    #[must_use]
    pub const fn has_wildcards(self) -> bool {
        self.wildcards
    }

    /// The levels from left to right, wildcards included; at least one.
    #[must_use]
    pub const fn levels(self) -> Levels<'a> {
        Levels::new(self.text)
    }

    /// How many levels there are, wildcards included; at least one.
    #[must_use]
    pub fn level_count(self) -> usize {
        name::level_count(self.text)
    }

    /// Whether a wildcard stands at the first level.
    #[must_use]
    pub fn starts_with_wildcard(self) -> bool {
        self.wildcards && matches!(self.text.as_bytes().first(), Some(b'+' | b'#'))
    }

    /// Whether this filter matches the topic name.
    #[must_use]
    pub fn matches(self, name: TopicName<'_>) -> bool {
        if !self.wildcards {
            // Bytes are bytes: no normalization, here or in an index. [MQTT-4.7.3-4]
            // [MQTT311-4.7.3-4]
            return self.text == name.as_str();
        }
        if name.is_dollar() && self.starts_with_wildcard() {
            return false;
        }
        let mut filter_levels = self.levels();
        let mut name_levels = name.levels();
        loop {
            match (filter_levels.next(), name_levels.next()) {
                // `a/#` matches `a` too, so this comes before the end of the name.
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(pattern), Some(level)) if pattern == level => {}
                (Some(_) | None, Some(_) | None) => return false,
            }
        }
    }
}

/// Where wildcards may stand.
fn check_wildcards(text: &str) -> Result<(), FilterError> {
    let mut levels = Levels::new(text);
    while let Some(level) = levels.next() {
        if level.contains('#') && (level.len() > 1 || levels.rest().is_some()) {
            // [MQTT-4.7.1-1] [MQTT311-4.7.1-2]
            return Err(FilterError::MultiLevelWildcard);
        }
        if level.contains('+') && level.len() > 1 {
            // [MQTT-4.7.1-2] [MQTT311-4.7.1-3]
            return Err(FilterError::SingleLevelWildcard);
        }
    }
    Ok(())
}

impl AsRef<str> for TopicFilter<'_> {
    fn as_ref(&self) -> &str {
        self.text
    }
}

impl fmt::Debug for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.text, f)
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// A topic name, read as the filter that matches it alone.
impl<'a> From<TopicName<'a>> for TopicFilter<'a> {
    fn from(name: TopicName<'a>) -> Self {
        Self {
            text: name.as_str(),
            wildcards: false,
        }
    }
}

/// The name of a shared subscription: not empty, without `/`, `+` and `#`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareName<'a>(&'a str);

impl<'a> ShareName<'a> {
    /// Checks a text as a share name.
    ///
    /// # Errors
    ///
    /// [`FilterError::ShareName`], or a [`TextError`] other than empty.
    pub fn new(text: &'a str) -> Result<Self, FilterError> {
        // A name needs a character, and none that has a meaning in filters. [MQTT-4.8.2-2]
        if text.is_empty() || text.contains(['/', '+', '#']) {
            return Err(FilterError::ShareName);
        }
        name::check_text(text)?;
        Ok(Self(text))
    }

    /// For texts that were a share name when they were stored.
    pub(crate) const fn stored(text: &'a str) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for ShareName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

impl fmt::Display for ShareName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why a text is not a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum FilterError {
    /// It could not be a name either.
    #[error(transparent)]
    Text(#[from] TextError),
    /// `#` shares its level, or is not at the end.
    #[error("`#` is not the whole last level")]
    MultiLevelWildcard,
    /// `+` shares its level.
    #[error("`+` is not a whole level")]
    SingleLevelWildcard,
    /// The share name is empty, or has `+` or `#` in it.
    #[error("the share name is empty or contains a wildcard")]
    ShareName,
    /// `$share/name` or `$share/name/`.
    #[error("no topic filter follows the share name")]
    ShareWithoutFilter,
}

impl From<FilterError> for Violation {
    fn from(_: FilterError) -> Self {
        Self::TopicFilter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    /// [MQTT-4.7.1-1] [MQTT311-4.7.1-2] [MQTT-4.7.1-2] [MQTT311-4.7.1-3]
    #[test]
    fn wildcards_take_whole_levels_and_the_hash_comes_last() {
        let valid = [
            "a", "/", "#", "+", "+/+", "/+", "a/#", "+/#", "a/+/b", "$SYS/#", "//#", "+//",
        ];
        for text in valid {
            assert!(TopicFilter::plain(text).is_ok(), "{text}");
        }
        let table = [
            ("a#", FilterError::MultiLevelWildcard),
            ("#/", FilterError::MultiLevelWildcard),
            ("a/#/b", FilterError::MultiLevelWildcard),
            ("##", FilterError::MultiLevelWildcard),
            ("#/#", FilterError::MultiLevelWildcard),
            ("a+", FilterError::SingleLevelWildcard),
            ("++", FilterError::SingleLevelWildcard),
            ("a/+b/c", FilterError::SingleLevelWildcard),
        ];
        for (text, error) in table {
            assert_eq!(TopicFilter::plain(text), Err(error), "{text}");
        }
    }

    /// [MQTT-4.7.3-1] [MQTT311-4.7.3-1] [MQTT-4.7.3-3] [MQTT311-4.7.3-3]
    #[test]
    fn filters_keep_the_limits_of_names() {
        assert_eq!(TopicFilter::plain(""), Err(TextError::Empty.into()));
        assert_eq!(TopicFilter::plain("a/\0/#"), Err(TextError::Null.into()));
        let mut text = String::from_utf8(alloc::vec![b'/'; name::TEXT_BYTES_MAX]).unwrap();
        assert!(TopicFilter::plain(&text).is_ok());
        text.push('+');
        assert_eq!(TopicFilter::plain(&text), Err(TextError::TooLong.into()));
        // Shortening by the prefix does not help.
        let shared = alloc::format!("$share/g/{}", &text[9..]);
        assert_eq!(TopicFilter::parse(&shared), Err(TextError::TooLong.into()));
    }

    /// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    #[test]
    fn a_shared_filter_has_a_name_and_a_filter() {
        let parsed = |text| {
            let ParsedFilter { share, filter } = TopicFilter::parse(text)?;
            Ok((share.map(ShareName::as_str), filter.as_str()))
        };
        let table = [
            ("a/b", Ok((None, "a/b"))),
            ("$share", Ok((None, "$share"))),
            ("$shared/g/a", Ok((None, "$shared/g/a"))),
            ("$share/g/a", Ok((Some("g"), "a"))),
            ("$share/g//", Ok((Some("g"), "/"))),
            ("$share/g/+/#", Ok((Some("g"), "+/#"))),
            ("$share/g/$share/h/a", Ok((Some("g"), "$share/h/a"))),
            ("$share/ab", Err(FilterError::ShareWithoutFilter)),
            ("$share/", Err(FilterError::ShareWithoutFilter)),
            ("$share/g/", Err(FilterError::ShareWithoutFilter)),
            ("$share//x", Err(FilterError::ShareName)),
            ("$share//", Err(FilterError::ShareName)),
            ("$share/+/x", Err(FilterError::ShareName)),
            ("$share/g#/x", Err(FilterError::ShareName)),
            ("$share/#", Err(FilterError::ShareWithoutFilter)),
            ("$share/g/x#", Err(FilterError::MultiLevelWildcard)),
            ("$share/g/\0", Err(FilterError::Text(TextError::Null))),
        ];
        for (text, expected) in table {
            assert_eq!(parsed(text), expected, "{text:?}");
        }
    }

    /// [MQTT-4.7.2-1] [MQTT311-4.7.2-1] [MQTT-4.7.3-4] [MQTT311-4.7.3-4]
    #[test]
    fn one_filter_matches_one_name() {
        let table = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/ranking",
                true,
            ),
            ("sport/#", "sport", true),
            ("sport/#", "sports", false),
            ("#", "a/b/c", true),
            ("#", "/", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("+", "finance", true),
            ("+/#", "a", true),
            ("a/+/#", "a", false),
            ("a/b", "a/b", true),
            ("a/b", "a/b/", false),
            ("a", "A", false),
            ("\u{e9}", "e\u{301}", false),
            ("#", "$SYS/x", false),
            ("+", "$SYS", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor", true),
            ("$SYS/#", "$SYS", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("a/#", "a/$x", true),
            ("a/+", "a/$x", true),
            ("+/#", "/$x", true),
        ];
        for (filter, name, expected) in table {
            let name = TopicName::new(name).unwrap();
            let filter = TopicFilter::plain(filter).unwrap();
            assert_eq!(filter.matches(name), expected, "{filter} {name}");
        }
    }
}

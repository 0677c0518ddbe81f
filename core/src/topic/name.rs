//! Topic names, and what names and filters have in common: the limits of the text and its levels.
//!
//! Responsible for what may stand in a topic name. How deep one may be is a limit of the broker.

use crate::error::Violation;
use core::fmt;
use core::iter::FusedIterator;
use thiserror::Error;

/// The longest topic name or topic filter, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 65_535;

/// A topic name: what is published to. Not empty, and without wildcards.
///
/// Levels may be empty, and a leading or trailing `/` makes one more level: `/a` is not `a`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks a text as a topic name.
    ///
    /// # Errors
    ///
    /// A [`NameError`]: the peer that sent this text broke a rule.
    pub fn new(text: &'a str) -> Result<Self, NameError> {
        if check_text(text)?.wildcards {
            // [MQTT-4.7.0-1] [MQTT311-4.7.1-1]
            return Err(NameError::Wildcard);
        }
        Ok(Self(text))
    }

    /// A text that was checked before.
    pub(crate) fn known(text: &'a str) -> Self {
        debug_assert!(Self::new(text).is_ok(), "it was checked before");
        Self(text)
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels from left to right; at least one.
    #[must_use]
    pub const fn levels(self) -> Levels<'a> {
        Levels::new(self.0)
    }

    /// How many levels there are; at least one.
    #[must_use]
    pub fn level_count(self) -> usize {
        level_count(self.0)
    }

    /// Whether this name is out of reach for filters that start with a wildcard.
    #[must_use]
    pub fn is_dollar(self) -> bool {
        // One rule for matcher, tree and ordered map. [MQTT-4.7.2-1] [MQTT311-4.7.2-1]
        self.0.as_bytes().first() == Some(&b'$')
    }
}

impl AsRef<str> for TopicName<'_> {
    fn as_ref(&self) -> &str {
        self.0
    }
}

impl fmt::Debug for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why a text is neither a topic name nor a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum TextError {
    /// There is no character.
    #[error("the text is empty")]
    Empty,
    /// U+0000 stands in it.
    #[error("the text contains U+0000")]
    Null,
    /// It has more than 65,535 bytes.
    #[error("the text is longer than 65,535 bytes")]
    TooLong,
}

/// Why a text is not a topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum NameError {
    /// It could not be a filter either.
    #[error(transparent)]
    Text(#[from] TextError),
    /// `+` or `#` stands in it.
    #[error("a topic name contains a wildcard")]
    Wildcard,
}

impl From<NameError> for Violation {
    fn from(_: NameError) -> Self {
        Self::TopicName
    }
}

/// What the one pass over a text found.
pub(crate) struct CheckedText {
    /// `+` or `#` stands somewhere.
    pub(crate) wildcards: bool,
}

/// The rules that names and filters share, in one pass over the bytes.
pub(crate) fn check_text(text: &str) -> Result<CheckedText, TextError> {
    if text.is_empty() {
        // [MQTT-4.7.3-1] [MQTT311-4.7.3-1]
        return Err(TextError::Empty);
    }
    if text.len() > TEXT_BYTES_MAX {
        // [MQTT-4.7.3-3] [MQTT311-4.7.3-3]
        return Err(TextError::TooLong);
    }
    let (null, wildcards) = scan(text.as_bytes());
    if null {
        // The codec has looked already; texts also come from configuration. [MQTT-4.7.3-2]
        // [MQTT311-4.7.3-2]
        return Err(TextError::Null);
    }
    Ok(CheckedText { wildcards })
}

/// Whether there is a null, and whether there is a wildcard. Every publish pays for this, so it
/// works in blocks of one vector register; the last block overlaps the one before.
fn scan(bytes: &[u8]) -> (bool, bool) {
    const BLOCK: usize = 16;

    let scan_all = |bytes: &[u8], (mut null, mut wildcard): (bool, bool)| {
        for &byte in bytes {
            null |= byte == 0;
            wildcard |= (byte == b'+') | (byte == b'#');
        }
        (null, wildcard)
    };
    let Some(last) = bytes.last_chunk::<BLOCK>() else {
        return scan_all(bytes, (false, false));
    };
    let blocks = bytes.as_chunks::<BLOCK>().0;
    let seen = blocks
        .iter()
        .fold((false, false), |seen, block| scan_all(block, seen));
    scan_all(last, seen)
}

pub(crate) fn level_count(text: &str) -> usize {
    1 + text.bytes().filter(|&byte| byte == b'/').count()
}

/// The levels of a topic name or filter, from left to right.
#[derive(Clone, Debug)]
pub struct Levels<'a> {
    rest: Option<&'a str>,
}

impl<'a> Levels<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { rest: Some(text) }
    }

    /// Everything that the iterator has not yielded yet, separators included. `None` at the end.
    #[must_use]
    pub const fn rest(&self) -> Option<&'a str> {
        self.rest
    }
}

impl<'a> Iterator for Levels<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        // Levels are short, so a plain loop beats a vectorized search.
        match rest.bytes().position(|byte| byte == b'/') {
            Some(end) => {
                self.rest = Some(&rest[end + 1..]);
                Some(&rest[..end])
            }
            None => {
                self.rest = None;
                Some(rest)
            }
        }
    }
}

impl FusedIterator for Levels<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;

    /// [MQTT-4.7.0-1] [MQTT311-4.7.1-1] [MQTT-4.7.3-1] [MQTT311-4.7.3-1]
    #[test]
    fn names_are_not_empty_and_have_no_wildcards_or_nulls() {
        let table = [
            ("a", Ok(1)),
            ("/", Ok(2)),
            ("//", Ok(3)),
            ("/finance", Ok(2)),
            ("Accounts payable", Ok(1)),
            ("$SYS/x", Ok(2)),
            ("å/\u{1f426}", Ok(2)),
            ("", Err(NameError::Text(TextError::Empty))),
            ("a\0b", Err(NameError::Text(TextError::Null))),
            ("+", Err(NameError::Wildcard)),
            ("a/b#", Err(NameError::Wildcard)),
            ("sport/+/player", Err(NameError::Wildcard)),
        ];
        for (text, expected) in table {
            assert_eq!(
                TopicName::new(text).map(TopicName::level_count),
                expected,
                "{text:?}"
            );
        }
    }

    /// [MQTT-4.7.3-3] [MQTT311-4.7.3-3]
    #[test]
    fn names_end_at_65_535_bytes() {
        let mut text = String::from_utf8(alloc::vec![b'/'; TEXT_BYTES_MAX]).unwrap();
        assert_eq!(TopicName::new(&text).unwrap().level_count(), 65_536);
        text.push('x');
        assert_eq!(
            TopicName::new(&text),
            Err(NameError::Text(TextError::TooLong))
        );
    }

    /// [MQTT-4.7.0-1] [MQTT311-4.7.1-1] [MQTT-4.7.3-2] [MQTT311-4.7.3-2]
    #[test]
    fn no_place_in_a_name_escapes_the_check() {
        for len in 1..50 {
            for at in 0..len {
                let with = |byte| {
                    let mut text = alloc::vec![b'a'; len];
                    text[at] = byte;
                    let text = String::from_utf8(text).unwrap();
                    TopicName::new(&text).map(|_| ())
                };
                assert_eq!(with(b'/'), Ok(()));
                assert_eq!(with(0), Err(TextError::Null.into()));
                assert_eq!(with(b'+'), Err(NameError::Wildcard));
                assert_eq!(with(b'#'), Err(NameError::Wildcard));
            }
        }
    }

    #[test]
    fn levels_may_be_empty() {
        let levels = |text| TopicName::new(text).unwrap().levels().collect::<Vec<_>>();
        assert_eq!(levels("a/b"), ["a", "b"]);
        assert_eq!(levels("/a//b/"), ["", "a", "", "b", ""]);
        assert_eq!(levels("/"), ["", ""]);
    }
}

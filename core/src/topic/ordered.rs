//! Stored topic names in an order in which the matches of a filter are found by jumping.
//!
//! [`LevelOrder`] puts `/` below every other byte: then names are ordered level by level, and all
//! names below `a` follow `a` without a gap. [`TopicMap`] keeps entries in this order. To find the
//! matches of a filter it looks at an entry, asks [`Seek::decide`], and either has a match or
//! learns the first place behind it where the next one can be:
//!
//! ```text
//! site/+/temperature      site/1/humidity      too low at the third level: to site/1/temperature
//!                         site/1/temperature   a match
//!                         site/1/voltage       too high: past everything below site/1
//!                         site/2/…
//! ```
//!
//! So a search costs its matches and the distinct values at the levels of `+`, not the size of the
//! map.

use crate::topic::filter::TopicFilter;
use crate::topic::name::Levels;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::string::String;
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::iter;
use core::ops::Bound;

/// A text, compared in the order of its levels: `/` is below every other byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelOrder<'a>(pub &'a str);

impl Ord for LevelOrder<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        by_level(self.0.as_bytes(), other.0.as_bytes())
    }
}

fn by_level(ours: &[u8], theirs: &[u8]) -> Ordering {
    let common = common_bytes(ours, theirs);
    match ours.get(common).zip(theirs.get(common)) {
        Some((b'/', _)) => Ordering::Less,
        Some((_, b'/')) => Ordering::Greater,
        Some((one, other)) => one.cmp(other),
        None => ours.len().cmp(&theirs.len()),
    }
}

impl PartialOrd for LevelOrder<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// How many bytes at the beginning are the same. Neighbours have much in common, so first by words.
fn common_bytes(ours: &[u8], theirs: &[u8]) -> usize {
    let words = ours.chunks_exact(8).zip(theirs.chunks_exact(8));
    let start = 8 * words.take_while(|(one, other)| one == other).count();
    let bytes = ours[start..].iter().zip(&theirs[start..]);
    start + bytes.take_while(|(one, other)| one == other).count()
}

/// What an entry says about the search for a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The name matches.
    Match,
    /// It does not, nor does any other in front of this text. The text itself may.
    SkipTo(String),
    /// Neither it nor any behind it matches.
    Done,
}

impl Seek {
    /// Where the first match can be.
    #[must_use]
    pub fn first(filter: TopicFilter<'_>) -> String {
        let mut bound = String::new();
        push_lowest(filter.levels(), &mut bound);
        bound
    }

    /// Decides about one name.
    #[must_use]
    pub fn decide(filter: TopicFilter<'_>, name: &str) -> Self {
        if name.starts_with('$') && filter.starts_with_wildcard() {
            // See `TopicName::is_dollar`. The byte after `$` ends them.
            return Self::SkipTo("%".to_owned());
        }
        let mut patterns = filter.levels();
        let mut levels = Levels::new(name);
        // The end of the last level that stands under a `+`.
        let mut plus_end = None;
        loop {
            let start = level_start(name, &levels);
            match (patterns.next(), levels.next()) {
                (Some("#"), _) | (None, None) => return Self::Match,
                (Some("+"), Some(level)) => plus_end = Some(start + level.len()),
                (Some(pattern), Some(level)) => match level.cmp(pattern) {
                    Ordering::Equal => {}
                    Ordering::Less => {
                        let bound = name[..start].to_owned();
                        return Self::skip_to_lowest(bound, pattern, patterns);
                    }
                    Ordering::Greater => return Self::skip_past(name, plus_end),
                },
                (Some(pattern), None) => {
                    let mut bound = name.to_owned();
                    bound.push('/');
                    return Self::skip_to_lowest(bound, pattern, patterns);
                }
                (None, Some(_)) => return Self::skip_past(name, plus_end),
            }
        }
    }

    fn skip_to_lowest(mut bound: String, pattern: &str, rest: Levels<'_>) -> Self {
        push_lowest(iter::once(pattern).chain(rest), &mut bound);
        Self::SkipTo(bound)
    }

    /// Past everything with the same level under the last `+`.
    fn skip_past(name: &str, plus_end: Option<usize>) -> Self {
        let Some(end) = plus_end else {
            return Self::Done;
        };
        let mut bound = name[..end].to_owned();
        bound.push('\0'); // behind `/`, before all that may stand in a name
        Self::SkipTo(bound)
    }
}

/// Where the next level starts, or where it would when there is none.
fn level_start(name: &str, levels: &Levels<'_>) -> usize {
    levels
        .rest()
        .map_or(name.len(), |rest| name.len() - rest.len())
}

/// Appends the lowest text that these levels of a filter match: the empty level stands for `+`,
/// nothing for `#`.
fn push_lowest<'f>(patterns: impl Iterator<Item = &'f str>, bound: &mut String) {
    let mut separator = "";
    for pattern in patterns {
        if pattern == "#" {
            return; // `a/#` matches `a` too
        }
        bound.push_str(separator);
        if pattern != "+" {
            bound.push_str(pattern);
        }
        separator = "/";
    }
}

/// A key of a [`TopicMap`]: something small that owns a topic name, or shares one.
///
/// The text must not change while the key is in a map.
pub trait TopicKey {
    /// The topic name.
    fn topic(&self) -> &str;

    /// Its bytes, which are what is compared. To be given where the text would be checked each
    /// time.
    fn topic_bytes(&self) -> &[u8] {
        self.topic().as_bytes()
    }
}

impl TopicKey for &str {
    fn topic(&self) -> &str {
        self
    }
}

impl TopicKey for Box<str> {
    fn topic(&self) -> &str {
        self
    }
}

impl TopicKey for Arc<str> {
    fn topic(&self) -> &str {
        self
    }
}

// The next impls let a map with keys `K` be searched with a borrowed text: both are a `dyn
// TopicKey`.

impl Ord for dyn TopicKey + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        by_level(self.topic_bytes(), other.topic_bytes())
    }
}

impl PartialOrd for dyn TopicKey + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn TopicKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.topic_bytes() == other.topic_bytes()
    }
}

impl Eq for dyn TopicKey + '_ {}

/// A key as the tree sees it.
#[derive(Clone, Debug)]
struct ByLevel<K>(K);

impl<'a, K: TopicKey + 'a> Borrow<dyn TopicKey + 'a> for ByLevel<K> {
    fn borrow(&self) -> &(dyn TopicKey + 'a) {
        &self.0
    }
}

impl<K: TopicKey> Ord for ByLevel<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        by_level(self.0.topic_bytes(), other.0.topic_bytes())
    }
}

impl<K: TopicKey> PartialOrd for ByLevel<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: TopicKey> PartialEq for ByLevel<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0.topic_bytes() == other.0.topic_bytes()
    }
}

impl<K: TopicKey> Eq for ByLevel<K> {}

/// How far a search came.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a, K, V> {
    /// The next match. Go on after its topic name.
    Match(&'a K, &'a V),
    /// The steps are used up. Go on after the topic name of this key, which is no match.
    Paused(&'a K),
    /// There are no more.
    Done,
}

/// An ordered map from topic names to values that can be searched with a filter.
///
/// A search holds nothing but the last topic name it saw, so the map may change between its steps:
/// what is put in behind that place is found, what is put in before it is not.
#[derive(Clone, Debug)]
pub struct TopicMap<K, V> {
    entries: BTreeMap<ByLevel<K>, V>,
}

impl<K, V> Default for TopicMap<K, V> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }
}

impl<K: TopicKey, V> TopicMap<K, V> {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }

    /// How many topic names have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of this topic name.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<&V> {
        self.entries.get(query(&topic))
    }

    /// The value of this topic name, to be changed.
    pub fn get_mut(&mut self, topic: &str) -> Option<&mut V> {
        self.entries.get_mut(query(&topic))
    }

    /// The key and the value of this topic name.
    #[must_use]
    pub fn get_key_value(&self, topic: &str) -> Option<(&K, &V)> {
        let (ByLevel(key), value) = self.entries.get_key_value(query(&topic))?;
        Some((key, value))
    }

    /// Puts a value in and answers what it replaced. The key is replaced as well, so that the old
    /// one keeps nothing alive.
    pub fn insert(&mut self, key: K, value: V) -> Option<(K, V)>
    where
        K: Clone,
    {
        // The first search is the only one for a new topic.
        match self.entries.entry(ByLevel(key.clone())) {
            Entry::Vacant(vacant) => {
                vacant.insert(value);
                None
            }
            Entry::Occupied(occupied) => {
                let (ByLevel(old), replaced) = occupied.remove_entry();
                self.entries.insert(ByLevel(key), value);
                Some((old, replaced))
            }
        }
    }

    /// Takes the entry of this topic name out.
    pub fn remove(&mut self, topic: &str) -> Option<(K, V)> {
        let (ByLevel(key), value) = self.entries.remove_entry(query(&topic))?;
        Some((key, value))
    }

    /// All entries, in the order of their levels.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries
            .iter()
            .map(|(ByLevel(key), value)| (key, value))
    }

    /// The entry behind the topic name `after`, or the first. That name itself need not be there.
    #[must_use]
    pub fn next(&self, after: Option<&str>) -> Option<(&K, &V)> {
        match after {
            None => self.iter().next(),
            Some(after) => self.behind(after),
        }
    }

    /// The first match of a filter behind the topic name `after`, or from the start. That name
    /// itself need not be in the map any more.
    #[must_use]
    pub fn next_match(&self, filter: TopicFilter<'_>, after: Option<&str>) -> Option<(&K, &V)> {
        let mut steps = usize::MAX;
        match self.search(filter, after, &mut steps) {
            Found::Match(key, value) => Some((key, value)),
            Found::Paused(_) | Found::Done => None,
        }
    }

    /// Like [`TopicMap::next_match`], but looks at no more than `steps` entries, and counts `steps`
    /// down. A filter such as `+/+/x` that matches nothing may have to look at all of a map: bound
    /// the work with this and go on later. At least one entry is looked at.
    #[must_use]
    pub fn search(
        &self,
        filter: TopicFilter<'_>,
        after: Option<&str>,
        steps: &mut usize,
    ) -> Found<'_, K, V> {
        let mut entry = match after {
            None => self.at_or_behind(&Seek::first(filter)),
            Some(after) => match Seek::decide(filter, after) {
                Seek::Match => self.behind(after),
                Seek::SkipTo(bound) => self.at_or_behind(&bound),
                Seek::Done => None,
            },
        };
        while let Some((key, value)) = entry {
            *steps = steps.saturating_sub(1);
            match Seek::decide(filter, key.topic()) {
                Seek::Match => return Found::Match(key, value),
                Seek::SkipTo(_) if *steps == 0 => return Found::Paused(key),
                Seek::SkipTo(bound) => entry = self.at_or_behind(&bound),
                Seek::Done => return Found::Done,
            }
        }
        Found::Done
    }

    fn at_or_behind(&self, bound: &str) -> Option<(&K, &V)> {
        self.first_from(Bound::Included(query(&bound)))
    }

    fn behind(&self, topic: &str) -> Option<(&K, &V)> {
        self.first_from(Bound::Excluded(query(&topic)))
    }

    fn first_from<'q>(&self, start: Bound<&(dyn TopicKey + 'q)>) -> Option<(&K, &V)>
    where
        K: 'q,
    {
        let range = (start, Bound::Unbounded);
        let mut entries = self.entries.range::<dyn TopicKey + 'q, _>(range);
        let (ByLevel(key), value) = entries.next()?;
        Some((key, value))
    }
}

/// A text as something to look for.
fn query<'q>(text: &'q &str) -> &'q dyn TopicKey {
    text
}

//! The ordered map against a filter over all of its keys.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test")]

use quickcheck::{Arbitrary, Gen, quickcheck};
use std::collections::BTreeSet;
use std::sync::Arc;
use whimbrel_core::topic::{Found, LevelOrder, Seek, TopicFilter, TopicMap, TopicName};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name(String);

#[derive(Clone, Debug)]
struct Filter(String);

/// `!` and `%` lie on both sides of `$`, `-` and `0` on both sides of `/`.
const WORDS: [&str; 10] = ["a", "b", "ab", "", "$x", "$", "!", "%", "a-", "a0"];

fn any_levels(g: &mut Gen, wildcards: bool) -> Vec<String> {
    let count = 1 + usize::arbitrary(g) % 4;
    let mut level = || {
        if wildcards && u8::arbitrary(g) % 3 == 0 {
            return "+".to_owned();
        }
        (*g.choose(&WORDS).unwrap()).to_owned()
    };
    (0..count).map(|_| level()).collect()
}

fn joined(levels: &[String]) -> String {
    let text = levels.join("/");
    if text.is_empty() {
        "/".to_owned()
    } else {
        text
    }
}

impl Arbitrary for Name {
    fn arbitrary(g: &mut Gen) -> Self {
        Self(joined(&any_levels(g, false)))
    }
}

impl Arbitrary for Filter {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut levels = any_levels(g, true);
        if bool::arbitrary(g) {
            levels.push("#".to_owned());
        }
        Self(joined(&levels))
    }
}

fn map(names: &BTreeSet<Name>) -> TopicMap<Box<str>, usize> {
    let mut map = TopicMap::new();
    for (index, Name(text)) in names.iter().enumerate() {
        assert_eq!(map.insert(text.as_str().into(), index), None);
    }
    map
}

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::plain(text).unwrap()
}

fn matching<'n>(names: &'n BTreeSet<Name>, text: &str) -> Vec<&'n str> {
    let matches = |name: &&str| filter(text).matches(TopicName::new(name).unwrap());
    let names = names.iter().map(|name| name.0.as_str());
    let mut found: Vec<_> = names.filter(matches).collect();
    found.sort_unstable_by_key(|name| LevelOrder(name));
    found
}

quickcheck! {
    fn the_order_is_that_of_the_lists_of_levels(one: Name, other: Name) -> bool {
        let levels = |name: &Name| name.0.split('/').map(str::to_owned).collect::<Vec<_>>();
        LevelOrder(&one.0).cmp(&LevelOrder(&other.0)) == levels(&one).cmp(&levels(&other))
    }

    /// [MQTT-4.7.2-1] [MQTT311-4.7.2-1]
    fn stepping_through_matches_finds_them_all(names: BTreeSet<Name>, wanted: Filter) -> bool {
        let map = map(&names);
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        while let Some((key, _)) = map.next_match(filter(&wanted.0), after.as_deref()) {
            found.push(key.to_string());
            after = Some(key.to_string());
        }
        found == matching(&names, &wanted.0)
    }

    fn pausing_after_every_entry_loses_nothing(names: BTreeSet<Name>, wanted: Filter) -> bool {
        let map = map(&names);
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut steps = 1;
            let key = match map.search(filter(&wanted.0), after.as_deref(), &mut steps) {
                Found::Match(key, _) => {
                    found.push(key.to_string());
                    key
                }
                Found::Paused(key) => key,
                Found::Done => break,
            };
            let before = after.replace(key.to_string());
            let onwards = before.is_none_or(|before| LevelOrder(&before) < LevelOrder(key));
            assert!(onwards, "{before:?} {key}", before = after);
        }
        found == matching(&names, &wanted.0)
    }

    /// The place where a search stands need not be in the map, and need not match.
    fn a_search_goes_on_from_any_place(names: BTreeSet<Name>, wanted: Filter, place: Name) -> bool {
        let map = map(&names);
        let next = map.next_match(filter(&wanted.0), Some(&place.0));
        let mut matching = matching(&names, &wanted.0).into_iter();
        let expected = matching.find(|name| LevelOrder(name) > LevelOrder(&place.0));
        next.map(|(key, _)| &**key) == expected
    }

    fn a_skip_goes_forward(wanted: Filter, place: Name) -> bool {
        match Seek::decide(filter(&wanted.0), &place.0) {
            Seek::Match => filter(&wanted.0).matches(TopicName::new(&place.0).unwrap()),
            Seek::SkipTo(bound) => LevelOrder(&bound) > LevelOrder(&place.0),
            Seek::Done => true,
        }
    }
}

#[test]
fn a_search_does_not_look_at_what_it_can_jump_over() {
    let mut map = TopicMap::new();
    for site in 0..100 {
        for sensor in 0..100 {
            map.insert(Box::from(format!("site/{site}/{sensor}")), ());
        }
    }
    let mut after = None;
    let mut steps = usize::MAX;
    let mut found = 0;
    let wanted = filter("site/+/42");
    while let Found::Match(key, ()) = map.search(wanted, after.as_deref(), &mut steps) {
        after = Some(key.clone());
        found += 1;
    }
    assert_eq!(found, 100);
    // For each site: its first sensor, the match, the one behind it.
    let looked_at = usize::MAX - steps;
    assert!(looked_at <= 3 * 100 + 1, "{looked_at}");
}

#[test]
fn replacing_an_entry_replaces_its_key() {
    let mut map = TopicMap::new();
    let old: Arc<str> = "a/b".into();
    let new: Arc<str> = "a/b".into();
    assert_eq!(map.insert(Arc::clone(&old), 1), None);
    assert_eq!(map.insert(Arc::clone(&new), 2), Some((Arc::clone(&old), 1)));
    assert_eq!((Arc::strong_count(&old), Arc::strong_count(&new)), (1, 2));
    *map.get_mut("a/b").unwrap() += 1;
    assert_eq!(
        (map.get("a/b"), map.get("a"), map.len()),
        (Some(&3), None, 1)
    );
    assert_eq!(map.remove("a/b"), Some((new, 3)));
    assert!(map.is_empty());
}

#[test]
fn the_deepest_names_are_found() {
    let slashes = "/".repeat(65_535);
    let wildcards = "+/".repeat(32_767) + "+";
    let mut map = TopicMap::new();
    map.insert(slashes.as_str(), 1);
    map.insert(&slashes[..32_767], 2);
    let next = |text, after| map.next_match(filter(text), after).map(|(_, value)| *value);
    assert_eq!(next(&wildcards, None), Some(2));
    assert_eq!(next(&wildcards, Some(&slashes[..32_767])), None);
    assert_eq!(next("/#", Some(&slashes[..32_767])), Some(1));
}

//! The subscription index against a list that is searched with the reference matcher.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test")]

use quickcheck::{Arbitrary, Gen, quickcheck};
use std::collections::{BTreeMap, BTreeSet};
use whimbrel_core::topic::{
    Counts, Matches, ParsedFilter, Subscriber, SubscriberKey, Subscription, Subscriptions,
    TopicFilter, TopicName,
};

/// Filter, share name, subscriber.
type Place = (String, Option<String>, u32);

/// What a match finds: subscribers with their identifiers, and groups as filter and share name.
type Answer = (Vec<(u32, u32)>, Vec<(String, String)>);

/// Plain and shared subscriptions with their identifiers: what the index stands for.
#[derive(Default)]
struct Model(BTreeMap<Place, u32>);

impl Model {
    fn matches(&self, name: TopicName<'_>) -> Answer {
        let mut subscribers = Vec::new();
        let mut groups = BTreeSet::new();
        for ((text, share, key), &identifier) in &self.0 {
            if !filter(text).matches(name) {
                continue;
            }
            match share {
                None => subscribers.push((*key, identifier)),
                Some(share) => _ = groups.insert((text.clone(), share.clone())),
            }
        }
        subscribers.sort_unstable();
        (subscribers, groups.into_iter().collect())
    }

    fn count(&self, text: &str, share: Option<&str>) -> usize {
        let of_it = |place: &&Place| place.0 == text && place.1.as_deref() == share;
        self.0.keys().filter(of_it).count()
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Insert {
        text: String,
        key: u32,
        identifier: u32,
    },
    Remove {
        text: String,
        key: u32,
    },
}

/// Few levels, few words, few keys: operations shall meet.
impl Arbitrary for Operation {
    fn arbitrary(g: &mut Gen) -> Self {
        let share = *g.choose(&["", "", "$share/g/", "$share/h/"]).unwrap();
        let text = format!("{share}{}", any_filter(g));
        let key = u32::arbitrary(g) % 4;
        if u8::arbitrary(g) % 5 < 3 {
            let identifier = u32::arbitrary(g) % 3;
            Self::Insert {
                text,
                key,
                identifier,
            }
        } else {
            Self::Remove { text, key }
        }
    }
}

#[derive(Clone, Debug)]
struct Name(String);

impl Arbitrary for Name {
    fn arbitrary(g: &mut Gen) -> Self {
        let words = ["a", "b", "", "$x", "a level longer than a node", "c"];
        Self(joined(&any_levels(g, &words)))
    }
}

fn any_filter(g: &mut Gen) -> String {
    let words = ["a", "b", "", "$x", "+", "a level longer than a node", "+"];
    let mut levels = any_levels(g, &words);
    if u8::arbitrary(g) % 3 == 0 {
        let last = levels.len() - 1;
        levels[last] = "#".to_owned();
    }
    joined(&levels)
}

fn any_levels(g: &mut Gen, words: &[&str]) -> Vec<String> {
    let count = 1 + usize::arbitrary(g) % 4;
    let level = |_| (*g.choose(words).unwrap()).to_owned();
    (0..count).map(level).collect()
}

fn joined(levels: &[String]) -> String {
    let text = levels.join("/");
    if text.is_empty() {
        "/".to_owned()
    } else {
        text
    }
}

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::plain(text).unwrap()
}

fn name(text: &str) -> TopicName<'_> {
    TopicName::new(text).unwrap()
}

fn with_identifier(identifier: u32) -> Subscription {
    Subscription {
        identifier,
        ..Subscription::default()
    }
}

/// Applies one operation to both and compares what they say about it.
fn apply(index: &mut Subscriptions, model: &mut Model, operation: &Operation) {
    let (Operation::Insert { text, key, .. } | Operation::Remove { text, key }) = operation;
    let ParsedFilter { share, filter } = TopicFilter::parse(text).unwrap();
    let share_text = share.map(|share| share.as_str());
    let place = (
        filter.as_str().to_owned(),
        share_text.map(str::to_owned),
        *key,
    );
    let before = model.count(filter.as_str(), share_text);
    let generation = index.generation();
    let key = SubscriberKey(*key);

    if let &Operation::Insert { identifier, .. } = operation {
        let subscription = with_identifier(identifier);
        let (replaced, first) = if let Some(share) = share {
            let inserted = index.insert_shared(filter, share, key, subscription);
            let expected = Some((inserted.group, subscription));
            assert_eq!(index.get_shared(filter, share, key), expected);
            (inserted.replaced, inserted.first)
        } else {
            let inserted = index.insert(filter, key, subscription);
            let expected = Some((inserted.filter, subscription));
            assert_eq!(index.get(filter, key), expected);
            (inserted.replaced, inserted.first)
        };
        let expected = model.0.insert(place, identifier).map(with_identifier);
        assert_eq!(replaced, expected);
        assert_eq!(first, before == 0);
        let same = replaced == Some(subscription);
        assert_eq!(index.generation() == generation, same);
    } else {
        let removed = if let Some(share) = share {
            let removed = index.remove_shared(filter, share, key);
            removed.map(|removed| (removed.subscription, removed.last, removed.member_count))
        } else {
            let removed = index.remove(filter, key);
            removed.map(|removed| (removed.subscription, removed.last, before - 1))
        };
        let expected = model.0.remove(&place).map(with_identifier);
        let expected = expected.map(|subscription| (subscription, before == 1, before - 1));
        assert_eq!(removed, expected);
        assert_eq!(index.generation() == generation, removed.is_none());
    }
}

/// What the index answers, in the form of the model.
fn answer(index: &Subscriptions, matches: &Matches) -> Answer {
    let pair = |one: &Subscriber| (one.key.0, one.subscription.identifier);
    let mut subscribers: Vec<_> = matches.subscribers.iter().map(pair).collect();
    subscribers.sort_unstable();
    let mut groups = Vec::new();
    for &id in &matches.groups {
        let group = index.group(id).unwrap();
        let mut text = String::new();
        index.filter(group.filter(), &mut text);
        groups.push((text, group.share().as_str().to_owned()));
    }
    groups.sort_unstable();
    (subscribers, groups)
}

fn assert_same_dump(index: &Subscriptions, model: &Model) {
    let mut dumped = Vec::new();
    index.for_each_filter(|filter, share, count| {
        assert_eq!(TopicFilter::plain(filter.as_str()), Ok(filter));
        let share = share.map(|share| share.as_str().to_owned());
        dumped.push((filter.as_str().to_owned(), share, count));
    });
    dumped.sort_unstable();
    let places = model.0.keys();
    let places = places.map(|(text, share, _)| (text.clone(), share.clone()));
    let places = places.collect::<BTreeSet<_>>().into_iter();
    let expected = places.map(|(text, share)| {
        let count = model.count(&text, share.as_deref());
        (text, share, count)
    });
    assert!(dumped.into_iter().eq(expected));
}

fn remove_all(index: &mut Subscriptions, model: &mut Model) {
    let places: Vec<_> = model.0.keys().cloned().collect();
    for (text, share, key) in places {
        let prefix = share.map(|share| format!("$share/{share}/"));
        let text = prefix.unwrap_or_default() + &text;
        apply(index, model, &Operation::Remove { text, key });
    }
}

quickcheck! {
    /// [MQTT-4.7.2-1] [MQTT311-4.7.2-1] [MQTT-4.7.3-4] [MQTT311-4.7.3-4]
    fn the_index_finds_what_the_matcher_finds(
        operations: Vec<Operation>,
        names: Vec<Name>,
        seed: u64
    ) -> bool {
        let mut index = Subscriptions::new(seed);
        let mut model = Model::default();
        let mut matches = Matches::new();
        for operation in &operations {
            apply(&mut index, &mut model, operation);
            for Name(text) in names.iter().take(5) {
                index.matches(name(text), &mut matches);
                assert_eq!(answer(&index, &matches), model.matches(name(text)), "{text}");
            }
        }
        assert_eq!(index.len(), model.0.len());
        assert_same_dump(&index, &model);
        remove_all(&mut index, &mut model);
        index.counts() == Counts::default()
    }

    fn order_does_not_depend_on_the_seed(
        operations: Vec<Operation>,
        topic: Name,
        seeds: (u64, u64)
    ) -> bool {
        let run = |seed| {
            let mut index = Subscriptions::new(seed);
            let mut model = Model::default();
            for operation in &operations {
                apply(&mut index, &mut model, operation);
            }
            let mut matches = Matches::new();
            index.matches(name(&topic.0), &mut matches);
            (matches.subscribers, matches.groups)
        };
        run(seeds.0) == run(seeds.1)
    }
}

/// Shared and plain subscriptions of one filter are different things: CVE-2024-8376.
#[test]
fn removing_a_plain_subscription_leaves_the_shared_one() {
    let mut index = Subscriptions::new(1);
    let key = SubscriberKey(1);
    for text in ["a/b", "a/+", "#"] {
        let shared = format!("$share/g/{text}");
        let ParsedFilter { share, filter } = TopicFilter::parse(&shared).unwrap();
        let share = share.unwrap();
        let member = index.insert_shared(filter, share, key, with_identifier(1));
        assert_eq!(index.remove(filter, key), None);
        assert_eq!(index.remove_id(member.filter, key), None);
        let plain = index.insert(filter, key, with_identifier(2));
        assert_eq!(plain.filter, member.filter);
        assert!(index.remove_shared(filter, share, key).unwrap().last);
        assert_eq!(index.remove_shared(filter, share, key), None);
        assert_eq!(index.remove_member(member.group, key), None);
        assert!(index.group(member.group).is_none());
        assert_eq!(index.get_id(plain.filter, key), Some(with_identifier(2)));
        assert!(index.remove_id(plain.filter, key).unwrap().last);
        assert_eq!(index.counts(), Counts::default());
    }
}

#[test]
fn the_deepest_names_and_filters_need_no_stack() {
    let work = || {
        let mut index = Subscriptions::new(1);
        let slashes = "/".repeat(65_535);
        let wildcards = "+/".repeat(32_767) + "+";
        let hash = "/".repeat(65_534) + "#";
        let filters = [slashes.as_str(), &wildcards, &hash, "#", "/+/#"];
        for (key, text) in (0..).zip(filters) {
            index.insert(filter(text), SubscriberKey(key), with_identifier(0));
        }
        let mut matches = Matches::new();
        let mut keys = |text: &str| {
            index.matches(name(text), &mut matches);
            let keys = matches.subscribers.iter().map(|one| one.key.0);
            keys.collect::<BTreeSet<_>>()
        };
        assert_eq!(keys(&slashes), BTreeSet::from([0, 2, 3, 4]));
        assert_eq!(keys(&slashes[..32_767]), BTreeSet::from([1, 3, 4]));
        assert_eq!(keys(&slashes[..65_533]), BTreeSet::from([2, 3, 4]));
        for (key, text) in (0..).zip(filters) {
            assert!(index.remove(filter(text), SubscriberKey(key)).is_some());
        }
        assert_eq!(index.counts(), Counts::default());
    };
    let small_stack = std::thread::Builder::new().stack_size(128 * 1024);
    small_stack.spawn(work).unwrap().join().unwrap();
}

#[test]
fn many_subscribers_of_one_filter_come_in_order_and_leave() {
    let mut index = Subscriptions::new(1);
    let keys: Vec<_> = (0..10_000_u32).map(|key| key * 7_919 % 10_000).collect();
    for &key in &keys {
        let inserted = index.insert(filter("#"), SubscriberKey(key), with_identifier(0));
        assert_eq!(inserted.first, index.len() == 1);
    }
    let mut matches = Matches::new();
    index.matches(name("a"), &mut matches);
    let found = matches.subscribers.iter().map(|one| one.key.0);
    assert!(found.eq(0..10_000));
    for &key in &keys {
        let removed = index.remove(filter("#"), SubscriberKey(key)).unwrap();
        assert_eq!(removed.last, index.is_empty());
    }
    index.matches(name("a"), &mut matches);
    assert!(matches.is_empty());
}

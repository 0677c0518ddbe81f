//! The subscription index and the ordered map against lists that are searched from front to back.

use super::script::Script;
use std::collections::BTreeMap;
use whimbrel_core::codec::packet::{QoS, SubscribeOptions};
use whimbrel_core::topic::{
    Matches, Subscriber, SubscriberKey, Subscription, Subscriptions, TopicFilter, TopicMap,
    TopicName,
};

/// Few letters, so that texts meet; and all that has a meaning.
const ALPHABET: [char; 16] = [
    'a',
    'a',
    'b',
    'b',
    '/',
    '/',
    '/',
    '+',
    '+',
    '#',
    '#',
    '$',
    'é',
    ' ',
    '\u{10FFFF}',
    '\0',
];

/// Everything subscribed to: filter, share name, subscriber.
type Naive = BTreeMap<(String, Option<String>, u32), Subscription>;

/// A story of subscribing, unsubscribing, storing and looking up.
pub fn filter(data: &[u8]) {
    let mut script = Script::new(data);
    let mut index = Subscriptions::new(u64::from(script.u8()));
    let mut naive = Naive::new();
    let mut stored = TopicMap::<Box<str>, u8>::new();
    let mut matches = Matches::new();
    while !script.is_over() {
        let key = script.u8();
        let what = key >> 5;
        let key = u32::from(key & 0b111);
        let text = text(&mut script);
        match what {
            0..=2 => subscribe(&mut index, &mut naive, &text, key),
            3 => unsubscribe(&mut index, &mut naive, &text, key),
            4 => {
                if TopicName::new(&text).is_ok() {
                    stored.insert(text.into(), script.u8());
                }
            }
            5 => drop(stored.remove(&text)),
            6 => check_name(&index, &naive, &text, &mut matches),
            _ => check_filter(&stored, &text),
        }
        assert_eq!(index.len(), naive.len());
    }
    for name in ["a", "a/b", "/", "$a/b", "b//a"] {
        check_name(&index, &naive, name, &mut matches);
    }
    for filter in ["#", "+/#", "a/+", "$a/#"] {
        check_filter(&stored, filter);
    }
    while let Some(((filter, share, key), _)) = naive.pop_first() {
        remove(&mut index, &filter, share.as_deref(), key).expect("it is there");
    }
    assert!(index.is_empty());
    let counts = index.counts();
    assert_eq!((counts.filters, counts.exact, counts.groups), (0, 0, 0));
}

fn text(script: &mut Script<'_>) -> String {
    let length = script.below(24);
    let letters = script.take(length).iter();
    letters
        .map(|byte| ALPHABET[usize::from(byte & 15)])
        .collect()
}

fn subscribe(index: &mut Subscriptions, naive: &mut Naive, text: &str, key: u32) {
    let valid = naive_filter(text);
    assert_eq!(TopicFilter::plain(text).is_ok(), valid, "{text:?}");
    // Every third letter count makes it a shared one.
    let shared = format!("$share/{}/{text}", ["x", "y"][text.len() % 2]);
    let whole = if text.len() % 3 == 2 { &shared } else { text };
    let subscription = Subscription {
        options: SubscribeOptions {
            maximum_qos: [QoS::AtMostOnce, QoS::ExactlyOnce][text.len() & 1],
            ..SubscribeOptions::default()
        },
        identifier: key * 7,
    };
    let Ok(parsed) = TopicFilter::parse(whole) else {
        assert!(
            !valid || text.starts_with("$share/"),
            "{whole:?} is refused"
        );
        return;
    };
    assert!(naive_filter(parsed.filter.as_str()), "{whole:?} is taken");
    let share = parsed.share.map(|share| share.as_str().to_owned());
    let entry = (parsed.filter.as_str().to_owned(), share, key);
    let key = SubscriberKey(key);
    let replaced = match parsed.share {
        None => index.insert(parsed.filter, key, subscription).replaced,
        Some(share) => {
            let inserted = index.insert_shared(parsed.filter, share, key, subscription);
            inserted.replaced
        }
    };
    assert_eq!(replaced, naive.insert(entry, subscription));
}

fn unsubscribe(index: &mut Subscriptions, naive: &mut Naive, text: &str, key: u32) {
    // One that is there, if the text names none.
    let named = naive.keys().find(|entry| entry.0 == text && entry.2 == key);
    let Some(entry) = named.or_else(|| naive.keys().next()).cloned() else {
        return;
    };
    let expected = naive.remove(&entry);
    let (filter, share, key) = entry;
    assert_eq!(remove(index, &filter, share.as_deref(), key), expected);
    assert_eq!(
        remove(index, &filter, share.as_deref(), key),
        None,
        "removed once"
    );
}

fn remove(
    index: &mut Subscriptions,
    filter: &str,
    share: Option<&str>,
    key: u32,
) -> Option<Subscription> {
    let whole = share.map_or_else(
        || filter.to_owned(),
        |share| format!("$share/{share}/{filter}"),
    );
    // The literal text `$share/…` is a filter in 3.x; here only the parsed form is used.
    let parsed = TopicFilter::parse(&whole).expect("it was subscribed to");
    match parsed.share {
        None => index
            .remove(parsed.filter, SubscriberKey(key))
            .map(|r| r.subscription),
        Some(share) => {
            let removed = index.remove_shared(parsed.filter, share, SubscriberKey(key));
            removed.map(|r| r.subscription)
        }
    }
}

fn check_name(index: &Subscriptions, naive: &Naive, text: &str, matches: &mut Matches) {
    let valid = !text.is_empty() && !text.contains(['+', '#', '\0']);
    let Ok(name) = TopicName::new(text) else {
        assert!(!valid, "{text:?} is refused");
        return;
    };
    assert!(valid, "{text:?} is taken");
    index.matches(name, matches);
    let mut plain: Vec<Subscriber> = matches.subscribers.clone();
    let mut groups: Vec<(String, String)> = Vec::new();
    for group in &matches.groups {
        let group = index.group(*group).expect("what matches exists");
        let mut filter = String::new();
        index.filter(group.filter(), &mut filter);
        groups.push((filter, group.share().as_str().to_owned()));
    }
    let wanted = naive
        .iter()
        .filter(|((filter, ..), _)| naive_matches(filter, text));
    let (mut expected, mut expected_groups) = (Vec::new(), Vec::new());
    for ((filter, share, key), &subscription) in wanted {
        match share {
            None => expected.push(Subscriber {
                key: SubscriberKey(*key),
                subscription,
            }),
            Some(share) => expected_groups.push((filter.clone(), share.clone())),
        }
    }
    expected_groups.dedup();
    let by_key = |s: &Subscriber| (s.key, s.subscription.options.maximum_qos);
    plain.sort_by_key(by_key);
    expected.sort_by_key(by_key);
    groups.sort();
    assert_eq!(plain, expected, "{text:?}");
    assert_eq!(groups, expected_groups, "{text:?}");
}

fn check_filter(stored: &TopicMap<Box<str>, u8>, text: &str) {
    let Ok(filter) = TopicFilter::plain(text) else {
        return;
    };
    let mut found = Vec::new();
    let mut after: Option<&str> = None;
    while let Some((name, _)) = stored.next_match(filter, after) {
        found.push(&**name);
        after = Some(name);
    }
    let mut expected: Vec<&str> = stored.iter().map(|(name, _)| &**name).collect();
    assert_eq!(expected.len(), stored.len());
    expected.retain(|name| naive_matches(text, name));
    assert_eq!(found, expected, "{text:?}");
}

/// Whether a text is a filter, level by level.
fn naive_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let last = levels.len() - 1;
    let fits = |(at, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => at == last,
        level => !level.contains(['+', '#', '\0']),
    };
    !text.is_empty() && levels.iter().enumerate().all(fits)
}

/// Whether a filter matches a name, level by level.
pub(super) fn naive_matches(filter: &str, name: &str) -> bool {
    let wild = filter.starts_with(['+', '#']);
    if name.starts_with('$') && wild {
        return false;
    }
    let (mut filter, mut name) = (filter.split('/'), name.split('/'));
    loop {
        match (filter.next(), name.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

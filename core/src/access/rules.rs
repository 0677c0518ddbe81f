//! The rules together, and how they decide.
//!
//! Rules are looked at in their order, and the first that matches decides; nothing is allowed that
//! no rule allows. A topic is a filter that matches one topic, so there is one way of deciding, for
//! messages and for subscriptions alike: how a rule relates to a filter (`relate`).
//!
//! Whatever is doubtful counts against the client: a wildcard at the first level of a rule that
//! denies covers `$`-topics, one of a rule that allows does not; and who has a name that cannot
//! stand in a pattern is denied what a denying pattern could have meant.

use crate::access::identity::Certificate;
use crate::access::rule::{
    Effect, Name, Operation, Pattern, Piece, Placeholder, Rule, Who, pieces,
};
use crate::state::{Reader, State, Writer};
use crate::topic::filter::TopicFilter;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

crate::state::state!(enum WideSubscriptions { 0 Refuse, 1 Filter });
crate::state::state!(Group { name, users });

/// What a subscription to more than may be received is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WideSubscriptions {
    /// Nothing: it is refused. A client learns at once that it will not get what it asks for.
    #[default]
    Refuse,
    /// It is granted, and each message is looked at before it is delivered. Only a subscription
    /// that nothing could come by is refused. This is what mosquitto does.
    Filter,
}

/// Rules as they were written, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Groups that users are in, beside those that a verdict grants.
    pub groups: Vec<Group>,
    /// What a subscription to more than may be received is worth.
    pub wide_subscriptions: WideSubscriptions,
}

/// A group and the users in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Who is in it.
    pub users: Vec<Name>,
}

/// Rules, ready to decide. Those about named users or clients are looked at for these alone, so
/// that a decision costs what concerns the one client, however many the others are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    by_user: BTreeMap<Box<str>, Vec<u32>>,
    by_client: BTreeMap<Box<str>, Vec<u32>>,
    others: Vec<u32>,
    groups: Vec<Group>,
    wide_subscriptions: WideSubscriptions,
}

/// As they were written; the rest follows from that.
impl State for Rules {
    fn save(&self, to: &mut Writer<'_>) {
        let Self {
            rules,
            by_user: _,
            by_client: _,
            others: _,
            groups,
            wide_subscriptions,
        } = self;
        rules.save(to);
        groups.save(to);
        wide_subscriptions.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self::new(RuleSet {
            rules: State::load(from)?,
            groups: State::load(from)?,
            wide_subscriptions: State::load(from)?,
        }))
    }
}

/// Who does something: what is known of a client when a decision about it is made.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The verified user; `None` is anonymous.
    pub user: Option<&'a str>,
    /// The client identifier.
    pub client_id: &'a str,
    /// The namespace it lives in.
    pub tenant: Option<&'a str>,
    /// The groups that its verdict granted.
    pub groups: &'a [String],
    /// Rules of its own, asked before all others.
    pub rules: &'a [Rule],
    /// Where it comes from. `None` when that is no longer known, because the broker has been
    /// restarted since: what was allowed then is not denied for what has been forgotten.
    pub from: Option<Origin<'a>>,
}

/// Where a client comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// Its address, if the transport has one.
    pub address: Option<IpAddr>,
    /// The listener it came by.
    pub listener: u16,
    /// What its certificate says, if it has shown one.
    pub certificate: Option<&'a Certificate>,
}

/// How much of what was asked for is allowed, and the rule that said so; `None` when no rule spoke,
/// and nothing is allowed therefore.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision<'a> {
    /// All of it, by this rule.
    Allowed(&'a Rule),
    /// Not all of it. Only a subscription can be: a rule speaks about some of the topics that it
    /// matches.
    Partly(&'a Rule),
    /// None of it.
    Denied(Option<&'a Rule>),
}

impl Decision<'_> {
    /// Whether all of it is allowed.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

impl Rules {
    /// Makes them ready.
    #[must_use]
    pub fn new(set: RuleSet) -> Self {
        let mut rules = Self {
            groups: set.groups,
            wide_subscriptions: set.wide_subscriptions,
            ..Self::default()
        };
        for (rule, number) in set.rules.iter().zip(0..) {
            let Who { users, clients, .. } = &rule.who;
            let (index, names) = if let Some(users) = whole_names(users) {
                (&mut rules.by_user, users)
            } else if let Some(clients) = whole_names(clients) {
                (&mut rules.by_client, clients)
            } else {
                rules.others.push(number);
                continue;
            };
            for name in names {
                let numbers = index.entry(name.into()).or_default();
                // A name may have been written twice.
                if numbers.last() != Some(&number) {
                    numbers.push(number);
                }
            }
        }
        rules.rules = set.rules;
        rules
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none; then nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What a subscription to more than may be received is worth.
    #[must_use]
    pub const fn wide_subscriptions(&self) -> WideSubscriptions {
        self.wide_subscriptions
    }

    /// Decides whether this may be done with all topics that the filter matches; with one topic, if
    /// it has no wildcards.
    #[must_use]
    pub fn decide<'a>(
        &'a self,
        subject: &Subject<'a>,
        operation: Operation,
        filter: TopicFilter<'_>,
    ) -> Decision<'a> {
        let concerned = self.candidates(subject);
        let concerned = concerned.filter(|rule| self.concerns(rule, subject));
        first_match(
            subject.rules.iter().chain(concerned),
            subject,
            operation,
            filter,
        )
    }

    /// The rules that may concern somebody, in their order.
    fn candidates(&self, subject: &Subject<'_>) -> impl Iterator<Item = &Rule> {
        let of_user = subject.user.and_then(|user| self.by_user.get(user));
        let of_client = self.by_client.get(subject.client_id);
        let mut lists = [
            of_user.map_or(&[][..], Vec::as_slice),
            of_client.map_or(&[][..], Vec::as_slice),
            self.others.as_slice(),
        ];
        core::iter::from_fn(move || {
            let firsts = lists.iter_mut().filter(|list| !list.is_empty());
            let next = firsts.min_by_key(|list| list[0])?;
            let number = next.split_off_first()?;
            self.rules.get(*number as usize)
        })
    }

    /// Whether a rule is about this client.
    fn concerns(&self, rule: &Rule, subject: &Subject<'_>) -> bool {
        let who = &rule.who;
        let is_user = |names: &[Name]| subject.user.is_some_and(|user| any(names, user));
        if !(who.users.is_empty() || is_user(&who.users))
            || !(who.clients.is_empty() || any(&who.clients, subject.client_id))
            || !(who.tenants.is_empty()
                || subject.tenant.is_some_and(|name| any(&who.tenants, name)))
            || who
                .authenticated
                .is_some_and(|wanted| wanted != subject.user.is_some())
        {
            return false;
        }
        let is_in_group = || {
            let granted = || subject.groups.iter().any(|group| any(&who.groups, group));
            let mut named = self
                .groups
                .iter()
                .filter(|group| any(&who.groups, &group.name));
            granted() || named.any(|group| is_user(&group.users))
        };
        let Some(from) = subject.from else {
            // Forgotten: whatever was allowed by it was allowed rightly.
            let asks_for_more = !who.listeners.is_empty()
                || !who.addresses.is_empty()
                || !who.certificates.is_empty()
                || !who.organizations.is_empty();
            let is_member = who.groups.is_empty() || is_in_group();
            return match rule.effect {
                Effect::Allow => true,
                Effect::Deny => is_member && !asks_for_more,
            };
        };
        if !(who.groups.is_empty() || is_in_group())
            || !(who.listeners.is_empty() || who.listeners.contains(&from.listener))
        {
            return false;
        }
        let is_at = |address| {
            who.addresses
                .iter()
                .any(|network| network.contains(address))
        };
        if !who.addresses.is_empty() && !from.address.is_some_and(is_at) {
            return false;
        }
        if who.certificates.is_empty() && who.organizations.is_empty() {
            return true;
        }
        let Some(certificate) = from.certificate else {
            return false;
        };
        let mut names = certificate
            .common_name()
            .into_iter()
            .chain(certificate.alternative_names());
        let is_of = |organization| any(&who.organizations, organization);
        (who.certificates.is_empty() || names.any(|name| any(&who.certificates, name)))
            && (who.organizations.is_empty() || certificate.organization().is_some_and(is_of))
    }
}

fn any(names: &[Name], text: &str) -> bool {
    names.iter().any(|name| name.matches(text))
}

/// The names, if there are some and each means one alone.
fn whole_names(names: &[Name]) -> Option<impl Iterator<Item = &str>> {
    let all = !names.is_empty() && names.iter().all(|name| name.whole().is_some());
    all.then(|| names.iter().filter_map(Name::whole))
}

/// The first rule that speaks about a topic decides for that topic. All topics of a filter are
/// allowed when a rule allows all of them and no earlier one denies some.
pub(crate) fn first_match<'a>(
    rules: impl Iterator<Item = &'a Rule>,
    subject: &Subject<'_>,
    operation: Operation,
    filter: TopicFilter<'_>,
) -> Decision<'a> {
    let (mut allows_some, mut denies_some) = (None, None);
    for rule in rules.filter(|rule| rule.operations.has(operation)) {
        let relations = rule.topics.iter();
        let relations = relations.map(|topic| relate(topic, rule.effect, subject, filter));
        match (relations.max().unwrap_or(Relation::Apart), rule.effect) {
            (Relation::Apart, _) => {}
            (Relation::Overlaps, Effect::Allow) => {
                allows_some.get_or_insert(rule);
            }
            (Relation::Overlaps, Effect::Deny) => {
                denies_some.get_or_insert(rule);
            }
            (Relation::Covers, Effect::Allow) => {
                return denies_some.map_or(Decision::Allowed(rule), Decision::Partly);
            }
            (Relation::Covers, Effect::Deny) => {
                return match allows_some {
                    Some(_) => Decision::Partly(rule),
                    None => Decision::Denied(Some(rule)),
                };
            }
        }
    }
    match allows_some {
        Some(rule) => Decision::Partly(denies_some.unwrap_or(rule)),
        None => Decision::Denied(denies_some),
    }
}

/// How the topics that a pattern means relate to those that a filter matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Relation {
    /// No topic is in both.
    Apart,
    /// Some are.
    Overlaps,
    /// Every topic of the filter is meant.
    Covers,
}

/// Compares a pattern with a filter, level by level.
fn relate(
    pattern: &Pattern,
    effect: Effect,
    subject: &Subject<'_>,
    filter: TopicFilter<'_>,
) -> Relation {
    let (mut ours, mut theirs) = (pattern.as_str().split('/'), filter.levels());
    let mut relation = Relation::Covers;
    let mut is_first = true;
    loop {
        let (our, their) = (ours.next(), theirs.next());
        // No wildcard of a subscription matches a first level with `$`, and none of a rule that
        // allows; in one that denies it does.
        if is_first {
            let meets = |wildcard: Option<&str>, level: Option<&str>| {
                matches!(wildcard, Some("+" | "#")) && level.is_some_and(|l| l.starts_with('$'))
            };
            if meets(their, our) || (effect == Effect::Allow && meets(our, their)) {
                return Relation::Apart;
            }
        }
        let fit = match our {
            Some(level) if pattern.has_placeholders() => fit(level, subject, is_first),
            Some(_) | None => Fit::Text,
        };
        match (fit, effect) {
            (Fit::Text, _) => {}
            (Fit::Absent, _) | (Fit::Unfit, Effect::Allow) => return Relation::Apart,
            (Fit::Unfit, Effect::Deny) => return relation,
        }
        match (our, their) {
            (Some("#"), _) | (None, None) => return relation,
            (_, Some("#")) => return Relation::Overlaps,
            (Some("+"), Some(_)) => {}
            (Some(_), Some("+")) => relation = Relation::Overlaps,
            (Some(our), Some(their)) if our == their && !pattern.has_placeholders() => {}
            (Some(our), Some(their)) if pattern.has_placeholders() && says(our, subject, their) => {
            }
            (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => return Relation::Apart,
        }
        is_first = false;
    }
}

/// Whether what stands for the placeholders of a level may stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It may, or there are none.
    Text,
    /// The client has no such thing, as an anonymous one has no user.
    Absent,
    /// It would make a wildcard, another level, or a `$`-topic.
    Unfit,
}

pub(crate) fn fit(level: &str, subject: &Subject<'_>, is_first: bool) -> Fit {
    let mut is_start = is_first;
    let mut fit = Fit::Text;
    for piece in pieces(level) {
        if let Piece::Placeholder(placeholder) = piece {
            let Some(value) = value(placeholder, subject) else {
                return Fit::Absent;
            };
            let is_unfit = value.is_empty()
                || value.contains(['+', '#', '/', '\0'])
                || (is_start && value.starts_with('$'));
            if is_unfit {
                fit = Fit::Unfit;
            }
        }
        is_start = false;
    }
    fit
}

pub(crate) const fn value<'a>(placeholder: Placeholder, subject: &Subject<'a>) -> Option<&'a str> {
    match placeholder {
        Placeholder::User => subject.user,
        Placeholder::Client => Some(subject.client_id),
        Placeholder::Tenant => subject.tenant,
    }
}

/// Whether a level of a pattern, with everything filled in, is this text.
fn says(level: &str, subject: &Subject<'_>, text: &str) -> bool {
    let mut rest = text;
    for piece in pieces(level) {
        let part = match piece {
            Piece::Text(part) => part,
            Piece::Placeholder(placeholder) => value(placeholder, subject).unwrap_or_default(),
        };
        match rest.strip_prefix(part) {
            Some(later) => rest = later,
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::rule::Operations;
    use crate::topic::name::TopicName;

    const ANYBODY: Subject<'static> = Subject {
        user: Some("u"),
        client_id: "c",
        tenant: Some("t"),
        groups: &[],
        rules: &[],
        from: None,
    };

    fn relation(pattern: &str, effect: Effect, filter: &str) -> Relation {
        let pattern = Pattern::new(pattern).unwrap();
        relate(
            &pattern,
            effect,
            &ANYBODY,
            TopicFilter::plain(filter).unwrap(),
        )
    }

    #[test]
    fn patterns_relate_to_filters_as_sets_of_topics() {
        use Relation::{Apart, Covers, Overlaps};
        for (pattern, filter, expected) in [
            ("a/b", "a/b", Covers),
            ("a/b", "a/+", Overlaps),
            ("a/b", "a/#", Overlaps),
            ("a/b", "#", Overlaps),
            ("a", "a/#", Overlaps),
            ("a/b", "a", Apart),
            ("a/b", "a/b/c", Apart),
            ("a/#", "a", Covers),
            ("a/#", "a/+", Covers),
            ("a/#", "a/#", Covers),
            ("a/#", "#", Overlaps),
            ("a/#", "+/#", Overlaps),
            ("a/#", "ab", Apart),
            ("a/+", "a/#", Overlaps),
            ("a/+", "a/+", Covers),
            ("a/+", "a/b", Covers),
            ("a/+", "a", Apart),
            ("a/+/#", "a/#", Overlaps),
            ("a/+/#", "a/+", Covers),
            ("+/b", "a/+", Overlaps),
            ("+/b", "a/b", Covers),
            ("+/b", "a/c", Apart),
            ("#", "#", Covers),
            ("#", "+/#", Covers),
            ("#", "/", Covers),
            ("+", "#", Overlaps),
            ("%u/%c/%t", "u/c/t", Covers),
            ("%u/%c/%t", "u/+/t", Overlaps),
            ("%u/%c/%t", "u/x/t", Apart),
            ("d-%c-%u/#", "d-c-u", Covers),
            ("d-%c-%u/#", "d-c-ux", Apart),
            ("$SYS/#", "$SYS/a", Covers),
            ("$SYS/#", "#", Apart),
            ("$SYS/#", "+/a", Apart),
        ] {
            for effect in [Effect::Allow, Effect::Deny] {
                assert_eq!(
                    relation(pattern, effect, filter),
                    expected,
                    "{pattern} {filter}"
                );
            }
        }
    }

    #[test]
    fn a_wildcard_in_front_covers_dollar_topics_only_to_deny() {
        for (pattern, filter) in [
            ("#", "$SYS/a"),
            ("+/a", "$SYS/a"),
            ("#", "$SYS/#"),
            ("+/#", "$x"),
        ] {
            assert_eq!(relation(pattern, Effect::Allow, filter), Relation::Apart);
            assert_eq!(relation(pattern, Effect::Deny, filter), Relation::Covers);
        }
    }

    /// Every topic of a small world, by the reference matcher: what is said of filters must be so
    /// for the topics that they match.
    #[test]
    fn relations_agree_with_the_matcher() {
        let levels = ["a", "b", "$x", ""];
        let mut topics = Vec::new();
        for one in levels {
            if !one.is_empty() {
                topics.push(String::from(one));
            }
            for two in levels {
                topics.push(alloc::format!("{one}/{two}"));
                for three in levels {
                    topics.push(alloc::format!("{one}/{two}/{three}"));
                }
            }
        }
        let wild = ["a", "$x", "+", ""];
        let mut filters: Vec<String> = alloc::vec!["#".into(), "a".into(), "+".into()];
        for one in wild {
            filters.push(alloc::format!("{one}/#"));
            for two in wild {
                filters.push(alloc::format!("{one}/{two}"));
                filters.push(alloc::format!("{one}/{two}/#"));
            }
        }
        for pattern in &filters {
            let ours = TopicFilter::plain(pattern).unwrap();
            for filter in &filters {
                let theirs = TopicFilter::plain(filter).unwrap();
                let matched = topics.iter().map(|topic| TopicName::new(topic).unwrap());
                let matched = matched.filter(|topic| theirs.matches(*topic));
                let (inside, outside): (Vec<_>, Vec<_>) =
                    matched.partition(|topic| ours.matches(*topic));
                let expected = match (inside.is_empty(), outside.is_empty()) {
                    (true, _) => Relation::Apart,
                    (false, false) => Relation::Overlaps,
                    (false, true) => Relation::Covers,
                };
                let said = relation(pattern, Effect::Allow, filter);
                // The small world has no topics deeper than three levels.
                let depth = ours.level_count().max(theirs.level_count());
                // `/#` would match the empty topic, which there is not.
                let has_empty = [pattern, filter].into_iter().any(|text| text == "/#");
                if !has_empty && (depth < 3 || !filter.ends_with('#')) {
                    // Two that are the same in other words, `+/#` and `#`, may be taken to overlap.
                    assert!(said <= expected, "{pattern} {filter}");
                    let apart = (said == Relation::Apart, expected == Relation::Apart);
                    assert_eq!(apart.0, apart.1, "{pattern} {filter}");
                }
                // To deny, it may only cover more.
                assert!(relation(pattern, Effect::Deny, filter) >= said);
            }
        }
    }

    #[test]
    fn a_name_that_cannot_stand_in_a_topic_is_allowed_nothing_and_denied_everything_there() {
        for name in ["+", "#", "a/b", "a+", "x#", "", "a\0b", "/", "+/#"] {
            let subject = Subject {
                client_id: name,
                ..ANYBODY
            };
            let relation = |pattern, effect, filter| {
                let pattern = Pattern::new(pattern).unwrap();
                relate(
                    &pattern,
                    effect,
                    &subject,
                    TopicFilter::plain(filter).unwrap(),
                )
            };
            for filter in ["d/x/y", "d/#", "d/+/y", "d/a/b/y", "d//y"] {
                assert_eq!(
                    relation("d/%c/y", Effect::Allow, filter),
                    Relation::Apart,
                    "{name}"
                );
                assert_eq!(
                    relation("d/%c/y", Effect::Deny, filter),
                    Relation::Covers,
                    "{name}"
                );
            }
            assert_eq!(relation("d/%c", Effect::Deny, "e/x"), Relation::Apart);
        }
        let subject = Subject {
            client_id: "$SYS",
            ..ANYBODY
        };
        let (pattern, filter) = (Pattern::new("%c/#").unwrap(), TopicFilter::plain("$SYS/a"));
        let said = relate(&pattern, Effect::Allow, &subject, filter.unwrap());
        assert_eq!(said, Relation::Apart);
    }

    fn rules(list: &[(Effect, &str)]) -> Rules {
        let rule = |(effect, topic): &(Effect, &str)| {
            Rule::new(
                *effect,
                Operations::ALL,
                [Pattern::new(topic).unwrap()].into(),
            )
        };
        Rules::new(RuleSet {
            rules: list.iter().map(rule).collect(),
            ..RuleSet::default()
        })
    }

    #[test]
    fn the_first_rule_that_speaks_about_a_topic_decides() {
        use Effect::{Allow, Deny};
        let rules = rules(&[
            (Deny, "a/secret"),
            (Allow, "a/#"),
            (Deny, "#"),
            (Allow, "b"),
        ]);
        let says = |filter: &str| {
            let filter = TopicFilter::plain(filter).unwrap();
            match rules.decide(&ANYBODY, Operation::Subscribe, filter) {
                Decision::Allowed(_) => "allowed",
                Decision::Partly(_) => "partly",
                Decision::Denied(Some(_)) => "denied",
                Decision::Denied(None) => "no rule",
            }
        };
        for (filter, expected) in [
            ("a/secret", "denied"),
            ("a/b", "allowed"),
            ("a/b/#", "allowed"),
            ("a/#", "partly"),
            ("a/+", "partly"),
            ("#", "partly"),
            ("b", "denied"),
            ("$SYS/x", "denied"),
        ] {
            assert_eq!(says(filter), expected, "{filter}");
        }
        assert_eq!(
            Rules::default().decide(
                &ANYBODY,
                Operation::Publish,
                TopicFilter::plain("a").unwrap()
            ),
            Decision::Denied(None)
        );
    }
}

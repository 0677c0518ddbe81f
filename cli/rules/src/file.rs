//! The TOML format.

use crate::nearest::nearest;
use crate::{Problem, line_of};
use std::fmt::Display;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use whimbrel_core::access::network::Network;
use whimbrel_core::access::rule::{Effect, Name, Operation, Operations, Pattern, Rule, Who};
use whimbrel_core::access::rules::{Group, RuleSet, WideSubscriptions};

/// The keys of a file, and of one rule.
const KEYS: [&str; 3] = ["wide_subscriptions", "groups", "rule"];
const RULE_KEYS: [&str; 12] = [
    "allow",
    "deny",
    "topics",
    "users",
    "groups",
    "clients",
    "listeners",
    "addresses",
    "certificates",
    "organizations",
    "tenants",
    "authenticated",
];
const OPERATIONS: [&str; 4] = ["publish", "subscribe", "receive", "all"];

/// Reads what can be read, and says what cannot.
pub(crate) fn parse(text: &str, listeners: &[String]) -> (RuleSet, Vec<Problem>) {
    let mut reader = Reader::new(text, listeners);
    let mut set = RuleSet::default();
    if let Some(table) = reader.table() {
        reader.file(table.get_ref(), &mut set);
    }
    (set, reader.problems)
}

/// A text being read, and what is wrong with it.
pub(crate) struct Reader<'a> {
    text: &'a str,
    listeners: &'a [String],
    pub(crate) problems: Vec<Problem>,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl<'a> Reader<'a> {
    pub(crate) const fn new(text: &'a str, listeners: &'a [String]) -> Self {
        Self {
            text,
            listeners,
            problems: Vec::new(),
        }
    }

    /// The text as a table, unless it is none.
    pub(crate) fn table(&mut self) -> Option<Spanned<DeTable<'a>>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        // What the parser made of the rest of a broken file would only mislead.
        for error in &errors {
            let offset = error.span().map_or(0, |span| span.start);
            let message = error.message().replace('\n', ", ");
            self.problem(offset, format!("this is not TOML: {message}"));
        }
        errors.is_empty().then_some(table)
    }

    pub(crate) fn problem(&mut self, offset: usize, message: String) {
        let line = line_of(self.text, offset);
        self.problems.push(Problem { line, message });
    }

    fn file(&mut self, table: &DeTable<'_>, set: &mut RuleSet) {
        for (key, value) in table {
            let at = value.span().start;
            match (&**key.get_ref(), value.get_ref()) {
                ("wide_subscriptions", value) => match value.as_str() {
                    Some("refuse") => set.wide_subscriptions = WideSubscriptions::Refuse,
                    Some("filter") => set.wide_subscriptions = WideSubscriptions::Filter,
                    _ => self.problem(at, "wide_subscriptions is \"refuse\" or \"filter\"".into()),
                },
                ("groups", DeValue::Table(groups)) => {
                    for (name, users) in groups {
                        set.groups.push(Group {
                            name: name.get_ref().to_string(),
                            users: self.names(name.get_ref(), users),
                        });
                    }
                }
                ("groups", _) => self.problem(
                    at,
                    "`groups` is a section; write [groups] and under it NAME = [\"user\", …]"
                        .into(),
                ),
                ("rule", DeValue::Array(rules))
                    if rules.iter().all(|rule| rule.get_ref().is_table()) =>
                {
                    for rule in rules {
                        if let DeValue::Table(table) = rule.get_ref() {
                            let line = line_of(self.text, rule.span().start);
                            set.rules.extend(self.rule(table, line));
                        }
                    }
                }
                ("rule", _) => self.problem(at, "rules are written under [[rule]]".into()),
                (given, _) => {
                    let message = unknown("key", given, &KEYS);
                    self.problem(key.span().start, message);
                }
            }
        }
    }

    fn rule(&mut self, table: &DeTable<'_>, line: usize) -> Option<Rule> {
        let mut effect = None;
        let mut topics = None;
        let mut who = Who::default();
        for (key, value) in table {
            let name = &**key.get_ref();
            match name {
                "allow" | "deny" if effect.is_some() => {
                    let message = "a rule allows or denies; make two of it".to_owned();
                    self.problem(key.span().start, message);
                }
                "allow" => effect = Some((Effect::Allow, self.operations(name, value))),
                "deny" => effect = Some((Effect::Deny, self.operations(name, value))),
                "topics" => topics = Some(self.topics(value)),
                "users" => who.users = self.names(name, value),
                "groups" => who.groups = self.names(name, value),
                "clients" => who.clients = self.names(name, value),
                "listeners" => who.listeners = self.numbers(value),
                "addresses" => who.addresses = self.networks(value),
                "certificates" => who.certificates = self.names(name, value),
                "organizations" => who.organizations = self.names(name, value),
                "tenants" => who.tenants = self.names(name, value),
                "authenticated" => match value.get_ref().as_bool() {
                    Some(wanted) => who.authenticated = Some(wanted),
                    None => self.problem(
                        value.span().start,
                        "`authenticated` is true or false".to_owned(),
                    ),
                },
                given => {
                    let message = unknown("key of a rule", given, &RULE_KEYS);
                    self.problem(key.span().start, message);
                }
            }
        }
        let mut lacks = |what: &str| {
            let message = format!("this rule lacks {what}");
            self.problems.push(Problem { line, message });
        };
        if effect.is_none() {
            lacks("`allow` or `deny` with what it is about: publish, subscribe, receive or all");
        }
        if topics.is_none() {
            lacks("`topics`; \"#\" is all but those that begin with `$`");
        }
        let (effect, operations) = effect?;
        Some(Rule {
            effect,
            operations,
            topics: topics?,
            who,
            line: u32::try_from(line).unwrap_or(u32::MAX),
        })
    }

    /// Texts, one alone or a list: as an empty list would mean nobody, or everybody, it is refused.
    fn texts<'v>(&mut self, key: &str, value: &'v Value<'_>) -> Vec<(usize, &'v str)> {
        let text = |value: &'v Value<'_>| Some((value.span().start, value.get_ref().as_str()?));
        let found: Option<Vec<_>> = match value.get_ref().as_array() {
            Some(values) => values.iter().map(text).collect(),
            None => text(value).map(|one| vec![one]),
        };
        let complaint = match found.as_deref() {
            None => format!("`{key}` takes a text in quotes, or a list of such"),
            Some([]) => format!("`{key}` is empty; leave it out where it does not matter"),
            Some(_) => return found.unwrap_or_default(),
        };
        self.problem(value.span().start, complaint);
        Vec::new()
    }

    /// The same, each made into something else.
    fn each<T, E: Display>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        make: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let mut made = Vec::new();
        for (at, text) in self.texts(key, value) {
            match make(text) {
                Ok(thing) => made.push(thing),
                Err(why) => self.problem(at, format!("`{key}`: \"{text}\": {why}")),
            }
        }
        made
    }

    fn operations(&mut self, key: &str, value: &Value<'_>) -> Operations {
        let operations = self.each(key, value, |text| {
            let one = |operation: Operation| Operations::default().with(operation);
            let known = Operation::ALL
                .into_iter()
                .find(|known| known.word() == text);
            match (known, text) {
                (Some(operation), _) => Ok(one(operation)),
                (None, "all") => Ok(Operations::ALL),
                (None, _) => Err(unknown("word", text, &OPERATIONS)),
            }
        });
        let all = operations.into_iter();
        all.flat_map(|set| Operation::ALL.into_iter().filter(move |one| set.has(*one)))
            .collect()
    }

    fn topics(&mut self, value: &Value<'_>) -> Vec<Pattern> {
        self.each("topics", value, Pattern::new)
    }

    pub(crate) fn names(&mut self, key: &str, value: &Value<'_>) -> Vec<Name> {
        self.each(key, value, |text| match text {
            "" => Err("a name is not empty"),
            _ => Ok(Name::new(text)),
        })
    }

    pub(crate) fn networks(&mut self, value: &Value<'_>) -> Vec<Network> {
        self.each("addresses", value, str::parse)
    }

    /// Listeners by number. Several may have one name.
    fn numbers(&mut self, value: &Value<'_>) -> Vec<u16> {
        let names: Vec<&str> = self.listeners.iter().map(String::as_str).collect();
        let found = self.each("listeners", value, |text| {
            let numbers = (0..).zip(&names).filter(|(_, name)| **name == text);
            let numbers: Vec<u16> = numbers.map(|(number, _)| number).collect();
            if numbers.is_empty() {
                return Err(unknown("listener", text, &names));
            }
            Ok(numbers)
        });
        found.into_iter().flatten().collect()
    }
}

/// What to say of a word that is not known.
pub(crate) fn unknown(what: &str, given: &str, known: &[&str]) -> String {
    match nearest(given, known.iter().copied()) {
        Some(meant) => format!("unknown {what} `{given}`; did you mean `{meant}`?"),
        None => format!("unknown {what} `{given}`; there are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENERS: [&str; 3] = ["inside", "outside", "inside"];

    fn read(text: &str) -> (RuleSet, Vec<String>) {
        let (set, problems) = parse(text, &LISTENERS.map(str::to_owned));
        (set, problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn a_rule_has_every_condition_and_its_line() {
        let (set, problems) = read(concat!(
            "wide_subscriptions = \"filter\"\n\n[groups]\nops = [\"ann\", \"bot-*\"]\n\n",
            "[[rule]]\nallow = \"publish\"\ntopics = \"a/%u\"\n\n",
            "[[rule]]\ndeny = [\"subscribe\", \"receive\"]\ntopics = [\"a\", \"b/#\"]\n",
            "users = \"u\"\ngroups = [\"ops\"]\nclients = [\"c-*\"]\nlisteners = \"inside\"\n",
            "addresses = [\"10.0.0.0/8\"]\ncertificates = [\"cn\"]\norganizations = [\"o\"]\n",
            "authenticated = true\n",
        ));
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(set.wide_subscriptions, WideSubscriptions::Filter);
        assert_eq!(set.groups[0].users, [Name::new("ann"), Name::new("bot-*")]);
        assert_eq!(set.rules[0].line, 6);
        assert_eq!(set.rules[0].effect, Effect::Allow);
        assert!(set.rules[0].operations.has(Operation::Publish));
        assert!(!set.rules[0].operations.has(Operation::Receive));
        assert_eq!(set.rules[1].line, 10);
        assert_eq!(set.rules[1].effect, Effect::Deny);
        let who = &set.rules[1].who;
        assert_eq!(who.listeners, [0, 2]);
        assert_eq!(who.addresses, ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(who.authenticated, Some(true));
        assert_eq!(set.rules[1].topics.len(), 2);
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_what_to_do() {
        let (_, problems) = read(concat!(
            "wide_subscription = \"filter\"\n",
            "[[rule]]\nalow = \"publish\"\ntopics = \"a\"\n",
            "[[rule]]\nallow = [\"publsh\"]\ntopics = [\"a/#/b\"]\n",
            "[[rule]]\nallow = \"publish\"\ndeny = \"all\"\n",
            "[[rule]]\nallow = \"all\"\ntopics = []\nusers = 3\nlisteners = \"insid\"\n",
            "addresses = \"10.0.0.1/8\"\nclients = [\"\"]\nauthenticated = \"yes\"\n",
        ));
        let expected = [
            ("line 1:", "did you mean `wide_subscriptions`?"),
            ("line 3:", "did you mean `allow`?"),
            ("line 2:", "lacks `allow` or `deny`"),
            ("line 6:", "did you mean `publish`?"),
            (
                "line 7:",
                "`topics`: \"a/#/b\": `#` is not the whole last level",
            ),
            ("line 10:", "a rule allows or denies"),
            ("line 8:", "lacks `topics`"),
            ("line 13:", "`topics` is empty"),
            ("line 14:", "`users` takes a text in quotes"),
            ("line 15:", "did you mean `inside`?"),
            ("line 16:", "bits behind its prefix"),
            ("line 17:", "a name is not empty"),
            ("line 18:", "true or false"),
        ];
        for (line, words) in expected {
            let found = |p: &&String| p.starts_with(line) && p.contains(words);
            assert!(
                problems.iter().any(|p| found(&p)),
                "{line} {words}: {problems:#?}"
            );
        }
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        let (_, problems) = read("[[rule]\nallow");
        assert!(
            problems[0].starts_with("line 1: this is not TOML"),
            "{problems:?}"
        );
    }

    #[test]
    fn nothing_is_read_as_nothing_allowed() {
        for text in ["", "# rules\n", "[groups]\n"] {
            let (set, problems) = read(text);
            assert_eq!((set.rules.len(), problems.len()), (0, 0), "{text}");
        }
    }
}

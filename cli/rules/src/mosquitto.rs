//! mosquitto's ACL file: lines of `user NAME`, `topic [ACCESS] FILTER`, `pattern [ACCESS] FILTER`.
//!
//! What it means there it means here, in our words: topics before the first `user` are for
//! anonymous clients, those after it for that user, patterns for everybody; what is denied for
//! somebody comes before what is allowed, and his topics before the patterns. Subscriptions to more
//! than may be read are granted, and filtered. Different on purpose: a `deny` of everything covers
//! `$`-topics too, and a subscription that nothing could come by is refused.

use crate::Problem;
use crate::file::unknown;
use crate::nearest::nearest;
use std::collections::BTreeMap;
use whimbrel_core::access::rule::{Effect, Name, Operation, Operations, Pattern, Rule, Who};
use whimbrel_core::access::rules::{RuleSet, WideSubscriptions};

/// What may stand before a filter.
const ACCESS: [&str; 4] = ["read", "write", "readwrite", "deny"];

/// The lines of one user, of anonymous clients (`None`), or the patterns: those that deny first.
#[derive(Default)]
struct Section {
    denies: Vec<Rule>,
    allows: Vec<Rule>,
}

/// Reads what can be read, and says what cannot.
pub(crate) fn parse(text: &str) -> (RuleSet, Vec<Problem>) {
    let mut users: BTreeMap<Option<&str>, Section> = BTreeMap::new();
    let mut patterns = Section::default();
    let mut user = None;
    let mut problems = Vec::new();
    for (line, written) in (1..).zip(text.lines()) {
        let written = written.trim();
        if written.is_empty() || written.starts_with('#') {
            continue;
        }
        let (word, rest) = split(written);
        let section = match word {
            "user" if rest.is_empty() => {
                let message = "`user` names nobody; write `user NAME`".to_owned();
                problems.push(Problem { line, message });
                // What follows must not become a rule for the user before.
                user = Some("");
                continue;
            }
            "user" => {
                user = Some(rest);
                continue;
            }
            "topic" => users.entry(user).or_default(),
            "pattern" => &mut patterns,
            other => {
                let message =
                    format!("unknown word `{other}`; lines begin with user, topic, pattern or #");
                problems.push(Problem { line, message });
                continue;
            }
        };
        match rule(word, rest, user) {
            Ok(mut rule) => {
                rule.line = u32::try_from(line).unwrap_or(u32::MAX);
                match rule.effect {
                    Effect::Deny => section.denies.push(rule),
                    Effect::Allow => section.allows.push(rule),
                }
            }
            Err(message) => problems.push(Problem { line, message }),
        }
    }
    let sections = users.into_values().chain([patterns]);
    let set = RuleSet {
        rules: sections
            .flat_map(|section| section.denies.into_iter().chain(section.allows))
            .collect(),
        wide_subscriptions: WideSubscriptions::Filter,
        ..RuleSet::default()
    };
    (set, problems)
}

/// The first word, and what follows it.
fn split(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

/// One line of topics. The word for the access may be left out before a filter of one word. Filters
/// of several need it: without, a `deny` that is mistyped would allow everything.
fn rule(word: &str, rest: &str, user: Option<&str>) -> Result<Rule, String> {
    let read = Operations::from_iter([Operation::Subscribe, Operation::Receive]);
    let (access, topic) = split(rest);
    let (effect, operations, topic) = match access {
        alone if topic.is_empty() => (Effect::Allow, Operations::ALL, alone),
        "read" => (Effect::Allow, read, topic),
        "write" => (
            Effect::Allow,
            Operations::default().with(Operation::Publish),
            topic,
        ),
        "readwrite" => (Effect::Allow, Operations::ALL, topic),
        "deny" => (Effect::Deny, Operations::ALL, topic),
        other => {
            let message = unknown("access", other, &ACCESS);
            if nearest(other, ACCESS).is_some() {
                return Err(message);
            }
            return Err(format!(
                "{message}; for a filter with spaces write `{word} readwrite {rest}`"
            ));
        }
    };
    if topic.is_empty() {
        return Err(format!(
            "`{word}` names no topic; write `{word} read a/b/#`"
        ));
    }
    let mut pattern = Pattern::new(topic).map_err(|why| format!("\"{topic}\": {why}"))?;
    let mut who = Who::default();
    if word == "topic" {
        if pattern.has_placeholders() {
            // Only patterns have them; in a topic `%u` is two characters.
            pattern = Pattern::literal(topic).map_err(|why| format!("\"{topic}\": {why}"))?;
        }
        match user {
            Some(user) => who.users = vec![Name::literal(user)],
            None => who.authenticated = Some(false),
        }
    }
    Ok(Rule {
        who,
        ..Rule::new(effect, operations, vec![pattern])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use whimbrel_core::access::rules::{Rules, Subject};
    use whimbrel_core::topic::TopicFilter;

    /// The example that comes with mosquitto, and what its manual tells beside.
    const FILE: &str = "\
# This affects access control for clients with no username.
topic read $SYS/#

# This only affects clients with username \"roger\".
user roger
topic foo/bar
topic deny foo/secret
topic read foo/#
  topic write out of/order

user name with spaces
topic readwrite %u/literal

# This affects all clients.
pattern write $SYS/broker/connection/%c/state
pattern read %u/in/#
pattern deny %u/in/closed
";

    fn allows(user: Option<&str>, operation: Operation, topic: &str) -> bool {
        let (set, problems) = parse(FILE);
        assert_eq!(problems, []);
        let rules = Rules::new(set);
        let subject = Subject {
            user,
            client_id: "c1",
            tenant: None,
            groups: &[],
            rules: &[],
            from: None,
        };
        let filter = TopicFilter::plain(topic).unwrap();
        rules.decide(&subject, operation, filter).is_allowed()
    }

    #[test]
    fn it_means_what_it_means_to_mosquitto() {
        use Operation::{Publish, Receive, Subscribe};
        let roger = Some("roger");
        for (user, operation, topic, expected) in [
            (None, Receive, "$SYS/broker/version", true),
            (None, Subscribe, "$SYS/broker/version", true),
            (None, Publish, "$SYS/broker/version", false),
            (None, Receive, "foo/bar", false),
            (roger, Receive, "$SYS/broker/version", false),
            (roger, Publish, "foo/bar", true),
            (roger, Receive, "foo/bar", true),
            (roger, Receive, "foo/else", true),
            (roger, Publish, "foo/else", false),
            (roger, Receive, "foo/secret", false),
            (roger, Publish, "out of/order", true),
            (Some("other"), Receive, "foo/bar", false),
            (Some("name with spaces"), Publish, "%u/literal", true),
            (
                Some("name with spaces"),
                Publish,
                "name with spaces/literal",
                false,
            ),
            (roger, Publish, "$SYS/broker/connection/c1/state", true),
            (None, Publish, "$SYS/broker/connection/c1/state", true),
            (roger, Publish, "$SYS/broker/connection/c2/state", false),
            (roger, Receive, "roger/in/a", true),
            (roger, Receive, "roger/in/closed", false),
            (roger, Receive, "other/in/a", false),
            (None, Receive, "in/a", false),
            (Some("a/b"), Receive, "a/b/in/x", false),
            (Some("+"), Receive, "x/in/x", false),
        ] {
            assert_eq!(
                allows(user, operation, topic),
                expected,
                "{user:?} {operation} {topic}"
            );
        }
    }

    #[test]
    fn a_line_that_is_not_understood_is_no_rule_and_no_file() {
        let (_, problems) = parse("topic\nuser\ntopic read a\nusers roger\npattern read a/#/b\n");
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [1, 2, 4, 5], "{problems:?}");
    }

    /// mosquitto refuses such a file too. Read as a filter with a space, each would be an allow.
    #[test]
    fn a_word_that_is_no_access_is_no_part_of_a_filter() {
        for (line, expected) in [
            ("topic dney secret/#", "`dney`; did you mean `deny`?"),
            ("topic Deny secret/#", "`Deny`; did you mean `deny`?"),
            ("pattern\tread-write %u/#", "did you mean `readwrite`?"),
            ("topic a b", "write `topic readwrite a b`"),
        ] {
            let (set, problems) = parse(&format!("user u\n{line}\n"));
            assert_eq!((set.rules.len(), problems.len()), (0, 1), "{line}");
            let told = problems[0].to_string();
            assert!(told.starts_with("line 2: unknown access"), "{told}");
            assert!(told.contains(expected), "{told}");
        }
        for (line, filter) in [
            ("topic readwrite a b", "a b"),
            ("topic deny read a", "read a"),
            ("topic read", "read"),
        ] {
            let (set, problems) = parse(line);
            assert_eq!(problems, [], "{line}");
            assert_eq!(set.rules[0].topics, [Pattern::new(filter).unwrap()]);
        }
    }
}

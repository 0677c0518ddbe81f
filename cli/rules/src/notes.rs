//! What is written and can be used, and is probably not meant.

use crate::Problem;
use crate::bans::{Entry, read_bans};
use whimbrel_core::UnixTime;
use whimbrel_core::access::rule::{Effect, Name, Operation, Rule};
use whimbrel_core::access::rules::{Decision, RuleSet, Rules, Subject};
use whimbrel_core::topic::TopicFilter;

/// What is odd about rules: those that no client ever gets to, and texts that look like
/// placeholders and are none.
#[must_use]
pub fn notes(set: &RuleSet) -> Vec<Problem> {
    let mut notes = Vec::new();
    // Those about everybody, whatever a client is called.
    let mut general = RuleSet::default();
    for rule in &set.rules {
        let mut note = |message: String| {
            let line = usize::try_from(rule.line).unwrap_or(usize::MAX);
            notes.push(Problem { line, message });
        };
        if let Some(before) = decides_before(&general, rule) {
            note(format!(
                "this rule decides nothing: the one in line {before} comes first, and is about everybody"
            ));
        }
        for pattern in &rule.topics {
            if let Some(letter) = unknown_placeholder(pattern.as_str()) {
                note(format!(
                    "`%{letter}` in \"{pattern}\" stands for itself: there are %u (user), %c (client \
                     identifier) and %t (tenant)"
                ));
            }
        }
        let is_general = rule.who == Default::default();
        if is_general && !rule.topics.iter().any(|pattern| pattern.has_placeholders()) {
            // Whatever it decides, what it covers is decided.
            general.rules.push(Rule {
                effect: Effect::Allow,
                ..rule.clone()
            });
        }
    }
    notes
}

/// The line of an earlier rule that leaves nothing for this one.
fn decides_before(general: &RuleSet, rule: &Rule) -> Option<u32> {
    let rules = Rules::new(general.clone());
    let anybody = Subject {
        user: None,
        client_id: "",
        tenant: None,
        groups: &[],
        rules: &[],
        from: None,
    };
    let mut before = None;
    for operation in Operation::ALL {
        if !rule.operations.has(operation) {
            continue;
        }
        for pattern in &rule.topics {
            // Whatever somebody is called, it is one level.
            let levels = pattern.as_str().split('/');
            let levels: Vec<&str> = levels
                .map(
                    |level| match pattern.has_placeholders() && level.contains('%') {
                        true => "+",
                        false => level,
                    },
                )
                .collect();
            let widest = levels.join("/");
            let decision = rules.decide(&anybody, operation, TopicFilter::plain(&widest).ok()?);
            let Decision::Allowed(first) = decision else {
                return None;
            };
            before = before.max(Some(first.line));
        }
    }
    before
}

/// The letter behind a `%` that stands for nothing.
fn unknown_placeholder(text: &str) -> Option<char> {
    let letters = text
        .split('%')
        .skip(1)
        .filter_map(|rest| rest.chars().next());
    let mut letters = letters.filter(char::is_ascii_alphabetic);
    letters.find(|letter| !matches!(letter, 'u' | 'c' | 't'))
}

/// What is odd about a file of bans at some time: those that are over, and those of everybody. None
/// of a file that cannot be read.
#[must_use]
pub fn notes_on_bans(text: &str, now: UnixTime) -> Vec<Problem> {
    let mut notes = Vec::new();
    for Entry { line, ban, .. } in read_bans(text).unwrap_or_default() {
        let mut note = |message: &str| {
            let message = message.to_owned();
            notes.push(Problem { line, message });
        };
        let is_anybody = |name: &Name| name.whole().is_none() && name.matches("");
        let is_everywhere = |network: &whimbrel_core::runtime::Network| network.is_everything();
        if ban.until <= now {
            note("this ban is over; take it away");
        } else if ban.users.iter().chain(&ban.clients).any(is_anybody)
            || ban.addresses.iter().any(is_everywhere)
        {
            note("this ban keeps everybody out");
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, parse};

    fn said(text: &str) -> Vec<(usize, String)> {
        let set = parse(text, Format::Toml, &[]).unwrap();
        let notes = notes(&set).into_iter();
        notes.map(|note| (note.line, note.message)).collect()
    }

    #[test]
    fn a_rule_behind_one_that_decides_everything_is_noted() {
        let rules = "[[rule]]\nallow = \"all\"\ntopics = \"#\"\n\
                     [[rule]]\ndeny = \"publish\"\ntopics = [\"a\", \"b/%c/#\"]\nusers = \"u\"\n\
                     [[rule]]\nallow = \"subscribe\"\ntopics = \"$SYS/#\"\n";
        let said = said(rules);
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(said[0].0, 4);
        assert!(said[0].1.contains("the one in line 1"), "{said:?}");
    }

    #[test]
    fn rules_that_leave_something_are_not_noted() {
        for rules in [
            "[[rule]]\nallow = \"publish\"\ntopics = \"#\"\n[[rule]]\nallow = \"all\"\ntopics = \"a\"\n",
            "[[rule]]\nallow = \"all\"\ntopics = \"#\"\nusers = \"u\"\n[[rule]]\ndeny = \"all\"\ntopics = \"#\"\n",
            "[[rule]]\ndeny = \"all\"\ntopics = \"a/#\"\n[[rule]]\nallow = \"all\"\ntopics = \"#\"\n",
            "[[rule]]\nallow = \"all\"\ntopics = \"%c/#\"\n[[rule]]\ndeny = \"all\"\ntopics = \"%c/x\"\n",
            "",
        ] {
            assert_eq!(said(rules), [], "{rules}");
        }
    }

    #[test]
    fn what_looks_like_a_placeholder_and_is_none_is_noted() {
        let said = said("[[rule]]\nallow = \"all\"\ntopics = [\"a/%i/b\", \"100%/%u\"]\n");
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0]
                .1
                .starts_with("`%i` in \"a/%i/b\" stands for itself")
        );
    }

    #[test]
    fn bans_that_are_over_or_of_everybody_are_noted() {
        let text = "[[ban]]\nclients = \"a\"\nuntil = 2020-01-01T00:00:00Z\n\
                    [[ban]]\nusers = \"*\"\n[[ban]]\naddresses = \"::/0\"\n\
                    [[ban]]\nclients = [\"a*\"]\n";
        let notes = notes_on_bans(text, UnixTime(1_800_000_000_000));
        let lines: Vec<usize> = notes.iter().map(|note| note.line).collect();
        assert_eq!(lines, [1, 4, 6]);
        assert!(notes[0].message.contains("is over"));
        assert!(notes[1].message.contains("everybody"));
    }
}

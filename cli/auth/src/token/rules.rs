//! Access rules in a token: `[{"allow": ["publish"], "topics": ["machines/%u/#"]}, …]`.

use serde_json::Value;
use whimbrel_core::access::rule::{Effect, Operation, Operations, Pattern, Rule};

/// Rules of one token, and topics of one rule, at most.
const RULES_MAXIMUM: usize = 64;

/// The rules in a claim, in their order; `None` when anything about them is not as it should be. A
/// rule that is not understood may be the one that denies, so none is passed over; and a token that
/// has none at all is not one without restrictions.
pub(super) fn read(claim: Option<&Value>) -> Option<Vec<Rule>> {
    list(claim?)?.iter().map(rule).collect()
}

fn rule(value: &Value) -> Option<Rule> {
    let object = value.as_object().filter(|object| object.len() == 2)?;
    let (effect, operations) = match (object.get("allow"), object.get("deny")) {
        (Some(operations), None) => (Effect::Allow, operations),
        (None, Some(operations)) => (Effect::Deny, operations),
        _ => return None,
    };
    let operations: Operations = list(operations)?
        .iter()
        .map(|word| {
            let known = |operation: &Operation| Some(operation.word()) == word.as_str();
            Operation::ALL.into_iter().find(known)
        })
        .collect::<Option<_>>()?;
    let topics = list(object.get("topics")?)?.iter();
    let topics = topics.map(|topic| Pattern::new(topic.as_str()?).ok());
    let topics = topics.collect::<Option<_>>()?;
    Some(Rule::new(effect, operations, topics))
}

/// A list that is neither empty nor too long.
fn list(value: &Value) -> Option<&[Value]> {
    let list = value.as_array()?;
    (1..=RULES_MAXIMUM).contains(&list.len()).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Vec<Rule>> {
        read(Some(&serde_json::from_str(text).unwrap()))
    }

    #[test]
    fn rules_are_read_in_their_order() {
        let rules = parsed(
            r#"[{"deny":["publish"],"topics":["a/secret"]},
                {"allow":["publish","subscribe","receive"],"topics":["a/#","b/%u/+"]}]"#,
        );
        let rules = rules.unwrap();
        assert_eq!(rules[0].effect, Effect::Deny);
        assert!(rules[0].operations.has(Operation::Publish));
        assert!(!rules[0].operations.has(Operation::Subscribe));
        assert_eq!(rules[1].effect, Effect::Allow);
        assert_eq!(rules[1].operations, Operations::ALL);
        assert_eq!(rules[1].topics.len(), 2);
    }

    /// Class 8: no part of a rule is passed over.
    #[test]
    fn what_is_no_rule_refuses_all_of_them() {
        assert_eq!(read(None), None);
        for text in [
            "[]",
            "{}",
            "\"a/#\"",
            "[{}]",
            "[\"a\"]",
            r#"[{"allow":["publish"]}]"#,
            r#"[{"allow":["publish"],"topics":[]}]"#,
            r#"[{"allow":[],"topics":["a"]}]"#,
            r#"[{"allow":"publish","topics":["a"]}]"#,
            r#"[{"allow":["Publish"],"topics":["a"]}]"#,
            r#"[{"allow":["publish"],"topics":["a/#/b"]}]"#,
            r#"[{"allow":["publish"],"topics":[1]}]"#,
            r#"[{"allow":["publish"],"topics":["a"],"users":["b"]}]"#,
            r#"[{"allow":["publish"],"deny":["publish"]}]"#,
            r#"[{"allow":["publish"],"topics":["a"]},{"deny":["publish"],"topics":["x#"]}]"#,
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
        let many = vec![r#"{"allow":["publish"],"topics":["a"]}"#; RULES_MAXIMUM + 1];
        assert_eq!(parsed(&format!("[{}]", many.join(","))), None);
    }
}

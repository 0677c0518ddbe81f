//! Who may do what: asked here and nowhere else. `docs/access.md` tells it to operators.
//!
//! [`rule`] has rules as values, [`rules`] how they decide, [`identity`] who a client is,
//! [`network`] where it comes from;
//! `enforce` asks them where something is done, and again when rules or clients change. Reading
//! rules from files is for others.

pub mod ban;
mod enforce;
pub mod identity;
pub mod names;
pub mod network;
mod permits;
pub mod rule;
pub mod rules;

use crate::access::permits::Permits;
use crate::access::rule::Operation;
use crate::access::rules::{Decision, Rules, Subject, WideSubscriptions, first_match};
use crate::state::{Reader, State, Writer};
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;
use alloc::sync::Arc;

pub(crate) use enforce::{Absentee, Subscribing};

/// Whether nobody may publish there: what is below `$SYS` is the broker's own word.
#[must_use]
pub fn is_reserved(topic: TopicName<'_>) -> bool {
    let text = topic.as_str();
    text == "$SYS" || text.starts_with("$SYS/")
}

/// The rules of a broker, and what was decided by them lately.
#[derive(Debug, Default)]
pub(crate) struct Access {
    rules: Option<Arc<Rules>>,
    shadow: Option<Arc<Rules>>,
    permits: Permits,
    /// Somebody has had rules of its own.
    has_own_rules: bool,
    /// The slot of the next session to be looked at again, since the rules have changed.
    recheck_from: Option<u32>,
}

/// What was decided lately is decided again.
impl State for Access {
    fn save(&self, to: &mut Writer<'_>) {
        let Self {
            rules,
            shadow,
            permits: _,
            has_own_rules,
            recheck_from,
        } = self;
        rules.save(to);
        shadow.save(to);
        has_own_rules.save(to);
        recheck_from.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            rules: State::load(from)?,
            shadow: State::load(from)?,
            permits: Permits::default(),
            has_own_rules: State::load(from)?,
            recheck_from: State::load(from)?,
        })
    }
}

/// What the rules say, without borrowing them: the line of the rule, 0 when none spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Allowed,
    Partly(u32),
    Denied(u32),
}

impl From<Decision<'_>> for Answer {
    fn from(decision: Decision<'_>) -> Self {
        match decision {
            Decision::Allowed(_) => Self::Allowed,
            Decision::Partly(rule) => Self::Partly(rule.line),
            Decision::Denied(rule) => Self::Denied(rule.map_or(0, |rule| rule.line)),
        }
    }
}

impl Access {
    pub(crate) fn new(rules: Option<Arc<Rules>>, shadow: Option<Arc<Rules>>) -> Self {
        Self {
            rules,
            shadow,
            ..Self::default()
        }
    }

    /// Whether there is anything to ask. Without rules everything is allowed.
    pub(crate) const fn is_on(&self) -> bool {
        self.rules.is_some() || self.shadow.is_some() || self.has_own_rules
    }

    /// Whether what was allowed may be remembered. Shadow rules want to hear of everything.
    const fn may_remember(&self) -> bool {
        self.shadow.is_none()
    }

    /// Whether sessions may have subscriptions that the rules of now do not allow.
    pub(crate) const fn is_rechecking(&self) -> bool {
        self.recheck_from.is_some()
    }

    /// What the rules in force say.
    fn ask(&self, subject: &Subject<'_>, operation: Operation, filter: TopicFilter<'_>) -> Answer {
        match self.rules.as_deref() {
            Some(rules) => rules.decide(subject, operation, filter).into(),
            None if subject.rules.is_empty() => Answer::Allowed,
            None => first_match(subject.rules.iter(), subject, operation, filter).into(),
        }
    }

    /// The line of the shadow rules that would deny all or some of it, if they would.
    fn shadow(
        &self,
        subject: &Subject<'_>,
        operation: Operation,
        filter: TopicFilter<'_>,
    ) -> Option<u32> {
        match self
            .shadow
            .as_deref()?
            .decide(subject, operation, filter)
            .into()
        {
            Answer::Allowed => None,
            Answer::Partly(_) if self.shadow.as_deref()?.grants_wide() => None,
            Answer::Partly(line) | Answer::Denied(line) => Some(line),
        }
    }

    /// What a subscription to more than may be received is worth.
    fn grants_wide(&self) -> bool {
        self.rules.as_deref().is_some_and(Rules::grants_wide)
    }

    /// Whether a message on this topic may be delivered to somebody who has a subscription for it.
    pub(crate) fn may_receive(&self, subject: &Subject<'_>, topic: TopicName<'_>) -> bool {
        [Operation::Receive, Operation::Subscribe]
            .iter()
            .all(|operation| self.ask(subject, *operation, topic.into()) == Answer::Allowed)
    }
}

impl Rules {
    fn grants_wide(&self) -> bool {
        self.wide_subscriptions() == WideSubscriptions::Filter
    }
}

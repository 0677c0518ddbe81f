//! Why nothing came, where it takes two shards to say so: the one that took the message in does not
//! know the client, and the one that has its session was not given the message.

use super::Replay;
use std::collections::{BTreeMap, BTreeSet};
use whimbrel_core::explain::{Explanation, Outcome};
use whimbrel_core::id::MessageId;
use whimbrel_core::recording::Replay as Player;

/// What is said of messages, in order, and of which of them the shard that has the session may
/// still say something.
#[derive(Debug, Default)]
pub(super) struct Silences {
    process: Option<u64>,
    /// The place and the line to say if nothing else is said.
    waiting: BTreeMap<MessageId, (usize, String)>,
    /// Of these something was said.
    answered: BTreeSet<MessageId>,
    /// What is to be said, or nothing.
    lines: Vec<String>,
}

/// Where an explanation comes from.
pub(super) struct Where<'a> {
    pub(super) process: u64,
    pub(super) player_of: &'a dyn Fn(u16) -> Option<&'a Player>,
}

impl Silences {
    /// Takes note of what is said of a message. `tell` makes a line of it.
    pub(super) fn hears(
        &mut self,
        wanted: &Replay,
        explanation: &Explanation,
        place: &Where<'_>,
        tell: &dyn Fn(&Explanation) -> String,
    ) {
        // The next process may use the names of messages again.
        if self.process.replace(place.process) != Some(place.process) {
            self.settle();
            self.answered.clear();
        }
        let (Outcome::AtShard(shard), Some(message)) = (&explanation.outcome, explanation.message)
        else {
            if let Some(message) = explanation.message {
                self.waiting.remove(&message);
                self.answered.insert(message);
            }
            return self.lines.push(tell(explanation));
        };
        let player = (place.player_of)(shard.0);
        let Some(player) = player.filter(|player| player.process() == place.process) else {
            return self.lines.push(tell(explanation));
        };
        if self.answered.contains(&message) {
            return;
        }
        let tenant = wanted.tenant.as_deref().unwrap_or_default();
        let client = wanted.explain.as_deref().unwrap_or_default();
        let broker = player.broker();
        let line = match broker.explain_silence(tenant, client, &explanation.topic) {
            Some(outcome) => tell(&Explanation {
                outcome,
                ..explanation.clone()
            }),
            None => tell(explanation).trim_end().to_owned() + ", and it has not come there\n",
        };
        self.waiting.insert(message, (self.lines.len(), line));
        self.lines.push(String::new());
    }

    /// Says something in between.
    pub(super) fn push(&mut self, line: String) {
        self.lines.push(line);
    }

    /// What nobody has said anything of is what it looked like.
    fn settle(&mut self) {
        for (place, line) in core::mem::take(&mut self.waiting).into_values() {
            self.lines[place] = line;
        }
    }

    /// Nothing more is said.
    pub(super) fn end(&mut self) -> Vec<String> {
        self.settle();
        core::mem::take(&mut self.lines)
    }
}

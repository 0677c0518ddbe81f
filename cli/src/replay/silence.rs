//! Why nothing came, where it takes two shards to say so: the one that took the message in does not
//! know the client, and the one that has its session was not given the message.

use super::Replay;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use whimbrel_core::explain::{Explanation, Outcome};
use whimbrel_core::id::MessageId;
use whimbrel_core::recording::Replay as Player;

/// For so many milliseconds of the recording a shard may say something of a message that another
/// one took in; between shards it takes a few.
const PATIENCE_MS: u64 = 10_000;

/// What is said of messages, in order, and of which of them the shard that has the session may
/// still say something.
#[derive(Debug)]
pub(super) struct Silences<'a> {
    tenant: &'a str,
    client: &'a str,
    process: Option<u64>,
    /// What to say if nothing else is said, and in which place.
    waiting: BTreeMap<MessageId, (u64, String)>,
    /// Of these something was said.
    answered: BTreeSet<MessageId>,
    /// Both, by the time of the first that was said of them.
    heard: VecDeque<(u64, MessageId)>,
    /// What is to be said; `None` is not known yet.
    lines: VecDeque<Option<String>>,
    /// The place of the first of them.
    first: u64,
}

/// Where an explanation comes from.
pub(super) struct Where<'a> {
    pub(super) process: u64,
    pub(super) now: u64,
    /// The shard with this number, if it was recorded at that time.
    pub(super) player_of: &'a dyn Fn(u16) -> Option<&'a Player>,
}

impl<'a> Silences<'a> {
    pub(super) fn new(wanted: &'a Replay) -> Self {
        Self {
            tenant: wanted.tenant.as_deref().unwrap_or_default(),
            client: wanted.explain.as_deref().unwrap_or_default(),
            process: None,
            waiting: BTreeMap::new(),
            answered: BTreeSet::new(),
            heard: VecDeque::new(),
            lines: VecDeque::new(),
            first: 0,
        }
    }

    /// Takes note of what is said of a message. `tell` makes a line of it.
    pub(super) fn hears(
        &mut self,
        explanation: &Explanation,
        place: &Where<'_>,
        tell: &dyn Fn(&Explanation) -> String,
    ) {
        // The next process may use the names of messages again.
        let is_new = self.process.replace(place.process) != Some(place.process);
        self.settle(if is_new { u64::MAX } else { place.now });
        let (Outcome::AtShard(shard), Some(message)) = (&explanation.outcome, explanation.message)
        else {
            if let Some(message) = explanation.message {
                if let Some((at, _)) = self.waiting.remove(&message) {
                    self.fill(at, String::new());
                } else {
                    self.heard.push_back((place.now, message));
                }
                self.answered.insert(message);
            }
            return self.push(tell(explanation));
        };
        // Each shard that it came to and that does not have the client says the same.
        if self.answered.contains(&message) || self.waiting.contains_key(&message) {
            return;
        }
        let alone = |why: &str| tell(explanation).trim_end().to_owned() + why + "\n";
        let player = (place.player_of)(shard.0);
        let Some(player) = player.filter(|player| player.process() == place.process) else {
            self.answered.insert(message);
            self.heard.push_back((place.now, message));
            return self.push(alone(", and was not recorded then"));
        };
        let broker = player.broker();
        let line = match broker.explain_silence(self.tenant, self.client, &explanation.topic) {
            Some(outcome) => tell(&Explanation {
                outcome,
                ..explanation.clone()
            }),
            // What it has already, because a publisher sent it again, it passes over in silence.
            None => alone(", and nothing was decided there: it has not come, or had come before"),
        };
        let at = self.first + self.lines.len() as u64;
        self.waiting.insert(message, (at, line));
        self.heard.push_back((place.now, message));
        self.lines.push_back(None);
    }

    /// Says something in between.
    pub(super) fn push(&mut self, line: String) {
        self.lines.push_back(Some(line));
    }

    /// What nobody has said anything of for long enough is what it looked like.
    fn settle(&mut self, now: u64) {
        while let Some((at, message)) = self.heard.front().copied()
            && at.saturating_add(PATIENCE_MS) <= now
        {
            self.heard.pop_front();
            self.answered.remove(&message);
            if let Some((place, line)) = self.waiting.remove(&message) {
                self.fill(place, line);
            }
        }
    }

    fn fill(&mut self, place: u64, line: String) {
        let index = usize::try_from(place - self.first).ok();
        if let Some(known) = index.and_then(|index| self.lines.get_mut(index)) {
            *known = Some(line);
        }
    }

    /// The next line, if it is known.
    pub(super) fn ready(&mut self) -> Option<String> {
        let line = self.lines.front_mut()?.take()?;
        self.lines.pop_front();
        self.first += 1;
        Some(line)
    }

    /// Nothing more is said.
    pub(super) fn end(&mut self) -> Vec<String> {
        self.settle(u64::MAX);
        core::iter::from_fn(|| self.ready()).collect()
    }
}

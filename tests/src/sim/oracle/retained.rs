//! Retained messages: what is there in the end is the last one that was acknowledged, or a later
//! attempt.

use super::Message;
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Debug, Default)]
struct Topic {
    /// In the order in which they were sent. Each topic has one publisher.
    attempts: Vec<u64>,
    /// Where in them the last acknowledged one is.
    accepted: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct RetainedBook {
    topics: BTreeMap<String, Topic>,
}

impl RetainedBook {
    pub(super) fn attempt(&mut self, topic: &str, number: u64) {
        let book = self.topics.entry(topic.to_owned()).or_default();
        book.attempts.push(number);
    }

    pub(super) fn accepted(&mut self, topic: &str, number: u64) {
        if let Some(book) = self.topics.get_mut(topic) {
            let place = book.attempts.iter().position(|known| *known == number);
            book.accepted = book.accepted.max(place);
        }
    }

    /// Compares with what a fresh subscriber has got.
    pub(super) fn finish(
        &self,
        messages: &[Message],
        found: &[(String, String)],
        owed: &mut String,
    ) {
        for (topic, book) in &self.topics {
            let there = found.iter().find(|(name, _)| name == topic);
            let there = there.and_then(|(_, text)| text.strip_prefix('m')?.parse().ok());
            let message = |number: u64| &messages[number as usize];
            let candidates = &book.attempts[book.accepted.unwrap_or(0)..];
            let is_right = match there {
                Some(number) => candidates.contains(&number),
                None => {
                    let clears = |number: &u64| message(*number).clears;
                    book.accepted.is_none() || candidates.iter().any(clears)
                }
            };
            if !is_right {
                let what: Vec<_> = candidates
                    .iter()
                    .map(|number| (*number, message(*number).clears, message(*number).fate))
                    .collect();
                let _ = write!(owed, "\n  {topic} retains {there:?}, not one of {what:?}");
            }
        }
    }
}

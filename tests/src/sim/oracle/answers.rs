//! What SUBACK and UNSUBACK say: a code for each filter, in the order of the request. What is
//! granted is what was asked for; what is refused has a reason; and 5.0 says of each filter that is
//! given up whether there was such a subscription.

use std::collections::{BTreeMap, VecDeque};
use whimbrel_core::codec::ReasonCode;
use whimbrel_core::codec::packet::{QoS, Version};

/// A filter with more levels is refused.
const LEVELS_MAXIMUM: usize = 128;

/// What is asked of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Subscribe(QoS),
    Unsubscribe,
}

/// Whether there is a subscription; none is remembered where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Maybe,
    Yes,
}

/// A request that was sent, and what was answered.
#[derive(Debug)]
struct Request {
    /// The fact that it was sent.
    asked: u64,
    asks: Vec<(String, Ask)>,
    answer: Option<Answer>,
}

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) reasons: Vec<u8>,
    /// There may have been no room for another subscription.
    pub(super) may_lack_room: bool,
}

/// The requests of one client.
#[derive(Debug, Default)]
pub(super) struct AnswerBook {
    is_v5: bool,
    /// Those of this connection that are not judged yet: the broker carries them out in turn.
    open: VecDeque<Request>,
    subscriptions: BTreeMap<String, Presence>,
}

impl AnswerBook {
    pub(super) fn begin_life(&mut self, version: Version) {
        self.is_v5 = version == Version::V5;
    }

    /// All subscriptions end.
    pub(super) fn end_session(&mut self) {
        self.subscriptions.clear();
    }

    pub(super) fn asked(&mut self, asked: u64, asks: Vec<(String, Ask)>) {
        self.open.push_back(Request {
            asked,
            asks,
            answer: None,
        });
    }

    /// Judges all requests before which none is open.
    pub(super) fn answered(&mut self, asked: u64, answer: Answer) -> Result<(), String> {
        let mut open = self.open.iter_mut();
        if let Some(request) = open.find(|request| request.asked == asked) {
            request.answer = Some(answer);
        }
        while self
            .open
            .front()
            .is_some_and(|request| request.answer.is_some())
            && let Some(request) = self.open.pop_front()
        {
            self.judge(&request)?;
        }
        Ok(())
    }

    /// What is not answered by now will not be: it was carried out, or not.
    pub(super) fn disconnected(&mut self) -> Result<(), String> {
        while let Some(request) = self.open.pop_front() {
            self.judge(&request)?;
        }
        Ok(())
    }

    fn judge(&mut self, request: &Request) -> Result<(), String> {
        let asks = &request.asks;
        let Some(answer) = &request.answer else {
            for (filter, ask) in asks {
                self.doubt(filter, *ask);
            }
            return Ok(());
        };
        let reasons = &answer.reasons;
        let is_unsubscribe = matches!(asks[..], [(_, Ask::Unsubscribe), ..]);
        let says_nothing = is_unsubscribe && !self.is_v5;
        let wanted = if says_nothing { 0 } else { asks.len() };
        if reasons.len() != wanted {
            return Err(format!("{asks:?} is answered with {reasons:?}"));
        }
        for (place, (filter, ask)) in asks.iter().enumerate() {
            let known = self.subscriptions.get(filter).copied();
            let is_right = match (ask, reasons.get(place)) {
                (Ask::Subscribe(qos), Some(reason)) => {
                    let lacks_room = answer.may_lack_room && known != Some(Presence::Yes);
                    let is_granted = self.judge_grant((filter, *qos), *reason, lacks_room);
                    if is_granted == Some(true) {
                        self.subscriptions.insert(filter.clone(), Presence::Yes);
                    }
                    is_granted.is_some()
                }
                (Ask::Unsubscribe, reason) => {
                    self.subscriptions.remove(filter);
                    match reason.copied().map(ReasonCode) {
                        Some(ReasonCode::SUCCESS) => known.is_some(),
                        Some(ReasonCode::NO_SUBSCRIPTION_EXISTED) => known != Some(Presence::Yes),
                        Some(_) => false,
                        None => true,
                    }
                }
                (Ask::Subscribe(_), None) => false,
            };
            if !is_right {
                return Err(format!(
                    "of {asks:?}, {filter} is answered with {reasons:?}; it was there: {known:?}"
                ));
            }
        }
        Ok(())
    }

    /// Whether it is granted; `None` where that is wrong.
    fn judge_grant(
        &self,
        (filter, qos): (&str, QoS),
        reason: u8,
        lacks_room: bool,
    ) -> Option<bool> {
        let refused = |reason: ReasonCode| match self.is_v5 {
            true => reason.0,
            false => ReasonCode::UNSPECIFIED.0,
        };
        if filter.split('/').count() > LEVELS_MAXIMUM {
            return (reason == refused(ReasonCode::TOPIC_FILTER_INVALID)).then_some(false);
        }
        let is_granted = reason == qos as u8;
        let is_refused = lacks_room && reason == refused(ReasonCode::QUOTA_EXCEEDED);
        (is_granted || is_refused).then_some(is_granted)
    }

    /// What becomes of a filter by a request that is not answered.
    fn doubt(&mut self, filter: &str, ask: Ask) {
        match (ask, self.subscriptions.get_mut(filter)) {
            // It is there in any case, or there is none in any case.
            (Ask::Subscribe(_), Some(_)) | (Ask::Unsubscribe, None) => {}
            (Ask::Subscribe(_), None) => {
                let subscriptions = &mut self.subscriptions;
                subscriptions.insert(filter.to_owned(), Presence::Maybe);
            }
            (Ask::Unsubscribe, Some(known)) => *known = Presence::Maybe,
        }
    }
}

//! Why a client got a message, or did not.
//!
//! There is no second copy of the rules here: routing and delivery run as always, and where they
//! decide they say so to whoever has asked with [`Broker::explain`]. Without a question that is
//! one branch.

use crate::action::DropReason;
use crate::broker::Broker;
use crate::codec::packet::QoS;
use crate::codec::reason::ReasonCode;
use crate::deliver::Publication;
use crate::handle::publish::Origin;
use crate::id::{MessageId, PacketId, PeerId};
use crate::message::MessageView;
use crate::route::{Indexes, Route};
use crate::session::Session;
use crate::session::inflight::Stage;
use crate::session::queue::Delivery;
use crate::slab::Key;
use crate::tenant::TenantId;
use crate::topic::{GroupId, SubscriberKey, TopicFilter, TopicName};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use core::fmt;

/// Explanations that wait to be polled at most; further ones are not kept.
const EXPLANATIONS_MAX: usize = 4_096;

/// What became of a message, as far as one client is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Which message; `None` when it was refused, and so never got a name.
    pub message: Option<MessageId>,
    /// Its topic.
    pub topic: Box<str>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a message, as far as one client is concerned. A message may have several in a
/// row: queued, then sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was not taken in from its publisher.
    Refused(ReasonCode),
    /// The client has no session: it was never here, or its session has ended.
    NoSession,
    /// It is not for this shard to say: if the client has a session, that one has it. Ask it with
    /// [`Broker::explain`] too, and where it says nothing with [`Broker::explain_silence`].
    AtShard(PeerId),
    /// No subscription of the client matches the topic.
    NoSubscription,
    /// A subscription of the client matches the topic, and it may not receive what is published
    /// there.
    Denied,
    /// The client has published it itself, and does not want to hear that.
    NoLocal,
    /// Another member of the shared subscription was chosen.
    OtherMember {
        /// The client identifier of the other one; `None` when it is at another shard or node.
        client_id: Option<Box<str>>,
    },
    /// The client is away, and messages of QoS 0 are not kept.
    AwayAtQoS0,
    /// It waits in the queue of the session.
    Queued {
        /// The client is connected.
        is_connected: bool,
    },
    /// It was sent on the connection that the session has now.
    Sent {
        /// At which QoS.
        qos: QoS,
        /// Under which packet identifier.
        packet_id: Option<PacketId>,
    },
    /// The client has it: PUBACK or PUBREC came, with this reason.
    Acknowledged(ReasonCode),
    /// The client has come back and has not acknowledged it: it is sent once more.
    SentAgain,
    /// It was under way, waiting or sent and not acknowledged, when another connection of the
    /// client took over.
    TakenOver {
        /// The session goes on: it goes out on the other connection, once more if it was sent.
        /// Otherwise the session has ended, and what became of it then follows.
        session_goes_on: bool,
    },
    /// The session has ended, and another member of the shared subscription gets it, if there is
    /// one.
    PassedOn,
    /// It was dropped.
    Dropped(DropReason),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "not taken in from its publisher: {reason}"),
            Self::NoSession => f.write_str("not delivered: the client has no session"),
            Self::AtShard(shard) => {
                write!(
                    f,
                    "shard {} decides, which has the sessions of such clients",
                    shard.0
                )
            }
            Self::NoSubscription => f.write_str("not delivered: no subscription matches"),
            Self::Denied => f.write_str("not delivered: a subscription matches, and is denied it"),
            Self::NoLocal => f.write_str("not delivered: its own message, and no local is set"),
            Self::OtherMember {
                client_id: Some(client_id),
            } => write!(f, "not delivered: of the group, {client_id} was chosen"),
            Self::OtherMember { client_id: None } => {
                f.write_str("not delivered: of the group, a member elsewhere was chosen")
            }
            Self::AwayAtQoS0 => f.write_str("not delivered: the client is away, and it is QoS 0"),
            Self::Queued { is_connected: true } => f.write_str(
                "queued: the client is connected and has no room, or the log is awaited",
            ),
            Self::Queued {
                is_connected: false,
            } => f.write_str("queued: the client is away"),
            Self::Sent {
                qos,
                packet_id: Some(id),
            } => write!(f, "sent at QoS {} as {}", *qos as u8, id.get()),
            Self::Sent {
                packet_id: None, ..
            } => f.write_str("sent at QoS 0"),
            Self::Acknowledged(ReasonCode::SUCCESS) => f.write_str("acknowledged"),
            Self::Acknowledged(reason) => write!(f, "acknowledged: {reason}"),
            Self::SentAgain => {
                f.write_str("not acknowledged yet, and the client is back: sent again")
            }
            Self::TakenOver {
                session_goes_on: true,
            } => f.write_str("superseded by takeover: it goes out on the other connection"),
            Self::TakenOver {
                session_goes_on: false,
            } => f.write_str("superseded by takeover: the other connection begins anew"),
            Self::PassedOn => {
                f.write_str("not acknowledged when the session ended: for another of the group")
            }
            Self::Dropped(why) => write!(f, "dropped: {why}"),
        }
    }
}

/// What somebody wants to know.
pub(crate) struct Question {
    /// Empty for the default one.
    tenant: Box<str>,
    client_id: Box<str>,
    /// Of messages to topics that this matches.
    filter: Box<str>,
    found: VecDeque<Explanation>,
    /// Those that were one too many.
    lost: u64,
    /// The message that is being routed, if it is one of them; and whether anything was said of it.
    current: Option<(MessageId, bool)>,
}

impl Question {
    fn is_about(&self, message: &MessageView<'_>) -> bool {
        *self.tenant == *message.tenant && self.is_about_topic(message.topic)
    }

    fn is_about_topic(&self, topic: &str) -> bool {
        let filter = TopicFilter::plain(&self.filter);
        let topic = TopicName::new(topic);
        filter.is_ok_and(|filter| topic.is_ok_and(|topic| filter.matches(topic)))
    }

    fn say(&mut self, message: Option<MessageId>, topic: &str, outcome: Outcome) {
        if let Some((_, is_explained)) = &mut self.current {
            *is_explained = true;
        }
        if self.found.len() < EXPLANATIONS_MAX {
            self.found.push_back(Explanation {
                message,
                topic: topic.into(),
                outcome,
            });
        } else {
            self.lost += 1;
        }
    }
}

impl Broker {
    /// From now on tells by [`poll_explanation`](Self::poll_explanation) why this client gets
    /// messages, or does not: those published to topics that `filter` matches. `tenant` is that of
    /// the client; the empty one is the default. The last question counts. Changes nothing that the
    /// broker does.
    pub fn explain(&mut self, tenant: &str, client_id: &str, filter: &str) {
        self.question = Some(Box::new(Question {
            tenant: tenant.into(),
            client_id: client_id.into(),
            filter: filter.into(),
            found: VecDeque::new(),
            lost: 0,
            current: None,
        }));
    }

    /// The next explanation, in the order in which things were decided.
    pub fn poll_explanation(&mut self) -> Option<Explanation> {
        self.question.as_mut()?.found.pop_front()
    }

    /// How many explanations found no room since the question was asked.
    #[must_use]
    pub fn explanations_lost(&self) -> u64 {
        self.question.as_ref().map_or(0, |question| question.lost)
    }

    /// Whether a client has a session in this shard.
    #[must_use]
    pub fn has_session(&self, tenant: &str, client_id: &str) -> bool {
        self.session_named(tenant, client_id).is_some()
    }

    /// Why a message to this topic, taken in by another shard at this moment, does not come here
    /// for a client whose session would be here. `None`: it should come.
    #[must_use]
    pub fn explain_silence(&self, tenant: &str, client_id: &str, topic: &str) -> Option<Outcome> {
        let Some(key) = self.session_named(tenant, client_id) else {
            return Some(Outcome::NoSession);
        };
        self.not_for(key, topic)
    }

    fn session_named(&self, tenant: &str, client_id: &str) -> Option<Key> {
        let tenant = self.tenants.find(tenant)?;
        self.sessions.find(tenant, client_id)
    }

    fn session_asked_about(&self, question: &Question) -> Option<Key> {
        self.session_named(&question.tenant, &question.client_id)
    }

    /// A message of this connection was refused.
    #[cold]
    pub(crate) fn explain_refusal(&mut self, key: Key, topic: &str, reason: ReasonCode) {
        let tenant = self.tenants.name(self.tenant_of(key));
        if let Some(question) = self.question.as_mut()
            && *question.tenant == *tenant.as_deref().unwrap_or_default()
            && question.is_about_topic(topic)
        {
            question.say(None, topic, Outcome::Refused(reason));
        }
    }

    /// A message begins to be routed.
    #[cold]
    pub(crate) fn explain_begin(&mut self, view: &MessageView<'_>) {
        if let Some(question) = self.question.as_mut() {
            question.current = question.is_about(view).then_some((view.id, false));
        }
    }

    /// A message is with everybody who gets it at once. Who was not mentioned was not meant, or is
    /// in the rest of a large fan-out.
    #[cold]
    pub(crate) fn explain_end(&mut self, (tenant, topic): (TenantId, &str), origin: Origin) {
        let Some(question) = self.question.as_ref() else {
            return;
        };
        let Some((message, false)) = question.current else {
            return;
        };
        let is_later = self.is_fanning_out();
        let indexes = Indexes::of(&self.tenants, tenant);
        let route = self.routes.known(topic, indexes);
        let owner = self.placement.of_client(&question.client_id);
        let outcome = match self.session_asked_about(question) {
            None if owner != self.config.identity.shard => Outcome::AtShard(PeerId(owner)),
            None => Outcome::NoSession,
            Some(key) => {
                let routes = route.iter().map(|slot| self.routes.peek(*slot));
                let mut targets = routes.flat_map(Route::targets);
                // All of them: what no local leaves out is not in the walk, but in the route.
                match targets.any(|target| target.slot == key.index) {
                    true if origin.is_from(key.index) => Outcome::NoLocal,
                    true => return,
                    false if route.is_none() && is_later => return,
                    false => match self.not_for(key, topic) {
                        None => return,
                        // The shard that took it in has chosen who of the group gets it, and may
                        // have chosen this one.
                        Some(Outcome::OtherMember { .. }) if origin.from_peer => return,
                        Some(outcome) => outcome,
                    },
                }
            }
        };
        if let Some(question) = self.question.as_mut() {
            question.say(Some(message), topic, outcome);
        }
    }

    /// Why a message to this topic does not come to a session that nothing else is said of. `None`:
    /// by its subscriptions it should come.
    fn not_for(&self, session: Key, topic: &str) -> Option<Outcome> {
        let name = TopicName::new(topic).ok()?;
        let holders = (&self.sessions, &self.connections, &self.tenants);
        match self.is_subscribed(session, topic) {
            (true, _) if self.access.may_route(session.index, name, holders) => None,
            (true, _) => Some(Outcome::Denied),
            (false, true) => Some(Outcome::OtherMember { client_id: None }),
            (false, false) => Some(Outcome::NoSubscription),
        }
    }

    /// Whether a subscription of the session itself matches; and whether one of a group does that
    /// it is a member of.
    fn is_subscribed(&self, session: Key, topic: &str) -> (bool, bool) {
        let (
            Some(Session {
                tenant,
                subscriptions,
                ..
            }),
            Ok(topic),
        ) = (self.sessions.get(session), TopicName::new(topic))
        else {
            return (false, false);
        };
        let mut text = String::new();
        let (mut itself, mut as_member) = (false, false);
        for reference in subscriptions.iter() {
            text.clear();
            self.text(*tenant, *reference, &mut text);
            let parsed = TopicFilter::parse(&text);
            if parsed.is_ok_and(|parsed| parsed.filter.matches(topic)) {
                match reference.group {
                    None => itself = true,
                    Some(_) => as_member = true,
                }
            }
        }
        (itself, as_member)
    }

    /// Something was decided about a message for the session in this slot.
    #[cold]
    pub(crate) fn explain_delivery(&mut self, slot: u32, view: &MessageView<'_>, outcome: Outcome) {
        let Some(question) = self.question.as_mut() else {
            return;
        };
        let session = self.sessions.at(slot);
        let is_asked_for = session.is_some_and(|s| s.client_id == question.client_id);
        if is_asked_for && question.is_about(view) {
            question.say(Some(view.id), view.topic, outcome);
        }
    }

    /// Another connection takes a session over.
    #[cold]
    pub(crate) fn explain_takeover(&mut self, session: Key, session_goes_on: bool) {
        self.explain_under_way(session, |_, _| Some(Outcome::TakenOver { session_goes_on }));
    }

    /// The client of a session is back.
    #[cold]
    pub(crate) fn explain_return(&mut self, session: Key) {
        self.explain_under_way(session, |_, is_begun| {
            is_begun.then_some(Outcome::SentAgain)
        });
    }

    /// A client says that it has a message.
    #[cold]
    pub(crate) fn explain_ack(&mut self, session: Key, id: PacketId, reason: ReasonCode) {
        let session_of = self.sessions.get_mut(session);
        let traffic = session_of.and_then(|session| session.traffic.as_mut());
        let exchange = traffic.and_then(|traffic| traffic.inflight.get_mut(id));
        if let Some(exchange) = exchange.filter(|exchange| exchange.stage == Stage::Published) {
            let message = exchange.delivery.message.clone();
            let outcome = Outcome::Acknowledged(reason);
            self.explain_delivery(session.index, &message.view(), outcome);
        }
    }

    /// A session ends with what is under way to it; see `Broker::abandon`.
    #[cold]
    pub(crate) fn explain_session_end(&mut self, session: Key) {
        self.explain_under_way(session, |delivery, is_begun| {
            let may_pass_on = !is_begun || delivery.qos() < QoS::ExactlyOnce;
            Some(match delivery.is_shared() && may_pass_on {
                true => Outcome::PassedOn,
                false => Outcome::Dropped(DropReason::SessionEnded),
            })
        });
    }

    /// Says something of each message under way to a session; of each, whether it was begun.
    fn explain_under_way(
        &mut self,
        session: Key,
        outcome: impl Fn(&Delivery, bool) -> Option<Outcome>,
    ) {
        let (Some(question), Some(session)) = (self.question.as_mut(), self.sessions.get(session))
        else {
            return;
        };
        let Some(traffic) = session.traffic.as_ref() else {
            return;
        };
        if session.client_id != question.client_id {
            return;
        }
        let exchanges = traffic.inflight.iter().map(|(_, exchange)| exchange);
        let begun = exchanges.filter(|exchange| exchange.stage == Stage::Published);
        let begun = begun.map(|exchange| (&exchange.delivery, true));
        let waiting = traffic.queue.since(0).map(|delivery| (delivery, false));
        for (delivery, is_begun) in begun.chain(waiting) {
            let view = delivery.message.view();
            if question.is_about(&view)
                && let Some(outcome) = outcome(delivery, is_begun)
            {
                question.say(Some(view.id), view.topic, outcome);
            }
        }
    }

    /// A member of a shared subscription was chosen; `None` is one elsewhere.
    #[cold]
    pub(crate) fn explain_choice(
        &mut self,
        publication: &Publication<'_>,
        group: GroupId,
        chosen: Option<SubscriberKey>,
    ) {
        let view = &publication.view;
        let Some(question) = self.question.as_ref() else {
            return;
        };
        let Some(key) = self.session_asked_about(question) else {
            return;
        };
        let asked = SubscriberKey(key.index);
        let group = self.tenants[publication.tenant].subscriptions.group(group);
        let is_member = group.is_some_and(|group| group.get(asked).is_some());
        if !is_member || chosen == Some(asked) || !question.is_about(view) {
            return;
        }
        let session = chosen.and_then(|key| self.sessions.at(key.0));
        let client_id = session.map(|session| session.client_id.clone());
        if let Some(question) = self.question.as_mut() {
            question.say(
                Some(view.id),
                view.topic,
                Outcome::OtherMember { client_id },
            );
        }
    }
}

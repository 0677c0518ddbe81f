//! Records of the log in readable form, and who is who, for tools that look at them.
//!
//! Not for restoring a broker: that is [`restore`](crate::restore). Nothing here is needed to run
//! one.

use crate::access::identity::Grant;
use crate::action::Peer;
use crate::broker::Broker;
use crate::codec::packet::{QoS, Version};
use crate::connection::Connection;
use crate::id::{ConnectionId, MessageId};
use crate::log::Op;
use crate::message::MessageView;
use crate::record::{self, Fields};
use crate::session::inflight::Stage;
use crate::tenant::Counts;
use crate::time::UnixTime;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::Arc;
use alloc::vec::Vec;

impl Broker {
    /// What there is of each tenant on this shard; see [`TenantUsage::of_all`]. Looks at all of
    /// them.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantUsage> {
        let usage = |id| {
            let (counts, queued_bytes) = self.tenants.usage(id);
            let retained = self.retained.usage_of(id);
            TenantUsage {
                name: self.tenants.name(id),
                counts,
                retained_messages: retained.messages,
                retained_bytes: retained.bytes,
                queued_bytes,
            }
        };
        self.tenants.ids().map(usage).collect()
    }

    /// Whose connection this is and which version it speaks, as soon as its CONNECT was accepted.
    #[must_use]
    pub fn client(&self, connection: ConnectionId) -> Option<(&str, Version)> {
        let connection = self.connections.get(connection.key())?;
        let session = self.sessions.get(connection.session()?)?;
        Some((&session.client_id, connection.profile.version()))
    }

    /// What has come and was not looked at yet, of each connection of which something has: mostly
    /// the beginning of a packet.
    pub fn half_received(&self) -> impl Iterator<Item = (ConnectionId, &[u8])> {
        let key_from = |slot| self.connections.key_from(slot);
        let keys = core::iter::successors(key_from(0), move |key| key_from(key.index + 1));
        let connections = keys.filter_map(|key| self.connections.get(key));
        let waiting = connections.filter(|connection| !connection.inbox.is_empty());
        waiting.map(|connection| (connection.id(), &*connection.inbox))
    }

    /// What is known of the peer of a connection, as it was accepted or introduced.
    #[must_use]
    pub fn peer(&self, connection: ConnectionId) -> Option<Peer> {
        self.connections.get(connection.key()).map(Connection::peer)
    }

    /// The connections of clients that `is_meant` says yes to, when it is told where they come from
    /// and what their verdicts granted. Looks at all connections there are.
    #[must_use]
    pub fn connections_of(&self, is_meant: impl Fn(&Peer, &Grant) -> bool) -> Vec<ConnectionId> {
        let nothing = Grant::default();
        let mut found = Vec::new();
        let mut slot = 0;
        while let Some(key) = self.connections.key_from(slot) {
            slot = key.index + 1;
            let Some(connection) = self.connections.get(key) else {
                continue;
            };
            let grant = connection.grant().unwrap_or(&nothing);
            if connection.session().is_some() && is_meant(&connection.peer(), grant) {
                found.push(connection.id());
            }
        }
        found
    }
}

/// What there is of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantUsage {
    /// `None` is the default one.
    pub name: Option<Arc<str>>,
    /// Clients, sessions and subscriptions.
    pub counts: Counts,
    /// Retained messages, which are the same on all shards.
    pub retained_messages: u64,
    /// Bytes of retained messages.
    pub retained_bytes: u64,
    /// Bytes that wait for its sessions.
    pub queued_bytes: u64,
}

impl TenantUsage {
    /// What all shards say, as one: by name, the default one first.
    #[must_use]
    pub fn of_all(shards: impl IntoIterator<Item = Vec<Self>>) -> Vec<Self> {
        let mut sums = BTreeMap::<Option<Arc<str>>, Self>::new();
        for usage in shards.into_iter().flatten() {
            match sums.entry(usage.name.clone()) {
                Entry::Vacant(place) => {
                    place.insert(usage);
                }
                Entry::Occupied(mut sum) => sum.get_mut().add(&usage),
            }
        }
        sums.into_values().collect()
    }

    fn add(&mut self, other: &Self) {
        self.counts.add(other.counts);
        self.retained_messages = self.retained_messages.max(other.retained_messages);
        self.retained_bytes = self.retained_bytes.max(other.retained_bytes);
        self.queued_bytes += other.queued_bytes;
    }
}

/// One operation of a batch, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The broker has started.
    Boot {
        /// The how manieth time.
        epoch: u32,
    },
    /// What came before a gap in the log, and could not be shown to be whole, has ended.
    Heeded {
        /// The first and the last number that a repair gave up.
        gap: (u64, u64),
    },
    /// What time it was.
    Clock {
        /// For the broker, whose time never goes back.
        broker: UnixTime,
        /// For the machine.
        machine: UnixTime,
    },
    /// There are records of a tenant.
    Tenant {
        /// Its name.
        name: &'a str,
    },
    /// A session exists, or has changed.
    Session(Box<SessionView>),
    /// A session has ended, with everything of it.
    SessionEnded {
        /// Its number.
        session: u64,
    },
    /// A session has subscribed.
    Subscribed {
        /// Its number.
        session: u64,
        /// To what.
        filter: &'a str,
        /// Up to which QoS.
        qos: QoS,
    },
    /// A session has unsubscribed.
    Unsubscribed {
        /// Its number.
        session: u64,
        /// From what.
        filter: &'a str,
    },
    /// A message.
    Message(MessageView<'a>),
    /// A message that nobody refers to any longer.
    MessageGone {
        /// Which.
        id: MessageId,
    },
    /// A message is to be delivered to a session.
    Delivery {
        /// Its number.
        session: u64,
        /// Which delivery of this session.
        sequence: u64,
        /// What; `None` when only the identifier is still in use.
        message: Option<MessageId>,
        /// The packet identifier, once it was sent.
        packet: Option<u16>,
    },
    /// A delivery is over.
    Delivered {
        /// The session's number.
        session: u64,
        /// Which delivery of this session.
        sequence: u64,
    },
    /// A QoS 2 message came in under this identifier.
    Received {
        /// The session's number.
        session: u64,
        /// The packet identifier.
        packet: u16,
    },
    /// Its PUBREL came.
    Completed {
        /// The session's number.
        session: u64,
        /// The packet identifier.
        packet: u16,
    },
    /// One of several shards has taken that message in.
    Taken {
        /// The session's number.
        session: u64,
        /// The packet identifier.
        packet: u16,
        /// Which shard.
        shard: u16,
    },
    /// It need not remember that any longer.
    TakenForgotten {
        /// The session's number.
        session: u64,
        /// The packet identifier.
        packet: u16,
        /// Which shard.
        shard: u16,
    },
    /// A topic has a retained message.
    Retained {
        /// In which tenant; empty for the default one.
        tenant: &'a str,
        /// The topic.
        topic: &'a str,
        /// The message.
        message: MessageId,
    },
    /// A topic has none any longer.
    RetainedCleared {
        /// In which tenant; empty for the default one.
        tenant: &'a str,
        /// The topic.
        topic: &'a str,
    },
    /// A subscription is owed retained messages.
    Owed {
        /// The session's number.
        session: u64,
        /// The filter of the subscription.
        filter: &'a str,
        /// The topic up to which they are under way, or have arrived.
        after: Option<Box<str>>,
    },
    /// All of them are under way, or have arrived.
    Settled {
        /// The session's number.
        session: u64,
        /// The filter of the subscription.
        filter: &'a str,
    },
    /// A message was refused.
    Refused {
        /// The number of its sender's session.
        session: u64,
        /// Its packet identifier.
        packet: u16,
        /// It stays so; else the identifier is that of another one now.
        stays: bool,
    },
    /// A delivery of a session that ends is another session's.
    Moved {
        /// The session's number.
        session: u64,
        /// Which of its deliveries.
        sequence: u64,
    },
    /// Of a kind that this version does not know.
    Unknown {
        /// The first byte of its key.
        kind: u8,
    },
}

/// What is told of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its number, by which other records refer to it.
    pub session: u64,
    /// In which tenant; `None` is the default one.
    pub tenant: Option<Box<str>>,
    /// Whose it is.
    pub client_id: Box<str>,
    /// The user it belongs to, if it was opened by one.
    pub user: Option<Box<str>>,
    /// How long it outlives its connection, in seconds.
    pub expiry_s: u32,
    /// Whether it had a connection when this was written.
    pub is_connected: bool,
    /// Where its will is published, if it has one.
    pub will_topic: Option<Box<str>>,
}

impl<'a> Record<'a> {
    /// Takes an operation apart; `None` when it does not say what its kind must say.
    #[must_use]
    pub fn parse(op: Op<'a>) -> Option<Self> {
        let (key, value) = match op {
            Op::Put { key, value } => (key, Some(value)),
            Op::Delete { key } => (key, None),
        };
        let (&kind, name) = key.split_first()?;
        let mut name = Fields(name);
        match kind {
            record::BOOT => Some(Self::Boot {
                epoch: Fields(value?).u32()?,
            }),
            record::CLOCK => {
                let mut fields = Fields(value?);
                Some(Self::Clock {
                    broker: UnixTime(fields.u64()?),
                    machine: UnixTime(fields.u64()?),
                })
            }
            record::TENANT => Some(Self::Tenant {
                name: core::str::from_utf8(name.0).ok()?,
            }),
            record::SESSION => Self::session(name.u64()?, value),
            record::SUBSCRIPTION => {
                let session = name.u64()?;
                let filter = core::str::from_utf8(name.0).ok()?;
                Some(match value {
                    None => Self::Unsubscribed { session, filter },
                    Some(value) => Self::Subscribed {
                        session,
                        filter,
                        qos: record::decode_subscription(value)?.options.maximum_qos,
                    },
                })
            }
            record::MESSAGE => Some(match value {
                None => Self::MessageGone {
                    id: name.message_id()?,
                },
                Some(value) => Self::Message(MessageView::parse(value)?),
            }),
            record::DELIVERY => Self::delivery(name.u64()?, name.u64()?, value),
            record::RECEIVED => {
                let (session, packet) = (name.u64()?, name.u16()?);
                Some(match value {
                    None => Self::Completed { session, packet },
                    Some(_) => Self::Received { session, packet },
                })
            }
            record::TAKEN => Self::taken(name, value),
            record::RETAINED => {
                let (tenant, topic) = record::retained_topic(core::str::from_utf8(name.0).ok()?);
                Some(match value {
                    None => Self::RetainedCleared { tenant, topic },
                    Some(value) => Self::Retained {
                        tenant,
                        topic,
                        message: record::decode_retained(value)?.id,
                    },
                })
            }
            record::CURSOR => {
                let session = name.u64()?;
                let filter = core::str::from_utf8(name.0).ok()?;
                Some(match value {
                    None => Self::Settled { session, filter },
                    Some(value) => Self::Owed {
                        session,
                        filter,
                        after: record::decode_cursor(filter, value)?.after,
                    },
                })
            }
            record::REFUSED => Some(Self::Refused {
                session: name.u64()?,
                packet: name.u16()?,
                stays: value.is_some(),
            }),
            record::MOVED => Some(Self::Moved {
                session: name.u64()?,
                sequence: name.u64()?,
            }),
            record::HEEDED => Some(Self::Heeded {
                gap: (name.u64()?, name.u64()?),
            }),
            kind => Some(Self::Unknown { kind }),
        }
    }

    fn taken(mut name: Fields<'_>, value: Option<&[u8]>) -> Option<Self> {
        let (session, packet, shard) = (name.u64()?, name.u16()?, name.u16()?);
        Some(match value {
            None => Self::TakenForgotten {
                session,
                packet,
                shard,
            },
            Some(_) => Self::Taken {
                session,
                packet,
                shard,
            },
        })
    }

    fn session(session: u64, value: Option<&[u8]>) -> Option<Self> {
        let Some(value) = value else {
            return Some(Self::SessionEnded { session });
        };
        let record = record::decode_session(value)?;
        Some(Self::Session(Box::new(SessionView {
            session,
            tenant: record.tenant,
            client_id: record.client_id,
            user: record.user,
            expiry_s: record.expiry_s,
            is_connected: record.is_connected,
            will_topic: record.will.map(|will| will.topic),
        })))
    }

    fn delivery(session: u64, sequence: u64, value: Option<&[u8]>) -> Option<Self> {
        let Some(value) = value else {
            return Some(Self::Delivered { session, sequence });
        };
        let record = record::decode_delivery(value)?;
        let is_released = matches!(record.exchange, Some((Stage::Released, _)));
        Some(Self::Delivery {
            session,
            sequence,
            message: (!is_released).then_some(record.message),
            packet: record.exchange.map(|(_, id)| id.get()),
        })
    }
}

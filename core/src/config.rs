//! What people set: every capability, policy and limit of the broker, each with its default and the
//! reason for it. [`Config::validate`] names what does not fit together before a broker starts.
//!
//! Plain data with public fields; nothing here decides anything at run time.

use crate::access::ban::Bans;
pub use crate::access::names::{BadPrefix, TopicPrefix, TopicsConfig};
use crate::access::rules::Rules;
use crate::codec::packet::{QoS, Version};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use thiserror::Error;

/// Configuration of one broker. `Config::default()` is safe to run as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What is offered to clients, as announced in CONNACK.
    pub protocol: Protocol,
    /// How sessions live, queue and end.
    pub session: SessionConfig,
    /// Numbers that bound memory and work.
    pub limits: Limits,
    /// Which node and shard this is.
    pub identity: Identity,
    /// Who may do what.
    pub access: AccessConfig,
    /// How much one client, user or address may have.
    pub quotas: QuotaConfig,
    /// Namespaces that do not see each other.
    pub tenants: TenantsConfig,
    /// Where the topics of clients begin, and what clients may call their own.
    pub topics: TopicsConfig,
    /// Whether acknowledgements wait for `Broker::persisted`. Off, nothing is emitted as a record.
    pub durable: bool,
}

/// Who may do what, when the broker starts. `Broker::set_rules` puts others in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessConfig {
    /// The rules; no rules at all allow nothing. Default: `None`, which allows everything but
    /// publishing to `$SYS`.
    pub rules: Option<Arc<Rules>>,
    /// Rules that are tried: what they would deny is counted and reported. Default: none.
    pub shadow_rules: Option<Arc<Rules>>,
    /// Who is kept out. Default: nobody.
    pub bans: Arc<Bans>,
}

/// How much one client, one user or one address may have, whichever shards it is at. 0 is no limit.
/// None by default: a fleet behind one address, or of one user, is as ordinary as a busy
/// publisher, and only its operator knows what is too much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaConfig {
    /// Open connections from one IPv4 address, or from one IPv6 network of 64 bits.
    pub connections_per_address_maximum: u32,
    /// New connections from one such address in a second; a second's worth may come at once.
    pub connections_per_address_per_second_maximum: u32,
    /// Connections of one verified user. Shards tell each other how many they have; who comes to
    /// several of them within one turn may exceed it.
    pub connections_per_user_maximum: u32,
    /// Open connections of each listener, by its number; what is not there has no limit.
    pub connections_per_listener_maximum: Vec<u32>,
    /// Messages that one client may publish in a second; a second's worth may come at once.
    pub publish_messages_per_second_maximum: u32,
    /// Bytes of topics and payloads that one client may publish in a second; a second's worth may
    /// come at once.
    pub publish_bytes_per_second_maximum: u32,
    /// What happens to a client that publishes more. Default: it is throttled; nothing is lost.
    pub publish_excess: PublishExcess,
}

impl QuotaConfig {
    /// Whether anything has to be counted by address.
    pub(crate) const fn counts_addresses(&self) -> bool {
        self.connections_per_address_maximum > 0
            || self.connections_per_address_per_second_maximum > 0
    }
}

/// Namespaces that do not see each other, and how much each of them may have. Which one a client is
/// in, [`Grant::tenant`] says; who is in none counts for none of this.
///
/// 0 is no limit, and the default. Shards count together, but each hears of the others only a turn
/// later: what comes to several at once may exceed a limit by one each. What waits is divided among
/// them.
///
/// [`Grant::tenant`]: crate::Grant::tenant
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantsConfig {
    /// How many there may be: clients of further ones are refused (0x97). One that was there once
    /// is until the broker stops, at less than a kilobyte. Default 1,000.
    pub maximum: u32,
    /// Connected clients of one tenant; further ones are refused (0x97).
    pub connections_maximum: u32,
    /// Sessions of one tenant, connected or not; who would open a further one is refused (0x97).
    pub sessions_maximum: u32,
    /// Subscriptions of all sessions of one tenant; a further one is refused (0x97).
    pub subscriptions_maximum: u32,
    /// Retained messages of one tenant. A further one of QoS 1 or 2 is refused (0x97), one of QoS 0
    /// is not retained.
    pub retained_messages_maximum: u64,
    /// Bytes of the same.
    pub retained_bytes_maximum: u64,
    /// Bytes that wait for clients of one tenant, in all; what is more is dropped and counted.
    pub queued_bytes_maximum: u64,
}

impl Default for TenantsConfig {
    fn default() -> Self {
        Self {
            maximum: 1_000,
            connections_maximum: 0,
            sessions_maximum: 0,
            subscriptions_maximum: 0,
            retained_messages_maximum: 0,
            retained_bytes_maximum: 0,
            queued_bytes_maximum: 0,
        }
    }
}

impl TenantsConfig {
    /// What one of several shards may have of what is divided.
    pub(crate) fn share_of(&mut self, identity: &Identity) {
        // 0 would be no limit.
        self.queued_bytes_maximum = self
            .queued_bytes_maximum
            .div_ceil(u64::from(identity.shards));
    }

    /// Whether shards have to tell each other how much a tenant has.
    pub(crate) const fn counts_together(&self) -> bool {
        self.connections_maximum > 0 || self.sessions_maximum > 0 || self.subscriptions_maximum > 0
    }
}

/// What happens to a client that publishes more than it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PublishExcess {
    /// It is not read until it has earned what it has taken.
    #[default]
    Throttle,
    /// It is disconnected (0x96), and the message that was too much is not taken in.
    Disconnect,
}

/// Which node and shard a broker is, in a set of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node, unique in a cluster. Default 0: there is only one.
    pub node: u16,
    /// The shard, unique in a node. Default 0: there is only one.
    pub shard: u16,
    /// How often this node has started; the log counts it. Default 0: nothing was kept.
    pub boot_epoch: u32,
    /// How many shards the node has, 1 to 64. Default 1.
    pub shards: u16,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            node: 0,
            shard: 0,
            boot_epoch: 0,
            shards: 1,
        }
    }
}

impl Identity {
    /// Names this shard in this boot: the first half of the identifiers of its messages.
    pub(crate) const fn origin(&self) -> u64 {
        (self.node as u64) << 48 | (self.shard as u64) << 32 | self.boot_epoch as u64
    }
}

/// Capabilities: enforced, and announced to 5.0 clients in CONNACK when they are not the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Versions that are served. Default: all three.
    pub versions: Vec<Version>,
    /// The highest QoS a client may publish with; subscriptions are granted at most this.
    /// Default: 2.
    pub maximum_qos: QoS,
    /// Whether RETAIN may be set. Default: yes.
    pub retain_available: bool,
    /// Whether filters may have wildcards. Default: yes.
    pub wildcard_subscription_available: bool,
    /// Whether `$share/...` may be subscribed to. Default: yes. 3.x clients may use it too.
    pub shared_subscription_available: bool,
    /// Whether subscriptions may carry an identifier. Default: yes.
    pub subscription_identifiers_available: bool,
    /// QoS 1 and 2 messages a client may have unacknowledged towards the broker. Default 1,024:
    /// enough for a window of 100 ms at 10,000 messages a second, and 64 KiB of identifiers at
    /// most.
    pub receive_maximum: u16,
    /// The largest packet a client may send, in bytes. Default 1 MiB + 64 KiB: a payload of 1 MiB
    /// with its topic and properties. Larger ones are refused from their first five bytes.
    pub maximum_packet_size: u32,
    /// Topic aliases a client may set. Default 64: at most 64 topics remembered a connection.
    pub topic_alias_maximum: u16,
    /// Topic aliases the broker sets towards a client that allows them, at most. Default 16.
    pub topic_alias_outbound_maximum: u16,
    /// Replaces every client's keep alive, in seconds. Default: none.
    pub server_keep_alive_s: Option<u16>,
    /// The longest keep alive, in seconds, whatever a client asks for; none at all counts as
    /// longer. 5.0 clients are told; 3.x clients cannot be, and are held to it. 0 allows any.
    /// Default 3,600: who is gone without a word is missed within one and a half hours, and what
    /// stands between clients and a broker forgets connections that are silent for longer.
    pub keep_alive_maximum_s: u16,
    /// Response information for 5.0 clients that ask for it. `%c` stands for the client identifier.
    /// Default: none.
    pub response_information: Option<String>,
    /// Server reference, sent with refusals 0x9C and 0x9D and when the broker shuts down.
    /// Default: none.
    pub server_reference: Option<String>,
    /// Refuse payloads that are declared UTF-8 and are not. Default: no, the standard makes it
    /// optional and it costs a pass over each such payload.
    pub check_payload_format: bool,
    /// Who of a shared subscription gets the next message. Default: round robin.
    pub shared_strategy: SharedStrategy,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            versions: [Version::V3, Version::V4, Version::V5].into(),
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_subscription_available: true,
            shared_subscription_available: true,
            subscription_identifiers_available: true,
            receive_maximum: 1_024,
            maximum_packet_size: (1 << 20) + (64 << 10),
            topic_alias_maximum: 64,
            topic_alias_outbound_maximum: 16,
            server_keep_alive_s: None,
            keep_alive_maximum_s: 3_600,
            response_information: None,
            server_reference: None,
            check_payload_format: false,
            shared_strategy: SharedStrategy::RoundRobin,
        }
    }
}

/// Who of a shared subscription gets the next message. Members that are connected and can take it
/// are always preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharedStrategy {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// The same one as long as it can take messages.
    Sticky,
    /// Any, drawn from the seed.
    Random,
    /// The one with the fewest unacknowledged messages.
    LeastInflight,
}

/// How sessions live, queue and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// The longest a session outlives its connection, in seconds; longer wishes are cut to this and
    /// 5.0 clients are told. Default 7 days: dead sessions of random client identifiers are the
    /// classic leak of brokers.
    pub expiry_maximum_s: u32,
    /// How long the session of a 3.x client with clean session 0 outlives its connection, in
    /// seconds. Default 7 days, for the same reason. Cut to `expiry_maximum_s`.
    pub expiry_3x_s: u32,
    /// Messages that wait for one client, at most. Default 10,000.
    pub queue_messages_maximum: u32,
    /// Bytes of messages that wait for one client, at most. Default 16 MiB.
    pub queue_bytes_maximum: u32,
    /// What happens to a message that finds the queue of its client full. Default: it is dropped.
    pub queue_overflow: QueueOverflow,
    /// Whether QoS 0 messages are queued for clients that are away. Default: no.
    pub queue_qos0: bool,
    /// How many QoS 1 and 2 messages are in flight to one client at most, if it allows so many.
    /// Default 16,384, so that a client which takes everything from many publishers is never the
    /// one that is waited for; what waits beyond that is still in the queue.
    pub inflight_maximum: u16,
    /// Bytes of messages in flight to one client, from which no further one is begun. Default 4
    /// MiB: a fast link stays busy, and a client that acknowledges nothing costs no more, however
    /// large its messages.
    pub inflight_bytes_maximum: u32,
    /// Resend to a connected 3.x client what it has not acknowledged for this long, in
    /// milliseconds. Default 0: never, as TCP already does it; 5.0 forbids it.
    pub retransmit_interval_ms: u32,
    /// How often one message is resent at most before the connection is closed. Default 3.
    pub retransmit_maximum: u8,
    /// What happens to a client whose identifier names a session of another user. Default: it is
    /// refused; whoever knows a client identifier could otherwise end the session of its owner.
    pub other_user: OtherUser,
    /// What happens when a client connects whose identifier is connected already. Default: it takes
    /// over, as the standard says.
    pub duplicate_client: DuplicateClient,
    /// For [`DuplicateClient::BackOff`]: takeovers of one session within the window before
    /// newcomers are refused. Default 5: a client that reconnects in spite of itself does so less
    /// often.
    pub duplicate_takeovers_maximum: u32,
    /// For [`DuplicateClient::BackOff`]: the window, in seconds. Default 30.
    pub duplicate_window_s: u32,
    /// What happens to a client that is connected and has a subscription that is no longer allowed,
    /// beside the end of that subscription. Default: it is disconnected, since MQTT has no other
    /// way to tell it.
    pub revoked_subscription: RevokedSubscription,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            expiry_maximum_s: 7 * 24 * 3_600,
            expiry_3x_s: 7 * 24 * 3_600,
            queue_messages_maximum: 10_000,
            queue_bytes_maximum: 16 << 20,
            queue_overflow: QueueOverflow::DropNewest,
            queue_qos0: false,
            inflight_maximum: 16_384,
            inflight_bytes_maximum: 4 << 20,
            retransmit_interval_ms: 0,
            retransmit_maximum: 3,
            other_user: OtherUser::Refuse,
            duplicate_client: DuplicateClient::TakeOver,
            duplicate_takeovers_maximum: 5,
            duplicate_window_s: 30,
            revoked_subscription: RevokedSubscription::Disconnect,
        }
    }
}

/// What happens to a client whose identifier names a session of another user. What waits in that
/// session is handed over in no case. A session that was opened without a user belongs to nobody: a
/// user replaces it under either setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherUser {
    /// It is refused (0x87); session and connection of the owner stay as they are.
    #[default]
    Refuse,
    /// The session of the owner ends, and a new one begins. For sites whose devices change users.
    Replace,
}

/// What happens when a client connects whose identifier is connected already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DuplicateClient {
    /// It takes the session over, and the other connection is closed.
    #[default]
    TakeOver,
    /// It is refused (0x85; 3.x: 2) as long as the other is there: after a lost network for up to
    /// one and a half times the keep alive of the other.
    Refuse,
    /// It takes over, but not again and again: two clients that push each other off are noticed,
    /// and newcomers are refused (0x89; 3.x: 3) for a second, then for two, up to 64, so that one
    /// of them works.
    BackOff,
}

/// What happens to a connected client one of whose subscriptions is no longer allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevokedSubscription {
    /// It is disconnected (0x87), so that it does not believe to be subscribed.
    #[default]
    Disconnect,
    /// It stays, and is told nothing: only the event and the log tell. For clients that would only
    /// come back and ask again.
    Stay,
}

/// What happens to a message that finds the queue of its client full. Either way it is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueOverflow {
    /// The new message is dropped for this client.
    #[default]
    DropNewest,
    /// The oldest waiting message is dropped, the new one is queued.
    DropOldest,
    /// The client is disconnected (0x97); while it is away the new message is dropped.
    Disconnect,
}

/// Numbers that bound memory and work. Zero is refused wherever it would mean "nothing works".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. Default 1,000,000; the operating system's limit is met first.
    pub connections_maximum: u32,
    /// Sessions, connected or not. Default 2,000,000, about 1 GiB of empty ones.
    pub sessions_maximum: u32,
    /// From accept to a complete CONNECT and its verdict, in milliseconds. Default 10 s.
    pub connect_timeout_ms: u32,
    /// Bytes of a CONNECT packet. Default 64 KiB: identifier, credentials and a small will. A will
    /// with a larger payload needs a higher limit here.
    pub connect_packet_size_maximum: u32,
    /// Bytes of a client identifier. Default 256.
    pub client_id_bytes_maximum: u16,
    /// Bytes of a topic name or filter. Default 4,096.
    pub topic_bytes_maximum: u16,
    /// Levels of a topic name or filter. Default 128: matching work grows with it.
    pub topic_levels_maximum: u16,
    /// Subscriptions of one session. Default 10,000.
    pub subscriptions_per_session_maximum: u32,
    /// User properties in one packet. Default 64.
    pub user_properties_maximum: u16,
    /// Messages that wait for clients, in all. Default 10,000,000.
    pub queue_messages_total_maximum: u64,
    /// Bytes that wait for clients, in all. Default 2 GiB.
    pub queue_bytes_total_maximum: u64,
    /// Retained messages. Default 2,000,000.
    pub retained_messages_maximum: u64,
    /// Bytes of retained messages. Default 1 GiB.
    pub retained_bytes_maximum: u64,
    /// Encoded bytes that wait for one connection to take them. Above this a QoS 0 message for it
    /// is dropped and counted, and higher QoS stays in the queue. Default 1 MiB.
    pub unsent_bytes_maximum: u32,
    /// Unsent bytes of a connection from which its publishers are no longer read. Default 256 KiB.
    pub unsent_bytes_pause: u32,
    /// How long publishers wait for a connection that does not take its bytes, in milliseconds,
    /// before it counts as slow and they go on without it. Default 1 s; 0 never pauses.
    pub slow_consumer_grace_ms: u32,
    /// Bytes of records that the log may have to catch up with. Above this no connection is read:
    /// see [`Broker::log_is_behind`](crate::Broker::log_is_behind). Default 32 MiB: a second of a
    /// slow disk. Runtimes lower it to half a segment of the log they keep, so that a disk that is
    /// found full has room for it.
    pub unpersisted_bytes_maximum: u32,
    /// What all sessions, queues, retained messages and buffers may take, in bytes, by the core's
    /// own count. Above it new sessions are refused, QoS 0 for slow clients is dropped, and
    /// publishers of QoS above 0 are told quota exceeded. Default 4 GiB.
    pub memory_budget_bytes: u64,
    /// Bytes of messages of QoS 1 and 2 that wait in queues and are held in memory, if there is a
    /// log; the rest is read back from there when it is due. Default 256 MiB: what clients miss
    /// while they are briefly away stays at hand, and what gathers for days does not fill the
    /// machine. Each message counts once, however many wait for it.
    pub queued_payload_memory_bytes: u64,
    /// Deliveries one input may start before the rest is put off to the next turn. Default 1,024.
    pub fanout_step: u32,
    /// Events that wait for the runtime at most; further ones are counted, not kept. Default 4,096.
    pub events_maximum: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_maximum: 1_000_000,
            sessions_maximum: 2_000_000,
            connect_timeout_ms: 10_000,
            connect_packet_size_maximum: 64 << 10,
            client_id_bytes_maximum: 256,
            topic_bytes_maximum: 4_096,
            topic_levels_maximum: 128,
            subscriptions_per_session_maximum: 10_000,
            user_properties_maximum: 64,
            queue_messages_total_maximum: 10_000_000,
            queue_bytes_total_maximum: 2 << 30,
            retained_messages_maximum: 2_000_000,
            retained_bytes_maximum: 1 << 30,
            unsent_bytes_maximum: 1 << 20,
            unsent_bytes_pause: 256 << 10,
            slow_consumer_grace_ms: 1_000,
            unpersisted_bytes_maximum: 32 << 20,
            memory_budget_bytes: 4 << 30,
            queued_payload_memory_bytes: 256 << 20,
            fanout_step: 1_024,
            events_maximum: 4_096,
        }
    }
}

impl Limits {
    /// What one of several shards may have of it: no more than the limit together, whoever gets
    /// what. What each shard has all of, such as retained messages, is not divided.
    pub(crate) fn share_of(&mut self, identity: &Identity) {
        let (shards, shard) = (u64::from(identity.shards), u64::from(identity.shard));
        let share = |limit: u64| limit / shards + u64::from(shard < limit % shards);
        let small = |limit: u32| u32::try_from(share(u64::from(limit))).unwrap_or(limit);
        self.connections_maximum = small(self.connections_maximum);
        self.sessions_maximum = small(self.sessions_maximum);
        self.queue_messages_total_maximum = share(self.queue_messages_total_maximum);
        self.queue_bytes_total_maximum = share(self.queue_bytes_total_maximum);
        self.queued_payload_memory_bytes = share(self.queued_payload_memory_bytes);
        self.memory_budget_bytes = share(self.memory_budget_bytes);
    }
}

/// A configuration that cannot run: which key, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: {remedy}")]
pub struct ConfigError {
    /// The key, with its section: `limits.fanout_step`.
    pub key: &'static str,
    /// What to set instead, in words.
    pub remedy: &'static str,
}

impl Config {
    /// Checks that the numbers make sense together.
    ///
    /// # Errors
    ///
    /// The first key that does not fit, with the remedy. The fault is the operator's.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (p, s, l) = (&self.protocol, &self.session, &self.limits);
        let rules = [
            (
                !p.versions.is_empty(),
                "protocol.versions",
                "name at least one version",
            ),
            (
                p.receive_maximum > 0,
                "protocol.receive_maximum",
                "must be 1 to 65535",
            ),
            (
                p.maximum_packet_size >= 128,
                "protocol.maximum_packet_size",
                "must be at least 128 bytes, or no client can connect",
            ),
            (
                p.maximum_packet_size <= 268_435_460,
                "protocol.maximum_packet_size",
                "must be at most 268435460 bytes, the largest packet MQTT knows",
            ),
            (
                p.server_keep_alive_s != Some(0),
                "protocol.server_keep_alive_s",
                "must be at least 1; leave it out to accept what clients ask for",
            ),
            (
                s.queue_messages_maximum > 0,
                "session.queue_messages_maximum",
                "must be at least 1, or messages of QoS 1 and 2 cannot be delivered",
            ),
            (
                s.inflight_maximum > 0,
                "session.inflight_maximum",
                "must be 1 to 65535",
            ),
            (
                self.topics.is_whole(),
                "topics.session_prefix",
                "needs topics.session_prefix_means, in which %c, %u or %t stands, and has none of \
                 these itself",
            ),
            (
                l.connections_maximum >= u32::from(self.identity.shards.max(1)),
                "limits.connections_maximum",
                "must be at least 1 a thread",
            ),
            (
                l.sessions_maximum >= u32::from(self.identity.shards.max(1)),
                "limits.sessions_maximum",
                "must be at least 1 a thread",
            ),
            (
                l.connect_timeout_ms > 0,
                "limits.connect_timeout_ms",
                "must be at least 1; silent connections would never end",
            ),
            (
                l.connect_packet_size_maximum >= 64,
                "limits.connect_packet_size_maximum",
                "must be at least 64 bytes, or no client can connect",
            ),
            (
                l.topic_bytes_maximum > 0,
                "limits.topic_bytes_maximum",
                "must be at least 1",
            ),
            (
                l.topic_levels_maximum > 0,
                "limits.topic_levels_maximum",
                "must be at least 1",
            ),
            (
                l.unsent_bytes_pause <= l.unsent_bytes_maximum,
                "limits.unsent_bytes_pause",
                "must not be above limits.unsent_bytes_maximum",
            ),
            (
                (1..=crate::placement::SLOTS).contains(&self.identity.shards),
                "identity.shards",
                "must be 1 to 64",
            ),
            (
                self.identity.shard < self.identity.shards,
                "identity.shard",
                "must be below identity.shards",
            ),
            (
                l.fanout_step > 0,
                "limits.fanout_step",
                "must be at least 1",
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, key, remedy)) => Err(ConfigError { key, remedy }),
            None => Ok(()),
        }
    }
}

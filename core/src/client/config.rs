//! What a client is told once: who it is, what it asks of the server, and its own limits.

use super::error::Misuse;
use crate::codec::packet::{self, Connect, QoS, Version};
use crate::codec::{Packet, Property, PropertyBuffer, REMAINING_LENGTH_MAX, encode};
use crate::profile::Profile;
use crate::topic::TopicName;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The largest packet there can be: type, four bytes of length, the longest body.
const PACKET_SIZE_MAX: u32 = REMAINING_LENGTH_MAX + 5;

/// What a [`Client`](super::Client) says in CONNECT, and the limits it keeps to.
///
/// What a version cannot say is not said: before 5.0 that is everything marked "5.0".
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Default: 5.0.
    pub version: Version,
    /// Default: empty, which asks the server for one. 3.1 does not know that, and 3.1.1 only with a
    /// clean start.
    pub client_id: String,
    /// Whether what an earlier session left is thrown away; in 3.x also whether this session ends
    /// with its connection. A client that connects again to go on with its session does not ask for
    /// a clean start again. Default: `true`.
    pub clean_start: bool,
    /// Seconds for which the session outlives its connection; `u32::MAX` is for ever. 5.0. Default:
    /// 0.
    pub session_expiry_s: u32,
    /// Seconds after which a silent client pings; 0 for never. Default: 60, of which servers
    /// tolerate the one and a half fold.
    pub keep_alive_s: u16,
    /// Default: none.
    pub username: Option<String>,
    /// Default: none. Only 5.0 knows a password without a user name.
    pub password: Option<Vec<u8>>,
    /// What the server publishes should the connection end without a DISCONNECT. Default: nothing.
    pub will: Option<Will>,
    /// How many QoS 1 and 2 messages the server may have open with this client, from 1; a server
    /// that goes over it is left. 5.0. Default: 65,535, as when nothing is said.
    pub receive_maximum: u16,
    /// The largest packet taken in, in bytes; 5.0 servers are told. Memory grows with what has
    /// arrived, not with what was announced. Default: 16 MiB, far above the packets people send.
    pub maximum_packet_size: u32,
    /// The largest topic alias that the server may use; each holds a topic name. 5.0. Default: 16,
    /// which a hostile server can make hold 1 MiB.
    pub topic_alias_maximum: u16,
    /// Whether reason strings and user properties are welcome. 5.0. Default: `true`.
    pub request_problem_information: bool,
    /// Whether to ask for response information. 5.0. Default: `false`.
    pub request_response_information: bool,
    /// User properties of CONNECT. 5.0. Default: none.
    pub user_properties: Vec<(String, String)>,
    /// Enhanced authentication. 5.0. Default: none.
    pub authentication: Option<Authentication>,

    /// How many of the topics that are published to get an alias, if the server takes aliases: the
    /// first ones. 5.0. Default: 0.
    pub topic_aliases: u16,
    /// How many QoS 1 and 2 messages may be open towards the server, which may allow less; and how
    /// many requests. Bounds what is kept for resending. Default: 1,000.
    pub inflight_max: u16,
    /// Bytes that may wait for `transmit` before publishing is refused. Default: 1 MiB.
    pub unsent_bytes_max: usize,
    /// How long the server may take for CONNACK and for PINGRESP. Default: 10 seconds.
    pub response_timeout_ms: u64,
    /// Whether QoS 1 and 2 messages are acknowledged by [`acknowledge`](super::Client::acknowledge)
    /// instead of when they are handed out. Default: `false`.
    pub manual_acknowledgement: bool,
}

/// What the server publishes when a client is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Will {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// How.
    pub qos: QoS,
    /// Whether to retain it.
    pub retain: bool,
    /// Will properties, the will delay interval among them. 5.0.
    pub properties: PropertyBuffer,
}

/// The start of an enhanced authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Its name.
    pub method: String,
    /// What the method says first, if anything.
    pub data: Option<Vec<u8>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: Version::V5,
            client_id: String::new(),
            clean_start: true,
            session_expiry_s: 0,
            keep_alive_s: 60,
            username: None,
            password: None,
            will: None,
            receive_maximum: u16::MAX,
            maximum_packet_size: 16 * 1_024 * 1_024,
            topic_alias_maximum: 16,
            request_problem_information: true,
            request_response_information: false,
            user_properties: Vec::new(),
            authentication: None,
            topic_aliases: 0,
            inflight_max: 1_000,
            unsent_bytes_max: 1_024 * 1_024,
            response_timeout_ms: 10_000,
            manual_acknowledgement: false,
        }
    }
}

impl Config {
    pub(super) const fn profile(&self) -> Profile {
        Profile::new(self.version, self.request_problem_information)
    }

    /// Whether this can be said at all.
    pub(super) fn validate(&self) -> Result<(), Misuse> {
        let profile = self.profile();
        if self.client_id.is_empty() {
            if !profile.allows_empty_client_id() {
                return Err(Misuse::ClientId);
            }
            if profile.empty_client_id_needs_clean_start() && !self.clean_start {
                return Err(Misuse::ClientId); // [MQTT311-3.1.3-7]
            }
        }
        if self.receive_maximum == 0 || self.maximum_packet_size == 0 {
            return Err(Misuse::Property);
        }
        if let Some(will) = &self.will {
            TopicName::new(&will.topic)?;
        }
        self.encode_connect(self.clean_start, &mut Vec::new())
    }

    /// Appends the CONNECT to `out`.
    pub(super) fn encode_connect(
        &self,
        clean_start: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        let mut properties = PropertyBuffer::new();
        if !self.push_properties(&mut properties) {
            return Err(Misuse::Property);
        }
        let connect = Connect {
            version: self.version,
            clean_start,
            keep_alive_s: self.keep_alive_s,
            client_id: &self.client_id,
            will: self.will.as_ref().map(|will| packet::Will {
                topic: &will.topic,
                payload: &will.payload,
                qos: will.qos,
                retain: will.retain,
                properties: will.properties.as_properties(),
            }),
            username: self.username.as_deref(),
            password: self.password.as_deref(),
            properties: properties.as_properties(),
        };
        Ok(encode(&Packet::Connect(connect), self.version, out)?)
    }

    /// What is said in properties: nothing that is so anyway. `false` when something cannot be
    /// said.
    fn push_properties(&self, properties: &mut PropertyBuffer) -> bool {
        let numbers = [
            (
                self.session_expiry_s != 0,
                Property::SessionExpiryInterval(self.session_expiry_s),
            ),
            (
                self.receive_maximum != u16::MAX,
                Property::ReceiveMaximum(self.receive_maximum),
            ),
            (
                self.maximum_packet_size < PACKET_SIZE_MAX,
                Property::MaximumPacketSize(self.maximum_packet_size),
            ),
            (
                self.topic_alias_maximum != 0,
                Property::TopicAliasMaximum(self.topic_alias_maximum),
            ),
            (
                !self.request_problem_information,
                Property::RequestProblemInformation(false),
            ),
            (
                self.request_response_information,
                Property::RequestResponseInformation(true),
            ),
        ];
        let said = numbers.into_iter().filter(|(say, _)| *say);
        let mut complete = true;
        for (_, property) in said {
            complete &= properties.push(property);
        }
        for (name, value) in &self.user_properties {
            complete &= properties.push(Property::UserProperty(name, value));
        }
        if let Some(Authentication { method, data }) = &self.authentication {
            complete &= properties.push(Property::AuthenticationMethod(method));
            if let Some(data) = data {
                complete &= properties.push(Property::AuthenticationData(data));
            }
        }
        complete
    }
}

/// Without what is secret, and without what is at its default more often than not.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("clean_start", &self.clean_start)
            .field("session_expiry_s", &self.session_expiry_s)
            .field("keep_alive_s", &self.keep_alive_s)
            .finish_non_exhaustive()
    }
}

/// Without the data, which may be secret.
impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

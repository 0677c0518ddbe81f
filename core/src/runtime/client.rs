//! What a client over a network hands to its user, whatever the runtime that carries its bytes.

use super::BadServerUrl;
use crate::client::{Fault, Misuse};
use crate::codec::packet::QoS;
use crate::codec::{PropertyBuffer, ReasonCode};
use crate::id::PacketId;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use std::io;
use thiserror::Error;

/// A message, sent or received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "see `client::PublishRequest`")]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    pub properties: PropertyBuffer,
}

/// What a connection brings.
#[derive(Debug)]
pub enum Event {
    /// A message. Above QoS 0 it has been acknowledged, or is to be, when that is
    /// `manual_acknowledgement` of its configuration.
    Message {
        /// The message.
        message: Message,
        /// What to acknowledge it under, above QoS 0.
        packet_id: Option<PacketId>,
    },
    /// The end, and the last event.
    Ended(Ended),
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub enum Ended {
    /// The server did not want it from the start.
    #[error("the server refused the connection: {}", reason_in_words(*.0, .1))]
    Refused(ReasonCode, Option<String>),
    /// The server said goodbye.
    #[error("the server closed the connection: {}", reason_in_words(*.0, .1))]
    Server(ReasonCode, Option<String>),
    /// This client did.
    #[error("disconnected")]
    Local,
    /// The transport broke, or the server closed it without a word.
    #[error("the connection was lost: {0}")]
    Transport(io::Error),
    /// The server broke a rule.
    #[error("the server broke the protocol: {0}")]
    Fault(Fault),
    /// The server did not answer in time.
    #[error("the server did not answer in time")]
    Timeout,
}

/// The reason, and what the server says beside it. Servers, ours among them, like to repeat the
/// reason; and what somebody else says moves no cursor of who reads it.
fn reason_in_words(reason: ReasonCode, text: &Option<String>) -> String {
    let reason = reason.to_string();
    let Some(text) = text else {
        return reason;
    };
    let plain = |c: char| match c {
        '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => '\u{FFFD}',
        c if c.is_control() => '\u{FFFD}',
        c => c,
    };
    let text: String = text.chars().map(plain).collect();
    match text.to_ascii_lowercase().contains(&reason) {
        true => text.strip_prefix("refused: ").unwrap_or(&text).into(),
        false => format!("{reason} ({text})"),
    }
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum OpenError {
    /// What the configuration asks for cannot be said.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// It is no name of a server.
    #[error(transparent)]
    Url(#[from] BadServerUrl),
    /// There is no transport.
    #[error(transparent)]
    Connect(#[from] io::Error),
    /// There was one.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// Why a request came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// It cannot be asked.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// The connection ended first; the last event says why.
    #[error("the connection ended before the answer came")]
    Ended,
}

/// What the server said when it accepted the connection.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its session was there already.
    pub session_present: bool,
    /// CONNACK properties.
    pub properties: PropertyBuffer,
}

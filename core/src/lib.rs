//! Whimbrel's protocol core: an MQTT broker as a pure state machine.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod action;
pub mod broker;
pub mod codec;
pub mod config;
pub mod error;
pub mod id;
pub mod message;
pub mod statistics;
pub mod time;
pub mod topic;

pub use action::{Action, CloseReason, Event, Peer, Verdict};
pub use broker::Broker;
pub use config::Config;
pub use id::ConnectionId;
pub use time::{Now, Timestamp, UnixTime};

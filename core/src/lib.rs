//! Whimbrel's protocol core: an MQTT broker as a pure state machine.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod access;
pub mod action;
mod backpressure;
pub mod broker;
mod buffers;
pub mod bundle;
mod checkpoint;
pub mod client;
mod clock;
pub mod codec;
pub mod config;
mod connection;
mod deliver;
mod encoder;
pub mod error;
mod estate;
pub mod explain;
mod flapping;
mod gate;
mod handle;
pub mod id;
mod inbox;
pub mod inspect;
mod journal;
pub mod letter;
pub mod log;
mod memory;
pub mod message;
mod narrowing;
mod peers;
mod placement;
mod profile;
mod pump;
mod quota;
mod random;
mod record;
pub mod recording;
pub mod restore;
mod retained;
mod route;
#[cfg(feature = "std")]
pub mod runtime;
mod session;
mod shared;
mod sizing;
mod slab;
mod spill;
mod state;
pub mod statistics;
mod taken;
pub mod tenant;
pub mod time;
mod timer;
pub mod topic;
mod will;

pub use access::identity::{Certificate, Grant};
pub use action::{Action, CloseReason, Event, Peer, Verdict};
pub use broker::Broker;
pub use config::Config;
pub use id::ConnectionId;
pub use restore::Restorer;
pub use time::{Now, Timestamp, UnixTime};

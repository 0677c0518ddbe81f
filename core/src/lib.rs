//! Whimbrel's protocol core: an MQTT broker as a pure state machine.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod codec;
pub mod error;
pub mod id;
pub mod time;
pub mod topic;

//! The program as people meet it: typed, configured, started, stopped. Every test runs the real
//! binary, waits for what it says instead of sleeping, and gives up after a bounded time.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod access;
mod authentication;
mod bans;
#[cfg(feature = "tools")]
mod bench;
#[cfg(all(target_os = "linux", feature = "websocket"))]
mod class_16_administration;
mod commands;
mod embed;
mod harness;
#[cfg(feature = "tls")]
mod listeners;
mod mistakes;
mod mosquitto;
mod passwd;
mod raw;
#[cfg(feature = "tools")]
mod recording;
mod running;
mod scram;
#[cfg(all(target_os = "linux", feature = "tls", feature = "websocket"))]
mod stalled;
mod storage;
mod tenants;

//! The client role, byte by byte and through its public API alone.

#![expect(clippy::unwrap_used, reason = "tests, and helpers of tests")]

mod connection;
mod hostile;
mod limits;
mod publish;
mod receive;
mod talk;

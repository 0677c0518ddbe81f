//! What the runtimes need in the same way, and in plain `std`: clocks, threads, opening listeners,
//! what keeps records with the one thread that writes, brokers as they start, log lines, and what
//! users hold of a client.
//!
//! It waits for no network, and knows no executor: how a thread sleeps until somebody sends
//! something is what the runtimes differ in.

#![forbid(unsafe_code)]

mod brokers;
pub mod client;
mod clock;
pub mod link;
pub mod listen;
pub mod presence;
pub mod report;
pub mod storage;
mod threads;

pub use brokers::{brokers, validate};
pub use clock::Clock;
pub use threads::Threads;

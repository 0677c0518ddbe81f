//! What the runtimes need in the same way, and in plain `std`: the turn of a shard with its
//! connections, clocks, threads, opening listeners, what keeps records with the one thread that
//! writes, brokers as they start, log lines, and what users hold of a client.
//!
//! It waits for no network, and knows no executor: how bytes are read and written, and how a thread
//! sleeps until somebody sends something, is what the runtimes differ in. They say it by
//! [`shard::Driver`], [`socket::Transport`] and [`listen::Accept`].

#![forbid(unsafe_code)]

mod brokers;
pub mod client;
mod clock;
mod executor;
mod handle;
pub mod inbox;
pub mod link;
pub mod listen;
pub mod presence;
pub mod report;
mod server;
pub mod shard;
pub mod socket;
#[cfg(unix)]
mod socket_file;
pub mod storage;
mod threads;

pub use brokers::{Beginning, new_uuid};
pub use clock::Clock;
pub use executor::Executor;
pub use handle::Handle;
pub use server::{Runtime, Server};
#[cfg(unix)]
pub use socket_file::SocketFile;
pub use threads::Threads;

//! What the runtimes share that needs the standard library but no sockets, threads or clocks: what
//! an operator sets about them, and who is asked whether a client may connect.

pub mod config;
pub mod policy;

pub use config::{Anonymous, ListenerConfig, ServerConfig, StorageConfig};
pub use policy::{Authenticator, Decision, Policy};

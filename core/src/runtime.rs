//! What the runtimes share that needs the standard library but no sockets, threads or clocks: what
//! an operator sets about them, and who is asked whether a client may connect.

pub mod config;
pub mod policy;
pub mod url;

pub use config::{Anonymous, FileMode, ListenerConfig, ServerConfig, StorageConfig};
pub use policy::{Authenticator, Decision, Policy};
pub use url::{BadUrl, ListenerUrl, Scheme};

//! Whimbrel for small devices: the sockets, timers and threads of an MQTT broker on one thread,
//! with [`polling`], the poller under smol, and nothing above it.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use futures_lite::future::block_on;
//! use whimbrel_core::codec::packet::QoS;
//! use whimbrel_smol::{ListenerConfig, Server, ServerConfig};
//!
//! let broker = Server::new(ServerConfig {
//!     listeners: vec![ListenerConfig::at("127.0.0.1:0".parse()?)],
//!     ..ServerConfig::default()
//! })
//! .start()?;
//! println!("MQTT on {}", broker.addresses()[0]);
//! let mut greetings = block_on(broker.subscribe("hello/#", QoS::AtLeastOnce))?;
//! block_on(broker.publish("hello/world", b"hi", QoS::AtLeastOnce, false))?;
//! assert_eq!(block_on(greetings.next()).map(|message| message.payload), Some(b"hi".to_vec()));
//! block_on(broker.shutdown())?;
//! # Ok(())
//! # }
//! ```
//!
//! The contract, the configuration and the shape of the interface are those of `whimbrel-tokio`.
//! All rules of MQTT are in [`whimbrel_core`]; this crate carries bytes and time to it and does
//! what it asks for. The program around it may use any runtime, or none.
//!
//! | module | responsible for |
//! |---|---|
//! | `server` | starting, and connections from inside the program |
//! | `shard` | the loop, and what it needs of the system |
//! | `poll` | the call in which a thread sleeps |
//! | `stream` | what bytes travel over, and the layers between that and MQTT |
//! | `listen` | accepting |
//! | [`client`] | the other end: a connection to a broker |

#![deny(unsafe_code)]

pub mod client;
mod listen;
mod poll;
mod server;
mod shard;
mod stream;

/// A broker that has not been started.
pub type Server = whimbrel_host::Server<runtime::Smol>;
/// A running broker. Dropping it stops the broker promptly, without waiting for it.
pub type Handle = whimbrel_host::Handle<runtime::Smol>;

/// What `whimbrel-host` drives. Nothing here is to be called.
pub mod runtime {
    pub use crate::listen::Acceptor;
    pub use crate::server::Smol;
    pub use crate::shard::System;
    pub use crate::stream::{Pipe, Transport};
}

pub use whimbrel_core::runtime::{
    Anonymous, Authenticator, BadTenant, BadUrl, Crashed, Decision, FileMode, LinkError,
    ListenError, ListenerConfig, ListenerUrl, Message, Scheme, ServerConfig, StartError, Stopped,
    StorageConfig, StorageError, TenantSource,
};
pub use whimbrel_host::link::Subscription;
pub use whimbrel_transport::{
    CertificateError, CertificateFinding, Certificates, check_certificates,
};
